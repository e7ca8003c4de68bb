"""The running server, as clients meet it: started on free ports, killed for real, started again."""

import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid

import pyarrow as pa
import pyarrow.flight as fl
import pytest

BIN = pathlib.Path(os.environ.get("DELTAPLANE_BIN", pathlib.Path.home() / ".cache/deltaplane-target/debug"))
MEASURES = {"AT": 20.0, "V": 50.0, "AP": 1010.0, "RH": 70.0, "PE": 450.0}
SCHEMA = pa.schema([("reactor_id", pa.string()), ("ts", pa.timestamp("us", "UTC"))] + [(n, pa.float64()) for n in MEASURES])


# Each process of the tests has ports of its own, and gives none of them twice: two servers that start side by side cannot meet on one.
# They are below the range that outgoing connections take theirs from, so that a port is still free when its server starts, or starts again. Where
# the first is depends on the process, so that two runs of the tests on one machine seldom look at the same port at once.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS_A_WORKER = 1_500
PORTS = (20_000 + WORKER % 8 * PORTS_A_WORKER + i % PORTS_A_WORKER for i in itertools.count(os.getpid()))


def free_port():
    for port in itertools.islice(PORTS, PORTS_A_WORKER):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError(f"no port is free among the {PORTS_A_WORKER} of this process")


def rows(n, first=0, **columns):
    """`n` good rows of reactor.raw, a microsecond apart; `columns` replaces some."""
    now = time.time_ns() // 1000 - 10_000_000
    data = {"reactor_id": ["R1"] * n, "ts": pa.array([now + first + i for i in range(n)], pa.timestamp("us", "UTC"))}
    data |= {name: [value] * n for name, value in MEASURES.items()}
    data |= columns
    return pa.RecordBatch.from_pydict(data)


class Server:
    def __init__(self, directory, log_path=None, **environment):
        self.directory = pathlib.Path(directory)
        self.log_path = log_path or self.directory.parent / f"{self.directory.name}.log"
        self.port, self.http = free_port(), free_port()
        self.environment = {"DELTAPLANE_COMMIT_INTERVAL": "1s", "DELTAPLANE_LOG": "info"} | environment
        self.process = None

    @property
    def uri(self):
        return f"grpc://127.0.0.1:{self.port}"

    def spawn(self):
        log = open(self.log_path, "ab")
        return subprocess.Popen(
            [BIN / "deltaplane", "serve", "--data-dir", self.directory, "--listen", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http}"],
            env=os.environ | self.environment, stdout=log, stderr=log)

    def start(self):
        self.process = self.spawn()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError("server ended: " + self.log())
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=1)
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise RuntimeError("server not ready: " + self.log())

    def log(self):
        return self.log_path.read_text()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.kill()

    def run(self, *arguments, check=True):
        return subprocess.run([BIN / "deltaplane", *arguments], env=os.environ | {"DELTAPLANE_URI": f"http://127.0.0.1:{self.port}"},
                              capture_output=True, text=True, check=check, timeout=120)

    def simulate(self, *arguments, wait=True, dataset="reactor"):
        process = subprocess.Popen([BIN / "deltaplane-sim", dataset, "--uri", f"http://127.0.0.1:{self.port}", "--json", *map(str, arguments)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return finish(process) if wait else process

    def flight(self):
        return fl.connect(self.uri)

    def sql(self, statement, client=None):
        """Rows as a list of dicts; the statement goes as plain text, without Flight SQL."""
        client = client or self.flight()
        info = client.get_flight_info(fl.FlightDescriptor.for_command(statement.encode()))
        table = client.do_get(info.endpoints[0].ticket).read_all()
        assert table.schema.equals(info.schema), "FlightInfo and DoGet must agree"
        return table.to_pylist()

    def one(self, statement, client=None):
        (row,) = self.sql(statement, client)
        return next(iter(row.values())) if len(row) == 1 else tuple(row.values())

    def wait_committed(self, table="raw"):
        """Waits until nothing of the table is hot."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.one(f"SELECT hot_bytes FROM system.tables WHERE table_name = '{table}'") == 0:
                return
            time.sleep(0.05)
        raise AssertionError("not committed in time")

    def delta(self, table="raw", dataset="reactor"):
        import deltalake
        return deltalake.DeltaTable(str(self.directory / "tables" / dataset / table))

    def put(self, table, batch):
        """One batch from a producer that nobody has met; returns its ack."""
        stream = Stream(self, f"once-{uuid.uuid4()}", table=table.split("."), schema=batch.schema)
        stream.send(1, batch)
        ack = stream.ack(1)
        stream.close()
        return ack


class Cookies(fl.ClientMiddlewareFactory):
    """Sends the cookies that the server has set: what a client needs that wants a session."""

    def __init__(self):
        self.kept = {}

    def start_call(self, info):
        return Jar(self.kept)


class Jar(fl.ClientMiddleware):
    def __init__(self, kept):
        self.kept = kept

    def sending_headers(self):
        pairs = [f"{name}={value}" for name, value in self.kept.items() if value]
        return {"cookie": "; ".join(pairs)} if pairs else {}

    def received_headers(self, headers):
        for name, values in headers.items():
            if name.lower() == "set-cookie":
                self.kept.update(value.split(";")[0].split("=", 1) for value in values)


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


class Stream:
    """One exactly-once stream, spoken by hand in JSON."""

    def __init__(self, server, producer, epoch=None, ack="durable", table=("reactor", "raw"), schema=SCHEMA):
        self.client = server.flight()
        self.writer, self.reader = self.client.do_put(fl.FlightDescriptor.for_path(*table), schema)
        opening = {"open": {"producer": producer, "epoch": epoch, "ack": ack}}
        self.writer.write_metadata(json.dumps(opening).encode())
        answer = self.read()
        if answer is None:
            # pyarrow tells why a stream ended only when it is closed.
            self.writer.done_writing()
            self.writer.close()
        self.ready = answer["ready"]

    def read(self):
        buffer = self.reader.read()
        return json.loads(buffer.to_pybytes()) if buffer is not None else None

    def send(self, seq, batch):
        self.writer.write_with_metadata(batch, json.dumps({"seq": seq}).encode())

    def ack(self, seq):
        """Reads until everything up to `seq` is acked."""
        while True:
            message = self.read()
            assert message is not None, "the stream ended without an ack"
            if message["ack"]["seq"] >= seq:
                return message["ack"]

    def close(self):
        self.writer.done_writing()
        while self.read() is not None:
            pass
        self.writer.close()

    def error(self):
        """The error that ends the stream."""
        with pytest.raises(pa.ArrowException) as caught:
            for _ in range(1000):
                if self.read() is None:
                    self.writer.done_writing()
                    self.writer.close()
                    break
        return str(caught.value)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "data").start()
    server.run("apply", "reactor", "--yes")
    yield server
    server.stop()
