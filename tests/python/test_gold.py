"""energy.gold is a materialized view over energy.silver: one writer, in step with silver, stored when the day's batch ends."""

import datetime as dt
import json

import pyarrow as pa
import pytest

from conftest import Server
from test_datasets import energy_rows, gold, process

COLUMNS = ["event_date", "site_id", "energy_wh_total", "peak_power_w", "avg_temp_c", "uptime_percent", "anomaly_count"]
TABLE = ("CREATE TABLE energy.gold (event_date DATE NOT NULL, site_id STRING, energy_wh_total DOUBLE, peak_power_w DOUBLE, avg_temp_c DOUBLE, "
         "uptime_percent DOUBLE, anomaly_count BIGINT) PARTITIONED BY (event_date)")


@pytest.fixture
def energy(tmp_path):
    # No bucket closes by silence while a test runs.
    server = Server(tmp_path / "data").start()
    server.run("apply", "energy", "--yes")
    server.sql("ALTER MATERIALIZED VIEW energy.gold SET (idle = '1 hour')")
    yield server
    server.stop()


def fails(server, statement):
    with pytest.raises(Exception) as caught:
        server.sql(statement)
    return str(caught.value)


def test_gold_has_the_columns_that_readers_had_is_stored_by_the_days_batch_and_written_by_nobody_else(energy):
    energy.put("energy.raw", energy_rows(10))
    energy.put("energy.raw", energy_rows(4, device="D01003", site="S02", status=["OK", "FAULT", None, "OK"]))
    energy.put("energy.raw", energy_rows(3, day="2025-07-31"))
    code, quality = process(energy)
    assert code == 0, quality
    delta = energy.delta("gold", "energy")
    assert quality["versions"] == {"silver": energy.delta("silver", "energy").version(), "gold": delta.version()}
    schema = pa.schema(delta.schema().to_arrow())
    assert schema.names == COLUMNS + ["window_start", "window_end"] and str(schema.field("event_date").type).startswith("date32") and delta.metadata().partition_columns == ["event_date"]
    # Stored, though no watermark has passed the day's end; as SQL tells it.
    stored = delta.to_pyarrow_table().sort_by("site_id").to_pylist()
    assert stored == energy.sql("SELECT * FROM energy.gold ORDER BY site_id") and [r["site_id"] for r in stored] == ["S01", "S02"]
    assert (stored[1]["uptime_percent"], stored[1]["anomaly_count"], stored[1]["event_date"]) == (50.0, 1, dt.date(2025, 8, 1))
    assert stored[1]["window_start"] == dt.datetime(2025, 8, 1, tzinfo=dt.timezone.utc)
    assert "materialized view" in fails(energy, "INSERT INTO energy.gold SELECT * FROM energy.gold")
    # A run again: same rows, same count of files; another day's stay untouched.
    files = len(delta.file_uris())
    for _ in range(2):
        assert process(energy)[0] == 0
    delta = energy.delta("gold", "energy")
    assert delta.to_pyarrow_table().sort_by("site_id").to_pylist() == stored and len(delta.file_uris()) == files
    energy.run("process", "energy", "--date", "2025-07-31")
    assert energy.sql("SELECT event_date, count(*) AS n FROM energy.gold GROUP BY 1 ORDER BY 1") == [{"event_date": dt.date(2025, 7, 31), "n": 1}, {"event_date": dt.date(2025, 8, 1), "n": 2}]
    energy.sql("SELECT 1")


def test_gold_is_in_step_with_silver_and_a_later_run_finds_it_so(energy):
    energy.put("energy.raw", energy_rows(10))
    assert process(energy)[0] == 0
    # Whoever changes silver has changed gold, at once.
    energy.sql("INSERT INTO energy.silver (ts, device_id, site_id, energy_wh, power_w, status) VALUES (TIMESTAMP '2025-08-01T23:00:00Z', 'D01001', 'S01', 5.0, 7000, 'OK')")
    assert (gold(energy)["S01"]["energy_wh_total"], gold(energy)["S01"]["peak_power_w"]) == (20.0, 7000.0)
    assert process(energy)[0] == 0
    assert (gold(energy)["S01"]["energy_wh_total"], gold(energy)["S01"]["peak_power_w"]) == (15.0, 100.0)
    assert energy.delta("gold", "energy").to_pyarrow_table().column("energy_wh_total").to_pylist() == [15.0]


def test_where_gold_is_a_table_apply_and_process_change_nothing_and_say_what_to_do(tmp_path):
    server = Server(tmp_path / "data").start()
    try:
        # As a server of before has it.
        server.sql(TABLE)
        server.sql("INSERT INTO energy.gold VALUES (DATE '2025-01-01', 'S01', 1, 2, 3, 4, 5)")
        refused = server.run("apply", "energy", "--yes", check=False)
        assert refused.returncode == 1 and "energy.gold is a table" in refused.stderr and "DROP TABLE energy.gold" in refused.stderr, refused.stderr
        assert server.one("SELECT count(*) FROM system.tables WHERE table_schema = 'energy' AND table_name <> 'gold'") == 0
        server.sql("CREATE TABLE energy.raw (ts TIMESTAMP NOT NULL, device_id STRING) PARTITIONED BY (event_date) TBLPROPERTIES ('deltaplane.eventTime'='ts')")
        server.sql("INSERT INTO energy.raw VALUES (TIMESTAMP '2025-08-01T00:00:00Z', 'D01001')")
        code, error = process(server)
        assert code == 1 and "energy.gold is no materialized view on this server" in error and "deltaplane apply" in error, error
        assert server.sql("SELECT * FROM energy.gold") == [dict(zip(COLUMNS, [dt.date(2025, 1, 1), "S01", 1.0, 2.0, 3.0, 4.0, 5]))]
        # The way out, as the message says it.
        kept = server.run("sql", "SELECT * FROM energy.gold", "--format", "json").stdout
        assert json.loads(kept)["anomaly_count"] == 5
        server.sql("DROP TABLE energy.raw")
        server.sql("DROP TABLE energy.gold")
        server.run("apply", "energy", "--yes")
        server.put("energy.raw", energy_rows(4))
        assert process(server)[0] == 0 and gold(server)["S01"]["energy_wh_total"] == 6.0
        assert server.delta("gold~2", "energy").to_pyarrow_table().num_rows == 1
    finally:
        server.stop()


def test_refresh_for_a_day_says_what_is_wrong_with_the_day(energy):
    assert "a day such as '2025-08-01'" in fails(energy, "REFRESH MATERIALIZED VIEW energy.gold FOR DATE '2025-08'")
    assert "is a table" in fails(energy, "REFRESH MATERIALIZED VIEW energy.silver FOR DATE '2025-08-01'")
    # Nothing there, nothing done; nor does a day that is far off close what is not there yet.
    energy.sql("REFRESH MATERIALIZED VIEW energy.gold FOR DATE '2099-01-01'")
    assert energy.one("SELECT stored_until FROM system.views WHERE table_name = 'gold'") is None
