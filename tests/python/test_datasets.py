"""The five datasets: contracts on real streams, what each refuses, and the counts that must add up."""

import concurrent.futures
import datetime as dt
import json
import os
import pathlib
import subprocess
import time

import pyarrow as pa
import pytest

from conftest import BIN, Server

DATASETS = ["reactor", "satellite", "building", "energy", "vehicle"]
UTC = dt.timezone.utc


@pytest.fixture
def five(tmp_path):
    server = Server(tmp_path / "data").start()
    server.run("apply", *DATASETS, "--yes")
    yield server
    server.stop()


def wait_committed(server, dataset):
    deadline = time.monotonic() + 30
    while server.one(f"SELECT hot_bytes FROM system.tables WHERE table_schema = '{dataset}' AND table_name = 'raw'"):
        assert time.monotonic() < deadline, "not committed in time"
        time.sleep(0.05)


def text_batch(**columns):
    return pa.RecordBatch.from_pydict({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_received_is_accepted_quarantined_and_duplicates_under_all_faults_of_all_simulators_at_once(five):
    faults = "nulls=.01,range=.02,type=.01,duplicates=.02,late=.02,seed=7"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = {d: pool.submit(five.simulate, "--rows", 10_000, "--rate", 0, "--faults", faults, dataset=d) for d in DATASETS}
        summaries = {d: run.result() for d, run in runs.items()}
    quality = {r["table"]: r for r in five.sql('SELECT * FROM system.quality') if r["table"].endswith(".raw")}
    for d, summary in summaries.items():
        q = quality[f"{d}.raw"]
        assert q["received"] == 10_000 == q["accepted"] + q["quarantined"] + q["duplicates"], d
        assert (q["accepted"], q["quarantined"], q["duplicates"]) == (summary["accepted"], summary["quarantined"], summary["duplicates"])
        assert five.one(f"SELECT count(*) FROM {d}.raw") == q["accepted"], d
        assert five.one(f"SELECT count(*) FROM {d}.raw_quarantine") == q["quarantined"], d
        assert q["quarantined"] > 0, d
    for d in ["building", "vehicle"]:
        assert 100 < quality[f"{d}.raw"]["duplicates"] < 300, d
        keys = "room_id, ts" if d == "building" else "entity, ts"
        assert five.one(f"SELECT count(*) FROM (SELECT {keys} FROM {d}.raw GROUP BY {keys} HAVING count(*) > 1)") == 0
    # Each rejected row says why; what rules count is what quarantine holds.
    broken = five.sql("SELECT unnest(rules) AS rule, count(*) AS n FROM building.raw_quarantine GROUP BY 1")
    counted = {r["rule"]: r["violations"] for r in five.sql("SELECT rule, violations FROM system.rules WHERE \"table\" = 'building.raw'")}
    assert {r["rule"]: r["n"] for r in broken} == {rule: n for rule, n in counted.items() if not rule.startswith(("unchecked", "referential"))}


def test_satellite_unparsable_token_goes_to_quarantine_and_shifts_nothing(five):
    now = str(int(dt.datetime.now(UTC).timestamp() * 1e9))
    row = lambda **change: {"satellite_name": "sat1", "timestamp_ns": now, "temp_c": "1.5", "battery_charge_pct": "50", "altitude": "500",
                            "sensor1": "0.1", "sensor2": "0.2", "sensor3": "0.3"} | change
    rows = [row(), row(battery_charge_pct="5o.0"), row(satellite_name="sat2")]
    ack = five.put("satellite.raw", text_batch(**{k: [r[k] for r in rows] for k in rows[0]}))
    assert (ack["accepted"], ack["quarantined"]) == (2, 1)
    assert five.sql("SELECT satellite_name, temp_c, battery_charge_pct, altitude_km, sensor3, timestamp_ns FROM satellite.raw ORDER BY 1") == [
        {"satellite_name": name, "temp_c": 1.5, "battery_charge_pct": 50.0, "altitude_km": 500.0, "sensor3": 0.3, "timestamp_ns": int(now)} for name in ["sat1", "sat2"]]
    (bad,) = five.sql("SELECT rules, reason, raw FROM satellite.raw_quarantine")
    assert bad["rules"] == ["type:battery_charge_pct"] and "5o.0" in bad["reason"] and '"altitude":"500"' in bad["raw"]


def test_satellite_restart_appends_and_never_recreates(five):
    five.simulate("--rows", 2000, "--rate", 0, "--producer", "fleet", dataset="satellite")
    wait_committed(five, "satellite")
    before = five.delta(dataset="satellite").version()
    five.kill()
    five.start()
    five.simulate("--rows", 2000, "--rate", 0, "--producer", "fleet", "--seed", 9, dataset="satellite")
    wait_committed(five, "satellite")
    assert five.one("SELECT count(*) FROM satellite.raw") == 4000
    delta = five.delta(dataset="satellite")
    assert delta.version() > before and delta.to_pyarrow_table().num_rows == 4000


def test_satellite_both_ends_of_the_range_occur_once_a_profile(five):
    # Each satellite sleeps by itself, so some are a few events further than others.
    five.simulate("--satellites", 5, "--rows", 5500, "--rate", 0, dataset="satellite")
    for row in five.sql("SELECT satellite_name, count(*) AS n, count(*) FILTER (WHERE temp_c = -100) AS cold, count(*) FILTER (WHERE temp_c = 120) AS hot, "
                        "corr(temp_c, battery_charge_pct) AS r FROM (SELECT *, row_number() OVER (PARTITION BY satellite_name ORDER BY timestamp_ns) AS nth FROM satellite.raw) WHERE nth <= 1000 GROUP BY 1"):
        assert (row["n"], row["cold"], row["hot"]) == (1000, 1, 1)
        assert 0.2 < row["r"] <= 1


def readings(n, room="room_1", first=0, **columns):
    base = dt.datetime(2026, 11, 1, tzinfo=UTC)
    data = {"room_id": [room] * n, "ts": [base + dt.timedelta(milliseconds=500 * (first + i)) for i in range(n)], "temperature": [20.0] * n}
    return pa.RecordBatch.from_pydict(data | columns)


def test_building_unknown_room_is_kept_and_counted(five):
    five.put("building.raw", readings(3))
    five.put("building.raw", readings(4, room="room_99"))
    assert five.one("SELECT count(*) FROM building.raw") == 7
    assert five.one("SELECT violations FROM system.rules WHERE rule = 'referential:room_id'") == 4
    joined = five.sql("SELECT m.room_name, count(*) AS n FROM building.raw r LEFT JOIN building.rooms m USING (room_id) GROUP BY 1 ORDER BY 2")
    assert joined == [{"room_name": "Server Room", "n": 3}, {"room_name": None, "n": 4}]
    # A room that is entered later is known at once.
    five.put("building.rooms", text_batch(room_id=["room_99"], room_name=["Annex"]))
    five.put("building.raw", readings(2, room="room_99", first=10))
    assert five.one("SELECT violations FROM system.rules WHERE rule = 'referential:room_id'") == 4


def test_uniqueness_survives_restart_and_tells_duplicates_from_contradictions(five):
    five.put("building.raw", readings(100))
    assert five.put("building.raw", readings(100))["duplicates"] == 100
    wait_committed(five, "building")
    for _ in range(2):
        assert five.put("building.raw", readings(50))["duplicates"] == 50
        ack = five.put("building.raw", readings(10, temperature=[21.0] * 10))
        assert (ack["accepted"], ack["quarantined"]) == (0, 10)
        five.kill()
        five.start()
    assert five.one("SELECT count(*) FROM building.raw") == 100
    assert five.one("SELECT count(*) FROM building.raw_quarantine WHERE rules[1] = 'unique:room_id,ts'") == 20


def test_vehicle_berlin_time_is_right_over_both_changes(five):
    cases = {"2026-03-29 01:59:59.999": "2026-03-29T00:59:59.999", "2026-03-29 03:00:00.000": "2026-03-29T01:00:00", "2026-10-25 03:00:00.000": "2026-10-25T02:00:00",
             "2026-07-01 12:00:00.250": "2026-07-01T10:00:00.250", "2026-03-29 02:30:00.000": None}
    ack = five.put("vehicle.raw", text_batch(entity=[str(i + 1) for i in range(len(cases))], ts=list(cases), temp=["20"] * len(cases), humidity=["35"] * len(cases)))
    assert (ack["accepted"], ack["quarantined"]) == (4, 1)
    got = [r["ts"] for r in five.sql("SELECT ts FROM vehicle.raw ORDER BY entity")]
    assert got == [dt.datetime.fromisoformat(t + "+00:00") for t in cases.values() if t]
    assert five.one("SELECT reason FROM vehicle.raw_quarantine").startswith("ts 2026-03-29 02:30:00.000 is not a TIMESTAMP")
    # A run's rows, read back in UTC, are as old as they are.
    five.simulate("--rows", 400, "--rate", 0, dataset="vehicle")
    age = dt.datetime.now(UTC) - five.one("SELECT max(ts) FROM vehicle.raw")
    assert abs(age) < dt.timedelta(minutes=1)


def test_contract_stands_in_delta_and_is_read_back_from_there(five):
    properties = five.delta(dataset="building").metadata().configuration
    assert "unique" in properties["deltaplane.rules"] and properties["deltaplane.retention"] == "3d"
    ddl = five.one("SHOW CREATE TABLE building.raw")
    five.sql("DROP MATERIALIZED VIEW building.metrics_10s")
    five.sql("DROP TABLE building.raw")
    five.sql(ddl)
    assert five.one("SHOW CREATE TABLE building.raw") == ddl
    five.put("building.raw", readings(5))
    assert five.put("building.raw", readings(5))["duplicates"] == 5
    # What others change in the Delta log is in force after the next start.
    assert five.terminate() == 0
    rules = json.loads(properties["deltaplane.rules"])
    for rule in rules:
        if rule["name"] == "range:temperature":
            rule["kind"]["range"]["max"] = 19.0
    five.delta(dataset="building/", table="raw~2").alter.set_table_properties({"deltaplane.rules": json.dumps(rules)}, raise_if_not_exists=False)
    five.start()
    assert five.put("building.raw", readings(3, first=50))["quarantined"] == 3
    assert "19" in five.one("SHOW CREATE TABLE building.raw")


DAY = "2025-08-01"


def energy_rows(n, day=DAY, device="D01001", site="S01", first=0, **columns):
    times = [f"{day}T{(first + i) // 60:02d}:{(first + i) % 60:02d}:00Z" for i in range(n)]
    data = {"ts_utc": times, "device_id": [device] * n, "site_id": [site] * n, "power_w": [100.0] * n, "energy_wh": [1.5] * n, "voltage_v": [400.0] * n,
            "current_a": [0.25] * n, "temperature_c": [30.0] * n, "soc_percent": [50.0] * n, "status": ["OK"] * n}
    return pa.RecordBatch.from_pydict(data | columns)


def process(server, *arguments):
    done = server.run("process", "energy", "--date", DAY, *arguments, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else done.stderr


def gold(server):
    return {r["site_id"]: r for r in server.sql("SELECT * FROM energy.gold ORDER BY site_id")}


def test_energy_day_batch_replaces_the_days_set_and_is_idempotent(five):
    code, answer = process(five)
    assert (code, answer["outcome"]) == (99, "no_input")
    assert five.one("SELECT count(*) FROM energy.gold") == 0
    five.put("energy.raw", energy_rows(60))
    five.put("energy.raw", energy_rows(60))  # the same readings again
    five.put("energy.raw", energy_rows(4, first=100, power_w=[-5.0, 9e3, None, 1.0], soc_percent=[101.0, 50.0, -1.0, None], temperature_c=[99.0, None, 31.0, -21.0], status=["FAULT", None, "OK", "OK"]))
    five.put("energy.raw", energy_rows(10, device="D09999", site="S09"))
    five.put("energy.raw", energy_rows(5, day="2025-08-02"))
    code, quality = process(five)
    assert code == 0, quality
    assert (quality["rows_total"], quality["duplicate_keys"], quality["unmatched_dimension"]) == (134, 60, 10)
    assert (quality["null_power"], quality["null_soc"]) == (1, 3)
    assert {r["rule"]: r["violations"] for r in quality["rules"]}["range:soc_percent"] == 2
    first = gold(five)
    s01 = first["S01"]
    assert (s01["energy_wh_total"], s01["peak_power_w"], s01["anomaly_count"]) == (96.0, 9000.0, 1)
    assert s01["uptime_percent"] == pytest.approx(100 * 62 / 64) and s01["avg_temp_c"] == pytest.approx((60 * 30 + 31) / 61)
    assert five.one("SELECT min(power_w) FROM energy.silver") == 0 and five.one("SELECT capacity_kwh FROM energy.silver WHERE site_id = 'S09' LIMIT 1") is None
    files = len(five.delta("silver", "energy").file_uris())
    for _ in range(2):
        assert process(five)[0] == 0
    assert gold(five) == first and len(five.delta("silver", "energy").file_uris()) == files
    assert set(five.delta("gold", "energy").to_pyarrow_table().column("site_id").to_pylist()) == {"S01", "S09"}
    # Late rows appear after a run again.
    five.put("energy.raw", energy_rows(1, first=200))
    assert process(five)[0] == 0
    assert gold(five)["S01"]["energy_wh_total"] == 97.5
    # A site that vanishes from the input vanishes from the result; the other day stays.
    five.sql("INSERT INTO energy.raw REPLACE WHERE event_date = '2025-08-01' SELECT ts, device_id, site_id, power_w, energy_wh, voltage_v, current_a, temperature_c, soc_percent, status "
             "FROM energy.raw WHERE event_date = '2025-08-01' AND site_id <> 'S09'")
    assert process(five)[0] == 0
    assert set(gold(five)) == {"S01"}
    assert five.one("SELECT count(*) FROM energy.raw WHERE event_date = '2025-08-02'") == 5


@pytest.mark.skipif("DELTAPLANE_ENERGY_DAY" not in os.environ, reason="DELTAPLANE_ENERGY_DAY names the folder of a day's JSONL files and their reference")
def test_energy_reference_day_to_the_last_digit(five):
    from pyarrow import json as arrow_json
    root = pathlib.Path(os.environ["DELTAPLANE_ENERGY_DAY"])
    schema = energy_rows(1).schema
    for path in sorted((root / "raw/2025/08/01").rglob("*.jsonl")):
        table = arrow_json.read_json(path, parse_options=arrow_json.ParseOptions(explicit_schema=schema))
        for batch in table.combine_chunks().to_batches():
            five.put("energy.raw", batch)
    code, quality = process(five)
    assert (code, quality["rows_total"], quality["duplicate_keys"], quality["null_power"]) == (0, 14_400, 0, 0)
    expected = {"S01": (1773485.9140, 140220.978, 29.986656, 99.06250, 27), "S02": (1771250.0088, 168500.304, 30.003955, 98.85417, 33),
                "S03": (1569802.5057, 123462.784, 30.004152, 99.09722, 26), "S04": (1816328.1897, 144616.652, 29.975599, 98.92361, 31),
                "S05": (1771144.7443, 129014.143, 30.006190, 98.95833, 30)}
    got = {s: (round(r["energy_wh_total"], 4), r["peak_power_w"], round(r["avg_temp_c"], 6), round(r["uptime_percent"], 5), r["anomaly_count"]) for s, r in gold(five).items()}
    assert got == expected


def test_insert_takes_all_rows_or_none(five):
    assert five.run("sql", "INSERT INTO building.rooms (room_id, room_name) VALUES ('room_50', 'Attic'), ('room_51', 'Cellar')").stdout.strip() == "2 rows"
    assert five.one("SELECT room_name FROM building.rooms WHERE room_id = 'room_51'") == "Cellar"
    for sql, expected in {"INSERT INTO building.raw (room_id, ts, temperature) VALUES ('room_1', TIMESTAMP '2026-01-01T00:00:00Z', 20), ('room_1', TIMESTAMP '2026-01-01T00:00:01Z', 99)":
                          "1 of 2 rows break a rule", "INSERT INTO building.rooms VALUES ('a')": "4 columns are due", "INSERT INTO nowhere.t VALUES (1)": "no such table",
                          "INSERT INTO building.raw REPLACE WHERE room_id = 'room_1' SELECT * FROM building.raw": "REPLACE WHERE takes partition columns"}.items():
        failed = five.run("sql", sql, check=False)
        assert failed.returncode == 1 and expected in failed.stderr, failed.stderr
    assert five.one("SELECT count(*) FROM building.raw") == 0
    five.kill()
    five.start()
    assert five.one("SELECT count(*) FROM building.rooms WHERE room_id LIKE 'room_5_'") == 2


def test_alter_while_four_producers_stream_loses_and_doubles_no_row_and_each_is_judged_by_its_contract(five):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = [pool.submit(five.simulate, "--source", "sampler", "--rate", 20_000, "--for", 4, "--producer", f"p{i}", "--seed", i) for i in range(4)]
        time.sleep(1)
        before = five.one("SELECT count(*) FROM reactor.raw_quarantine")
        five.sql("ALTER TABLE reactor.raw DROP CONSTRAINT range_AT, ADD CONSTRAINT range_AT CHECK (AT BETWEEN -1000 AND 1000), ADD COLUMN note STRING COMMENT 'by hand'")
        changed = five.one("SELECT max(_ingest_ts) FROM reactor.raw WHERE AT BETWEEN 1.81 AND 37.11")
        time.sleep(1)
        five.sql("ALTER TABLE reactor.raw SET TBLPROPERTIES ('deltaplane.retention' = '30d', 'deltaplane.unit.note' = 'words')")
        summaries = [run.result() for run in runs]
    assert before > 0
    for i, summary in enumerate(summaries):
        assert summary["sent"] == summary["acked"] == summary["accepted"] + summary["quarantined"]
        got = five.one(f"SELECT (SELECT count(*) FROM reactor.raw WHERE _source = 'p{i}') AS good, (SELECT count(*) FROM reactor.raw_quarantine WHERE _source = 'p{i}') AS bad")
        assert got == (summary["accepted"], summary["quarantined"])
    assert five.one("SELECT count(*) FROM reactor.raw WHERE AT NOT BETWEEN 1.81 AND 37.11") > 0
    late = f"_ingest_ts > TIMESTAMP '{changed.isoformat()}'"
    assert five.one(f"SELECT count(*) FROM reactor.raw_quarantine WHERE array_has(rules, 'range:AT') AND {late}") == 0
    assert five.one("SELECT count(*) FROM reactor.raw WHERE note IS NOT NULL") == 0
    five.kill()
    five.start()
    total = sum(s["accepted"] for s in summaries)
    assert five.one("SELECT count(*) FROM reactor.raw") == total
    wait_committed(five, "reactor")
    delta = five.delta()
    assert delta.to_pyarrow_table(columns=["note"]).num_rows == total
    ddl = five.one("SHOW CREATE TABLE reactor.raw")
    assert "BETWEEN -1000" in ddl and "'deltaplane.retention'='30d'" in ddl
    # `apply` leads back to what the file says, and the added column stays.
    shown = five.run("apply", "reactor", "--yes").stdout
    assert 'DROP CONSTRAINT "range_AT"' in shown and "altered reactor.raw" in shown
    assert "BETWEEN 1.81" in five.one("SHOW CREATE TABLE reactor.raw") and "note" in five.one("SHOW CREATE TABLE reactor.raw")
    assert five.run("apply", "reactor", "--dry-run", check=False).returncode == 99
    for sql, expected in {"ALTER TABLE reactor.raw ADD COLUMN x DOUBLE NOT NULL": "without NOT NULL", "ALTER TABLE reactor.raw DROP CONSTRAINT range_XX": "there is no such rule; rules: ",
                          "ALTER TABLE reactor.raw ADD CONSTRAINT c CHECK (AT + V > 1)": "no rule kind", "ALTER TABLE reactor.raw ADD COLUMN at DOUBLE": "declared twice",
                          "ALTER TABLE reactor.raw DROP COLUMN AT": "range:AT needs it", "ALTER TABLE reactor.raw ALTER COLUMN AT DROP NOT NULL": "not supported", "ALTER TABLE reactor.raw SET TBLPROPERTIES ('deltaplane.colour' = 'x')": "unknown property"}.items():
        failed = five.run("sql", sql, check=False)
        assert failed.returncode == 1 and expected in failed.stderr, failed.stderr


def simulate_files(dataset, directory, *arguments):
    subprocess.run([BIN / "deltaplane-sim", dataset, "--files", directory, *map(str, arguments)], check=True, capture_output=True, timeout=60)


def test_ingest_of_file_trees_is_exact_and_once(five, tmp_path):
    simulate_files("energy", tmp_path / "energy", "--date", DAY)
    first = five.run("ingest", "energy.raw", tmp_path / "energy")
    assert first.stdout.strip() == "10 files, 14400 rows sent, 0 quarantined, 0 duplicates, 0 rows were there from an earlier run"
    again = five.run("ingest", "energy.raw", tmp_path / "energy", check=False)
    assert again.returncode == 99 and "14400 rows were there" in again.stdout
    five.simulate("--date", DAY, "--rate", 0, "--producer", "streamed", dataset="energy")
    both = "SELECT count(*) FROM (SELECT device_id, ts, power_w, soc_percent FROM energy.raw WHERE _source = 'streamed' INTERSECT " \
           "SELECT device_id, ts, power_w, soc_percent FROM energy.raw WHERE _source <> 'streamed')"
    assert five.one(both) == 14_400, "files and stream are the same rows"
    simulate_files("satellite", tmp_path / "sat", "--satellites", 3)
    five.run("ingest", "satellite.raw", tmp_path / "sat", "--set", "satellite_name={stem}", "--set", "timestamp_ns={now_ns}")
    assert five.sql("SELECT satellite_name, count(*) AS n, max(temp_c) AS hot FROM satellite.raw GROUP BY 1 ORDER BY 1") == [
        {"satellite_name": f"sat{k}", "n": 1000, "hot": 120.0} for k in range(3)]


def test_ingest_goes_on_after_a_cut_and_names_what_is_wrong_with_a_file(five, tmp_path):
    path = tmp_path / "core.csv"
    n = 300_000
    with path.open("w") as f:
        f.write("reactor_id,event_time,power_mw\n")
        f.writelines(f"R1,2026-11-01T00:{i // 6000:02d}:{i // 100 % 60:02d}.{i % 100:02d}Z,{i / 1000}\n" for i in range(n))
    cut = subprocess.Popen([BIN / "deltaplane", "ingest", "reactor.core", path], env=os.environ | {"DELTAPLANE_URI": f"http://127.0.0.1:{five.port}"})
    while five.one("SELECT count(*) FROM reactor.core") == 0:
        pass
    cut.kill()
    cut.wait()
    five.run("ingest", "reactor.core", path, check=False)
    assert five.one("SELECT count(*) AS n, count(DISTINCT event_time) AS d FROM reactor.core") == (n, n)
    bad = {"half.csv": (b"reactor_id,event_time,power_mw\nR1,2026-11-01T00:00:00Z,1\nR1,2026-", "line 3"), "wrong.csv": (b"reactor,when\nR1,2026\n", "unknown column"),
           "latin.csv": ("reactor_id,event_time,power_mw\nR\u00fc,2026-11-01T00:00:00Z,1\n".encode("latin-1"), "UTF-8"), "packed.csv": (b"\x1f\x8b\x08\x00rest", "cannot be unpacked"),
           "notes.txt": (b"x", "known: .csv"), "broken.jsonl": (b'{"reactor_id": "R1", \n', "broken.jsonl")}
    for name, (content, expected) in bad.items():
        (tmp_path / name).write_bytes(content)
        failed = five.run("ingest", "reactor.core", tmp_path / name, check=False)
        assert failed.returncode == 1 and expected.lower() in failed.stderr.lower() and name in failed.stderr, failed.stderr


def test_quarantine_lists_rules_and_shows_rows(five):
    assert five.run("quarantine", "list", "building.raw", check=False).returncode == 99
    five.put("building.raw", readings(4, temperature=[20.0, 99.0, -99.0, 1.0], humidity=[50.0, 50.0, 200.0, 50.0]))
    listed = [json.loads(line) for line in five.run("quarantine", "list", "building.raw", "--format", "json").stdout.splitlines()]
    assert {r["rule"]: r["rows"] for r in listed} == {"range:temperature": 2, "range:humidity": 1}
    (shown,) = five.run("quarantine", "show", "building.raw", "--rule", "range:humidity", "--format", "json").stdout.splitlines()
    assert json.loads(shown)["rules"] == "range:temperature, range:humidity" and '"humidity":200.0' in json.loads(shown)["raw"]
