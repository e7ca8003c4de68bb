"""A data directory in which every feature that leaves bytes on disk was used, and what is in it: for damage, and for what later servers read."""

import pathlib
import random
import shutil
import signal
import threading
import time

import pyarrow as pa
from conftest import Server, Stream

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


def cut_replay(server, noise):
    """Rows that are on their way from the quarantine to the table: committed there, and not taken out of the quarantine."""
    server.sql(f"CREATE TABLE d.q ({COLUMNS}, CONSTRAINT v_range CHECK (v BETWEEN 0 AND 1000))")
    push(server, "q", "first", range(1, 3), ack="committed", noise=noise)
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


def directories(root, noise=930, **settings):
    """The same data directory at two times, each as kill -9 left it. `noise`: random bytes of a row."""
    server = Server(root / "data", **(SETTINGS | settings)).start()
    try:
        for table in TABLES:
            server.sql(f"CREATE TABLE d.{table} ({COLUMNS}, "
                       "CONSTRAINT v_range CHECK (v BETWEEN 0 AND 1000)) TBLPROPERTIES ('deltaplane.eventTime'='ts')")
            push(server, table, "first", range(1, 8), ack="committed", noise=min(noise, 100))
        server.sql("CREATE MATERIALIZED VIEW d.w AS SELECT count(*) AS n FROM d.t GROUP BY tumble(ts, '1s')")
        server.sql("CREATE ALERT d.high EVERY '1s' BY (id) AS SELECT id, v FROM d.t WHERE v = 899")
        server.sql("CREATE ALERT d.low EVERY '1h' BY (id) AS SELECT id, v FROM d.t WHERE v < 0")
        server.sql("REFRESH MATERIALIZED VIEW d.w")
        server.sql("CREATE VIEW d.warm AS SELECT id, v FROM d.t WHERE v > 450")
        server.sql("CREATE SCHEMA lab")
        renamed(server)
        in_the_way = cut_replay(server, noise).relative_to(server.directory)
        push(server, "t", "second", range(11, 16), noise=noise)
        folder, away = server.directory / "tables/d/dead", root / "away"
        folder.rename(away)
        folder.write_text("in the way")
        push(server, "dead", "second", range(11, 13), noise=noise)
        # Its commits fail from here on. A stream that is let go of while it waits would be waited for.
        waiters = [Stream(server, "third", ack="committed", table=("d", "dead"), schema=SCHEMA)]
        waiters[0].send(1, batch(90_000, noise=noise))
        push(server, "u", "second", range(11, 101), noise=noise)
        wait_until(lambda: list((server.directory / "wal/parked").glob("*.rows")))
        # As kill -9 would leave it now.
        older = root / "older"
        server.process.send_signal(signal.SIGSTOP)
        shutil.copytree(server.directory, older)
        server.process.send_signal(signal.SIGCONT)
        waiters.append(Stream(server, "fourth", ack="committed", table=("d", "dead"), schema=SCHEMA))
        waiters[1].send(1, batch(95_000, noise=noise))
        push(server, "u", "third", range(111, 121), noise=noise)
        push(server, "t", "third", range(101, 111), noise=noise)
        push(server, "t", "fourth", range(201, 203), ack="committed", noise=noise)
        server.sql("INSERT INTO d.r VALUES (102, 51.5, 'b')")
        push(server, "t", "fifth", range(301, 306), noise=noise)
        server.kill()
        for tree in (server.directory, older):
            (tree / "tables/d/dead").unlink()
            shutil.copytree(away, tree / "tables/d/dead")
            (tree / in_the_way).rmdir()
            suspect(tree)
    finally:
        server.stop()
    return server.directory, older


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
