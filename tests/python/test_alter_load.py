"""ALTER while four producers stream at full speed: every batch is judged by one contract, and by the one that its frame names."""

import concurrent.futures
import os
import random
import threading
import time

import pyarrow as pa
import pytest
from conftest import Server, Stream, finish

SECONDS = float(os.environ.get("DELTAPLANE_TEST_ALTER_SECONDS", "4"))
NARROW = "ALTER TABLE reactor.raw DROP CONSTRAINT range_PE, ADD CONSTRAINT range_PE CHECK (PE BETWEEN 420 AND 450)"
WIDE = "ALTER TABLE reactor.raw DROP CONSTRAINT range_PE, ADD CONSTRAINT range_PE CHECK (PE BETWEEN 420 AND 496)"


def holds(server, summaries, alters):
    """What was acked is there once; no batch is half by one rule and half by another; each producer meets the rules in their order."""
    for source, summary in summaries.items():
        good, bad = server.one(f"SELECT (SELECT count(*) FROM reactor.raw WHERE _source = '{source}') AS a, (SELECT count(*) FROM reactor.raw_quarantine WHERE _source = '{source}') AS b")
        assert (good, bad) == (summary["accepted"], summary["quarantined"]), source
        assert good + bad == summary["acked"] == summary["sent"] > 0, source
    wide = "SELECT _source, _seq, 1 AS wide FROM reactor.raw WHERE PE > 450 GROUP BY _source, _seq"
    narrow = "SELECT _source, _seq, 0 AS wide FROM reactor.raw_quarantine WHERE array_has(rules, 'range:PE') GROUP BY _source, _seq"
    judged = server.sql(f"SELECT * FROM ({wide} UNION ALL {narrow}) j ORDER BY _source, _seq")
    seen = {}
    for row in judged:
        seen.setdefault(row["_source"], []).append((row["_seq"], row["wide"]))
    switches = 0
    for source, batches in seen.items():
        seqs = [seq for seq, _ in batches]
        assert len(seqs) == len(set(seqs)), f"{source}: a batch was judged by two contracts"
        turns = sum(a[1] != b[1] for a, b in zip(batches, batches[1:]))
        assert turns <= alters, source
        switches += turns
    return switches


def alter_until(server, done, kill=None):
    """Rules there and back, a column each time; the server is killed in between if asked. Returns how many were made."""
    alters, columns = 0, 0
    while not done.is_set():
        for statement in [NARROW, WIDE]:
            try:
                server.sql(f"{statement}, ADD COLUMN extra_{columns} DOUBLE")
                alters += 1
                columns += 1
            except (pa.ArrowException, OSError):
                # Without an answer: it is in force or not.
                alters += 1
                columns += 1
                time.sleep(0.1)
            time.sleep(0.05)
            if kill and kill():
                server.kill()
                server.start()
    return alters


@pytest.mark.parametrize("killed", [False, True])
def test_alter_of_rules_and_columns_while_four_producers_stream_at_full_speed(server, killed):
    seed = int(os.environ.get("DELTAPLANE_TEST_SEED", time.time_ns() % 10_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    done = threading.Event()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = {f"p{i}": server.simulate("--source", "standin", "--rate", 0, "--for", SECONDS, "--batch-rows", 500, "--producer", f"p{i}", "--seed", i,
                                         "--give-up-after", 60, wait=False) for i in range(4)}
        altering = pool.submit(alter_until, server, done, (lambda: chance.random() < 0.15) if killed else None)
        summaries = {name: finish(run) for name, run in runs.items()}
        done.set()
        alters = altering.result()
    switches = holds(server, summaries, alters)
    print(f"{alters} alters, {switches} switches seen, {sum(s['sent'] for s in summaries.values())} rows")
    assert alters >= 4 and switches > 0
    server.kill()
    server.start()
    holds(server, summaries, alters)


@pytest.fixture
def drifting(tmp_path):
    server = Server(tmp_path / "data").start()
    server.sql("CREATE TABLE public.t (id BIGINT NOT NULL) TBLPROPERTIES ('deltaplane.unknownColumns' = 'add', 'deltaplane.systemColumns' = 'true')")
    yield server
    server.stop()


def test_producers_that_bring_new_columns_at_once_lose_and_double_nothing_also_when_killed(drifting):
    def produce(name):
        seq, sent = 0, 0
        for width in range(6):
            columns = {"id": pa.array(range(sent, sent + 100))} | {f"c{i}": pa.array([float(i)] * 100) for i in range(width)}
            batch = pa.RecordBatch.from_pydict(columns)
            while True:
                try:
                    stream = Stream(drifting, name, table=("public", "t"), schema=batch.schema)
                    if stream.ready["seq"] == seq:
                        stream.send(seq + 1, batch)
                        stream.ack(seq + 1)
                    stream.close()
                    break
                except (pa.ArrowException, AssertionError, OSError, TypeError):
                    time.sleep(0.2)
            seq, sent = seq + 1, sent + 100

    with concurrent.futures.ThreadPoolExecutor() as pool:
        work = [pool.submit(produce, f"p{i}") for i in range(4)]
        time.sleep(0.3)
        drifting.kill()
        drifting.start()
        for one in work:
            one.result(timeout=60)
    assert drifting.one("SELECT count(*), count(c0), count(c2), count(c4) FROM public.t") == (2400, 2000, 1200, 400)
    assert drifting.one("SELECT count(*) FROM (SELECT id, _source FROM public.t GROUP BY id, _source HAVING count(*) > 1) d") == 0
    columns = [r["column_name"] for r in drifting.sql("SELECT column_name FROM information_schema.columns WHERE table_name = 't' AND column_name LIKE 'c%'")]
    assert sorted(columns) == [f"c{i}" for i in range(5)]
    ddl = drifting.one("SHOW CREATE TABLE public.t")
    assert "'deltaplane.unknownColumns'='add'" in ddl
    drifting.wait_committed("t")
    table = drifting.delta("t", "public").to_pyarrow_table()
    assert table.num_rows == 2400 and table["c4"].null_count == 2000


def test_a_new_column_that_has_no_place_is_refused_and_nulls_alone_add_nothing(drifting):
    columns = lambda: drifting.one("SELECT count(*) FROM information_schema.columns WHERE table_name = 't'")
    before = columns()
    drifting.put("public.t", pa.RecordBatch.from_pydict({"id": [1], "nothing": pa.nulls(1)}))
    assert columns() == before
    refused = {"span": pa.array([pa.MonthDayNano([1, 2, 3])]), "a ": pa.array([1]), "_seq": pa.array([1])}
    for name, values in refused.items():
        stream = Stream(drifting, f"p-{name}", table=("public", "t"), schema=pa.schema([("id", pa.int64()), (name, values.type)]))
        stream.send(1, pa.RecordBatch.from_pydict({"id": [2], name: values}))
        assert name in stream.error()
    assert columns() == before and drifting.one("SELECT count(*) FROM public.t") == 1


@pytest.mark.parametrize("sent,due,value", [(pa.int32(), "BIGINT", 7), (pa.float32(), "DOUBLE", 0.5), (pa.int64(), "DOUBLE", 7), (pa.int16(), "INT", 7), (pa.uint32(), "BIGINT", 4_000_000_000),
                                            (pa.int8(), "DOUBLE", 7), (pa.uint64(), "BIGINT", 7)])
def test_narrower_numbers_are_widened(drifting, sent, due, value):
    drifting.sql(f"CREATE TABLE public.w (v {due})")
    ack = drifting.put("public.w", pa.RecordBatch.from_pydict({"v": pa.array([value, None], sent)}))
    assert ack["accepted"] == 2
    assert [r["v"] for r in drifting.sql("SELECT v FROM public.w ORDER BY v NULLS LAST")] == [value, None]
    drifting.sql("DROP TABLE public.w")
