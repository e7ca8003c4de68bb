"""The tables that generated queries read: telemetry with every type and every value at the edge of one."""

import datetime as dt
import random

import pyarrow as pa

from conftest import Stream

from .tree import ARROW, D, UTC

NOON = dt.datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
BERLIN_CHANGES = [NOON, dt.datetime(2026, 3, 29, 1, 0, tzinfo=UTC), dt.datetime(2025, 10, 26, 0, 30, tzinfo=UTC), dt.datetime(2025, 10, 26, 1, 0, tzinfo=UTC)]
FAR = [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(1677, 9, 21, 0, 12, 43, tzinfo=UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), dt.datetime(2262, 4, 12, tzinfo=UTC),
       dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
NEAR = BERLIN_CHANGES + [NOON + dt.timedelta(minutes=7 * i, microseconds=i * 1001) for i in range(12)] + [dt.datetime(1970, 1, 1, tzinfo=UTC), dt.datetime(2024, 2, 29, 12, tzinfo=UTC)]

# What columns and constants of a type are taken from. The second list is rarer, and apt to overflow.
VALUES = {
    "bigint": ([0, 1, -1, 2, 3, 5, 7, 10, 42, -42, 100, 1000], [2**63 - 1, -2**63, 2**53 + 1, 2**31]),
    "int": ([0, 1, -1, 2, 3, 5, 7, 10, 42, 100], [2**31 - 1, -2**31]),
    "smallint": ([0, 1, -1, 2, 3, 5, 7, 10], [2**15 - 1, -2**15]),
    # Quarters, whose sums are exact in any order.
    "double": ([0.0, -0.0, 0.25, 1.5, -1.5, 2.5, 3.75, 20.0, 21.25, 100.0], [float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 5e-324, 1e-7, 2.0**53]),
    "float": ([0.0, -0.0, 0.25, 1.5, -1.5, 2.5, 20.0], [float("nan"), float("inf"), float("-inf"), 1e30]),
    "decimal": ([D("0.000"), D("1.500"), D("-1.500"), D("0.001"), D("2.345"), D("99.990"), D("100.000")], [D("999999999.999"), D("-999999999.999")]),
    "text": (["", "a", "A", "b", "r1", "r2", "north", "x_y", "100%", "a-b-c", "Köln", "12"], [" pad ", "😀", "1.5", "NaN", "true", "2026-03-29", "it's", "a\\b", "\t"]),
    "bool": ([True, False], [True]),
    "date": ([t.date() for t in NEAR[::3]] + [dt.date(2026, 3, 30), dt.date(2025, 12, 31)], [t.date() for t in FAR]),
    "ts": (NEAR, FAR),
    "ntz": ([t.replace(tzinfo=None) for t in NEAR], [t.replace(tzinfo=None) for t in FAR]),
    "binary": ([b"", b"\x00", b"a", b"\x00\xff"], [bytes(range(20))]),
}

READINGS = {"id": "bigint", "device": "text", "ts": "ts", "at_local": "ntz", "day": "date", "temp": "double", "flow": "double", "level": "float", "n": "bigint", "big": "bigint", "i": "int",
            "s": "smallint", "price": "decimal", "ok": "bool", "note": "text", "raw": "binary"}
EVENTS = {"id": "bigint", "device": "text", "ts": "ts", "day": "date", "kind": "text", "code": "int", "value": "double", "extra": "double"}
DEVICES = {"device": "text", "site": "text", "installed": "date", "capacity": "double", "floor": "int", "active": "bool", "cost": "decimal"}
SCHEMAS = {"readings": READINGS, "events": EVENTS, "devices": DEVICES, "nothing": EVENTS}
# Rows of one batch, and so of one file.
BATCH = 20
ROWS = {"readings": 72, "events": 40, "devices": 8, "nothing": 0}
# Columns that take the rarer values; sums of the others stay exact and small.
WILD = {"flow", "big", "note", "raw", "at_local", "installed"}
DEVICE_NAMES = ["r1", "r2", "r3", "north", "Köln", "r1", "r2"]


def column(rng, table, name, type, rows):
    if name == "id":
        return list(range(1, rows + 1))
    if name == "device":
        # Unique in `devices`, but for a null and a double.
        names = ["r1", "r2", "r3", "north", None, "unused", "r2", ""] if table == "devices" else DEVICE_NAMES
        return [names[k] if table == "devices" else None if rng.random() < .08 else rng.choice(names) for k in range(rows)]
    usual, rare = VALUES[type]
    wild = .3 if name in WILD else .06 if type in ("double", "float") and name not in ("temp", "value") else 0
    if name in ("temp", "value"):
        return [None if rng.random() < .1 else rng.choice(rare[:3]) if rng.random() < .06 else rng.choice(usual) for _ in range(rows)]
    return [None if rng.random() < .1 else rng.choice(rare if rng.random() < wild else usual) for _ in range(rows)]


def table(name, seed=1):
    rng = random.Random(f"{name}/{seed}")
    fields = SCHEMAS[name]
    columns = {c: column(rng, name, c, t, ROWS[name]) for c, t in fields.items()}
    if "extra" in columns:
        columns["extra"][:BATCH] = [None] * min(BATCH, ROWS[name])
    return pa.table({c: pa.array(values, ARROW[fields[c]]) for c, values in columns.items()})


OURS = {"text": "STRING", "ts": "TIMESTAMP", "ntz": "TIMESTAMP_NTZ", "binary": "BINARY", "decimal": "DECIMAL(12,3)", "bool": "BOOLEAN"}
DUCK = {"text": "VARCHAR", "ts": "TIMESTAMPTZ", "ntz": "TIMESTAMP", "binary": "BLOB", "decimal": "DECIMAL(12,3)", "bool": "BOOLEAN"}


def create(name, columns, types, tail=""):
    return f"CREATE TABLE {name} ({', '.join(f'{c} {types.get(t, t.upper())}' for c, t in columns.items())}){tail}"


def fill_ours(server):
    """`hot`: no row is committed. `cold`: every row is, in several files. `mixed`: the first batches of each table are.

    `extra` was added to `cold.events` and `mixed.events` when the tables had rows, so that older files lack it; `cold.readings` is partitioned.
    """
    for schema in ("hot", "cold", "mixed"):
        for name, columns in SCHEMAS.items():
            grows = name == "events" and schema != "hot"
            first = {c: t for c, t in columns.items() if not (grows and c == "extra")}
            server.sql(create(f"{schema}.{name}", first, OURS, " PARTITIONED BY (device)" if (schema, name) == ("cold", "readings") else ""))
            rows = table(name)
            for start in range(0, len(rows), BATCH):
                batch = rows.slice(start, BATCH).combine_chunks().to_batches()[0]
                if grows and start == 0:
                    batch = batch.drop_columns(["extra"])
                committed = schema == "cold" or schema == "mixed" and start < len(rows) // 2
                stream = Stream(server, f"{schema}-{name}-{start}", ack="committed" if committed else "durable", table=(schema, name), schema=batch.schema)
                stream.send(1, batch)
                ack = stream.ack(1)
                assert ack["accepted"] == len(batch), ack
                stream.close()
                if grows and start == 0:
                    server.sql(f"ALTER TABLE {schema}.{name} ADD COLUMN extra DOUBLE")


def fill_duck(connection):
    for name, columns in SCHEMAS.items():
        connection.execute(create(name, columns, DUCK))
        connection.register("incoming", table(name))
        connection.execute(f"INSERT INTO {name} SELECT * FROM incoming")
        connection.unregister("incoming")
