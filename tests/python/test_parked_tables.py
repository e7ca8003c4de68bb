"""A table that cannot be served is parked: the server starts, every other table is served, nothing acked is lost, and DROP or a
repair ends it. What Delta does not allow is refused before it is committed, or done as other readers expect it."""

import datetime as dt
import json
import os
import shutil
import urllib.request

import deltalake
import pyarrow as pa
import pytest
from conftest import Server
from parked_tables import CAUSES, SLOW, by_statement, by_verb, ids, newest_entry, put, refused, state, two_tables, wait_for  # noqa: F401


@pytest.mark.parametrize("cause", CAUSES)
def test_a_table_that_cannot_be_opened_is_parked_and_comes_back_with_every_row(two_tables, cause):
    server = two_tables
    damage, stage, reason = CAUSES[cause]
    tables = server.directory / "tables/public"
    saved = server.directory / "saved"
    shutil.copytree(tables, saved)
    damage(tables)
    for _ in range(2):  # It stays so over a restart, and so do its rows.
        server.start()
        server.sql("INSERT INTO public.good VALUES (7)")
        assert 7 in ids(server, "public.good")
        told = state(server)
        assert (told["state"], told["parked_stage"], told["parked_reason"]) == ("parked", stage, reason)
        assert "REPAIR TABLE public.x" in told["way_out"]
        assert state(server, "good")["state"] == "served"
        for error in (refused(server, "SELECT * FROM public.x"), refused(server, "INSERT INTO public.x VALUES (3)"),
                      put(server, "public.x", pa.record_batch({"id": [3]}))):
            assert "table_parked" in error and reason in error and "REPAIR TABLE public.x" in error
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.http}/metrics").read().decode()
        assert 'deltaplane_table_parked{table="public.x"} 1' in metrics
        assert 'deltaplane_table_parked{table="public.good"} 0' in metrics
        assert "the table is parked" in server.log()
        server.kill()
    server.start()
    still = server.run("table", "repair", "public.x", check=False)
    assert still.returncode == 1 and reason in still.stdout
    for name in ("x", "x_quarantine"):
        shutil.rmtree(tables / name, ignore_errors=True)
        shutil.copytree(saved / name, tables / name)
    repaired = server.run("table", "repair", "public.x")
    assert "served" in repaired.stdout
    assert ids(server) == [1, 2]
    assert state(server)["state"] == "served"
    server.sql("INSERT INTO public.x VALUES (3)")
    assert server.terminate() == 0
    assert sorted(deltalake.DeltaTable(str(tables / "x")).to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3]


@pytest.mark.parametrize("cause", ["cut_entry", "missing_folder", "damaged_note"])
def test_a_parked_table_can_be_dropped_and_its_name_taken_again(two_tables, cause):
    server = two_tables
    CAUSES[cause][0](server.directory / "tables/public")
    server.start()
    server.sql("DROP TABLE public.x")
    server.sql("CREATE TABLE public.x (name STRING)")
    server.sql("INSERT INTO public.x VALUES ('new')")
    assert server.one("SELECT name FROM public.x") == "new"
    assert server.terminate() == 0
    server.start()
    assert server.one("SELECT name FROM public.x") == "new"
    assert state(server)["state"] == "served"


@pytest.mark.parametrize("accept", [by_statement, by_verb])
def test_a_loss_that_is_accepted_is_told_and_the_table_takes_rows_again(tmp_path, accept):
    server = Server(tmp_path / "data", **SLOW).start()
    try:
        server.sql("CREATE TABLE public.good (id BIGINT)")
        server.sql("CREATE TABLE public.x (id BIGINT)")
        server.sql("INSERT INTO public.x VALUES (1)")
        server.sql("DELETE FROM public.x WHERE id = -1")
        server.sql("INSERT INTO public.x VALUES (2)")
        # Everything is committed, and the log has let go of it.
        assert server.terminate() == 0
        lost = newest_entry(server.directory / "tables/public/x")
        assert '"add"' in lost.read_text()
        lost.unlink()
        server.start()
        told = state(server)
        assert (told["state"], told["parked_stage"], told["parked_reason"]) == ("parked", "open", "commits_missing")
        assert lost.name in told["parked_problem"] and "REPAIR TABLE public.x ACCEPT LOSS" in told["way_out"]
        assert "commits_missing" in refused(server, "INSERT INTO public.x VALUES (3)")
        server.sql("INSERT INTO public.good VALUES (7)")
        still = server.run("table", "repair", "public.x", check=False)
        assert still.returncode == 1 and "commits_missing" in still.stdout and not lost.exists()
        said = accept(server)
        assert "the loss was accepted" in said and lost.name in said, said
        assert "a loss was accepted" in server.log()
        assert ids(server) == [1] and state(server)["state"] == "served"
        # Nothing is left to accept.
        assert server.sql("REPAIR TABLE public.x ACCEPT LOSS")[0]["detail"] is None
        server.sql("INSERT INTO public.x VALUES (3)")
        assert put(server, "public.x", pa.record_batch({"id": [4]})) is None
        assert ids(server) == [1, 3, 4]
        # It is remembered, after a crash and after a clean stop.
        server.kill()
        server.start()
        assert ids(server) == [1, 3, 4] and state(server)["state"] == "served"
        assert server.terminate() == 0
        server.start()
        assert ids(server) == [1, 3, 4] and state(server)["state"] == "served"
        assert ids(server, "public.good") == [7]
        table = deltalake.DeltaTable(str(server.directory / "tables/public/x"))
        assert sorted(table.to_pyarrow_table()["id"].to_pylist()) == [1, 3, 4]
    finally:
        server.stop()


def test_rows_of_a_parked_table_leave_the_log_to_others_and_still_come_back(tmp_path):
    limits = {"DELTAPLANE_LOG_BYTES_MAX": "24MiB", "DELTAPLANE_LOG_SEGMENT_BYTES": "4MiB", "DELTAPLANE_LIMITS_BATCH_BYTES_MAX": "2MiB"}
    server = Server(tmp_path / "data", **limits).start()
    try:
        server.sql("CREATE TABLE public.good (s STRING)")
        server.sql("CREATE TABLE public.x (id BIGINT)")
        server.sql("DELETE FROM public.x WHERE id = -1")
        server.kill()
        server.environment["DELTAPLANE_COMMIT_INTERVAL"] = "1h"
        server.start()
        server.sql("INSERT INTO public.x VALUES (1)")
        server.kill()
        server.environment["DELTAPLANE_COMMIT_INTERVAL"] = "1s"
        entry = newest_entry(server.directory / "tables/public/x")
        good = entry.read_bytes()
        entry.write_bytes(good[:30])
        server.start()
        for _ in range(30):
            batch = pa.record_batch({"s": [os.urandom(500).hex() for _ in range(1000)]})
            assert put(server, "public.good", batch) is None
        wait_for(lambda: list((server.directory / "wal/parked").glob("*.rows")))
        server.kill()
        server.start()
        assert state(server)["state"] == "parked"
        entry.write_bytes(good)
        server.run("table", "repair", "public.x")
        assert ids(server) == [1]
        assert server.one("SELECT count(*) FROM public.good") == 30_000
        assert not list((server.directory / "wal/parked").iterdir())
    finally:
        server.stop()


def test_files_of_parked_rows_that_cannot_be_read_stop_nobody_and_are_told(tmp_path):
    limits = {"DELTAPLANE_LOG_BYTES_MAX": "24MiB", "DELTAPLANE_LOG_SEGMENT_BYTES": "4MiB", "DELTAPLANE_LIMITS_BATCH_BYTES_MAX": "2MiB"}
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="200ms", DELTAPLANE_UPKEEP_ENABLED="false", **limits).start()
    parked = server.directory / "wal/parked"

    def one_more(id):
        # An INSERT would wait for the commit of what is hot.
        assert put(server, "public.x", pa.record_batch({"id": [id]})) is None

    def fill_half():
        # The log looks at itself from there on. It would be full before it is looked at, if this went on.
        for _ in range(60):
            if metric("deltaplane_log_bytes ") >= 12 << 20:
                return
            batch = pa.record_batch({"s": [os.urandom(500).hex() for _ in range(1000)]})
            assert put(server, "public.good", batch) is None
        pytest.fail("the log lets go of what a table needs")

    def told_by(check):
        return server.run("check", "--data-dir", str(server.directory), check=check)

    def metric(name):
        text = urllib.request.urlopen(f"http://127.0.0.1:{server.http}/metrics").read().decode()
        return float(next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)))

    try:
        server.sql("CREATE TABLE public.good (s STRING)")
        server.sql("CREATE TABLE public.x (id BIGINT)")
        folder, away = server.directory / "tables/public/x", tmp_path / "away"
        folder.rename(away)
        folder.write_text("in the way")
        one_more(1)
        fill_half()
        wait_for(lambda: list(parked.glob("*.rows")))
        wait_for(lambda: metric("deltaplane_log_bytes ") < 12 << 20)
        # Behind what is parked: only the log has it.
        one_more(2)
        server.kill()
        folder.unlink()
        away.rename(folder)
        (file,) = parked.glob("*.rows")
        saved = file.read_bytes()
        stray = parked / "copy of rows.rows"
        stray.write_bytes(saved)
        file.write_bytes(b"")
        checked = told_by(check=False)
        assert checked.returncode == 1 and stray.name in checked.stdout and file.name in checked.stdout, checked
        server.start()
        told = state(server)
        assert (told["state"], told["parked_stage"], told["parked_reason"]) == ("parked", "parked_rows", "parked_rows_damaged")
        assert file.name in told["parked_problem"] and "the log keeps" in told["way_out"] and told["log_held_from"] > 0
        assert str(stray) in server.log() and stray.read_bytes() == saved
        assert metric("deltaplane_parked_files_unread ") == 2
        assert metric('deltaplane_table_log_held_frames{table="public.x"}') >= 1
        before = told["log_held_from"]
        fill_half()
        wait_for(lambda: "keeps rows of a table" in server.log())
        assert state(server)["log_held_from"] == before
        file.write_bytes(saved)
        assert "served" in server.run("table", "repair", "public.x").stdout
        assert ids(server) == [1, 2]
        wait_for(lambda: state(server)["log_held_from"] is None)
        assert metric("deltaplane_parked_files_unread ") == 1
        assert server.terminate() == 0
        stray.unlink()
        told_by(check=True)
    finally:
        server.stop()


def test_a_commit_that_delta_refuses_parks_the_table_while_it_runs(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="200ms").start()
    try:
        server.sql("CREATE TABLE public.x (id BIGINT)")
        server.sql("DELETE FROM public.x WHERE id = -1")
        log = server.directory / "tables/public/x/_delta_log"
        entry = log / f"{int(newest_entry(log.parent).stem) + 1:020}.json"
        entry.write_text(json.dumps({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["nobodyKnows"], "writerFeatures": ["nobodyKnows"]}}))
        server.sql("INSERT INTO public.x VALUES (1)")
        wait_for(lambda: state(server)["state"] == "parked")
        assert "REPAIR TABLE" in refused(server, "INSERT INTO public.x VALUES (2)")
        entry.unlink()
        wait_for(lambda: server.sql("REPAIR TABLE public.x")[0]["state"] == "served")
        assert ids(server) == [1]
    finally:
        server.stop()


def test_a_column_without_zone_brings_the_protocol_that_it_needs(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="100ms").start()
    time_of = pa.array([dt.datetime(2026, 1, 1)], pa.timestamp("us"))
    try:
        server.sql("CREATE TABLE public.x (id BIGINT)")
        server.sql("INSERT INTO public.x VALUES (1)")
        server.sql("ALTER TABLE public.x ADD COLUMN t TIMESTAMP_NTZ")
        server.sql("INSERT INTO public.x VALUES (2, TIMESTAMP '2026-01-01T00:00:00')")
        server.sql("CREATE TABLE public.y (id BIGINT) TBLPROPERTIES ('deltaplane.unknownColumns'='add')")
        assert put(server, "public.y", pa.record_batch({"id": pa.array([1]), "t": time_of})) is None
        server.sql("CREATE TABLE public.z (id BIGINT, t TIMESTAMP_NTZ) PARTITIONED BY (t)")
        assert put(server, "public.z", pa.record_batch({"id": pa.array([1]), "t": time_of})) is None
        assert server.terminate() == 0
        server.start()
        for name, count in (("x", 2), ("y", 1), ("z", 1)):
            assert state(server, name)["state"] == "served"
            assert server.one(f"SELECT count(*) FROM public.{name}") == count
            table = deltalake.DeltaTable(str(server.directory / "tables/public" / name))
            assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (3, 7)
            assert table.to_pyarrow_table().num_rows == count
        entries = "".join(p.read_text() for p in (server.directory / "tables/public/z/_delta_log").glob("*.json"))
        assert '"t":"2026-01-01 00:00:00"' in entries
    finally:
        server.stop()


def test_what_would_be_ignored_is_refused(tmp_path):
    server = Server(tmp_path / "data").start()
    try:
        server.sql("CREATE TABLE public.x (id BIGINT)")
        for statement, word in [
            ("CREATE TABLE public.y (id BIGINT) LOCATION '/tmp/elsewhere'", "LOCATION"),
            ("CREATE TABLE public.y (id BIGINT) USING DELTA LOCATION 's3://b/p'", "LOCATION"),
            ("CREATE TABLE public.y (id BIGINT) TBLPROPERTIES ('delta.appendOnly'='true')", "delta.appendOnly"),
            ("ALTER TABLE public.x SET TBLPROPERTIES ('delta.appendOnly'='true')", "delta.appendOnly"),
            ("ALTER TABLE public.x SET TBLPROPERTIES ('delta.columnMapping.mode'='name')", "delta.columnMapping"),
            ("ALTER TABLE public.x SET TBLPROPERTIES ('delta.minWriterVersion'='7')", "delta.minWriterVersion"),
            ("ALTER TABLE public.x SET TBLPROPERTIES ('delta.setTransactionRetentionDuration'='interval 0 seconds')", "twice"),
            ("ALTER TABLE public.x SET TBLPROPERTIES ('delta.somethingNew'='1')", "unknown property"),
            ("ALTER TABLE public.x SET TBLPROPERTIES ('deltaplane.somethingNew'='1')", "unknown property"),
            ("ALTER TABLE public.x SET TBLPROPERTIES ('owner'='me')", "unknown property"),
        ]:
            assert word in refused(server, statement), statement
        server.sql("ALTER TABLE public.x SET TBLPROPERTIES ('delta.logRetentionDuration'='interval 30 days')")
    finally:
        server.stop()


def test_a_table_with_the_name_of_a_function_shadows_no_function(server):
    for name in ("last_seen", "generate_series", "latest", "table_changes", "range"):
        server.sql(f"CREATE TABLE public.{name} (id BIGINT)")
    server.sql("INSERT INTO public.latest VALUES (5)")
    assert server.one("SELECT id FROM latest") == 5
    assert server.one("SELECT count(*) FROM generate_series(1, 4)") == 4
    assert server.one("SELECT count(*) FROM range(1, 4)") == 3
    assert server.sql("SELECT * FROM last_seen('reactor.raw', 'reactor_id')") == []
    assert server.sql("SELECT * FROM latest('reactor.raw')") == []


def test_a_batch_of_many_days_is_committed_in_bounded_memory(tmp_path):
    days = int(os.environ.get("DELTAPLANE_TEST_DAYS", "600"))
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="100ms").start()
    try:
        columns = ", ".join(f"c{i} DOUBLE" for i in range(40))
        server.sql(f"CREATE TABLE public.x (ts TIMESTAMP NOT NULL, {columns}) PARTITIONED BY (event_date) TBLPROPERTIES ('deltaplane.eventTime'='ts')")
        stamps = [dt.datetime(1975, 1, 1) + dt.timedelta(days=(i * 7919) % days) for i in range(days)]
        assert put(server, "public.x", pa.record_batch({"ts": pa.array(stamps, pa.timestamp("us", "UTC"))})) is None
        wait_for(lambda: state(server)["rows_hot"] == 0, 240)
        assert state(server)["files"] == days
        peak = next(int(line.split()[1]) for line in open(f"/proc/{server.process.pid}/status") if line.startswith("VmHWM"))
        assert peak < 1_000_000, f"{peak} kB"
    finally:
        server.stop()
