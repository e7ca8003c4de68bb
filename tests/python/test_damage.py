"""One file of a data directory is damaged: the server refuses with its name, parks what it is about, or answers exactly as
before. It never starts with less than was acked and says nothing.

`DELTAPLANE_TEST_DAMAGE` is the number of places (2000 for a full run), `DELTAPLANE_TEST_DAMAGE_SEED` chooses them.
"""

import collections
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pyarrow as pa
import pytest
from conftest import BIN, Server, Stream

PLACES = int(os.environ.get("DELTAPLANE_TEST_DAMAGE", "24"))
SEED = int(os.environ.get("DELTAPLANE_TEST_DAMAGE_SEED", "1"))
PARALLEL = int(os.environ.get("DELTAPLANE_TEST_DAMAGE_PARALLEL", "3"))
SETTINGS = {
    "DELTAPLANE_COMMIT_INTERVAL": "1h",
    "DELTAPLANE_COMMIT_CHECKPOINT_EVERY": "3",
    "DELTAPLANE_LOG_SEGMENT_BYTES": "1MiB",
    "DELTAPLANE_LOG_BYTES_MAX": "16MiB",
    "DELTAPLANE_LIMITS_BATCH_BYTES_MAX": "256KiB",
    "DELTAPLANE_UPKEEP_ENABLED": "false",
    "DELTAPLANE_LOG": "warn,deltaplane=info",
}
GPS = pa.struct([("lat", pa.float64()), ("tags", pa.list_(pa.string()))])
SCHEMA = pa.schema([
    ("id", pa.int64()), ("ts", pa.timestamp("us", "UTC")), ("v", pa.float64()), ("noise", pa.binary()), ("name", pa.string()), ("opt", pa.float64()),
    ("gps", GPS), ("labels", pa.map_(pa.string(), pa.float64()))])
COLUMNS = ("id BIGINT NOT NULL, ts TIMESTAMP NOT NULL, v DOUBLE, noise BINARY, name STRING, opt DOUBLE, gps STRUCT<lat: DOUBLE, tags: ARRAY<STRING>>, "
           "labels MAP<STRING, DOUBLE>")
TABLES = ("t", "u", "dead")
EPOCH = 1_700_000_000_000_000
# Each of them reads other statistics; what they find is in some files and not in others.
FILTERS = ("v > 750", "v BETWEEN 100 AND 101", "ts >= TIMESTAMP '2023-11-14T22:13:30Z'", "ts < TIMESTAMP '2023-11-14T22:13:23Z'", "name = 'name 11000'",
           "name > 'name 70'", "opt IS NULL", "opt > 5400", "opt IS NOT NULL AND id < 2000", "id = 5010", "gps IS NULL", "gps.lat > 45")
QUERIES = [f"SELECT count(*), sum(id), sum(v), count(DISTINCT ts), count(DISTINCT noise), count(opt), sum(opt), min(name), max(name) FROM d.{t}" for t in TABLES]
QUERIES += [f"SELECT count(*), count(gps), sum(gps.lat), sum(cardinality(gps.tags)), count(labels), sum(labels['a']), min(gps.tags[1]) FROM d.{t}" for t in TABLES]
FILTERED = {t: [f"SELECT count(*), sum(id), min(v), max(v) FROM d.{t} WHERE {condition}" for condition in FILTERS] for t in TABLES}
QUERIES += [f"SELECT count(*) FROM d.{t}_quarantine" for t in TABLES]
QUERIES += [f"SELECT count(*) FROM d.{t}_quarantine WHERE _seq > 2" for t in TABLES]
QUERIES += ["SELECT count(*), sum(n) FROM d.w", "SELECT count(*), sum(n) FROM d.w WHERE window_start >= TIMESTAMP '2023-11-14T22:13:25Z'"]
# A view whose query is stored, columns under other names than in the files, and partitions.
QUERIES += ["SELECT count(*), sum(id) FROM d.warm", "SELECT count(*), sum(id) FROM d.warm WHERE v > 890"]
QUERIES += [f"SELECT count(*), sum(id), sum(later) FROM d.r WHERE {condition}" for condition in ("true", "later > 2.5", "later IS NULL", "place = 'b'")]
# Of a replay that was cut: the statement was not answered, and it has happened or it has not.
SIDES = "SELECT (SELECT count(*) FROM d.q) AS rows, (SELECT sum(id) FROM d.q) AS ids, (SELECT count(*) FROM d.q_quarantine) AS rejected"
QUERIES += [SIDES]


def batch(first, count=100, noise=930):
    ids = list(range(first, first + count))
    values = [2000.0 if i % 50 == 0 else float(i % 900) for i in ids]
    return pa.record_batch({
        "id": ids, "ts": pa.array([EPOCH + i * 1000 for i in ids], pa.timestamp("us", "UTC")), "v": values,
        "noise": [random.Random(i).randbytes(noise) for i in ids], "name": [f"name {i // 10 * 10}" for i in ids],
        "opt": [None if i // 10 % 3 == 0 else i / 2 for i in ids],
        "gps": pa.array([None if i % 4 == 0 else {"lat": float(i % 50), "tags": [f"tag {i % 5}"] * (i % 3)} for i in ids], GPS),
        "labels": pa.array([[("a", float(i % 7))] if i % 2 else [] for i in ids], pa.map_(pa.string(), pa.float64())),
    }, schema=SCHEMA)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


def suspect(directory):
    """The files `suspects` and `running`, as a server would have left them that was killed at work of others."""
    body = b'{"look d.other":"suspended","refresh 999":"suspected"}'
    (directory / "suspects").write_bytes(b"DPI1" + crc32c(body) + body)
    name = b"look d.another"
    slot = (b"T" + bytes([len(name)]) + name).ljust(316, b"\0")
    (directory / "running").write_bytes(slot + crc32c(slot))


def renamed(server):
    """A table whose files know its columns under other names, partitioned, some of it committed and some in the log."""
    server.sql("CREATE TABLE d.r (id BIGINT, first DOUBLE, gone DOUBLE, place STRING) PARTITIONED BY (place)")
    values = ", ".join(f"({i}, {'NULL' if i % 3 == 0 else i / 2}, {i * 10}, '{'ab'[i % 2]}')" for i in range(20))
    server.sql(f"INSERT INTO d.r VALUES {values}")
    server.sql("ALTER TABLE d.r RENAME COLUMN first TO later")
    server.sql("ALTER TABLE d.r DROP COLUMN gone")
    server.sql("INSERT INTO d.r VALUES (100, 50.5, 'b'), (101, NULL, 'a')")
    server.sql("UPDATE d.r SET later = 0.5 WHERE id = 4")


def cut_replay(server):
    """Rows that are on their way from the quarantine to the table: committed there, and not taken out of the quarantine."""
    server.sql(f"CREATE TABLE d.q ({COLUMNS}, CONSTRAINT v_range CHECK (v BETWEEN 0 AND 1000))")
    push(server, "q", "first", range(1, 3), ack="committed")
    server.sql("ALTER TABLE d.q DROP CONSTRAINT range_v")
    log = server.directory / "tables/d/q_quarantine/_delta_log"
    # The next version has no room: what is in its place is no file.
    in_the_way = log / f"{int(max(log.glob('*.json')).stem) + 1:020}.json"
    in_the_way.mkdir()

    def replay():
        try:
            server.sql("REPLAY QUARANTINE d.q")
        except Exception:
            pass

    threading.Thread(target=replay, daemon=True).start()
    note, main = log.parent / "_deltaplane/replay.json", server.directory / "tables/d/q/_delta_log"
    wait_until(lambda: note.exists() and any('"deltaplane/replay"' in entry.read_text() for entry in main.glob("*.json")))
    return in_the_way


def push(server, table, producer, numbers, ack="durable", **how):
    """A batch of rows for each number, which their ids begin with."""
    stream = Stream(server, producer, ack=ack, table=("d", table), schema=SCHEMA)
    for seq, number in enumerate(numbers, 1):
        stream.send(seq, batch(number * 1000, **how))
        stream.ack(seq)
    stream.close()


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """The same data directory at two times, each as kill -9 left it."""
    root = tmp_path_factory.mktemp("damage")
    server = Server(root / "data", **SETTINGS).start()
    try:
        for table in TABLES:
            server.sql(f"CREATE TABLE d.{table} ({COLUMNS}, "
                       "CONSTRAINT v_range CHECK (v BETWEEN 0 AND 1000)) TBLPROPERTIES ('deltaplane.eventTime'='ts')")
            push(server, table, "first", range(1, 8), ack="committed", noise=100)
        server.sql("CREATE MATERIALIZED VIEW d.w AS SELECT count(*) AS n FROM d.t GROUP BY tumble(ts, '1s')")
        server.sql("CREATE ALERT d.high EVERY '1s' BY (id) AS SELECT id, v FROM d.t WHERE v = 899")
        server.sql("CREATE ALERT d.low EVERY '1h' BY (id) AS SELECT id, v FROM d.t WHERE v < 0")
        server.sql("REFRESH MATERIALIZED VIEW d.w")
        server.sql("CREATE VIEW d.warm AS SELECT id, v FROM d.t WHERE v > 450")
        server.sql("CREATE SCHEMA lab")
        renamed(server)
        in_the_way = cut_replay(server).relative_to(server.directory)
        push(server, "t", "second", range(11, 16))
        folder, away = server.directory / "tables/d/dead", root / "away"
        folder.rename(away)
        folder.write_text("in the way")
        push(server, "dead", "second", range(11, 13))
        # Its commits fail from here on. A stream that is let go of while it waits would be waited for.
        waiters = [Stream(server, "third", ack="committed", table=("d", "dead"), schema=SCHEMA)]
        waiters[0].send(1, batch(90_000))
        push(server, "u", "second", range(11, 101))
        wait_until(lambda: list((server.directory / "wal/parked").glob("*.rows")))
        # As kill -9 would leave it now.
        older = root / "older"
        server.process.send_signal(signal.SIGSTOP)
        shutil.copytree(server.directory, older)
        server.process.send_signal(signal.SIGCONT)
        waiters.append(Stream(server, "fourth", ack="committed", table=("d", "dead"), schema=SCHEMA))
        waiters[1].send(1, batch(95_000))
        push(server, "u", "third", range(111, 121))
        push(server, "t", "third", range(101, 111))
        push(server, "t", "fourth", range(201, 203), ack="committed")
        server.sql("INSERT INTO d.r VALUES (102, 51.5, 'b')")
        push(server, "t", "fifth", range(301, 306))
        server.kill()
        for tree in (server.directory, older):
            (tree / "tables/d/dead").unlink()
            shutil.copytree(away, tree / "tables/d/dead")
            (tree / in_the_way).rmdir()
            suspect(tree)
    finally:
        server.stop()
    return server.directory, older


def kind(path):
    """What a file is, by its place."""
    parts, name = path.parts, path.name
    if parts[0] == "wal":
        if parts[1] == "parked":
            return "parked rows"
        return {"manifest": "manifest", "parked.index": "parked index", "spare.recycled": "spare segment"}.get(name, "segment")
    own = {"definitions": "definitions", "definitions.index": "definitions index", "log.identity": "identity", "running": "running", "suspects": "suspects",
           "replay.json": "note of a replay"}
    if name in own:
        return own[name]
    if parts[0] == "alerts" or name == "alerts.index":
        return "alert" if name.endswith(".alert") else "alert index"
    if "_delta_log" in parts:
        if name == "_last_checkpoint":
            return "checkpoint pointer"
        return "checkpoint" if name.endswith(".parquet") else "Delta entry"
    return {"parquet": "data file"}.get(name.rpartition(".")[2], "other")


def damage(rng, directory, older, path, how):
    """Does it, and gives back the position."""
    file = directory / path
    if how == "remove":
        file.unlink()
        return 0
    if how == "shorten":
        # The whole log from this version on, as a restored older copy would be.
        for entry in file.parent.iterdir():
            if entry.name[:20] >= file.name[:20] and entry.name[:1].isdigit():
                entry.unlink()
        return 0
    if how == "older":
        shutil.copy2(older / path, file)
        return 0
    data = bytearray(file.read_bytes())
    # Preallocated room is not content.
    used = max(len(data.rstrip(b"\0")), 1)
    at = rng.randrange(used) if rng.random() < 0.7 else rng.randrange(min(used, 64))
    if how == "empty":
        data = bytearray()
    elif how == "cut":
        del data[at:]
    else:
        data[at] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return at


def answers(server, filtered=TABLES):
    """Of each query its row, or the error. `filtered`: tables that are asked with filters as well."""
    out = {}
    for query in QUERIES + [query for table in filtered for query in FILTERED[table]]:
        try:
            out[query] = server.one(query)
        except Exception as error:
            out[query] = error
    for row in server.sql("SELECT alert, state, last_error, definition FROM system.alerts"):
        out[f"alert {row['alert']}"] = RuntimeError(row["last_error"]) if row["state"] == "damaged" else row["definition"]
    return out


def before_replay(sides):
    """What [`SIDES`] answers if the replay has not happened: every 50th of 200 rows is in the quarantine."""
    moved = [i for first in (1000, 2000) for i in range(first, first + 100) if i % 50 == 0]
    return sides[0] - len(moved), sides[1] - sum(moved), sides[2] + len(moved)


def started(directory):
    """None, or the reason why not."""
    server = Server(directory, **SETTINGS)
    try:
        server.start()
    except RuntimeError as error:
        server.stop()
        return None, str(error)
    return server, None


def plan(directory, older):
    rng = random.Random(SEED)
    files = [p.relative_to(directory) for p in sorted(directory.rglob("*")) if p.is_file() and p.name != "lock"]
    kinds = collections.defaultdict(list)
    for file in files:
        kinds[kind(file)].append(file)
    names = sorted(kinds)
    for number in range(PLACES):
        # Each kind of file as often as the others, however many of it there are.
        path = rng.choice(kinds[names[number % len(names)]])
        ways = ["flip", "flip", "cut", "empty", "remove"]
        if (older / path).is_file() and (older / path).read_bytes() != (directory / path).read_bytes():
            ways += ["older", "older"]
        if kind(path) == "Delta entry":
            ways += ["shorten", "shorten"]
        yield number, path, rng.choice(ways), rng.randrange(1 << 30)


def one(directory, older, expected, number, path, how, seed):
    """What came of it, and whether that is allowed."""
    copy = directory.parent / f"case-{number}"
    shutil.copytree(directory, copy)
    try:
        at = damage(random.Random(seed), copy, older, path, how)
        server, refusal = started(copy)
        label = f"{number}: {kind(path)} {path} {how} at {at}"
        if refusal is not None:
            last = refusal.strip().splitlines()[-1]
            table = path.parts[2].removesuffix("_quarantine") if path.parts[0] == "tables" else path.name
            return label, "refused", path.name in last or table in last, last
        try:
            # Filters meet the statistics of a table's own files.
            table = path.parts[2].removesuffix("_quarantine") if path.parts[0] == "tables" else None
            got = answers(server, [table] if table in TABLES else [])
        finally:
            server.stop()
        # The replay was cut before it was answered: without its note, or its commit, it has not begun, and its rows are in the quarantine.
        of_replay = kind(path) == "note of a replay" or (kind(path) == "Delta entry" and path.parts[1:3] == ("d", "q"))
        if of_replay and got[SIDES] == before_replay(expected[SIDES]):
            got[SIDES] = expected[SIDES]
        # An alert that is not there any more is wrong; a query that was not asked is not.
        keys = [key for key in expected if key in got or key.startswith("alert ")]
        wrong = {key: got.get(key) for key in keys if not isinstance(got.get(key), Exception) and got.get(key) != expected[key]}
        if wrong:
            return label, "silently other", False, f"{wrong} instead of {({key: expected[key] for key in wrong})}"
        errors = {key: error for key, error in got.items() if isinstance(error, Exception)}
        if errors:
            return label, "parked", True, str(next(iter(errors.values())))[:200]
        return label, "right", True, ""
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        pathlib.Path(f"{copy}.log").unlink(missing_ok=True)


def test_damage_is_refused_parked_or_without_effect(directories):
    directory, older = directories
    whole = directory.parent / "whole"
    shutil.copytree(directory, whole)
    server, refusal = started(whole)
    assert refusal is None, refusal
    expected = answers(server)
    server.stop()
    assert not [e for e in expected.values() if isinstance(e, Exception)], expected
    assert {"alert high", "alert low"} <= set(expected)
    assert expected[SIDES][0] == 200 and expected[SIDES][2] == 0, expected[SIDES]
    empty = [query for query, row in expected.items() if isinstance(row, tuple) and not row[0]]
    assert not empty, empty
    kinds = {kind(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file() and p.name != "lock"}
    assert {"note of a replay", "running", "suspects", "definitions", "checkpoint", "parked rows"} <= kinds and "other" not in kinds, kinds
    cases = list(plan(directory, older))
    counts = collections.Counter()
    failures = []
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        outcomes = pool.map(lambda case: one(directory, older, expected, *case), cases)
        for (_, path, *_), (label, outcome, allowed, text) in zip(cases, outcomes):
            counts[kind(path), outcome] += 1
            if os.environ.get("DELTAPLANE_TEST_DAMAGE_SHOW"):
                print(label, outcome, allowed, text, flush=True)
            if not allowed:
                failures.append(f"{label}: {outcome}: {text}")
    for (what, outcome), count in sorted(counts.items()):
        print(f"{what:20} {outcome:16} {count}")
    assert not failures, "\n".join(failures)


def test_check_finds_every_kind_of_damage_and_a_whole_directory_is_whole(directories, tmp_path):
    directory, older = directories

    def check(copy, *arguments):
        done = subprocess.run([BIN / "deltaplane", "check", "--data-dir", copy, *arguments], env=os.environ | SETTINGS, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    assert check(copy, "--deep")[0] == 0, check(copy, "--deep")[1]
    # A replay that was cut is no damage.
    victims = {}
    for path in sorted(p.relative_to(directory) for p in directory.rglob("*") if p.is_file()):
        victims.setdefault(kind(path), path)
    assert {"segment", "manifest", "parked rows", "alert", "Delta entry", "data file"} <= set(victims)
    for what in ("segment", "manifest", "parked rows", "alert", "Delta entry", "definitions", "running", "suspects", "note of a replay"):
        path = victims[what]
        # `running` is empty while nothing runs.
        (copy / path).write_bytes(b"x" if what == "running" else b"")
        code, text = check(copy)
        assert code == 1 and path.name in text, (what, text)
        shutil.copy2(directory / path, copy / path)
    assert check(copy)[0] == 0
    # The note of a replay whose rows are on both sides.
    (copy / victims["note of a replay"]).unlink()
    code, text = check(copy)
    assert code == 1 and "the note of a replay is lost" in text, text
    shutil.copy2(directory / victims["note of a replay"], copy / victims["note of a replay"])
    # The newest entry of a table: the rows of its commit are not in the log any more.
    newest = max(directory.glob("tables/d/dead/_delta_log/*.json")).relative_to(directory)
    (copy / newest).unlink()
    code, text = check(copy)
    assert code == 1 and newest.name in text, text
    shutil.copy2(directory / newest, copy / newest)
    assert check(copy)[0] == 0
    # The newest file of the table, in the middle of its pages.
    path = max(p for p in directory.glob("tables/d/t/**/*.parquet") if "_delta_log" not in p.parts).relative_to(directory)
    data = bytearray((copy / path).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / path).write_bytes(data)
    code, text = check(copy, "--deep")
    assert code == 1 and path.name in text, text


def test_log_check_names_the_damage_and_salvage_takes_every_other_frame(directories, tmp_path):
    directory, _ = directories
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)

    def log(*arguments):
        done = subprocess.run([BIN / "deltaplane", "log", *arguments], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    code, text = log("check", copy)
    assert code == 0 and text.strip().endswith("whole"), text
    # The last but one batch, which no commit holds: each has 100 rows of 930 random bytes.
    # What is behind the used bytes of a segment is left from its last use.
    used = re.findall(r"used=(\d+) of .*file=(.*)", text)
    used, segment = [(int(used), pathlib.Path(path)) for used, path in used if int(used) > 300_000][-1]
    data = bytearray(segment.read_bytes())
    data[used - 150_000] ^= 1
    segment.write_bytes(data)
    code, text = log("check", copy)
    assert code == 1 and segment.name in text and "byte=" in text and "log salvage" in text, text
    before = {path: path.read_bytes() for path in (copy / "wal").rglob("*") if path.is_file()}
    code, text = log("salvage", copy, "--to", tmp_path / "new")
    assert code == 0, text
    lost = [line for line in text.splitlines() if line.startswith("lost:")]
    assert len(lost) == 1 and "byte" in lost[0], text
    assert before == {path: path.read_bytes() for path in (copy / "wal").rglob("*") if path.is_file()}
    assert log("salvage", copy, "--to", tmp_path / "new")[0] == 1, "what is there is not written over"
    (copy / "wal").rename(tmp_path / "damaged")
    (tmp_path / "new").rename(copy / "wal")
    assert log("check", copy)[0] == 0
    server, refusal = started(copy)
    assert refusal is None, refusal
    try:
        got = answers(server)
        shutil.copytree(directory, tmp_path / "whole")
        whole, _ = started(tmp_path / "whole")
        try:
            expected = answers(whole)
        finally:
            whole.stop()
        missing = {key: (got[key], expected[key]) for key in expected if got[key] != expected[key]}
        # One frame of one table: 98 rows, and what the view counts of them.
        rows = [(new, old) for key, (new, old) in missing.items() if "count(DISTINCT noise)" in key]
        assert len(rows) == 1 and rows[0][1][0] - rows[0][0][0] == 98, missing
    finally:
        server.stop()
