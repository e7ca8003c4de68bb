"""For each dataset the numbers that a right answer has: shares, moments, profiles, sums and reference tables."""

import csv
import datetime as dt
import decimal
import math
import os
import pathlib
import re
import subprocess

import pyarrow as pa
import pytest

from conftest import BIN, Server
from pages import statements
from test_datasets import DATASETS, UTC, energy_rows, gold, process, simulate_files, text_batch, wait_committed

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def five(tmp_path):
    server = Server(tmp_path / "data").start()
    server.run("apply", *DATASETS, "--yes")
    yield server
    server.stop()


# --- reactor ---------------------------------------------------------------------------------------------------------------

PASS = {"AT": 0.9821, "V": 0.9726, "AP": 0.9993, "RH": 0.9665, "PE": 0.9706}
MEAN = {"AT": 19.651231, "V": 54.305804, "AP": 1013.259078, "RH": 73.308978, "PE": 454.365009}
SD = {"AT": 7.452473, "V": 12.707893, "AP": 5.938784, "RH": 14.600269, "PE": 17.066995}
CORRELATION = {("AT", "V"): .844107, ("AT", "AP"): -.507549, ("AT", "RH"): -.542535, ("AT", "PE"): -.948128, ("V", "AP"): -.413502, ("V", "RH"): -.312187,
               ("V", "PE"): -.869780, ("AP", "RH"): .099574, ("AP", "PE"): .518429, ("RH", "PE"): .389794}
CCPP_SUMS = {"AT": "188022.98", "V": "519597.93", "AP": "9694862.86", "RH": "701420.30", "PE": "4347364.41"}


def test_reactor_sampler_is_accepted_at_the_share_its_normal_columns_give(five):
    n = 100_000
    summary = five.simulate("--source", "sampler", "--rows", n, "--rate", 0)
    assert abs(summary["accepted"] / n - 0.8955) < 4 * math.sqrt(0.0936 / n)
    assert summary["accepted"] + summary["quarantined"] == n
    broken = {r["rule"]: r["violations"] for r in five.sql("SELECT rule, violations FROM system.rules WHERE \"table\" = 'reactor.raw'")}
    for column, share in PASS.items():
        # The shares are told to four decimals.
        assert abs(1 - broken[f"range:{column}"] / n - share) < 4 * math.sqrt(share * (1 - share) / n) + 0.00005, column


def test_reactor_replay_of_a_csv_is_accepted_whole_and_sums_to_the_cent(five):
    """`DELTAPLANE_CCPP` names the file of the data set itself; without it the sample stands in."""
    path = pathlib.Path(os.environ.get("DELTAPLANE_CCPP", ROOT / "data/reactor/sample.csv"))
    with path.open() as f:
        rows = list(csv.DictReader(f))
    sums = {c: sum(decimal.Decimal(r[c]) for r in rows) for c in PASS}
    if "DELTAPLANE_CCPP" in os.environ:
        assert (len(rows), {c: str(s) for c, s in sums.items()}) == (9568, CCPP_SUMS)
    summary = five.simulate("--source", f"csv:{path}", "--rate", 0)
    assert (summary["accepted"], summary["quarantined"]) == (len(rows), 0)
    got = five.one("SELECT " + ", ".join(f"round(sum({c}), 2) AS {c}" for c in PASS) + " FROM reactor.raw")
    assert got == tuple(float(s) for s in sums.values())


def solve(matrix, right):
    """Gauss-Jordan; small and well conditioned."""
    rows = [list(m) + [r] for m, r in zip(matrix, right)]
    for i in range(len(rows)):
        pivot = max(range(i, len(rows)), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        rows = [row if k == i else [a - row[i] * b for a, b in zip(row, rows[i])] for k, row in enumerate(rows)]
    return [row[-1] for row in rows]


def test_reactor_stand_in_has_the_data_sets_moments_and_correlations(five):
    five.simulate("--source", "standin", "--rows", 9568, "--rate", 0)
    assert five.one("SELECT count(*) FROM reactor.raw") == 9568
    for c in MEAN:
        mean, sd = five.one(f"SELECT avg({c}) AS m, stddev({c}) AS s FROM reactor.raw")
        assert abs(mean - MEAN[c]) < 0.5 + 4 * SD[c] / math.sqrt(9568), c
        assert abs(sd / SD[c] - 1) < 0.035 + 4 / math.sqrt(2 * 9568), c
    corr = {pair: five.one(f"SELECT corr({pair[0]}, {pair[1]}) FROM reactor.raw") for pair in CORRELATION}
    for pair, expected in CORRELATION.items():
        assert abs(corr[pair] - expected) < 0.025 + 4 * (1 - expected ** 2) / math.sqrt(9568), pair
    # Share of PE's variance that the other four explain, from the correlations alone.
    of = lambda a, b: 1.0 if a == b else corr.get((a, b), corr.get((b, a)))
    inputs = ["AT", "V", "AP", "RH"]
    weights = solve([[of(a, b) for b in inputs] for a in inputs], [of(a, "PE") for a in inputs])
    assert 0.925 < sum(w * of(a, "PE") for w, a in zip(weights, inputs)) < 0.934


def test_reactor_message_of_the_plant_seconds_with_a_fraction_and_no_reactor(five, tmp_path):
    simulate_files("reactor", tmp_path / "r", "--rows", 100, "--start", "2026-11-01T00:00:00.250Z")
    five.run("ingest", "reactor.raw", tmp_path / "r")
    assert five.sql("SELECT reactor_id, count(*) AS n, min(ts) AS first, max(ts) AS last, count(DISTINCT ts) AS times FROM reactor.raw GROUP BY 1") == [
        {"reactor_id": "R1", "n": 100, "first": dt.datetime(2026, 11, 1, 0, 0, 0, 250_000, UTC), "last": dt.datetime(2026, 11, 1, 0, 0, 10, 150_000, UTC), "times": 100}]
    # The other schema of the same plant, with its own example row.
    row = {"reactor_id": "R1", "power_mw": "150.5", "coolant_temp_c": "300.2", "coolant_pressure_mpa": "12.3", "coolant_flow_kg_s": "950", "neutron_flux_nv": "1.2e13",
           "control_rod_position_pct": "45", "vibration_mm_s": "2.5", "core_inlet_temp_c": "280", "core_outlet_temp_c": "320", "event_time": "2026-11-01T00:00:00Z"}
    assert five.put("reactor.core", text_batch(**{k: [v] for k, v in row.items()}))["accepted"] == 1
    assert five.one("SELECT neutron_flux_nv FROM reactor.core WHERE event_date = DATE '2026-11-01'") == 1.2e13
    assert five.delta("core").metadata().partition_columns == ["reactor_id", "event_date"]


# --- satellites ------------------------------------------------------------------------------------------------------------


def read_csv(path):
    with path.open() as f:
        return list(csv.DictReader(f))


def test_satellite_files_are_what_the_fleet_has_today_and_the_same_for_the_same_seed(tmp_path):
    simulate_files("satellite", tmp_path / "a", "--satellites", 20)
    simulate_files("satellite", tmp_path / "b", "--satellites", 20, "--seed", 88)
    simulate_files("satellite", tmp_path / "c", "--satellites", 20, "--seed", 89)
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == sorted(f"sat{k}.csv" for k in range(20))
    for name in names:
        text = (tmp_path / "a" / name).read_text()
        assert text == (tmp_path / "b" / name).read_text() != (tmp_path / "c" / name).read_text()
        lines = text.splitlines()
        assert lines[0] == "temp_c,battery_charge_pct,altitude,sensor1,sensor2,sensor3" and len(lines) == 1001
        assert all(re.fullmatch(r"(-?\d+\.\d\d,){5}-?\d+\.\d\d", line) for line in lines[1:])
        rows = read_csv(tmp_path / "a" / name)
        for column, low, high in [("temp_c", "-100.00", "120.00"), ("battery_charge_pct", "0.00", "100.00")]:
            values = [r[column] for r in rows]
            assert (values.count(low), values.count(high)) == (1, 1), (name, column)
        assert all(160 <= float(r["altitude"]) <= 2000 and abs(float(r["sensor2"])) <= 1 for r in rows)


def test_satellite_columns_have_their_distributions_and_ns_time_is_exact(five):
    five.simulate("--satellites", 50, "--rows", 50_000, "--rate", 0, dataset="satellite")
    mean, sd, low, high = five.one("SELECT avg(altitude_km) AS m, stddev(altitude_km) AS s, min(altitude_km) AS a, max(altitude_km) AS b FROM satellite.raw")
    assert abs(mean - 1080) < 4 * 531.2 / math.sqrt(50_000) and abs(sd - 531.2) < 7 and 160 <= low < 161 and 1999 < high <= 2000
    for s in ["sensor1", "sensor2", "sensor3"]:
        mean, sd, low, high = five.one(f"SELECT avg({s}) AS m, stddev({s}) AS s, min({s}) AS a, max({s}) AS b FROM satellite.raw")
        assert abs(mean) < 0.05 and 0.55 < sd < 0.65 and (low, high) == (-1.0, 1.0)
    together = [r["r"] for r in five.sql("SELECT corr(temp_c, battery_charge_pct) AS r FROM satellite.raw GROUP BY satellite_name")]
    assert min(together) > 0.25 and 0.3 < sorted(together)[25] < 0.95
    # Nanoseconds to the last digit; the event time is the same instant in microseconds.
    odd, wrong = five.one("SELECT count(*) FILTER (WHERE timestamp_ns % 1000 <> 0) AS odd, count(*) FILTER (WHERE timestamp_ns / 1000 <> arrow_cast(ts, 'Int64')) AS wrong FROM satellite.raw")
    assert odd > 49_000 and wrong == 0


def test_satellite_is_partitioned_by_the_day_of_arrival_and_takes_arrival_in_ms(five):
    row = {"satellite_name": "sat1", "timestamp_ns": 1_785_744_000_123_456_789, "temp_c": 1.5, "battery_charge_pct": 50.0, "altitude": 500.0, "sensor1": 0.1, "sensor2": 0.2, "sensor3": 0.3}
    five.put("satellite.raw", pa.RecordBatch.from_pylist([row | {"received_ts": 1_785_830_400_000}]))
    five.put("satellite.raw", pa.RecordBatch.from_pylist([row | {"timestamp_ns": row["timestamp_ns"] + 1}]))
    today = five.one("SELECT CAST(max(_ingest_ts) AS DATE) FROM satellite.raw")
    assert five.sql("SELECT timestamp_ns, ts, received_date, CAST(received_ts AS DATE) AS d FROM satellite.raw ORDER BY 1") == [
        {"timestamp_ns": 1_785_744_000_123_456_789, "ts": dt.datetime(2026, 8, 3, 8, 0, 0, 123_456, UTC), "received_date": dt.date(2026, 8, 4), "d": dt.date(2026, 8, 4)},
        {"timestamp_ns": 1_785_744_000_123_456_790, "ts": dt.datetime(2026, 8, 3, 8, 0, 0, 123_456, UTC), "received_date": today, "d": today}]
    wait_committed(five, "satellite")
    delta = five.delta(dataset="satellite")
    assert delta.metadata().partition_columns == ["received_date"]
    assert five.one("SELECT count(*) FROM satellite.raw WHERE received_date = DATE '2026-08-04'") == 1


# --- building --------------------------------------------------------------------------------------------------------------

# Room, hour of the day (W: 9 to 17), then the bounds of temperature, humidity, co2, light, people, energy and air.
PROFILES = [
    ("room_1", "true", (18.81, 19.19), (33.95, 36.05), (427, 473), (0, 0), (0, 0), (2.116, 2.484), (90, 100)),
    ("room_3", "true", (20.29, 20.71), (49, 51), (388, 412), (0, 0), (0, 0), (.045, .055), (85, 95)),
    ("room_4", "W", (20.5, 23.5), (45.6, 50.4), (704, 896), (350, 500), (5, 8), (1.08, 1.32), (60, 60)),
    ("room_4", "NOT W", (19.6, 20.4), (43.65, 46.35), (414, 486), (0, 50), (0, 0), (.36, .44), (67, 72)),
    ("room_6", "true", (18.7, 25.3), (36, 54), (630, 1170), (200, 700), (0, 4), (1.08, 2.52), (30, 75)),
    ("room_7", "motion_detected", (21.07, 21.93), (45.12, 48.88), (540, 660), (250, 400), (1, 3), (.68, .92), (75, 90)),
    ("room_7", "NOT motion_detected", (21.07, 21.93), (45.12, 48.88), (405, 495), (0, 100), (0, 0), (.255, .345), (75, 90)),
    ("room_8", "W", (20.79, 21.21), (44.1, 45.9), (617, 683), (400, 450), (1, 1), (.644, .756), (85, 98)),
    ("room_8", "NOT W", (20.79, 21.21), (44.1, 45.9), (399, 441), (0, 0), (0, 0), (.184, .216), (85, 98)),
    ("room_2", "meets", (22.32, 24.68), (50.6, 59.4), (1020, 1380), (400, 600), (6, 12), (1.2, 1.8), (50, 50)),
    ("room_2", "NOT meets", (20.37, 21.63), (42.75, 47.25), (450, 550), (0, 100), (0, 0), (.255, .345), (72, 77)),
    ("room_5", "temperature > 23", (25.2, 30.8), (61.6, 78.4), (800, 1200), (300, 500), (1, 3), (2.625, 4.375), (40, 55)),
    ("room_5", "temperature < 23", (20.37, 21.63), (47.5, 52.5), (495, 605), (100, 300), (0, 1), (.51, .69), (66, 72)),
]


def test_building_profiles_hold_room_by_room_and_hour_by_hour(five):
    # Two and a half hours from 08:00 UTC at the rooms' own pace: 18,000 ticks.
    five.simulate("--kitchen-bursts", "--rows", 8 * 18_000, "--rate", 0, "--start", "2026-08-03T08:00:00Z", dataset="building")
    assert five.one("SELECT count(*) FROM building.raw") == 8 * 18_000
    measures = ["temperature", "humidity", "co2_ppm", "light_lux", "occupancy_count", "energy_kwh", "air_quality_index"]
    source = "(SELECT *, extract(hour FROM ts) BETWEEN 9 AND 17 AS w, extract(minute FROM ts) < 15 AS meets FROM building.raw)"
    for room, when, *bounds in PROFILES:
        columns = ", ".join(f"min({m}) AS l{i}, max({m}) AS h{i}" for i, m in enumerate(measures))
        (got,) = five.sql(f"SELECT count(*) AS n, {columns} FROM {source} WHERE room_id = '{room}' AND ({when.replace('W', 'w')})")
        assert got["n"] > 500, (room, when)
        for i, (low, high) in enumerate(bounds):
            # A little beyond the bound is rounding of the value that a bound is computed from.
            assert low - 1 <= got[f"l{i}"] and got[f"h{i}"] <= high + 1 if i in (2, 6) else low - .006 <= got[f"l{i}"] and got[f"h{i}"] <= high + .006, (room, when, measures[i], got)
    motion = {r["room_id"]: r["p"] for r in five.sql(f"SELECT room_id, avg(CASE WHEN motion_detected THEN 1.0 ELSE 0 END) AS p FROM {source} WHERE NOT w AND NOT meets GROUP BY 1")}
    for room, p in {"room_1": 0, "room_2": .1, "room_3": 0, "room_4": .05, "room_6": .6, "room_7": .25, "room_8": 0}.items():
        assert abs(motion[room] - p) <= 4 * math.sqrt(p * (1 - p) / 5_000), room


def test_building_declares_three_days_of_retention_and_times_are_whole_milliseconds(five, tmp_path):
    assert "'deltaplane.retention'='3d'" in five.one("SHOW CREATE TABLE building.raw")
    five.simulate("--for", 1.2, dataset="building")
    rows, ticks, fine = five.one("SELECT count(*) AS n, count(DISTINCT ts) AS t, count(*) FILTER (WHERE arrow_cast(ts, 'Int64') % 1000 <> 0) AS fine FROM building.raw")
    assert (rows, ticks, fine) == (24, 3, 0), "three ticks of eight rooms: at 0, 0.5 and 1 s"
    simulate_files("building", tmp_path / "b", "--rows", 16, "--start", "2026-11-01T00:00:00.500Z")
    assert '"ts":"2026-11-01T00:00:00.500Z"' in (tmp_path / "b/building.ndjson").read_text()
    assert five.run("ingest", "building.raw", tmp_path / "b").stdout.startswith("1 files, 16 rows sent, 0 quarantined, 0 duplicates")


# --- energy ----------------------------------------------------------------------------------------------------------------


def test_energy_sample_day_gives_the_gold_that_another_engine_computed(five):
    folder = ROOT / "data/energy"
    five.run("ingest", "energy.raw", folder / "sample.csv")
    code, quality = process(five)
    assert code == 0, quality
    for row in read_csv(folder / "sample-gold.csv"):
        got = gold(five)[row["site_id"]]
        for name in ["energy_wh_total", "peak_power_w", "avg_temp_c", "uptime_percent"]:
            assert got[name] == pytest.approx(float(row[name]), rel=1e-12), (row["site_id"], name)
        assert got["anomaly_count"] == int(row["anomaly_count"])
    assert len(gold(five)) == 5


def test_energy_rows_of_the_next_day_in_a_days_files_go_to_their_own_date(five, tmp_path):
    simulate_files("energy", tmp_path / "tree", "--date", "2025-08-01", "--rows-per-device", 24)
    file = tmp_path / "tree/2025/08/01/S01/D01001.jsonl"
    lines = file.read_text().splitlines()
    assert len(lines) == 24 and lines[0].startswith('{"ts_utc":"2025-08-01T00:00:00Z","device_id":"D01001","site_id":"S01"')
    lines[-1] = lines[-1].replace("2025-08-01T23", "2025-08-02T00")
    file.write_text("\n".join(lines) + "\n")
    five.run("ingest", "energy.raw", tmp_path / "tree")
    assert process(five)[0] == 0
    assert five.sql("SELECT event_date, count(*) AS n FROM energy.raw GROUP BY 1 ORDER BY 1") == [{"event_date": dt.date(2025, 8, 1), "n": 239}, {"event_date": dt.date(2025, 8, 2), "n": 1}]
    assert five.sql("SELECT DISTINCT event_date FROM energy.gold") == [{"event_date": dt.date(2025, 8, 1)}]
    five.run("process", "energy", "--date", "2025-08-02")
    assert five.sql("SELECT event_date, count(*) AS sites FROM energy.gold GROUP BY 1 ORDER BY 1") == [{"event_date": dt.date(2025, 8, 1), "sites": 5}, {"event_date": dt.date(2025, 8, 2), "sites": 1}]


def test_energy_no_input_exits_99_and_touches_nothing(five):
    five.put("energy.raw", energy_rows(3))
    assert process(five)[0] == 0
    versions = {t: five.delta(t, "energy").version() for t in ["silver", "gold"]}
    done = five.run("process", "energy", "--date", "2025-08-05", check=False)
    assert done.returncode == 99 and '"outcome":"no_input"' in done.stdout
    assert {t: five.delta(t, "energy").version() for t in ["silver", "gold"]} == versions


def test_energy_every_way_of_delivering_a_day_gives_the_same_gold(five, tmp_path):
    simulate_files("energy", tmp_path / "tree", "--date", "2025-08-01")
    five.run("ingest", "energy.raw", tmp_path / "tree")
    assert process(five)[0] == 0
    first = gold(five)
    for site in first.values():
        assert 97 < site["uptime_percent"] <= 100 and abs(site["avg_temp_c"] - 30) < 0.3
    # The same day once more as a stream, in other batches: all of it are second deliveries.
    five.simulate("--date", "2025-08-01", "--rate", 0, "--batch-rows", 777, dataset="energy")
    code, quality = process(five)
    assert (code, quality["rows_total"], quality["duplicate_keys"]) == (0, 28_800, 14_400)
    assert gold(five) == first


# --- vehicles --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start, rounds", [("2026-03-29T00:58:00Z", 48), ("2025-10-26T00:58:00Z", 24), ("2025-10-26T02:00:00Z", 12), ("2026-07-01T21:59:00Z", 24)])
def test_vehicle_rounds_keep_their_five_seconds_over_the_changes_of_berlins_clocks(five, start, rounds):
    summary = five.simulate("--entities", 20, "--rows", 20 * rounds, "--rate", 0, "--start", start, dataset="vehicle")
    assert (summary["accepted"], summary["quarantined"]) == (20 * rounds, 0)
    begin = dt.datetime.fromisoformat(start)
    times = [r["ts"] for r in five.sql("SELECT DISTINCT ts FROM vehicle.raw ORDER BY 1")]
    assert times == [begin + dt.timedelta(seconds=5 * i) for i in range(rounds)]


def test_vehicle_minutes_have_twelve_readings_an_entity_and_the_last_is_by_event_time(five):
    five.simulate("--rows", 200 * 60, "--rate", 0, "--start", "2026-07-01T12:00:00Z", "--faults", "late=.2,seed=3", dataset="vehicle")
    windows = five.sql("SELECT date_bin(INTERVAL '1 minute', ts) AS window_start, entity, count(*) AS n, round(avg(temp), 2) AS avg_temp, last_value(humidity ORDER BY ts) AS last_humidity "
                       "FROM vehicle.raw WHERE ts >= TIMESTAMP '2026-07-01T12:00:00Z' GROUP BY 1, 2")
    assert len(windows) == 200 * 5 and sum(w["n"] for w in windows) > 0.98 * 12_000
    far = [w for w in windows if abs(w["avg_temp"] - 20) > 4 / math.sqrt(w["n"])]
    assert len(far) <= 2
    last = {(r["m"], r["entity"]): r["humidity"] for r in five.sql("SELECT date_trunc('minute', ts) AS m, entity, humidity FROM vehicle.raw ORDER BY ts")}
    assert all(w["last_humidity"] == last[(w["window_start"], w["entity"])] for w in windows)


# --- every folder ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_folders_sample_is_what_the_command_in_its_readme_writes(dataset, tmp_path):
    (command,) = re.findall(r"^ {4}deltaplane-sim (.* --csv data/\w+/sample\.csv)$", (ROOT / "data" / dataset / "README.md").read_text(), re.MULTILINE)
    *arguments, _ = command.split()
    subprocess.run([BIN / "deltaplane-sim", *arguments, tmp_path / "sample.csv"], check=True, capture_output=True, timeout=60)
    assert (tmp_path / "sample.csv").read_text() == (ROOT / "data" / dataset / "sample.csv").read_text()


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_folders_first_queries_run_over_its_sample(five, dataset):
    five.run("ingest", f"{dataset}.raw", ROOT / "data" / dataset / "sample.csv")
    if dataset == "energy":
        assert process(five)[0] == 0
    queries = [shown.sql for shown in statements(ROOT / "data" / dataset / "README.md")]
    assert len(queries) >= 3
    for query in queries:
        rows = five.sql(query)
        assert rows or any(w in query for w in ["unknown_room", "air_quality_index <", "_quarantine"]), query


def test_each_folders_sample_is_taken_as_its_readme_says(five):
    folders = sorted(p.parent for p in ROOT.glob("data/*/dataset.toml"))
    assert [f.name for f in folders] == sorted(DATASETS)
    for folder in folders:
        told = re.search(r"`sample\.csv`: ([\d,]+) rows; ([\d,]+) accepted, ([\d,]+) quarantined, ([\d,]+) duplicates", (folder / "README.md").read_text())
        assert told, f"data/{folder.name}/README.md says what becomes of sample.csv"
        rows, accepted, quarantined, duplicates = (int(n.replace(",", "")) for n in told.groups())
        shown = five.run("ingest", f"{folder.name}.raw", folder / "sample.csv").stdout
        assert shown.startswith(f"1 files, {rows} rows sent, {quarantined} quarantined, {duplicates} duplicates"), (folder.name, shown)
        assert five.one(f"SELECT count(*) FROM {folder.name}.raw") == accepted == rows - quarantined - duplicates, folder.name
