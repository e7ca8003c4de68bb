"""Whole queries: what they read, how they group, frame, join, combine and order."""

import dataclasses

from .expressions import TYPES, Column, Literal, Maker, word
from .tables import SCHEMAS
from .tree import Node, Table, several

EXACT = ("bigint", "int", "smallint", "decimal", "text", "bool", "date", "ts", "ntz", "binary")
ORDERED = ("bigint", "int", "double", "decimal", "text", "date", "ts", "ntz")
TABLES = ("readings", "readings", "readings", "events", "events", "devices", "devices", "nothing")


@dataclasses.dataclass
class Source:
    """What stands behind FROM: its node, the columns that it brings, and those that are unique in it together."""
    node: Node
    columns: list
    unique: list


def table(maker, among=TABLES):
    name = maker.rng.choice(among)
    alias = maker.alias()
    columns = [Column(alias, c, t) for c, t in SCHEMAS[name].items()]
    return Source(Table(name, alias), columns, [c for c in columns if c.name == "id"])


def derived(maker, depth):
    types = [maker.type() for _ in range(maker.rng.choice((1, 2, 3)))]
    query = body(maker, types, depth - 1, outer=[])
    alias = maker.alias("q")
    node = Node("derived", "source", f"({{0}}) {alias}", None, [query])
    return Source(node, [Column(alias, f"c{i + 1}", t) for i, t in enumerate(types)], [])


def source(maker, depth, shared=()):
    chance = maker.rng.random()
    if shared and chance < .6:
        name, columns = maker.rng.choice(shared)
        alias = maker.alias()
        return Source(Node("shared", "source", f"{name} {alias}"), [Column(alias, c, t) for c, t in columns], [])
    if depth > 1 and chance < .25:
        return derived(maker, depth)
    left = table(maker)
    if depth > 0 and chance > .65:
        joined = join(maker, left, derived(maker, depth) if maker.rng.random() < .15 else table(maker), depth)
        return join(maker, joined, table(maker, ("devices", "events", "nothing")), depth) if maker.rng.random() < .2 else joined
    if chance > .62:
        return constants(maker)
    return left


def constants(maker):
    """VALUES as a table."""
    types = [maker.type() for _ in range(maker.rng.choice((1, 2)))]
    alias = maker.alias("v")
    rows = [several("row", [maker.literal(t) for t in types], ", ", "(", ")", least=len(types)) for _ in range(maker.rng.choice((1, 2, 4)))]
    # A typed first row decides the types of the columns in both dialects.
    for literal in rows[0].kids:
        literal.binds = False
    names = ", ".join(f"c{i + 1}" for i in range(len(types)))
    node = Node("derived", "source", f"(VALUES {{0}}) {alias}({names})", None, [several("rows", rows, ", ", least=1)])
    return Source(node, [Column(alias, f"c{i + 1}", t) for i, t in enumerate(types)], [])


def join(maker, left, right, depth):
    kind = maker.rng.choice(("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"))
    pairs = [(a, b) for a in left.columns for b in right.columns if a.type == b.type and a.type not in ("bool", "float")]
    likely = [(a, b) for a, b in pairs if a.name == b.name and a.name in ("device", "id", "day", "ts")]
    if not pairs:
        return left
    a, b = maker.rng.choice(likely if likely and maker.rng.random() < .7 else pairs)
    form = maker.rng.random()
    if form < .07 and kind in ("JOIN", "LEFT JOIN"):
        # Without an equality.
        conditions = [Node("compare", "bool", "({0} {1} {2})", None, [a.node(), maker.word(word("<", ">=", "<>")), b.node()])]
    else:
        conditions = [Node("join key", "bool", "({0} IS NOT DISTINCT FROM {1})" if form > .93 else "({0} = {1})", None, [a.node(), b.node()])]
    scope = left.columns + right.columns
    if maker.rng.random() < .3:
        # DuckDB and DataFusion take conditions beside an equality in every kind of join; FULL JOIN alone asks for simple ones.
        conditions.append(Node("compare", "bool", "({0} {1} {2})", None, compared(maker, left.columns, right.columns)) if maker.rng.random() < .6 else maker.plain(scope, "bool", 1))
    node = Node(kind.lower(), "source", f"{{0}} {kind} {{1}}{{2}}", None, [left.node, right.node, several("on", conditions, " AND ", " ON ", least=1)])
    outer = kind != "JOIN"
    return Source(node, scope, [] if outer or not left.unique or not right.unique else left.unique + right.unique)


def compared(maker, left, right):
    pairs = [(a, b) for a in left for b in right if a.type == b.type]
    a, b = maker.rng.choice(pairs)
    return [a.node(), maker.word(word("<", "<=", ">", "<>")), b.node()]


def item(node, number):
    return Node("item", None, f"{{0}} AS c{number + 1}", None, [node])


def select(maker, types, depth, outer, shared=()):
    """SELECT of columns of the types. `outer`: columns of the query around it."""
    reads = source(maker, depth, shared)
    scope = reads.columns + (maker.rng.sample(outer, min(len(outer), 2)) if outer and maker.rng.random() < .3 else [])
    where = maker.condition(scope, min(depth + 1, 3)) if maker.rng.random() < .6 else several("conditions", [], "")
    style = maker.rng.random()
    if style < .35:
        return grouped(maker, types, depth, reads, where)
    if style < .5 and reads.unique:
        values = [window(maker, reads, t, depth) if maker.rng.random() < .6 else maker.value(scope, t, depth) for t in types]
    else:
        values = [maker.value(scope, t, depth) for t in types]
    distinct = "DISTINCT " if style > .85 else ""
    if style > .97 and reads.unique:
        return newest(maker, values, reads, where)
    items = several("items", [item(v, i) for i, v in enumerate(values)], ", ", least=1)
    return Node("distinct" if distinct else "select", "query", f"SELECT {distinct}{{0}} FROM {{1}}{{2}}", None, [items, reads.node, where])


def newest(maker, values, reads, where):
    """One row of each key: the first by an order that has no ties."""
    key = maker.rng.choice([c for c in reads.columns if c.type in ("text", "date", "int", "bool")])
    items = several("items", [item(v, i) for i, v in enumerate(values)], ", ", least=1)
    order = ", ".join(f"{c.alias}.{c.name}{maker.rng.choice((' DESC NULLS LAST', ' NULLS FIRST'))}" for c in reads.unique)
    name = f"{key.alias}.{key.name}"
    # As a query of its own, because the ORDER BY of DISTINCT ON ends it.
    return Node("distinct on", "query", f"SELECT * FROM (SELECT DISTINCT ON ({name}) {{0}} FROM {{1}}{{2}} ORDER BY {name} NULLS LAST, {order}) {maker.alias('d')}", None, [items, reads.node, where])


# --- groups ----------------------------------------------------------------------------------------------------------------


def grouped(maker, types, depth, reads, where):
    keys, values = [], []
    alone = maker.rng.random() < .25
    for number, type in enumerate(types):
        if not alone and maker.rng.random() < .45 and type != "float":
            value = maker.plain(reads.columns, type, 1)
            # A constant key, and one that is bound, are no keys that anyone writes.
            if any(n.kind == "column" for n in value.walk()):
                keys.append(Node("key", None, str(number + 1)))
                values.append(value)
                continue
        values.append(aggregate(maker, reads, type, depth))
    items = several("items", [item(v, i) for i, v in enumerate(values)], ", ", least=1)
    having = []
    if maker.rng.random() < .3:
        having = [Node("compare", "bool", "({0} {1} {2})", None, [a := aggregate(maker, reads, maker.type(("bigint", "double", "text", "ts")), 0), maker.word(word("<", ">", "<>", ">=")), maker.literal(a.type)])]
    form = maker.rng.random() if all(values[int(key.ours) - 1].kind == "column" for key in keys) else 1
    if form < .09:
        # By name: an ordinal is a constant in ROLLUP and CUBE.
        keys = [values[int(key.ours) - 1] for key in keys]
    before, after = (" GROUP BY ROLLUP (", ")") if keys and form < .06 else (" GROUP BY CUBE (", ")") if keys and form < .09 else (" GROUP BY ", "")
    group = several("rollup" if after else "group by", keys, ", ", before, after)
    return Node("group", "query", "SELECT {0} FROM {1}{2}{3}{4}", None, [items, reads.node, where, group, several("having", having, " AND ", " HAVING ")])


def aggregate(maker, reads, type, depth):
    """An aggregate of the type."""
    scope, rng = reads.columns, maker.rng
    value = lambda t: maker.plain(scope, t, 1)
    filtered = several("filter", [maker.plain(scope, "bool", 1)] if rng.random() < .2 else [], " AND ", " FILTER (WHERE ", ")")
    made = lambda kind, ours, *kids, duck=None: Node(kind, type, ours, duck, list(kids))
    last = "{1}"
    choices = [("min", lambda: made("min", f"min({{0}}){last}", value(type), filtered)), ("max", lambda: made("max", f"max({{0}}){last}", value(type), filtered))] if type not in ("bool", "binary") else []
    unique = reads.unique
    order = ", ".join(f"{c.alias}.{c.name}" for c in unique)
    if unique:
        down = rng.choice(("", " DESC"))
        choices += [("first", lambda: made("first by order", f"first_value({{0}} ORDER BY {order}{down}){last}", value(type), filtered, duck=f"first({{0}} ORDER BY {order}{down}){last}")),
                    ("last", lambda: made("last by order", f"last_value({{0}} ORDER BY {order}{down}){last}", value(type), filtered, duck=f"last({{0}} ORDER BY {order}{down}){last}"))]
    match type:
        case "bigint":
            any_type = maker.type()
            choices += 3 * [("count", lambda: made("count", f"count(*){{0}}", filtered))] + [
                ("count of", lambda: made("count of", f"count({{0}}){last}", value(any_type), filtered)),
                ("count distinct", lambda: made("count distinct", f"count(DISTINCT {{0}}){last}", value(any_type), filtered)),
                ("sum", lambda: made("sum", f"sum({{0}}){last}", value("bigint"), filtered, duck=f"CAST(sum({{0}}){last} AS BIGINT)")),
                ("sum", lambda: made("sum", f"sum({{0}}){last}", value("int"), filtered, duck=f"CAST(sum({{0}}){last} AS BIGINT)")),
                ("sum distinct", lambda: made("sum distinct", f"sum(DISTINCT {{0}}){last}", value("bigint"), filtered, duck=f"CAST(sum(DISTINCT {{0}}){last} AS BIGINT)")),
                ("bit", lambda: made("bit", f"{rng.choice(('bit_and', 'bit_or', 'bit_xor'))}({{0}}){last}", value("bigint"), filtered))]
        case "double":
            number = rng.choice(("double", "double", "bigint", "int"))
            two = lambda name: made("inexact", f"{name}({{0}}, {{2}}){last}", value("double"), filtered, value("double"))
            choices += 2 * [("sum", lambda: made("inexact", f"sum({{0}}){last}", value("double"), filtered)), ("avg", lambda: made("inexact", f"avg({{0}}){last}", value(number), filtered))] + [
                ("spread", lambda: made("inexact", f"{rng.choice(('stddev', 'stddev_pop', 'var_samp', 'var_pop'))}({{0}}){last}", value("double"), filtered)),
                ("corr", lambda: two(rng.choice(("corr", "covar_samp", "covar_pop")))),
                ("median", lambda: made("median", f"median({{0}}){last}", value("double"), filtered)),
                ("percentile", lambda: made("percentile", f"percentile_cont({rng.choice(('0', '0.25', '0.5', '1'))}) WITHIN GROUP (ORDER BY {{0}}){last}", value("double"), filtered))]
        case "decimal":
            choices += [("sum", lambda: made("sum", f"sum({{0}}){last}", value("decimal"), filtered))]
        case "bool":
            choices += [("every", lambda: made("every", f"{rng.choice(('bool_and', 'bool_or'))}({{0}}){last}", value("bool"), filtered))]
        case "text" if unique:
            choices += [("string_agg", lambda: made("string_agg", f"string_agg({{0}}, ',' ORDER BY {order}){last}", value("text"), filtered))]
    if not choices:
        # Of a type that nothing aggregates to, a condition on a count decides between two constants.
        return Node("case", type, "CASE WHEN count(*) > {0} THEN {1} ELSE {2} END", None, [Literal("bigint", rng.choice((0, 1, 5))), Literal(type, None), maker.literal(type)])
    return rng.choice(choices)[1]()


# --- windows ---------------------------------------------------------------------------------------------------------------


def window(maker, reads, type, depth):
    """A window function of the type, whose answer does not depend on the order of equal rows."""
    rng, scope = maker.rng, reads.columns
    partition = [rng.choice(scope).node() for _ in range(rng.choice((0, 1, 1, 2)))]
    partition = several("partition", [p for p in partition if p.type != "float"], ", ", "PARTITION BY ", " ")
    leading = rng.choice([c for c in scope if c.type in ORDERED])
    direction = lambda: Node("direction", None, rng.choice((" NULLS FIRST", " NULLS LAST", " DESC NULLS FIRST", " DESC NULLS LAST")))
    keys = [Node("sort key", None, "{0}{1}", None, [leading.node(), direction()])] if rng.random() < .6 else []
    keys += [Node("sort key", None, "{0}{1}", None, [c.node(), direction()]) for c in reads.unique]
    over = lambda frame="": (f" OVER ({{0}}{{1}}{frame})", [partition, several("sort", keys, ", ", "ORDER BY ", least=len(keys))])

    def made(kind, function, frame="", kids=(), duck=None):
        tail, spec = over(frame)
        # Children are numbered in the order in which they are written: the arguments, then the window.
        shift = len(kids)
        tail = tail.replace("{1}", f"{{{shift + 1}}}").replace("{0}", f"{{{shift}}}")
        return Node(kind, type, function + tail, None if duck is None else duck(tail), list(kids) + spec)

    frame = rng.choice(("", "", " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", " ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING", " ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                        " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING", " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW"))
    value = lambda t: maker.plain(scope, t, 1)
    if rng.random() < .15:
        # A range of time before each row; equal times are peers.
        times = [c for c in scope if c.type == "ts"]
        if times and type in ("bigint", "double"):
            keys = [Node("sort key", None, "{0}{1}", None, [rng.choice(times).node(), Node("direction", None, rng.choice((" NULLS FIRST", " NULLS LAST")))])]
            frame = f" RANGE BETWEEN INTERVAL '{rng.choice(('10 minutes', '1 hour', '1 day'))}' PRECEDING AND CURRENT ROW"
            if type == "double":
                return made("window inexact", f"{rng.choice(('sum', 'avg', 'min', 'max'))}({{0}})", frame, [value("double")])
            return made("window count", "count(*)", frame)
    choices = [lambda: made("window lag", f"{rng.choice(('lag', 'lead'))}({{0}}{rng.choice(('', ', 2'))})", "", [value(type)]),
               lambda: made("window value", f"{rng.choice(('first_value', 'last_value'))}({{0}})", frame, [value(type)]),
               lambda: made("window nth", "nth_value({0}, 2)", frame, [value(type)])]
    if type not in ("bool", "binary"):
        choices.append(lambda: made("window extreme", f"{rng.choice(('min', 'max'))}({{0}})", frame, [value(type)]))
    match type:
        case "bigint":
            choices += [lambda: made("window rank", rng.choice(("row_number()", "rank()", "dense_rank()", "ntile(3)"))), lambda: made("window count", "count({0})", frame, [value(maker.type())]),
                        lambda: made("window sum", "sum({0})", frame, [value("bigint")], duck=lambda tail: f"CAST(sum({{0}}){tail} AS BIGINT)")]
        case "double":
            choices += 2 * [lambda: made("window inexact", f"{rng.choice(('sum', 'avg'))}({{0}})", frame, [value("double")])]
            choices += [lambda: made("window inexact", f"{rng.choice(('stddev', 'var_pop'))}({{0}})", frame, [value("double")]), lambda: made("window inexact", rng.choice(("percent_rank()", "cume_dist()")))]
    return rng.choice(choices)()


# --- subqueries ------------------------------------------------------------------------------------------------------------


def subquery(maker, scope, type, depth):
    """A subquery as a value of the type, or None."""
    rng = maker.rng
    inner = table(maker)
    tie = []
    outer = [c for c in scope if c.name in ("device", "id", "day")]
    if outer and rng.random() < .5:
        column = rng.choice(outer)
        match = [c for c in inner.columns if c.name == column.name]
        if match:
            tie = [Node("join key", "bool", "({0} = {1})", None, [match[0].node(), column.node()])]
    correlated = "correlated " if tie else ""
    if rng.random() < .5 or not tie:
        tie.append(maker.plain(inner.columns, "bool", 1))
    where = several("conditions", tie, " AND ", " WHERE ")
    if type != "bool":
        value = aggregate(maker, Source(inner.node, inner.columns, []), type, 0)
        return Node(f"{correlated}scalar", type, "(SELECT {0} FROM {1}{2})", None, [value, inner.node, where])
    form = rng.random()
    if form < .35:
        return Node(f"{correlated}exists", "bool", "({0} (SELECT 1 FROM {1}{2}))", None, [maker.word(word("EXISTS", "NOT EXISTS")), inner.node, where])
    wanted = maker.type(("bigint", "double", "text", "ts", "date", "int"))
    left, value = maker.plain(scope, wanted, 1), maker.plain(inner.columns, wanted, 1)
    if form < .75:
        return Node(f"{correlated}in", "bool", "({0} {1} (SELECT {2} FROM {3}{4}))", None, [left, maker.word(word("IN", "IN", "NOT IN")), value, inner.node, where])
    return Node(f"{correlated}any or all", "bool", "({0} {1} (SELECT {2} FROM {3}{4}))", None,
                [left, maker.word(word("= ANY", "> ANY", "<> ANY", ">= ALL", "< ALL", "<> ALL", "= ALL")), value, inner.node, where])


# --- the whole -------------------------------------------------------------------------------------------------------------


def body(maker, types, depth, outer=(), shared=(), widen=False):
    """A SELECT of columns of the types, or a set operation. `widen`: its branches may have different types, and the columns the wider ones."""
    chance = maker.rng.random()
    if depth > 0 and chance < .12:
        kind = maker.rng.choice(("UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT", "INTERSECT ALL", "EXCEPT ALL"))
        right = list(types)
        if widen and maker.rng.random() < .2:
            # Branches whose types have to be brought together.
            wider = {"bigint": "double", "int": "bigint", "smallint": "bigint", "date": "ts", "float": "double", "decimal": "double"}
            right = [wider.get(t, t) for t in types]
        return Node(kind.lower(), "query", f"{{0}} {kind} {{1}}", None, [select(maker, types, depth - 1, [], shared), select(maker, right, depth - 1, [], shared)])
    return select(maker, types, depth, list(outer), shared)


def query(maker):
    """A whole query."""
    rng = maker.rng
    maker.subqueries = subquery
    types = [maker.type() for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))]
    depth = rng.choice((1, 2, 2, 3))
    shared, heads = [], []
    if rng.random() < .12:
        inside = [maker.type() for _ in range(rng.choice((1, 2, 3)))]
        heads.append(Node("cte", None, "w1 AS ({0})", None, [body(maker, inside, depth - 1)]))
        shared.append(("w1", [(f"c{i + 1}", t) for i, t in enumerate(inside)]))
    tree = body(maker, types, depth, shared=shared, widen=True)
    order, keys, limit = [], [], []
    if rng.random() < .4:
        order = rng.sample(range(len(types)), len(types) if rng.random() < .6 else 1)
        for column in order:
            # The default order of nulls differs: DESC puts them first here and last in DuckDB.
            ours = rng.choice(("", " DESC", " NULLS FIRST", " DESC NULLS LAST", " ASC"))
            keys.append(Node("sort key", None, f"{column + 1}{ours}", f"{column + 1} DESC NULLS FIRST" if ours == " DESC" else f"{column + 1}{ours}"))
        if len(order) == len(types) and rng.random() < .6:
            limit = [Node("limit", None, " LIMIT {0}", None, [Literal("bigint", rng.choice((0, 1, 3, 10)), rng.random() < .5)])]
            if rng.random() < .3:
                limit.append(Node("offset", None, " OFFSET {0}", None, [Literal("bigint", rng.choice((0, 1, 5)), rng.random() < .5)]))
    return Node("query", "query", "{0}{1}{2}{3}", None,
                [several("with", heads, ", ", "WITH ", " "), tree, several("order by", keys, ", ", " ORDER BY "), several("limits", limit, "")])


def order_of(tree):
    """The numbers of the columns that a whole query is ordered by."""
    if tree.kind != "query":
        return []
    return [int(key.ours.split()[0]) - 1 for key in tree.kids[2].kids]
