"""Materialized views: what is stored and what is computed give one answer, which is batch SQL's over the raw rows."""

import datetime as dt
import math
import os
import random
import threading
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


def test_open_buckets_are_computed_closed_ones_are_stored_and_both_are_one_answer(empty):
    create_points(empty, idle="1 hour")
    send(empty, points(("a", 0, 1), ("a", 30, 2), ("b", 59, 3)))
    same(view_rows(empty), batch_sql(empty), KEYS)
    assert empty.one("SELECT count(*) FROM t.v") == 2
    # The watermark passes the first minute's end: 71 s - 10 s.
    send(empty, points(("a", 71, 4)))
    wait(empty, "SELECT rows_stored FROM system.views", 2)
    assert {r["window_start"] for r in stored_rows(empty)} == {BASE}
    same(view_rows(empty), batch_sql(empty), KEYS)
    row = view_of(empty, "v")
    assert row["stored_until"] == BASE + dt.timedelta(minutes=1)
    behind = (dt.datetime.now(UTC) - row["watermark"]) / dt.timedelta(microseconds=1)
    assert row["watermark"] >= row["stored_until"] and 0 <= behind - row["lag_us"] < 60e6
    assert row["source"] == "t.raw" and row["bucket"] == "1 minute" and row["last_error"] is None


def test_a_late_row_corrects_its_closed_bucket_and_touches_no_other_file(empty):
    create_points(empty)
    for minute in range(5):
        empty.put("t.raw", points(("a", 60 * minute, minute), ("b", 60 * minute + 1, minute)))
    empty.put("t.raw", points(("a", 86_400 * 2, 9)))
    settled(empty, "t.v")
    before = {f: None for f in empty.delta("v", "t").file_uris()}
    refreshes = view_of(empty, "v")
    # While it is hot the query counts it; once committed the refresh does.
    empty.put("t.raw", points(("a", 125, 100)))
    same(view_rows(empty), batch_sql(empty), KEYS)
    row = settled(empty, "t.v")
    same(view_rows(empty), batch_sql(empty), KEYS)
    same(stored_rows(empty), batch_sql(empty), KEYS)
    assert row["buckets_computed"] - refreshes["buckets_computed"] == 1
    files = empty.one("SELECT files FROM system.tables WHERE table_schema = 't' AND table_name = 'raw'")
    assert 0 < row["last_files_read"] < files and row["last_bytes_read"] > 0
    after = {f: None for f in empty.delta("v", "t").file_uris()}
    assert any("2026-11-03" in f for f in set(before) & set(after)), "the other day's file stays"
    assert empty.one("SELECT n FROM t.v WHERE k = 'a' AND window_start = TIMESTAMP '2026-11-01T00:02:00Z'") == 2


def test_a_device_in_2099_moves_no_watermark_and_a_silent_one_holds_it_for_its_idle_time_only(empty):
    create_points(empty, idle="1500ms", delay="0s")
    # The contract takes times up to a day ahead; the watermark ignores what is more than a minute ahead.
    now = dt.datetime.now(UTC)
    ahead = (now - BASE).total_seconds() + 3600
    empty.put("t.raw", points(("future", ahead, 1)))
    empty.put("t.raw", points(("a", 0, 1)))
    empty.put("t.raw", points(("a", 60, 1)))
    time.sleep(0.5)
    empty.wait_committed()
    wait(empty, "SELECT lag_versions FROM system.views", 0)
    until = view_of(empty, "v")["stored_until"]
    assert until is None or until <= BASE + dt.timedelta(minutes=2)
    same(view_rows(empty), batch_sql(empty), KEYS)
    # All silent: the rows' own buckets close, the one in the future does not.
    wait(empty, "SELECT rows_stored FROM system.views", 2)
    assert empty.one("SELECT count(*) FROM t.v") == 3
    same(view_rows(empty), batch_sql(empty), KEYS)


def test_compaction_below_a_view_dirties_no_bucket_and_its_own_table_is_kept_in_order(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_UPKEEP_ENABLED="false", DELTAPLANE_UPKEEP_RETAIN_MIN="0ms", DELTAPLANE_UPKEEP_ORPHAN_AGE="0ms").start()
    try:
        create_points(server, delay="0s")
        for minute in range(8):
            server.put("t.raw", points(("a", 60 * minute, minute), ("b", 60 * minute + 1, minute)))
            server.wait_committed()
        before = settled(server, "t.v")
        expected = batch_sql(server)
        server.sql("OPTIMIZE t.raw")
        assert len(server.delta("raw", "t").file_uris()) == 1
        after = settled(server, "t.v")
        assert after["source_version"] > before["source_version"] and after["buckets_computed"] == before["buckets_computed"]
        assert len(server.delta("v", "t").file_uris()) > 1
        server.sql("OPTIMIZE t.v")
        server.sql("VACUUM t.v RETAIN 0 HOURS")
        assert len(server.delta("v", "t").file_uris()) == 1
        same(view_rows(server), expected, KEYS)
        same(stored_rows(server), expected, KEYS)
        # Rows that come and are compacted before the view's first look after a crash still count.
        server.put("t.raw", points(("a", 125, 100)))
        server.sql("OPTIMIZE t.raw")
        server.kill()
        server.start()
        same(view_rows(server), batch_sql(server), KEYS)
        settled(server, "t.v")
        same(stored_rows(server), batch_sql(server), KEYS)
        assert view_of(server, "v")["last_error"] is None
    finally:
        server.stop()


def test_upkeep_and_refresh_work_on_one_view_at_once(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="30ms", DELTAPLANE_COMMIT_CHECKPOINT_EVERY="4", DELTAPLANE_UPKEEP_INTERVAL="200ms", DELTAPLANE_UPKEEP_MIN_FILES="3",
                    DELTAPLANE_UPKEEP_SETTLE="0ms", DELTAPLANE_UPKEEP_VACUUM_INTERVAL="300ms", DELTAPLANE_UPKEEP_FILE_RETENTION="1s", DELTAPLANE_UPKEEP_ORPHAN_AGE="2s").start()
    try:
        create_points(server, delay="0s", idle="100ms")
        rng = random.Random(3)
        for n in range(80):
            server.put("t.raw", points(*[(rng.choice("ab"), 20 * n + rng.uniform(-300, 20), rng.randrange(100)) for _ in range(5)]))
            if n % 10 == 0:
                same(view_rows(server), batch_sql(server), KEYS)
        # Until the view has had small files enough: one more bucket each time, which replaces none.
        jobs = lambda: {(r["table"], r["task"]) for r in server.sql("SELECT * FROM system.upkeep")}
        for n in range(80, 480):
            if ("t.v", "compact") in jobs():
                break
            server.put("t.raw", points(("a", 60 * n, n)))
            time.sleep(0.05)
        assert ("t.v", "compact") in jobs(), jobs()
        settled(server, "t.v")
        same(view_rows(server), batch_sql(server), KEYS)
        same(stored_rows(server), batch_sql(server), KEYS)
        assert (server.directory / "tables/t/v/_delta_log/_last_checkpoint").exists()
    finally:
        server.stop()


def test_every_reading_is_in_exactly_two_windows_of_a_hop(empty):
    create_points(empty, bucket="hop(ts, '5 seconds', '10 seconds')")
    rng = random.Random(7)
    sent = [(rng.choice("abc"), round(rng.uniform(0, 120), 3), rng.randrange(10)) for _ in range(400)]
    empty.put("t.raw", points(*sent[:200]))
    assert empty.one("SELECT sum(n) FROM t.v") == 400
    empty.put("t.raw", points(*sent[200:]))
    settled(empty, "t.v")
    assert empty.one("SELECT sum(n) FROM t.v") == 800
    same(view_rows(empty), batch_sql(empty, 10, 5), KEYS)
    same(stored_rows(empty), batch_sql(empty, 10, 5), KEYS)


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


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_any_order_batching_lateness_resend_and_crash_gives_batch_sql(tmp_path, seed):
    """The law of the views: their rows are those of batch SQL over the raw table, hot, half committed or stored. In the first half
    no producer falls silent, and the watermark alone closes buckets: none before its time, and each that is due."""
    rng = random.Random(seed)
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL=rng.choice(["200ms", "600ms"])).start()
    try:
        step = None if seed % 2 == 0 else 20
        delay = rng.choice([0, 30])
        create_points(server, idle="1 hour", delay=f"{delay}s", bucket="tumble(ts, '1 minute')" if step is None else "hop(ts, '20 seconds', '1 minute')")
        update(server, "CREATE MATERIALIZED VIEW t.hourly WITH (idle = '200ms') AS SELECT k, sum(n) AS n, sum(s) AS s, min(lo) AS lo, max(hi) AS hi, first(f, window_start) AS f, "
                       "last(l, window_start) AS l FROM v GROUP BY tumble(window_start, '1 hour'), k")
        producers = [Producer(server, name) for name in ("p", "q")]
        closing = Closing(60, step or 60, delay)
        rows = at = 0

        def send(producer, items):
            nonlocal rows
            producer.send(points(*items))
            closing.sent(producer.name, [s for _, s, _ in items])
            rows += len(items)

        def holds(silent):
            same(view_rows(server), batch_sql(server, 60, step), KEYS)
            hourly = server.sql("SELECT window_start, k, sum(n) AS n FROM t.hourly GROUP BY 1, 2")
            expected = server.sql("SELECT date_bin(INTERVAL '1 hour', window_start) AS window_start, k, sum(n) AS n FROM t.v GROUP BY 1, 2")
            same(hourly, expected, KEYS)
            assert server.one("SELECT count(*) FROM t.raw") == rows
            until = untils(server)
            if silent:
                assert until["v"] <= closing.open_from(max(closing.newest.values()) + closing.size)
            elif closing.newest:
                assert until["v"] <= closing.open_from(closing.most), "a bucket closed early"
                assert until["hourly"] <= until["v"], "a bucket closed over one that is open"

        def act():
            nonlocal at
            what = rng.random()
            if what < 0.65:
                size = rng.choice([1, 3, 50])
                at += rng.choice([0, 5, 70, 4000])
                late = lambda: rng.choice([0, 0, 0, 10, 100, 5000, 90_000])
                items = [(rng.choice("abcd"), round(max(0, at + rng.uniform(0, 60) - late()), 3), rng.uniform(-1e6, 1e6)) for _ in range(size)]
                send(rng.choice(producers), items)
                if rng.random() < 0.3:
                    # The same rows once more as new ones: they are other rows to the table, and to batch SQL.
                    send(rng.choice(producers), items)
            elif what < 0.75:
                server.kill()
                server.start()
            elif what < 0.85:
                server.terminate()
                server.start()
            else:
                time.sleep(rng.uniform(0, 0.7))
            if rng.random() < 0.5:
                rng.choice(producers).resend()

        for _ in range(8):
            act()
            holds(silent=False)
        # Both have passed an hour, and one row comes late into what is closed.
        at += 7200
        for producer in producers:
            send(producer, [("a", at, 1)])
        still(server)
        assert closing.open_from(closing.complete() - 0.001) <= untils(server)["v"], "a bucket that is due is open"
        send(producers[0], [("a", at - 1000, 2)])
        still(server)
        holds(silent=False)
        until = BASE + dt.timedelta(seconds=untils(server)["v"])
        same(stored_rows(server), [r for r in batch_sql(server, 60, step) if r["window_start"] < until], KEYS)

        update(server, f"ALTER MATERIALIZED VIEW t.v SET (idle = '{rng.choice([200, 1500])}ms')")
        for _ in range(5):
            act()
            holds(silent=True)
        settled(server, "t.v")
        same(stored_rows(server), batch_sql(server, 60, step), KEYS)
        # What the view above has stored is right too; its last hour is open.
        wait(server, "SELECT lag_versions FROM system.views WHERE table_name = 'hourly'", 0)
        until = view_of(server, "hourly")["stored_until"]
        expected = server.sql(f"SELECT date_bin(INTERVAL '1 hour', window_start) AS window_start, k, sum(n) AS n, sum(s) AS s, min(lo) AS lo, max(hi) AS hi FROM t.v "
                              f"WHERE window_start < TIMESTAMP '{until.isoformat()}' GROUP BY 1, 2")
        got = [{k: r[k] for k in ["window_start", "k", "n", "s", "lo", "hi"]} for r in stored_rows(server, "hourly")]
        same(got, expected, KEYS)
    finally:
        server.stop()


def test_a_changed_definition_answers_all_the_time_and_settings_change_in_place(empty):
    create_points(empty)
    empty.put("t.raw", points(("a", 0, 1), ("b", 61, 2)))
    settled(empty, "t.v")
    update(empty, "ALTER MATERIALIZED VIEW t.v AS SELECT count(*) AS n FROM raw GROUP BY tumble(ts, '1 hour')")
    assert empty.sql("SELECT * FROM t.v") == [{"window_start": BASE, "window_end": BASE + dt.timedelta(hours=1), "n": 2, "event_date": BASE.date()}]
    settled(empty, "t.v")
    assert empty.delta("v~2", "t").to_pyarrow_table().num_rows == 1
    update(empty, "ALTER MATERIALIZED VIEW t.v SET (delay = '7s')")
    assert "delay = '7 seconds'" in empty.one("SHOW CREATE MATERIALIZED VIEW t.v")
    empty.kill()
    empty.start()
    assert "delay = '7 seconds'" in empty.one("SHOW CREATE TABLE t.v")
    assert empty.one("SELECT n FROM t.v") == 2
    update(empty, "REFRESH MATERIALIZED VIEW t.v FULL")
    assert empty.one("SELECT n FROM t.v") == 2
    update(empty, "DROP MATERIALIZED VIEW t.v")
    assert "no such" in fails(empty, "REFRESH MATERIALIZED VIEW t.v")
    update(empty, "DROP TABLE t.raw")


def test_what_a_view_cannot_be_is_told_with_place_and_way_out(empty):
    create_points(empty)
    create = "CREATE MATERIALIZED VIEW t.bad AS "
    for query, words in {
        "SELECT k, count(*) AS n FROM raw GROUP BY k": ["no time bucket", "tumble(ts", "Line: 1"],
        "SELECT k, count(*) AS n FROM raw GROUP BY tumble(ts, '0 seconds'), k": ["zero", "Line: 1, Column: 43"],
        "SELECT k, count(*) AS n FROM raw GROUP BY tumble(ts, '1 month'), k": ["no fixed length", "Column: 54"],
        "SELECT k, count(*) AS n FROM raw GROUP BY tumble(tss, '1 minute'), k": ["no such column", "column=tss", "columns: k, ts", "Column: 50"],
        "SELECT k, sum(y) AS n FROM raw GROUP BY tumble(ts, '1 minute'), k": ["y", "Column: 15"],
        "SELECT k, count(*) AS n FROM raw GROUP BY tumble(ts, '1 minute'), tumble(ts, '1 hour'), k": ["one time bucket", "Column: 67"],
        "SELECT k, max(x + random()) AS n FROM raw GROUP BY tumble(ts, '1 minute'), k": ["function=random", "Line: 1, Column: 19"],
        "SELECT k, count(*) FILTER (WHERE ts > now()) AS n FROM raw GROUP BY tumble(ts, '1 minute'), k": ["function=now", "Line: 1, Column: 39"],
        "SELECT k, count(*) FROM raw GROUP BY tumble(ts, '1 minute'), k": ["no name", "AS name"],
        "SELECT k, count(*) AS n FROM nowhere GROUP BY tumble(ts, '1 minute'), k": ["no such table", "Line: 1, Column: 30"],
        "SELECT k, count(*) AS n FROM bad GROUP BY tumble(ts, '1 minute'), k": ["no such table"],
        "SELECT k, count(*) AS n FROM raw GROUP BY hop(ts, '7 seconds', '10 seconds'), k": ["multiple of its step"],
        "SELECT k, count(*) AS n FROM raw GROUP BY tumble(ts, '1 minute'), k ORDER BY k": ["no ORDER BY"],
        "SELECT k, sum(n) OVER () AS n FROM v GROUP BY tumble(window_start, '1 hour'), k": ["no window function"],
        "SELECT count(*) AS n FROM (SELECT * FROM raw) r GROUP BY tumble(ts, '1 minute')": ["subquery"],
        "SELECT count(*) AS n FROM v GROUP BY tumble(window_end, '1 hour')": ["window_start"],
        "SELEC 1": ["Line: 1"],
    }.items():
        message = fails(empty, create + query)
        for word in words:
            assert word in message, f"{query}: {message}"
    circle = fails(empty, "ALTER MATERIALIZED VIEW t.v AS SELECT count(*) AS n FROM v GROUP BY tumble(window_start, '1 hour')")
    assert "t.v reads t.v" in circle and "Line: 1, Column: 27" in circle, circle
    update(empty, "CREATE MATERIALIZED VIEW t.w AS SELECT count(*) AS n FROM v GROUP BY tumble(window_start, '1 hour')")
    assert "reads" in fails(empty, "ALTER MATERIALIZED VIEW t.v AS SELECT count(*) AS n FROM w GROUP BY tumble(window_start, '1 day')")
    assert "t.v" in fails(empty, "DROP TABLE t.raw")
    assert "t.w" in fails(empty, "DROP MATERIALIZED VIEW t.v")
    assert "DROP MATERIALIZED VIEW" in fails(empty, "DROP TABLE t.w")
    assert "materialized view" in fails(empty, "INSERT INTO t.v SELECT * FROM t.v")
    assert "materialized view" in fails(empty, "ALTER TABLE t.v ADD COLUMN y DOUBLE")
    assert "t.raw" in fails_put(empty, "t.v", points(("a", 0, 1)))
    update(empty, "ALTER TABLE t.raw ADD COLUMN y DOUBLE")
    assert empty.one("SELECT count(*) FROM t.v") == 0


def fails_put(server, table, batch):
    with pytest.raises(Exception) as caught:
        server.put(table, batch)
    return str(caught.value)


def test_building_twenty_readings_a_full_window_and_each_in_two(five):
    five.simulate("--rows", 8 * 60, "--rate", 0, "--start", "2026-11-01T12:00:00Z", dataset="building")
    readings = five.one("SELECT count(*) FROM building.raw")
    assert five.one("SELECT sum(n) FROM building.metrics_10s") == 2 * readings
    rows = five.sql("SELECT * FROM building.metrics_10s ORDER BY window_start, room_id")
    full = [r for r in rows if r["window_start"] >= dt.datetime(2026, 11, 1, 12, tzinfo=UTC) and r["window_end"] <= dt.datetime(2026, 11, 1, 12, 0, 30, tzinfo=UTC)]
    assert full and all(r["n"] == 20 for r in full)
    assert {(r["room_id"], r["room_name"], r["floor"], r["room_type"]) for r in full} >= {("room_1", "Server Room", 1, "server"), ("room_8", "Executive Office", 3, "executive")}
    assert all(r["min_temperature"] <= r["avg_temperature"] <= r["max_temperature"] for r in rows)


def test_vehicle_two_hundred_rows_a_minute_last_by_event_time_and_the_last_windows_of_a_run(five):
    update(five, "ALTER MATERIALIZED VIEW vehicle.metrics_1min SET (idle = '500ms')")
    five.simulate("--rows", 200 * 24, "--rate", 0, "--start", "2026-11-01T12:00:00Z", dataset="vehicle")
    row = settled(five, "vehicle.metrics_1min")
    stored = five.delta("metrics_1min", "vehicle").to_pyarrow_table().to_pylist()
    minutes = sorted({r["window_start"] for r in stored})
    assert len(minutes) >= 2 and all(sum(r["window_start"] == m for r in stored) == 200 for m in minutes)
    assert sum(r["n"] for r in stored) == five.one("SELECT count(*) FROM vehicle.raw") and row["last_error"] is None
    expected = five.sql("SELECT date_bin(INTERVAL '1 minute', ts) AS window_start, entity, round(avg(temp), 2) AS avg_temp, last_value(humidity ORDER BY ts) AS last_humidity, count(*) AS n "
                        "FROM vehicle.raw GROUP BY 1, 2")
    same([{k: r[k] for k in expected[0]} for r in stored], expected, ["window_start", "entity"])
    # By event time: an older reading that comes later changes no `last`.
    first = min(minutes)
    late = five.one(f"SELECT last_humidity FROM vehicle.metrics_1min WHERE entity = 1 AND window_start = TIMESTAMP '{first.isoformat()}'")
    berlin = first + dt.timedelta(hours=1, milliseconds=1)
    five.put("vehicle.raw", pa.RecordBatch.from_pydict({"entity": [1], "ts": [berlin.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]], "temp": [20.0], "humidity": [99.0]}))
    got = five.one(f"SELECT last_humidity FROM vehicle.metrics_1min WHERE entity = 1 AND window_start = TIMESTAMP '{first.isoformat()}'")
    assert got == late != 99.0


def test_reactor_gold_reads_at_and_satellite_means_are_those_of_its_minutes(five):
    five.simulate("--rows", 3000, "--rate", 0, dataset="reactor")
    five.simulate("--satellites", 20, "--rows", 3000, "--rate", 0, dataset="satellite")
    got = five.sql("SELECT * FROM reactor.metrics_1min")
    expected = five.sql("SELECT date_bin(INTERVAL '1 minute', ts) AS window_start, reactor_id, avg(PE) AS avg_power_mw, avg(AT) AS avg_temp, avg(AP) AS avg_pressure, avg(RH) AS avg_humidity, "
                        "max(PE) AS max_power_mw, min(PE) AS min_power_mw, count(*) AS num_readings FROM reactor.raw GROUP BY 1, 2")
    same([{k: r[k] for k in expected[0]} for r in got], expected, ["window_start", "reactor_id"])
    assert list(got[0])[:3] == ["reactor_id", "window_start", "window_end"]
    got = five.sql("SELECT * FROM satellite.metrics_1min")
    expected = five.sql("SELECT date_bin(INTERVAL '1 minute', received_ts) AS window_start, satellite_name, count(*) AS n, avg(temp_c) AS avg_temp_c, avg(sensor3) AS avg_sensor3 FROM satellite.raw GROUP BY 1, 2")
    same([{k: r[k] for k in expected[0]} for r in got], expected, ["window_start", "satellite_name"])


def test_apply_changes_views_as_tables_and_says_when_there_is_nothing_to_do(five, tmp_path):
    assert five.run("apply", "reactor", "--yes", check=False).returncode == 99
    import pathlib
    here = pathlib.Path(__file__).parents[2] / "data/vehicle/dataset.toml"
    changed = tmp_path / "dataset.toml"
    changed.write_text(here.read_text().replace('delay = "3 minutes"', 'delay = "1 minute"'))
    out = five.run("apply", str(changed), "--yes").stdout
    assert "ALTER MATERIALIZED VIEW vehicle.metrics_1min" in out and "altered vehicle.metrics_1min" in out
    changed.write_text(here.read_text().replace('delay = "3 minutes"', 'delay = "1 minute"').replace("count(*) AS n", "count(*) AS readings"))
    assert "replaced vehicle.metrics_1min" in five.run("apply", str(changed), "--yes").stdout
    assert five.sql("SELECT readings FROM vehicle.metrics_1min") == []


def test_a_view_that_others_read_is_given_another_query_without_a_gap_in_their_answers(empty):
    create_points(empty)
    update(empty, "CREATE MATERIALIZED VIEW t.hourly AS SELECT k, sum(n) AS n, max(hi) AS hi FROM v GROUP BY tumble(window_start, '1 hour'), k")
    update(empty, "CREATE MATERIALIZED VIEW t.daily AS SELECT sum(n) AS n FROM hourly GROUP BY tumble(window_start, '1 day')")
    empty.put("t.raw", points(*[("ab"[i % 2], 60 * i, i % 10) for i in range(120)]))
    update(empty, "REFRESH MATERIALIZED VIEW t.daily FOR DATE '2026-11-01'")
    assert empty.one("SELECT sum(rows_stored) FROM system.views WHERE table_schema = 't'") == 120 + 4 + 1
    answers, stop = [], threading.Event()

    def ask():
        while not stop.is_set():
            answers.append(empty.one("SELECT sum(n) FROM t.daily"))

    asking = threading.Thread(target=ask)
    asking.start()
    definition = "count(*) FILTER (WHERE x >= 5) AS n, sum(x) AS s, min(x) AS lo, max(x) AS hi, first(x, ts) AS f, last(x, ts) AS l FROM raw GROUP BY tumble(ts, '1 minute'), k"
    update(empty, f"ALTER MATERIALIZED VIEW t.v AS SELECT k, {definition}")
    assert empty.one("SELECT sum(n) FROM t.daily") == 60
    stop.set()
    asking.join()
    assert answers and set(answers) <= {120, 60} and answers == sorted(answers, reverse=True), answers
    # Not yet stored anew, and stored anew.
    empty.kill()
    empty.start()
    assert empty.one("SELECT sum(n) FROM t.daily") == 60
    update(empty, "REFRESH MATERIALIZED VIEW t.daily FOR DATE '2026-11-01'")
    empty.kill()
    empty.start()
    assert empty.one("SELECT sum(n) FROM t.daily") == 60
    assert sum(empty.delta("hourly", "t").to_pyarrow_table().column("n").to_pylist()) == 60
    assert empty.delta("daily", "t").to_pyarrow_table().column("n").to_pylist() == [60]
    # What its readers need is named.
    for query, words in {
        "SELECT k, max(x) AS hi FROM raw GROUP BY tumble(ts, '1 minute'), k": ["reader=t.hourly", "n", "drop it first"],
        "SELECT k, avg(x) AS n, max(x) AS hi FROM raw GROUP BY tumble(ts, '1 minute'), k": ["reader=t.hourly", "column=n, type=BIGINT, then=DOUBLE"],
        "SELECT k, count(*) AS n, max(x) AS hi, tumble(ts, '1 minute') AS at FROM raw GROUP BY tumble(ts, '1 minute'), k": ["reader=t.hourly", "column=window_start; columns: k, n, hi, at"],
    }.items():
        message = fails(empty, f"ALTER MATERIALIZED VIEW t.v AS {query}")
        for word in words:
            assert word in message, message
    assert empty.one("SELECT sum(n) FROM t.daily") == 60


def test_a_view_reads_patterns_and_long_numbers_as_queries_do(empty):
    """A view's own reader of its query took neither: `LIKE .. ESCAPE` was an error, and a long number a double."""
    update(empty, "CREATE TABLE t.raw (k STRING NOT NULL, ts TIMESTAMP NOT NULL, x DOUBLE) TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.systemColumns'='true') PARTITIONED BY (event_date)")
    shown = "count(*) AS n, count(*) FILTER (WHERE k NOT LIKE '%!_%' ESCAPE '!') AS plain, max(1234567890123456.7891) AS wide"
    update(empty, f"CREATE MATERIALIZED VIEW t.v WITH (delay = '0s', idle = '300ms') AS SELECT k, {shown} FROM raw WHERE k LIKE 'a#%%' ESCAPE '#' OR k NOT LIKE '%#%%' ESCAPE '#' GROUP BY tumble(ts, '1 minute'), k")
    send(empty, points(("a%1", 0, 1), ("b%1", 1, 2), ("c_1", 2, 3), ("d", 3, 4), ("d", 70, 5)))
    expected = [("a%1", 1, 1), ("c_1", 1, 0), ("d", 1, 1), ("d", 1, 1)]
    for _ in "computed", "stored":
        rows = empty.sql("SELECT k, n, plain, wide FROM t.v ORDER BY k, window_start")
        assert [(r["k"], r["n"], r["plain"]) for r in rows] == expected
        assert {str(r["wide"]) for r in rows} == {"1234567890123456.7891"}
        settled(empty, "t.v")
