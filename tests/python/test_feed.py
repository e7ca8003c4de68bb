"""`SUBSCRIBE`, `table_changes`, `deltaplane tail` and the Python subscription: each row once and in order, whatever is cut."""

import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from conftest import BIN, SCHEMA, Server, free_port, rows

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "clients/python"))

from deltaplane import GaveUp, Producer, Refused, Subscription  # noqa: E402

CUTS = int(os.environ.get("DELTAPLANE_TEST_FEED_CUTS", 6))
BASE = 1_785_744_000_000_000


def batch(name, n, first):
    """Rows whose time is their number, and whose reactor is their producer."""
    return rows(n, reactor_id=[name] * n, ts=pa.array([BASE + first + i for i in range(n)], pa.timestamp("us", "UTC")))


def number(ts):
    return round((ts.timestamp()) * 1_000_000) - BASE


class Proxy:
    """A way to the server that can be cut at any byte."""

    def __init__(self, server):
        self.server, self.port, self.cuts = server, free_port(), 0
        self.pairs, self.lock = [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def uri(self):
        return f"grpc://127.0.0.1:{self.port}"

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.server.port))
            except OSError:
                near.close()
                continue
            with self.lock:
                self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        try:
            while data := a.recv(random.choice((256, 4096, 65536))):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        self.cuts += bool(pairs)
        for pair in pairs:
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.cut()


class Load:
    """Producers that write numbered rows until they are told to end."""

    def __init__(self, server, names, n=20, pause=0.005):
        self.sent = dict.fromkeys(names, 0)
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(server, name, n, pause)) for name in names]
        for thread in self.threads:
            thread.start()

    def run(self, server, name, n, pause):
        with Producer(server.uri, "reactor.raw", name=name, schema=SCHEMA) as producer:
            while not self.stop.is_set():
                producer.send(batch(name, n, self.sent[name]))
                self.sent[name] += n
                time.sleep(pause)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        return self.sent


def collect(feed, seen, expected=None, cut=lambda: None):
    """Takes batches until `expected` (a function) says how many rows there are to be, and they are there."""
    for got in feed:
        for row in got.select(["_source", "ts", "_change_type", "_commit_version", "_commit_row"]).to_pylist():
            seen.append(row)
        cut()
        if expected is not None and (total := expected()) is not None and len(seen) >= total:
            return


def check(seen, sent):
    """Every row once, and each producer's in its order."""
    for name, n in sent.items():
        numbers = [number(r["ts"]) for r in seen if r["_source"] == name]
        assert numbers == list(range(n)), f"{name}: {len(numbers)} rows of {n}, {len(set(numbers))} different"
    assert len(seen) == sum(sent.values())
    assert {r["_change_type"] for r in seen} == {"insert"}
    places = [(r["_commit_version"], r["_commit_row"]) for r in seen]
    assert places == sorted(set(places))


def commit_now(server):
    server.wait_committed("raw")


def test_cut_again_and_again_under_load_every_row_comes_once_and_in_order(server):
    proxy = Proxy(server)
    seen, total = [], []
    feed = Subscription(proxy.uri, "reactor.raw", start="start", give_up_after=60)

    def cut_sometimes():
        # In the middle of a version, which has several batches; what gRPC has received and not handed over yet is lost with it.
        if random.random() < 0.3 and proxy.cuts < 2 * CUTS:
            proxy.cut()
            feed._disconnect()

    reader = threading.Thread(target=collect, args=(feed, seen, lambda: total[0] if total else None, cut_sometimes))
    reader.start()
    load = Load(server, ["one", "two", "three"], n=60)
    for _ in range(CUTS):
        time.sleep(random.uniform(0.05, 0.6))
        proxy.cut()
    sent = load.end()
    total.append(sum(sent.values()))
    reader.join(timeout=60)
    proxy.close()
    assert not reader.is_alive(), f"{len(seen)} of {total}"
    feed.close()
    check(seen, sent)
    assert feed.reconnects >= CUTS // 2
    # Where it stands is where another one goes on: nothing is left but what comes later.
    producer = Producer(server.uri, "reactor.raw", name="later", schema=SCHEMA)
    producer.send(batch("later", 5, 0))
    producer.close()
    more = []
    with Subscription(server.uri, "reactor.raw", start=feed.position) as rest:
        collect(rest, more, lambda: 5)
    assert [r["_source"] for r in more] == ["later"] * 5


def test_a_server_killed_under_a_subscription_loses_and_doubles_nothing(server):
    seen, total = [], []
    feed = Subscription(server.uri, "reactor.raw", start="now", give_up_after=60)
    reader = threading.Thread(target=collect, args=(feed, seen, lambda: total[0] if total else None))
    reader.start()
    deadline = time.monotonic() + 10
    while feed.position is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert feed.position is not None
    load = Load(server, ["one", "two"])
    for _ in range(3):
        time.sleep(random.uniform(0.8, 1.6))
        server.kill()
        server.start()
    sent = load.end()
    total.append(sum(sent.values()))
    reader.join(timeout=60)
    assert not reader.is_alive(), f"{len(seen)} of {total}"
    feed.close()
    check(seen, sent)


def changes(server, first, last=None, columns="*", table="reactor.raw"):
    last = "" if last is None else f", {last}"
    return server.sql(f"SELECT {columns} FROM table_changes('{table}', {first}{last}) ORDER BY _commit_version, _commit_row")


def version(server):
    return server.one("SELECT version FROM system.tables WHERE table_name = 'raw'")


def test_changes_are_as_defined_and_compaction_says_nothing(server):
    for n in range(4):
        server.put("reactor.raw", batch(f"r{n}", 3, 3 * n))
        commit_now(server)
    first = version(server)
    run = lambda sql: server.sql(sql)  # noqa: E731
    run("OPTIMIZE reactor.raw")
    compacted = version(server)
    assert compacted > first, "there was something to compact"
    assert changes(server, first + 1, compacted) == []
    run("UPDATE reactor.raw SET AT = 21 WHERE reactor_id = 'r1' AND ts = (SELECT min(ts) FROM reactor.raw WHERE reactor_id = 'r1')")
    updated = version(server)
    got = changes(server, compacted + 1, updated, "_change_type, reactor_id, at, _COMMIT_VERSION, _commit_row")
    assert [tuple(r.values()) for r in got] == [("delete", "r1", 20.0, updated, 0), ("insert", "r1", 21.0, updated, 1)]
    run("DELETE FROM reactor.raw WHERE reactor_id = 'r2'")
    deleted = version(server)
    assert [(r["_change_type"], r["reactor_id"]) for r in changes(server, deleted)] == [("delete", "r2")] * 3
    run(f"RESTORE TABLE reactor.raw TO VERSION AS OF {updated}")
    restored = version(server)
    assert [(r["_change_type"], r["reactor_id"]) for r in changes(server, restored)] == [("insert", "r2")] * 3
    # The feed tells the same, and the whole of it makes the table.
    told = []
    with Subscription(server.uri, "reactor.raw", start="start") as feed:
        for got in feed:
            told += got.to_pylist()
            if got.column("_commit_version")[-1].as_py() == restored:
                break
    assert told == changes(server, 0)
    held = []
    for row in told:
        kind = row.pop("_change_type")
        [row.pop(c) for c in ("_commit_version", "_commit_timestamp", "_commit_row")]
        held.append(row) if kind == "insert" else held.remove(row)
    order = lambda r: r["ts"]  # noqa: E731
    assert sorted(held, key=order) == sorted(run("SELECT * FROM reactor.raw"), key=order)


def test_a_replaced_partition_tells_the_difference_as_often_as_rows_are_there(server):
    run = server.sql
    run("CREATE TABLE d (day VARCHAR, n BIGINT) PARTITIONED BY (day)")
    run("INSERT INTO d VALUES ('a', 1), ('a', 1), ('a', 2), ('b', 9)")
    run("INSERT INTO d (day, n) REPLACE WHERE day = 'a' SELECT day, n FROM (VALUES ('a', 1), ('a', 2), ('a', 2), ('a', 3)) AS v(day, n)")
    last = server.one("SELECT version FROM system.tables WHERE table_name = 'd'")
    got = changes(server, last, table="public.d")
    plain = [(r["_change_type"], r["n"]) for r in got]
    assert plain[0] == ("delete", 1) and sorted(plain[1:]) == [("insert", 2), ("insert", 3)]


def test_a_view_is_followed_like_a_table(server):
    minute = 60_000_000
    server.sql("CREATE MATERIALIZED VIEW reactor.followed WITH (delay = '1s', idle = '500ms') AS SELECT time_bucket('1 minute', ts) AS window_start, reactor_id, count(*) AS n FROM reactor.raw GROUP BY 1, 2")
    copy = {}
    with Subscription(server.uri, "reactor.followed", start="start") as feed:
        server.put("reactor.raw", batch("a", 5, 0))
        server.put("reactor.raw", batch("a", 2, 10 * minute))  # closes the first window
        late = False
        for got in feed:
            for row in got.to_pylist():
                key = (row["window_start"], row["reactor_id"])
                if row["_change_type"] == "delete":
                    assert copy.pop(key) == row["n"]
                else:
                    assert key not in copy, "what was there is taken out first"
                    copy[key] = row["n"]
            if list(copy.values())[:1] == [5] and not late:
                late = True
                server.put("reactor.raw", batch("a", 1, 30))  # a late row corrects it
            if 6 in copy.values():
                break
    stored = {(r["window_start"], r["reactor_id"]): r["n"] for r in server.sql("SELECT * FROM reactor.followed")}
    assert copy.items() <= stored.items()


def test_rows_are_filtered_and_their_places_are_not(server):
    server.put("reactor.raw", pa.RecordBatch.from_pylist(batch("a", 3, 0).to_pylist() + batch("b", 2, 10).to_pylist(), schema=SCHEMA))
    commit_now(server)
    last = version(server)
    with Subscription(server.uri, "reactor.raw", start=last, where="Reactor_ID = 'b'") as feed:
        got = next(feed)
        assert got.column("reactor_id").to_pylist() == ["b", "b"] and got.column("_commit_row").to_pylist() == [3, 4]
        assert feed.position == (last, 5)
    # A filter that nothing passes is still told how far it is.
    with Subscription(server.uri, "reactor.raw", start="start", where="AT > 1000") as feed:
        done = threading.Thread(target=lambda: list(feed))
        done.start()
        deadline = time.monotonic() + 10
        while feed.position != (last + 1, 0) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert feed.position == (last + 1, 0) and feed.reconnects == 0
        feed.close()
        done.join(timeout=10)


def test_columns_that_change_under_a_subscription_come_with_the_next_rows(server):
    run = server.sql
    run("CREATE TABLE c (n BIGINT)")
    run("INSERT INTO c VALUES (1)")
    with Subscription(server.uri, "public.c", start="start", give_up_after=20) as feed:
        assert next(feed).column("n").to_pylist() == [1]
        run("ALTER TABLE c ADD COLUMN m BIGINT")
        run("INSERT INTO c VALUES (2, 3)")
        got = next(feed)
        assert (got.column("n").to_pylist(), got.column("m").to_pylist()) == ([2], [3])
        run("DROP TABLE c")
        with pytest.raises(Refused, match="table_dropped|table_not_found"):
            next(feed)


def test_a_column_that_is_dropped_and_added_again_is_another_one_to_a_subscription(server):
    run = server.sql
    run("CREATE TABLE again (n BIGINT, m BIGINT)")
    run("INSERT INTO again VALUES (1, 1)")
    with Subscription(server.uri, "public.again", start="start", give_up_after=20) as feed:
        assert next(feed).column("m").to_pylist() == [1]
        run("ALTER TABLE again DROP COLUMN m")
        run("ALTER TABLE again ADD COLUMN m BIGINT")
        run("INSERT INTO again VALUES (2, 3)")
        got = next(feed)
        assert (got.column("n").to_pylist(), got.column("m").to_pylist()) == ([2], [3])


def test_a_subscriber_that_does_not_read_holds_nothing_up_and_misses_nothing(server):
    info = server.flight().get_flight_info(fl.FlightDescriptor.for_command(b"SUBSCRIBE reactor.raw FROM START"))
    client = server.flight()
    reader = client.do_get(info.endpoints[0].ticket)
    # The stream holds a few megabytes on its way; the rest stays in the table.
    for n in range(6):
        server.put("reactor.raw", batch("big", 60_000, 60_000 * n))
        commit_now(server)
    time.sleep(6)
    resident = lambda: int(pathlib.Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])  # noqa: E731
    assert resident() * 4096 < 1 << 30
    numbers = []
    while len(numbers) < 360_000:
        got = reader.read_chunk().data
        numbers += got.column("ts").cast(pa.int64()).to_pylist()
    assert numbers == [BASE + i for i in range(360_000)]
    reader.cancel()
    deadline = time.monotonic() + 10
    while server.one("SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE 'SUBSCRIBE%'") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.one("SELECT count(*) FROM system.queries WHERE state = 'running' AND sql LIKE 'SUBSCRIBE%'") == 0


def refusal(server, statement):
    with pytest.raises((pa.ArrowException, KeyError)) as caught:
        server.sql(statement)
    return str(caught.value)


def test_errors_say_what_is_wrong_and_the_way_out(server):
    assert "table_not_found" in (why := refusal(server, "SUBSCRIBE reactor.rau")) and "nearest table: reactor.raw" in why
    assert "version_not_found" in (why := refusal(server, "SUBSCRIBE reactor.raw FROM VERSION 999")) and "the newest is" in why
    assert "column_not_found" in refusal(server, "SUBSCRIBE reactor.raw WHERE nope > 1") or "nope" in refusal(server, "SUBSCRIBE reactor.raw WHERE nope > 1")
    assert "SUBSCRIBE [TO]" in refusal(server, "SUBSCRIBE reactor.raw FROM 7")
    assert "version_not_found" in refusal(server, "SELECT * FROM table_changes('reactor.raw', 0, 999)")
    assert "table_changes('schema.table'" in refusal(server, "SELECT * FROM table_changes('reactor.raw')")
    assert "table_not_found" in refusal(server, "SELECT * FROM table_changes('reactor.nope', 0)")
    with pytest.raises(Refused) as caught:
        next(Subscription(server.uri, "reactor.nope"))
    assert caught.value.reason == "table_not_found"
    with pytest.raises(GaveUp):
        next(Subscription(f"grpc://127.0.0.1:{free_port()}", "reactor.raw", give_up_after=0.3))


def test_what_was_cleaned_away_is_told_with_its_version(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_UPKEEP_RETAIN_MIN="0s").start()
    try:
        server.run("apply", "reactor", "--yes")
        cleaned_away(server)
    finally:
        server.stop()


def cleaned_away(server):
    for n in range(3):
        server.put("reactor.raw", batch(f"r{n}", 3, 3 * n))
        commit_now(server)
    first = next(r["_commit_version"] for r in changes(server, 0))
    server.sql("OPTIMIZE reactor.raw")
    server.sql("VACUUM reactor.raw RETAIN 0 HOURS")
    newest = version(server)
    with pytest.raises(Refused) as caught:
        for _ in Subscription(server.uri, "reactor.raw", start="start"):
            pass
    why = str(caught.value)
    assert caught.value.reason == "version_vacuumed" and f"version {first} " in why, why
    assert f"VERSION AS OF {newest}" in why and f"from version {newest + 1} on" in why and "reactor.raw" in why, why
    # A log entry that is gone.
    log = server.directory / "tables/reactor/raw/_delta_log"
    (log / f"{first:020}.json").unlink()
    (log / f"{0:020}.json").unlink()
    why = refusal(server, f"SELECT count(*) FROM table_changes('reactor.raw', {first})")
    assert "version_expired" in why or "version_not_found" in why, why


def test_tail_goes_on_behind_a_restart_and_prints_each_row_once(server):
    process = subprocess.Popen([BIN / "deltaplane", "tail", "reactor.raw", "--from-version", "0", "--where", "AT < 100", "--limit", "40"],
                               env=os.environ | {"DELTAPLANE_URI": f"http://127.0.0.1:{server.port}"}, stdout=subprocess.PIPE, text=True)
    server.put("reactor.raw", batch("a", 20, 0))
    commit_now(server)
    lines = [process.stdout.readline() for _ in range(20)]
    server.terminate()
    server.start()
    server.put("reactor.raw", batch("a", 20, 20))
    out, _ = process.communicate(timeout=30)
    got = [json.loads(line) for line in lines + out.splitlines()]
    assert len(got) == 40 and len({r["ts"] for r in got}) == 40 and {r["_change_type"] for r in got} == {"insert"}
    csv = server.run("tail", "reactor.raw", "--from-version", "0", "--limit", "2", "--format", "csv").stdout.splitlines()
    assert len(csv) == 3 and csv[0].endswith("_change_type,_commit_version,_commit_timestamp,_commit_row")
    failed = server.run("tail", "reactor.nope", check=False)
    assert failed.returncode == 1 and "table_not_found" in failed.stderr


def test_who_follows_a_view_is_told_that_it_was_given_another_query(server):
    query = "SELECT reactor_id, count(*) AS n FROM raw GROUP BY tumble(ts, '1 minute'), reactor_id"
    server.sql(f"CREATE MATERIALIZED VIEW reactor.followed WITH (idle = '300ms') AS {query}")
    server.put("reactor.raw", batch("a", 5, 0))
    with Subscription(server.uri, "reactor.followed", start="start", give_up_after=20) as feed:
        assert next(feed).column("n").to_pylist() == [5]
        server.sql(f"ALTER MATERIALIZED VIEW reactor.followed AS {query.replace('count(*)', 'count(AT)')}")
        with pytest.raises(Refused, match="table_dropped"):
            next(feed)
