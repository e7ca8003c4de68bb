"""What clients and operators are told when the log's disk is full, and how a server ends then."""

import json
import random
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import Server

LIMITS = {
    "DELTAPLANE_COMMIT_INTERVAL": "1h",
    "DELTAPLANE_LOG_SEGMENT_BYTES": "2MiB",
    "DELTAPLANE_LOG_BYTES_MAX": "1GiB",
    "DELTAPLANE_LOG_ADMISSION_TIMEOUT": "2s",
    "DELTAPLANE_LIMITS_BATCH_BYTES_MAX": "1MiB",
    "DELTAPLANE_SERVER_SHUTDOWN_TIMEOUT": "8s",
}
SCHEMA = pa.schema([("id", pa.int64()), ("noise", pa.binary())])


def batch(number, size=200_000):
    noise = random.Random(number).randbytes(size)
    return pa.record_batch({"id": [number], "noise": [noise]}, schema=SCHEMA)


def readyz(server):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{server.http}/readyz", timeout=5).read().decode().strip()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode().strip()}"


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


class Plain:
    """A stream of numbered batches, each acked before the next is sent."""

    def __init__(self, server, producer):
        self.client = server.flight()
        options = fl.FlightCallOptions(timeout=60)
        self.writer, self.reader = self.client.do_put(fl.FlightDescriptor.for_path("public", "t"), SCHEMA, options)
        opening = {"open": {"producer": producer, "epoch": None, "ack": "durable"}}
        self.writer.write_metadata(json.dumps(opening).encode())
        assert self.reader.read() is not None

    def push(self, seq):
        self.writer.write_with_metadata(batch(seq), json.dumps({"seq": seq}).encode())
        answer = self.reader.read()
        if answer is None:
            self.writer.done_writing()
            self.writer.close()
        return json.loads(answer.to_pybytes())["ack"]["seq"]

    def fill(self, seq=1):
        """Pushes until the server refuses; gives back the last ack, the error, and how long the error took."""
        while True:
            began = time.monotonic()
            try:
                assert self.push(seq) == seq
            except pa.ArrowException as error:
                return seq - 1, str(error), time.monotonic() - began
            seq += 1


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.fixture
def full(small_disk, tmp_path):
    server = Server(small_disk / "data", log_path=tmp_path / "server.log", **LIMITS).start()
    server.sql("CREATE TABLE public.t (id BIGINT, noise BINARY)")
    yield server
    server.stop()


def test_a_full_disk_is_told_in_time_and_the_server_goes_on_when_there_is_room(full, small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(8 << 20))
    acked, error, took = Plain(full, "p").fill()
    assert acked > 10
    assert "log_full" in error and "disk" in error and "may still become durable" in error, error
    assert took < 2 + 1, took
    assert readyz(full) == "503 log_disk_full"
    # Nobody else waits longer, and is told that nothing was written.
    began = time.monotonic()
    with pytest.raises(pa.ArrowException, match="nothing of this was written"):
        full.sql("INSERT INTO public.t VALUES (-1, NULL)")
    assert time.monotonic() - began < 2 + 1
    assert full.one("SELECT count(*) FROM public.t") == acked
    ballast.unlink()
    until(lambda: readyz(full) == "ready")
    stream = Plain(full, "p")
    for seq in (acked + 1, acked + 2):
        assert stream.push(seq) >= seq
    full.kill()
    full.start()
    assert full.one("SELECT count(*), count(DISTINCT id), max(id) FROM public.t") == (acked + 2, acked + 2, acked + 2)
    told = [line for line in full.log().splitlines() if "disk of the log is full" in line]
    assert len(told) == 1, told


def test_a_stop_on_a_full_disk_ends_in_time_and_names_what_is_left(full, small_disk, tmp_path):
    acked, _, _ = Plain(full, "p").fill()
    began = time.monotonic()
    full.process.send_signal(signal.SIGTERM)
    assert full.process.wait(timeout=30) == 1
    assert time.monotonic() - began < 8 + 2
    text = full.log().splitlines()[-1]
    assert "rows_left_in_log" in text and "table public.t, rows=" in text and "server.shutdown_timeout" in text, text
    # Safe where it was: with more room the next start has all of it.
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    full.start()
    assert full.one("SELECT count(*) FROM public.t") >= acked
    assert full.terminate() == 0


def test_a_second_signal_ends_a_stop_at_once(full):
    Plain(full, "p").fill()
    full.process.send_signal(signal.SIGTERM)
    until(lambda: "shutting down" in full.log())
    began = time.monotonic()
    full.process.send_signal(signal.SIGTERM)
    assert full.process.wait(timeout=30) == 1
    assert time.monotonic() - began < 2
    assert "second signal" in full.log().splitlines()[-1]
