"""Making a query that shows a difference smaller, as long as the difference stays."""

from .check import why
from .queries import order_of
from .tables import VALUES
from .tree import Literal, Node

TRIES = 400


def paths(node, path=()):
    yield path, node
    for i, kid in enumerate(node.kids):
        yield from paths(kid, path + (i,))


def put(node, path, new):
    if not path:
        return new
    kids = list(node.kids)
    kids[path[0]] = put(kids[path[0]], path[1:], new)
    return node.with_kids(kids)


def inside(node, type):
    """Nodes of the type below a node, the nearest first."""
    level = node.kids
    while level:
        yield from (n for n in level if n.type == type)
        level = [kid for n in level for kid in n.kids]


def smaller(node):
    """What may stand in place of a node."""
    if node.least is not None:
        for i in range(len(node.kids)):
            if len(node.kids) > node.least:
                yield node.with_kids(node.kids[:i] + node.kids[i + 1:])
        return
    if isinstance(node, Literal):
        if node.binds:
            yield Literal(node.type, node.value)
        usual = VALUES[node.type][0]
        if node.value is not None and node.value not in usual[:2]:
            yield Literal(node.type, usual[1 if node.type != "binary" else 0], node.binds)
        return
    if node.type is None:
        return
    yield from inside(node, node.type)
    if node.type in VALUES:
        if node.kids:
            yield from (Literal(node.type, value) for value in (VALUES[node.type][0][1], VALUES[node.type][0][0]))
        if node.kind != "column":
            yield Literal(node.type, None)


def is_certain(tree):
    """A query with LIMIT is ordered by all of its columns: there is one right answer."""
    if tree.kind != "query" or not tree.kids[3].kids:
        return tree.kind == "query" or not any(n.kind == "limit" for n in tree.walk())
    items = next(n for n in tree.kids[1].walk() if n.kind == "items")
    return len(set(order_of(tree))) == len(items.kids)


def size(tree):
    return sum(1 + (isinstance(n, Literal) and n.binds) + (n.kind == "query") for n in tree.walk())


def shrink(tree, same):
    """The smallest tree that was found for which `same` holds."""
    tries, best, again = 0, tree, True
    while again and tries < TRIES:
        again = False
        candidates = sorted(((size(new), i, new) for i, new in enumerate(put(best, path, s) for path, node in paths(best) for s in smaller(node))), key=lambda c: c[:2])
        for weight, _, new in candidates:
            if weight >= size(best) and not any(isinstance(n, Literal) for n in new.walk()):
                continue
            tries += 1
            if tries > TRIES:
                break
            if (weight, repr_of(new)) < (size(best), repr_of(best)) and same(new):
                best, again = new, True
                break
    return best


def repr_of(tree):
    return sum(len(str(n.value)) if isinstance(n, Literal) else len(n.ours) if isinstance(n.ours, str) else 0 for n in tree.walk())


def smallest(ours, duck, difference):
    """The difference's query, as small as it gets."""
    way = difference.first()
    sort, words = difference.ways[way]

    def same(tree):
        if not is_certain(tree):
            return False
        try:
            found = why(tree, ours.ask(tree, *way), duck.ask(tree))
        except IndexError:
            # A column was taken away by which the rows are ordered.
            return False
        return found is not None and found[0] == sort and (sort in ("values", "types") or found[1] == words)

    return shrink(difference.tree, same)
