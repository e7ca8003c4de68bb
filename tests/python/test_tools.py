"""What SQL tools ask a server before and beside their queries: lists of columns and views, who they are, and statements in the words of other databases."""

import adbc_driver_flightsql.dbapi as adbc
import pytest
from conftest import Server

TYPES = {
    "b": "BOOLEAN", "i8": "TINYINT", "i16": "SMALLINT", "i32": "INT", "i64": "BIGINT", "f32": "FLOAT", "f64": "DOUBLE", "s": "STRING", "s5": "VARCHAR(5)",
    "bin": "BINARY", "d": "DATE", "ts": "TIMESTAMP", "ntz": "TIMESTAMP_NTZ", "dec": "DECIMAL(20,4)",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("tools") / "data").start()
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE lab.ty ({', '.join(f'{name} {kind}' for name, kind in TYPES.items())}, n INT NOT NULL DEFAULT 3)")
        cursor.execute("CREATE TABLE lab.e (ts TIMESTAMP NOT NULL, x DOUBLE) TBLPROPERTIES ('deltaplane.eventTime' = 'ts')")
        cursor.execute("CREATE VIEW lab.high AS SELECT x FROM lab.e WHERE x > 1")
        cursor.execute("CREATE MATERIALIZED VIEW lab.by_minute AS SELECT window_start, count(*) AS n FROM lab.e GROUP BY tumble(ts, '1 minute')")
    yield server
    server.stop()


@pytest.fixture
def run(server):
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        def run(sql):
            cursor.execute(sql)
            return cursor.fetchall()
        yield run


def test_columns_are_listed_with_types_that_a_table_takes_back(run):
    columns = run("SELECT column_name, data_type, ordinal_position, is_nullable, column_default, character_maximum_length, numeric_precision, numeric_scale, datetime_precision "
                  "FROM information_schema.columns WHERE table_schema = 'lab' AND table_name = 'ty' ORDER BY ordinal_position")
    assert [column[2] for column in columns[:15]] == list(range(1, 16))
    listed = {column[0]: column for column in columns}
    shown = {row[0]: row[1] for row in run("SHOW COLUMNS FROM lab.ty")}
    assert {name: column[1] for name, column in listed.items()} == shown
    assert {name: listed[name][1] for name in TYPES} == {**TYPES, "s5": "STRING"}
    assert (listed["s"][5], listed["s5"][5]) == (None, 5)
    assert [listed[name][6:8] for name in ("i32", "i64", "f64", "dec", "s")] == [(10, 0), (19, 0), (15, None), (20, 4), (None, None)]
    assert [listed[name][8] for name in ("ts", "ntz", "d", "i64")] == [6, 6, 0, None]
    assert (listed["n"][3:5], listed["b"][3:5]) == (("NO", "3"), ("YES", None))
    run("CREATE TABLE lab.back (id BIGINT)")
    for name in TYPES:
        run(f"ALTER TABLE lab.back ADD COLUMN {name} {listed[name][1]}")
    back = dict(run("SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'lab' AND table_name = 'back'"))
    assert {name: back[name] for name in TYPES} == {name: listed[name][1] for name in TYPES}


def test_views_alone_are_listed_as_views_with_their_queries(server, run):
    views = dict(run("SELECT table_name, view_definition FROM information_schema.views"))
    assert set(views) == {"high", "by_minute"} and views["high"] == "SELECT x FROM lab.e WHERE x > 1" and "tumble" in views["by_minute"]
    listed = {(schema, name): kind for schema, name, kind in run("SELECT table_schema, table_name, table_type FROM information_schema.tables") if schema != "information_schema"}
    with adbc.connect(server.uri, autocommit=True) as connection:
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
    told = {(schema["db_schema_name"], table["table_name"]): table["table_type"].replace("TABLE", "BASE TABLE") if table["table_type"] == "TABLE" else table["table_type"]
            for catalog in objects for schema in catalog["catalog_db_schemas"] for table in schema["db_schema_tables"]}
    assert listed == told and set(told.values()) == {"BASE TABLE", "VIEW", "SYSTEM TABLE"}
    assert {name for _, name, _ in run("SHOW VIEWS")} == {"high", "by_minute"}


@pytest.mark.parametrize("given, kept", [
    ("CLOB", "STRING"), ("CHARACTER VARYING(9)", "STRING"), ("NVARCHAR(9)", "STRING"), ("LONGTEXT", "STRING"), ("INT8", "BIGINT"), ("FLOAT8", "DOUBLE"), ("FLOAT4", "FLOAT"),
    ("DATETIME", "TIMESTAMP_NTZ"), ("TIMESTAMPTZ", "TIMESTAMP"), ("NUMBER(9,2)", "DECIMAL(9,2)"),
])
def test_names_of_types_from_other_databases(run, given, kept):
    run(f"CREATE OR REPLACE TABLE lab.named (a {given})")
    assert dict(run("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'named'")) == {"a": kept}
    value = "'2026-01-01 00:00:00'" if "TIME" in kept else "'7'"
    (cast,) = run(f"SELECT arrow_typeof(CAST({value} AS {given})) = arrow_typeof(a) FROM (SELECT 1) LEFT JOIN lab.named ON true")
    assert cast == (True,)


def test_a_session_knows_who_and_where_it_is(server):
    with adbc.connect(server.uri, db_kwargs={"adbc.flight.sql.rpc.with_cookie_middleware": "true"}, autocommit=True) as connection, connection.cursor() as cursor:
        def one(sql):
            cursor.execute(sql)
            return cursor.fetchone()
        assert one("SELECT current_schema(), current_database(), current_catalog") == ("public", "deltaplane", "deltaplane")
        connection.adbc_current_db_schema = "lab"
        assert one("SELECT current_schema()") == one("SHOW search_path") == ("lab",)
        assert one("SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'ty'") == (1,)
        user, session, listed = one("SELECT current_user, session_user, (SELECT max(principal) FROM system.sessions)")
        assert user == session == listed
        # In rows that are written, and in a statement that is prepared.
        cursor.execute("CREATE OR REPLACE TABLE lab.mine (who STRING, n BIGINT)")
        cursor.execute("INSERT INTO mine VALUES (current_user, 1)")
        cursor.execute("INSERT INTO mine SELECT current_schema(), ?", (2,))
        cursor.execute("UPDATE mine SET who = session_user WHERE who = current_schema()")
        cursor.execute("SELECT DISTINCT who FROM mine")
        assert cursor.fetchall() == [(user,)]
    with pytest.raises(adbc.Error, match="not_deterministic"), adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE MATERIALIZED VIEW lab.whose AS SELECT window_start, min(current_user) AS w FROM lab.e GROUP BY tumble(ts, '1 minute')")


def test_an_alteration_of_what_is_not_there_or_there_already_is_nothing(run):
    run("CREATE OR REPLACE TABLE lab.alt (id BIGINT)")
    for sql in [
        "ALTER TABLE IF EXISTS lab.nowhere ADD COLUMN c INT",
        "ALTER TABLE IF EXISTS lab.nowhere RENAME TO lab.there",
        "COMMENT IF EXISTS ON COLUMN lab.nowhere.c IS 'x'",
        "ALTER TABLE lab.alt ADD COLUMN IF NOT EXISTS ID BIGINT",
        "ALTER TABLE IF EXISTS lab.alt ADD COLUMN IF NOT EXISTS c INT, ADD COLUMN IF NOT EXISTS id BIGINT",
    ]:
        run(sql)
    assert [row[0] for row in run("SHOW COLUMNS FROM lab.alt")] == ["id", "c"]
    with pytest.raises(adbc.Error, match="table_not_found"):
        run("ALTER TABLE lab.nowhere ADD COLUMN c INT")
    with pytest.raises(adbc.Error, match="declared twice"):
        run("ALTER TABLE lab.alt ADD COLUMN c INT")


def test_words_of_postgres_around_a_query(run):
    assert run("WITH a AS MATERIALIZED (SELECT 1 AS x), b AS NOT MATERIALIZED (SELECT 2 AS y) SELECT x + y FROM a, b") == [(3,)]
    run("CREATE OR REPLACE TABLE lab.shape AS (SELECT 1 AS id, 'a' AS k) WITH NO DATA")
    assert run("SELECT * FROM lab.shape") == [] and [row[:2] for row in run("SHOW COLUMNS FROM lab.shape")] == [("id", "BIGINT"), ("k", "STRING")]
    run("CREATE OR REPLACE TABLE lab.shape AS WITH q AS (SELECT 1 AS id) SELECT * FROM q WITH DATA")
    assert run("SELECT * FROM lab.shape") == [(1,)]


def test_comments_on_columns_are_kept(server, run):
    run("CREATE OR REPLACE TABLE lab.said (id BIGINT, v DOUBLE COMMENT 'old')")
    run("COMMENT ON COLUMN lab.said.id IS 'the order''s number'")
    run("comment on column \"deltaplane\".\"lab\".\"said\".\"v\" is NULL")
    comments = lambda: {row[0]: row[4] for row in run("SHOW COLUMNS FROM lab.said")}
    assert comments() == {"id": "the order's number", "v": None}
    fields = {field.name: field.metadata or {} for field in adbc_schema(server)}
    assert fields["id"][b"comment"] == b"the order's number" and b"comment" not in fields["v"]
    with pytest.raises(adbc.Error, match="COMMENT ON COLUMN"):
        run("COMMENT ON TABLE lab.said IS 'x'")
    with pytest.raises(adbc.Error, match="columns: id, v"):
        run("COMMENT ON COLUMN lab.said.w IS 'x'")


def adbc_schema(server):
    with adbc.connect(server.uri, autocommit=True) as connection:
        return connection.adbc_get_table_schema("said", db_schema_filter="lab")


@pytest.mark.parametrize("sql, way_out", [
    ("BEGIN", "autocommit off"),
    ("COMMIT", "autocommit off"),
    ("ROLLBACK", "autocommit off"),
    ("USE lab", "session option schema"),
    ("INSERT INTO lab.ty (i32) VALUES (1) ON CONFLICT (i32) DO NOTHING", "MERGE INTO"),
    ("INSERT OR REPLACE INTO lab.ty (i32) VALUES (1)", "MERGE INTO"),
    ("INSERT INTO lab.ty (i32) VALUES (1) RETURNING i32", "SELECT"),
    ("INSERT OVERWRITE lab.ty SELECT 1", "REPLACE WHERE"),
    ("CREATE INDEX i ON lab.ty (i32)", "TRUNCATE TABLE"),
    ("SELECT i32 FROM lab.ty ORDER BY s COLLATE \"de\"", "COLLATE is not supported"),
    ("SELECT * FROM lab.ti", "nearest table: lab.ty"),
    ("SELECT * FROM ty", "nearest table: lab.ty"),
])
def test_what_is_refused_names_the_way_out(run, sql, way_out):
    with pytest.raises(adbc.Error) as error:
        run(sql)
    assert way_out in str(error.value)


def test_no_table_is_named_that_has_nothing_in_common(run):
    with pytest.raises(adbc.Error) as error:
        run("SELECT * FROM information_schema.key_column_usage")
    assert "nearest" not in str(error.value)


def test_the_list_of_queries_has_what_the_client_sent(run):
    run("CREATE OR REPLACE TABLE lab.slow (id BIGINT, v DOUBLE)")
    sent = [
        "INSERT INTO lab.slow SELECT value, 0.5 FROM generate_series(1, 10)",
        "UPDATE lab.slow SET v = 7 WHERE id > 5",
        "DELETE FROM lab.slow WHERE id = 1",
        "MERGE INTO lab.slow t USING (SELECT 2 AS id) s ON t.id = s.id WHEN MATCHED THEN DELETE",
    ]
    for sql in sent:
        run(sql)
    listed = {sql for (sql,) in run("SELECT sql FROM system.queries")}
    assert set(sent) <= listed
    assert not [sql for sql in listed if "__file" in sql], "queries that nobody has sent"
