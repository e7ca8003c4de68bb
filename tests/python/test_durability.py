"""Kill -9, SIGTERM, two servers on one directory, and reads while commits happen."""

import os
import random
import threading
import time

import pyarrow.compute as pc
import pytest
from conftest import Server, Stream, finish, rows

CYCLES = int(os.environ.get("DELTAPLANE_TEST_CRASH_CYCLES", "3"))
ACKS = int(os.environ.get("DELTAPLANE_TEST_READ_YOUR_ACK", "300"))


def test_kill_9_at_random_moments_loses_and_doubles_no_acked_row(server):
    seed = int(os.environ.get("DELTAPLANE_TEST_SEED", time.time_ns() % 10_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    rate = 20_000
    process = server.simulate("--source", "standin", "--rate", rate, "--for", CYCLES * 1.5 + 1, "--producer", "crash",
                              "--faults", "range=.01,seed=3", "--give-up-after", 60, wait=False)
    for _ in range(CYCLES):
        time.sleep(chance.uniform(0.2, 1.4))
        server.kill()
        server.start()
    summary = finish(process)
    assert summary["acked"] == summary["sent"] > 0
    good, distinct = server.one("SELECT count(*), count(DISTINCT ts) FROM reactor.raw")
    bad = server.one("SELECT count(*) FROM reactor.raw_quarantine")
    assert good + bad == summary["sent"], "every acked row is there"
    assert good == distinct, "none is doubled"
    assert (summary["accepted"], summary["quarantined"]) == (good, bad)
    received = server.one("SELECT sum(received) FROM system.quality WHERE \"table\" = 'reactor.raw'")
    assert received == good + bad
    server.wait_committed()
    table = server.delta().to_pyarrow_table(columns=["ts"])
    assert (table.num_rows, pc.count_distinct(table["ts"]).as_py()) == (good, good), "the same to an independent reader"
    assert server.delta("raw_quarantine").to_pyarrow_table(columns=["reason"]).num_rows == bad


def test_sigterm_under_load_ends_with_0_an_empty_log_and_every_acked_row_in_delta(server):
    process = server.simulate("--rate", 50_000, "--for", 60, "--producer", "p", "--give-up-after", 0.5, wait=False)
    time.sleep(2)
    assert server.terminate() == 0
    process.kill()
    committed = server.delta().to_pyarrow_table(columns=["ts"]).num_rows
    server.start()
    assert "frames=0" in server.log().splitlines()[-2] or "frames=0" in server.log(), server.log()
    assert server.one("SELECT accepted FROM system.producers WHERE \"table\" = 'reactor.raw'") == committed == server.one("SELECT count(*) FROM reactor.raw")


def test_a_second_server_on_the_same_directory_is_refused_at_once(server, tmp_path):
    other = Server(server.directory)
    assert other.spawn().wait(timeout=20) == 1
    assert "another server uses the data directory" in other.log()


@pytest.mark.timeout(120 + ACKS // 10)
def test_every_acked_batch_is_seen_by_the_next_query_on_another_connection(server):
    s = Stream(server, "p")
    other = server.flight()
    misses = 0
    for seq in range(1, ACKS + 1):
        s.send(seq, rows(1, seq * 10))
        s.ack(seq)
        misses += server.one(f"SELECT count(*) FROM reactor.raw WHERE _seq = {seq}", other) != 1
    s.close()
    assert misses == 0


def test_a_reader_never_sees_a_dip_or_a_double_while_commits_happen(server):
    stop = threading.Event()
    problems, reads = [], []

    def read():
        last = (0, 0)
        while not stop.is_set():
            good, bad, newest, sent = server.one(
                "SELECT (SELECT count(*) FROM reactor.raw) AS a, (SELECT count(*) FROM reactor.raw_quarantine) AS b, "
                "(SELECT max(_seq) FROM reactor.raw) AS c, (SELECT max(_seq) FROM reactor.raw_quarantine) AS d")
            reads.append(good)
            # Each batch has 9 good rows and 1 bad one, in one frame: at any read point the two tables agree.
            if good != 9 * bad or newest != sent or good < last[0] or (newest or 0) * 9 != good:
                problems.append((good, bad, newest, sent, last))
            last = (good, bad)

    reader = threading.Thread(target=read)
    reader.start()
    s = Stream(server, "p")
    end = time.monotonic() + 6
    seq = 0
    while time.monotonic() < end:
        seq += 1
        s.send(seq, rows(10, seq * 100, PE=[450.0] * 9 + [999.0]))
        s.ack(seq)
    stop.set()
    reader.join()
    s.close()
    assert not problems, problems[:3]
    assert len(reads) > 10 and server.one("SELECT version FROM system.tables WHERE table_name = 'raw'") > 2
