"""Tables from queries, views, schemas and second tables in statements, by real clients, also while the server is killed."""

import threading
import time

import adbc_driver_flightsql.dbapi as adbc
import pytest
from conftest import Server


@pytest.fixture
def plain(tmp_path):
    server = Server(tmp_path / "data").start()
    yield server
    server.stop()


@pytest.fixture
def cursor(plain):
    with adbc.connect(plain.uri, autocommit=True) as connection, connection.cursor() as cursor:
        yield cursor


def rows(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchall()


def count(cursor, sql):
    """Rows that a statement wrote, as JDBC's executeUpdate reads them."""
    cursor.adbc_statement.set_sql_query(sql)
    return cursor.adbc_statement.execute_update()


def test_a_table_from_a_query_is_one_for_every_client_and_delta_reader(plain, cursor):
    cursor.execute("CREATE TABLE source AS SELECT value AS k, value * 0.5 AS v, concat('s', CAST(value % 3 AS VARCHAR)) AS s FROM generate_series(1, 50000)")
    assert count(cursor, "CREATE TABLE made PARTITIONED BY (s) AS SELECT s, k, v FROM source WHERE k <= 30000") == 30000
    assert rows(cursor, "SELECT count(*), sum(v) FROM made") == [(30000, 225007500.0)]
    theirs = plain.delta("made", "public").to_pyarrow_table()
    assert theirs.num_rows == 30000 and sorted(set(theirs["s"].to_pylist())) == ["s0", "s1", "s2"]
    assert [h["operation"] for h in plain.delta("made", "public").history(2)] == ["WRITE", "CREATE TABLE"]
    cursor.execute("CREATE TABLE IF NOT EXISTS made AS SELECT 1 AS other")
    cursor.execute("CREATE OR REPLACE TABLE made AS SELECT k FROM source WHERE k <= 7")
    assert rows(cursor, "SELECT count(*) FROM made") == [(7,)]
    with pytest.raises(adbc.Error, match="execution|Cannot cast"):
        cursor.execute("CREATE TABLE broken AS SELECT CAST(CASE WHEN k = 50000 THEN 'x' ELSE '1' END AS BIGINT) AS n FROM source")
    with pytest.raises(adbc.Error, match="table_not_found"):
        cursor.execute("SELECT * FROM broken")
    plain.kill()
    plain.start()
    assert plain.one("SELECT count(*) FROM made") == 7
    assert plain.one("SELECT count(*) FROM source") == 50000


def test_a_server_that_is_killed_while_it_makes_a_table_has_all_of_it_or_none(plain):
    plain.sql("CREATE TABLE source AS SELECT value AS k FROM generate_series(1, 200000)")
    for attempt in range(4):
        name = f"made_{attempt}"

        def make():
            try:
                plain.sql(f"CREATE TABLE {name} AS SELECT a.k, a.k % 1000 AS g FROM source a JOIN (SELECT value AS x FROM generate_series(1, 3)) ON true")
            except Exception:
                pass

        maker = threading.Thread(target=make)
        maker.start()
        time.sleep(0.05 + 0.2 * attempt)
        plain.kill()
        maker.join()
        plain.start()
        there = plain.one(f"SELECT count(*) FROM system.tables WHERE table_name = '{name}'")
        if there:
            assert plain.one(f"SELECT count(*) FROM {name}") == 600_000
        plain.sql(f"CREATE OR REPLACE TABLE {name} AS SELECT 1 AS one")
        assert plain.one(f"SELECT one FROM {name}") == 1
    check = plain.terminate()
    assert check == 0
    plain.start()
    assert plain.one("SELECT count(*) FROM source") == 200_000


def test_views_are_listed_as_views_and_survive_a_kill(plain, cursor):
    cursor.execute("CREATE TABLE lab.t (k BIGINT, v DOUBLE)")
    cursor.execute("INSERT INTO lab.t VALUES (1, 1.5), (2, 2.5)")
    cursor.execute("CREATE VIEW lab.big AS SELECT k, CASE WHEN v > 2 THEN v ELSE 0 END AS v FROM lab.t")
    with adbc.connect(plain.uri, autocommit=True) as connection:
        assert "VIEW" in connection.adbc_get_table_types()
        found = connection.adbc_get_objects(depth="all", table_types_filter=["VIEW"], db_schema_filter="lab").read_all().to_pylist()
        (schema,) = [s for s in found[0]["catalog_db_schemas"] if s["db_schema_tables"]]
        (view,) = schema["db_schema_tables"]
        assert (view["table_name"], view["table_type"]) == ("big", "VIEW")
        assert [c["column_name"] for c in view["table_columns"]] == ["k", "v"]
        assert connection.adbc_get_table_schema("big", db_schema_filter="lab").names == ["k", "v"]
    plain.kill()
    plain.start()
    assert plain.sql("SELECT * FROM lab.BIG ORDER BY k") == [{"k": 1, "v": 0.0}, {"k": 2, "v": 2.5}]
    assert "CREATE VIEW lab.big" in plain.one("SHOW CREATE VIEW lab.big")
    assert [row["column_name"] for row in plain.sql("DESCRIBE lab.big")] == ["k", "v"]
    plain.sql("DROP TABLE lab.t")
    with pytest.raises(Exception, match="view lab.big.*lab.t"):
        plain.sql("SELECT * FROM lab.big")
    plain.sql("DROP VIEW lab.big")
    assert plain.one("SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'lab'") == 0


def test_a_second_table_chooses_the_rows(cursor):
    cursor.execute("CREATE TABLE t AS SELECT value AS id, 'k' || CAST(value % 2 AS VARCHAR) AS k FROM generate_series(1, 6)")
    cursor.execute("CREATE TABLE u AS SELECT 2 AS id, 'x' AS k UNION ALL SELECT 3, 'y' UNION ALL SELECT 3, 'y'")
    assert count(cursor, "UPDATE t SET k = s.k FROM (SELECT DISTINCT * FROM u) AS s WHERE t.id = s.id") == 2
    assert rows(cursor, "SELECT id, k FROM t WHERE id IN (2, 3) ORDER BY id") == [(2, "x"), (3, "y")]
    with pytest.raises(adbc.Error, match="merge_ambiguous"):
        cursor.execute("UPDATE t SET k = u.k || '!' FROM u WHERE t.id = u.id")
    # Two rows of the other table that match one row delete it once.
    assert count(cursor, "DELETE FROM t USING u WHERE t.id = u.id AND u.k = 'y'") == 1
    assert rows(cursor, "SELECT count(*) FROM t") == [(5,)]
    # A name that both have is no one's.
    with pytest.raises(adbc.Error, match="mbiguous"):
        cursor.execute("DELETE FROM t USING u WHERE id = 2")
    with pytest.raises(adbc.Error, match="join them in a query"):
        cursor.execute("DELETE FROM t USING u, t x WHERE t.id = u.id")
    assert count(cursor, "DELETE FROM t a USING t b WHERE a.id = b.id - 1") == 3


def test_what_a_column_list_says_is_kept_for_other_writers_too(plain, cursor):
    cursor.execute("CREATE TABLE t (a VARCHAR(3), b INT4 UNIQUE, c STRING DEFAULT 'x' CHECK (c ~ '^[a-z]+$'))")
    assert plain.delta("t", "public").metadata().configuration["delta.constraints.max_length_a"] == "`a` IS NULL OR length(`a`) <= 3"
    cursor.execute("INSERT INTO t (a, b) VALUES ('abc', 1)")
    for values, rule in [("('abcd', 2, 'x')", "max_length:a"), ("('a', 1, 'x')", "unique:b"), ("('a', 2, 'X')", "regex:c")]:
        with pytest.raises(adbc.Error, match=rule):
            cursor.execute(f"INSERT INTO t VALUES {values}")
    cursor.execute("CREATE TABLE again (LIKE t)")
    ddl = [rows(cursor, f"SHOW CREATE TABLE {name}")[0][0] for name in ("t", "again")]
    assert ddl[0] == ddl[1].replace("public.again", "public.t")
