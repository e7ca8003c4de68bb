"""What the five systems of today get wrong in storing and in the day's batch, and this one must not; each test bears the mistake's own words."""

import datetime as dt
import json
import time

import pyarrow as pa
import pyarrow.flight
import pytest

from conftest import Server, Stream, rows
from test_datasets import DATASETS, UTC, energy_rows, gold, process, readings, text_batch, wait_committed


@pytest.fixture
def five(tmp_path):
    server = Server(tmp_path / "data").start()
    server.run("apply", *DATASETS, "--yes")
    yield server
    server.stop()


def rules(server, table):
    return {r["rule"]: r["violations"] for r in server.sql(f"SELECT rule, violations FROM system.rules WHERE \"table\" = '{table}'")}


def refused(server, table, batch):
    """The error with which the server refuses a batch."""
    stream = Stream(server, "refused", table=table.split("."), schema=batch.schema)
    stream.send(1, batch)
    return stream.error()


# --- reactor ---------------------------------------------------------------------------------------------------------------


def test_reactor_the_gold_job_reads_a_column_T_that_the_stream_calls_AT_so_it_fails(five, tmp_path):
    # A batch that calls it T is refused with both names, and so is a job, before its first night.
    batch = rows(1)
    renamed = batch.rename_columns(["T" if n == "AT" else n for n in batch.schema.names])
    error = refused(five, "reactor.raw", renamed)
    assert "unknown_column" in error and "column=T, " in error and " AT, " in error
    failed = five.simulate("--rows", 10, "--faults", "renamed=1", wait=False)
    _, error = failed.communicate(timeout=60)
    assert failed.returncode == 1 and "unknown_column" in error and "column=T" in error
    job = tmp_path / "dataset.toml"
    job.write_text("""dataset = "plant"
[[table]]
name = "gold"
partition_by = ["day"]
columns = [{ name = "day", type = "date" }, { name = "avg_temp", type = "double" }]
[[process]]
table = "gold"
day = "day"
sql = "SELECT event_date AS day, avg(T) AS avg_temp FROM reactor.raw WHERE event_date = :date GROUP BY 1"
""")
    done = five.run("apply", str(job), "--yes", check=False)
    assert done.returncode == 1 and "dataset.toml:9: process gold: " in done.stderr and "No field named" in done.stderr, done.stderr
    assert five.one("SELECT count(*) FROM system.tables WHERE table_schema = 'plant'") == 0, "nothing is created for a job that cannot run"


def test_reactor_a_reactor_id_is_expected_and_never_generated(five):
    batch = rows(3)
    five.put("reactor.raw", batch.drop_columns(["reactor_id"]))
    assert five.sql("SELECT r.reactor_id, d.site, count(*) AS n FROM reactor.raw r JOIN reactor.reactors d USING (reactor_id) GROUP BY 1, 2") == [{"reactor_id": "R1", "site": "North", "n": 3}]


def test_reactor_rejected_rows_vanish_without_a_count(five):
    ack = five.put("reactor.raw", rows(10, AT=[20.0] * 7 + [99.0, float("nan"), None]))
    assert (ack["accepted"], ack["quarantined"], ack["duplicates"]) == (7, 3, 0)
    assert [(r["row"], r["rule"], r["value"]) for r in ack["rejects"]] == [(7, "range", "99.0"), (8, "range", "NaN"), (9, "not_null", "null")]
    assert five.one("SELECT received, accepted, quarantined FROM system.quality WHERE \"table\" = 'reactor.raw'") == (10, 7, 3)
    assert rules(five, "reactor.raw") == {"range:AT": 2, "not_null:AT": 1}
    assert five.one("SELECT count(*) FROM reactor.raw_quarantine") == 3


def test_reactor_the_sampler_draws_columns_independently_no_physics(five):
    five.simulate("--source", "standin", "--rows", 5000, "--rate", 0)
    assert -0.97 < five.one("SELECT corr(AT, PE) FROM reactor.raw") < -0.92
    # The sampler of today is still there to compare with.
    five.simulate("--source", "sampler", "--rows", 5000, "--rate", 0, "--producer", "sampler")
    assert abs(five.one("SELECT corr(AT, PE) FROM reactor.raw WHERE _source = 'sampler'")) < 0.06


# --- satellites ------------------------------------------------------------------------------------------------------------


def test_satellite_the_consumer_deletes_and_recreates_its_table_at_each_start(five):
    counts, ids = [], set()
    for k in range(3):
        five.simulate("--rows", 500, "--rate", 0, "--producer", f"p{k}", dataset="satellite")
        wait_committed(five, "satellite")
        counts.append(five.one("SELECT count(*) FROM satellite.raw"))
        ids.add(five.delta(dataset="satellite").metadata().id)
        five.terminate()
        five.start()
        assert five.run("apply", "satellite", "--yes", check=False).returncode == 99
    assert counts == [500, 1000, 1500] and len(ids) == 1


def test_satellite_offsets_are_never_committed_so_a_restart_loses_rows(five):
    run = five.simulate("--rows", 40_000, "--rate", 20_000, "--producer", "fleet", wait=False, dataset="satellite")
    for _ in range(2):
        time.sleep(0.5)
        five.kill()
        five.start()
    out, error = run.communicate(timeout=120)
    assert run.returncode == 0, error
    summary = json.loads(out)
    assert summary["reconnects"] > 0 and summary["accepted"] == 40_000
    assert five.one("SELECT count(*) AS n, count(DISTINCT timestamp_ns) AS d, max(_seq) AS seq FROM satellite.raw") == (40_000, 40_000, summary["seq"])


def test_satellite_a_token_that_does_not_parse_is_skipped_and_the_later_values_slide_left_one_column(five, tmp_path):
    file = tmp_path / "sat7.csv"
    file.write_text("temp_c,battery_charge_pct,altitude,sensor1,sensor2,sensor3\n1.50,50.00,500.00,0.10,0.20,0.30\n1.50,5o.00,500.00,0.10,0.20,0.30\n,51.00,500.00,0.10,0.20,0.30\n2.50,52.00,501.00,0.11,0.21,0.31\n")
    shown = five.run("ingest", "satellite.raw", file, "--set", "satellite_name={stem}", "--set", "timestamp_ns={now_ns}").stdout
    assert shown.startswith("1 files, 4 rows sent, 2 quarantined")
    assert five.sql("SELECT temp_c, battery_charge_pct, altitude_km, sensor1, sensor2, sensor3 FROM satellite.raw ORDER BY temp_c") == [
        {"temp_c": 1.5, "battery_charge_pct": 50.0, "altitude_km": 500.0, "sensor1": 0.1, "sensor2": 0.2, "sensor3": 0.3},
        {"temp_c": 2.5, "battery_charge_pct": 52.0, "altitude_km": 501.0, "sensor1": 0.11, "sensor2": 0.21, "sensor3": 0.31}]
    assert [(r["row_index"], list(r["rules"])) for r in five.sql("SELECT row_index, rules FROM satellite.raw_quarantine ORDER BY 1")] == [(1, ["type:battery_charge_pct"]), (2, ["not_null:temp_c"])]


def test_satellite_one_lock_makes_the_fleet_send_6_7_events_a_second_whatever_its_size(five):
    for satellites, expected in [(30, 200), (150, 1000)]:
        summary = five.simulate("--satellites", satellites, "--for", 2, dataset="satellite")
        assert 0.8 * expected < summary["rows_per_second"] < 1.2 * expected, (satellites, summary)


def test_satellite_ns_time_is_stored_as_a_plain_integer(five):
    five.simulate("--rows", 200, "--rate", 0, dataset="satellite")
    fields = {f.name: str(f.type) for f in five.flight().get_schema(pa.flight.FlightDescriptor.for_command(b"SELECT * FROM satellite.raw")).schema}
    assert (fields["timestamp_ns"], fields["ts"]) == ("int64", "timestamp[us, tz=UTC]")
    # So a time is compared as a time, and an hour's events are found by the hour.
    assert five.one("SELECT count(*) FROM satellite.raw WHERE ts BETWEEN now() - INTERVAL '1 hour' AND now() + INTERVAL '1 minute'") == 200


# --- building --------------------------------------------------------------------------------------------------------------


def test_building_two_spellings_of_room_ids_and_fields_so_rules_on_absent_fields_are_silent_nulls(five, tmp_path):
    # A field under another name does not become a null in silence.
    for name, hint in [("temp", "unknown column, column=temp"), ("co2", "unknown column, column=co2"), ("temperatur", "did you mean temperature")]:
        assert hint in refused(five, "building.raw", readings(1).append_column(name, pa.array([21.0])))
    # A rule on a field that there is none of does not pass for a rule.
    bad = tmp_path / "dataset.toml"
    bad.write_text('dataset = "annex"\n[[table]]\nname = "raw"\ncolumns = [{ name = "temperature", type = "double" }]\nrules = [\n  { column = "temp", min = 0, max = 50 },\n]\n')
    failed = five.run("apply", str(bad), "--yes", check=False)
    assert failed.returncode == 1 and "dataset.toml:6: " in failed.stderr and "column=temp" in failed.stderr and "columns: temperature" in failed.stderr
    # The other spelling of a room is another room, and seen.
    five.put("building.raw", readings(2, room="room_1"))
    five.put("building.raw", readings(3, room="room-1"))
    assert rules(five, "building.raw") == {"referential:room_id": 3}
    assert five.sql("SELECT DISTINCT r.room_id FROM building.raw r LEFT JOIN building.rooms m USING (room_id) WHERE m.room_id IS NULL") == [{"room_id": "room-1"}]


# --- energy ----------------------------------------------------------------------------------------------------------------


def test_energy_overwrite_replaces_only_partitions_present_so_a_site_that_disappears_keeps_stale_rows(five):
    five.put("energy.raw", energy_rows(5))
    five.put("energy.raw", energy_rows(5, device="D01003", site="S02"))
    assert process(five)[0] == 0 and set(gold(five)) == {"S01", "S02"}
    five.sql("INSERT INTO energy.raw REPLACE WHERE event_date = '2025-08-01' SELECT ts, device_id, site_id, power_w, energy_wh, voltage_v, current_a, temperature_c, soc_percent, status "
             "FROM energy.raw WHERE site_id = 'S01'")
    assert process(five)[0] == 0 and set(gold(five)) == {"S01"}
    assert five.one("SELECT count(*) FROM energy.silver WHERE site_id = 'S02'") == 0
    assert five.delta("silver", "energy").to_pyarrow_table().column("site_id").unique().to_pylist() == ["S01"]


def test_energy_no_input_leaves_old_results_silently(five):
    five.put("energy.raw", energy_rows(5))
    assert process(five)[0] == 0
    five.sql("INSERT INTO energy.raw REPLACE WHERE event_date = '2025-08-01' SELECT ts, device_id, site_id, power_w, energy_wh, voltage_v, current_a, temperature_c, soc_percent, status FROM energy.raw WHERE false")
    code, answer = process(five)
    assert (code, answer["outcome"], answer["rows_total"]) == (99, "no_input", 0)
    assert len(gold(five)) == 1, "results stay unless asked"
    code, answer = process(five, "--allow-empty")
    assert (code, gold(five)) == (0, {})


def test_energy_which_duplicate_survives_is_arbitrary(five):
    # The first by arrival; of one batch always the same one, whatever its place.
    five.put("energy.raw", energy_rows(4, power_w=[1.0, 2.0, 3.0, 4.0]))
    five.put("energy.raw", energy_rows(4, power_w=[9.0, 9.0, 9.0, 9.0]))
    twice = [energy_rows(1, first=30, power_w=[p]) for p in [7.0, 5.0, 6.0]]
    for order in (twice, twice[::-1]):
        five.put("energy.raw", pa.Table.from_batches(order).combine_chunks().to_batches()[0])
        assert process(five)[0] == 0
        assert [r["power_w"] for r in five.sql("SELECT power_w FROM energy.silver ORDER BY ts")] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_energy_an_unknown_device_joins_to_null_unreported(five):
    five.put("energy.raw", energy_rows(3))
    five.put("energy.raw", energy_rows(7, device="D09999", site="S09"))
    code, quality = process(five)
    assert (code, quality["unmatched_dimension"]) == (0, 7)
    assert rules(five, "energy.raw")["referential:device_id"] == 7
    assert five.sql("SELECT device_id, capacity_kwh, count(*) AS n FROM energy.silver GROUP BY 1, 2 ORDER BY 1") == [
        {"device_id": "D01001", "capacity_kwh": 200.0, "n": 3}, {"device_id": "D09999", "capacity_kwh": None, "n": 7}]
    # Entered by SQL, it is known from the next run on.
    five.sql("INSERT INTO energy.devices VALUES ('D09999', 'S09', 'battery', 123.0)")
    code, quality = process(five)
    assert (code, quality["unmatched_dimension"]) == (0, 0)
    assert five.one("SELECT DISTINCT capacity_kwh FROM energy.silver WHERE device_id = 'D09999'") == 123.0


def test_energy_an_invalid_value_becomes_null_with_no_record_of_which_and_was_null_is_mixed_with_made_null(five):
    five.put("energy.raw", energy_rows(8, power_w=[-5.0, None] + [1.0] * 6, soc_percent=[101.0, -1.0, None, None, None, 50.0, 0.0, 100.0], temperature_c=[81.0, -20.5, None, -20.0, 80.0, 1.0, 1.0, 1.0]))
    code, quality = process(five)
    made = {r["rule"]: (r["action"], r["violations"]) for r in quality["rules"]}
    assert (made["range:power_w"], made["range:soc_percent"], made["range:temperature_c"]) == (("warn", 1), ("warn", 2), ("warn", 2))
    # Null after cleaning is what was null before and what was made null, told apart.
    assert (quality["null_counts"]["soc_percent"], quality["was_null"]["soc_percent"]) == (5, 3)
    assert (quality["null_counts"]["temperature_c"], quality["was_null"]["temperature_c"]) == (3, 1)
    assert (quality["null_counts"]["power_w"], quality["was_null"]["power_w"], quality["null_power"], quality["null_soc"]) == (1, 1, 1, 5)
    # Which they were: bronze keeps the value beside silver's null.
    which = five.sql("SELECT r.device_id, r.ts, r.soc_percent FROM energy.raw r JOIN energy.silver s ON r.device_id = s.device_id AND r.ts = s.ts WHERE s.soc_percent IS NULL AND r.soc_percent IS NOT NULL ORDER BY r.ts")
    assert [(r["ts"].minute, r["soc_percent"]) for r in which] == [(0, 101.0), (1, -1.0)]


# --- vehicles --------------------------------------------------------------------------------------------------------------


def test_vehicle_local_berlin_time_is_sent_with_no_zone_and_read_as_utc_1_to_2_h_off(five):
    five.put("vehicle.raw", text_batch(entity=["1", "2"], ts=["2026-01-15 12:00:00.000", "2026-07-15 12:00:00.000"], temp=["20", "20"], humidity=["35", "35"]))
    assert [r["ts"] for r in five.sql("SELECT ts FROM vehicle.raw ORDER BY entity")] == [dt.datetime(2026, 1, 15, 11, tzinfo=UTC), dt.datetime(2026, 7, 15, 10, tzinfo=UTC)]
    five.simulate("--for", 0.5, "--producer", "live", dataset="vehicle")
    assert five.one("SELECT count(*) FROM vehicle.raw WHERE _source = 'live' AND ts BETWEEN now() - INTERVAL '1 minute' AND now() + INTERVAL '1 second'") == 200


def test_vehicle_the_entity_is_a_number_in_raw_and_a_string_elsewhere(five):
    five.simulate("--rows", 400, "--rate", 0, dataset="vehicle")
    schema = five.flight().get_schema(pa.flight.FlightDescriptor.for_command(b"SELECT entity, count(*) AS n FROM vehicle.raw GROUP BY entity")).schema
    assert str(schema.field("entity").type) == "int64"
    assert five.sql("SELECT count(DISTINCT entity) AS n, min(entity) AS a, max(entity) AS b FROM vehicle.raw") == [{"n": 200, "a": 1, "b": 200}]
