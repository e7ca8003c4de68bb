"""What ended the process twice is suspended at the next start, and a safe start suspends all of it."""

from conftest import Server
from parked_tables import SLOT, ids, refused, state, two_tables, wait_for  # noqa: F401


def slot(how, name):
    return bytes([how, len(name)]) + name.encode().ljust(SLOT - 2, b"\0")


def test_what_ended_the_process_twice_in_a_row_is_suspended(two_tables):
    server = two_tables
    server.start()
    number = state(server)["incarnation"]
    server.kill()
    running = server.directory / "running"
    # Once: it is tried again, before anybody is served.
    running.write_bytes(slot(1, f"rows {number}"))
    server.start()
    assert ids(server) == [1, 2] and state(server)["state"] == "served"
    assert not (server.directory / "suspects").exists()
    server.sql("INSERT INTO public.x VALUES (3)")
    server.kill()
    # Twice: as a suspect it was running when the process ended again.
    running.write_bytes(slot(2, f"rows {number}"))
    for _ in range(2):
        server.start()
        assert (state(server)["state"], state(server)["parked_stage"]) == ("parked", "crash")
        assert "twice in a row" in refused(server, "SELECT * FROM public.x")
        server.sql("INSERT INTO public.good VALUES (1)")
        server.kill()
    server.start()
    assert server.sql("REPAIR TABLE public.x")[0]["state"] == "served"
    assert ids(server) == [1, 2, 3]
    assert server.terminate() == 0
    server.start()
    assert ids(server) == [1, 2, 3]


def test_a_view_an_alert_and_upkeep_that_ended_the_process_twice_are_suspended(tmp_path):
    upkeep = {"DELTAPLANE_UPKEEP_INTERVAL": "100ms", "DELTAPLANE_UPKEEP_MIN_FILES": "2"}
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="1h", **upkeep).start()

    def files():
        return server.one("SELECT files FROM system.tables WHERE table_name = 'x'")

    def insert(day):
        server.sql(f"INSERT INTO public.x VALUES (TIMESTAMP '2026-01-0{day}T00:00:00Z', 9)")
        server.sql("REFRESH MATERIALIZED VIEW public.other")

    def told(table, which="true"):
        return [str(row) for row in server.sql(f"SELECT * FROM system.{table} WHERE {which}") if "twice in a row" in str(row)]

    try:
        server.sql("CREATE TABLE public.x (ts TIMESTAMP NOT NULL, id BIGINT) TBLPROPERTIES ('deltaplane.eventTime'='ts')")
        for view in ("v", "other"):
            server.sql(f"CREATE MATERIALIZED VIEW public.{view} WITH (delay='0s', idle='1s') AS SELECT window_start, count(*) AS n FROM public.x GROUP BY tumble(ts, '1 second')")
        server.sql("CREATE ALERT public.a EVERY '1s' AS SELECT id FROM public.x WHERE id > 5")
        view, table = state(server, "v")["incarnation"], state(server)["incarnation"]
        server.kill()
        works = [f"refresh {view}", "look public.a", f"compact {table}"]
        (server.directory / "running").write_bytes(b"".join(slot(2, work) for work in works))
        server.start()
        for day in (1, 2, 3):
            insert(day)
        assert server.one("SELECT sum(n) FROM public.v") == 3, "queries compute what is not stored"
        wait_for(lambda: told("views", "table_name = 'v'"))
        wait_for(lambda: told("alerts"))
        wait_for(lambda: told("upkeep", "task = 'compact'"))
        assert not told("views", "table_name = 'other'")
        assert files() == 3 and "firing" not in str(server.sql("SELECT * FROM system.alerts"))
        # It stays so over a start.
        server.kill()
        server.start()
        wait_for(lambda: told("views", "table_name = 'v'") and told("alerts") and told("upkeep", "task = 'compact'"))
        assert files() == 3
        server.sql("REFRESH MATERIALIZED VIEW public.v")
        server.sql("ALTER ALERT public.a RESUME")
        server.sql("OPTIMIZE public.x")
        wait_for(lambda: not told("views") and not told("alerts"))
        wait_for(lambda: "firing" in str(server.sql("SELECT * FROM system.alerts")))
        assert files() == 1
        # From here on it is done without being asked for.
        insert(4)
        wait_for(lambda: files() == 1)
    finally:
        server.stop()


def test_a_safe_start_suspends_views_and_alerts_until_they_are_resumed(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_COMMIT_INTERVAL="200ms").start()
    try:
        server.sql("CREATE TABLE public.x (ts TIMESTAMP NOT NULL, id BIGINT) TBLPROPERTIES ('deltaplane.eventTime'='ts')")
        server.sql("CREATE MATERIALIZED VIEW public.v WITH (delay='0s', idle='1s') AS SELECT window_start, count(*) AS n FROM public.x GROUP BY tumble(ts, '1 second')")
        server.sql("CREATE ALERT public.a EVERY '1s' AS SELECT id FROM public.x WHERE id > 5")
        server.kill()
        server.environment["DELTAPLANE_SERVER_SAFE"] = "true"
        server.start()
        server.sql("INSERT INTO public.x VALUES (TIMESTAMP '2026-01-01T00:00:00Z', 9)")
        assert server.one("SELECT n FROM public.v") == 1, "queries compute what is not stored"
        errors = [("views", "table_name = 'v'"), ("alerts", "true")]
        for table, which in errors:
            wait_for(lambda: any("--safe" in str(row) for row in server.sql(f"SELECT * FROM system.{table} WHERE {which}")))
        server.sql("REFRESH MATERIALIZED VIEW public.v")
        server.sql("ALTER ALERT public.a RESUME")
        for table, which in errors:
            wait_for(lambda: not any("--safe" in str(row) for row in server.sql(f"SELECT * FROM system.{table} WHERE {which}")))
        wait_for(lambda: "firing" in str(server.sql("SELECT * FROM system.alerts")))
    finally:
        server.stop()
