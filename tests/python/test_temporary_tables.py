"""Temporary tables: of one session, in memory, by the clients that people use."""

import decimal
import subprocess
import threading
import time

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from clients.programs import JDBC_VERSIONS, jdbc_program
from conftest import Cookies, Server, rows

Error = adbc.Error
KEEPS_COOKIES = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}


class Session:
    """A connection that is in a session of its own, as a tool has it."""

    def __init__(self, server, autocommit=True):
        self.connection = adbc.connect(server.uri, autocommit=autocommit, db_kwargs=KEEPS_COOKIES)
        self.connection.adbc_current_db_schema = "public"
        self.cursor = self.connection.cursor()

    def __call__(self, sql, *parameters):
        self.cursor.execute(sql, *parameters)
        return self.cursor.fetchall()

    def wrote(self, sql, parameters=None):
        """An update by itself; how many rows it touched."""
        if parameters is not None:
            self.cursor.executemany(sql, parameters)
        else:
            self.cursor.adbc_statement.set_sql_query(sql)
            return self.cursor.adbc_statement.execute_update()
        return self.cursor.rowcount

    def refused(self, sql, word):
        with pytest.raises(Error, match=word):
            self(sql)

    def roll_back(self):
        self.connection.rollback()
        # The driver's cursor stays in the transaction that it was made in.
        self.cursor.close()
        self.cursor = self.connection.cursor()

    def close(self):
        self.cursor.close()
        self.connection.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("temporary") / "data").start()
    server.run("apply", "reactor", "--yes")
    server.put("reactor.raw", rows(20))
    server.sql("CREATE TABLE stored (id BIGINT, word STRING)")
    server.sql("INSERT INTO stored VALUES (1, 'stored')")
    yield server
    server.stop()


@pytest.fixture
def session(server):
    session = Session(server)
    yield session
    session.close()


def test_what_analysts_type_works_and_another_session_sees_nothing_of_it(server, session):
    session("CREATE TEMP TABLE t AS SELECT reactor_id, count(*) AS n, CAST(1.50 AS DECIMAL(10,2)) AS d, [1, 2] AS l FROM reactor.raw GROUP BY reactor_id")
    assert session("SELECT * FROM t") == [("R1", 20, decimal.Decimal("1.50"), [1, 2])]
    session("CREATE TEMPORARY TABLE u (a INT NOT NULL, b VARCHAR(3) DEFAULT 'x', c TEXT)")
    assert session.wrote("INSERT INTO u VALUES (1, 'abc', 'one'), (2, NULL, 'two')") == 2
    assert session.wrote("INSERT INTO u (a, c) SELECT 3, 'three'") == 1
    assert session("SELECT a, b, c FROM u ORDER BY a") == [(1, "abc", "one"), (2, None, "two"), (3, "x", "three")]
    assert session("SELECT u.c, r.reactor_id FROM u JOIN (SELECT DISTINCT reactor_id FROM reactor.raw) r ON true WHERE u.a = 2") == [("two", "R1")]
    session.refused("INSERT INTO u VALUES (NULL, 'a', 'b')", "rule_broken")
    session.refused("INSERT INTO u VALUES (4, 'abcd', 'b')", "rule_broken")
    session("INSERT INTO u VALUES (?, ?, ?)", (5, "y", "bound"))
    session.wrote("INSERT INTO u VALUES (?, ?, ?)", [(n, None, "many") for n in range(100, 200)])
    assert session("SELECT count(*), max(a) FROM u WHERE c = 'many' AND a >= ?", (150,)) == [(50, 199)]
    other = Session(server)
    for mine in ("t", "u", "pg_temp.t"):
        other.refused(f"SELECT * FROM {mine}", "NOT_FOUND")
    other.refused("INSERT INTO u VALUES (1, 'a', 'b')", "NOT_FOUND")
    other.refused("DROP TABLE u", "NOT_FOUND")
    other("CREATE TEMP TABLE u AS SELECT 'other' AS who")
    assert other("SELECT * FROM u") == [("other",)] and session("SELECT count(*) FROM u") == [(104,)]
    other.close()
    for name in ("t", "u"):
        session(f"DROP TABLE {name}")
        session.refused(f"SELECT * FROM {name}", "NOT_FOUND")
    session("DROP TABLE IF EXISTS u")
    session.refused("DROP TABLE u", "NOT_FOUND")


def test_all_columns_of_a_table_and_values_as_they_are(session):
    session("CREATE TEMP TABLE whole AS SELECT * FROM reactor.raw")
    assert session("SELECT count(*) FROM (SELECT * FROM whole EXCEPT SELECT * FROM reactor.raw)") == [(0,)]
    assert session("SELECT count(DISTINCT _seq) > 0, min(_source) IS NOT NULL FROM whole") == [(True, True)]
    kinds = "CAST('NaN' AS DOUBLE) AS nan, TIMESTAMPTZ '2026-01-02T03:04:05+01:00' AS at, TIMESTAMP_NTZ '2026-01-02 03:04:05' AS ntz, DATE '2026-01-02' AS day, X'00ff' AS b, true AS yes, " \
            "{'a': 1, 'b': {'c': [1.5, NULL]}} AS s, MAP {'k': 1} AS m, CAST(-1 AS TINYINT) AS i8, CAST(2 AS FLOAT) AS f, CAST(NULL AS STRING) AS nothing"
    session(f"CREATE TEMP TABLE kinds AS SELECT {kinds}")
    session(f"INSERT INTO kinds SELECT {kinds}")
    session.cursor.execute(f"SELECT {kinds}")
    given = session.cursor.fetch_arrow_table()
    session.cursor.execute("SELECT * FROM kinds")
    kept = session.cursor.fetch_arrow_table()
    assert kept.schema.types == given.schema.types and kept.num_rows == 2
    assert str(kept.slice(0, 1).to_pylist()) == str(given.to_pylist())
    assert session("SELECT nan, count(*) FROM kinds GROUP BY nan")[0][1] == 2, "one NaN"
    session("DROP TABLE whole")
    session("DROP TABLE kinds")


def test_a_name_alone_hides_a_stored_table_and_its_schema_tells_both(server, session):
    session("CREATE VIEW of_stored AS SELECT id, word FROM stored")
    session("CREATE MATERIALIZED VIEW by_minute AS SELECT window_start, count(*) AS n FROM reactor.raw GROUP BY tumble(ts, '1 minute')")
    session("CREATE TEMP TABLE stored AS SELECT 7 AS id, 'temporary' AS word")
    session("CREATE TEMP TABLE of_stored (a INT)")
    assert session("SELECT word FROM stored") == [("temporary",)] and session("SELECT count(*) FROM of_stored") == [(0,)]
    assert session("SELECT word FROM public.stored") == [("stored",)] and session("SELECT word FROM pg_temp.stored") == [("temporary",)]
    assert session("SELECT stored.word, p.word FROM stored, public.stored p") == [("temporary", "stored")]
    assert session("SELECT word FROM public.of_stored") == [("stored",)], "a view means what it meant"
    assert session("SELECT sum(n) FROM by_minute") == [(20,)]
    assert session("WITH stored AS (SELECT 0 AS id) SELECT id FROM stored") == [(0,)]
    session("INSERT INTO stored VALUES (8, 'more')")
    assert session.wrote("UPDATE stored SET word = upper(word) WHERE id = 8") == 1
    assert session("SELECT word FROM stored ORDER BY id") == [("temporary",), ("MORE",)]
    assert session.wrote("INSERT INTO public.stored SELECT id, word FROM stored WHERE id = 8") == 1
    assert session.wrote("DELETE FROM public.stored WHERE id IN (SELECT id FROM stored)") == 1
    assert session.wrote("MERGE INTO public.stored p USING stored s ON p.id = s.id WHEN NOT MATCHED THEN INSERT *") == 2
    session("CREATE TABLE copied (LIKE stored)")
    session("INSERT INTO copied SELECT * FROM stored")
    assert Session(server)("SELECT count(*) FROM copied") == [(2,)]
    # The plan that was told with the columns is this session's.
    assert server.one("SELECT count(*) FROM stored") == 3
    session("DROP TABLE stored")
    assert session("SELECT count(*) FROM stored") == [(3,)]
    session("DELETE FROM stored WHERE id > 1")
    session("DROP TABLE of_stored")
    assert session("SELECT word FROM of_stored") == [("stored",)]
    for clean in ("DROP VIEW of_stored", "DROP MATERIALIZED VIEW by_minute", "DROP TABLE copied"):
        session(clean)


def test_rows_are_changed_as_those_of_a_stored_table(session):
    session("CREATE TEMP TABLE c AS SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, NULL)) v (id, word)")
    assert session.wrote("UPDATE c SET word = word || '!', id = id + 10 WHERE word IS NOT NULL") == 2
    assert session("SELECT * FROM c ORDER BY id") == [(3, None), (11, "a!"), (12, "b!")]
    assert session.wrote("DELETE FROM c AS x WHERE x.word IS NULL OR x.id > (SELECT min(id) + 8 FROM c)") == 2
    assert session("SELECT * FROM c") == [(11, "a!")]
    assert session.wrote("MERGE INTO c USING (SELECT 11 AS id, 'new' AS word UNION ALL SELECT 12, 'in') s ON c.id = s.id WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *") == 2
    assert session("SELECT * FROM c ORDER BY id") == [(11, "new"), (12, "in")]
    session.refused("MERGE INTO c USING (VALUES (11), (11)) s (id) ON c.id = s.id WHEN MATCHED THEN UPDATE SET word = 'x'", "merge_ambiguous")
    assert session.wrote("UPDATE c SET word = ? WHERE id = ?", [("x", 11), ("y", 12), ("z", 11)]) == 3
    assert session("SELECT * FROM c ORDER BY id") == [(11, "z"), (12, "y")]
    # As it was before the first of several executions, a table cannot be read by the second.
    with pytest.raises(Error, match="takes one row of parameters"):
        session.wrote("DELETE FROM c WHERE id = ? AND id IN (SELECT id FROM c)", [(11,), (12,)])
    session.refused("UPDATE c SET id = 'word'", "incompatible_type|INVALID_ARGUMENT")
    assert session.wrote("DELETE FROM c WHERE id = 0") == 0
    assert session.wrote("TRUNCATE TABLE c") == 2
    assert session("SELECT count(*) FROM c") == [(0,)]
    session("INSERT INTO c VALUES (1, 'again')")
    assert session.wrote("DELETE FROM c") == 1
    session("CREATE OR REPLACE TEMP TABLE c AS SELECT count(*) AS n FROM c")
    assert session("SELECT * FROM c") == [(0,)]
    session.refused("CREATE TEMP TABLE c (a INT)", "table_exists")
    session("CREATE TEMP TABLE IF NOT EXISTS c AS SELECT 'no' AS a")
    assert session("SELECT * FROM c") == [(0,)]
    session.refused("CREATE OR REPLACE TEMP TABLE c AS SELECT 1 / 0 AS n, n AS m FROM c", "division|zero|Divide")
    assert session("SELECT * FROM c") == [(0,)], "what fails leaves the table as it was"
    session("DROP TABLE c")


def test_tools_list_them_for_their_session_alone(server, session):
    session("CREATE TEMP TABLE listed (a INT NOT NULL, b VARCHAR(5))")
    listed = "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_name = 'listed'"
    assert session(listed) == [("pg_temp", "listed", "LOCAL TEMPORARY")]
    assert session("SHOW TABLES FROM pg_temp") == [("pg_temp", "listed", "LOCAL TEMPORARY")]
    assert ("pg_temp",) in session("SHOW SCHEMAS")
    assert [row[:3] for row in session("DESCRIBE listed")] == [("a", "INT", False), ("b", "STRING", True)]
    assert session("SELECT column_name, character_maximum_length FROM information_schema.columns WHERE table_name = 'listed' ORDER BY 1") == [("a", None), ("b", 5)]
    assert session("SHOW CREATE TABLE listed")[0][0].startswith("CREATE TEMP TABLE listed (")
    session("CREATE OR REPLACE " + session("SHOW CREATE TABLE listed")[0][0].removeprefix("CREATE "))

    def objects(connection, **filters):
        (catalog,) = connection.adbc_get_objects(depth="tables", **filters).read_all().to_pylist()
        return {(s["db_schema_name"], t["table_name"]): t["table_type"] for s in catalog["catalog_db_schemas"] or [] for t in s["db_schema_tables"] or []}

    assert objects(session.connection)["pg_temp", "listed"] == "LOCAL TEMPORARY"
    assert list(objects(session.connection, table_types_filter=["LOCAL TEMPORARY"])) == [("pg_temp", "listed")]
    assert ("pg_temp", "listed") not in objects(session.connection, table_types_filter=["TABLE"])
    assert session.connection.adbc_get_table_schema("listed", db_schema_filter="pg_temp").names == ["a", "b"]
    other = Session(server)
    assert other(listed) == [] and ("pg_temp", "listed") not in objects(other.connection) and ("pg_temp",) not in other("SHOW SCHEMAS")
    other.close()
    assert server.sql("SELECT temporary_tables, temporary_bytes > 0 AS b FROM system.sessions WHERE temporary_tables > 0") == [{"temporary_tables": 1, "b": False}]
    session("DROP TABLE listed")


def test_they_end_with_their_session(server):
    session = Session(server)
    session("CREATE TEMP TABLE gone AS SELECT 1 AS a")
    held = "SELECT coalesce(sum(temporary_bytes), 0) FROM system.sessions"
    assert server.one(held) > 0
    session.close()
    assert server.one(held) == 0
    keeps = Cookies()
    client = fl.connect(server.uri, middleware=[keeps])
    list(client.do_action(("SetSessionOptions", b"")))
    server.sql("CREATE TEMP TABLE gone AS SELECT 2 AS a", client)
    assert server.one("SELECT a FROM gone", client) == 2
    (cookie,) = keeps.kept.items()
    assert next(client.do_action(("CloseSession", b""))).body.to_pybytes() == b"\x08\x01"
    keeps.kept.update([cookie])
    with pytest.raises(fl.FlightUnauthenticatedError, match="session_ended"):
        server.sql("SELECT a FROM gone", client)
    list(client.do_action(("SetSessionOptions", b"")))
    with pytest.raises(pa.ArrowKeyError, match="NOT_FOUND|not found"):
        server.sql("SELECT a FROM gone", client)


def test_a_session_that_is_silent_loses_them(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_LIMITS_SESSION_IDLE="2s").start()
    session = Session(server)
    session("CREATE TEMP TABLE gone AS SELECT 1 AS a")
    deadline = time.monotonic() + 30
    while server.one("SELECT count(*) FROM system.sessions"):
        assert time.monotonic() < deadline, "the session is still there"
        time.sleep(0.2)
    session.refused("SELECT * FROM gone", "session_ended")
    # The driver cannot close what has ended with its session.
    with pytest.raises(Error):
        session.cursor.close()
    server.stop()


def test_memory_and_tables_are_bounded(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_LIMITS_TEMPORARY_BYTES_MAX="3MiB", DELTAPLANE_LIMITS_TEMPORARY_SESSION_BYTES_MAX="2MiB", DELTAPLANE_LIMITS_TEMPORARY_TABLES_MAX="2").start()
    numbers = "SELECT value AS n FROM generate_series(1, {})"
    one, other = Session(server), Session(server)
    one.refused("CREATE TEMP TABLE t AS " + numbers.format(10_000_000), "temporary_full.*temporary_session_bytes_max")
    one("CREATE TEMP TABLE t AS " + numbers.format(200_000))
    one.refused("INSERT INTO t SELECT n FROM t", "temporary_full.*drop temporary tables")
    assert one("SELECT count(*) FROM t") == [(200_000,)]
    other.refused("CREATE TEMP TABLE t AS " + numbers.format(220_000), "temporary_full.*limits.temporary_bytes_max")
    one.wrote("DELETE FROM t WHERE n > 1000")
    other("CREATE TEMP TABLE t AS " + numbers.format(220_000))
    one("CREATE TEMP TABLE u (a INT)")
    one.refused("CREATE TEMP TABLE v (a INT)", "temporary_tables_max")
    # A loop of tables that are replaced gives back what the old ones took.
    for n in range(30):
        one(f"CREATE OR REPLACE TEMP TABLE u AS {numbers.format(50_000)}")
    assert server.one("SELECT max(temporary_bytes) FROM system.sessions") < 3 << 20
    for session, names in ((one, "tu"), (other, "t")):
        for name in names:
            session(f"DROP TABLE {name}")
    one("CREATE TEMP TABLE big AS " + numbers.format(240_000))
    other.refused("CREATE TEMP TABLE big AS " + numbers.format(240_000), "temporary_full.*limits.temporary_bytes_max")
    one.close()
    other("CREATE TEMP TABLE big AS " + numbers.format(240_000))
    other.close()
    server.kill()
    server.start()
    with pytest.raises(pa.ArrowKeyError):
        server.sql("SELECT * FROM big")
    server.stop()


def test_a_client_without_a_session_is_told_how_to_get_one(server):
    with adbc.connect(server.uri, autocommit=True) as connection, connection.cursor() as cursor:
        for sql in ("CREATE TEMP TABLE t (a INT)", "CREATE TEMP TABLE t AS SELECT 1 AS a", "CREATE TABLE pg_temp.t (a INT)", "INSERT INTO pg_temp.t VALUES (1)", "DROP TABLE pg_temp.t"):
            with pytest.raises(Error, match="no_session.*JDBC.*catalog=deltaplane.*with_cookie_middleware.*SetSessionOptions"):
                cursor.execute(sql)
        cursor.execute("DROP TABLE IF EXISTS pg_temp.t")


REFUSED = [
    ("CREATE TEMP TABLE x (a INT) PARTITIONED BY (a)", "PARTITIONED BY"), ("CREATE TEMP TABLE x (a INT UNIQUE)", "UNIQUE"), ("CREATE TEMP TABLE x (a INT) WITH (y = 1)", "not supported"),
    ("CREATE TEMP TABLE lab.x (a INT)", "CREATE TEMP TABLE x"), ("CREATE TEMP TABLE x", "without columns"), ("CREATE TEMP TABLE x AS SELECT count(*) FROM stored", "AS name"),
    ("CREATE TEMP TABLE x AS SELECT INTERVAL '1 day' AS i", "cannot keep this type"), ("CREATE TEMP TABLE x AS SELECT 1 AS a, 2 AS A", "."), ("CREATE OR REPLACE TEMP TABLE IF NOT EXISTS x (a INT)", "contradict"),
    ("ALTER TABLE own ADD COLUMN b INT", "not_implemented"), ("OPTIMIZE own", "not_implemented"), ("VACUUM own", "not_implemented"), ("CHECK TABLE own", "not_implemented"),
    ("RESTORE TABLE own TO VERSION AS OF 1", "not_implemented"), ("INSERT INTO own REPLACE WHERE a = 1 SELECT 1", "not_implemented"), ("COMMENT ON COLUMN own.a IS 'x'", "not_implemented"),
    ("CREATE VIEW x AS SELECT * FROM own", "temporary_table"), ("CREATE VIEW x AS SELECT * FROM pg_temp.own", "temporary_table"),
    ("CREATE MATERIALIZED VIEW x AS SELECT window_start, count(*) AS n FROM own GROUP BY tumble(ts, '1 minute')", "temporary_table"),
    ("CREATE ALERT x FOR '1m' AS SELECT a FROM own", "temporary_table"), ("CREATE VIEW pg_temp.x AS SELECT 1 AS a", "reserved_schema"), ("ALTER TABLE stored RENAME TO pg_temp.x", "reserved_schema"),
    ("CREATE SCHEMA pg_temp", "schema_exists"), ("SELECT * FROM pg_temp.own VERSION AS OF 1", "."), ("DESCRIBE HISTORY pg_temp.own", "no_versions"), ("SUBSCRIBE pg_temp.own", "no_versions"),
    ("DROP TABLE nothing", "NOT_FOUND"), ("INSERT INTO pg_temp.nothing VALUES (1)", "table_not_found"), ("DROP VIEW own", "view_not_found"), ("INSERT INTO own VALUES (1, 2)", "column_count"),
    ("INSERT INTO own (b) VALUES (1)", "INVALID_ARGUMENT"), ("UPDATE own SET b = 1", "column_not_found"), ("CREATE TEMP TABLE x AS SELECT * FROM nothing", "NOT_FOUND"), ("CREATE TEMP TABLE", "syntax_error"),
]


@pytest.mark.parametrize("sql,word", REFUSED, ids=[sql for sql, _ in REFUSED])
def test_nonsense_is_refused_and_leaves_nothing(session, sql, word):
    session("CREATE OR REPLACE TEMP TABLE own (a INT)")
    session.refused(sql, word)
    assert session("SELECT table_name FROM information_schema.tables WHERE table_schema = 'pg_temp'") == [("own",)]
    assert session("SELECT count(*) FROM own") == [(0,)]


def test_a_transaction_does_not_take_them_back_and_sees_its_own_rows(server):
    session = Session(server, autocommit=False)
    session("CREATE TEMP TABLE t AS SELECT 1 AS a")
    session("INSERT INTO public.stored VALUES (50, 'held')")
    session("INSERT INTO t SELECT id FROM stored WHERE word = 'held'")
    assert session("SELECT a FROM t ORDER BY a") == [(1,), (50,)]
    session.roll_back()
    assert session("SELECT a FROM t ORDER BY a") == [(1,), (50,)]
    assert session("SELECT count(*) FROM stored WHERE word = 'held'") == [(0,)]
    session("DROP TABLE t")
    session.roll_back()
    session.refused("SELECT * FROM t", "NOT_FOUND")
    session.close()


def test_bulk_ingest_makes_temporary_tables(server, session):
    table = pa.table({"id": [1, 2], "word": ["a", None], "l": [[1], None]})
    ingest = session.cursor.adbc_ingest
    assert ingest("bulk", table, mode="create", temporary=True) == 2
    assert session("SELECT * FROM bulk ORDER BY id") == [(1, "a", [1]), (2, None, None)]
    assert ingest("bulk", table, mode="append", temporary=True) == 2
    assert ingest("bulk", table, mode="append") == 2, "rows go where an INSERT would put them"
    assert session("SELECT count(*) FROM bulk") == [(6,)]
    with pytest.raises(Error, match="table_exists"):
        ingest("bulk", table, mode="create", temporary=True)
    assert ingest("bulk", table.select(["id"]), mode="replace", temporary=True) == 2
    assert session("SELECT * FROM bulk ORDER BY id") == [(1,), (2,)]
    assert ingest("bulk2", table, mode="create_append", temporary=True) == 2
    with pytest.raises(Error, match="NOT_FOUND"):
        ingest("nothing", table, mode="append", temporary=True)
    with pytest.raises(Error, match="column"):
        ingest("bulk", pa.table({"other": [1]}), mode="append", temporary=True)
    assert session("SELECT count(*) FROM bulk") == [(2,)]
    big = pa.table({"n": list(range(300_000))})
    assert ingest("big", big, mode="create", temporary=True) == 300_000
    assert session("SELECT sum(n) FROM big") == [(sum(range(300_000)),)]
    with pytest.raises(pa.ArrowKeyError):
        server.sql("SELECT * FROM bulk")
    for name in ("bulk", "bulk2", "big"):
        session(f"DROP TABLE {name}")


def test_a_query_reads_on_while_its_table_goes_and_prepared_statements_follow_the_name(session):
    session("CREATE TEMP TABLE read AS SELECT value AS n FROM generate_series(1, 500000)")
    reader = session.connection.cursor()
    reader.execute("SELECT n FROM read")
    session("DROP TABLE read")
    assert reader.fetch_arrow_table().num_rows == 500_000
    with session.connection.cursor() as prepared:
        session("CREATE TEMP TABLE p AS SELECT 1 AS a")
        prepared.adbc_prepare("SELECT a FROM p WHERE a > ?")
        prepared.execute("SELECT a FROM p WHERE a > ?", (0,))
        assert prepared.fetchall() == [(1,)]
        session("CREATE OR REPLACE TEMP TABLE p AS SELECT 2 AS a")
        prepared.execute("SELECT a FROM p WHERE a > ?", (0,))
        assert prepared.fetchall() == [(2,)]
    session("DROP TABLE p")


def test_statements_of_one_session_at_once_lose_nothing(server):
    keeps = Cookies()
    client = fl.connect(server.uri, middleware=[keeps])
    list(client.do_action(("SetSessionOptions", b"")))
    server.sql("CREATE TEMP TABLE together (writer INT, n INT)", client)

    def write(writer):
        own = fl.connect(server.uri, middleware=[keeps])
        for n in range(30):
            server.sql(f"INSERT INTO together VALUES ({writer}, {n})", own)
            server.sql(f"UPDATE together SET n = n + 1000 WHERE writer = {writer} AND n = {n}", own)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    [writer.start() for writer in writers]
    [writer.join() for writer in writers]
    assert server.sql("SELECT count(*) AS n, count(DISTINCT (writer, n)) AS d, min(n) AS m FROM together", client) == [{"n": 120, "d": 120, "m": 1000}]
    list(client.do_action(("CloseSession", b"")))


def test_a_plan_that_was_told_in_one_session_is_not_another_s(server, session):
    keeps = Cookies()
    client = fl.connect(server.uri, middleware=[keeps])
    list(client.do_action(("SetSessionOptions", b"")))
    server.sql("CREATE TEMP TABLE stored AS SELECT 77 AS id", client)
    for asked, fetches, expected in ((client, server.flight(), [{"id": 1}]), (server.flight(), client, [{"id": 77}]), (client, client, [{"id": 77}])):
        info = asked.get_flight_info(fl.FlightDescriptor.for_command(b"SELECT id FROM stored"))
        assert fetches.do_get(info.endpoints[0].ticket).read_all().to_pylist() == expected
    list(client.do_action(("CloseSession", b"")))


def test_the_command_line_has_a_session_for_its_statements(server):
    said = server.run("sql", "CREATE TEMP TABLE t AS SELECT 1 AS a; INSERT INTO t VALUES (2); SELECT sum(a) AS s FROM t", "--format", "csv")
    assert said.stdout == "s\n3\n"
    assert "table_not_found" in server.run("sql", "SELECT * FROM t", check=False).stderr
    assert server.one("SELECT count(*) FROM system.sessions WHERE temporary_tables > 0") == 0


@pytest.mark.parametrize("version", JDBC_VERSIONS)
def test_jdbc_has_a_session_by_the_catalog_in_its_url(server, version):
    url = f"jdbc:arrow-flight-sql://127.0.0.1:{server.port}/?useEncryption=false"
    done = subprocess.run(jdbc_program(version, "JdbcTemporary", url), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "all ok" in done.stdout, done.stdout + done.stderr
