"""What operators and people at a prompt meet: metrics, the console's data, the sql verb, system tables."""

import io
import json
import os
import re
import subprocess
import time
import urllib.request

import pyarrow as pa
import pytest
from conftest import BIN, Server, Stream, rows


def get(server, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http}{path}", timeout=10) as answer:
        return answer.read().decode()


def metrics(server):
    """Values by name and labels; every line has to be one of Prometheus' forms."""
    values = {}
    for line in get(server, "/metrics").splitlines():
        if not line or line.startswith("#"):
            assert re.match(r"^$|# (HELP|TYPE) \w+ ", line), line
            continue
        name, value = re.fullmatch(r'(\w+(?:\{[^}]*\})?) (\S+)', line).groups()
        assert name not in values, f"{name} twice"
        values[name] = float(value)
    return values


def test_metrics_tell_what_became_of_rows(server):
    stream = Stream(server, "edge-1")
    stream.send(1, rows(10))
    stream.send(2, rows(5, first=100, AT=[20.0, 20.0, 99.0, 99.0, 20.0]))
    stream.ack(2)
    assert server.one("SELECT count(*) FROM reactor.raw") == 13
    (open_stream,) = server.sql("SELECT * FROM system.streams")
    assert (open_stream["table"], open_stream["producer"], open_stream["seq"], open_stream["inflight"]) == ("reactor.raw", "edge-1", 2, 0)
    m = metrics(server)
    label = '{table="reactor.raw"}'
    parts = [m[f"deltaplane_rows_{kind}_total{label}"] for kind in ("received", "accepted", "quarantined", "duplicate")]
    assert parts == [15, 13, 2, 0]
    assert m["deltaplane_streams"] == 1 and m["deltaplane_log_poisoned"] == 0 and m["deltaplane_log_bytes"] > 0
    assert m['deltaplane_queries_total{state="finished"}'] >= 1
    stream.close()
    server.wait_committed()
    m = metrics(server)
    assert m["deltaplane_streams"] == 0 and m["deltaplane_commits_total"] >= 1
    assert m[f"deltaplane_cold_rows{label}"] == 13 and m[f"deltaplane_hot_rows{label}"] == 0
    assert m["deltaplane_commit_seconds_count"] >= 1 and 'deltaplane_commit_seconds_bucket{le="0.1"}' in m
    (table,) = server.sql("SELECT rows_quarantined, files, bytes, newest_file FROM system.tables WHERE table_name = 'raw'")
    assert table["rows_quarantined"] == 2 and table["files"] >= 1 and table["bytes"] > 0 and table["newest_file"]


def test_the_console_reads_its_data(server):
    server.put("reactor.raw", rows(3))
    server.one("SELECT count(*) FROM reactor.raw")
    page = get(server, "/")
    assert page.startswith("<!doctype html>") and "status.json" in page
    status = json.loads(get(server, "/status.json"))
    (raw,) = [t for t in status["tables"] if t["name"] == "reactor.raw"]
    assert raw["accepted"] == 3 and status["problem"] is None
    assert any("reactor.raw" in q["sql"] for q in status["queries"])
    assert status["producers"][0]["accepted"] == 3


def test_several_statements_run_in_order_and_stop_at_the_first_that_fails(server):
    text = "CREATE TABLE s (a BIGINT); -- a comment; with a semicolon\nINSERT INTO s VALUES (1), (2);\nSELECT count(*) AS n FROM s;"
    done = subprocess.run([BIN / "deltaplane", "sql", "--uri", f"http://127.0.0.1:{server.port}"], input=text, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["done", "2 rows"] and "| 2 |" in done.stdout
    failed = server.run("sql", "INSERT INTO s VALUES (3); SELEC 1; INSERT INTO s VALUES (4)", check=False)
    assert failed.returncode == 1 and "InvalidArgument" in failed.stderr, failed.stderr
    assert server.one("SELECT count(*) FROM s") == 3


def test_rows_come_in_every_format(server):
    server.sql("CREATE TABLE f (a BIGINT, t STRING)")
    server.sql("INSERT INTO f VALUES (1, 'x'), (2, NULL)")
    query = "SELECT a, t FROM f ORDER BY a"
    assert server.run("sql", query, "--format", "csv").stdout == "a,t\n1,x\n2,\n"
    assert [json.loads(line) for line in server.run("sql", query, "--format", "json").stdout.splitlines()] == [{"a": 1, "t": "x"}, {"a": 2}]
    done = subprocess.run([BIN / "deltaplane", "sql", query, "--format", "arrow", "--uri", f"http://127.0.0.1:{server.port}"], capture_output=True, check=True)
    assert pa.ipc.open_stream(io.BytesIO(done.stdout)).read_all().to_pylist() == [{"a": 1, "t": "x"}, {"a": 2, "t": None}]
    assert server.run("sql", "SELECT a FROM f WHERE false", "--format", "csv").stdout == "a\n"
    # A reader that has had enough ends it quietly.
    head = subprocess.run(f"{BIN}/deltaplane sql 'SELECT value FROM generate_series(1, 3000000)' --format csv --uri http://127.0.0.1:{server.port} | head -2",
                          shell=True, capture_output=True, text=True, timeout=60)
    assert head.stdout == "value\n1\n" and not head.stderr, head.stderr


def test_what_tools_write_is_understood(server):
    server.put("reactor.raw", rows(4))
    for query in [
        "SELECT date_bin(interval '10 second', ts, timestamp '1970-01-01T00:00:00Z') AS time, avg(AT) FROM reactor.raw GROUP BY 1 ORDER BY 1",
        "SELECT count(*) FROM reactor.raw WHERE ts >= '2020-01-01T00:00:00Z' AND ts <= '2100-01-01T00:00:00Z';",
        "SELECT count(*) FROM reactor.raw WHERE ts > now() - interval '1 day' AND ts >= cast('2020-01-01T00:00:00Z' as timestamp)",
        "SELECT datepart('minute', ts) FROM reactor.raw GROUP BY 1",
        "SELECT CURRENT_DATE, CURRENT_TIMESTAMP, CURRENT_TIME",
        "SELECT table_name, column_name, data_type, is_nullable, ordinal_position FROM information_schema.columns WHERE table_schema = 'reactor' AND table_name = 'raw'",
        "SHOW SCHEMAS", "SHOW DATABASES", "SHOW TABLES", "DESCRIBE reactor.raw",
        "WITH raw AS (SELECT 1 AS a) SELECT a FROM raw",
    ]:
        assert server.sql(query), query
    assert server.one("SELECT VERSION();").startswith("deltaplane ")


def test_an_abandoned_query_ends(server):
    import pyarrow.flight as fl
    client = server.flight()
    info = client.get_flight_info(fl.FlightDescriptor.for_command(b"SELECT a.value FROM generate_series(1, 1000000000) a"))
    reader = client.do_get(info.endpoints[0].ticket)
    reader.read_chunk()
    reader.cancel()
    running = "SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE '%generate_series%' AND sql NOT LIKE '%system.queries%'"
    deadline = time.monotonic() + 10
    while server.one(running):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("name,value", [
    ("memory.wire_bytes_max", "1MiB"), ("memory.wire_bytes_max", "2GiB"), ("memory.query_bytes_max", "64MiB"), ("memory.hot_bytes_max", "8MiB"),
    ("log.bytes_max", "16MiB"), ("log.segment_bytes", "1MiB"), ("log.queue_bytes_max", "1MiB"), ("limits.batch_bytes_max", "100MiB"),
    ("limits.batch_memory_max", "1MiB"), ("limits.message_bytes_max", "1MiB"), ("limits.connection_bytes_max", "1GiB"),
])
def test_one_limit_can_be_set_alone(tmp_path, name, value):
    variable = f"DELTAPLANE_{name.replace('.', '_').upper()}"
    server = Server(tmp_path / "data", **{variable: value})
    shown = subprocess.run([BIN / "deltaplane", "config"], env={**os.environ, variable: value}, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert f'{name.partition(".")[2]} = "{value}"' in shown and variable in shown
    try:
        server.start()
        server.sql("CREATE TABLE public.t (id BIGINT)")
        server.put("public.t", pa.record_batch({"id": list(range(1000))}))
        assert server.one("SELECT sum(id) FROM public.t") == 499_500
        assert server.terminate() == 0
    finally:
        server.stop()


def test_two_limits_that_contradict_each_other_are_both_named(tmp_path):
    set_by = {"DELTAPLANE_MEMORY_WIRE_BYTES_MAX": "64MiB", "DELTAPLANE_LIMITS_BATCH_MEMORY_MAX": "48MiB"}
    told = subprocess.run([BIN / "deltaplane", "config"], env={**os.environ, **set_by}, capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode != 0
    for word in ("limits.batch_memory_max", "48MiB", "half of memory.wire_bytes_max", "64MiB", *set_by):
        assert word in told.stderr, told.stderr
