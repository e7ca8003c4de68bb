"""Transactions by ADBC and by hand: what they see, what they write, and how they end."""

import itertools
import time

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pytest
from conftest import Server
from flight_sql import APPEND, FAIL_MISSING, REPLACE, Error, action, connect, cursor, field, fields, ingest, rows_of  # noqa: F401


def test_the_dbapi_default_commits_and_rolls_back(server):
    with adbc.connect(server.uri) as connection, connect(server).cursor() as other:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE tx (a BIGINT CHECK (a <= 100))")
            cursor.execute("INSERT INTO tx VALUES (1)")
            cursor.executemany("INSERT INTO tx VALUES (?)", [(2,), (3,)])
            assert rows_of(other, "SELECT count(*) FROM tx") == [(0,)], "not before the commit"
            assert rows_of(cursor, "SELECT count(*), sum(a) FROM tx") == [(3, 6)], "but in the transaction itself"
            cursor.execute("INSERT INTO tx SELECT a + 10 FROM tx WHERE a = 3")
            connection.commit()
            assert rows_of(other, "SELECT count(*) FROM tx") == [(4,)]
            cursor.execute("INSERT INTO tx VALUES (4)")
            connection.rollback()
            assert rows_of(other, "SELECT count(*) FROM tx") == [(4,)]
            cursor.execute("SELECT count(*) FROM tx")
            assert cursor.fetchall() == [(4,)]
            # A statement that fails leaves the transaction as it was.
            cursor.execute("INSERT INTO tx VALUES (5)")
            with pytest.raises(Error, match="range"):
                cursor.execute("INSERT INTO tx VALUES (500)")
            connection.commit()
            assert rows_of(other, "SELECT count(*) FROM tx") == [(5,)]
            cursor.adbc_ingest("tx", pa.table({"a": [6, 7]}), mode="append")
            connection.commit()
            assert rows_of(other, "SELECT count(*) FROM tx") == [(7,)]
            cursor.execute("CREATE TABLE tx2 (a BIGINT)")
            cursor.execute("INSERT INTO tx VALUES (8)")
            for second in ("INSERT INTO tx2 VALUES (1)", "DROP TABLE tx2"):
                with pytest.raises(Error, match="transaction"):
                    cursor.execute(second)
            connection.rollback()


def files_of(server, table):
    return sorted(p.name for p in (server.directory / "tables/public" / table).rglob("*.parquet"))


def test_a_transaction_sees_its_own_changes_and_commits_or_rolls_back_all_of_them(server):
    with adbc.connect(server.uri) as connection, connect(server).cursor() as other, connection.cursor() as cursor:
        other.execute("CREATE TABLE own (id BIGINT, v DOUBLE) TBLPROPERTIES ('deltaplane.key' = 'id')")
        other.execute("INSERT INTO own SELECT value, value FROM generate_series(1, 5)")
        other.execute("OPTIMIZE own")
        before, asked = [(float(i), float(i)) for i in range(1, 6)], itertools.count()
        for commit in (False, True):
            files, version = files_of(server, "own"), server.delta("own", "public").version()

            def own():
                # A text of its own: the driver would execute the statement again that it has prepared in an ended transaction.
                return [(float(a), b) for a, b in rows_of(cursor, f"SELECT id, v FROM own ORDER BY id -- {next(asked)}")]

            def seen_by_others():
                return [(float(a), b) for a, b in rows_of(other, "SELECT id, v FROM own WHERE id < 100 ORDER BY id")]

            cursor.execute("INSERT INTO own VALUES (6, 6)")
            cursor.execute("UPDATE own SET v = v * 10 WHERE id BETWEEN 5 AND 50")
            assert cursor.rowcount == 2
            assert own()[:6] == before[:4] + [(5, 50), (6, 60)]
            cursor.execute("DELETE FROM own WHERE id = 1")
            cursor.execute("UPDATE own SET v = v + (SELECT max(v) FROM own) WHERE id = 6")
            cursor.execute("INSERT INTO own VALUES (7, 7)")
            cursor.executemany("INSERT INTO own VALUES (?, ?)", [(8, 8.0), (9, 9.0)])
            cursor.execute("MERGE INTO own USING (SELECT 2 AS id UNION ALL SELECT 11) s ON own.id = s.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, 0)")
            cursor.execute("INSERT INTO own SELECT id + 1, v FROM own WHERE id = 11")
            after = [(3, 3), (4, 4), (5, 50), (6, 120), (7, 7), (8, 8), (9, 9), (11, 0), (12, 0)]
            assert own()[:9] == after
            assert rows_of(cursor, "SELECT count(*), min(id), max(v) FROM own WHERE id < 100") == [(9, 3, 120.0)]
            assert seen_by_others() == before
            # What fails leaves it as it was.
            with pytest.raises(Error):
                cursor.execute("UPDATE own SET nothing = 1")
            # What others write meanwhile is seen, and stays.
            other.execute("INSERT INTO own VALUES (?, 0)", (100 + commit,))
            assert own() == after + [(100 + n, 0) for n in range(1 + commit)]
            if commit:
                connection.commit()
                assert seen_by_others() == own()[:9] == after
            else:
                connection.rollback()
                assert seen_by_others() == before
                deadline = time.monotonic() + 30
                while len(files_of(server, "own")) > len(files) + 1:
                    assert time.monotonic() < deadline, "files of a transaction that was rolled back stay"
                    time.sleep(0.05)
        assert server.one("SELECT count(*) FROM own") == 11
        connection.rollback()
        assert server.delta("own", "public").version() - version <= 3


def test_what_a_transaction_cannot_hold_is_refused_by_the_statement(server, cursor):
    cursor.execute("CREATE TABLE refusing (id BIGINT, d STRING) PARTITIONED BY (d)")
    cursor.execute("CREATE TABLE beside (id BIGINT)")
    cursor.execute("INSERT INTO refusing VALUES (1, 'a')")
    with adbc.connect(server.uri) as connection, connection.cursor() as own:
        for first in (None, "UPDATE refusing SET id = id + 1"):
            if first:
                own.execute(first)
            for refused in ("INSERT INTO refusing REPLACE WHERE d = 'a' SELECT 2, 'a'", "RESTORE TABLE refusing TO VERSION AS OF 0", "REPLAY QUARANTINE refusing"):
                with pytest.raises(Error, match="transaction: .*set autocommit") as caught:
                    own.execute(refused)
                assert "FailedPrecondition" in str(caught.value)
        for refused in ("DELETE FROM beside", "INSERT INTO beside VALUES (1)", "DROP TABLE beside"):
            with pytest.raises(Error, match="transaction: "):
                own.execute(refused)
        connection.commit()
    assert rows_of(cursor, "SELECT id FROM refusing") == [(2,)]


def test_a_transaction_whose_rows_others_have_changed_is_told_so_and_writes_nothing(server, cursor):
    cursor.execute("CREATE TABLE contended (id BIGINT, v DOUBLE)")
    cursor.execute("INSERT INTO contended VALUES (1, 1), (2, 2)")
    for other in ("UPDATE contended SET v = v + 1 WHERE id = 2", "ALTER TABLE contended ADD COLUMN more DOUBLE"):
        with adbc.connect(server.uri) as connection, connection.cursor() as own:
            own.execute("UPDATE contended SET v = 100 WHERE id = 1")
            own.execute("INSERT INTO contended (id, v) VALUES (3, 3)")
            cursor.execute(other)
            with pytest.raises(Error, match="transaction_conflict|contract_changed"):
                own.execute("SELECT sum(v) FROM contended")
                own.fetchall()
            with pytest.raises(Error, match="transaction_conflict|contract_changed") as caught:
                connection.commit()
            assert "Aborted" in str(caught.value)
    assert rows_of(cursor, "SELECT id, v FROM contended ORDER BY id") == [(1, 1.0), (2, 3.0)]


def test_a_crash_in_a_transaction_leaves_the_table_as_it_was(server, cursor):
    cursor.execute("CREATE TABLE crashed (id BIGINT, v DOUBLE)")
    cursor.execute("INSERT INTO crashed VALUES (1, 1), (2, 2)")
    with adbc.connect(server.uri) as connection, connection.cursor() as own:
        own.execute("DELETE FROM crashed WHERE id = 1")
        own.execute("INSERT INTO crashed VALUES (3, 3)")
        server.kill()
        server.start()
        with pytest.raises(Error):
            connection.commit()
        assert server.sql("SELECT id FROM crashed ORDER BY id") == [{"id": 1}, {"id": 2}]


def test_transactions_by_hand(server, cursor):
    cursor.execute("CREATE TABLE hand (a BIGINT)")
    (begun,) = action(server, "BeginTransaction", wrap="ActionBeginTransactionRequest")
    id = dict(fields(dict(fields(begun))[2]))[1]
    assert ingest(server, "hand", pa.table({"a": [1, 2]}), FAIL_MISSING, APPEND, transaction=id) == 2
    assert rows_of(cursor, "SELECT count(*) FROM hand") == [(0,)]
    with pytest.raises(pa.ArrowException, match="transaction"):
        ingest(server, "hand", pa.table({"a": [1, 2]}), FAIL_MISSING, REPLACE, transaction=id)
    end = field(1, id) + field(2, 1)
    assert action(server, "EndTransaction", end, wrap="ActionEndTransactionRequest") == []
    assert rows_of(cursor, "SELECT count(*) FROM hand") == [(2,)]
    with pytest.raises(pa.ArrowException, match="transaction_not_found"):
        action(server, "EndTransaction", end, wrap="ActionEndTransactionRequest")
    with pytest.raises(pa.ArrowNotImplementedError):
        action(server, "BeginSavepoint", field(1, id) + field(2, "s"), wrap="ActionBeginSavepointRequest")


def test_an_idle_transaction_is_rolled_back(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_LIMITS_TRANSACTION_IDLE="1s").start()
    try:
        with connect(server).cursor() as other:
            other.execute("CREATE TABLE idle (a BIGINT)")
            with adbc.connect(server.uri) as connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO idle VALUES (1)")
                time.sleep(1.5)
                with pytest.raises(Error, match="transaction_not_found"):
                    connection.commit()
            assert rows_of(other, "SELECT count(*) FROM idle") == [(0,)]
    finally:
        server.stop()
