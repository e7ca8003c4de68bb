"""RENAME COLUMN and DROP COLUMN: no file is written anew, and every way to the rows knows them under the names of today."""

import concurrent.futures
import json
import os
import random
import threading
import time

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Server, Stream


@pytest.fixture
def empty(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="1h").start()
    yield server
    server.stop()


def fails(server, statement):
    with pytest.raises(Exception) as caught:
        server.sql(statement)
    return str(caught.value)


def again(server, killed=True):
    """A restart, after a crash or an orderly end."""
    if killed:
        server.kill()
    else:
        assert server.terminate() == 0
    server.start()


def commit(server, table="t.m"):
    server.sql(f"OPTIMIZE {table}")


def newest(server):
    return max(r["version"] for r in server.sql("DESCRIBE HISTORY t.m"))


def made(server):
    server.sql("CREATE TABLE t.m (id BIGINT NOT NULL, temp DOUBLE COMMENT 'degC', note STRING, old BIGINT, day DATE) PARTITIONED BY (day)")
    server.sql("INSERT INTO t.m VALUES (1, 10.5, 'a', 100, DATE '2026-01-01'), (2, 20.5, 'b', 200, DATE '2026-01-02')")
    commit(server)
    # Hot when the columns move.
    server.sql("INSERT INTO t.m VALUES (3, 30.5, 'c', 300, DATE '2026-01-02')")


NOW = "SELECT id, degrees, note, old FROM t.m ORDER BY id"


def moved(server):
    server.sql("ALTER TABLE t.m RENAME COLUMN temp TO degrees")
    server.sql("ALTER TABLE t.m DROP COLUMN IF EXISTS nowhere, DROP COLUMN old, ADD COLUMN old STRING")
    server.sql("INSERT INTO t.m (id, degrees, note, old, day) VALUES (4, 40.5, 'd', 'new', DATE '2026-01-03')")


def values(server, query=NOW):
    return [tuple(row.values()) for row in server.sql(query)]


ALL = [(1, 10.5, "a", None), (2, 20.5, "b", None), (3, 30.5, "c", None), (4, 40.5, "d", "new")]


def test_rows_hot_and_cold_are_under_the_names_of_today_also_after_a_restart(empty):
    made(empty)
    before = newest(empty)
    moved(empty)
    assert values(empty) == ALL
    for killed in [True, False]:
        again(empty, killed)
        assert values(empty) == ALL
    # Filters, extremes and counts are told by statistics, which stand under the names in the files.
    assert values(empty, "SELECT min(degrees), max(degrees), count(degrees), count(old), min(old) FROM t.m") == [(10.5, 40.5, 4, 1, "new")]
    assert values(empty, "SELECT id FROM t.m WHERE degrees > 25 ORDER BY id") == [(3,), (4,)]
    assert values(empty, "SELECT id FROM t.m WHERE old IS NULL AND degrees < 15") == [(1,)]
    assert values(empty, "SELECT id FROM t.m WHERE old = 'new'") == [(4,)]
    assert [c for c in empty.sql("SELECT * FROM t.m LIMIT 1")[0]] == ["id", "degrees", "note", "day", "old"]
    comments = {r["column_name"]: r.get("comment") for r in empty.sql("SHOW COLUMNS FROM t.m")}
    assert "temp" not in comments and comments["degrees"] == "degC"
    # An older version has the names that it had.
    assert values(empty, f"SELECT id, temp, old FROM t.m VERSION AS OF {before} ORDER BY id")[:2] == [(1, 10.5, 100), (2, 20.5, 200)]
    assert "degrees" in fails(empty, f"SELECT degrees FROM t.m VERSION AS OF {before}")


def test_statements_upkeep_restore_and_feed_work_on_renamed_columns(empty):
    made(empty)
    start = newest(empty)
    moved(empty)
    commit(empty)
    empty.sql("UPDATE t.m SET degrees = degrees + 1, old = 'set' WHERE degrees < 15")
    empty.sql("DELETE FROM t.m WHERE degrees = 20.5")
    empty.sql("MERGE INTO t.m USING (SELECT 3 AS id, 33.0 AS d) s ON m.id = s.id WHEN MATCHED THEN UPDATE SET degrees = s.d")
    expected = [(1, 11.5, "a", "set"), (3, 33.0, "c", None), (4, 40.5, "d", "new")]
    assert values(empty) == expected
    empty.sql("OPTIMIZE t.m ZORDER BY (degrees)")
    assert values(empty) == expected
    again(empty)
    assert values(empty) == expected
    assert [r["problems"] for r in empty.sql("CHECK TABLE t.m")] == [0]
    told = values(empty, f"SELECT id, degrees, old FROM table_changes('t.m', {start}) WHERE _change_type = 'insert' ORDER BY id")
    assert (1, 11.5, "set") in told and (3, 30.5, None) in told
    # Rows of a version before the change come back under the columns of today; what was dropped stays dropped.
    empty.sql(f"RESTORE TABLE t.m TO VERSION AS OF {start}")
    assert values(empty)[:2] == [(1, 10.5, "a", None), (2, 20.5, "b", None)]
    empty.sql("INSERT INTO t.m (id, degrees, old) VALUES (9, 90.5, 'late')")
    again(empty)
    assert values(empty)[-1] == (9, 90.5, None, "late")


def test_a_column_comes_again_under_its_name_and_case_counts_for_nothing(empty):
    empty.sql("CREATE TABLE t.m (id BIGINT, Value BIGINT)")
    empty.sql("INSERT INTO t.m VALUES (1, 11)")
    empty.sql("ALTER TABLE t.m RENAME COLUMN value TO VALUE")
    assert empty.sql("SELECT * FROM t.m") == [{"id": 1, "VALUE": 11}]
    empty.sql("ALTER TABLE t.m DROP COLUMN VALUE")
    empty.sql("ALTER TABLE t.m ADD COLUMN value BIGINT")
    assert empty.sql("SELECT * FROM t.m") == [{"id": 1, "value": None}]
    # Two columns change places in one statement.
    empty.sql("INSERT INTO t.m VALUES (2, 22)")
    empty.sql("ALTER TABLE t.m RENAME COLUMN id TO x, RENAME COLUMN value TO id, RENAME COLUMN x TO value")
    assert empty.sql("SELECT id, value FROM t.m ORDER BY value") == [{"id": None, "value": 1}, {"id": 22, "value": 2}]
    again(empty)
    assert empty.sql("SELECT id, value FROM t.m WHERE id > 3") == [{"id": 22, "value": 2}]
    assert "ID" in fails(empty, "ALTER TABLE t.m ADD COLUMN ID BIGINT")
    assert "declared twice" in fails(empty, "ALTER TABLE t.m RENAME COLUMN value TO ID")
    assert "columns: value, id" in fails(empty, "ALTER TABLE t.m DROP COLUMN nowhere")
    assert "columns: value, id" in fails(empty, "ALTER TABLE t.m RENAME COLUMN nowhere TO x")
    assert "CASCADE" in fails(empty, "ALTER TABLE t.m DROP COLUMN id CASCADE")
    # Fields of a STRUCT have no statement.
    empty.sql("CREATE TABLE t.g (id BIGINT, gps STRUCT<lat: DOUBLE, lon: DOUBLE>)")
    for change in ["RENAME COLUMN gps.lat TO gps.x", "RENAME COLUMN gps.lat TO x", "DROP COLUMN gps.lat"]:
        assert "syntax" in fails(empty, f"ALTER TABLE t.g {change}"), change
    # They keep their names in the files, whatever becomes of the columns around them.
    empty.sql("INSERT INTO t.g VALUES (1, named_struct('lat', 52.5, 'lon', 13.4))")
    commit(empty, "t.g")
    empty.sql("ALTER TABLE t.g RENAME COLUMN id TO n, RENAME COLUMN gps TO place")
    empty.sql("ALTER TABLE t.g ADD COLUMN gps STRUCT<lat: DOUBLE>")
    empty.sql("INSERT INTO t.g VALUES (2, named_struct('lat', 1.5, 'lon', 2.5), named_struct('lat', 3.5))")
    again(empty)
    commit(empty, "t.g")
    was, place = {"lat": 52.5, "lon": 13.4}, {"lat": 1.5, "lon": 2.5}
    assert empty.sql("SELECT * FROM t.g ORDER BY n") == [{"n": 1, "place": was, "gps": None}, {"n": 2, "place": place, "gps": {"lat": 3.5}}]
    table = deltalake.QueryBuilder().register("t", empty.delta("g", "t")).execute("SELECT n, place, gps FROM t ORDER BY n").read_all()
    assert pa.table(table).to_pylist() == empty.sql("SELECT n, place, gps FROM t.g ORDER BY n")
    empty.sql("ALTER TABLE t.g DROP COLUMN place, DROP COLUMN gps")
    assert empty.sql("SELECT * FROM t.g ORDER BY n") == [{"n": 1}, {"n": 2}]
    empty.sql("ALTER TABLE t.g ADD COLUMN gps STRUCT<lat: DOUBLE>")
    assert empty.sql("SELECT gps FROM t.g WHERE n = 1") == [{"gps": None}]
    assert "without columns" in fails(empty, "ALTER TABLE t.m DROP COLUMN id, DROP COLUMN value")


def test_what_needs_a_column_keeps_it(empty):
    empty.sql("CREATE TABLE t.dim (code STRING, label STRING, spare STRING)")
    empty.sql("""CREATE TABLE t.m (id BIGINT UNIQUE, ts TIMESTAMP, k STRING, v DOUBLE CHECK (v >= 0), w DOUBLE, spare DOUBLE, region STRING, PRIMARY KEY (k))
        PARTITIONED BY (region) TBLPROPERTIES ('deltaplane.eventTime' = 'ts', 'deltaplane.from.w' = 'v')""")
    rule = json.dumps({"name": "referential:k", "column": "k", "kind": {"referential": {"table": "t.dim", "column": "code"}}, "action": "warn"})
    empty.sql(f"ALTER TABLE t.m SET TBLPROPERTIES ('deltaplane.rule.referential:k' = '{rule}')")
    empty.sql("CREATE VIEW t.seen AS SELECT label AS l, count(*) AS n FROM t.dim GROUP BY label")
    empty.sql("CREATE MATERIALIZED VIEW t.minutes AS SELECT tumble(ts, '1 minute') AS start, max(w) AS most FROM t.m GROUP BY tumble(ts, '1 minute')")
    empty.sql("CREATE ALERT t.low EVERY '1h' AS SELECT w FROM t.m WHERE w < 3")
    cases = {
        "t.m.id": "the rule unique:id", "t.m.ts": "the event time", "t.m.region": "the partitions", "t.m.k": "referential:k", "t.m.v": "the rule range:v",
        "t.m.w": "materialized view", "t.dim.code": "rule=referential:k", "t.dim.label": "view=t.seen",
    }
    for column, why in cases.items():
        table, name = column.rsplit(".", 1)
        for change in [f"DROP COLUMN {name}", f"RENAME COLUMN {name} TO other"]:
            error = fails(empty, f"ALTER TABLE {table} {change}")
            assert why in error and ("drop" in error or "another" in error), (change, error)
    empty.sql("DROP MATERIALIZED VIEW t.minutes")
    assert "alert=t.low" in fails(empty, "ALTER TABLE t.m DROP COLUMN w")
    empty.sql("DROP ALERT t.low")
    empty.sql("ALTER TABLE t.m DROP COLUMN w")
    empty.sql("ALTER TABLE t.m DROP CONSTRAINT range_v, RENAME COLUMN v TO x, ADD CONSTRAINT x_range CHECK (x >= 0)")
    assert "range" in fails(empty, "INSERT INTO t.m (id, ts, k, x, region) VALUES (1, now(), 'a', -1, 'r')")
    # What nobody needs goes, and readers of other columns are in nobody's way.
    empty.sql("ALTER TABLE t.m DROP COLUMN spare")
    empty.sql("ALTER TABLE t.dim RENAME COLUMN spare TO other")
    empty.sql("CREATE VIEW t.whole AS SELECT * FROM t.dim")
    assert "view=t.whole" in fails(empty, "ALTER TABLE t.dim DROP COLUMN other")
    assert "is a materialized view" in fails_on_view(empty)


def fails_on_view(server):
    server.sql("CREATE MATERIALIZED VIEW t.again AS SELECT tumble(ts, '1 minute') AS start, count(*) AS n FROM t.m GROUP BY tumble(ts, '1 minute')")
    return fails(server, "ALTER TABLE t.again DROP COLUMN n")


def test_a_stream_that_is_open_is_judged_by_the_columns_of_the_moment(empty):
    empty.sql("CREATE TABLE t.m (id BIGINT, temp DOUBLE, more FLOAT)")
    old = pa.RecordBatch.from_pydict({"id": [1], "temp": [1.5]})
    new = pa.RecordBatch.from_pydict({"id": [2], "degrees": [2.5]})
    stream = Stream(empty, "p", table=("t", "m"), schema=old.schema)
    stream.send(1, old)
    stream.ack(1)
    empty.sql("ALTER TABLE t.m RENAME COLUMN temp TO degrees, RENAME COLUMN more TO rest")
    # A sender that still has the old name goes on, in its stream and in the next one.
    stream.send(2, pa.RecordBatch.from_pydict({"id": [2], "temp": [2.5]}))
    stream.ack(2)
    stream.close()
    for seq, schema in [(3, old.schema), (4, new.schema)]:
        stream = Stream(empty, "p", table=("t", "m"), schema=schema)
        assert stream.ready["seq"] == seq - 1
        stream.send(seq, pa.RecordBatch.from_arrays([pa.array([seq]), pa.array([seq + 0.5])], schema=schema))
        stream.ack(seq)
        stream.close()
    empty.sql("INSERT INTO t.m (temp, id, more) VALUES (5.5, 5, 1.5)")
    assert empty.one("SELECT rest FROM t.m WHERE id = 5") == 1.5
    expected = [(1, 1.5), (2, 2.5), (3, 3.5), (4, 4.5), (5, 5.5)]
    assert values(empty, "SELECT id, degrees FROM t.m ORDER BY id") == expected
    # A column that is gone ends the stream that sends it, and is unknown to the next one.
    stream = Stream(empty, "p", table=("t", "m"), schema=old.schema)
    empty.sql("ALTER TABLE t.m DROP COLUMN degrees")
    stream.send(5, old)
    assert "contract_changed" in stream.error()
    stream = Stream(empty, "p", table=("t", "m"), schema=old.schema)
    assert stream.ready["seq"] == 4
    stream.send(5, old)
    assert "unknown_column" in stream.error()
    again(empty)
    assert values(empty, "SELECT id FROM t.m ORDER BY id") == [(n,) for n, _ in expected]


def test_renames_under_streams_and_kills_lose_and_mix_up_no_value(tmp_path):
    seed = int(os.environ.get("DELTAPLANE_TEST_SEED", time.time_ns() % 10_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="1s").start()
    server.sql("CREATE TABLE t.m (id BIGINT, v BIGINT, x BIGINT)")
    done = threading.Event()

    def produce(name):
        """Numbers in `id` and under the name that the column has by then, which the server's answer tells."""
        seq, column = 0, "v"
        while not done.is_set() or seq < 20:
            try:
                schema = pa.schema([("id", pa.int64()), (column, pa.int64())])
                stream = Stream(server, name, table=("t", "m"), schema=schema)
                seq = stream.ready["seq"]
                while not done.is_set() or seq < 20:
                    batch = pa.RecordBatch.from_arrays([pa.array([seq + 1]), pa.array([seq + 1])], schema=schema)
                    stream.send(seq + 1, batch)
                    stream.ack(seq + 1)
                    seq += 1
                stream.close()
            except (pa.ArrowException, AssertionError, OSError, TypeError):
                column = "w" if column == "v" else "v"
        return seq

    def rename():
        made = 0
        for round in range(12):
            names = [c["column_name"] for c in server.sql("SHOW COLUMNS FROM t.m")]
            change = "RENAME COLUMN v TO w" if "v" in names else "RENAME COLUMN w TO v"
            again = ", DROP COLUMN x, ADD COLUMN x BIGINT" if round % 3 == 0 else ""
            try:
                server.sql(f"ALTER TABLE t.m {change}{again}")
                made += 1
            except (pa.ArrowException, OSError):
                pass
            if chance.random() < 0.4:
                server.kill()
                server.start()
        done.set()
        return made

    with concurrent.futures.ThreadPoolExecutor() as pool:
        work = [pool.submit(produce, f"p{i}") for i in range(2)]
        renamed = pool.submit(rename)
        made = renamed.result(timeout=300)
        sent = [one.result(timeout=120) for one in work]
    assert made >= 6
    column = next(c for c in [c["column_name"] for c in server.sql("SHOW COLUMNS FROM t.m")] if c in "vw")
    for _ in range(2):
        assert server.one(f"SELECT count(*), sum(id), sum({column}), count({column}), count(x) FROM t.m") == (
            sum(sent), sum(n * (n + 1) // 2 for n in sent), sum(n * (n + 1) // 2 for n in sent), sum(sent), 0)
        assert server.one(f"SELECT count(*) FROM t.m WHERE id <> {column}") == 0
        server.kill()
        server.start()
    server.stop()


def test_rows_in_quarantine_come_back_under_the_new_name(empty):
    empty.sql("CREATE TABLE t.m (id BIGINT, temp FLOAT, level BIGINT CHECK (level <= 5))")
    empty.put("t.m", pa.RecordBatch.from_pydict({"id": [1, 2], "temp": pa.array([1.5, 2.5], pa.float32()), "level": [1, 9]}))
    empty.sql("ALTER TABLE t.m RENAME COLUMN temp TO degrees")
    assert empty.one("SELECT raw FROM t.m_quarantine").find("temp") > 0
    for taken in ["RENAME COLUMN degrees TO x, RENAME COLUMN id TO degrees, RENAME COLUMN x TO id", "ADD COLUMN temp DOUBLE"]:
        assert "quarantine_not_empty" in fails(empty, f"ALTER TABLE t.m {taken}")
    # Nor does another column take the name of one that was dropped while they were there.
    empty.sql("ALTER TABLE t.m ADD COLUMN spare FLOAT")
    empty.put("t.m", pa.RecordBatch.from_pydict({"id": [3], "spare": pa.array([3.5], pa.float32()), "level": [9]}))
    empty.sql("ALTER TABLE t.m DROP COLUMN spare")
    assert "quarantine_not_empty" in fails(empty, "ALTER TABLE t.m RENAME COLUMN degrees TO spare")
    again(empty)
    assert "quarantine_not_empty" in fails(empty, "ALTER TABLE t.m RENAME COLUMN degrees TO spare")
    empty.sql("DELETE FROM t.m_quarantine WHERE raw LIKE '%spare%'")
    empty.sql("ALTER TABLE t.m DROP CONSTRAINT range_level")
    empty.sql("REPLAY QUARANTINE t.m")
    assert values(empty, "SELECT id, degrees FROM t.m ORDER BY id") == [(1, 1.5), (2, 2.5)]
    again(empty)
    assert values(empty, "SELECT id, degrees FROM t.m ORDER BY id") == [(1, 1.5), (2, 2.5)]


def test_a_transaction_over_the_change_is_refused_and_writes_nothing(empty):
    made(empty)
    import adbc_driver_flightsql.dbapi as flightsql
    with flightsql.connect(empty.uri) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE t.m SET temp = 0 WHERE id = 1")
        empty.sql("ALTER TABLE t.m RENAME COLUMN temp TO degrees, DROP COLUMN old")
        with pytest.raises(Exception, match="contract"):
            connection.commit()
    assert values(empty, "SELECT id, degrees FROM t.m ORDER BY id") == [(1, 10.5), (2, 20.5), (3, 30.5)]


def test_rows_that_a_transaction_has_inserted_are_not_written_under_other_names(empty):
    made(empty)
    import adbc_driver_flightsql.dbapi as flightsql
    for change in ["RENAME COLUMN note TO remark", "RENAME COLUMN old TO x, RENAME COLUMN id TO old, RENAME COLUMN x TO id"]:
        before = values(empty, "SELECT * FROM t.m ORDER BY day, temp")
        with flightsql.connect(empty.uri) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO t.m VALUES (9, 90.5, 'z', 900, DATE '2026-01-09')")
            empty.sql(f"ALTER TABLE t.m {change}")
            with pytest.raises(Exception, match="contract_changed"):
                connection.commit()
        assert values(empty, "SELECT * FROM t.m ORDER BY day, temp") == before


def test_views_that_read_by_place_or_through_a_function_keep_their_columns(empty):
    empty.sql("CREATE TABLE t.m (id BIGINT, v BIGINT, w STRING, ts TIMESTAMP) TBLPROPERTIES ('deltaplane.eventTime' = 'ts')")
    for view in ["SELECT x FROM t.m AS q(x, y, z, u, day)", "SELECT w FROM last_seen('t.m', $$w$$)", "WITH m AS (SELECT 1 AS n) SELECT w FROM t.m, m",
                 "SELECT w FROM (WITH m AS (SELECT 'a' AS w) SELECT w FROM m) a UNION SELECT w FROM t.m"]:
        empty.sql(f"CREATE VIEW t.seen AS {view}")
        before = values(empty, "SELECT * FROM t.seen")
        for change in ["DROP COLUMN w", "RENAME COLUMN w TO o"]:
            assert "column_needed" in fails(empty, f"ALTER TABLE t.m {change}"), view
        assert values(empty, "SELECT * FROM t.seen") == before
        empty.sql("DROP VIEW t.seen")
    assert "table_not_told" in fails(empty, "CREATE VIEW t.seen AS SELECT w FROM last_seen('t' || '.m', 'w')")
    empty.sql("ALTER TABLE t.m RENAME COLUMN w TO o")


def test_a_table_without_a_rename_keeps_its_protocol_and_one_with_it_names_the_feature(empty):
    made(empty)
    empty.sql("ALTER TABLE t.m ADD COLUMN more BIGINT")
    log = empty.directory / "tables" / "t" / "m" / "_delta_log"
    assert not any("columnMapping" in entry.read_text() for entry in log.glob("*.json"))
    files = {f for f in log.parent.rglob("*.parquet")}
    moved(empty)
    commit(empty)
    actions = [json.loads(line) for entry in sorted(log.glob("*.json")) for line in entry.read_text().splitlines()]
    protocol = [a["protocol"] for a in actions if "protocol" in a][-1]
    assert "columnMapping" in protocol["readerFeatures"] and "columnMapping" in protocol["writerFeatures"]
    assert files <= {f for f in log.parent.rglob("*.parquet")}, "no file was written anew"
    ids = {}
    for file in log.parent.rglob("*.parquet"):
        for field in pq.ParquetFile(file).schema_arrow:
            number = (field.metadata or {}).get(b"PARQUET:field_id")
            if number is not None:
                ids.setdefault(field.name, set()).add(int(number))
    assert ids and all(len(numbers) == 1 for numbers in ids.values())


def test_independent_readers_read_it_right_or_refuse_it(empty):
    made(empty)
    moved(empty)
    commit(empty)
    path = str(empty.directory / "tables" / "t" / "m")
    table = deltalake.DeltaTable(path)
    assert [f.name for f in table.schema().fields] == ["id", "degrees", "note", "day", "old"]
    query = deltalake.QueryBuilder().register("m", table)
    rows = pa.table(query.execute("SELECT id, degrees, note, old, CAST(day AS STRING) AS day FROM m ORDER BY id").read_all()).to_pylist()
    assert [(r["id"], r["degrees"], r["note"], r["old"]) for r in rows] == ALL
    assert [r["day"] for r in rows] == ["2026-01-01", "2026-01-02", "2026-01-02", "2026-01-03"]
    # Filters prune by statistics, which stand under physical names.
    few = pa.table(query.execute("SELECT id FROM m WHERE degrees > 25 AND day >= '2026-01-02' ORDER BY id").read_all()).to_pylist()
    assert [r["id"] for r in few] == [3, 4]
    # pyarrow through delta-rs does not know the mapping, and says so.
    with pytest.raises(Exception, match="columnMapping"):
        table.to_pyarrow_table()


@pytest.mark.parametrize("mode", ["name", "id"])
def test_tables_of_others_with_column_mapping_can_be_loaded(empty, tmp_path, mode):
    folder = tmp_path / "theirs"
    rows = pa.table({"id": [1, 2, 3], "temp": [1.5, None, 3.5], "site": ["x", "y", "x"]})
    deltalake.write_deltalake(str(folder), rows, partition_by=["site"], configuration={"delta.columnMapping.mode": mode})
    assert "temp" not in pq.ParquetFile(next(folder.rglob("*.parquet"))).schema_arrow.names
    empty.sql("CREATE TABLE t.theirs (id BIGINT, temp DOUBLE, site STRING)")
    empty.run("ingest", "t.theirs", str(folder))
    assert values(empty, "SELECT * FROM t.theirs ORDER BY id") == [(1, 1.5, "x"), (2, None, "y"), (3, 3.5, "x")]
    # What another server has renamed is loaded under its names of today.
    made(empty)
    moved(empty)
    commit(empty)
    empty.sql("CREATE TABLE t.copy (id BIGINT, degrees DOUBLE, note STRING, day DATE, old STRING)")
    empty.run("ingest", "t.copy", str(empty.directory / "tables" / "t" / "m"))
    assert values(empty, "SELECT id, degrees, note, old FROM t.copy ORDER BY id") == ALL
