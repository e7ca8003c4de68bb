"""Expressions of a given type over the columns in reach, from a seed."""

import dataclasses

from .tree import Literal, Node, several
from .tables import VALUES

NUMBERS = ("bigint", "int", "smallint", "double", "float", "decimal")
TYPES = tuple(VALUES)
# Of types that are rare in telemetry there are fewer expressions.
WEIGHT = {"bigint": 6, "int": 2, "smallint": 1, "double": 7, "float": 1, "decimal": 2, "text": 5, "bool": 2, "date": 3, "ts": 5, "ntz": 2, "binary": 1}


@dataclasses.dataclass(frozen=True)
class Column:
    alias: str
    name: str
    type: str

    def node(self):
        return Node("column", self.type, f"{self.alias}.{self.name}")


def rule(kind, type, ours, *args, duck=None, weight=1, fails=False):
    return kind, type, ours, duck, args, weight, fails


def word(*choices):
    """A piece of syntax, or a constant that is never bound; a pair is spelled in two ways."""
    return choices


UNITS = word("'minute'", "'hour'", "'day'", "'week'", "'month'", "'quarter'", "'year'")
FIELDS = word("year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "hour", "minute", "second")
DATE_FIELDS = word("year", "quarter", "month", "week", "day", "doy", "dow", "isodow")
SPANS = word("1 second", "90 seconds", "5 minutes", "1 hour", "36 hours", "1 day", "10 days", "1 month", "1 year")
LENGTHS = word("1 second", "90 minutes", "36 hours", "1 day", "30 days", "1 month", "1 year", "-2 hours", "1 day 12 hours")
ORDERS = word("<", ">", "<=", ">=", "=", "<>")
# As SIMILAR TO has them, and as regular expressions of a whole text.
WHOLE = word(("'%[0-9]'", "'(?s:.*[0-9])'"), ("'(a|r)%'", "'(?s:(a|r).*)'"), ("'_'", "'(?s:.)'"), ("'%(or|ea)%'", "'(?s:.*(or|ea).*)'"), ("'[a-z]+'", "'[a-z]+'"))
WIDTHS = word("1 second", "10 seconds", "7 minutes", "15 minutes", "1 hour", "6 hours", "1 day", "7 days")
SMALL = word("0", "1", "2", "3", "5")
DIVISORS = word(*[(str(n), f"{n}::BIGINT") for n in (2, 3, 7, 10, 1000)], ("(-3)", "(-3)::BIGINT"))
PATTERNS = word("'a%'", "'%r_'", "'%'", "'_'", "''", "'%ö%'", "'%-%-%'", "'R%'")
REGEXES = word("'^r'", "'[0-9]'", "'a|b'", "'^$'", "'.'", "'(?i)A'")
SEPARATORS = word("'-'", "'a'", "'_'", "'xyz'")

RULES = [
    # Numbers.
    rule("add", "bigint", "({0} + {1})", "bigint", "bigint", weight=3),
    rule("subtract", "bigint", "({0} - {1})", "bigint", "bigint", weight=2),
    rule("multiply", "bigint", "({0} * {1})", "bigint", "bigint", weight=2),
    rule("negate", "bigint", "(-{0})", "bigint"),
    rule("divide", "bigint", "({0} / {1})", "bigint", DIVISORS, duck="({0} // {1})"),
    rule("modulo", "bigint", "({0} % {1})", "bigint", DIVISORS),
    rule("divide", "bigint", "({0} / nullif({1}, 0))", "bigint", "bigint", duck="({0} // nullif({1}, 0))"),
    rule("divide", "bigint", "({0} / {1})", "bigint", "bigint", duck="({0} // {1})", fails=True),
    rule("modulo", "bigint", "({0} % {1})", "bigint", "bigint", fails=True),
    rule("abs", "bigint", "abs({0})", "bigint"),
    rule("bits", "bigint", "({0} & {1})", "bigint", "bigint"),
    rule("bits", "bigint", "({0} | {1})", "bigint", "bigint"),
    rule("bits", "bigint", "({0} ^ {1})", "bigint", "bigint", duck="xor({0}, {1})"),
    rule("cast", "bigint", "CAST({0} AS BIGINT)", "int"),
    rule("cast", "bigint", "CAST({0} AS BIGINT)", "bool"),
    rule("cast float to integer", "bigint", "CAST({0} AS BIGINT)", "double", duck="CAST(trunc({0}) AS BIGINT)", fails=True),
    rule("cast decimal to integer", "bigint", "CAST({0} AS BIGINT)", "decimal", duck="CAST(trunc({0}) AS BIGINT)", fails=True),
    rule("cast text", "bigint", "CAST({0} AS BIGINT)", "text", fails=True),
    rule("wide", "bigint", "({0} + {1})", "bigint", "int"),
    rule("date difference", "bigint", "({0} - {1})", "date", "date"),
    rule("date_diff", "bigint", "date_diff({0}, {1}, {2})", word("'second'", "'minute'", "'hour'", "'day'", "'week'", "'month'", "'quarter'", "'year'"), "ts", "ts"),
    rule("date_diff", "bigint", "date_diff({0}, {1}, {2})", word("'day'", "'month'", "'year'"), "date", "date"),
    rule("part", "bigint", "{0}({1})", word("year", "month", "day", "hour", "minute"), "ts"),
    rule("add", "int", "({0} + {1})", "int", "int", weight=2, fails=True),
    rule("multiply", "int", "({0} * {1})", "int", "int", fails=True),
    rule("add", "int", "({0} + {1})", "int", "smallint", fails=True),
    rule("cast", "int", "CAST({0} AS INT)", "bigint", fails=True),
    rule("cast", "int", "CAST({0} AS INT)", "smallint"),
    rule("length", "int", "length({0})", "text", duck="CAST(length({0}) AS INT)", weight=2),
    rule("position", "int", "strpos({0}, {1})", "text", "text", duck="CAST(strpos({0}, {1}) AS INT)"),
    rule("extract", "int", "CAST(extract({0} FROM {1}) AS INT)", FIELDS, "ts", weight=2),
    rule("extract", "int", "CAST(extract({0} FROM {1}) AS INT)", DATE_FIELDS, "date"),
    rule("extract", "int", "CAST(extract({0} FROM {1}) AS INT)", FIELDS, "ntz"),
    rule("add", "smallint", "({0} + {1})", "smallint", "smallint", fails=True),
    rule("cast", "smallint", "CAST({0} AS SMALLINT)", "bigint", fails=True),
    rule("add", "double", "({0} + {1})", "double", "double", weight=3),
    rule("subtract", "double", "({0} - {1})", "double", "double", weight=2),
    rule("multiply", "double", "({0} * {1})", "double", "double", weight=2),
    rule("divide", "double", "({0} / {1})", "double", "double", weight=2),
    rule("negate", "double", "(-{0})", "double"),
    rule("mixed", "double", "({0} * {1})", "double", "bigint"),
    rule("mixed", "double", "({0} + {1})", "int", "double"),
    rule("mixed", "double", "({0} + {1})", "double", "float"),
    rule("abs", "double", "abs({0})", "double"),
    rule("floor", "double", "floor({0})", "double"),
    rule("ceil", "double", "ceil({0})", "double"),
    rule("round", "double", "round({0})", "double"),
    rule("round to", "double", "round({0}, {1})", "double", word("1", "2")),
    rule("trunc", "double", "trunc({0})", "double"),
    rule("sqrt", "double", "sqrt(abs({0}))", "double"),
    rule("sqrt", "double", "sqrt({0})", "double", fails=True),
    rule("logarithm", "double", "ln(abs({0}) + 1.0)", "double", duck="ln(abs({0}) + 1.0::DOUBLE)"),
    rule("exponential", "double", "exp(least({0}, 20.0))", "double", duck="exp(least({0}, 20.0::DOUBLE))"),
    rule("modulo", "double", "({0} % {1})", "double", "double"),
    rule("sign", "double", "signum({0})", "double", duck="CAST(sign({0}) AS DOUBLE)"),
    rule("power", "double", "power({0}, 2)", "double", duck="power({0}, 2::DOUBLE)"),
    rule("cast", "double", "CAST({0} AS DOUBLE)", "bigint"),
    rule("cast", "double", "CAST({0} AS DOUBLE)", "float"),
    rule("cast", "double", "CAST({0} AS DOUBLE)", "decimal"),
    rule("cast text", "double", "CAST({0} AS DOUBLE)", "text", fails=True),
    rule("inexact", "double", "extract(epoch FROM {0})", "ts"),
    rule("inexact", "double", "extract(epoch FROM ({0} - {1}))", "ts", "ts"),
    rule("add", "float", "({0} + {1})", "float", "float"),
    rule("multiply", "float", "({0} * {1})", "float", "float"),
    rule("cast", "float", "CAST({0} AS FLOAT)", "double", fails=True),
    rule("add", "decimal", "({0} + {1})", "decimal", "decimal", weight=2),
    rule("subtract", "decimal", "({0} - {1})", "decimal", "decimal"),
    rule("multiply", "decimal", "({0} * {1})", "decimal", "decimal", fails=True),
    rule("mixed", "decimal", "({0} + {1})", "decimal", "int"),
    rule("abs", "decimal", "abs({0})", "decimal"),
    rule("cast", "decimal", "CAST({0} AS DECIMAL(12,3))", "double", fails=True),
    rule("cast", "decimal", "CAST({0} AS DECIMAL(12,3))", "bigint", fails=True),
    rule("cast text", "decimal", "CAST({0} AS DECIMAL(12,3))", "text", fails=True),
    # Texts.
    rule("upper", "text", "upper({0})", "text"),
    rule("lower", "text", "lower({0})", "text"),
    rule("concatenate", "text", "({0} || {1})", "text", "text", weight=2),
    rule("concat", "text", "concat({0}, {1})", "text", "text"),
    rule("concat_ws", "text", "concat_ws('-', {0}, {1})", "text", "text"),
    rule("substr", "text", "substr({0}, {1}, {2})", "text", SMALL, SMALL),
    rule("left", "text", "left({0}, {1})", "text", SMALL),
    rule("right", "text", "right({0}, {1})", "text", SMALL),
    rule("replace", "text", "replace({0}, {1}, {2})", "text", "text", "text"),
    rule("trim", "text", "trim({0})", "text"),
    rule("lpad", "text", "lpad({0}, {1}, '*')", "text", SMALL),
    rule("reverse", "text", "reverse({0})", "text"),
    rule("repeat", "text", "repeat({0}, {1})", "text", SMALL),
    rule("split_part", "text", "split_part({0}, {1}, {2})", "text", SEPARATORS, word("1", "2", "3")),
    rule("regexp_replace", "text", "regexp_replace({0}, '[0-9]+', '#', 'g')", "text"),
    rule("cast to text", "text", "CAST({0} AS STRING)", "bigint"),
    rule("cast to text", "text", "CAST({0} AS STRING)", "int"),
    rule("cast to text", "text", "CAST({0} AS STRING)", "date"),
    rule("cast to text", "text", "CAST({0} AS STRING)", "bool"),
    rule("cast to text", "text", "CAST({0} AS STRING)", "decimal"),
    rule("translate", "text", "translate({0}, 'abr', 'xy')", "text"),
    rule("initial", "text", "substr({0}, {1})", "text", SMALL),
    rule("rpad", "text", "rpad({0}, {1}, '*')", "text", SMALL),
    rule("ltrim", "text", "ltrim({0}, 'ra ')", "text"),
    rule("md5", "text", "md5({0})", "text"),
    rule("hex", "text", "encode({0}, 'hex')", "binary", duck="lower(hex({0}))"),
    rule("date text", "text", "to_char({0}, '%Y-%m-%d')", "date", duck="strftime({0}, '%Y-%m-%d')"),
    # Times.
    rule("make_date", "date", "make_date(2024, {0}, {1})", word("1", "2", "12"), word("1", "28", "29")),
    rule("from epoch", "ts", "to_timestamp({0})", "int"),
    rule("cast", "date", "CAST({0} AS DATE)", "ts", weight=2),
    rule("cast", "date", "CAST({0} AS DATE)", "ntz"),
    rule("cast text", "date", "CAST({0} AS DATE)", "text", fails=True),
    rule("trunc", "date", "CAST(date_trunc({0}, {1}) AS DATE)", word("'day'", "'week'", "'month'", "'quarter'", "'year'"), "date"),
    rule("ts and interval", "ts", "({0} {1} INTERVAL '{2}')", "ts", word("+", "-"), SPANS, weight=2),
    rule("trunc", "ts", "date_trunc({0}, {1})", UNITS, "ts", weight=3),
    rule("bucket", "ts", "time_bucket('{0}', {1})", WIDTHS, "ts", duck="time_bucket(INTERVAL '{0}', {1}, TIMESTAMPTZ '1970-01-01 00:00:00+00')", weight=3),
    rule("cast", "ts", "CAST({0} AS TIMESTAMPTZ)", "date"),
    rule("cast", "ts", "CAST({0} AS TIMESTAMPTZ)", "ntz"),
    rule("cast text", "ts", "CAST({0} AS TIMESTAMPTZ)", "text", fails=True),
    rule("ts and interval", "ntz", "({0} {1} INTERVAL '{2}')", "ntz", word("+", "-"), SPANS),
    rule("date and interval", "ntz", "({0} {1} INTERVAL '{2}')", "date", word("+", "-"), word("1 day", "10 days", "1 month", "1 year", "12 hours", "90 minutes"), weight=2),
    rule("trunc", "ntz", "date_trunc({0}, {1})", UNITS, "ntz"),
    rule("cast", "ntz", "CAST({0} AS TIMESTAMP)", "date"),
    rule("zone", "ntz", "({0} AT TIME ZONE {1})", "ts", word("'UTC'", "'Europe/Berlin'", "'Asia/Kolkata'"), weight=.3),
    rule("zone", "ts", "({0} AT TIME ZONE {1})", "ntz", word("'UTC'", "'Europe/Berlin'", "'Asia/Kolkata'"), weight=.3),
    # Conditions.
    rule("and", "bool", "({0} AND {1})", "bool", "bool", weight=4),
    rule("or", "bool", "({0} OR {1})", "bool", "bool", weight=3),
    rule("not", "bool", "(NOT {0})", "bool", weight=2),
    rule("is true", "bool", "({0} {1})", "bool", word("IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE", "IS UNKNOWN", "IS DISTINCT FROM true", "IS NOT DISTINCT FROM false"), weight=2),
    rule("like", "bool", "({0} {1} {2})", "text", word("LIKE", "NOT LIKE", "ILIKE"), PATTERNS, weight=3),
    rule("regex", "bool", "regexp_like({0}, {1})", "text", REGEXES, duck="regexp_matches({0}, {1})"),
    rule("like", "bool", "({0} LIKE {1} ESCAPE '!')", "text", word("'x!_y'", "'100!%'", "'%!_%'", "'!!%'")),
    rule("contains", "bool", "contains({0}, {1})", "text", "text"),
    rule("ends_with", "bool", "ends_with({0}, {1})", "text", "text"),
    rule("starts_with", "bool", "starts_with({0}, {1})", "text", "text"),
    rule("similar", "bool", "({0} {1} {2})", "text", word("SIMILAR TO"), WHOLE, duck="regexp_full_match({0}, {2})"),
    rule("compare lengths", "bool", "(({0} - {1}) {2} INTERVAL '{3}')", "ts", "ts", ORDERS, LENGTHS, weight=2),
    rule("compare lengths", "bool", "(({0} - {1}) {2} ({3} - {4}))", "ts", "ts", ORDERS, "ts", "ts"),
    rule("compare lengths", "bool", "(INTERVAL '{0}' {1} ({2} - {3}))", LENGTHS, ORDERS, "ntz", "ntz"),
    rule("time of day", "bool", "(CAST({0} AS TIME) {1} TIME '{2}')", "ntz", ORDERS, word("00:00:00", "06:00:00", "12:00:00", "23:59:59.5")),
    rule("isnan", "bool", "isnan({0})", "double"),
    rule("compare mixed", "bool", "({0} {1} {2})", "bigint", word("<", ">", "="), "double", weight=2),
    rule("compare mixed", "bool", "({0} {1} {2})", "int", word("<", ">=", "="), "bigint"),
    rule("compare mixed", "bool", "({0} {1} {2})", "decimal", word("<", ">", "="), "bigint"),
    rule("compare mixed", "bool", "({0} {1} {2})", "float", word("<", ">", "="), "double"),
    rule("compare mixed", "bool", "({0} {1} {2})", "date", word("<", ">", "="), "ts"),
    rule("compare mixed", "bool", "({0} {1} {2})", "date", word("<=", ">", "="), "ntz"),
    rule("compare with text", "bool", "({0} {1} {2})", "ts", word("<", ">="), word("'2026-03-29'", "'2026-03-29 01:00:00'", "'2025-10-26T00:30:00Z'", "'2026-03-29 02:30:00+01:00'")),
    rule("compare with text", "bool", "({0} {1} {2})", "date", word("<", ">=", "="), word("'2026-03-29'", "'0001-01-01'", "'9999-12-31'")),
]
for T in TYPES:
    RULES += [
        rule("case", T, "CASE WHEN {0} THEN {1} ELSE {2} END", "bool", T, T),
        rule("case", T, "CASE WHEN {0} THEN {1} END", "bool", T, weight=.5),
        rule("simple case", T, "CASE {0} WHEN {1} THEN {2} ELSE {3} END", "text", "text", T, T, weight=.4),
        rule("simple case", T, "CASE {0} WHEN {1} THEN {2} END", "bigint", "bigint", T, weight=.3),
        rule("coalesce", T, "coalesce({0}, {1})", T, T, weight=1.5),
        rule("coalesce", T, "coalesce({0}, {1}, {2})", T, T, T, weight=.3),
        rule("nullif", T, "nullif({0}, {1})", T, T, weight=.5),
        rule("compare", "bool", "({0} {1} {2})", T, word("=", "<>", "<", "<=", ">", ">="), T, weight=WEIGHT[T] * 1.2),
        rule("distinct from", "bool", "({0} {1} {2})", T, word("IS DISTINCT FROM", "IS NOT DISTINCT FROM"), T, weight=WEIGHT[T] * .3),
        rule("is null", "bool", "({0} {1})", T, word("IS NULL", "IS NOT NULL"), weight=WEIGHT[T] * .3),
        rule("in list", "bool", "({0} {1} ({2}, {3}, {4}))", T, word("IN", "NOT IN"), T, f"={T}", f"={T}", weight=WEIGHT[T] * .5),
        rule("any of list", "bool", "({0} {1} ANY ([{2}, {3}]))", T, ORDERS, f"={T}", f"={T}", weight=WEIGHT[T] * .15),
        rule("if", T, "if({0}, {1}, {2})", "bool", T, T, weight=.2),
        rule("between", "bool", "({0} {1} {2} AND {3})", T, word("BETWEEN", "NOT BETWEEN"), T, T, weight=WEIGHT[T] * .5),
    ]
    if T not in ("bool", "binary"):
        RULES += [rule("greatest", T, "greatest({0}, {1})", T, T, weight=.7), rule("least", T, "least({0}, {1})", T, T, weight=.7)]
BY_TYPE = {T: [r for r in RULES if r[1] == T] for T in TYPES}


class Maker:
    """Makes nodes from one random generator. `fails`: expressions that can fail on some value are among them."""

    def __init__(self, rng, fails):
        self.rng, self.fails, self.count = rng, fails, 0
        # A query is rarely about all types.
        self.subqueries = None

    def alias(self, letter="t"):
        self.count += 1
        return f"{letter}{self.count}"

    def type(self, among=TYPES):
        return self.rng.choices(among, [WEIGHT[t] for t in among])[0]

    def word(self, choices):
        choice = self.rng.choice(choices)
        return Node("word", None, *choice) if isinstance(choice, tuple) else Node("word", None, choice)

    def literal(self, type):
        usual, rare = VALUES[type]
        chance = self.rng.random()
        often = .12 if self.fails or type in ("double", "float", "text", "binary") else .05
        value = None if chance < .04 else self.rng.choice(rare) if chance < often else self.rng.choice(usual)
        return Literal(type, value, self.rng.random() < .7)

    def leaf(self, scope, type):
        columns = [c for c in scope if c.type == type]
        if columns and self.rng.random() < .8:
            return self.rng.choice(columns).node()
        return self.literal(type)

    def value(self, scope, type, depth):
        """An expression of the type, of at most `depth` levels."""
        if depth <= 0 or self.rng.random() < .25:
            return self.leaf(scope, type)
        rules = [r for r in BY_TYPE[type] if self.fails or not r[6]]
        if self.subqueries and self.rng.random() < (.1 if type == "bool" else .04):
            node = self.subqueries(self, scope, type, depth - 1)
            if node:
                return node
        kind, type, ours, duck, args, _, _ = self.rng.choices(rules, [r[5] for r in rules])[0]
        kids = [self.word(a) if isinstance(a, tuple) else self.leaf(scope, a[1:]) if a[0] == "=" else self.value(scope, a, depth - 1) for a in args]
        return Node(kind, type, ours, duck, kids)

    def plain(self, scope, type, depth):
        """An expression without subqueries."""
        kept, self.subqueries = self.subqueries, None
        try:
            return self.value(scope, type, depth)
        finally:
            self.subqueries = kept

    def condition(self, scope, depth):
        """Conditions that all have to hold."""
        return several("conditions", [self.value(scope, "bool", depth) for _ in range(self.rng.choice((1, 1, 1, 2, 2, 3)))], " AND ", " WHERE ")
