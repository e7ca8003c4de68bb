"""What a stranger can send before anything of it is admitted: memory stays within the limits, each cause has one answer, and
other streams go on. The long run: DELTAPLANE_TEST_HOSTILE_MESSAGES=10000."""

import json
import os
import random
import socket
import struct
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from conftest import SCHEMA, Server, Stream, rows
from wire import (SERVICE, Http2, action, any_message, call, channel, command_descriptor, do_put, field, flight_data, ingest_command,
                  ipc_messages, path_descriptor, put_messages)

MIB = 1 << 20
MESSAGES = int(os.environ.get("DELTAPLANE_TEST_HOSTILE_MESSAGES", "300"))
SEED = int(os.environ.get("DELTAPLANE_TEST_SEED", "13"))
RAW = path_descriptor("reactor", "raw")
LIMITS = {
    "DELTAPLANE_MEMORY_WIRE_BYTES_MAX": "64MiB", "DELTAPLANE_LIMITS_CONNECTION_BYTES_MAX": "32MiB",
    "DELTAPLANE_LIMITS_MESSAGE_BYTES_MAX": "24MiB", "DELTAPLANE_LIMITS_BATCH_MEMORY_MAX": "32MiB",
    "DELTAPLANE_LIMITS_MESSAGE_IDLE": "3s", "DELTAPLANE_LOG_ADMISSION_TIMEOUT": "2s",
    "DELTAPLANE_LIMITS_DICTIONARY_BYTES_MAX": "8MiB",
}


def started(tmp_path, **more):
    server = Server(tmp_path / "data", **(LIMITS | more)).start()
    server.run("apply", "reactor", "--yes")
    return server


@pytest.fixture
def limited(tmp_path):
    server = started(tmp_path)
    yield server
    assert server.process.poll() is None, server.log()
    assert "panicked" not in server.log()
    server.stop()


def resident(server):
    for line in open(f"/proc/{server.process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024


def metric(server, name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{server.http}/metrics", timeout=10).read().decode()
    found = [line for line in text.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found if line[len(name)] in " {")


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


class Bystander:
    """A producer that sends all the time and counts its acks."""

    def __init__(self, server):
        self.server, self.stream, self.seq, self.slowest = server, Stream(server, "bystander"), 0, 0.0
        self.ending, self.error = threading.Event(), None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.ending.is_set():
                self.seq += 1
                began = time.monotonic()
                self.stream.send(self.seq, rows(5, self.seq * 10))
                self.stream.ack(self.seq)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.ending.wait(0.02)
        except BaseException as error:
            self.error = error

    def end(self):
        self.ending.set()
        self.thread.join(30)
        assert self.error is None, self.error
        self.stream.close()
        stored = self.server.sql("SELECT count(*) AS n, count(DISTINCT ts) AS d FROM reactor.raw WHERE _source = 'bystander'")
        assert stored == [{"n": 5 * self.seq, "d": 5 * self.seq}]


def test_half_messages_of_many_connections_do_not_add_up(limited):
    bystander = Bystander(limited)
    before = resident(limited)
    with ThreadPoolExecutor(20) as pool:
        connections = list(pool.map(lambda _: Http2(limited), range(20)))
        let_in = list(pool.map(lambda c: c.half_message(20 * MIB), connections))
    held = metric(limited, "deltaplane_wire_bytes")
    assert 20 * MIB < held <= 64 * MIB + 20 * 64 * 1024
    assert resident(limited) - before < 64 * MIB * 1.25 + 32 * MIB
    # Of 400 MiB. The kernel's socket buffers take a few MiB a connection beside the server's budget.
    assert sum(let_in) < 200 * MIB, "flow control holds the rest back"
    # Those that stand still are ended, and what they held is given back while their connections stay.
    [c.answer_pings() for c in connections]
    wait_for(lambda: metric(limited, "deltaplane_wire_bytes") < 2 * MIB)
    assert metric(limited, "deltaplane_wire_limits_met_total") > 0
    [c.close() for c in connections]
    bystander.end()


TOO_LARGE = bytes(25 * MIB)
NOISE = b"\xff" * 50


@pytest.mark.parametrize("door", [
    lambda c, m: do_put(c, [m]),
    lambda c, m: do_put(c, [put_messages(RAW, rows(1))[0], m]),
    lambda c, m: do_put(c, [put_messages(command_descriptor(ingest_command(("reactor", "raw"))), rows(1))[0], m]),
    lambda c, m: call(c, "DoGet", m),
    lambda c, m: call(c, "DoAction", m),
    lambda c, m: call(c, "GetFlightInfo", m),
    lambda c, m: call(c, "GetSchema", m),
    lambda c, m: call(c, "ListFlights", m),
], ids=["first", "put", "bulk", "DoGet", "DoAction", "GetFlightInfo", "GetSchema", "ListFlights"])
def test_one_cause_has_one_answer_at_every_door(shared_server, door):
    with channel(shared_server) as open_channel:
        code, text = door(open_channel, TOO_LARGE)
        assert code == "RESOURCE_EXHAUSTED" and text.startswith("message_too_large: "), (code, text)
        assert "limits.message_bytes_max" in text or "limits.request_bytes_max" in text
        code, text = door(open_channel, NOISE)
        assert code == "INVALID_ARGUMENT" and text.startswith("malformed_message: "), (code, text)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    server = started(tmp_path_factory.mktemp("wire"))
    yield server
    assert server.process.poll() is None, server.log()
    assert "panicked" not in server.log()
    server.stop()


def test_a_bulk_ingest_whose_client_goes_commits_nothing(shared_server):
    """A call that is cancelled looks to a server like one that has ended, unless it looks twice."""
    descriptor = command_descriptor(ingest_command(("reactor", "raw")))
    waiting, sent = threading.Event(), threading.Event()

    def messages():
        yield from put_messages(descriptor, rows(7, reactor_id=["cancelled"] * 7))
        sent.set()
        waiting.wait(30)

    with channel(shared_server) as open_channel:
        stream = open_channel.stream_stream(SERVICE + "DoPut")(messages(), timeout=30)
        sent.wait(10)
        time.sleep(0.2)  # nothing tells that the batch has been read
        stream.cancel()
        waiting.set()
    wait_for(lambda: metric(shared_server, "deltaplane_calls") == 0)
    time.sleep(0.5)  # a commit would take no longer
    assert shared_server.one("SELECT count(*) FROM reactor.raw WHERE reactor_id = 'cancelled'") == 0


def test_dictionaries_of_one_stream_have_one_limit(shared_server):
    text = "x" * (3 * MIB)
    column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array([text]))
    batch = pa.RecordBatch.from_arrays([column] * 4, names=["a", "b", "c", "d"])
    with channel(shared_server) as open_channel:
        code, told = do_put(open_channel, put_messages(RAW, batch, compression="lz4"))
    assert code == "RESOURCE_EXHAUSTED" and told.startswith("dictionaries_too_large: "), (code, told)
    wait_for(lambda: metric(shared_server, "deltaplane_wire_bytes") == 0)


@pytest.mark.parametrize("batch, reason", [
    (pa.RecordBatch.from_arrays([pa.nulls(16_000_000)], names=["AT"]), "too_many_rows"),
    (pa.RecordBatch.from_arrays([pa.nulls(1_000_000)], names=["AT"]), "batch_too_large"),
    (pa.RecordBatch.from_arrays([pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), pa.array(["x" * 100_000]))],
                                names=["reactor_id"]), "batch_too_large"),
    (pa.RecordBatch.from_arrays([pa.array([1])] * 5000, names=[f"c{n}" for n in range(5000)]), "too_many_columns"),
])
def test_few_bytes_that_become_many_are_refused_before_they_do(shared_server, batch, reason):
    before = resident(shared_server)
    with channel(shared_server) as open_channel:
        code, told = do_put(open_channel, put_messages(RAW, batch))
    assert code == "RESOURCE_EXHAUSTED" and told.startswith(reason + ": "), (code, told)
    assert resident(shared_server) - before < 40 * MIB


def test_an_lz4_body_that_is_longer_than_it_says_is_refused(shared_server):
    column = pa.array([0] * 4_000_000, pa.int64())
    (schema, _), (header, body) = ipc_messages(pa.RecordBatch.from_arrays([column], names=["AT"]), "lz4")
    body = body.replace(struct.pack("<q", 32_000_000), struct.pack("<q", 8_000), 1)
    before = resident(shared_server)
    with channel(shared_server) as open_channel:
        code, told = do_put(open_channel, [flight_data(RAW, schema), flight_data(header=header, body=body)])
    assert (code, told.split(":")[0]) in [("INVALID_ARGUMENT", "malformed_ipc"), ("RESOURCE_EXHAUSTED", "too_many_rows")], (code, told)
    assert resident(shared_server) - before < 40 * MIB


def test_forged_ids_are_not_remembered(shared_server):
    before = resident(shared_server)
    with channel(shared_server) as open_channel:
        for n in range(40):
            ticket = json.dumps({"id": f"{n}" + "x" * (3 * MIB), "schema": "public", "what": {"sql": "SELECT 1"}})
            ticket = any_message("TicketStatementQuery", field(1, ticket))
            code, _ = call(open_channel, "DoAction", action("CancelFlightInfo", field(1, field(3, field(1, ticket)))))
            assert code in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert resident(shared_server) - before < 60 * MIB


@pytest.mark.parametrize("length, taken", [(256, True), (257, False)])
def test_a_producers_name_has_one_limit_at_client_and_server(server, length, taken):
    stream_of = lambda: Stream(server, "p" * length)  # noqa: E731
    if taken:
        stream = stream_of()
        stream.send(1, rows(2))
        assert stream.ack(1)["accepted"] == 2
        stream.close()
        server.kill()
        server.start()
        assert server.one("SELECT count(*) FROM reactor.raw") == 2
    else:
        with pytest.raises(pa.ArrowInvalid, match="invalid_"):
            stream_of()


def test_connections_are_bounded_and_idle_ones_are_let_go(tmp_path):
    server = started(tmp_path, DELTAPLANE_LIMITS_CONNECTIONS_MAX="10", DELTAPLANE_LIMITS_CONNECTION_IDLE="1s")
    client = server.flight()
    assert server.one("SELECT 1", client) == 1
    open_stream = Stream(server, "patient")
    silent = [Http2(server) for _ in range(20)]
    wait_for(lambda: sum(not c.read(0.01) and c.closed for c in silent) >= 12)
    assert metric(server, "deltaplane_connections") <= 10
    # A connection with a call stays, also without a word; one without is closed, and its client does not notice.
    wait_for(lambda: metric(server, "deltaplane_connections") == 1)
    assert server.one("SELECT 1", client) == 1
    open_stream.send(1, rows(1))
    open_stream.ack(1)
    open_stream.close()
    server.stop()


def test_half_requests_do_not_keep_a_probe_out(tmp_path):
    server = started(tmp_path, DELTAPLANE_LIMITS_HTTP_CONNECTIONS_MAX="20")
    halves = []
    for _ in range(60):
        half = socket.create_connection(("127.0.0.1", server.http))
        half.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n")
        halves.append(half)
        if len(halves) % 6 == 0:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.http}/readyz", timeout=2) as answer:
                assert answer.status == 200
    assert metric(server, "deltaplane_wire_limits_met_total") >= 40
    for half in halves:
        half.close()
    server.stop()


class Hostile:
    """Messages that no library would make. `rng` alone decides."""

    def __init__(self, server, rng):
        self.server, self.rng = server, rng

    def noise(self, most=2000):
        return self.rng.randbytes(self.rng.randrange(most))

    def batch(self):
        rng, n = self.rng, self.rng.randrange(1, 50)
        words = pa.array(["a" * rng.randrange(20) for _ in range(3)])
        columns = [
            rows(n).column(0),
            pa.DictionaryArray.from_arrays(pa.array([rng.randrange(3) for _ in range(n)], pa.int8()), words),
            pa.array([[1, 2, None]] * n),
            pa.array([{"a": 1, "b": "x"}] * n),
            pa.array(["view"] * n, pa.string_view()),
            pa.nulls(n),
            pa.array([True, None] * n)[:n],
        ]
        chosen = rng.sample(columns, rng.randrange(1, len(columns)))
        return rng.choice([rows(n), pa.RecordBatch.from_arrays(chosen, names=[f"c{i}" for i in range(len(chosen))])])

    def spoiled(self, data):
        """The same bytes with some of them changed, cut, doubled, or made into a large number."""
        rng, data = self.rng, bytearray(data)
        if not data:
            return self.noise(50)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            kind = rng.randrange(5)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                data[at:at + 8] = struct.pack("<q", rng.choice([-1, 1 << 31, 1 << 33, 1 << 62, (1 << 63) - 1, -(1 << 63)]))
            elif kind == 2:
                data[at:at + 4] = struct.pack("<i", rng.choice([-1, 0, 1 << 20, (1 << 31) - 1]))
            elif kind == 3:
                del data[at:at + rng.randrange(1, 20)]
                data = data or bytearray(1)
            else:
                data[at:at] = data[at:at + rng.randrange(1, 200)]
        return bytes(data)

    def descriptor(self):
        return self.rng.choice([RAW, command_descriptor(ingest_command(("reactor", "raw")))])

    def spoiled_ipc(self, open_channel):
        messages = ipc_messages(self.batch(), self.rng.choice([None, "lz4", "zstd"]))
        which = self.rng.randrange(len(messages))
        header, body = messages[which]
        messages[which] = self.rng.choice([(self.spoiled(header), body), (header, self.spoiled(body)), (self.spoiled(header), self.spoiled(body))])
        descriptor = self.descriptor()
        return do_put(open_channel, [flight_data(descriptor if n == 0 else None, *[header, None, body][:3]) for n, (header, body) in enumerate(messages)])

    def spoiled_protobuf(self, open_channel):
        messages = put_messages(self.descriptor(), self.batch())
        which = self.rng.randrange(len(messages))
        messages[which] = self.spoiled(messages[which])
        return do_put(open_channel, messages)

    def spoiled_metadata(self, open_channel):
        schema, *rest = put_messages(RAW, rows(3))
        words = [b'{"open":{"producer":"x"}}', b'{"seq":1}', b'{"seq":-1}', b'{"seq":1e99}', b"{" * 5000, b'{"open":{"producer":"' + b"p" * 300 + b'"}}',
                 b'{"open":null}', b"[1]", b'{"open":{"producer":"x","epoch":18446744073709551615}}', b"\x0a\x05\x0a\x03abc"]
        metas = [flight_data(metadata=self.rng.choice([self.rng.choice(words), self.spoiled(self.rng.choice(words)), self.noise(300)])) for _ in range(3)]
        return do_put(open_channel, [schema, *metas, *rest])

    def one_message(self, open_channel):
        rng = self.rng
        method = rng.choice(["DoGet", "DoAction", "GetFlightInfo", "GetSchema", "PollFlightInfo", "ListFlights", "ListActions", "Handshake", "DoExchange", "DoPut", "Unknown"])
        ticket = any_message("TicketStatementQuery", field(1, json.dumps({"id": "x" * rng.randrange(200_000), "schema": "public", "what": {"sql": "SELECT 1"}})))
        bodies = [self.noise(), self.spoiled(ticket), field(1, ticket), self.spoiled(command_descriptor(b"SELECT 1")),
                  self.spoiled(action("CreatePreparedStatement", any_message("ActionCreatePreparedStatementRequest", field(1, "SELECT 1")))),
                  action("CancelFlightInfo", field(1, field(3, field(1, ticket)))), action(rng.choice(["SetSessionOptions", "CloseSession", "EndTransaction", "CancelQuery", "x" * 10_000]), self.noise())]
        return call(open_channel, method, rng.choice(bodies))

    def large(self, open_channel):
        size = self.rng.choice([1 * MIB, 3 * MIB, 5 * MIB, 23 * MIB, 25 * MIB])
        return call(open_channel, self.rng.choice(["DoGet", "DoAction", "GetFlightInfo", "DoPut"]), field(1, bytes(size)))

    def bomb(self, open_channel):
        rng, text = self.rng, "x" * (1 << self.rng.randrange(10, 22))
        n = 1 << rng.randrange(5, 20)
        column = rng.choice([
            lambda: pa.nulls(n * 16),
            lambda: pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int8()), pa.array([text])),
            lambda: pa.array([0.0] * n),
            lambda: pa.RunEndEncodedArray.from_arrays(pa.array([n * 16], pa.int32()), pa.array([text])),
        ])()
        name = rng.choice(["AT", "reactor_id", "unknown"])
        columns = rng.choice([1, 5])
        batch = pa.RecordBatch.from_arrays([column] * columns, names=[name] + [f"c{i}" for i in range(columns - 1)])
        return do_put(open_channel, put_messages(self.descriptor(), batch, rng.choice([None, "lz4", "zstd"])))

    def half(self, _):
        connection = Http2(self.server)
        sent = connection.half_message(self.rng.choice([10, 100_000, 20 * MIB, 24 * MIB]), self.rng.choice(["DoPut", "DoGet", "DoAction", "Handshake"]))
        connection.close()
        return ("HALF", str(sent))

    def frames(self, _):
        connection = Http2(self.server)
        stream = connection.open("DoPut")
        for _ in range(self.rng.randrange(1, 20)):
            kind, flags = self.rng.randrange(12), self.rng.randrange(256)
            connection.send(connection.frame(kind, flags, self.rng.choice([0, stream, stream + 2, 2, (1 << 31) - 1]), self.noise(300)))
        connection.read(0.01)
        connection.close()
        return ("FRAMES", "")

    def one(self):
        kinds = [(self.spoiled_ipc, 40), (self.spoiled_protobuf, 15), (self.spoiled_metadata, 12), (self.one_message, 15), (self.bomb, 8), (self.large, 3),
                 (self.half, 3), (self.frames, 4)]
        kind = self.rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
        with channel(self.server) as open_channel:
            return kind.__name__, kind(open_channel)


def test_generated_hostile_messages(tmp_path):
    limits = {
        "DELTAPLANE_MEMORY_HOT_BYTES_MAX": "64MiB", "DELTAPLANE_MEMORY_QUERY_BYTES_MAX": "64MiB",
        "DELTAPLANE_LOG_QUEUE_BYTES_MAX": "32MiB", "DELTAPLANE_LIMITS_TRANSACTION_BYTES_MAX": "32MiB", "DELTAPLANE_MEMORY_UPKEEP_BYTES_MAX": "32MiB",
    }
    server = started(tmp_path, **limits)
    base = resident(server)
    most = (64 + 64 + 32 + 32 + 32 + 64) * MIB * 1.25 + base
    bystander = Bystander(server)
    peak, answers = 0, {}

    def some(worker):
        hostile, seen = Hostile(server, random.Random(f"{SEED}/{worker}")), {}
        for _ in range(max(1, MESSAGES // 8)):
            kind, (code, text) = hostile.one()
            assert code not in ("INTERNAL", "UNKNOWN"), (worker, kind, code, text)
            seen[kind, code] = seen.get((kind, code), 0) + 1
            assert server.process.poll() is None, (worker, kind)
        return seen

    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(some, worker) for worker in range(8)]
        while not all(run.done() for run in runs):
            peak = max(peak, resident(server) or 0)
            time.sleep(0.02)
        for run in runs:
            for key, count in run.result().items():
                answers[key] = answers.get(key, 0) + count
    print(f"seed {SEED}, {sum(answers.values())} messages, peak {peak // MIB} MiB of {int(most) // MIB}, slowest ack {bystander.slowest:.2f} s")
    for key in sorted(answers):
        print(*key, answers[key])
    bystander.end()
    assert peak < most
    assert "panicked" not in server.log(), server.log()
    wait_for(lambda: metric(server, "deltaplane_wire_bytes") < MIB)
    server.stop()
