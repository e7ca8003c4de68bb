"""Rejected rows on their way back: after a rule is widened, with corrections, under load, and through kill -9."""

import os
import random
import threading
import time

import pyarrow as pa
import pyarrow.compute as pc
from conftest import Stream, finish, rows

ROWS = int(os.environ.get("DELTAPLANE_TEST_REPLAY_ROWS", "20000"))
KILLS = int(os.environ.get("DELTAPLANE_TEST_REPLAY_KILLS", "4"))
WIDEN = "ALTER TABLE reactor.raw DROP CONSTRAINT range_PE, ADD CONSTRAINT range_PE CHECK (PE BETWEEN 420 AND 600)"


def reject(server, n, batch=2000, producer="plant"):
    """`n` rows that break range:PE; two thirds of them would be fine below 600 MW."""
    stream = Stream(server, producer)
    for seq, first in enumerate(range(0, n, batch), 1):
        stream.send(seq, rows(batch, first, PE=[500.0 + 50 * (i % 3) + i % 7 for i in range(batch)]))
    ack = stream.ack(n // batch)
    stream.close()
    assert (ack["accepted"], ack["quarantined"]) == (0, n)


def counts(server, table="reactor.raw"):
    return server.one(f"SELECT (SELECT count(*) FROM {table}) AS a, (SELECT count(*) FROM {table}_quarantine) AS b")


def adds_up(server, received, table="reactor.raw"):
    """The counts of the days and of the commits are those of the tables, and nothing is twice or on both sides."""
    good, bad = counts(server, table)
    day = server.one(f"SELECT sum(received), sum(accepted), sum(quarantined), sum(duplicates) FROM system.quality WHERE \"table\" = '{table}'")
    assert day == (received, good, bad, received - good - bad)
    commits = server.one(f"SELECT count(*) FROM system.quality_commits WHERE received <> accepted + quarantined + duplicates")
    assert commits == 0
    everything = f"SELECT ts FROM {table} UNION ALL SELECT event_ts AS ts FROM {table}_quarantine"
    twice = server.one(f"SELECT count(*) FROM (SELECT ts, count(*) AS n FROM ({everything}) u GROUP BY ts) q WHERE n > 1")
    assert twice == 0
    return good, bad


def test_widening_a_rule_and_replaying_moves_the_right_rows_once(server):
    reject(server, ROWS)
    power = "CAST(regexp_replace(raw, '.*\"PE\":([0-9.]+).*', '\\1') AS DOUBLE)"
    expected = server.one(f"SELECT count(*) FROM reactor.raw_quarantine WHERE {power} <= 600")
    assert server.sql("REPLAY QUARANTINE reactor.raw") == [{"examined": ROWS, "replayed": 0, "duplicates": 0, "rejected": ROWS}]
    server.sql(WIDEN)
    dry = server.sql("REPLAY QUARANTINE reactor.raw DRY RUN")
    assert counts(server) == (0, ROWS)
    began = time.monotonic()
    assert server.sql("REPLAY QUARANTINE reactor.raw") == dry == [{"examined": ROWS, "replayed": expected, "duplicates": 0, "rejected": ROWS - expected}]
    print(f"{ROWS} rows replayed in {time.monotonic() - began:.2f} s")
    assert adds_up(server, ROWS) == (expected, ROWS - expected)
    assert server.one("SELECT max(PE) FROM reactor.raw") <= 600
    assert server.one("SELECT replayed FROM system.quality WHERE \"table\" = 'reactor.raw'") == expected
    assert server.one("SELECT count(*) FROM reactor.raw WHERE _source <> 'plant'") == 0
    # Again: there is nothing left to move.
    assert server.sql("REPLAY QUARANTINE reactor.raw")[0]["replayed"] == 0
    assert server.run("quarantine", "replay", "reactor.raw", check=False).returncode == 99
    # An independent reader sees the same, and after a restart so do we.
    assert server.delta().to_pyarrow_table(columns=["PE"]).num_rows == expected
    assert server.delta("raw_quarantine").to_pyarrow_table(columns=["raw"]).num_rows == ROWS - expected
    server.kill()
    server.start()
    assert adds_up(server, ROWS) == (expected, ROWS - expected)


def test_kill_9_in_the_middle_of_a_replay_doubles_and_loses_nothing(server):
    seed = int(os.environ.get("DELTAPLANE_TEST_SEED", time.time_ns() % 10_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    reject(server, ROWS)
    server.sql(WIDEN)
    began = time.monotonic()
    dry = server.sql("REPLAY QUARANTINE reactor.raw DRY RUN")[0]["replayed"]
    usual = time.monotonic() - began
    seen = set()
    for _ in range(KILLS):
        asked = threading.Thread(target=lambda: server.run("quarantine", "replay", "reactor.raw", check=False))
        asked.start()
        time.sleep(chance.uniform(0, 1.3 * usual + 0.3))
        server.kill()
        asked.join()
        server.start()
        seen.add(adds_up(server, ROWS))
    server.sql("REPLAY QUARANTINE reactor.raw")
    assert adds_up(server, ROWS) == (dry, ROWS - dry)
    print(f"states after the kills: {sorted(seen)}")


def test_streams_go_on_while_a_replay_runs_and_no_reader_sees_a_dip(server):
    reject(server, ROWS)
    server.sql(WIDEN)
    stream = server.simulate("--source", "standin", "--rate", 20_000, "--for", 4, "--producer", "live", "--faults", "range=.01,seed=3", wait=False)
    stop, problems = threading.Event(), []

    def read():
        client, last = server.flight(), 0
        while not stop.is_set():
            good, bad = server.sql("SELECT (SELECT count(*) FROM reactor.raw WHERE _source = 'plant') AS a, (SELECT count(*) FROM reactor.raw_quarantine WHERE _source = 'plant') AS b", client)[0].values()
            if good + bad != ROWS or good < last:
                problems.append((good, bad))
            last = good

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.5)
    moved = sum(server.sql("REPLAY QUARANTINE reactor.raw WHERE _source = 'plant'")[0]["replayed"] for _ in range(2))
    summary = finish(stream)
    stop.set()
    reader.join()
    assert not problems and moved > 0
    assert summary["acked"] == summary["sent"] > 0
    good, bad = counts(server)
    assert good == moved + summary["accepted"] and good + bad == ROWS + summary["sent"]


def test_rows_are_corrected_on_the_way_and_chosen_by_rule_or_condition(server):
    server.put("reactor.raw", rows(3, AT=[99.0, 99.0, 20.0], PE=[450.0, 450.0, 999.0]))
    server.put("reactor.raw", rows(2, 10, AT=[20.0, 20.0], PE=[1.0, 999.0]))
    done = server.run("quarantine", "replay", "reactor.raw", "--rule", "range:AT", "--set", "AT=20.5", "--format", "json")
    assert '"replayed":2' in done.stdout.replace(" ", ""), done.stdout
    assert server.one("SELECT count(*) FROM reactor.raw WHERE AT = 20.5") == 2
    # The condition is over the quarantine's columns, names without regard to case.
    assert server.sql("REPLAY QUARANTINE reactor.raw SET pe = 450.0 WHERE RAW LIKE '%999%' AND row_index = 1") == [{"examined": 1, "replayed": 1, "duplicates": 0, "rejected": 0}]
    assert adds_up(server, 5) == (3, 2)
    # A correction that is none: the row stays as it was.
    (before,) = server.sql("SELECT rules, reason FROM reactor.raw_quarantine WHERE raw LIKE '%:1.0%'")
    assert server.sql("REPLAY QUARANTINE reactor.raw SET PE = 'x' WHERE raw LIKE '%:1.0%'")[0]["rejected"] == 1
    assert server.sql("SELECT rules, reason FROM reactor.raw_quarantine WHERE raw LIKE '%:1.0%'") == [before]
    for bad, word in [("REPLAY QUARANTINE reactor.raw SET nothing = 1", "nothing"), ("REPLAY QUARANTINE reactor.rwa", "rwa"), ("REPLAY QUARANTINE reactor.raw WHERE nothing = 1", "nothing"),
                      ("REPLAY reactor.raw", "QUARANTINE")]:
        try:
            server.sql(bad)
            raise AssertionError(bad)
        except pa.ArrowException as error:
            assert word in str(error)


def test_a_unique_key_holds_at_replay(server):
    server.run("apply", "building", "--yes")
    ts = pc.add(pa.scalar(1_790_000_000_000_000), pa.array(range(3), pa.int64())).cast(pa.timestamp("us", "UTC"))
    batch = lambda temperature, at=ts: pa.RecordBatch.from_pydict({"room_id": ["room_1"] * len(at), "ts": at, "temperature": temperature})
    server.put("building.raw", batch([20.0, 20.0, 99.0]))
    server.put("building.raw", batch([21.0, 20.0, 21.0]))
    # In quarantine: (0, 21.0) breaks unique, (2, 99.0) breaks the range; (1, 20.0) was a duplicate, (2, 21.0) is in the table.
    assert counts(server, "building.raw") == (3, 2)
    server.sql("ALTER TABLE building.raw DROP CONSTRAINT range_temperature")
    assert server.sql("REPLAY QUARANTINE building.raw") == [{"examined": 2, "replayed": 0, "duplicates": 0, "rejected": 2}]
    assert server.one("SELECT count(*) FROM building.raw_quarantine WHERE array_has(rules, 'unique:room_id,ts')") == 2
    # Corrected to what the table has, a row leaves as a duplicate.
    assert server.sql("REPLAY QUARANTINE building.raw SET temperature = 21 WHERE raw LIKE '%99.0%'") == [{"examined": 1, "replayed": 0, "duplicates": 1, "rejected": 0}]
    day = server.one("SELECT received, accepted, quarantined, duplicates, replayed FROM system.quality WHERE \"table\" = 'building.raw'")
    assert day == (6, 3, 1, 2, 1)
