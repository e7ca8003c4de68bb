"""What SQL tools do beyond queries: bound updates, bulk ingest, transactions, sessions, cancels."""

import decimal
import threading
import time

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from flight_sql import APPEND, CREATE, FAIL, FAIL_MISSING, REPLACE, Error, MARKS, ROW, TYPES, action, any_of, connect, cursor, field, fields, ingest, people, rows_of  # noqa: F401


def test_executemany_writes_all_bound_rows_as_one(server, cursor):
    cursor.execute(f"CREATE TABLE bound {TYPES}")
    cursor.executemany(f"INSERT INTO bound VALUES ({MARKS})", [(n,) + ROW[1:] for n in range(5000)])
    assert cursor.rowcount == 5000
    assert rows_of(cursor, "SELECT count(*), count(DISTINCT i), min(t), min(dec) FROM bound") == [(5000, 5000, "ä'b", decimal.Decimal("12.34"))]
    (got,) = rows_of(cursor, "SELECT * FROM bound WHERE i = 1")
    assert got == ROW
    # Nulls of every type, by name and in another order.
    cursor.executemany("INSERT INTO bound (t, i) VALUES (?, ?)", [(None, 9001), ("x", 9002)])
    assert rows_of(cursor, "SELECT i, t, d FROM bound WHERE i > 9000 ORDER BY i") == [(9001, None, None), (9002, "x", None)]
    server.wait_committed("bound")
    assert server.delta("bound", "public").to_pyarrow_table().num_rows == 5002


def test_execute_with_parameters_runs_an_insert_once(cursor):
    cursor.execute(f"CREATE TABLE once {TYPES}")
    cursor.execute(f"INSERT INTO once VALUES ({MARKS})", ROW)
    assert rows_of(cursor, "SELECT * FROM once") == [ROW]
    cursor.execute("INSERT INTO once (i, t) VALUES (? + 1, upper(?)), (?, 'z')", (41, "abc", 43))
    assert rows_of(cursor, "SELECT i, t FROM once WHERE i > 1 ORDER BY i") == [(42, "ABC"), (43, "z")]
    cursor.execute("INSERT INTO once (i) SELECT i + ? FROM once WHERE i = ?", (100, 42))
    cursor.executemany("INSERT INTO once (i, t) VALUES (? * 10, lower(?))", [(100, "A"), (200, "B")])
    assert rows_of(cursor, "SELECT i, t FROM once WHERE i > 50 ORDER BY i") == [(142, None), (1000, "a"), (2000, "b")]


def test_one_bad_bound_row_writes_none(cursor):
    cursor.execute("CREATE TABLE ruled (a BIGINT CHECK (a BETWEEN 0 AND 10))")
    with pytest.raises(Error, match="range") as caught:
        cursor.executemany("INSERT INTO ruled VALUES (?)", [(1,), (2,), (99,)])
    assert caught.value.status_code.name == "INVALID_ARGUMENT"
    for rows, statement in [([(1, 2)], "INSERT INTO ruled VALUES (?)"), ([("x",)], "INSERT INTO ruled VALUES (?)")]:
        with pytest.raises(Error):
            cursor.executemany(statement, rows)
    assert rows_of(cursor, "SELECT count(*) FROM ruled") == [(0,)]


def test_adbc_ingest_in_all_modes(server, cursor):
    assert cursor.adbc_ingest("people", people(10), mode="create") == 10
    with pytest.raises(Error) as caught:
        cursor.adbc_ingest("people", people(1), mode="create")
    assert caught.value.status_code.name == "ALREADY_EXISTS"
    with pytest.raises(Error) as caught:
        cursor.adbc_ingest("nobody", people(1), mode="append")
    assert caught.value.status_code.name == "NOT_FOUND"
    assert cursor.adbc_ingest("people", people(5, 10), mode="append") == 5
    assert rows_of(cursor, "SELECT count(*), max(id) FROM people") == [(15, 14)]
    before = server.delta("people", "public").version()
    assert cursor.adbc_ingest("people", people(3), mode="replace") == 3
    assert server.delta("people", "public").version() == before + 1, "replaced in one version"
    assert rows_of(cursor, "SELECT count(*), max(id) FROM people") == [(3, 2)]
    assert cursor.adbc_ingest("people", people(2, 100), mode="create_append") == 2
    assert cursor.adbc_ingest("fresh", people(2), mode="replace") == 2
    with pytest.raises(Error, match="no_session.*with_cookie_middleware"):
        cursor.adbc_ingest("temp", people(1), mode="create", temporary=True)
    assert cursor.adbc_ingest("third", people(2), mode="create_append", db_schema_name="building") == 2
    assert rows_of(cursor, "SELECT count(*) FROM building.third") == [(2,)]
    with pytest.raises(Error, match="empty_stream"):
        cursor.adbc_ingest("nothing", people(0), mode="create")
    assert server.delta("people", "public").to_pyarrow_table().num_rows == 5


def test_a_large_ingest_is_one_version_in_bounded_memory(server, cursor):
    reader = pa.RecordBatchReader.from_batches(people(1).schema, (b for i in range(40) for b in people(50_000, i * 50_000).to_batches()))
    assert cursor.adbc_ingest("large", reader, mode="create") == 2_000_000
    assert server.delta("large", "public").version() == 1
    assert rows_of(cursor, "SELECT count(*), count(DISTINCT id) FROM large") == [(2_000_000, 2_000_000)]


def test_what_breaks_a_rule_aborts_the_ingest_or_goes_to_quarantine(server, cursor):
    cursor.execute("CREATE TABLE ruled (a BIGINT CHECK (a BETWEEN 0 AND 10))")
    data = pa.table({"a": [1, 2, 99]})
    with pytest.raises(pa.ArrowInvalid, match="rule_broken"):
        ingest(server, "ruled", data, FAIL_MISSING, APPEND)
    assert rows_of(cursor, "SELECT count(*) FROM ruled") == [(0,)]
    assert ingest(server, "ruled", data, FAIL_MISSING, APPEND, on_reject="quarantine") == 2
    assert rows_of(cursor, "SELECT count(*) FROM ruled") == [(2,)]
    assert rows_of(cursor, "SELECT count(*) FROM ruled_quarantine") == [(1,)]
    # A table that was made for an ingest that failed is gone again.
    for bad in (pa.table({"a": pa.array([1], pa.uint64())}), pa.table({"a ": [1]}), pa.table({"a": [pa.MonthDayNano([1, 2, 3])]})):
        with pytest.raises(pa.ArrowInvalid):
            ingest(server, "bad", bad, CREATE, FAIL)
    assert rows_of(cursor, "SELECT count(*) FROM information_schema.tables WHERE table_name = 'bad'") == [(0,)]
    # Data frames count in unsigned numbers.
    assert ingest(server, "counted", pa.table({"n": pa.array([4_000_000_000], pa.uint32())}), CREATE, FAIL) == 1
    assert rows_of(cursor, "SELECT n FROM counted") == [(4_000_000_000,)]
    # The reactor's own rules hold here, too, and system columns are filled.
    from conftest import rows
    assert ingest(server, "raw", pa.Table.from_batches([rows(5)]), FAIL_MISSING, APPEND, schema="reactor") == 5
    assert rows_of(cursor, "SELECT count(*), min(_source) FROM reactor.raw") == [(5, "ingest")]


def test_a_numbered_ingest_happens_once(server, cursor):
    once = dict(producer="nightly", seq=20260101)
    assert ingest(server, "numbered", people(10), CREATE, FAIL, **once) == 10
    assert ingest(server, "numbered", people(10), CREATE, FAIL, **once) == 10
    assert ingest(server, "numbered", people(7), CREATE, APPEND, **(once | {"seq": 20260102})) == 7
    version = server.delta("numbered", "public").version()
    assert ingest(server, "numbered", people(7), CREATE, APPEND, **(once | {"seq": 20260102})) == 7
    assert server.delta("numbered", "public").version() == version
    with pytest.raises(pa.ArrowException, match="seq_passed"):
        ingest(server, "numbered", people(7), CREATE, APPEND, **once)
    server.kill()
    server.start()
    assert ingest(server, "numbered", people(7), CREATE, APPEND, **(once | {"seq": 20260102})) == 7
    assert server.one("SELECT count(*) FROM numbered") == 17
    # Clients that can set no ingest option send headers.
    with connect(server) as connection, connection.cursor() as cursor:
        header = "adbc.flight.sql.rpc.call_header.deltaplane."
        cursor.adbc_statement.set_options(**{header + "producer": "nightly", header + "seq": "20260103"})
        for _ in range(2):
            assert cursor.adbc_ingest("numbered", people(1), mode="append") == 1
        assert rows_of(cursor, "SELECT count(*) FROM numbered") == [(18,)]


def test_adbc_reads_what_the_server_says_of_itself(server):
    with connect(server) as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "deltaplane" and info["vendor_arrow_version"]
        assert set(connection.adbc_get_table_types()) == {"LOCAL TEMPORARY", "TABLE", "SYSTEM TABLE", "VIEW"}
        tables = connection.adbc_get_objects(depth="tables", table_types_filter=["TABLE"], db_schema_filter="reactor", table_name_filter="ra%").read_all().to_pylist()
        (schema,) = [s for s in tables[0]["catalog_db_schemas"] if s["db_schema_tables"]]
        assert [t["table_name"] for t in schema["db_schema_tables"]] == ["raw", "raw_quarantine"]


def test_modes_that_say_nothing_are_refused(server):
    for create, exists in [(0, 2), (1, 0)]:
        with pytest.raises(pa.ArrowInvalid, match="mode_unspecified"):
            ingest(server, "t", people(1), create, exists)
    with pytest.raises(pa.ArrowInvalid, match="reserved"):
        ingest(server, "raw_quarantine", people(1), CREATE, APPEND, schema="reactor")
    with pytest.raises(pa.ArrowInvalid, match="reserved"):
        ingest(server, "tables", people(1), CREATE, APPEND, schema="system")


def test_a_unique_table_refuses_what_it_holds_already(server, cursor):
    cursor.execute("CREATE TABLE u (id BIGINT NOT NULL, v DOUBLE) TBLPROPERTIES ('deltaplane.rule.u' = '{\"name\":\"unique:id\",\"column\":\"id\",\"kind\":{\"unique\":{\"columns\":[\"id\"]}},\"action\":\"reject\"}')")
    assert ingest(server, "u", pa.table({"id": [1, 2], "v": [1.0, 2.0]}), CREATE, APPEND) == 2
    with pytest.raises(pa.ArrowInvalid, match="unique"):
        ingest(server, "u", pa.table({"id": [3, 2], "v": [1.0, 5.0]}), CREATE, APPEND)
    assert ingest(server, "u", pa.table({"id": [3, 2], "v": [1.0, 5.0]}), CREATE, REPLACE) == 2
    assert rows_of(cursor, "SELECT id, v FROM u ORDER BY id") == [(2, 5.0), (3, 1.0)]


def test_a_crash_in_the_middle_of_an_ingest_leaves_nothing(server, cursor):
    cursor.execute("CREATE TABLE half (id BIGINT, name STRING, at TIMESTAMP)")
    cursor.adbc_ingest("half", people(10), mode="append")

    def batches():
        for i in range(100):
            if i == 60:
                server.kill()
            yield from people(20_000, i * 20_000).to_batches()

    with pytest.raises(Error):
        cursor.adbc_ingest("half", pa.RecordBatchReader.from_batches(people(1).schema, batches()), mode="append")
    server.start()
    assert server.one("SELECT count(*) FROM half") == 10
    assert server.delta("half", "public").to_pyarrow_table().num_rows == 10


def test_a_session_gives_the_default_schema(server):
    with connect(server, db_kwargs={"adbc.flight.sql.rpc.with_cookie_middleware": "true"}) as connection:
        assert (connection.adbc_current_catalog, connection.adbc_current_db_schema) == ("deltaplane", "public")
        connection.adbc_current_db_schema = "REACTOR"
        assert connection.adbc_current_db_schema == "reactor"
        with connection.cursor() as cursor:
            assert rows_of(cursor, "SELECT count(*) FROM raw") == [(0,)]
            cursor.execute("CREATE TABLE of_session (a BIGINT)")
            cursor.execute("INSERT INTO of_session VALUES (?)", (1,))
            assert rows_of(cursor, "SELECT * FROM reactor.of_session") == [(1,)]
            assert rows_of(cursor, "SELECT \"schema\" FROM system.sessions") == [("reactor",)]
        with pytest.raises(Error):
            connection.adbc_current_db_schema = "nowhere"
        with pytest.raises(Error):
            connection.adbc_current_catalog = "nowhere"
        connection.adbc_current_catalog = "deltaplane"
    assert server.one("SELECT count(*) FROM system.sessions") == 0, "closed with its connection"
    # Without cookies nothing of it is needed.
    with connect(server) as connection:
        assert connection.adbc_current_db_schema == "public"


def test_a_closed_session_is_refused_and_takes_with_it_what_was_opened_in_it(server, cursor):
    cursor.execute("CREATE TABLE of_closed (a BIGINT)")
    cookies = []

    class Middleware(fl.ClientMiddleware):
        def received_headers(self, headers):
            cookies.extend(value.split(";")[0] for name, values in headers.items() if name.lower() == "set-cookie" for value in values)

    class Factory(fl.ClientMiddlewareFactory):
        def start_call(self, info):
            return Middleware()

    client = fl.connect(server.uri, middleware=[Factory()])

    def call(name, body=b"", wrap=None, cookie=None):
        options = fl.FlightCallOptions(headers=[(b"cookie", cookie.encode())] if cookie else [])
        return [r.body.to_pybytes() for r in client.do_action((name, any_of(wrap, body) if wrap else body), options=options)]

    def select(cookie):
        options = fl.FlightCallOptions(headers=[(b"cookie", cookie.encode())])
        return client.get_flight_info(fl.FlightDescriptor.for_command(b"SELECT * FROM raw"), options)

    schema = field(1, field(1, "schema") + field(2, field(1, "reactor")))
    assert call("SetSessionOptions", schema) == [b""]
    (cookie,) = cookies
    select(cookie)

    def opened(cookie):
        (begun,) = call("BeginTransaction", wrap="ActionBeginTransactionRequest", cookie=cookie)
        (made,) = call("CreatePreparedStatement", field(1, "SELECT 1 AS one"), wrap="ActionCreatePreparedStatementRequest", cookie=cookie)
        transaction, handle = (dict(fields(dict(fields(answer))[2]))[1] for answer in (begun, made))
        assert ingest(server, "of_closed", pa.table({"a": [1]}), FAIL_MISSING, APPEND, transaction=transaction) == 1
        return transaction, fl.FlightDescriptor.for_command(any_of("CommandPreparedStatementQuery", field(1, handle)))

    inside, outside = opened(cookie), opened(None)
    assert call("CloseSession", cookie=cookie) == [b"\x08\x01"]
    for refused in (lambda: select(cookie), lambda: call("GetSessionOptions", cookie=cookie), lambda: call("BeginTransaction", wrap="ActionBeginTransactionRequest", cookie=cookie)):
        with pytest.raises(fl.FlightUnauthenticatedError, match="session_ended"):
            refused()
    with pytest.raises(pa.ArrowKeyError, match="session_not_found"):
        call("CloseSession", cookie=cookie)
    for (transaction, prepared), over in ((inside, True), (outside, False)):
        commit = field(1, transaction) + field(2, 1)
        if over:
            with pytest.raises(pa.ArrowKeyError, match="transaction_not_found"):
                call("EndTransaction", commit, wrap="ActionEndTransactionRequest")
            with pytest.raises(pa.ArrowKeyError, match="handle_not_found"):
                client.get_flight_info(prepared)
        else:
            client.get_flight_info(prepared)
            assert call("EndTransaction", commit, wrap="ActionEndTransactionRequest") == []
    assert rows_of(cursor, "SELECT count(*) FROM of_closed") == [(1,)]
    # One that begins anew has another cookie.
    cookies.clear()
    assert call("SetSessionOptions", schema, cookie=cookie) == [b""]
    assert cookies and cookies[0] != cookie
    select(cookies[0])


def test_an_ingest_that_is_cancelled_after_its_last_row_writes_nothing_or_all(server, cursor):
    cursor.execute("CREATE TABLE given_up (id BIGINT)")
    batch = pa.record_batch({"id": list(range(1000))})
    with connect(server) as connection:
        for create in (False, True):
            with connection.cursor() as ingesting:

                def batches():
                    for _ in range(20):
                        yield batch
                    ingesting.adbc_cancel()

                reader = pa.RecordBatchReader.from_batches(batch.schema, batches())
                with pytest.raises(Error):
                    ingesting.adbc_ingest("given_up_too" if create else "given_up", reader, mode="create" if create else "append")
    # Whatever comes behind it in the table waits for it.
    cursor.execute("DELETE FROM given_up WHERE id < 0")
    assert rows_of(cursor, "SELECT count(*) FROM given_up") == [(0,)]
    deadline = time.monotonic() + 30
    while "given_up_too" in {name for (name,) in rows_of(cursor, "SELECT table_name FROM information_schema.tables")}:
        assert time.monotonic() < deadline, "the table that was created for it stays"
        time.sleep(0.05)


def test_a_query_is_listed_and_cancelled(server):
    # By ADBC throughout: pyarrow turns a CANCELLED from the server into a KeyboardInterrupt of the whole process.
    with connect(server) as connection, connection.cursor() as cursor:
        (info,), _ = cursor.adbc_execute_partitions("SELECT count(*) FROM generate_series(1, 20000000000) a")
        caught = []

        def fetch():
            try:
                cursor.adbc_read_partition(info)
                cursor.fetchall()
            except Error as error:
                caught.append(error)

        thread = threading.Thread(target=fetch)
        thread.start()
        running = "SELECT id FROM system.queries WHERE state = 'running' AND sql LIKE '%generate_series%' AND sql NOT LIKE '%system.queries%'"
        deadline = time.monotonic() + 10
        while not (ids := server.sql(running)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        started = time.monotonic()
        assert dict(fields(action(server, "CancelFlightInfo", field(1, info))[0]))[1] == 1
        thread.join(10)
        assert time.monotonic() - started < 2
        assert "code = Canceled" in str(caught[0]) and "query_cancelled" in str(caught[0])
        assert dict(fields(action(server, "CancelFlightInfo", field(1, info))[0]))[1] == 1, "cancelling again says the same"
        assert server.one(f"SELECT state FROM system.queries WHERE id = '{ids[0]['id']}'") == "cancelled"
        # One that has ended cannot be cancelled, one that was never fetched will not run.
        (done,), _ = cursor.adbc_execute_partitions("SELECT 1")
        cursor.adbc_read_partition(done)
        assert cursor.fetchall() == [(1,)]
        assert dict(fields(action(server, "CancelFlightInfo", field(1, done))[0]))[1] == 3
        (never,), _ = cursor.adbc_execute_partitions("SELECT 2")
        (answer,) = action(server, "CancelQuery", field(1, never), wrap="ActionCancelQueryRequest")
        assert dict(fields(dict(fields(answer))[2]))[1] == 1
        with pytest.raises(Error, match="query_cancelled"):
            cursor.adbc_read_partition(never)
            cursor.fetchall()
    with pytest.raises(pa.ArrowException, match="query_not_found"):
        foreign = fl.FlightInfo(pa.schema([]), fl.FlightDescriptor.for_command(b"x"), [fl.FlightEndpoint(b"foreign", [])], -1, -1)
        action(server, "CancelFlightInfo", field(1, foreign.serialize()))
    own = server.flight().get_flight_info(fl.FlightDescriptor.for_command(b"SELECT 1"))
    (renewed,) = action(server, "RenewFlightEndpoint", field(1, own.endpoints[0].serialize()))
    assert 3 in dict(fields(renewed)), "an expiration time"


def test_a_nested_loop_join_is_cancelled_and_holds_up_nobody(server):
    # DataFusion joins a whole batch with the other side before it looks up: here for minutes.
    with connect(server) as connection, connection.cursor() as cursor:
        sql = "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b ON a.value * 7 % 1000003 < b.value % 3"
        (info,), _ = cursor.adbc_execute_partitions(sql)
        caught = []

        def fetch():
            try:
                cursor.adbc_read_partition(info)
                cursor.fetchall()
            except Error as error:
                caught.append(error)

        thread = threading.Thread(target=fetch)
        thread.start()
        time.sleep(1)
        started = time.monotonic()
        assert server.one("SELECT 1") == 1
        assert dict(fields(action(server, "CancelFlightInfo", field(1, info))[0]))[1] == 1
        thread.join(60)
        assert time.monotonic() - started < 10 and "query_cancelled" in str(caught[0])


def test_every_listed_action_is_known(server):
    names = {a.type for a in server.flight().list_actions()}
    assert {"CreatePreparedStatement", "BeginTransaction", "CancelFlightInfo", "SetSessionOptions"} <= names
    for name in names:
        try:
            action(server, name, b"\xff")
        except pa.ArrowNotImplementedError as error:
            raise AssertionError(name) from error
        except pa.ArrowException:
            pass
