"""Nobody waits for strangers: who is held up by a long statement, an endless alert or a stop gets an answer in bounded time."""

import threading
import time

import pyarrow as pa
import pytest
from conftest import Server, Stream

IDS = pa.schema([("id", pa.int64())])
ENDLESS = "SELECT a.id FROM public.a a, generate_series(1, 100000000000) g WHERE g.value < 0"


def ids(first, n=10):
    return pa.record_batch([pa.array(range(first, first + n), pa.int64())], schema=IDS)


def begin(tmp_path, **environment):
    environment = {"DELTAPLANE_LOG_ADMISSION_TIMEOUT": "1s", "DELTAPLANE_LIMITS_DDL_TIMEOUT": "1s"} | environment
    started = Server(tmp_path / "data", **environment).start()
    started.sql("CREATE TABLE public.a (id BIGINT)")
    started.sql("CREATE TABLE public.b (id BIGINT)")
    started.put("public.a", ids(0))
    return started


def in_background(work):
    """The thread, and a list that gets its outcome."""
    outcome = []

    def run():
        try:
            outcome.append(work())
        except Exception as error:  # the outcome is looked at where it matters
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def long_delete(started):
    """A DELETE that runs until its query's time limit; returns when it holds the table."""
    thread, outcome = in_background(lambda: started.sql(f"DELETE FROM public.a WHERE id IN ({ENDLESS})"))
    client = started.flight()
    deadline = time.monotonic() + 30
    tries = 0
    while time.monotonic() < deadline:
        tries += 1
        try:
            # Harmless until the statement holds the table, and refused from then on.
            started.sql(f"ALTER TABLE public.a SET TBLPROPERTIES ('deltaplane.unit.id' = 'u{tries}')", client)
        except Exception as error:
            if "held by DELETE" in str(error):
                return thread, outcome
            raise
    raise AssertionError("the statement did not begin")


def test_a_long_statement_holds_up_nobody_else(tmp_path):
    started = begin(tmp_path, DELTAPLANE_QUERY_TIMEOUT="15s")
    try:
        stream = Stream(started, "p", table=["public", "a"], schema=IDS, ack="committed")
        stream.send(1, ids(100))
        assert stream.ack(1)["version"] is not None
        thread, _ = long_delete(started)
        # The table's own stream at level committed hears of it, and one at level durable is acked.
        began = time.monotonic()
        stream.send(2, ids(200))
        error = stream.error()
        assert "commit_delayed" in error and "DELETE" in error
        assert time.monotonic() - began < 4
        assert started.put("public.a", ids(300))["seq"] == 1
        began = time.monotonic()
        with pytest.raises(Exception, match="table_busy.*DELETE"):
            started.sql("ALTER TABLE public.a ADD COLUMN x DOUBLE")
        # Other tables' DDL does not wait at all, and reads go on.
        started.sql("ALTER TABLE public.b ADD COLUMN x DOUBLE")
        started.sql("CREATE TABLE public.c (id BIGINT)")
        started.sql("DROP TABLE public.c")
        assert started.one("SELECT count(*) FROM public.a") == 40
        assert time.monotonic() - began < 6
        assert thread.is_alive(), "the statement was to run longer than all of this"
    finally:
        started.stop()


def test_sigterm_does_not_wait_for_a_statement_an_alert_or_a_stream(tmp_path):
    started = begin(tmp_path, DELTAPLANE_QUERY_TIMEOUT="5min")
    try:
        started.sql(f"CREATE ALERT public.endless EVERY '1s' AS {ENDLESS}")
        stream = Stream(started, "p", table=["public", "b"], schema=IDS, ack="committed")
        stream.send(1, ids(0))
        stream.ack(1)
        long_delete(started)
        began = time.monotonic()
        assert started.terminate() == 0, started.log()[-2000:]
        assert time.monotonic() - began < 20
        started.start()
        assert started.one("SELECT count(*) FROM public.a") == 10
        assert started.one("SELECT count(*) FROM public.b") == 10
    finally:
        started.stop()


def test_alerts_whose_query_does_not_end_keep_no_other_from_firing(tmp_path):
    # Six queries without an end leave the disk little time, which is not what this is about.
    started = begin(tmp_path, DELTAPLANE_ALERTS_TIMEOUT="3s", DELTAPLANE_LOG_ADMISSION_TIMEOUT="20s")
    try:
        for n in range(6):
            started.sql(f"CREATE ALERT public.bad{n} EVERY '1s' AS {ENDLESS}")
        started.sql("CREATE ALERT public.good EVERY '1s' AS SELECT id FROM public.a WHERE id = 777")
        client = started.flight()
        deadline = time.monotonic() + 30
        while started.one("SELECT max(last_error) FROM system.alerts WHERE alert LIKE 'bad%'", client) is None:
            assert time.monotonic() < deadline, "no endless alert is known to be one"
        started.put("public.a", ids(777, 1))
        began = time.monotonic()
        while started.one("SELECT state FROM system.alerts WHERE alert = 'good'", client) != "firing":
            assert time.monotonic() - began < 15, started.sql("SELECT * FROM system.alerts")
        error = started.one("SELECT max(last_error) FROM system.alerts WHERE alert LIKE 'bad%'", client)
        assert "alert_timeout" in error and "3s" in error and "evaluated again in" in error
    finally:
        started.stop()
