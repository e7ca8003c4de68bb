"""Statements that change rows and read older versions, by real clients, while producers stream and while the server is killed."""

import os
import random
import subprocess
import threading
import time

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.flight as fl
import pytest
from clients.programs import JDBC_VERSIONS, jdbc_program
from conftest import Server, Stream, rows

KILLS = int(os.environ.get("DELTAPLANE_TEST_DML_KILLS", "3"))
SECONDS = float(os.environ.get("DELTAPLANE_TEST_DML_SECONDS", "4"))


def update(server, *statements):
    """Row counts, as a DB-API program sees them."""
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        counts = []
        for statement in statements:
            # A Flight SQL update, as JDBC's executeUpdate sends it.
            cursor.adbc_statement.set_sql_query(statement)
            counts.append(cursor.adbc_statement.execute_update())
    return counts


def delta_rows(server, table="raw", dataset="reactor"):
    return server.delta(table, dataset).to_pyarrow_table()


def test_counts_reach_clients_and_delta_readers_see_the_result(server):
    s = Stream(server, "p")
    s.send(1, rows(100, AT=[10.0 + i / 10 for i in range(100)]))
    s.ack(1)
    assert update(
        server,
        "UPDATE reactor.raw SET AT = 30, V = V + 1 WHERE at >= 15",
        "DELETE FROM reactor.raw WHERE AT < 11",
        "MERGE INTO reactor.raw t USING (SELECT 'R1' AS id, ts FROM reactor.raw WHERE at < 12) s ON t.reactor_id = s.id AND t.ts = s.ts"
        " WHEN MATCHED THEN UPDATE SET RH = 50",
        "DELETE FROM reactor.raw WHERE AT > 1000",
    ) == [50, 10, 10, 0]
    s.send(2, rows(5, first=1000))
    s.ack(2)
    server.wait_committed()
    table = delta_rows(server)
    assert table.num_rows == 95 == server.one("SELECT count(*) FROM reactor.raw")
    assert pc.sum(pc.equal(table["AT"], 30.0)).as_py() == 50
    assert pc.sum(pc.equal(table["V"], 51.0)).as_py() == 50
    assert pc.sum(pc.equal(table["RH"], 50.0)).as_py() == 10
    assert set(table["_source"].to_pylist()) == {"p"}, "where a row came from stays"
    operations = [row["operation"] for row in server.sql("DESCRIBE HISTORY reactor.raw LIMIT 4")]
    assert operations == ["WRITE", "MERGE", "DELETE", "UPDATE"]
    theirs = [h["operation"] for h in server.delta().history(4)]
    assert operations == theirs
    detail = server.sql("DESCRIBE DETAIL reactor.raw")[0]
    assert detail["format"] == "delta" and detail["partitionColumns"] == ["event_date"] and detail["numFiles"] == len(server.delta().file_uris())
    s.close()


def test_versions_are_what_delta_rs_loads(server):
    s = Stream(server, "p", ack="committed")
    for seq in range(1, 4):
        s.send(seq, rows(10, first=seq * 1000))
        s.ack(seq)
    update(server, "UPDATE reactor.raw SET AT = 33")
    s.close()
    newest = server.delta().version()
    for version in range(newest + 1):
        table = server.delta()
        table.load_as_version(version)
        theirs = table.to_pyarrow_table()
        count, hot = server.one(f"SELECT count(*), count(*) FILTER (WHERE AT = 33) FROM reactor.raw VERSION AS OF {version}")
        assert (count, hot) == (theirs.num_rows, pc.sum(pc.equal(theirs["AT"], 33.0)).as_py() or 0), version
    for row in server.sql("DESCRIBE HISTORY reactor.raw"):
        stamp = row["timestamp"].isoformat()
        then = server.one(f"SELECT count(*) FROM reactor.raw TIMESTAMP AS OF '{stamp}'")
        assert then == server.one(f"SELECT count(*) FROM reactor.raw VERSION AS OF {row['version']}"), row
    assert server.one(f"SELECT count(*) FROM reactor.raw a JOIN reactor.raw VERSION AS OF {newest - 1} b ON a.ts = b.ts WHERE a.AT <> b.AT") == 30
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM reactor.raw VERSION AS OF {newest - 1} WHERE at < ?", (25.0,))
        assert cursor.fetchall() == [(30,)]
    assert server.one("SELECT count(*) FROM reactor.raw_quarantine VERSION AS OF 0") == 0
    with pytest.raises(pa.ArrowException, match=f"version_not_found.*0 to {newest}"):
        server.sql("SELECT * FROM reactor.raw VERSION AS OF 999")
    with pytest.raises(pa.ArrowException, match="oldest is of"):
        server.sql("SELECT * FROM reactor.raw TIMESTAMP AS OF '2001-01-01'")
    # Vacuum takes what the UPDATE took out: the versions before it go, and are named.
    server.delta().vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(pa.ArrowException, match=f"version_vacuumed.*{newest} to {newest}"):
        server.sql(f"SELECT * FROM reactor.raw VERSION AS OF {newest - 1}")
    with pytest.raises(pa.ArrowException, match="version_vacuumed"):
        server.sql(f"RESTORE TABLE reactor.raw TO VERSION AS OF {newest - 1}")
    assert server.sql("DESCRIBE HISTORY reactor.raw LIMIT 1")[0]["operation"] == "VACUUM END", "and nothing since"
    assert server.one("SELECT count(*) FROM reactor.raw") == 30


def test_rows_acked_while_statements_run_are_neither_lost_nor_doubled(server):
    """Four producers stream; UPDATE, DELETE and MERGE go on meanwhile. What a statement must not touch is there once."""
    stop, errors, sent = threading.Event(), [], {}

    def stream(name, base):
        try:
            s = Stream(server, name)
            seq = 0
            while not stop.is_set():
                seq += 1
                # PE tells the producer's row apart; AT says what statements may do with it.
                batch = rows(50, first=base + seq * 1000, AT=[10.0 if i < 30 else 20.0 if i < 40 else 30.0 for i in range(50)], V=[30.0] * 50)
                s.send(seq, batch)
                s.ack(seq)
                sent[name] = seq
                time.sleep(0.002)
            s.close()
        except Exception as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    threads = [threading.Thread(target=stream, args=(f"p{n}", n * 10**9)) for n in range(4)]
    for t in threads:
        t.start()
    changed = {"update": 0, "delete": 0, "merge": 0}
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        changed["update"] += update(server, "UPDATE reactor.raw SET V = 60 WHERE AT = 20 AND V = 30")[0]
        changed["delete"] += update(server, "DELETE FROM reactor.raw WHERE AT = 30")[0]
        changed["merge"] += update(
            server,
            "MERGE INTO reactor.raw t USING (SELECT reactor_id, ts FROM reactor.raw WHERE AT = 20 AND V = 60 AND RH = 70) s"
            " ON t.reactor_id = s.reactor_id AND t.ts = s.ts AND t.AT = 20 WHEN MATCHED AND t.RH = 70 THEN UPDATE SET RH = 40")[0]
    stop.set()
    for t in threads:
        t.join()
    assert not errors, errors
    batches = sum(sent.values())
    assert batches > 20 and all(changed.values()), (batches, changed)
    changed["update"] += update(server, "UPDATE reactor.raw SET V = 60 WHERE AT = 20 AND V = 30")[0]
    changed["delete"] += update(server, "DELETE FROM reactor.raw WHERE AT = 30")[0]
    server.wait_committed()
    assert changed["update"] == changed["delete"] == batches * 10, "each row changed once, and deleted once"
    table = delta_rows(server)
    by_at = {k["AT"]: k["n"] for k in server.sql("SELECT AT, count(*) AS n FROM reactor.raw GROUP BY AT")}
    assert by_at == {10.0: batches * 30, 20.0: batches * 10}
    assert table.num_rows == batches * 40
    assert pc.count_distinct(pa.chunked_array([pc.binary_join_element_wise(table["_source"], pc.cast(table["ts"], pa.string()), "/")])).as_py() == batches * 40
    # The producers' positions are those of the stream: a resend is a resend.
    for n in range(4):
        s = Stream(server, f"p{n}", epoch=1)
        assert s.ready["seq"] == sent[f"p{n}"] and s.ready["accepted"] == 50 * sent[f"p{n}"]
        s.close()


def test_a_kill_in_the_middle_of_a_statement_leaves_all_or_nothing(tmp_path):
    rng = random.Random(seed := int(os.environ.get("DELTAPLANE_TEST_SEED", time.time_ns())))
    print("seed", seed)
    server = Server(tmp_path / "data").start()
    try:
        server.run("apply", "reactor", "--yes")
        # Rows are made before: what a batch holds must be the same when it is sent again.
        first = [rows(20_000, first=n * 100_000) for n in range(10)]
        s = Stream(server, "p")
        for seq, batch in enumerate(first, 1):
            s.send(seq, batch)
        s.ack(10)
        s.close()
        value, seen = 20.0, {"before": 0, "after": 0}
        for attempt in range(KILLS):
            target = value + 1
            started = time.monotonic()
            thread = threading.Thread(target=lambda t=target: attempt_update(server, f"UPDATE reactor.raw SET AT = {t}"))
            thread.start()
            time.sleep(rng.random() * 0.6)
            server.kill()
            thread.join()
            elapsed = time.monotonic() - started
            server.start()
            counts = {row["AT"]: row["n"] for row in server.sql("SELECT AT, count(*) AS n FROM reactor.raw GROUP BY AT")}
            assert counts in ({value: 200_000}, {target: 200_000}), (attempt, elapsed, counts)
            seen["after" if target in counts else "before"] += 1
            value = next(iter(counts))
        print(seen)
        assert update(server, "UPDATE reactor.raw SET AT = 36") == [200_000]
        s = Stream(server, "p", epoch=1)
        s.send(10, first[9])
        assert s.ack(10)["accepted"] == 200_000, "a resend after it all is still a resend"
        s.close()
        server.wait_committed()
        assert delta_rows(server).num_rows == 200_000
    finally:
        server.stop()


def attempt_update(server, statement):
    try:
        update(server, statement)
    except Exception:  # noqa: BLE001 - the server is killed under it
        pass


def test_restore_keeps_what_producers_were_told(server):
    s = Stream(server, "p", ack="committed")
    batches = {seq: rows(10, first=seq * 1000) for seq in range(1, 6)}
    for seq in range(1, 4):
        s.send(seq, batches[seq])
        s.ack(seq)
    before = server.delta().version()
    for seq in range(4, 6):
        s.send(seq, batches[seq])
        s.ack(seq)
    server.sql(f"RESTORE TABLE reactor.raw TO VERSION AS OF {before}")
    assert server.one("SELECT count(*) FROM reactor.raw") == 30 == delta_rows(server).num_rows
    s.close()
    server.kill()
    server.start()
    s = Stream(server, "p", epoch=1, ack="committed")
    assert s.ready["seq"] == 5
    s.send(5, batches[5])
    s.ack(5)
    s.send(6, rows(10, first=9000))
    s.ack(6)
    assert server.one("SELECT count(*) FROM reactor.raw") == 40 == delta_rows(server).num_rows
    s.close()


def test_a_row_that_breaks_a_rule_and_a_quarantine_are_guarded(server):
    s = Stream(server, "p")
    s.send(1, rows(4, AT=[10.0, 99.0, 99.0, 12.0]))
    s.ack(1)
    s.close()
    for statement, word in [
        ("UPDATE reactor.raw SET AT = 99", "range:AT.*value|value=99.*range:AT"),
        ("UPDATE reactor.raw_quarantine SET reason = 'none'", "replay"),
        ("UPDATE reactor.raw SET event_date = DATE '2020-01-01'", "reserved_column"),
        ("DELETE FROM system.tables", "read_only"),
    ]:
        with pytest.raises(Exception, match=word):
            update(server, statement)
    assert update(server, "DELETE FROM reactor.raw_quarantine WHERE array_has(rules, 'range:AT') AND row_index = 1") == [1]
    assert server.one("SELECT count(*) FROM reactor.raw_quarantine") == 1
    assert update(server, "UPDATE reactor.raw SET ts = ts - INTERVAL '400' DAY WHERE AT = 10") == [1]
    assert server.one("SELECT count(DISTINCT event_date) FROM reactor.raw") == 2
    assert server.one("SELECT count(*) FROM reactor.raw WHERE event_date = CAST(ts AS DATE)") == 2


@pytest.mark.parametrize("version", JDBC_VERSIONS)
def test_jdbc_counts_rows(server, version):
    s = Stream(server, "p")
    s.send(1, rows(10))
    s.ack(1)
    s.close()
    url = f"jdbc:arrow-flight-sql://127.0.0.1:{server.port}/?useEncryption=false"
    done = subprocess.run(jdbc_program(version, "JdbcDml", url), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_statement_sent_as_a_query_runs_once(server):
    s = Stream(server, "p")
    s.send(1, rows(10))
    s.ack(1)
    s.close()
    client = server.flight()
    info = client.get_flight_info(fl.FlightDescriptor.for_command(b"UPDATE reactor.raw SET AT = AT + 1"))
    client.do_get(info.endpoints[0].ticket).read_all()
    assert server.one("SELECT min(AT), max(AT) FROM reactor.raw") == (21.0, 21.0)


def test_another_writers_changes_are_seen_and_kept(server):
    s = Stream(server, "p", ack="committed")
    s.send(1, rows(10, AT=[10.0 + i for i in range(10)]))
    s.ack(1)
    s.close()
    # Behind the server's back: its file is not in the newest version any more.
    server.delta().delete("AT < 12")
    assert update(server, "UPDATE reactor.raw SET V = 60 WHERE AT < 15") == [3]
    assert delta_rows(server).num_rows == 8 == server.one("SELECT count(*) FROM reactor.raw")


def test_a_statement_stores_what_its_expressions_give_and_not_what_their_first_parts_are(server):
    server.sql("CREATE TABLE public.typed (id BIGINT, v DOUBLE, d DECIMAL(10,2), at TIMESTAMP)")
    noon = "TIMESTAMP '2026-11-01 12:34:56'"
    server.sql(f"INSERT INTO public.typed VALUES (1, 1.75, 1.75, {noon}), (2, 2.75, 2.75, {noon}), (3, -3.75, -3.75, {noon})")
    server.sql("UPDATE public.typed SET v = CASE WHEN v < 0 THEN 0 ELSE v END, d = CASE WHEN d < 0 THEN 0 ELSE d END, "
               "at = CASE WHEN id = 3 THEN DATE '2026-11-01' ELSE at END")
    server.sql("INSERT INTO public.typed (id, v) SELECT 21, 0 UNION ALL SELECT 22, 2.5")
    server.sql("MERGE INTO public.typed t USING (SELECT 2 AS id, 7.75 AS v) s ON t.id = s.id "
               "WHEN MATCHED THEN UPDATE SET v = CASE WHEN s.v < 0 THEN 0 ELSE s.v END")
    got = server.sql("SELECT id, v, CAST(d AS DOUBLE) AS d, CAST(at AS VARCHAR) AS at FROM public.typed ORDER BY id")
    assert [(r["id"], r["v"], r["d"]) for r in got] == [(1, 1.75, 1.75), (2, 7.75, 2.75), (3, 0, 0), (21, 0, None), (22, 2.5, None)]
    assert [r["at"] and r["at"][11:19] for r in got] == ["12:34:56", "12:34:56", "00:00:00", None, None]


def test_quotes_in_texts_and_names_are_stored_as_they_were_written(server):
    one, two = '"a""b"', '"a""""b"'
    server.sql(f"CREATE TABLE public.quotes (id BIGINT, s STRING, {one} BIGINT, {two} BIGINT)")
    server.sql("INSERT INTO public.quotes VALUES (1, '', 1, 2), (2, '', 3, 4)")
    server.sql("UPDATE public.quotes SET s = 'a''''b' WHERE id = 1")
    server.sql(f"UPDATE public.quotes SET id = id + {two} WHERE s = 'a''''b'")
    server.sql("DELETE FROM public.quotes WHERE s = '''''' OR id = 2")
    assert server.sql("SELECT id, s FROM public.quotes") == [{"id": 3, "s": "a''b"}]


def test_two_tables_of_one_name_are_told_apart_by_their_schemas(server):
    for schema in ("one", "two"):
        server.sql(f"CREATE TABLE {schema}.same (id BIGINT, v DOUBLE)")
    server.sql("INSERT INTO one.same VALUES (1, 1), (9, 9)")
    server.sql("INSERT INTO two.same VALUES (1, 5), (2, 6)")
    rows = lambda: [(r["id"], r["v"]) for r in server.sql("SELECT * FROM one.same ORDER BY id")]
    merge = "MERGE INTO one.same USING two.same ON one.same.id = two.same.id WHEN "
    server.sql(merge + "MATCHED THEN UPDATE SET v = two.same.v * 10 + one.same.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (two.same.id, two.same.v)")
    assert rows() == [(1, 51), (2, 6), (9, 9)]
    # A subquery's own table comes before the statement's.
    assert update(server, "DELETE FROM one.same USING two.same WHERE one.same.id = two.same.id AND one.same.v > (SELECT max(two.same.v) FROM two.same)") == [1]
    assert update(server, "UPDATE one.same SET v = two.same.v + 1 FROM two.same WHERE one.same.id = two.same.id") == [1]
    assert rows() == [(2, 7), (9, 9)]
    server.sql("CREATE TABLE plain (id BIGINT, v DOUBLE)")
    server.sql("INSERT INTO plain VALUES (9, 10)")
    assert update(server, "UPDATE one.same SET v = public.plain.v FROM plain WHERE one.same.id = public.plain.id") == [1]
    for statement, word in [
        (merge + "NOT MATCHED THEN INSERT (id, v) VALUES (two.same.id, one.same.v)", "no row of one.same"),
        (merge + "MATCHED AND same.v > 1 THEN DELETE", "both tables have this name"),
        ("MERGE INTO one.same x USING two.same ON x.id = two.same.id WHEN NOT MATCHED THEN INSERT (id, v) VALUES (two.same.id, one.same.v)", "called x and same"),
    ]:
        with pytest.raises(Exception, match=word):
            server.sql(statement)
    assert rows() == [(2, 7), (9, 10)]


def test_an_insert_takes_the_memory_of_its_rows_once(server):
    """The batches of this query are parts of one allocation."""
    assert update(server, "CREATE TABLE of_parts (id BIGINT)", "INSERT INTO of_parts SELECT i FROM (SELECT unnest(range(0, 100000)) AS i)")[1] == 100_000


def test_with_may_stand_before_insert(server):
    assert update(server, "CREATE TABLE behind_with (id BIGINT, k STRING)",
                  "-- an outer name\nWITH a AS (SELECT 1 AS id), b (k) AS (SELECT 'x)') INSERT INTO behind_with (k, id) SELECT k, id FROM a, b")[1] == 1
    assert server.sql("SELECT * FROM behind_with") == [{"id": 1, "k": "x)"}]
    assert server.sql("WITH a AS (SELECT 'insert into' AS k) SELECT k FROM a") == [{"k": "insert into"}]


def test_rows_are_found_in_a_set_of_rows(server):
    """The statement by which dbt replaces what it has under a key of several columns."""
    update(server, "CREATE TABLE pairs (a BIGINT, b STRING)", "INSERT INTO pairs VALUES (1, 'x'), (1, 'y'), (2, 'x'), (2, NULL)")
    assert update(server, "DELETE FROM pairs WHERE (a, b) IN (SELECT a, max(b) FROM pairs GROUP BY a)")[0] == 2
    assert server.sql("SELECT * FROM pairs ORDER BY a, b") == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_two_lists_of_a_column_leave_rows_without_a_value(server):
    counts = update(
        server,
        "CREATE TABLE lists (id BIGINT, x BIGINT, n BIGINT)",
        "INSERT INTO lists VALUES (1, 1, 1), (2, NULL, 2), (3, 5, NULL), (4, 4, 4)",
        "DELETE FROM lists WHERE NOT (x IN (1, 2) AND x IN (3, 4)) AND n IS NULL",
        "DELETE FROM lists WHERE (x NOT IN (1, 2) OR x NOT IN (3, 4)) AND id = 2",
        "UPDATE lists SET id = 0 WHERE x NOT IN (n, 9, x) AND x IN (n, 1, x)",
        "DELETE FROM lists WHERE x IN (1, 2, 4, 5) AND x NOT IN (7, 8, 9, NULL)",
    )
    assert counts[2:] == [1, 0, 0, 0]


def test_a_null_that_is_bound_in_a_list_is_unknown(server):
    update(server, "CREATE TABLE bound_lists (id BIGINT, x BIGINT)", "INSERT INTO bound_lists VALUES (1, 1), (2, 2), (3, NULL), (4, 5)")
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        for condition, bound, expected in [("x IN (2, 3, 4, 5) AND x NOT IN (1, 7, 8, ?)", (None,), []),
                                           ("x IN (2, 3, 4, 5) AND x NOT IN (1, 7, 8, ?)", (2,), [4]),
                                           ("x NOT IN (?, ?) OR x NOT IN (?, ?)", (1, 2, 3, 4), [1, 2, 4]),
                                           ("(x IN (?, ?) AND x IN (?, 7)) IS NULL", (1, 2, 9), [3])]:
            cursor.execute(f"SELECT id FROM bound_lists WHERE {condition} ORDER BY id", bound)
            assert [row[0] for row in cursor.fetchall()] == expected, condition


def test_texts_beside_times_in_values_are_times(server):
    update(server, "CREATE TABLE moments (id BIGINT, at TIMESTAMP, day DATE)",
           "INSERT INTO moments VALUES (1, now(), DATE '2026-11-01'), (2, '2099-01-01 10:00+02', '2026-11-02'), (3, NULL, current_date - 1)")
    got = server.sql("SELECT CAST(at AS STRING) AS at, CAST(day AS STRING) AS day FROM moments WHERE id = 2")
    assert got[0]["at"][:19].replace("T", " ") == "2099-01-01 08:00:00" and got[0]["day"] == "2026-11-02"
    assert server.one("SELECT count(*) FROM moments") == 3


def test_values_keep_to_the_calendar_and_a_clamp_to_its_range(server):
    server.sql("CREATE TABLE kept (id BIGINT, i INT, day DATE, at TIMESTAMP) TBLPROPERTIES ("
               """'deltaplane.rule.range:i'='{"name":"range:i","column":"i","kind":{"range":{"min":1.5,"max":3.5}},"action":"clamp"}')""")
    server.sql("INSERT INTO kept VALUES (1, 1, NULL, NULL), (2, -5, DATE '0001-01-01', TIMESTAMP '9999-12-31 23:59:59'), (3, 9, DATE '9999-12-31', NULL)")
    assert [row["i"] for row in server.sql("SELECT i FROM kept ORDER BY id")] == [2, 2, 3]
    for value in ("(4, 2, DATE '9999-12-31' + 1, NULL)", "(4, 2, NULL, TIMESTAMP '9999-12-31 23:59:59' + INTERVAL '1 second')", "(4, 2, DATE '0001-01-01' - 1, NULL)"):
        with pytest.raises(Exception, match="years 1 to 9999"):
            server.sql(f"INSERT INTO kept VALUES {value}")
    assert server.one("SELECT count(*) FROM kept") == 3


def test_names_of_a_with_are_known_to_what_changes_rows(server):
    server.sql("CREATE TABLE lab.w (id BIGINT, v BIGINT)")
    server.sql("INSERT INTO lab.w VALUES (1, 10), (2, 20), (3, 30), (4, 40)")
    one = "WITH d AS (SELECT 1 AS id), e AS (SELECT id + 1 AS id FROM d)"
    assert update(
        server,
        f"{one} DELETE FROM lab.w WHERE id IN (SELECT id FROM d)",
        f"{one} UPDATE lab.w SET v = (SELECT max(E.id) FROM E) WHERE EXISTS (WITH d AS (SELECT 2 AS n) SELECT 1 FROM d WHERE d.n = w.id)",
        "WITH s AS (SELECT * FROM (VALUES (3, 33), (5, 55)) q (id, v)) MERGE INTO lab.w USING s ON w.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT *",
        "WITH s AS (SELECT 4 AS id) DELETE FROM lab.w USING s WHERE w.id = s.id",
    ) == [1, 1, 2, 1]
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("WITH d AS (SELECT CAST(? AS BIGINT) AS id) UPDATE lab.w SET v = v + ? WHERE id IN (SELECT id FROM d)", (5, 1))
    assert server.sql("SELECT id, v FROM lab.w ORDER BY id") == [{"id": 2, "v": 2}, {"id": 3, "v": 33}, {"id": 5, "v": 56}]
