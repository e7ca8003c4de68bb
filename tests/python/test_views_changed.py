"""Views of the five systems, and views whose definitions change."""

import datetime as dt
import threading
import time

import pyarrow as pa
import pytest
from conftest import Server
from view_tables import BASE, UTC, create_points, empty, fails, five, points, same, send, settled, update, wait  # noqa: F401


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


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_refresh_has_stored_of_a_version_that_is_taken_back_is_computed_again(tmp_path, killed):
    """Windows of a second, an hour apart: a piece of a refresh each. It is cut behind the third by a RESTORE, and by the server's end."""
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="1h").start()
    try:
        server.sql("CREATE TABLE t.r (ts TIMESTAMP, v BIGINT)")
        server.sql("CREATE MATERIALIZED VIEW t.m WITH (delay='0s', idle='1s') AS SELECT window_start, sum(v) AS s FROM t.r GROUP BY tumble(ts, '1 second')")
        server.sql("INSERT INTO t.r SELECT TIMESTAMP '2025-11-01 00:00:00' + INTERVAL '1 hour' * value, 1 FROM generate_series(0, 29)")
        server.sql("UPDATE t.r SET v = 2")
        wait(server, "SELECT lag_versions = 0 AND stored_until > TIMESTAMP '2025-11-02 05:00:00' FROM system.views", True)
        before = server.sql("DESCRIBE HISTORY t.r")[0]["version"]
        pieces = "SELECT version FROM system.views"
        first = server.one(pieces)
        server.sql("UPDATE t.r SET v = 1000")
        while server.one(pieces) < first + 3:
            time.sleep(0.005)
        if killed:
            server.kill()
            server.start()
        server.sql(f"RESTORE TABLE t.r TO VERSION AS OF {before}")
        for _ in range(20):
            assert server.one("SELECT sum(s) FROM t.m") == 60
            time.sleep(0.05)
        wait(server, "SELECT lag_versions FROM system.views", 0)
        server.kill()
        server.start()
        assert server.one("SELECT sum(s) FROM t.m") == 60
    finally:
        server.stop()
