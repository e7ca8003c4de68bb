"""Bound parameters: a value is compared as what it is, in the order of the text, in every kind of statement."""

import datetime
import decimal
import subprocess

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from clients.programs import JDBC_VERSIONS, jdbc_program

Error = adbc_driver_manager.Error
NOON = datetime.datetime(2026, 11, 1, 12)
DAY = datetime.date(2026, 11, 1)


@pytest.fixture
def cursor(server):
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE p (i BIGINT, v DOUBLE, k STRING, ts TIMESTAMP, day DATE, d DECIMAL(10,2), b BOOLEAN, x BINARY)")
        cursor.execute("""INSERT INTO p SELECT value, value + 0.5, chr(96 + value), TIMESTAMP '2026-11-01 12:00:00' + (value - 1) * INTERVAL '1 second',
            DATE '2026-11-01', CAST(value AS DECIMAL(10,2)), value = 1, CAST(chr(96 + value) AS BYTEA) FROM generate_series(1, 3)""")
        yield cursor


def ask(cursor, sql, *values):
    cursor.execute(sql, values or None)
    return cursor.fetchall()


def column(cursor, sql, *values):
    return [row[0] for row in ask(cursor, sql, *values)]


def refused(cursor, sql, *values):
    with pytest.raises(Error) as caught:
        ask(cursor, sql, *values)
    assert caught.value.status_code.name == "INVALID_ARGUMENT", caught.value
    return str(caught.value)


@pytest.mark.parametrize("where, values, expected", [
    ("i = ?", (1.9,), []),
    ("i < ?", (2.5,), [1, 2]),
    ("i IN (?, ?)", (1.2, 3.9), []),
    ("i BETWEEN ? AND ?", (1.5, 2.5), [2]),
    ("? < i", (2.5,), [3]),
    ("day < ?", (datetime.datetime(2026, 11, 1, 15),), [1, 2, 3]),
    ("day = ?", (datetime.datetime(2026, 11, 1, 15),), []),
    ("day = ?", (DAY,), [1, 2, 3]),
    ("ts > ?", (NOON,), [2, 3]),
    ("ts > ?", (NOON.replace(tzinfo=datetime.UTC),), [2, 3]),
    ("ts > ?", ("2026-11-01 12:00:00",), [2, 3]),
    ("ts - ? = ?", (datetime.timedelta(seconds=1), NOON), [2]),
    ("? < ?", (9, 10), [1, 2, 3]),
    ("? < ?", ("9", "10"), []),
    ("d = ?", (decimal.Decimal("2.00"),), [2]),
    ("d > ?", (decimal.Decimal("1.999"),), [2, 3]),
    ("b = ?", (True,), [1]),
    ("x = ?", (b"b",), [2]),
    ("k LIKE ?", ("b%",), [2]),
    ("i = ANY(?)", ([1, 3],), [1, 3]),
    ("k = ANY(?)", (["a", "c"],), [1, 3]),
    ("i = ANY(ARRAY[?, ?])", (1, 3), [1, 3]),
    ("i = ?", (None,), []),
    ("k = ? OR ? IS NULL", (None, None), [1, 2, 3]),
    ("i = (SELECT max(i) FROM p WHERE v < ?)", (3.0,), [2]),
    ("CASE WHEN i > ? THEN ? ELSE ? END = ?", (1, "x", "y", "x"), [2, 3]),
])
def test_a_value_is_compared_as_what_it_is(cursor, where, values, expected):
    assert column(cursor, f"SELECT i FROM p WHERE {where} ORDER BY i", *values) == expected


@pytest.mark.parametrize("sql, values, expected", [
    ("SELECT ?", (5,), 5),
    ("SELECT ?", (None,), None),
    ("SELECT ?", (0.5,), 0.5),
    ("SELECT ? + ?", (1, 0.5), 1.5),
    ("SELECT coalesce(?, ?)", (None, "b"), "b"),
    ("SELECT greatest(?, ?)", (9, 10), 10),
    ("SELECT CASE WHEN ? > 1 THEN ? ELSE ? END", (2, "a", "b"), "a"),
    ("WITH a AS (SELECT ? AS x) SELECT x FROM a", ("q",), "q"),
    ("SELECT x FROM (SELECT ? AS x UNION ALL SELECT ?) AS u ORDER BY x DESC LIMIT ?", (1, 2.5, 1), 2.5),
    ("SELECT max(column1) FROM (VALUES (?), (?)) AS v", (1, 2.5), 2.5),
    ("SELECT time_bucket(?, TIMESTAMP '2026-11-01 12:00:07')", ("5 seconds",), NOON.replace(second=5)),
    ("SELECT time_bucket(?, TIMESTAMP '2026-11-01 12:00:07')", (None,), None),
    ("SELECT TIMESTAMP '2026-11-01 12:00:00' + interval '1 s' * ?", (3,), NOON.replace(second=3)),
    ("SELECT TIMESTAMP '2026-11-01 12:00:00' + ? * interval '1 s'", (0.5,), NOON.replace(microsecond=500000)),
    ("SELECT TIMESTAMP '2026-11-01 12:00:00' + INTERVAL ?", ("3 seconds",), NOON.replace(second=3)),
    ("SELECT date_part(?, DATE '2026-11-01')", ("year",), 2026),
    ("SELECT CAST(? AS BIGINT)", ("12",), 12),
    ("SELECT substr('abcdef', ?, ?)", (2, 3), "bcd"),
    ("SELECT count(*) FROM generate_series(?, ?)", (1, 5), 5),
    ("SELECT count(*) FROM generate_series(1, ?)", (None,), 0),
])
def test_a_result_has_the_type_of_what_is_bound(cursor, sql, values, expected):
    (got,) = column(cursor, sql, *values)
    assert (got, type(got)) == (expected, type(expected))


# Each `?` has another value, so that two in the wrong order give another answer.
@pytest.mark.parametrize("sql, values", [
    ("SELECT i FROM p ORDER BY i OFFSET ? LIMIT ?", (1, 2)),
    ("SELECT i FROM p ORDER BY i LIMIT ?, ?", (1, 2)),
    ("SELECT percentile_cont(?) WITHIN GROUP (ORDER BY i * ?) FILTER (WHERE i > ?) FROM p", (0.5, 100, 1)),
    ("SELECT sum(i * ?) FILTER (WHERE i > ?), array_agg(i + ? ORDER BY i * ?) FROM p WHERE i < ?", (10, 1, 100, -1, 4)),
    ("SELECT first(i * ?, ts), last(i + ?, ts) FROM p WHERE i < ?", (10, 100, 3)),
    ("SELECT time_bucket_gapfill(?, ts) AS s, locf(max(i * ?)) FROM p WHERE i <> ? GROUP BY 1 ORDER BY 1", ("1 second", 10, 2)),
    ("WITH a AS (SELECT i + ? AS j FROM p), b AS (SELECT j * ? AS j FROM a) SELECT j + ? FROM b ORDER BY 1", (1, 10, 100)),
    ("SELECT s.j + ? FROM (SELECT i * ? AS j FROM p WHERE i > ?) AS s ORDER BY s.j LIMIT ?", (1, 10, 1, 1)),
    ("SELECT l.i + ? FROM p AS l JOIN p AS r ON l.i = r.i + ? AND r.v < ? WHERE l.i > ? ORDER BY 1", (100, 1, 3.0, 0)),
    ("SELECT sum(i * ?) OVER (ORDER BY i + ? ROWS BETWEEN ? PRECEDING AND ? FOLLOWING) FROM p WHERE i < ? ORDER BY i", (10, 5, 0, 1, 3)),
    ("SELECT sum(i * ?) OVER w FROM p WHERE i > ? WINDOW w AS (ORDER BY ts RANGE BETWEEN ? PRECEDING AND CURRENT ROW) ORDER BY i", (10, 1, "1 second")),
    ("SELECT CASE i WHEN ? THEN ? WHEN ? THEN ? ELSE ? END FROM p ORDER BY i", (1, 10, 2, 20, 30)),
    ("SELECT i FROM p WHERE i BETWEEN ? AND ? AND i NOT IN (?, ?) ORDER BY i", (1, 3, 2, 9)),
    ("SELECT i % ?, count(*) + ? FROM p GROUP BY 1 HAVING count(*) > ? ORDER BY 1", (2, 10, 0)),
    ("SELECT i + ? FROM p WHERE i > ? UNION ALL SELECT ? ORDER BY 1 OFFSET ?", (10, 1, 99, 1)),
    ("SELECT l.i + ? FROM p AS l ASOF JOIN p AS r MATCH_CONDITION (l.ts >= r.ts) ON l.i = r.i WHERE l.i > ? ORDER BY 1", (10, 1)),
])
def test_values_are_bound_in_the_order_of_the_text(cursor, sql, values):
    literal = sql
    for value in values:
        literal = literal.replace("?", repr(value), 1)
    literal = literal.replace("RANGE BETWEEN '1 second'", "RANGE BETWEEN INTERVAL '1 second'")
    expected = ask(cursor, literal)
    assert expected and ask(cursor, sql, *values) == expected


def test_rows_are_changed_by_values_as_they_are(cursor):
    ask(cursor, "DELETE FROM p WHERE i = ?", 3.9)
    assert column(cursor, "SELECT i FROM p ORDER BY i") == [1, 2, 3]
    ask(cursor, "UPDATE p SET v = ?, k = ?, ts = ?, d = ?, b = ?, x = ? WHERE i = ?", 9.5, "z", "2026-12-01 00:00:00", decimal.Decimal("1.5"), None, b"zz", 1)
    assert ask(cursor, "SELECT v, k, d, b, x FROM p WHERE i = 1") == [(9.5, "z", decimal.Decimal("1.50"), None, b"zz")]
    assert column(cursor, "SELECT i FROM p WHERE ts = TIMESTAMP '2026-12-01 00:00:00'") == [1]
    ask(cursor, "UPDATE p SET v = CASE WHEN i = ? THEN ? ELSE v END WHERE i < ?", 2, 7, 2.5)
    assert column(cursor, "SELECT v FROM p ORDER BY i") == [9.5, 7.0, 3.5]
    ask(cursor, "MERGE INTO p USING (SELECT ? AS i, ? AS k) AS s ON p.i = s.i WHEN MATCHED AND p.v > ? THEN UPDATE SET k = s.k, v = ? WHEN NOT MATCHED THEN INSERT (i, k) VALUES (s.i + ?, s.k)", 2, "m", 5, 0.25, 100)
    assert ask(cursor, "SELECT k, v FROM p WHERE i = 2") == [("m", 0.25)]
    ask(cursor, "INSERT INTO p (i, v) SELECT i + ?, v * ? FROM p WHERE i < ? ORDER BY i OFFSET ? LIMIT ?", 100, 2, 3, 1, 1)
    assert ask(cursor, "SELECT i, v FROM p WHERE i > 99") == [(102, 0.5)]
    assert "column=i" in refused(cursor, "UPDATE p SET i = ?", 3.9)


def test_what_cannot_be_bound_names_the_parameter(cursor):
    assert "parameter 2 has no value" in refused(cursor, "SELECT ? + ?", 1)
    assert "no parameter 2" in refused(cursor, "SELECT ?", 1, 2)
    assert "no parameter 1" in refused(cursor, "SELECT 1", 1)
    assert "no parameter 2" in refused(cursor, "DELETE FROM p WHERE i = ?", 1, 2)
    assert "parameter 1 has no value" in refused(cursor, "DELETE FROM p WHERE v = ?")
    assert "parameter 2" in refused(cursor, "SELECT i FROM p WHERE i > ? AND i = ?", 1, "abc")
    assert "parameter 1" in refused(cursor, "SELECT i FROM p WHERE ts > ?", "yesterday")
    assert "parameter 1 is List" in refused(cursor, "SELECT i FROM p WHERE i = ?", [1])
    assert "parameter 1 counts rows" in refused(cursor, "SELECT i FROM p LIMIT ?", 2.5)
    assert "parameter 1 counts rows" in refused(cursor, "SELECT i FROM p LIMIT ?", -1)
    assert "parameter 2" in refused(cursor, "SELECT sum(i) OVER (ORDER BY i + ? ROWS ? PRECEDING) FROM p", 1, -1)
    assert "parameter=$name" in refused(cursor, "SELECT $name", 1)


def query_with(connection, sql, table):
    """A query bound to all rows of the table."""
    statement = adbc_driver_manager.AdbcStatement(connection.adbc_connection)
    try:
        statement.set_sql_query(sql)
        statement.prepare()
        statement.bind_stream(table.to_reader())
        stream, _ = statement.execute_query()
        return pa.RecordBatchReader._import_from_c(stream.address).read_all()
    finally:
        statement.close()


def test_a_query_bound_to_many_rows_gives_the_rows_of_each(server, cursor):
    with adbc.connect(server.uri, autocommit=True) as connection:
        bound = pa.table({"a": pa.array([2.5, None, 1.5]), "n": [10, 20, 30]})
        result = query_with(connection, "SELECT i, $2 AS n FROM p WHERE i < $1 ORDER BY i", bound)
        assert result.to_pylist() == [{"i": 1, "n": 10}, {"i": 2, "n": 10}, {"i": 1, "n": 30}]
        empty = query_with(connection, "SELECT i * ? AS x FROM p", pa.table({"a": pa.array([], pa.float64())}))
        assert empty.num_rows == 0 and empty.schema.field("x").type == pa.float64()


def test_changes_bound_to_many_rows_are_executed_in_order_and_committed_as_one(server, cursor):
    server.wait_committed("p")
    before = server.delta("p", "public").version()
    cursor.executemany("UPDATE p SET v = v * ? WHERE i >= ?", [(2.0, 2), (10.0, 3), (1.0, 99)])
    assert cursor.rowcount == 3
    assert column(cursor, "SELECT v FROM p ORDER BY i") == [1.5, 5.0, 70.0]
    assert server.delta("p", "public").version() == before + 1
    # Each sees what those before it have made.
    cursor.executemany("UPDATE p SET i = ? WHERE i = ?", [(10, 1), (11, 10), (12, 11), (20, 2)])
    assert cursor.rowcount == 4
    assert column(cursor, "SELECT i FROM p ORDER BY i") == [3, 12, 20]
    version = server.delta("p", "public").version()
    with pytest.raises(Error, match="column=i"):
        cursor.executemany("UPDATE p SET i = ? WHERE k = ?", [(1.0, "zz"), (1.5, "c")])
    with pytest.raises(Error, match="parameter 1"):
        cursor.executemany("DELETE FROM p WHERE i = ?", [("12",), ("x",)])
    assert server.delta("p", "public").version() == version, "all or nothing"
    cursor.executemany("DELETE FROM p WHERE i = ?", [(3,), (3,), (20,), (99,)])
    assert cursor.rowcount == 2
    assert column(cursor, "SELECT i FROM p ORDER BY i") == [12]
    with pytest.raises(Error, match="one row of parameters") as caught:
        cursor.executemany("DELETE FROM p WHERE i = ? AND v < (SELECT max(v) FROM p)", [(1,), (2,)])
    assert caught.value.status_code.name == "NOT_IMPLEMENTED"


def test_many_rows_keep_a_unique_key(server, cursor):
    cursor.execute("CREATE TABLE u (id BIGINT NOT NULL, v DOUBLE) TBLPROPERTIES ('deltaplane.rule.u' = '{\"name\":\"unique:id\",\"column\":\"id\",\"kind\":{\"unique\":{\"columns\":[\"id\"]}},\"action\":\"reject\"}')")
    cursor.execute("INSERT INTO u VALUES (1, 1.0), (2, 2.0)")
    cursor.executemany("UPDATE u SET id = ? WHERE id = ?", [(3, 1), (1, 2), (4, 3)])
    assert ask(cursor, "SELECT id, v FROM u ORDER BY id") == [(1, 2.0), (4, 1.0)]
    with pytest.raises(Error, match="unique:id"):
        cursor.executemany("UPDATE u SET id = ? WHERE id = ?", [(9, 1), (9, 4)])
    assert column(cursor, "SELECT id FROM u ORDER BY id") == [1, 4]


def test_a_union_is_bound_as_what_is_in_it(server, cursor):
    """As flightsql-dbapi binds, from a body that stands anywhere in memory."""
    with adbc.connect(server.uri, autocommit=True) as connection:
        for text in ("a", "abc", "abcdefgh"):
            union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([text]), pa.array([1])], ["s", "i"])
            result = query_with(connection, "SELECT ? AS x", pa.table({"1": union}))
            assert result.to_pylist() == [{"x": text}]


def test_a_ticket_is_for_the_values_that_it_was_given_for(server, cursor):
    from flight_sql import action, any_of, field, fields
    (made,) = action(server, "CreatePreparedStatement", field(1, "SELECT ? AS x"), wrap="ActionCreatePreparedStatementRequest")
    handle = dict(fields(dict(fields(made))[2]))[1]
    client = server.flight()
    asked = fl.FlightDescriptor.for_command(any_of("CommandPreparedStatementQuery", field(1, handle)))

    def bind(value):
        batch = pa.record_batch({"1": [value]})
        writer, _ = client.do_put(asked, batch.schema)
        writer.write_batch(batch)
        writer.close()

    bind(1)
    info = client.get_flight_info(asked)
    assert info.schema.field("x").type == pa.int64()
    assert client.do_get(info.endpoints[0].ticket).read_all().to_pylist() == [{"x": 1}]
    bind("a")
    with pytest.raises(pa.ArrowException, match="bound_anew"):
        client.do_get(info.endpoints[0].ticket).read_all()
    info = client.get_flight_info(asked)
    assert info.schema.field("x").type == pa.string()
    assert client.do_get(info.endpoints[0].ticket).read_all().to_pylist() == [{"x": "a"}]


@pytest.mark.parametrize("version", JDBC_VERSIONS)
def test_jdbc_binds_what_it_is_told_to(server, version):
    url = f"jdbc:arrow-flight-sql://127.0.0.1:{server.port}/?useEncryption=false"
    done = subprocess.run(jdbc_program(version, "JdbcParameters", url), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all ok")
