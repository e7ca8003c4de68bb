"""Why answers differ: `EXPLAINED` is meant and stands in docs/differences-from-duckdb.md, `KNOWN` is a fault that is to be mended.

Each reason has a narrow test. Those with `at_once` look at an error's text, or ask the query again without the cause: they hold for the query as it was made. The others look
at the query after it was made small, when it has one cause left. A fault that is mended is taken out of `KNOWN`, and its statement in kept.toml stays, without the reason.
"""

import dataclasses
import math
import re
from collections.abc import Callable

from .answers import differ, near
from .check import why
from .engines import Failed
from .tree import Node, Table, several


@dataclasses.dataclass(frozen=True)
class Reason:
    name: str
    test: Callable
    at_once: bool = False


def ours_says(*patterns, bound=None):
    """We fail in every way that differs, with one of the texts."""
    return lambda d, _: d.sorts == {"fails"} and all(any(re.search(p, e) for p in patterns) for e in d.errors()) and (bound is None or d.only_bound == bound)


def duck_says(*patterns):
    return lambda d, _: d.sorts == {"answers"} and any(re.search(p, d.duck.text) for p in patterns)


def has(*kinds):
    return lambda d: bool(d.tree.kinds() & set(kinds))


def alone(d):
    """The rows that only our answer has, and those that only DuckDB's has."""
    ours, duck = d.ours[d.first()], d.duck
    if isinstance(ours, Failed) or isinstance(duck, Failed):
        return [], []
    left, right = list(ours.rows), list(duck.rows)
    for row in list(left):
        if row in right:
            left.remove(row)
            right.remove(row)
    return left, right


def becomes(one, other):
    """Our rows are DuckDB's, with one value in place of another."""
    def test(d, _):
        left, right = alone(d)
        put = lambda row: tuple(one if v == other else v for v in row)
        return d.sorts == {"values"} and bool(left) and sorted(map(repr, left)) == sorted(repr(put(row)) for row in right)
    return test


def spread(d):
    return re.search(r"(stddev|stddev_pop|var_samp|var_pop|covar_samp|covar_pop|corr)\(", str(d)) is not None


def nan_of_infinities(d, _):
    """Our rows are DuckDB's, with NaN in place of an infinity or zero."""
    left, right = alone(d)
    one = lambda a, b: near(a, b) or a == "nan" and b in (0.0, math.inf, -math.inf)
    rest = list(right)
    for row in left:
        match = next((r for r in rest if all(one(a, b) for a, b in zip(row, r))), None)
        if match is None:
            return False
        rest.remove(match)
    return d.sorts == {"values"} and bool(left) and not rest


def types(*pairs):
    """Some columns have another kind of type: `(here, in DuckDB)` of a pair."""
    def test(d, _):
        found = {(a, b) for way, (sort, _) in d.ways.items() if sort == "types" for a, b in zip(d.ours[way].classes, d.duck.classes) if a != b}
        return d.sorts == {"types"} and found <= set(pairs)
    return test


def both(*tests):
    """All of the tests, of the difference alone or with the engines."""
    return lambda d, asked: all(test(d, asked) if test.__code__.co_argcount == 2 else test(d) for test in tests)


def gone_when(rewrite):
    """The difference is gone when every node is replaced by `rewrite(node)`."""
    def test(d, asked):
        def every(node):
            return rewrite(node.with_kids([every(kid) for kid in node.kids]))
        return d.sorts == {"values"} and asked.agree(every(d.tree), d.ways)
    return test


FLOATS = ("double", "float")


def with_first_kid(node, ours):
    value = node.kids[0]
    return node.with_kids([Node("case", value.type, ours, None, [value])] + node.kids[1:])


def with_positive_zeros(node):
    """A double whose zeros have no sign, in both engines."""
    return Node("add", node.type, "({0} + 0.0)", "({0} + 0.0::DOUBLE)", [node]) if node.type in FLOATS else node


def with_sign_without_nan(node):
    return with_first_kid(node, "CASE WHEN NOT isnan({0}) THEN {0} END") if node.kind == "sign" else node


def without_undefined(node):
    if node.kind not in ("inexact", "window inexact"):
        return node
    return Node("case", node.type, "CASE WHEN NOT isnan({0}) THEN {0} END", None, [node])


def rounded(node):
    return Node("case", node.type, "round({0}, 3)", None, [node]) if node.kind in ("inexact", "window inexact") and node.type == "double" else node


def without_weeks(node):
    if node.kind != "date_diff" or node.kids[0].ours != "'week'":
        return node
    return node.with_kids([Node("word", None, "'day'")] + node.kids[1:])


def nearly(node):
    return Node("case", node.type, "round({0}, 6)", None, [node]) if node.type == "double" and node.kind in ("inexact", "window inexact", "modulo", "percentile", "median") else node


def of_finite_values(node):
    if node.kind not in ("inexact", "window inexact"):
        return node
    finite = lambda kid: Node("case", kid.type, "CASE WHEN abs({0}) < 1e150 THEN {0} END", "CASE WHEN abs({0}) < '1e150'::DOUBLE THEN {0} END", [kid]) if kid.type in FLOATS else kid
    return node.with_kids([finite(kid) for kid in node.kids])


def with_small_values(node):
    """The sums of values that are below 1,000: what is left of large ones that cancel out is rounding."""
    if node.kind not in ("inexact", "window inexact") or not node.kids or node.kids[0].type not in ("bigint", "double"):
        return node
    return node.with_kids([Node("modulo", node.kids[0].type, "({0} % 1000)", None, [node.kids[0]])] + node.kids[1:])


def without_halves(node):
    if node.kind != "round to":
        return node
    return Node("case", node.type, "round({0} + 1e-9, {1})", "round({0} + 1e-9::DOUBLE, {1})", node.kids)


VALUE_ERRORS = re.compile(r"division by zero|overflow on|is too (large|small) to store|Error parsing|[Cc]ast error|Cannot cast|Conversion Error|Divi(de|sion) by zero|Overflow|Out of Range|negative number|out of range|can't be cast|Could not|error: Arrow error")
SET_OPERATIONS = ("union", "intersect", "intersect all", "except", "except all")
CAN_FAIL = {"cast", "cast text", "cast float to integer", "cast decimal to integer", "divide", "modulo", "sqrt", "add", "subtract", "multiply", "negate", "mixed", "abs", "wide", "sum", "sum distinct", "window sum", "ts and interval", "zone", "trunc", "bucket", "date and interval"}


def without_conditions(node, kinds=("conditions", "having")):
    """A query over all rows of what it reads, and of all groups."""
    if node.kind in kinds:
        return several(node.kind, [], "")
    return node.with_kids([without_conditions(kid, kinds) for kid in node.kids])


def with_rows(node):
    """The query over a table with rows in place of the one without."""
    if isinstance(node, Table) and node.name == "nothing":
        return Table("events", node.alias)
    return node.with_kids([with_rows(kid) for kid in node.kids])


def with_every_row(node):
    """The query with all rows of what its joins and set operations combine."""
    node = node.with_kids([with_every_row(kid) for kid in node.kids])
    if node.kind in SET_OPERATIONS:
        return Node("union all", node.type, re.sub(r"\b(INTERSECT|EXCEPT|UNION)( ALL)?\b", "UNION ALL", node.ours), re.sub(r"\b(INTERSECT|EXCEPT|UNION)( ALL)?\b", "UNION ALL", node.duck), node.kids)
    if node.kind == "on" and node.kids:
        return node.with_kids([Node("constant", "bool", "true")])
    return node


def with_one_condition(tree):
    """The query with one of its conditions in place of all, each in turn."""
    for conditions in tree.walk():
        if conditions.kind == "conditions" and len(conditions.kids) > 1:
            for kid in conditions.kids:
                replaced = lambda n: conditions.with_kids([kid]) if n is conditions else n.with_kids([replaced(k) for k in n.kids])
                yield replaced(tree)


def with_equal_columns(node, tree):
    """The expression, and the expression with a column that a join takes for equal in place of one of its own."""
    yield node
    columns = {n.ours for n in node.walk() if n.kind == "column"}
    for key in tree.walk():
        if key.kind == "join key":
            for old, new in (key.kids, key.kids[::-1]):
                if old.ours in columns:
                    replaced = lambda n: new if n.kind == "column" and n.ours == old.ours else n.with_kids([replaced(kid) for kid in n.kids])
                    yield replaced(node)


def fails_somewhere(d, asked):
    """An expression of the query fails in both engines when it is asked for every row of what it reads.

    So they differ only in the rows that they compute it for, before or after a filter, a join or a branch, and that is promised by neither.
    """
    if not d.sorts <= {"fails", "answers"} or not all(VALUE_ERRORS.search(e) for e in d.errors()):
        return False
    ways = [way for way in d.ways if d.ways[way][0] == "fails"] or [d.first()]
    for more in (without_conditions(d.tree), without_conditions(d.tree, ("having",)), with_rows(d.tree), with_every_row(d.tree), with_every_row(without_conditions(d.tree)), *with_one_condition(d.tree)):
        if any(asked.fails(more, *way) for way in ways) and asked.fails_in_duck(more):
            return True
    for whole in (d.tree, without_conditions(d.tree)):
        sources = {s.alias: s for s in whole.walk() if isinstance(s, Table)}
        sources |= {re.search(r"\) (\w+)", s.ours)[1]: s for s in whole.walk() if s.kind == "derived"}
        sources |= {s.ours.split()[1]: s for s in whole.walk() if s.kind == "shared"}
        heads = several("with", [s for s in whole.walk() if s.kind == "cte"], ", ", "WITH ", " ")
        for made in d.tree.walk():
            if made.kind not in CAN_FAIL or not made.type:
                continue
            for node in with_equal_columns(made, d.tree):
                reads = {n.ours.split(".")[0] for n in node.walk() if n.kind == "column"}
                if not reads <= set(sources):
                    continue
                # A sum of constants reads no column, and every row.
                for read in [sorted(reads)] if reads else [[]] + [[alias] for alias in sources]:
                    items = several("items", [node], ", ")
                    tables = several("tables", [sources[alias] for alias in read], ", ", " FROM ")
                    tree = Node("select", "query", "{0}SELECT {1} AS c1{2}", None, [heads, items, tables])
                    if any(asked.fails(tree, *way) for way in ways) and asked.fails_in_duck(tree):
                        return True
    return False


COMPARES_ROWS = ("distinct", "union", "except", "except all", "intersect", "intersect all", "group by")

EXPLAINED = [
    Reason("undefined statistic", both(has("inexact", "window inexact"), lambda d, asked: gone_when(without_undefined)(d, asked)), at_once=True),
    Reason("variance of an infinite value", both(has("inexact", "window inexact"), spread, nan_of_infinities), at_once=True),
    Reason("variance of an infinite value", both(has("inexact", "window inexact"), spread, duck_says("is out of range!")), at_once=True),
    Reason("variance of an infinite value", both(has("inexact", "window inexact"), spread, gone_when(of_finite_values)), at_once=True),
    Reason("rounding of sums", both(has("inexact", "window inexact"), has(*COMPARES_ROWS), lambda d, asked: gone_when(rounded)(d, asked)), at_once=True),
    Reason("rounding of sums", both(has("inexact", "window inexact"), lambda d, asked: gone_when(with_small_values)(d, asked))),
    Reason("rounding of sums", both(has("inexact", "window inexact"), spread, gone_when(nearly))),
    Reason("rounding of sums", both(has("percentile", "median"), gone_when(nearly))),
    Reason("remainder of a rounded number", both(has("modulo"), gone_when(nearly))),
    Reason("sign of NaN", both(has("sign"), becomes("nan", 0.0))),
    Reason("sign of NaN", both(has("sign"), gone_when(with_sign_without_nan)), at_once=True),
    Reason("weeks of date_diff", both(has("date_diff"), gone_when(without_weeks)), at_once=True),
    Reason("sign of zero", both(has("divide"), gone_when(with_positive_zeros)), at_once=True),
    Reason("rounding of a half", both(has("round to"), gone_when(without_halves)), at_once=True),
    Reason("double that no float holds", both(has("cast"), duck_says("out of range for the destination type FLOAT")), at_once=True),
    Reason("text of a fraction as a whole number", ours_says(r"Cannot cast string '-?\d*\.\d+' to value of U?Int"), at_once=True),
    Reason("a query beside a list of BINARY", ours_says(r"coercion from List\(Binary\)"), at_once=True),
    Reason("root of a negative number", both(has("sqrt"), ours_says("cannot take square root of a negative number")), at_once=True),
    Reason("negation of the smallest BIGINT", both(has("negate"), ours_says("BIGINT out of range, operation=- -9223372036854775808")), at_once=True),
    Reason("product of decimals beyond 18 digits", both(has("multiply"), duck_says(r"Overflow in multiplication of DECIMAL\(18\)")), at_once=True),
    Reason("time in a zone of its own", lambda d, _: has("zone")(d) and d.sorts == {"values"}),
    Reason("time in a zone of its own", both(has("zone"), ours_says("Cannot coerce arithmetic expression Timestamp", "Cannot cast timezone to different timezone"))),
    Reason("AT TIME ZONE gives an instant", both(has("zone"), types(("instant", "local time"))), at_once=True),
    Reason("rows that an error is computed for", fails_somewhere, at_once=True),
]

KNOWN = []


class Asked:
    """Asks the engines for a reason's test."""

    def __init__(self, ours, duck):
        self.ours, self.duck = ours, duck

    def fails(self, tree, *way):
        return isinstance(self.ours.ask(tree, *way), Failed)

    def agree(self, tree, ways):
        """No way differs from DuckDB."""
        theirs = self.duck.ask(tree)
        return not isinstance(theirs, Failed) and all(why(tree, self.ours.ask(tree, *way), theirs) is None for way in ways)

    def fails_in_duck(self, tree):
        return isinstance(self.duck.ask(tree), Failed)


def explain(difference, asked, small):
    """The name of the reason, or None. `small`: the query has been made small."""
    for reason in EXPLAINED + KNOWN:
        if (small or reason.at_once) and reason.test(difference, asked):
            return reason.name
    return None


__all__ = ["EXPLAINED", "KNOWN", "Asked", "explain", "differ"]
