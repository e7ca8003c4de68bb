"""SQL tools: Python ADBC, plain pyarrow.flight and the JDBC driver in two versions."""

import os
import subprocess

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow.compute as pc
import pyarrow.flight as fl
import pytest
from clients.programs import JDBC_VERSIONS, jdbc_program
from conftest import Stream, rows

FETCH_ROWS = int(os.environ.get("DELTAPLANE_TEST_FETCH_ROWS", "300000"))


def connect(server):
    return adbc.connect(server.uri, autocommit=True)


def test_adbc_draws_its_tree_and_runs_a_prepared_query(server):
    s = Stream(server, "p")
    s.send(1, rows(10, AT=[float(i + 2) for i in range(10)]))
    s.ack(1)
    s.close()
    with connect(server) as connection:
        tree = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        (catalog,) = tree
        assert catalog["catalog_name"] == "deltaplane"
        schemas = {s["db_schema_name"]: s["db_schema_tables"] for s in catalog["catalog_db_schemas"]}
        tables = {t["table_name"]: [c["column_name"] for c in t["table_columns"]] for t in schemas["reactor"]}
        assert tables["raw"][:3] == ["reactor_id", "ts", "AT"]
        assert "raw_quarantine" in tables
        assert connection.adbc_get_table_schema("raw", db_schema_filter="reactor").field("AT").metadata[b"unit"] == b"degC"
        with connection.cursor() as cursor:
            cursor.execute("SELECT at, Reactor_Id FROM reactor.raw WHERE AT > ? AND reactor_id = ? ORDER BY at LIMIT ?", (5.0, "R1", 2))
            assert cursor.fetchall() == [(6.0, "R1"), (7.0, "R1")]
            assert [d[0] for d in cursor.description] == ["AT", "reactor_id"]
            cursor.execute("CREATE TABLE mine (a BIGINT NOT NULL, b DOUBLE CHECK (b BETWEEN 0 AND 1)) PARTITIONED BY (a)")
            cursor.execute("SELECT count(*) FROM mine")
            assert cursor.fetchall() == [(0,)]
            with pytest.raises(adbc_driver_manager.Error, match="table_exists"):
                cursor.execute("CREATE TABLE MINE (a BIGINT)")
                cursor.fetchall()
            cursor.execute("DROP TABLE mine")


@pytest.mark.parametrize("statement, status, word", [
    ("SELEC 1", "INVALID_ARGUMENT", "Column"),
    ("SELECT * FROM reactor.rawr", "NOT_FOUND", "reactor.raw"),
    ("SELECT pressure FROM reactor.raw", "INVALID_ARGUMENT", "pressure"),
    ("SELECT 1/0", "INVALID_ARGUMENT", "zero"),
])
def test_adbc_meets_errors_it_can_branch_on(server, statement, status, word):
    with connect(server) as connection, connection.cursor() as cursor:
        with pytest.raises(adbc_driver_manager.Error) as caught:
            cursor.execute(statement)
            cursor.fetchall()
    assert caught.value.status_code.name == status
    assert word.lower() in str(caught.value).lower()
    assert "INTERNAL" not in str(caught.value).upper().replace("INTERNALERROR", "")


def test_many_rows_come_whole_to_adbc_and_pyarrow(server):
    server.simulate("--source", "standin", "--rate", 0, "--rows", FETCH_ROWS)
    with connect(server) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM reactor.raw")
        assert cursor.fetch_arrow_table().num_rows == FETCH_ROWS
    client = server.flight()
    info = client.get_flight_info(fl.FlightDescriptor.for_command(b"SELECT * FROM reactor.raw"))
    table = client.do_get(info.endpoints[0].ticket).read_all()
    assert table.num_rows == FETCH_ROWS
    assert pc.count_distinct(table["ts"]).as_py() == FETCH_ROWS, "none doubled"


@pytest.mark.parametrize("version", JDBC_VERSIONS)
def test_the_jdbc_driver_connects_lists_queries_and_fetches(server, version):
    server.simulate("--source", "standin", "--rate", 0, "--rows", FETCH_ROWS)
    url = f"jdbc:arrow-flight-sql://127.0.0.1:{server.port}/?useEncryption=false"
    done = subprocess.run(jdbc_program(version, "JdbcCheck", url, str(FETCH_ROWS)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all ok")
