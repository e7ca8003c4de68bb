"""One query asked in all ways, and what came of it."""

import dataclasses
import random

from . import queries
from .answers import differ
from .engines import SCHEMAS, Failed
from .expressions import Maker
from .tree import Spelling, text_of

INEXACT = {"inexact", "window inexact", "percentile", "median"}
# One of so many queries may have expressions that fail on some value.
FAILING = 12


def make(seed, number):
    rng = random.Random(f"{seed}/{number}")
    return queries.query(Maker(rng, rng.randrange(FAILING) == 0)), rng


def why(tree, ours, theirs):
    """Why two answers differ: `(sort of difference, words)`, or None."""
    if isinstance(ours, Failed) and isinstance(theirs, Failed):
        return None
    if isinstance(ours, Failed):
        return "fails", ours.what
    if isinstance(theirs, Failed):
        return "answers", theirs.what
    words = differ(ours, theirs, queries.order_of(tree), bool(tree.kinds() & INEXACT))
    return words and ("types" if words.startswith("types") else "values", words)


@dataclasses.dataclass
class Difference:
    """`ways`: each way of asking, `(schema, bound)`, that does not give DuckDB's answer, with the sort of difference and its words."""
    tree: object
    ways: dict
    ours: dict
    duck: object

    @property
    def sorts(self):
        return {sort for sort, _ in self.ways.values()}

    @property
    def only_bound(self):
        """Written out, the query gives DuckDB's answer."""
        return all(bound for _, bound in self.ways)

    @property
    def only_schemas(self):
        return {schema for schema, _ in self.ways}

    def errors(self):
        """Our errors where DuckDB answers, and DuckDB's where we answer."""
        return [outcome.text for way, outcome in self.ours.items() if way in self.ways and isinstance(outcome, Failed)] + ([self.duck.text] if "answers" in self.sorts else [])

    def first(self):
        return min(self.ways, key=lambda way: (way[1], way[0]))

    def __str__(self):
        way = self.first()
        sort, words = self.ways[way]
        ours, duck = text_of(self.tree, Spelling(schema=way[0], bound=[] if way[1] else None)), text_of(self.tree, Spelling(duck=True))
        bound = [] if way[1] else None
        if way[1]:
            text_of(self.tree, Spelling(schema=way[0], bound=bound))
        ways = " ".join(f"{schema}{'?' if b else ''}" for schema, b in sorted(self.ways))
        error = "\n  error: " + self.errors()[0][:400].replace("\n", " ") if self.errors() else ""
        return f"{sort} [{ways}] {words}\n  ours: {ours}\n  duck: {duck}" + (f"\n  bound: {[a[0] for a in bound]}" if bound else "") + error


def ways_of(rng):
    """Two ways that differ in where the rows are and in whether constants are bound; all ways meet over many queries."""
    first, second = rng.sample(SCHEMAS, 2)
    return [(first, False), (second, True)]


ALL_WAYS = [(schema, bound) for bound in (False, True) for schema in SCHEMAS]
WRITTEN_OUT = [way for way in ALL_WAYS if not way[1]]


def check(ours, duck, tree, ways=ALL_WAYS, failed=None):
    """The difference that a query shows when it is asked in these ways, or None. `failed` counts the queries that DuckDB refuses."""
    theirs = duck.ask(tree)
    if failed is not None and isinstance(theirs, Failed):
        failed[theirs.what] += 1
    got = {way: ours.ask(tree, *way) for way in ways}
    found = {way: reason for way in ways if (reason := why(tree, got[way], theirs))}
    return Difference(tree, found, got, theirs) if found else None
