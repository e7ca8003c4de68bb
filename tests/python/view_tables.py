"""A table of points with a view over it, and what the tests of views ask of both."""

import datetime as dt
import math
import os
import time

import pyarrow as pa
import pytest
from conftest import Server, Stream

UTC = dt.timezone.utc
ROUNDS = int(os.environ.get("DELTAPLANE_TEST_VIEW_ROUNDS", "4"))


@pytest.fixture
def empty(tmp_path):
    server = Server(tmp_path / "data").start()
    yield server
    server.stop()


@pytest.fixture
def five(tmp_path):
    server = Server(tmp_path / "data").start()
    server.run("apply", "reactor", "satellite", "building", "energy", "vehicle", "--yes")
    yield server
    server.stop()


def update(server, statement):
    server.sql(statement)


def fails(server, statement):
    with pytest.raises(Exception) as caught:
        server.sql(statement)
    return str(caught.value)


def wait(server, query, expected, seconds=30):
    deadline = time.monotonic() + seconds
    while (got := server.one(query)) != expected:
        assert time.monotonic() < deadline, f"{query}: {got}, expected {expected}; {server.sql('SELECT * FROM system.views')}"
        time.sleep(0.05)


def view_of(server, name, schema="t"):
    (row,) = server.sql(f"SELECT * FROM system.views WHERE table_schema = '{schema}' AND table_name = '{name}'")
    return row


def settled(server, name, seconds=30):
    """Waits until the view holds everything that is committed, and every bucket is closed."""
    schema, table = name.split(".")
    deadline = time.monotonic() + seconds
    while True:
        source = view_of(server, table, schema)["source"].split(".")[1]
        hot = server.one(f"SELECT hot_bytes FROM system.tables WHERE table_schema = '{schema}' AND table_name = '{source}'")
        # After the source: a commit between the two would go unseen.
        row = view_of(server, table, schema)
        newest = server.one(f"SELECT max(window_start) FROM {name}")
        if hot == 0 and row["lag_versions"] == 0 and row["stored_until"] is not None and (newest is None or row["stored_until"] > newest):
            return row
        assert time.monotonic() < deadline, row
        time.sleep(0.05)


def still(server):
    """Waits until every view has seen every row that was acked."""
    server.wait_committed()
    wait(server, "SELECT sum(lag_versions) FROM system.views", 0)


def same(got, expected, keys):
    """Equal rows, doubles to 1e-12 relative."""
    order = lambda rows: sorted(rows, key=lambda r: tuple(str(r[k]) for k in keys))
    got, expected = order(got), order(expected)
    assert [tuple(r[k] for k in keys) for r in got] == [tuple(r[k] for k in keys) for r in expected]
    for a, b in zip(got, expected):
        for name, value in b.items():
            if isinstance(value, float) and a[name] is not None:
                assert math.isclose(a[name], value, rel_tol=1e-12, abs_tol=1e-12), (name, a, b)
            else:
                assert a[name] == value, (name, a, b)


BASE = dt.datetime(2026, 11, 1, tzinfo=UTC)


def points(*items):
    """(key, seconds after BASE, value)"""
    return pa.RecordBatch.from_pydict({
        "k": pa.array([k for k, _, _ in items], pa.string()),
        "ts": pa.array([BASE + dt.timedelta(seconds=s) for _, s, _ in items], pa.timestamp("us", "UTC")),
        "x": pa.array([float(x) for _, _, x in items], pa.float64())})


def create_points(server, idle="300ms", delay="10s", name="v", bucket="tumble(ts, '1 minute')"):
    update(server, "CREATE TABLE t.raw (k STRING NOT NULL, ts TIMESTAMP NOT NULL, x DOUBLE) TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.systemColumns'='true') PARTITIONED BY (event_date)")
    create_view(server, idle, delay, name, bucket)


def create_view(server, idle="300ms", delay="10s", name="v", bucket="tumble(ts, '1 minute')"):
    update(server, f"CREATE MATERIALIZED VIEW t.{name} WITH (delay = '{delay}', idle = '{idle}') AS "
                   f"SELECT k, count(*) AS n, sum(x) AS s, min(x) AS lo, max(x) AS hi, first(x, ts) AS f, last(x, ts) AS l FROM raw GROUP BY {bucket}, k")


def batch_sql(server, size=60, step=None):
    """The view's definition by other means: plain SQL over the raw rows."""
    if step is None:
        window = f"date_bin(INTERVAL '{size} seconds', ts) AS window_start"
        rows = "t.raw"
    else:
        window = f"w AS window_start"
        shifted = [f"SELECT *, date_bin(INTERVAL '{step} seconds', ts) - INTERVAL '{i * step} seconds' AS w FROM t.raw" for i in range(size // step)]
        rows = "(" + " UNION ALL ".join(shifted) + ")"
    return server.sql(f"SELECT {window}, k, count(*) AS n, sum(x) AS s, min(x) AS lo, max(x) AS hi, "
                      f"first_value(x ORDER BY ts, _ingest_ts, _seq, x) AS f, last_value(x ORDER BY ts, _ingest_ts, _seq, x) AS l FROM {rows} GROUP BY 1, k")


def view_rows(server, name="t.v"):
    return server.sql(f"SELECT window_start, k, n, s, lo, hi, f, l FROM {name}")


def stored_rows(server, name="v"):
    """As an independent reader of Delta sees it."""
    table = server.delta(name, "t").to_pyarrow_table(columns=["window_start", "k", "n", "s", "lo", "hi", "f", "l"])
    return table.to_pylist()


KEYS = ["window_start", "k"]


def send(server, batch, producer="p"):
    """One more batch of the same producer."""
    stream = Stream(server, producer, table=("t", "raw"), schema=batch.schema)
    stream.send(stream.ready["seq"] + 1, batch)
    stream.ack(stream.ready["seq"] + 1)
    stream.close()


class Producer:
    """Sends exactly once: what it may have lost the ack of it sends again under the same epoch and seq."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.epoch, self.seq, self.last = None, 0, None

    def send(self, batch):
        self.seq, self.last = self.seq + 1, batch
        self.stream(self.seq - 1)

    def resend(self):
        if self.last is not None:
            self.stream(self.seq)

    def stream(self, known):
        stream = Stream(self.server, self.name, epoch=self.epoch, table=("t", "raw"), schema=self.last.schema)
        self.epoch = stream.ready["epoch"]
        assert stream.ready["seq"] == known
        stream.send(self.seq, self.last)
        stream.ack(self.seq)
        stream.close()


class Closing:
    """How far buckets may be closed while no producer has been silent for long enough, and how far they must be: seconds after BASE."""

    def __init__(self, size, step, delay):
        self.size, self.step, self.delay = size, step, delay
        self.newest, self.most = {}, -math.inf

    def sent(self, producer, times):
        self.newest[producer] = max(self.newest.get(producer, -math.inf), *times)
        # Rows are committed in the order in which they came, so what a refresh knows is what was sent up to some point.
        self.most = max(self.most, self.complete())

    def complete(self):
        return min(self.newest.values()) - self.delay

    def open_from(self, complete):
        """The first window that does not end at or before it."""
        return math.floor((complete - self.size) / self.step) * self.step + self.step


def untils(server):
    """Where each view's first open bucket starts, at one instant: seconds after BASE."""
    rows = server.sql("SELECT table_name, stored_until FROM system.views")
    return {r["table_name"]: -math.inf if r["stored_until"] is None else (r["stored_until"] - BASE).total_seconds() for r in rows}


def fails_put(server, table, batch):
    with pytest.raises(Exception) as caught:
        server.put(table, batch)
    return str(caught.value)
