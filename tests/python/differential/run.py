"""A server and DuckDB with the same rows, and queries that go to both."""

import collections

from . import tables
from .check import ALL_WAYS, check, make, ways_of
from .engines import Duck, Ours
from .reasons import Asked, explain
from .shrink import smallest


class Session:
    def __init__(self, server, ways=ALL_WAYS):
        self.ways = ways
        tables.fill_ours(server)
        self.duck, self.ours = Duck(), Ours(server)
        tables.fill_duck(self.duck.connection)
        self.asked, self.failed = Asked(self.ours, self.duck), collections.Counter()

    def close(self):
        self.ours.close()

    def query(self, seed, number):
        """None, or why the answers to the generated query differ (None if no reason is known), and the difference."""
        tree, rng = make(seed, number)
        first = [way for way in ways_of(rng) if way in self.ways]
        difference = check(self.ours, self.duck, tree, first, self.failed)
        if difference is None:
            return None
        return self.explained(difference)

    def explained(self, difference):
        reason = explain(difference, self.asked, small=False)
        if reason is None:
            tree = smallest(self.ours, self.duck, difference)
            difference = check(self.ours, self.duck, tree, self.ways) or difference
            reason = explain(difference, self.asked, small=True)
        return reason, difference
