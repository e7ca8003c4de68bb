"""Materialized views: what is stored and what is computed give one answer, which is batch SQL's over the raw rows."""

import datetime as dt
import random
import time

import pytest
from conftest import Server
from view_tables import fails_put, BASE, Closing, KEYS, Producer, ROUNDS, UTC, batch_sql, create_points, empty, fails, points, same, send, settled, still, stored_rows, untils, update, view_of, view_rows, wait  # noqa: F401


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
