"""What a result says of its columns: names, also the same one twice, tables, types, and times in the unit that was asked for."""

import datetime

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from flight_sql import any_of, field, fields, action

SQL = "ARROW:FLIGHT:SQL:"
TIME = datetime.datetime(2026, 11, 1, 12, 0, 0, 123456, datetime.UTC)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from conftest import Server
    server = Server(tmp_path_factory.mktemp("results") / "data").start()
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE lab.e (k STRING, ts TIMESTAMP NOT NULL, x DOUBLE COMMENT 'level', dec DECIMAL(10,2)) "
                       "TBLPROPERTIES ('deltaplane.key' = 'k, ts', 'deltaplane.eventTime' = 'ts')")
        cursor.execute("INSERT INTO lab.e (k, ts, x, dec) VALUES ('a', TIMESTAMP '2026-11-01 12:00:00.123456', 1.5, 2.25), ('a', TIMESTAMP '2026-11-01 12:00:01', 2.5, 3)")
        cursor.execute("CREATE TABLE lab.f (k STRING, y DOUBLE)")
        cursor.execute("INSERT INTO lab.f VALUES ('a', 7.0)")
        cursor.execute("CREATE MATERIALIZED VIEW lab.by_minute AS SELECT window_start, k, count(*) AS n FROM lab.e GROUP BY tumble(ts, '1 minute'), k")
    yield server
    server.stop()


def fetched(server, sql, **headers):
    """The result as a table; FlightInfo and stream say the same of it, metadata included."""
    options = fl.FlightCallOptions(headers=[(k.replace("__", ".").encode(), v.encode()) for k, v in headers.items()])
    client = server.flight()
    info = client.get_flight_info(fl.FlightDescriptor.for_command(sql.encode()), options)
    # Not every client sends its headers again: the ticket knows.
    table = client.do_get(info.endpoints[0].ticket).read_all()
    assert table.schema.equals(info.schema, check_metadata=True)
    return table


def rows_of(table):
    return list(zip(*(column.to_pylist() for column in table.columns)))


@pytest.mark.parametrize("sql, names, first", [
    ("SELECT ts, ts::date FROM lab.e ORDER BY 1", ["ts", "ts"], (TIME, TIME.date())),
    ("SELECT ts::date, ts FROM lab.e ORDER BY ts", ["ts", "ts"], (TIME.date(), TIME)),
    ("SELECT count(*), count(*) FROM lab.e", ["count(*)", "count(*)"], (2, 2)),
    ("SELECT count(*), COUNT(*), count(*) AS n FROM lab.e GROUP BY k", ["count(*)", "count(*)", "n"], (2, 2, 2)),
    ("SELECT e.*, f.* FROM lab.e JOIN lab.f ON e.k = f.k ORDER BY ts", ["k", "ts", "x", "dec", "event_date", "k", "y"], None),
    ("SELECT e.k, f.k FROM lab.e JOIN lab.f ON e.k = f.k", ["k", "k"], ("a", "a")),
    ("SELECT DISTINCT e.k, f.k FROM lab.e JOIN lab.f ON e.k = f.k ORDER BY f.k", ["k", "k"], ("a", "a")),
    ("SELECT k, k, upper(k) AS k FROM lab.e", ["k", "k", "k"], ("a", "a", "A")),
    ("SELECT f.*, k FROM lab.f", ["k", "y", "k"], ("a", 7.0, "a")),
    ("SELECT *, y + 1 AS y FROM lab.f", ["k", "y", "y"], ("a", 7.0, 8.0)),
    ("SELECT *, y + 1 AS z FROM lab.f ORDER BY z", ["k", "y", "z"], ("a", 7.0, 8.0)),
    ("SELECT 1 AS a, 2 AS a", ["a", "a"], (1, 2)),
    ("SELECT 1, 1", ["Int64(1)", "Int64(1)"], (1, 1)),
    ("SELECT y, y FROM lab.f UNION ALL SELECT 1, 2 ORDER BY 1 DESC", ["y", "y"], (7.0, 7.0)),
    ("SELECT y::bigint FROM lab.f", ["y"], (7,)),
    ("FROM lab.f", ["k", "y"], ("a", 7.0)),
    ("SELECT * FROM (FROM lab.f) t", ["k", "y"], ("a", 7.0)),
])
def test_a_result_may_hold_columns_of_one_name(server, sql, names, first):
    table = fetched(server, sql)
    assert table.schema.names == names
    if first:
        assert rows_of(table)[0] == first


def test_columns_of_one_name_are_an_error_where_one_of_them_is_meant(server):
    for sql, word in [("SELECT a FROM (SELECT 1 AS a, 2 AS a) t", "a"),
                      ("CREATE MATERIALIZED VIEW lab.twice AS SELECT window_start, count(*) AS n, count(*) AS n FROM lab.e GROUP BY tumble(ts, '1 minute')", "n"),
                      ("CREATE MATERIALIZED VIEW lab.twice AS SELECT window_start, lower(max(k)), strpos(max(k), 'a'), position('a' IN max(k)) FROM lab.e GROUP BY tumble(ts, '1 minute')", "column=strpos")]:
        with pytest.raises(pa.ArrowInvalid, match=word):
            server.sql(sql)
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO lab.f SELECT 'b', y FROM lab.f WHERE k = 'a'")
        cursor.execute("CREATE TABLE lab.pairs (one DOUBLE, other DOUBLE)")
        cursor.execute("INSERT INTO lab.pairs SELECT y, y FROM lab.f WHERE k = 'b'")
        assert server.sql("SELECT * FROM lab.pairs") == [{"one": 7.0, "other": 7.0}]
        cursor.execute("DROP TABLE lab.pairs")
        cursor.execute("DELETE FROM lab.f WHERE k <> 'a'")
        # A view has each column once, under names that are given to it or that the result has.
        cursor.execute("CREATE VIEW lab.days AS SELECT ts::date, x FROM lab.e")
        cursor.execute("CREATE VIEW lab.twofold (one, other) AS SELECT ts, ts::date FROM lab.e")
        assert fetched(server, "SELECT * FROM lab.days WHERE x > 2").to_pylist() == [{"ts": TIME.date(), "x": 2.5}]
        assert rows_of(fetched(server, "SELECT one, other FROM lab.twofold ORDER BY one LIMIT 1")) == [(TIME, TIME.date())]
        with pytest.raises(adbc_error(), match="column_twice"):
            cursor.execute("CREATE VIEW lab.again AS SELECT ts, ts::date FROM lab.e")
        kinds = {r["table_name"]: r["table_type"] for r in command(server, "CommandGetTables", field(2, "lab")).to_pylist()}
        assert kinds["days"] == kinds["by_minute"] == "VIEW" and kinds["e"] == "TABLE"
        assert fetched(server, "SELECT x FROM lab.days").schema.field("x").metadata[f"{SQL}TABLE_NAME".encode()] == b"days"
        cursor.execute("DROP VIEW lab.days")
        cursor.execute("DROP VIEW lab.twofold")
        with pytest.raises(pa.ArrowNotImplementedError, match="PIVOT is not supported"):
            server.sql("SELECT * FROM (SELECT k, x FROM lab.e) PIVOT (sum(x) FOR k IN ('a'))")


def test_a_column_says_its_table_its_type_and_its_precision(server):
    told = {name: {k.decode().removeprefix(SQL): v.decode() for k, v in (f.metadata or {}).items()}
            for name, f in ((f.name, f) for f in fetched(server, "SELECT e.ts AS at, x, dec, x + 1 AS more, count(*) OVER () AS n, k FROM lab.e").schema)}
    of_table = {"CATALOG_NAME": "deltaplane", "SCHEMA_NAME": "lab", "DB_SCHEMA_NAME": "lab", "TABLE_NAME": "e"}
    for name in ("at", "x", "dec", "k"):
        assert of_table.items() <= told[name].items(), name
    for name in ("more", "n"):
        assert "TABLE_NAME" not in told[name]
    assert [(told[n]["TYPE_NAME"], told[n].get("PRECISION"), told[n].get("SCALE")) for n in ("at", "x", "dec", "n", "k")] == [
        ("TIMESTAMP", "26", "6"), ("DOUBLE", "15", None), ("DECIMAL(10,2)", "10", "2"), ("BIGINT", "19", "0"), ("STRING", "2147483647", None)]
    assert told["x"]["comment"] == "level" and "REMARKS" not in told["x"]
    # Through what passes columns on, and not through what makes them.
    for sql, table in [("SELECT s.k FROM (SELECT * FROM lab.e ORDER BY ts LIMIT 1) s", "e"), ("WITH s AS (SELECT y, k FROM lab.f) SELECT k FROM s", "f"),
                       ("SELECT k FROM lab.e GROUP BY k", "e"), ("SELECT f.k FROM lab.e JOIN lab.f ON e.k = f.k", "f"), ("SELECT n AS k FROM lab.by_minute", "by_minute"),
                       ("SELECT upper(k) AS k FROM lab.e", None), ("SELECT k FROM lab.e UNION ALL SELECT k FROM lab.f", None), ("SELECT table_name AS k FROM system.tables", "tables")]:
        metadata = fetched(server, sql).schema.field("k").metadata
        assert metadata.get(f"{SQL}TABLE_NAME".encode()) == (table.encode() if table else None), sql


def command(server, name, body=b""):
    client = server.flight()
    info = client.get_flight_info(fl.FlightDescriptor.for_command(any_of(name, body)))
    table = client.do_get(info.endpoints[0].ticket).read_all()
    assert table.schema.equals(info.schema)
    return table


def test_tables_views_and_system_tables_are_told_apart(server):
    kinds = {(r["db_schema_name"], r["table_name"]): r["table_type"] for r in command(server, "CommandGetTables").to_pylist()}
    assert kinds["lab", "e"] == "TABLE" and kinds["lab", "by_minute"] == "VIEW" and kinds["system", "tables"] == "SYSTEM TABLE"
    assert command(server, "CommandGetTableTypes").to_pydict() == {"table_type": ["LOCAL TEMPORARY", "SYSTEM TABLE", "TABLE", "VIEW"]}
    views = command(server, "CommandGetTables", field(4, "VIEW") + field(5, 1)).to_pylist()
    assert [r["table_name"] for r in views] == ["by_minute"]
    grafana = command(server, "CommandGetTables", field(4, "BASE TABLE") + field(4, "table")).to_pylist()
    assert {"e", "f"} <= {r["table_name"] for r in grafana} and "by_minute" not in {r["table_name"] for r in grafana}
    one = command(server, "CommandGetTables", field(2, "lab") + field(3, "e") + field(5, 1)).to_pylist()[0]
    columns = pa.ipc.read_schema(pa.py_buffer(one["table_schema"]))
    assert not columns.field("ts").nullable and columns.field("x").nullable
    told = {k.decode().removeprefix(SQL): v.decode() for k, v in columns.field("dec").metadata.items()}
    assert {"TYPE_NAME": "DECIMAL(10,2)", "PRECISION": "10", "SCALE": "2", "TABLE_NAME": "e"}.items() <= told.items()


def test_primary_keys_have_the_columns_of_the_specification(server):
    nullable = {"catalog_name": True, "db_schema_name": True, "table_name": False, "column_name": False, "key_name": True, "key_sequence": False}
    for body, found in [(field(2, "lab") + field(3, "e"), 2), (field(3, "E"), 2), (field(1, "deltaplane") + field(3, "e"), 2),
                        (field(1, "other") + field(3, "e"), 0), (field(2, "public") + field(3, "e"), 0), (field(3, "nowhere"), 0)]:
        keys = command(server, "CommandGetPrimaryKeys", body)
        assert {f.name: f.nullable for f in keys.schema} == nullable and list(nullable) == keys.schema.names
        assert [(r["table_name"], r["column_name"], r["key_sequence"]) for r in keys.to_pylist()] == [("e", "k", 1), ("e", "ts", 2)][:found]


@pytest.mark.parametrize("sql, expected", [
    ("SHOW TABLES FROM lab", [("lab", "by_minute"), ("lab", "e"), ("lab", "e_quarantine"), ("lab", "f"), ("lab", "f_quarantine")]),
    ("SHOW TABLES IN LAB LIKE 'E%'", [("lab", "e"), ("lab", "e_quarantine")]),
    ("SHOW TABLES LIKE 'zz%'", []),
    ("SHOW TABLES FROM deltaplane.lab WHERE table_name = 'f'", [("lab", "f")]),
    ("SHOW TABLES FROM public", []),
    ("SHOW VIEWS FROM lab", [("lab", "by_minute")]),
    ("SHOW SCHEMAS LIKE 'l%'", [("lab",)]),
    ("SHOW DATABASES LIKE 'Sys%'", [("system",)]),
    ("SHOW CATALOGS", [("deltaplane",)]),
    ("SHOW COLUMNS FROM lab.e LIKE 't%'", [("ts", "TIMESTAMP")]),
    ("SHOW COLUMNS IN lab.e WHERE nullable AND data_type <> 'STRING'", [("x", "DOUBLE"), ("dec", "DECIMAL(10,2)"), ("event_date", "DATE")]),
])
def test_show_obeys_its_clauses(server, sql, expected):
    got = [tuple(row.values()) for row in server.sql(sql)]
    assert [row[:len(first)] for row, first in zip(got, expected)] == expected and len(got) == len(expected)


def test_show_refuses_what_is_not_there(server):
    for sql, error, word in [("SHOW TABLES FROM nowhere", pa.ArrowKeyError, "lab"), ("SHOW COLUMNS FROM lab.nowhere", pa.ArrowKeyError, "nowhere"),
                             ("SHOW SCHEMAS FROM nowhere", pa.ArrowKeyError, "deltaplane"), ("SHOW TABLES LIMIT 3", pa.ArrowInvalid, "LIKE")]:
        with pytest.raises(error, match=word):
            server.sql(sql)


def test_timestamps_come_in_nanoseconds_where_a_client_asks_for_them(server):
    sql = "SELECT ts AS time, x FROM lab.e ORDER BY time"
    plain, nanos = fetched(server, sql), fetched(server, sql, deltaplane__timestamp_unit="ns")
    assert plain.schema.field("time").type == pa.timestamp("us", "UTC")
    assert nanos.schema.field("time").type == pa.timestamp("ns", "UTC")
    assert nanos.schema.field("time").metadata[f"{SQL}SCALE".encode()] == b"9"
    assert nanos["time"].cast(pa.timestamp("us", "UTC")) == plain["time"] and nanos["x"] == plain["x"]
    options = {"adbc.flight.sql.rpc.call_header.deltaplane.timestamp_unit": "ns"}
    with adbc.connect(server.uri, autocommit=True, db_kwargs=options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ts FROM lab.e WHERE x > ? ORDER BY 1", (0.0,))
        assert cursor.fetch_arrow_table()["ts"].type == pa.timestamp("ns", "UTC")
        # What is written keeps its unit.
        cursor.execute("CREATE TABLE lab.copied (ts TIMESTAMP)")
        cursor.execute("INSERT INTO lab.copied SELECT ts FROM lab.e UNION ALL SELECT TIMESTAMP '9999-12-31 00:00:00'")
        with pytest.raises(adbc_error(), match="value_out_of_range.*ts.*us"):
            cursor.execute("SELECT ts FROM lab.copied")
            cursor.fetch_arrow_table()
    assert server.one("SELECT count(*) FROM lab.copied") == 3
    with adbc.connect(server.uri, autocommit=True, db_kwargs={"adbc.flight.sql.rpc.with_cookie_middleware": "true"},
                      conn_kwargs={"adbc.flight.sql.session.option.deltaplane.timestamp_unit": "ns"}) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ts FROM lab.e")
        assert cursor.fetch_arrow_table()["ts"].type == pa.timestamp("ns", "UTC")
    with pytest.raises(pa.ArrowInvalid, match="invalid_option"):
        fetched(server, sql, deltaplane__timestamp_unit="hours")


def adbc_error():
    import adbc_driver_manager
    return adbc_driver_manager.Error


def test_what_grafana_s_plugin_calls_is_answered(server):
    """Its health check, its table and column lists, its query: by CommandStatementQuery with the configured metadata as headers."""
    headers = [(b"deltaplane.timestamp_unit", b"ns"), (b"authorization", b"Bearer abc")]
    options, client = fl.FlightCallOptions(headers=headers), server.flight()

    def query(sql):
        info = client.get_flight_info(fl.FlightDescriptor.for_command(any_of("CommandStatementQuery", field(1, sql))), options)
        assert len(info.endpoints) == 1 and not info.endpoints[0].locations
        return client.do_get(info.endpoints[0].ticket, options).read_all()

    assert query("select 1").num_rows == 1
    assert command(server, "CommandGetSqlInfo").num_rows == 91
    assert command(server, "CommandGetTables", field(3, "e") + field(5, 1)).to_pylist()[0]["table_schema"]
    series = query("SELECT date_bin(interval '1 second', ts, timestamp '1970-01-01T00:00:00Z') AS time, k, avg(x) AS level FROM lab.e "
                   "WHERE ts >= '2026-11-01T00:00:00Z' AND ts <= '2026-11-02T00:00:00Z' GROUP BY 1, k ORDER BY time")
    assert series.schema.field("time").type == pa.timestamp("ns", "UTC") and series.num_rows == 2
    assert series["time"].cast(pa.int64()).to_pylist() == [1_793_534_400_000_000_000, 1_793_534_401_000_000_000]


def test_transactions_are_described_as_they_are(server):
    told = {r["info_name"]: r["value"] for r in command(server, "CommandGetSqlInfo").to_pylist()}
    # Transactions without savepoints; read committed alone, which is the default; DDL in them takes effect and is not ignored.
    assert (told[8], told[562], told[563], told[564], told[565], told[566], told[573]) == (1, 2, True, 1 << 2, False, False, False)
