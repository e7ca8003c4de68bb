"""`clients/python`: the producer that Python programs use, against a server that is killed under it; the examples and the Airflow DAG."""

import ast
import os
import pathlib
import py_compile
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest

from conftest import BIN, SCHEMA, Server, free_port, rows

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "clients/python"))

from deltaplane import GaveUp, Producer, Refused, Reject  # noqa: E402
from deltaplane.session import Diverged, Session  # noqa: E402


def batch(n, first):
    base = 1_785_744_000_000_000
    return pa.RecordBatch.from_pydict({"reactor_id": ["R1"] * n, "ts": pa.array([base + first + i for i in range(n)], pa.timestamp("us", "UTC")),
                                       "AT": [20.0] * n, "V": [50.0] * n, "AP": [1010.0] * n, "RH": [70.0] * n, "PE": [450.0] * n})


def test_rows_are_durable_and_readable_after_flush_and_rejects_are_told(server):
    acks = []
    with Producer(server.uri, "reactor.raw", name="py", schema=SCHEMA, on_ack=acks.append) as producer:
        assert producer.seq == 0
        assert producer.send(batch(10, 0)) == 1
        assert producer.send([{"reactor_id": "R1", "ts": 1_785_744_001_000_000, "AT": 99.0, "V": 50.0, "AP": 1010.0, "RH": 70.0, "PE": 450.0}]) == 2
        totals = producer.flush(timeout=30)
        assert (totals.seq, totals.accepted, totals.quarantined, totals.duplicates) == (2, 10, 1, 0)
        assert totals.rejects == (Reject(seq=2, row=0, column="AT", rule="range", value="99.0"),)
        assert server.one("SELECT count(*) FROM reactor.raw WHERE _source = 'py'") == 10
    assert acks[-1] == totals and producer.unacked() == []
    # Another run under the name goes on where the first one ended.
    with Producer(server.uri, "reactor.raw", name="py", schema=SCHEMA) as producer:
        assert (producer.seq, producer.send(batch(5, 100))) == (2, 3)
    assert server.one("SELECT count(*) FROM reactor.raw WHERE _source = 'py'") == 15


def test_a_server_killed_again_and_again_under_a_stream_has_each_batch_once(server):
    kills = int(os.environ.get("DELTAPLANE_TEST_PYTHON_KILLS", 3))
    done = threading.Event()

    def killer():
        for _ in range(kills):
            time.sleep(0.4)
            server.kill()
            server.start()
        done.set()

    thread = threading.Thread(target=killer)
    sent = 0
    with Producer(server.uri, "reactor.raw", name="py", schema=SCHEMA, inflight_bytes_max=1 << 20) as producer:
        thread.start()
        while not done.is_set():
            producer.send(batch(100, 100 * sent))
            sent += 1
            time.sleep(0.001)
        totals = producer.flush(timeout=60)
    thread.join()
    assert totals.seq == sent and totals.accepted == 100 * sent and totals.reconnects >= kills
    assert server.one("SELECT count(*) AS n, count(DISTINCT ts) AS times, count(DISTINCT _seq) AS batches FROM reactor.raw") == (100 * sent, 100 * sent, sent)


def test_a_program_killed_goes_on_with_the_batch_that_the_server_lacks(server):
    """Killed with kill -9 wherever it is; the source is read again from the start and `seq` batches are skipped."""
    program = f"""
import sys; sys.path[:0] = [{str(ROOT / 'clients/python')!r}, {str(ROOT / 'tests/python')!r}]
from test_python_producer import Producer, SCHEMA, batch
with Producer({server.uri!r}, "reactor.raw", name="file", schema=SCHEMA, inflight_bytes_max=1 << 18) as producer:
    print("from", producer.seq, flush=True)
    for i in range(producer.seq, 600):
        producer.send(batch(50, 50 * i))
"""
    for _ in range(3):
        run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        run.stdout.readline()
        time.sleep(0.15)
        run.kill()
        run.wait()
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert server.one("SELECT count(*) AS n, count(DISTINCT ts) AS times FROM reactor.raw") == (30_000, 30_000)


def test_what_the_server_refuses_is_told_with_its_reason(server):
    with pytest.raises(Refused, match="table_not_found|no such table|not found"):
        Producer(server.uri, "reactor.nowhere", name="py", schema=SCHEMA)
    wrong = pa.schema([("T", pa.float64())])
    with pytest.raises(Refused) as caught:
        with Producer(server.uri, "reactor.raw", name="py", schema=wrong) as producer:
            producer.send(pa.RecordBatch.from_pylist([{"T": 1.0}], schema=wrong))
            producer.flush(timeout=30)
    assert caught.value.reason == "unknown_column" and "column=T" in str(caught.value) and "gRPC" not in str(caught.value)
    # A second program under the same name takes over; the first is told.
    first = Producer(server.uri, "reactor.raw", name="same", schema=SCHEMA)
    first.send(batch(1, 0))
    first.flush(timeout=30)
    with Producer(server.uri, "reactor.raw", name="same", schema=SCHEMA) as second:
        second.send(batch(1, 10))
        second.flush(timeout=30)
        with pytest.raises(Refused) as caught:
            first.send(batch(1, 20))
            first.flush(timeout=30)
        assert caught.value.reason == "producer_fenced"
        with pytest.raises(Refused):
            first.send(batch(1, 30))
    with pytest.raises(ValueError, match="share a schema"):
        with Producer(server.uri, "reactor.raw", name="other", schema=SCHEMA) as producer:
            producer.send(pa.RecordBatch.from_pylist([{"T": 1.0}], schema=wrong))


def test_a_server_that_is_away_for_too_long_is_given_up_and_batches_are_kept(server):
    producer = Producer(server.uri, "reactor.raw", name="py", schema=SCHEMA, give_up_after=0.5)
    producer.send(batch(1, 0))
    producer.flush(timeout=30)
    server.kill()
    kept = batch(2, 10)
    producer.send(kept)
    with pytest.raises(GaveUp, match="gave up after 0.5 s"):
        producer.flush(timeout=60)
    assert producer.unacked() == [(2, kept)]


def test_the_session_sends_again_only_what_the_server_lacks():
    s = Session()
    s.push("a", 1)
    s.on_ready({"epoch": 3, "seq": 41})
    assert (s.next_to_send(), s.next_to_send(), s.epoch) == ((42, "a"), None, 3)
    s.push("b", 1), s.push("c", 1)
    assert [s.next_to_send()[0], s.next_to_send()[0]] == [43, 44]
    s.on_ready({"epoch": 3, "seq": 43})
    assert (s.next_to_send(), s.next_to_send(), s.acked, s.unacked_bytes) == ((44, "c"), None, 43, 1)
    for seq in [42, 45]:
        with pytest.raises(Diverged):
            s.on_ready({"epoch": 3, "seq": seq})


# --- examples --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """`deltaplane demo`, as a new user has it."""
    port, http = free_port(), free_port()
    log = open(tmp_path_factory.mktemp("demo") / "log", "w+")
    process = subprocess.Popen([BIN / "deltaplane", "demo", "--data-dir", tmp_path_factory.mktemp("data"), "--listen", f"127.0.0.1:{port}", "--http", f"127.0.0.1:{http}"], stdout=log, stderr=log)
    server = Server.__new__(Server)
    server.port = port
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if server.one("SELECT count(*) FROM vehicle.raw") and server.one("SELECT count(*) FROM energy.raw"):
                break
        except (pa.ArrowException, OSError):
            pass
        assert process.poll() is None, pathlib.Path(log.name).read_text()
        time.sleep(0.2)
    yield server
    process.terminate()
    process.wait(timeout=60)


@pytest.mark.parametrize("name", ["reactor", "satellite", "building", "energy", "vehicle"])
def test_example_runs_against_a_demo_as_it_is(demo, name):
    environment = os.environ | {"DELTAPLANE_URI": demo.uri, "PYTHONPATH": str(ROOT / "clients/python")}
    for _ in range(2):  # again, too
        done = subprocess.run([sys.executable, ROOT / f"clients/examples/{name}.py"], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    expected = {"reactor": "reactor R2, site South: ", "satellite": "('temp_c', 'degC')", "building": "known: ('Annex', 2); ", "energy": "nulls of power, temperature, charge: ", "vehicle": "stored "}
    assert expected[name] in done.stdout, done.stdout


def test_pictures_are_drawn_from_a_demo(demo, tmp_path):
    pytest.importorskip("matplotlib")
    environment = os.environ | {"DELTAPLANE_URI": demo.uri}
    done = subprocess.run([sys.executable, ROOT / "clients/examples/pictures.py", tmp_path], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ["reactor", "satellite", "building", "energy", "vehicle"]:
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_airflow_dag_runs_the_day_before_at_two_once_and_skips_a_day_without_rows():
    path = ROOT / "clients/airflow/energy_dag.py"
    py_compile.compile(str(path), doraise=True)
    (dag,) = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "DAG"]
    (task,) = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "BashOperator"]
    of = lambda call: {k.arg: ast.unparse(k.value) for k in call.keywords}
    assert of(dag)["schedule"] == "'0 2 * * *'" and of(dag)["catchup"] == "False" and of(dag)["max_active_runs"] == "1"
    assert of(dag)["default_args"] == "{'retries': 1, 'retry_delay': dt.timedelta(minutes=5)}"
    assert of(task)["skip_on_exit_code"] == "99" and "ds_add(data_interval_end | ds, -1)" in of(task)["bash_command"]
    airflow = pytest.importorskip("airflow", reason="parsed only, where Airflow is not installed")
    assert airflow
    namespace = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)


def test_a_table_of_any_name_is_given_as_a_pair(server):
    server.sql('CREATE TABLE "Werk 1.a"."x ""y""" ("Wert °C" DOUBLE)')
    with Producer(server.uri, ("Werk 1.a", 'x "y"'), name="py") as producer:
        producer.send(pa.RecordBatch.from_pydict({"Wert °C": [20.5]}))
        producer.flush()
    assert server.sql('SELECT * FROM "Werk 1.a"."x ""y"""') == [{"Wert °C": 20.5}]
    with pytest.raises(ValueError, match="pair"):
        Producer(server.uri, "a.b.c", name="py")
