"""The views of the five systems as others read them: an independent reader of Delta, and the live feed; and what today's systems get wrong in their aggregates."""

import datetime as dt
import math

import duckdb
import pyarrow as pa
import pytest

from conftest import Server
from test_datasets import DATASETS, UTC, energy_rows, process, readings, text_batch, wait_committed
from view_tables import same, settled

VIEWS = {"reactor.metrics_1min": ["reactor_id"], "satellite.metrics_1min": ["satellite_name"], "building.metrics_10s": ["room_id"], "energy.gold": ["site_id"], "vehicle.metrics_1min": ["entity"]}


@pytest.fixture
def five(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="300ms").start()
    server.run("apply", *DATASETS, "--yes")
    for view in VIEWS:
        server.sql(f"ALTER MATERIALIZED VIEW {view} SET (idle = '300ms', delay = '0s')")
    yield server
    server.stop()


def stored(server, view):
    dataset, table = view.split(".")
    return server.delta(table, dataset).to_pyarrow_table()


def replayed(server, view):
    """What the live feed has told since the first version: each insert put in, each delete taken out."""
    rows = {}
    for r in server.sql(f"SELECT * FROM table_changes('{view}', 0)"):
        key = tuple(sorted((k, v) for k, v in r.items() if not k.startswith("_")))
        rows[key] = rows.get(key, 0) + (1 if r["_change_type"] == "insert" else -1)
        assert rows[key] in (0, 1), (r["_change_type"], r)
    return [dict(key) for key, n in rows.items() if n]


def plain(rows):
    """Times of readers of all kinds as UTC."""
    return [{k: v.astimezone(UTC) if isinstance(v, dt.datetime) else v for k, v in r.items()} for r in rows]


def test_every_view_of_the_five_systems_is_read_alike_by_sql_by_an_independent_delta_reader_and_from_the_live_feed(five):
    five.simulate("--rows", 1500, "--rate", 0, dataset="reactor")
    five.simulate("--satellites", 20, "--rows", 1500, "--rate", 0, dataset="satellite")
    five.simulate("--rows", 8 * 60, "--rate", 0, "--start", "2026-11-01T12:00:00Z", dataset="building")
    five.simulate("--rows", 200 * 24, "--rate", 0, "--start", "2026-11-01T12:00:00Z", dataset="vehicle")
    five.put("energy.raw", energy_rows(30))
    five.put("energy.raw", energy_rows(7, device="D01003", site="S02", status=["FAULT"] * 7))
    assert process(five)[0] == 0
    for view, key in VIEWS.items():
        settled(five, view)
    for view, key in VIEWS.items():
        keys = ["window_start"] + key
        sql = five.sql(f"SELECT * FROM {view}")
        table = stored(five, view)
        assert sql and table.column_names == list(sql[0]), view
        same(table.to_pylist(), sql, keys)
        same(plain(duckdb.sql("SELECT * FROM \"table\"").to_arrow_table().to_pylist()), sql, keys)
        same(replayed(five, view), sql, keys)
        # A row bears its window's time, not that of its making.
        assert all(r["window_start"] < r["window_end"] and r["event_date"] == r["window_start"].date() for r in sql), view
    assert five.one("SELECT sum(n) FROM building.metrics_10s") == 2 * five.one("SELECT count(*) FROM building.raw")


def test_building_the_live_feed_per_room_has_the_rows_of_the_delta_table(five):
    """A late reading corrects a window that the feed has told: the row is taken back, and told anew."""
    for room in ["room_1", "room_2"]:
        five.put("building.raw", readings(100, room=room))
    settled(five, "building.metrics_10s")
    before = replayed(five, "building.metrics_10s")
    five.put("building.raw", readings(1, first=20, room="room_1", ts=[dt.datetime(2026, 11, 1, 0, 0, 10, 1000, UTC)], temperature=[44.0]))
    settled(five, "building.metrics_10s")
    after = replayed(five, "building.metrics_10s")
    changed = [r for r in after if r not in before]
    assert [(r["room_id"], r["n"], r["max_temperature"]) for r in changed] == [("room_1", 21, 44.0)] * 2 and len(after) == len(before)
    for room in ["room_1", "room_2"]:
        sql = five.sql(f"SELECT * FROM building.metrics_10s WHERE room_id = '{room}'")
        told = [r for r in after if r["room_id"] == room]
        same(told, sql, ["window_start"])
        same([r for r in stored(five, "building.metrics_10s").to_pylist() if r["room_id"] == room], sql, ["window_start"])


# --- what today's systems get wrong in their aggregates ----------------------------------------------------------------------


def test_reactor_the_sql_part_was_never_finished(five):
    """Five-minute windows of the second schema, which today's code only sketches: by the same means as any other."""
    five.sql("CREATE MATERIALIZED VIEW reactor.core_5min WITH (idle = '300ms') AS SELECT reactor_id, avg(coolant_temp_c) AS avg_coolant_temp_c, avg(power_mw) AS avg_power_mw, count(*) AS event_count "
             "FROM core GROUP BY tumble(event_time, '5 minutes'), reactor_id")
    times = ["2026-11-01T00:00:00Z", "2026-11-01T00:04:59Z", "2026-11-01T00:05:00Z"]
    five.put("reactor.core", text_batch(reactor_id=["R1"] * 3, event_time=times, power_mw=["100", "200", "300"], coolant_temp_c=["300", "302", "310"]))
    settled(five, "reactor.core_5min")
    rows = five.sql("SELECT window_start, reactor_id, avg_coolant_temp_c, avg_power_mw, event_count FROM reactor.core_5min ORDER BY 1")
    base = dt.datetime(2026, 11, 1, tzinfo=UTC)
    assert [tuple(r.values()) for r in rows] == [(base, "R1", 301.0, 150.0, 2), (base + dt.timedelta(minutes=5), "R1", 310.0, 300.0, 1)]
    assert stored(five, "reactor.core_5min").num_rows == 2


def test_building_the_stream_part_was_never_written(five):
    five.put("building.raw", readings(40))
    settled(five, "building.metrics_10s")
    rows = stored(five, "building.metrics_10s").sort_by("window_start").to_pylist()
    assert [r["n"] for r in rows] == [10, 20, 20, 20, 10] and {(r["room_name"], r["floor"]) for r in rows} == {("Server Room", 1)}


def test_vehicle_the_last_4_windows_of_a_run_are_never_emitted(five):
    """With the delay of three minutes that today's job has: a run of ten minutes, and then silence."""
    five.sql("ALTER MATERIALIZED VIEW vehicle.metrics_1min SET (delay = '3 minutes', idle = '300ms')")
    five.simulate("--entities", 20, "--rows", 20 * 120, "--rate", 0, "--start", "2026-11-01T12:00:00Z", dataset="vehicle")
    settled(five, "vehicle.metrics_1min")
    rows = stored(five, "vehicle.metrics_1min").to_pylist()
    first = dt.datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert sorted({r["window_start"] for r in rows}) == [first + dt.timedelta(minutes=m) for m in range(10)]
    assert len(rows) == 20 * 10 and all(r["n"] == 12 for r in rows)


def berlin(second):
    return f"2026-11-01 12:{second // 60:02d}:{second % 60:02d}.000"


def vehicle(five, *rows):
    """(second after noon in Berlin, humidity)"""
    five.put("vehicle.raw", text_batch(entity=["7"] * len(rows), ts=[berlin(s) for s, _ in rows], temp=["20"] * len(rows), humidity=[str(h) for _, h in rows]))


def test_vehicle_an_aggregate_row_is_stamped_with_the_brokers_time_not_its_windows(five):
    vehicle(five, (5, 30), (65, 31))
    settled(five, "vehicle.metrics_1min")
    rows = stored(five, "vehicle.metrics_1min").sort_by("window_start").to_pylist()
    noon = dt.datetime(2026, 11, 1, 11, tzinfo=UTC)
    minute = dt.timedelta(minutes=1)
    assert [(r["window_start"], r["window_end"]) for r in rows] == [(noon, noon + minute), (noon + minute, noon + 2 * minute)]


def test_vehicle_the_entity_is_a_number_in_raw_and_a_string_in_the_aggregate(five):
    vehicle(five, (5, 30))
    settled(five, "vehicle.metrics_1min")
    kinds = {pa.schema(five.delta(t, "vehicle").schema().to_arrow()).field("entity").type for t in ["raw", "metrics_1min"]}
    assert kinds == {pa.int64()}
    assert five.one("SELECT count(*) FROM vehicle.metrics_1min m JOIN vehicle.raw r ON m.entity = r.entity") == 1


def test_vehicle_last_humidity_is_by_arrival_not_event_time(five):
    vehicle(five, (30, 40))
    vehicle(five, (10, 99))
    assert five.one("SELECT last_humidity FROM vehicle.metrics_1min") == 40.0
    settled(five, "vehicle.metrics_1min")
    vehicle(five, (20, 98))
    settled(five, "vehicle.metrics_1min")
    assert stored(five, "vehicle.metrics_1min").column("last_humidity").to_pylist() == [40.0]
    vehicle(five, (31, 41))
    settled(five, "vehicle.metrics_1min")
    assert stored(five, "vehicle.metrics_1min").column("last_humidity").to_pylist() == [41.0]


def test_satellite_a_small_file_every_5_s_never_compacted(five):
    """Of the view too: its files of a day become one, and its rows stay what they were."""
    for n in range(6):
        five.simulate("--satellites", 5, "--rows", 25, "--rate", 0, "--producer", f"p{n}", dataset="satellite")
        wait_committed(five, "satellite")
        settled(five, "satellite.metrics_1min")
    before = five.sql("SELECT * FROM satellite.metrics_1min")
    five.sql("OPTIMIZE satellite.metrics_1min")
    five.sql("OPTIMIZE satellite.raw")
    days = {r["event_date"] for r in before}
    assert len(five.delta("metrics_1min", "satellite").file_uris()) == len(days) and len(five.delta("raw", "satellite").file_uris()) <= len(days) + 1
    same(stored(five, "satellite.metrics_1min").to_pylist(), before, ["window_start", "satellite_name"])
    assert math.isclose(sum(r["n"] for r in before), five.one("SELECT count(*) FROM satellite.raw"))
