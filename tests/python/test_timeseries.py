"""SQL for time series: what its page (docs/timeseries.md) promises holds. The page's own queries run in test_docs."""

import datetime as dt

import pyarrow as pa
import pytest

from conftest import Server

UTC = dt.timezone.utc
BASE = dt.datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("timeseries") / "data").start()
    server.run("apply", "vehicle", "--yes")
    server.simulate("--rows", 200 * 8, "--rate", 0, "--start", "2026-11-01T12:00:00Z", dataset="vehicle")
    server.sql("CREATE TABLE t.a (k STRING, ts TIMESTAMP, x DOUBLE) TBLPROPERTIES ('deltaplane.eventTime'='ts') PARTITIONED BY (event_date)")
    server.sql("CREATE TABLE t.b (k STRING, ts TIMESTAMP, y DOUBLE) TBLPROPERTIES ('deltaplane.eventTime'='ts') PARTITIONED BY (event_date)")
    server.put("t.a", batch("x", ("p", 0, 1), ("p", 180, 4), ("q", 60, 5), ("q", 60, 7), ("q", 120, None)))
    server.put("t.b", batch("y", ("p", 60, 10), ("p", 120, 20), ("q", 60, 30)))
    yield server
    server.stop()


def batch(value, *items):
    return pa.RecordBatch.from_pydict({
        "k": pa.array([k for k, _, _ in items], pa.string()),
        "ts": pa.array([BASE + dt.timedelta(seconds=s) for _, s, _ in items], pa.timestamp("us", "UTC")),
        value: pa.array([x for _, _, x in items], pa.float64())})


def rows(server, query):
    return [tuple(r.values()) for r in server.sql(query)]


def test_gaps_are_filled_key_by_key(server):
    got = rows(server, "SELECT time_bucket_gapfill('1 minute', ts) AS t, k, locf(avg(x)) AS c, interpolate(avg(x)) AS i, count(*) AS n FROM t.a GROUP BY 1, 2 ORDER BY k, t")
    at = lambda minute: BASE + dt.timedelta(minutes=minute)
    assert got == [(at(0), "p", 1, 1, 1), (at(1), "p", 1, 2, None), (at(2), "p", 1, 3, None), (at(3), "p", 4, 4, 1), (at(1), "q", 6, 6, 2), (at(2), "q", 6, None, 1)]
    ends = f"TIMESTAMP '{at(-1).isoformat()}', TIMESTAMP '{at(4).isoformat()}'"
    got = rows(server, f"SELECT time_bucket_gapfill('1 minute', ts, {ends}) AS t, round(locf(sum(x)), 1) AS c FROM t.a WHERE k = 'q' GROUP BY 1 ORDER BY 1")
    assert got == [(at(-1), None), (at(0), None), (at(1), 12), (at(2), 12), (at(3), 12)]


def test_asof_join_takes_the_newest_that_is_not_later(server):
    got = rows(server, "SELECT a.k, a.x, b.y FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k ORDER BY a.k, a.ts, a.x")
    assert got == [("p", 1, None), ("p", 4, 20), ("q", 5, 30), ("q", 7, 30), ("q", None, 30)]
    got = rows(server, "SELECT a.k, b.y FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (b.ts < a.ts) ON b.k = a.k WHERE a.k = 'q' ORDER BY a.ts, a.x")
    assert got == [("q", None), ("q", None), ("q", 30)]
    (row, *_) = server.sql("SELECT * FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k")
    assert not [name for name in row if name.startswith("__until")] and "y" in row


@pytest.mark.parametrize("source, condition", [
    ("t.a a ASOF JOIN t.b b", "(A.ts >= B.ts) ON A.k = B.k"),
    ("t.a a ASOF JOIN (SELECT * FROM t.b WHERE y > 0) b", "(a.ts >= b.ts) ON a.k = b.k"),
    ("z a ASOF JOIN t.b b", "(a.ts >= b.ts) ON a.k = b.k"),
    ("t.a a ASOF JOIN w b", "(a.ts >= b.ts) ON a.k = b.k"),
    ('t.a a ASOF JOIN w AS "B b"', '(a.ts >= "B b".ts) ON a.k = "B b".k'),
    ("t.a a ASOF JOIN (SELECT k, ts, y FROM t.b) AS b (k, ts, y)", "(a.ts >= b.ts) ON a.k = b.k"),
])
def test_both_sides_of_an_asof_join_may_be_queries(server, source, condition):
    right = '"B b"' if '"B b"' in source else "b"
    query = f"WITH z AS (SELECT * FROM t.a), w AS (SELECT k, ts, y FROM t.b) SELECT %s FROM {source} MATCH_CONDITION {condition} WHERE a.x = 4"
    assert rows(server, query % f"a.k, {right}.y") == [("p", 20)]
    columns = server.sql(query % "*")[0]
    assert {"k", "ts", "x", "y"} <= set(columns) and not [name for name in columns if name.startswith("__until")]
    assert set(server.sql(query % f"{right}.* EXCLUDE (k)")[0]) >= {"ts", "y"}
    twice = f"WITH z AS (SELECT * FROM t.a), w AS (SELECT k, ts, y FROM t.b) SELECT * FROM {source} MATCH_CONDITION {condition} ASOF JOIN t.b c MATCH_CONDITION (a.ts >= c.ts) ON a.k = c.k"
    assert not [name for name in server.sql(twice)[0] if name.startswith("__until")]


def test_the_right_side_of_an_asof_join_may_be_a_table_function_and_name_its_columns(server):
    got = rows(server, "SELECT a.k, b.n FROM t.a a ASOF JOIN (SELECT k, ts, y FROM t.b) AS b (name, at, n) MATCH_CONDITION (a.ts >= b.at) ON a.k = b.name WHERE a.x = 4")
    assert got == [("p", 20)]
    got = rows(server, "SELECT v.n, g.m FROM (VALUES (3), (7)) v(n) ASOF JOIN generate_series(0, 10, 5) AS g (m) MATCH_CONDITION (v.n >= g.m) ORDER BY 1")
    assert got == [(3, 0), (7, 5)]
    got = rows(server, "SELECT v.n, generate_series.value FROM (VALUES (3), (7)) v(n) ASOF JOIN generate_series(0, 10, 5) MATCH_CONDITION (v.n >= generate_series.value) ORDER BY 1")
    assert got == [(3, 0), (7, 5)]


@pytest.mark.parametrize("query, word", [
    ("SELECT * FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k AND b.k = b.k", "right side alone"),
    ("SELECT * FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k AND b.k = b.y", "right side alone"),
    ("SELECT * FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (a.ts >= b.ts) ON a.k = 'p'", "both sides"),
    ("SELECT last(x) FROM t.a", "last(temperature, ts)"),
    ("SELECT last(x, ts) OVER () FROM t.a", "last_value"),
    ("SELECT time_bucket('0s', ts) FROM t.a", "zero"),
    ("SELECT time_bucket('1 month', ts) FROM t.a", "no fixed length"),
    ("SELECT * FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (a.ts = b.ts) ON a.k = b.k", ">= or >"),
    ("SELECT * FROM t.a a ASOF JOIN t.b b MATCH_CONDITION (a.ts >= b.ts) USING (k)", "says ON"),
])
def test_wrong_use_is_told(server, query, word):
    with pytest.raises(Exception) as caught:
        server.sql(query)
    assert word in str(caught.value)


def test_first_and_last_go_by_event_time_and_approximations_are_near(server):
    assert rows(server, "SELECT k, first(x, ts) AS f, last(x, ts) AS l FROM t.a WHERE x IS NOT NULL GROUP BY k ORDER BY k") == [("p", 1, 4), ("q", 5, 7)]
    p, n = rows(server, "SELECT approx_percentile(temp, 0.5) AS p, approx_count_distinct(entity) AS n FROM vehicle.raw")[0]
    assert abs(p - 20) < 0.5 and 190 <= n <= 210


LATEST = "SELECT k, ts, x FROM latest('t.newest') ORDER BY k"
SCANNED = "SELECT k, ts, x FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY ts DESC) AS n FROM t.newest) WHERE n = 1 ORDER BY k"


@pytest.fixture
def newest(server):
    server.sql("DROP TABLE IF EXISTS t.newest")
    server.sql("CREATE TABLE t.newest (k STRING, ts TIMESTAMP, x DOUBLE) PARTITIONED BY (event_date) TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.key'='k,ts')")
    return server


def test_latest_is_what_a_scan_finds_whatever_happens_to_the_table(newest):
    def same():
        got = rows(newest, LATEST)
        assert got == rows(newest, SCANNED)
        return got

    assert same() == []
    newest.put("t.newest", batch("x", ("a", 1, 1), ("b", 5, 2), ("a", 3, 3)))
    assert [(k, x) for k, _, x in same()] == [("a", 3), ("b", 2)]
    newest.put("t.newest", batch("x", ("a", 2, 9), ("c", 1, None)))  # a late row, a new key, a null
    assert [(k, x) for k, _, x in same()] == [("a", 3), ("b", 2), ("c", None)]
    newest.sql("OPTIMIZE t.newest")
    same()
    # Rows that come and are compacted between two looks.
    newest.put("t.newest", batch("x", ("a", 10, 4)))
    newest.sql("OPTIMIZE t.newest")
    newest.put("t.newest", batch("x", ("b", 20, 5)))
    newest.sql("OPTIMIZE t.newest")
    assert [(k, x) for k, _, x in same()] == [("a", 4), ("b", 5), ("c", None)]
    newest.sql("UPDATE t.newest SET x = 6 WHERE k = 'b' AND x = 5")
    assert same()[1][2] == 6
    newest.sql("DELETE FROM t.newest WHERE k = 'a' AND x = 4")
    assert same()[0][2] == 3
    newest.sql("OPTIMIZE t.newest")
    newest.sql("DELETE FROM t.newest WHERE k = 'c'")
    newest.put("t.newest", batch("x", ("d", 7, 8)))
    assert [k for k, _, _ in same()] == ["a", "b", "d"]
    newest.sql("DROP TABLE t.newest")
    newest.sql("CREATE TABLE t.newest (k STRING, ts TIMESTAMP, x DOUBLE) PARTITIONED BY (event_date) TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.key'='k,ts')")
    newest.put("t.newest", batch("x", ("z", 1, 1)))
    assert [k for k, _, _ in same()] == ["z"]
    newest.stop()
    newest.start()
    same()


@pytest.mark.parametrize("query,words", [
    ("SELECT * FROM latest('t.a')", "deltaplane.key"),
    ("SELECT * FROM latest('t.nowhere')", "t.nowhere"),
    ("SELECT * FROM latest()", "latest('schema.table')"),
    ("SELECT * FROM latest('vehicle.metrics_1min')", "window_start DESC"),
])
def test_latest_says_what_it_needs(server, query, words):
    with pytest.raises(Exception) as refused:
        server.sql(query)
    assert words in str(refused.value), refused.value


def test_latest_leaves_out_of_the_key_what_the_event_time_is_made_from(server):
    server.sql("CREATE TABLE t.made (k STRING, n BIGINT, ts TIMESTAMP) PARTITIONED BY (event_date) TBLPROPERTIES ('deltaplane.from.ts'='n', "
               "'deltaplane.timeUnit.ts'='ns', 'deltaplane.eventTime'='ts', 'deltaplane.key'='k,n')")
    server.put("t.made", pa.RecordBatch.from_pydict({"k": ["a", "a", "b"], "n": [1_000_000, 3_000_000, 2_000_000]}))
    assert rows(server, "SELECT k, n FROM latest('t.made') ORDER BY k") == [("a", 3_000_000), ("b", 2_000_000)]


def test_a_local_time_that_comes_twice_or_never_is_taken_beside_a_zone(server):
    """The second one, and an hour later, as for `TIMESTAMP '..' AT TIME ZONE`."""
    for text, instant in [("2025-10-26 02:30:00", "2025-10-26 01:30:00"), ("2026-03-29 02:30:00", "2026-03-29 01:30:00")]:
        got = rows(server, f"SELECT ts AT TIME ZONE 'Europe/Berlin' = '{text}', ts AT TIME ZONE 'Europe/Berlin' < '{text}' FROM (VALUES (TIMESTAMPTZ '{instant}+00')) v (ts)")
        assert got == [(True, False)]
