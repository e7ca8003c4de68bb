"""Why answers differ: `EXPLAINED` is meant and stands in docs/differences-from-duckdb.md, `KNOWN` is a fault that is to be mended.

Each reason has a narrow test. Those with `at_once` look at an error's text, or ask the query again without the cause: they hold for the query as it was made. The others look
at the query after it was made small, when it has one cause left. A fault that is mended is taken out of `KNOWN`, and its statement in kept.toml stays, without the reason.
"""

import dataclasses
import math
import re
from collections.abc import Callable

from .answers import differ
from .check import why
from .engines import Failed
from .tables import SCHEMAS, VALUES
from .tree import Literal, Node, Table, several


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
    one = lambda a, b: a == b or a == "nan" and b in (0.0, math.inf, -math.inf)
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


def numbers(*kinds):
    """A node that compares, combines or orders numbers of these types."""
    return lambda d: any({k.type for k in n.walk()} >= set(kinds) for n in d.tree.walk())


def gone_when(rewrite):
    """The difference is gone when every node is replaced by `rewrite(node)`."""
    def test(d, asked):
        def every(node):
            return rewrite(node.with_kids([every(kid) for kid in node.kids]))
        return d.sorts == {"values"} and asked.agree(every(d.tree), d.ways)
    return test


FLOATS = ("double", "float")


def without_zeros_sign(node):
    if node.type not in FLOATS:
        return node
    zero = Literal(node.type, 0.0)
    return Node("add", node.type, "({0} + {1})", None, [node, zero])


def committed(d):
    """Hot rows alone were asked, and give the right answer."""
    return any(schema == "hot" for schema, _ in d.ours) and "hot" not in d.only_schemas


def with_first_kid(node, ours):
    value = node.kids[0]
    return node.with_kids([Node("case", value.type, ours, None, [value])] + node.kids[1:])


def with_extremes_without_nan(node):
    return with_first_kid(node, "CASE WHEN NOT isnan({0}) THEN {0} END") if node.kind in ("min", "max", "window extreme", "percentile") and node.type in FLOATS else node


def with_extremes_of_expressions(node):
    return with_first_kid(node, "CASE WHEN {0} IS NOT NULL THEN {0} END") if node.kind in ("min", "max") else node


def with_windows_over_small_numbers(node):
    return with_first_kid(node, "CASE WHEN abs({0}) < 1e6 THEN {0} END") if node.kind == "window inexact" and node.kids[0].type == "double" else node


def with_columns_without_nan(node):
    return Node("case", node.type, "CASE WHEN NOT isnan({0}) THEN {0} END", None, [node]) if node.kind == "column" and node.type in FLOATS else node


def with_in_that_meets_no_null(node):
    if node.kind not in ("in", "correlated in"):
        return node
    kids, constants = list(node.kids), VALUES[node.kids[0].type][0]
    for i, constant in ((0, constants[0]), (2, constants[1])):
        kids[i] = Node("coalesce", kids[i].type, "coalesce({0}, {1})", None, [kids[i], Literal(kids[i].type, constant)])
    return node.with_kids(kids)


def without_nans_sign(node):
    if node.type not in FLOATS or node.kind == "literal":
        return node
    return Node("case", node.type, "CASE WHEN isnan({0}) THEN {1} ELSE {0} END", None, [node, Literal(node.type, float("nan"))])


def with_names_of_its_own(node):
    """Each column of a table gets a name that no other table's column has."""
    if isinstance(node, Table):
        fields = ", ".join(f"{name} AS {node.alias}_{name}" for name in SCHEMAS[node.name])
        return Node("derived", "source", f"(SELECT {fields} FROM {{0}}) {node.alias}", None, [node])
    if node.kind == "column" and not re.fullmatch(r"\w+\.c\d+", node.ours):
        alias, name = node.ours.split(".")
        return Node("column", node.type, f"{alias}.{alias}_{name}")
    return node


def with_xor_that_knows_null(node):
    if node.kind == "bits" and "^" in node.ours and node.kids[0].ours == node.kids[1].ours:
        return Node("bits", node.type, "({0} & {1})", None, [node.kids[0], Literal(node.type, 0)])
    return node


def without_undefined(node):
    if node.kind not in ("inexact", "window inexact"):
        return node
    return Node("case", node.type, "CASE WHEN NOT isnan({0}) THEN {0} END", None, [node])


VALUE_ERRORS = re.compile(r"overflow on|is too (large|small) to store|Error parsing|[Cc]ast error|Cannot cast|Conversion Error|Divi(de|sion) by zero|Overflow|Out of Range|negative number|out of range|can't be cast|Could not|error: Arrow error")
CAN_FAIL = {"cast", "cast text", "cast float to integer", "cast decimal to integer", "divide", "modulo", "sqrt", "add", "subtract", "multiply", "negate", "mixed", "abs", "wide", "sum", "ts and interval", "zone", "trunc", "bucket", "date and interval"}


def fails_somewhere(d, asked):
    """An expression of the query fails in both engines when it is asked for every row of what it reads.

    So they differ only in the rows that they compute it for, before or after a filter, a join or a branch, and that is promised by neither.
    """
    if not d.sorts <= {"fails", "answers"} or not all(VALUE_ERRORS.search(e) for e in d.errors()):
        return False
    sources = {s.alias: s for s in d.tree.walk() if isinstance(s, Table)}
    for node in d.tree.walk():
        if node.kind in CAN_FAIL and node.type:
            reads = {n.ours.split(".")[0] for n in node.walk() if n.kind == "column"}
            if reads <= set(sources):
                items = several("items", [node], ", ")
                tables = several("tables", [sources[a] for a in sorted(reads)], ", ", " FROM ")
                tree = Node("select", "query", "SELECT {0} AS c1{1}", None, [items, tables])
                if any(asked.fails(tree, *way) for way in d.ways if d.ways[way][0] == "fails") and asked.fails_in_duck(tree) or "fails" not in d.sorts and asked.fails(tree, *d.first()) and asked.fails_in_duck(tree):
                    return True
    return False


EXPLAINED = [
    Reason("undefined statistic", both(has("inexact", "window inexact"), lambda d, asked: gone_when(without_undefined)(d, asked)), at_once=True),
    Reason("variance of an infinite value", both(has("inexact", "window inexact"), spread, nan_of_infinities), at_once=True),
    Reason("variance of an infinite value", both(has("inexact", "window inexact"), spread, duck_says("is out of range!")), at_once=True),
    Reason("sign of NaN", both(has("sign"), becomes("nan", 0.0))),
    Reason("double that no float holds", both(has("cast"), duck_says("out of range for the destination type FLOAT")), at_once=True),
    Reason("root of a negative number", both(has("sqrt"), ours_says("cannot take square root of a negative number")), at_once=True),
    Reason("subquery that is refused", both(has("exists", "in", "scalar", "correlated exists", "correlated in", "correlated scalar"),
                                            ours_says("Physical plan does not support logical expression", "No field named __set", "null_aware anti join only supports single column", "Correlated scalar subquery (in the GROUP BY|can only be used)", "subquery can only be used in")), at_once=True),
    Reason("time in a zone of its own", lambda d, _: has("zone")(d) and d.sorts == {"values"}),
    Reason("time in a zone of its own", both(has("zone"), ours_says("Cannot coerce arithmetic expression Timestamp", "Cannot cast timezone to different timezone"))),
    Reason("AT TIME ZONE gives an instant", both(has("zone"), types(("instant", "local time"))), at_once=True),
    Reason("rows that an error is computed for", fails_somewhere, at_once=True),
]

KNOWN = [
    Reason("overflow wraps around", duck_says(r"Overflow in (addition|subtraction|multiplication|negation)", r"INT128 with value"), at_once=True),
    Reason("far dates go through nanoseconds", ours_says(r"to Timestamp\(ns\)", "to Nanosecond", r"Timestamp -?\d+ out of range", "Overflow happened on: "), at_once=True),
    Reason("parameter without a type of its own", ours_says("invalid_query", "Utf8", "Null", "Interval", "coerce", "coercion", "non UTF-8", "Cannot cast string", bound=True), at_once=True),
    Reason("parameter of another type", lambda d, _: d.only_bound, at_once=True),
    Reason("epoch of a difference", lambda d, _: d.sorts == {"values"} and "extract(epoch FROM (" in str(d)),
    Reason("IN forgets NULL under OR, NOT, CASE", gone_when(with_in_that_meets_no_null), at_once=True),
    Reason("NOT IN of nothing", lambda d, _: d.sorts == {"values"} and any(n.kind == "correlated in" and isinstance(n.kids[0], Literal) for n in d.tree.walk())),
    Reason("grouped extremes of NaN", gone_when(with_extremes_without_nan), at_once=True),
    Reason("percentile between infinities", both(has("percentile"), becomes("nan", math.inf))),
    Reason("percentile between infinities", both(has("percentile"), becomes("nan", -math.inf))),
    Reason("first by order of nothing", ours_says("attempt to subtract with overflow"), at_once=True),
    Reason("DISTINCT of IS TRUE", ours_says("Physical input schema should be the same"), at_once=True),
    Reason("ANY and ALL", lambda d, _: has("any or all", "correlated any or all")(d) and not d.only_bound),
    Reason("committed rows with NaN are pruned", both(committed, gone_when(without_zeros_sign)), at_once=True),
    Reason("sliding window over NaN, infinity and large numbers", gone_when(with_windows_over_small_numbers), at_once=True),
    Reason("zero with a sign", gone_when(without_zeros_sign), at_once=True),
    Reason("NaN with a sign", gone_when(without_nans_sign), at_once=True),
    Reason("a date and an instant lose the zone", types(("local time", "instant")), at_once=True),
    Reason("decimal and double become a decimal", types(("decimal", "float"), ("local time", "instant")), at_once=True),
    Reason("decimal and double become a decimal", ours_says(r"Cannot cast to Decimal128\(30, 15\)", r"Decimal128\(\d+, 15\)"), at_once=True),
    Reason("EXCEPT ALL and INTERSECT ALL do not count", both(has("except all", "intersect all"), lambda d: d.sorts == {"values"})),
    Reason("types of EXCEPT and INTERSECT", both(has("except", "intersect", "except all", "intersect all"), lambda d: d.sorts == {"types"})),
    Reason("types of EXCEPT and INTERSECT", both(has("except", "intersect", "except all", "intersect all"), duck_says("Binder Error"))),
    Reason("extremes of an expression and of a column", both(committed, gone_when(with_extremes_of_expressions)), at_once=True),
    Reason("NULL beside bytes", ours_says("coalesce")),
    Reason("DISTINCT of NaN with LIMIT", ours_says("entered unreachable code"), at_once=True),
    Reason("DISTINCT of NaN with LIMIT", both(has("limit"), has("distinct", "group"), gone_when(with_columns_without_nan)), at_once=True),
    Reason("LIKE with another escape", ours_says("LIKE does not support escape_char"), at_once=True),
    Reason("ranks are unsigned", ours_says("UInt64", r"value 184\d+ to type Int64", "only supports signed numeric"), at_once=True),
    Reason("subquery in a list of values", ours_says(r"Expected: \), found: ", r"Expected: identifier, found: \("), at_once=True),
    Reason("pushed down subquery", ours_says("single expression required"), at_once=True),
    Reason("filter on a column of a derived aggregate", lambda d, _: d.sorts == {"values"} and filters_an_aggregate(d)),
    Reason("NULL NOT IN a subquery", lambda d, _: d.sorts == {"values"} and any(n.kind in ("in", "correlated in") and isinstance(n.kids[0], Literal) and n.kids[0].value is None for n in d.tree.walk())),
    Reason("XOR of a value with itself", gone_when(with_xor_that_knows_null), at_once=True),
    Reason("order by one of two equal columns", ours_says(r"Error during planning: Plan: \["), at_once=True),
    Reason("join with columns of one name", both(has("join", "left join", "right join", "full join"), gone_when(with_names_of_its_own)), at_once=True),
    Reason("aggregates that differ in a cast", ours_says("ambiguous_name: Schema error: Schema contains duplicate unqualified field name", "Projections require unique expression names"), at_once=True),
    Reason("HAVING of a derived table without its column", ours_says("PhysicalExpr Column references column"), at_once=True),
]


def filters_an_aggregate(d):
    """A query reads a derived aggregate without groups, and has conditions."""
    def whole(node):
        return node.kind == "group" and not node.kids[3].kids
    return any(n.kind in ("select", "distinct", "group") and n.kids[2].kids and any(whole(inner) for derived in n.kids[1].walk() if derived.kind in ("derived", "shared") for inner in derived.walk()) for n in d.tree.walk()) \
        or "cte" in d.tree.kinds() and any(whole(n) for n in d.tree.walk())


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
