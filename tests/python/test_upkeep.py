"""Upkeep of a running server: compaction, vacuum and retention beside a stream, as real clients and delta-rs see it."""

import importlib.machinery
import importlib.util
import os
import pathlib
import threading
import time

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pytest
from conftest import Server, Stream, rows

COMMITS = int(os.environ.get("DELTAPLANE_TEST_UPKEEP_COMMITS", "60"))
QUIET = {"DELTAPLANE_UPKEEP_ENABLED": "false", "DELTAPLANE_COMMIT_INTERVAL": "50ms",
         "DELTAPLANE_UPKEEP_RETAIN_MIN": "0ms", "DELTAPLANE_UPKEEP_ORPHAN_AGE": "0ms"}
EAGER = {"DELTAPLANE_COMMIT_INTERVAL": "20ms", "DELTAPLANE_COMMIT_CHECKPOINT_EVERY": "20", "DELTAPLANE_UPKEEP_INTERVAL": "300ms",
         "DELTAPLANE_UPKEEP_MIN_FILES": "8", "DELTAPLANE_UPKEEP_SETTLE": "2s", "DELTAPLANE_UPKEEP_VACUUM_INTERVAL": "500ms",
         "DELTAPLANE_UPKEEP_FILE_RETENTION": "1s", "DELTAPLANE_UPKEEP_LOG_RETENTION": "2s", "DELTAPLANE_UPKEEP_ORPHAN_AGE": "2s"}


def started(tmp_path, **environment):
    server = Server(tmp_path / "data", **environment).start()
    server.run("apply", "reactor", "--yes")
    return server


@pytest.fixture
def quiet(tmp_path):
    """It looks after nothing unless asked."""
    server = started(tmp_path, **QUIET)
    yield server
    server.stop()


@pytest.fixture
def eager(tmp_path):
    """Minutes and days of upkeep in a second."""
    server = started(tmp_path, **EAGER)
    yield server
    server.stop()


def data_files(server, table="raw"):
    root = server.directory / "tables/reactor" / table
    return sorted(f for f in root.rglob("*.parquet") if "_delta_log" not in f.parts)


def commits(server, count, first=0):
    """`count` batches of 10 rows, each in a version of its own."""
    stream = Stream(server, "p", ack="committed")
    start = stream.ready["seq"]
    for n in range(count):
        stream.send(start + n + 1, rows(10, first=(first + n) * 10, AT=[2.0 + n % 30] * 10))
        stream.ack(start + n + 1)
    stream.close()


TOTAL = "SELECT count(*) AS n, sum(\"AT\") AS s FROM reactor.raw"


def test_optimize_makes_one_file_and_vacuum_takes_the_small_ones(quiet):
    commits(quiet, 8)
    before = quiet.sql(TOTAL)
    small = data_files(quiet)
    assert len(small) == 8
    (done,) = quiet.sql("OPTIMIZE reactor.raw")
    assert (done["table"], done["files_removed"], done["files_added"], done["rows"]) == ("reactor.raw", 8, 1, 80)
    assert len(data_files(quiet)) == 9
    delta = quiet.delta()
    assert delta.version() == done["version"] and len(delta.file_uris()) == 1
    table = delta.to_pyarrow_table()
    assert table.num_rows == 80 and sum(table["AT"].to_pylist()) == before[0]["s"]
    history = delta.history(1)[0]
    assert history["operation"] == "OPTIMIZE"
    listed = quiet.sql("VACUUM reactor.raw RETAIN 0 HOURS DRY RUN")
    assert len(listed) == 8 and len(data_files(quiet)) == 9
    (done,) = quiet.sql("VACUUM reactor.raw RETAIN 0 HOURS")
    assert done["files_deleted"] == 8 and done["bytes_deleted"] == sum(r["bytes"] for r in listed)
    assert len(data_files(quiet)) == 1
    assert quiet.sql(TOTAL) == before
    kinds = [r["kind"] for r in quiet.sql("SELECT kind FROM system.commits WHERE \"table\" = 'reactor.raw' ORDER BY version")]
    assert kinds == ["WRITE"] * 8 + ["OPTIMIZE"]
    tasks = {r["task"]: r["state"] for r in quiet.sql("SELECT task, state FROM system.upkeep")}
    assert tasks == {"optimize": "done", "vacuum": "done"}
    assert quiet.one("SELECT files FROM system.tables WHERE table_name = 'raw'") == 1


def test_answers_come_through_adbc_and_prepared_statements_and_updates(quiet):
    commits(quiet, 3)
    with adbc.connect(quiet.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("OPTIMIZE reactor.raw ZORDER BY (\"AT\", RH)")
        answer = cursor.fetch_arrow_table().to_pylist()
        assert [(r["files_removed"], r["rows"]) for r in answer] == [(3, 30)]
        cursor.execute("VACUUM reactor.raw RETAIN 0 HOURS DRY RUN")
        assert cursor.fetch_arrow_table().num_rows == 3
        cursor.adbc_statement.set_sql_query("VACUUM reactor.raw RETAIN 0 HOURS")
        assert cursor.adbc_statement.execute_update() == 0
    assert len(data_files(quiet)) == 1
    out = quiet.run("sql", "OPTIMIZE reactor.raw").stdout
    assert "files_removed" in out, out


def test_what_cannot_be_is_refused_in_words(tmp_path):
    server = started(tmp_path)
    try:
        for sql, words in [("VACUUM reactor.raw RETAIN 0 HOURS", ["0 HOURS is too short", "1 HOURS", "upkeep.retain_min"]),
                           ("OPTIMIZE reactor.nothing", ["no such table"]),
                           ("OPTIMIZE reactor.raw ZORDER BY (nothing)", ["no such column", "reactor_id"]),
                           ("OPTIMIZE reactor.raw ZORDER BY (event_date)", ["partition column"])]:
            with pytest.raises(pa.ArrowException) as caught:
                server.sql(sql)
            assert all(w in str(caught.value) for w in words), caught.value
    finally:
        server.stop()


def test_a_query_that_runs_keeps_its_files_through_compaction_and_vacuum(quiet):
    commits(quiet, 4)
    before = len(data_files(quiet))
    # A result that nobody fetches: more than the server computes ahead, so the query stays at work.
    client = quiet.flight()
    wide = "SELECT a.* FROM reactor.raw a CROSS JOIN reactor.raw b CROSS JOIN reactor.raw c CROSS JOIN (SELECT * FROM reactor.raw LIMIT 20) d"
    info = client.get_flight_info(pa.flight.FlightDescriptor.for_command(wide.encode()))
    reader = client.do_get(info.endpoints[0].ticket)
    got = reader.read_chunk().data.num_rows
    quiet.sql("OPTIMIZE reactor.raw")
    quiet.sql("VACUUM reactor.raw RETAIN 0 HOURS")
    assert len(data_files(quiet)) == before + 1, "all pinned"
    for chunk in reader:
        got += chunk.data.num_rows
    assert got == 40 * 40 * 40 * 20
    del reader
    deadline = time.monotonic() + 10
    while len(data_files(quiet)) > 1 and time.monotonic() < deadline:
        quiet.sql("VACUUM reactor.raw RETAIN 0 HOURS")
        time.sleep(0.1)
    assert len(data_files(quiet)) == 1


def test_a_stream_goes_on_while_everything_is_looked_after(eager):
    """Every sampled answer is right, here and in delta-rs, and the files stay few."""
    done = threading.Event()
    failed, sampled = [], []

    def sample():
        client = eager.flight()
        while not done.is_set():
            try:
                # Each batch of ten is there whole or not at all, and each seq once.
                row = eager.sql("SELECT count(*) AS n, count(DISTINCT _seq) AS seqs, max(_seq) AS last FROM reactor.raw", client)[0]
                assert row["n"] == 10 * row["seqs"] and row["seqs"] == (row["last"] or 0), row
                if row["n"]:
                    table = eager.delta().to_pyarrow_table(columns=["_seq"])
                    assert table.num_rows == 10 * len(set(table["_seq"].to_pylist())), table.num_rows
                sampled.append(row["n"])
            except Exception as error:  # noqa: BLE001 - shown below
                # A reader of Delta alone pins nothing: with one second of retention it may come late.
                if "FileNotFound" not in type(error).__name__ and "not found" not in str(error).lower():
                    failed.append(error)

    sampler = threading.Thread(target=sample)
    sampler.start()
    stream = Stream(eager, "p")
    for n in range(COMMITS):
        stream.send(n + 1, rows(10, first=n * 10))
        stream.ack(n + 1)
        time.sleep(0.06)
    stream.close()
    done.set()
    sampler.join()
    assert not failed, failed[0]
    assert len(sampled) > 3
    eager.wait_committed()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and len(data_files(eager)) > 1:
        time.sleep(0.2)
    assert len(data_files(eager)) == 1, "settled: one file, and the others are gone"
    assert eager.one("SELECT count(*) FROM reactor.raw") == 10 * COMMITS
    table = eager.delta().to_pyarrow_table()
    assert table.num_rows == 10 * COMMITS and table["ts"].to_pylist() == sorted(table["ts"].to_pylist()), "by key and time"
    assert list((eager.directory / "tables/reactor/raw/_delta_log").glob("*.checkpoint.parquet"))
    eager.kill()
    eager.start()
    assert eager.one("SELECT count(*) FROM reactor.raw") == 10 * COMMITS


def test_a_kill_between_stage_and_commit_leaves_files_that_vacuum_takes(tmp_path):
    server = started(tmp_path, **QUIET)
    commits(server, 3)
    before = server.sql(TOTAL)
    # What a crash there leaves: a whole file that no version has, and one that was being written.
    first = data_files(server)[0]
    (first.parent / "part-00000-0000-c000.zstd.parquet").write_bytes(first.read_bytes())
    (first.parent / "_.part-00000-0001-c000.zstd.parquet.77.0.tmp").write_bytes(b"half")
    server.kill()
    server.start()
    assert server.sql(TOTAL) == before
    (done,) = server.sql("VACUUM reactor.raw RETAIN 0 HOURS")
    assert done["files_deleted"] == 2
    assert server.sql(TOTAL) == before and len(data_files(server)) == 3
    assert not list(first.parent.glob("_.*"))
    server.stop()


def test_a_short_soak_finds_every_sample_right(tmp_path):
    path = str(pathlib.Path(__file__).parent.parent / "soak")
    spec = importlib.util.spec_from_loader("soak", importlib.machinery.SourceFileLoader("soak", path))
    soak = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soak)
    assert soak.run(int(os.environ.get("DELTAPLANE_TEST_SOAK_COMMITS", "120")), 4, tmp_path) == []
