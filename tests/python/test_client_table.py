"""Each client of the README's table does what its row says, and the table says what the clients did.

A cell that fails is a subtest that fails. `test_the_tables_are_what_the_clients_do` prints the tables that it expects.
"""

import time

import pytest

import clients
from clients import CAPABILITIES, programs, python, sqlline
from conftest import Server

# In the order of the README's table.
CLIENTS = [python.AdbcPython, programs.AdbcJava, *programs.JDBC, sqlline.SqlLine, programs.ArrowGo, python.PyArrow, python.Pandas, python.Polars, python.SqlAlchemy, programs.Superset]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("clients") / "data").start()
    for sql in clients.SETUP:
        server.sql(sql)
    server.wait_committed("grown")
    yield server
    server.stop()


def ended(server, schema):
    """The query that the client cancelled ends, and says why."""
    asked = f"SELECT state FROM system.queries WHERE sql LIKE '%cancel {schema}%' AND sql NOT LIKE '%system.queries%'"
    deadline = time.monotonic() + 20
    while {row["state"] for row in server.sql(asked)} != {"cancelled"}:
        assert time.monotonic() < deadline, server.sql(asked)
        time.sleep(0.02)


@pytest.mark.parametrize("kind", CLIENTS, ids=lambda kind: kind.__name__)
def test_a_client_does_what_its_row_says(server, kind, subtests):
    schema = f"of_{kind.__name__.lower()}"
    client = kind(server, schema)
    try:
        for capability in [*CAPABILITIES, *kind.extra]:
            with subtests.test(capability):
                getattr(client, capability)()
                if capability == "cancel" and not clients.reason(kind, capability):
                    ended(server, schema)
    finally:
        client.close()


def table():
    """The README's table."""
    lines = [["client", *CAPABILITIES.values()]]
    for kind in CLIENTS:
        lines.append([kind.name, *("no" if clients.reason(kind, capability) else "yes" for capability in CAPABILITIES)])
    header, *rows = [f"| {' | '.join(line)} |" for line in lines]
    return [header, "|---" * (1 + len(CAPABILITIES)) + "|", *rows]


def reasons():
    """The list of docs/clients.md: why each "no" is one."""
    lines = ["| client | what it lacks | why |", "|---|---|---|"]
    for kind in CLIENTS:
        absent = {}
        for capability in CAPABILITIES:
            if why := clients.reason(kind, capability):
                absent.setdefault(why, []).append(CAPABILITIES[capability])
        lines += [f"| {kind.name} | {', '.join(names)} | {why} |" for why, names in absent.items()]
    return lines


@pytest.mark.parametrize("page, lines", [("README.md", table()), ("docs/clients.md", reasons())], ids=["README.md", "docs/clients.md"])
def test_the_tables_are_what_the_clients_do(page, lines):
    expected = "\n".join(lines)
    assert expected in (programs.ROOT / page).read_text(), f"{page} has to say:\n{expected}"
