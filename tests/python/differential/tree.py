"""A query as a tree, with one spelling for deltaplane and one for DuckDB."""

import dataclasses
import datetime as dt
import decimal
import functools
import re

import pyarrow as pa

ARROW = {
    "bigint": pa.int64(), "int": pa.int32(), "smallint": pa.int16(), "double": pa.float64(), "float": pa.float32(), "decimal": pa.decimal128(12, 3), "text": pa.string(),
    "bool": pa.bool_(), "date": pa.date32(), "ts": pa.timestamp("us", "UTC"), "ntz": pa.timestamp("us"), "binary": pa.binary(),
}
NAMES = {"bigint": "BIGINT", "int": "INT", "smallint": "SMALLINT", "double": "DOUBLE", "float": "FLOAT", "decimal": "DECIMAL(12,3)", "text": "STRING", "bool": "BOOLEAN", "date": "DATE",
         "ts": "TIMESTAMPTZ", "ntz": "TIMESTAMP", "binary": "BYTEA"}


@functools.cache
def parts(template):
    """The template's text and the numbers of its children, in turn."""
    return [int(p) if i % 2 else p for i, p in enumerate(re.split(r"\{(\d+)\}", template))]


@dataclasses.dataclass(frozen=True)
class Spelling:
    """Where a text is for: the schema of the tables, and whether constants are bound."""
    duck: bool = False
    schema: str = ""
    bound: list | None = None


class Node:
    """A piece of a query. `ours` and `duck` are texts with `{0}`, `{1}` .. where the children stand; `type` is None for what is no value."""
    __slots__ = ("kind", "type", "ours", "duck", "kids", "least")

    def __init__(self, kind, type, ours, duck=None, kids=(), least=None):
        # `least`: this is a list, and so many of its children must stay.
        self.kind, self.type, self.ours, self.duck, self.kids, self.least = kind, type, ours, ours if duck is None else duck, list(kids), least

    def with_kids(self, kids):
        return Node(self.kind, self.type, self.ours, self.duck, kids, self.least)

    def write(self, how, out):
        if self.least is not None:
            if self.kids:
                before, between, after = self.ours
                out.append(before)
                for i, kid in enumerate(self.kids):
                    out.append(between if i else "")
                    kid.write(how, out)
                out.append(after)
            return
        for part in parts(self.duck if how.duck else self.ours):
            if isinstance(part, str):
                out.append(part)
            else:
                self.kids[part].write(how, out)

    def walk(self):
        yield self
        for kid in self.kids:
            yield from kid.walk()

    def kinds(self):
        return {node.kind for node in self.walk()}


def several(kind, kids, between, before="", after="", least=0):
    """A list of nodes; without any, nothing is written."""
    return Node(kind, None, (before, between, after), None, kids, least)


class Table(Node):
    """A table of the generated schema, under an alias."""
    __slots__ = ("name", "alias")

    def __init__(self, name, alias):
        super().__init__("table", "source", name)
        self.name, self.alias = name, alias

    def with_kids(self, kids):
        return self

    def write(self, how, out):
        out.append(f"{self.name} {self.alias}" if how.duck else f"{how.schema}.{self.name} {self.alias}")


class Literal(Node):
    """A constant: written out, or bound as a parameter where `binds` allows it."""
    __slots__ = ("value", "binds")

    def __init__(self, type, value, binds=False):
        super().__init__("literal", type, "")
        self.value, self.binds = value, binds

    def with_kids(self, kids):
        return self

    def write(self, how, out):
        if how.bound is None or not self.binds:
            out.append(literal(self.type, self.value, how.duck))
            return
        how.bound.append(pa.array([self.value], ARROW[self.type]))
        # A bare `?` gets the type that its context gives; a type that the literal names is named for the parameter, too.
        out.append(f"CAST(? AS {NAMES[self.type]})" if self.type in ("int", "smallint", "float") or self.value is None and self.type != "binary" else "?")


def literal(type, value, duck):
    name = NAMES[type]
    if type == "binary":
        if value is None:
            return "CAST(NULL AS BYTEA)" if duck else "arrow_cast(NULL, 'Binary')"
        return f"unhex('{value.hex()}')" if duck else f"X'{value.hex()}'"
    if value is None:
        return f"CAST(NULL AS {name})"
    match type:
        case "bigint":
            if value == -2**63:
                return "(-9223372036854775807::BIGINT - 1::BIGINT)" if duck else "(-9223372036854775807 - 1)"
            text = f"({value})" if value < 0 else str(value)
            return f"{text}::BIGINT" if duck else text
        case "int" | "smallint":
            return f"CAST({value} AS {name})"
        case "double" | "float":
            text = repr(value)
            if text in ("nan", "inf", "-inf"):
                return f"CAST('{text}' AS {name})"
            if type == "float":
                return f"CAST('{text}' AS FLOAT)" if duck else f"CAST({text} AS FLOAT)"
            if duck:
                # A number that is written out is a decimal first, which has no zero with a sign.
                return f"'{text}'::DOUBLE"
            return f"({text})" if text.startswith("-") else text
        case "decimal":
            return f"CAST('{value}' AS {name})"
        case "text":
            return "'" + value.replace("'", "''") + "'"
        case "bool":
            return "true" if value else "false"
        case "date":
            return f"DATE '{value.isoformat()}'"
        case "ts" | "ntz":
            return f"{name} '{value.isoformat(sep=' ')}'"


def text_of(node, how):
    out = []
    node.write(how, out)
    return "".join(out)


UTC = dt.timezone.utc
D = decimal.Decimal
