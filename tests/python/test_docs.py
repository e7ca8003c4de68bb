"""The pages: each statement runs as it stands, in the page's order, and gives the answer that the page shows."""

import datetime as dt
import json
import os
import re
import subprocess

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from conftest import BIN, Cookies, Server, Stream, rows
from pages import ROOT, pages, statements

DATASETS = ["reactor", "satellite", "building", "energy", "vehicle"]

# Versions of docs/sql.md and docs/feed.md are asked for by number, and by this time or a later one.
EARLY = dt.datetime(2026, 11, 25, 3, tzinfo=dt.timezone.utc)
COLUMNS = "id BIGINT, name STRING, serial STRING, level DOUBLE, state STRING"


def grow_devices(server):
    """Some versions of the table that docs/sql.md creates, the first one before its examples' time."""
    for n in range(4):
        server.sql(f"INSERT INTO devices VALUES ({100 + n}, 'd{n}', 'R{n}', {n}, 'on')")
    commit_first_version(server, EARLY, "public/devices")


# What a page takes for granted: statements, or a function, before the first statement that begins so.
BEFORE = {
    "views.md": {"CREATE MATERIALIZED VIEW": ["DROP MATERIALIZED VIEW vehicle.metrics_1min"]},
    "alerts.md": {"CREATE ALERT": ["DROP ALERT building.silent_room"]},
    "sql.md": {
        "DELETE FROM devices USING": [f"CREATE TABLE incoming ({COLUMNS})", "INSERT INTO incoming VALUES (1, 'one', 'R1', 5, 'on'), (2, 'two', 'R2', NULL, 'on'), (9, 'nine', 'R9', 7, 'off')"],
        "TRUNCATE TABLE staging": ["CREATE TABLE staging (id BIGINT)"],
        "SELECT * FROM devices EXCEPT": grow_devices,
    },
}


class DocsServer(Server):
    """With the webhook of docs/alerts.md, where nobody listens, and one session for all statements of a page."""

    def flight(self):
        if self.process is not self.of:
            self.of, self.cookies = self.process, Cookies()
            client = fl.connect(self.uri, middleware=[self.cookies])
            list(client.do_action(("SetSessionOptions", b"")))
        return fl.connect(self.uri, middleware=[self.cookies])

    of = None

    def spawn(self):
        config = self.directory.parent / "deltaplane.toml"
        config.write_text('[alerts.webhooks.ops]\nurl = "http://127.0.0.1:9/"\n')
        log = open(self.log_path, "ab")
        return subprocess.Popen([BIN / "deltaplane", "serve", "--config", config, "--data-dir", self.directory, "--listen", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http}"],
                                env=os.environ | self.environment, stdout=log, stderr=log)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = DocsServer(tmp_path_factory.mktemp("docs") / "data").start()
    server.run("apply", *DATASETS, "--yes")
    server.simulate("--rows", 200 * 8, "--rate", 0, "--start", "2026-11-01T12:00:00Z", dataset="vehicle")
    server.simulate("--rows", 40, "--rate", 0, dataset="building")
    # docs/feed.md and docs/sql.md read the table's versions 12 to 20.
    stream = Stream(server, "docs", ack="committed")
    for seq in range(1, 22):
        stream.send(seq, rows(2, AT=[20.0, 31.0]))
        stream.ack(seq)
    stream.close()
    commit_first_version(server, EARLY, "reactor/raw")
    yield server
    server.stop()


def commit_first_version(server, time, folder):
    """Makes the first version of a table so old."""
    assert server.terminate() == 0
    file = server.directory / "tables" / folder / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in file.read_text().splitlines()]
    for action in actions:
        if info := action.get("commitInfo"):
            info["timestamp"] = int(time.timestamp() * 1000)
            info.pop("deltaplaneCrc32c", None)
    file.write_text("".join(json.dumps(action) + "\n" for action in actions))
    server.start()


def prepare(server, page, sql, done):
    for begin, what in BEFORE.get(page.name, {}).items():
        if sql.startswith(begin) and begin not in done:
            done.add(begin)
            if callable(what):
                what(server)
            else:
                for statement in what:
                    server.sql(statement)


def ask(server, sql):
    """Runs a statement. Of a subscription, which does not end, the first batch."""
    client = server.flight()
    info = client.get_flight_info(fl.FlightDescriptor.for_command(sql.encode()))
    reader = client.do_get(info.endpoints[0].ticket)
    if not sql.upper().startswith("SUBSCRIBE"):
        return reader.read_all()
    if "FROM" in sql:
        batch = reader.read_chunk().data
        assert batch.num_rows
    reader.cancel()
    return None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_each_statement_of_the_page_runs_and_gives_the_answer_that_stands_there(server, page):
    done = set()
    for shown in statements(page):
        prepare(server, page, shown.sql, done)
        where = f"{page.name}:{shown.line}: {shown.sql}"
        try:
            table = ask(server, shown.sql)
        except pa.ArrowException as error:
            raise AssertionError(f"{where}\n{error}") from error
        if page.name == "timeseries.md":
            assert table.num_rows, where
        if shown.answer is not None:
            assert server.run("sql", shown.sql, "--format", "csv").stdout == shown.answer, where


def test_sql_stands_in_blocks_that_run():
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        loose = re.findall(r"^    (?:SELECT|INSERT|UPDATE|DELETE|CREATE|WITH)\b.*", page.read_text(), re.MULTILINE)
        assert not loose, f"{page.name}: write it in a block of sql, so that it is run: {loose}"


def test_a_page_that_shows_a_wrong_answer_or_a_statement_that_fails_is_seen(server, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Text, `SELECT count(*) FROM reactor.raw`, `SELECT ts` and `SELECT ..`.\n\n```sql\nSELECT 1 AS a; -- one\nSELECT\n  2 AS a\n```\n\n```csv\na\n3\n```\n\n```sql\nSELECT no_such_column\n```\n")
    assert [(s.line, s.sql, s.answer) for s in statements(page)] == [
        (1, "SELECT count(*) FROM reactor.raw", None), (3, "SELECT 1 AS a", None), (3, "SELECT\n  2 AS a", "a\n3\n"), (14, "SELECT no_such_column", None)]
    with pytest.raises(AssertionError, match="page.md:3"):
        test_each_statement_of_the_page_runs_and_gives_the_answer_that_stands_there(server, page)
    page.write_text(page.read_text().replace("a\n3\n", "a\n2\n"))
    with pytest.raises(AssertionError, match="page.md:14"):
        test_each_statement_of_the_page_runs_and_gives_the_answer_that_stands_there(server, page)
