"""What each client can do with the server: one class for each client, one method for each capability.

A method that returns has shown that the client can do it. A method with `@absent(reason)` shows that the client cannot, whatever the server
does. The table of the README is made of these classes, and test_client_table.py runs each method.
"""

import datetime
import decimal

# The columns of the README's table, in their order.
CAPABILITIES = {
    "tree": "list tables",
    "types": "all types",
    "parameters": "parameters",
    "changes": "change rows",
    "rows": "many rows",
    "ingest": "bulk ingest",
    "transactions": "transactions",
    "cancel": "cancel",
    "errors": "error texts",
    "versions": "older versions",
}

# A row of every type that a table keeps, and a row of nulls.
SETUP = [
    "CREATE TABLE lab.kinds (id BIGINT NOT NULL, tiny TINYINT, small SMALLINT, n INT, ok BOOLEAN, x DOUBLE, f FLOAT, t STRING, raw BINARY, day DATE, "
    "at TIMESTAMP, local TIMESTAMP_NTZ, price DECIMAL(20,4))",
    "INSERT INTO lab.kinds VALUES (1, -7, 300, 70000, true, 0.5, 0.25, 'ä''b', X'00ff', DATE '2026-01-02', TIMESTAMP '2026-01-02T03:04:05.678901Z', "
    "TIMESTAMP '2026-01-02 03:04:05.678901', CAST('1234567890123456.7891' AS DECIMAL(20,4)))",
    "INSERT INTO lab.kinds (id) VALUES (2)",
    "CREATE VIEW lab.seen AS SELECT id, t FROM lab.kinds",
    "CREATE TABLE lab.grown AS SELECT 1 AS a",
    "INSERT INTO lab.grown VALUES (2), (3)",
]
TYPES = "SELECT * FROM lab.kinds ORDER BY id"
COLUMNS = ["id", "tiny", "small", "n", "ok", "x", "f", "t", "raw", "day", "at", "local", "price"]
LOCAL = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901)
FULL = (1, -7, 300, 70000, True, 0.5, 0.25, "ä'b", b"\x00\xff", datetime.date(2026, 1, 2), LOCAL.replace(tzinfo=datetime.UTC), LOCAL, decimal.Decimal("1234567890123456.7891"))
NULLS = (2,) + (None,) * 12
# Version 1 of lab.grown has one row. The newest version has three.
OLDER = "SELECT count(*) AS n FROM lab.grown VERSION AS OF 1"
MISTAKE, NAMED = "SELECT pressure FROM lab.kinds", "No field named pressure"


def absent(reason):
    """The client cannot do it. The method shows that; `reason` stands in docs/clients.md."""
    def mark(method):
        method.absent = reason
        return method
    return mark


class Client:
    """`name`: as the README has it; `schema`: where the client makes its tables, a name that no other client has."""
    name = None
    # Checks beside those of the table.
    extra = []

    def __init__(self, server, schema):
        self.server, self.schema = server, schema

    def close(self):
        pass

    @property
    def endless(self):
        """A query that never ends by itself. Its text names the client, so that it is found in system.queries."""
        return f"SELECT value, 'cancel {self.schema}' AS who FROM generate_series(1, 1000000000000000)"

    @property
    def endless_count(self):
        """The same, but it gives no row before its end."""
        return f"SELECT count(*), 'cancel {self.schema}' AS who FROM generate_series(1, 1000000000000000)"

    def count(self, table):
        return self.server.one(f"SELECT count(*) FROM {self.schema}.{table}")


def reason(client, capability):
    """Why the client cannot do it, or None."""
    return getattr(getattr(client, capability), "absent", None)


def from_information_schema(ask):
    """The tree of a client that has no call for it. `ask`: gives the rows of a statement as tuples."""
    assert ("deltaplane", "lab") in ask("SELECT catalog_name, schema_name FROM information_schema.schemata")
    tables = ask("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'lab'")
    assert {("kinds", "BASE TABLE"), ("seen", "VIEW")} <= set(tables)
    columns = ask("SELECT column_name FROM information_schema.columns WHERE table_schema = 'lab' AND table_name = 'kinds' ORDER BY ordinal_position")
    assert [name for (name,) in columns] == COLUMNS
