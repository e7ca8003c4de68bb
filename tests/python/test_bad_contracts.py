"""Contracts that cannot stand: `deltaplane apply` says file, line and way out, and creates nothing."""

import pytest

from conftest import Server

HEAD = 'dataset = "d"\n\n[[table]]\nname = "raw"\nevent_time = "ts"\n'
COLUMNS = 'columns = [\n  { name = "ts", type = "timestamp", required = true },\n  { name = "id", type = "string" },\n  { name = "x", type = "double" },\n]\n'
DIMENSION = '\n[[table]]\nname = "things"\nload = "things.csv"\ncolumns = [{ name = "id", type = "string", required = true }, { name = "site", type = "string" }]\n'
STEP = '\n[[table]]\nname = "day"\npartition_by = ["event_date"]\ncolumns = [{ name = "event_date", type = "date" }, { name = "n", type = "long" }]\n\n[[process]]\ntable = "day"\nday = "event_date"\nsql = "%s"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("bad") / "data").start()
    yield server
    server.stop()


CASES = {
    "unknown type": (HEAD + COLUMNS.replace("double", "flaot"), {}, ":9: unknown type, column=x, type=flaot; known: boolean, "),
    "typo in a key": (HEAD.replace("event_time", "event_tiem") + COLUMNS, {}, ":5: unknown field `event_tiem`, expected one of"),
    "reserved column": (HEAD + COLUMNS.replace('"x"', '"_seq"'), {}, ":9: reserved name, table=d.raw, name=_seq; the server fills it: choose another"),
    "reserved table": (HEAD.replace("raw", "raw_quarantine") + COLUMNS, {}, ":4: reserved name, table=d.raw_quarantine"),
    "rule on a missing column": (HEAD + COLUMNS + 'rules = [{ column = "y", min = 0 }]', {}, ":11: no such column, table=d.raw, column=y, in=rules; columns: ts, id, x"),
    "bad regex": (HEAD + COLUMNS + 'rules = [{ column = "id", regex = "[a-" }]', {}, ":11: rule does not fit its column, rule=regex:id, column=id: "),
    "min above max": (HEAD + COLUMNS + 'rules = [{ column = "x", min = 5, max = 1 }]', {}, ":11: rule does not fit its column, rule=range:x, column=x: the bounds are empty, min=5, max=1"),
    "table twice": (HEAD + COLUMNS + HEAD[HEAD.index("[["):] + COLUMNS, {}, ":12: table declared twice, table=d.raw"),
    "no such dimension": (HEAD + COLUMNS + 'rules = [{ column = "id", in = "thing" }]' + DIMENSION, {"things.csv": "id\n"}, ":11: rule does not fit its column, rule=referential:id, column=id: there is no table thing; tables: raw, things"),
    "not TOML": (HEAD + COLUMNS + "rules = [\n", {}, "dataset.toml:"),
    "load file missing": (HEAD + COLUMNS + DIMENSION, {}, ":14: d.things loads "),
    "load file with a wrong header": (HEAD + COLUMNS + DIMENSION, {"things.csv": "id,sight\na,b\n"}, 'things.csv:1: it fills d.things: unknown column in the header, column="sight"; columns: id, site'),
    "load file without a required column": (HEAD + COLUMNS + DIMENSION, {"things.csv": "site\nb\n"}, "required column missing in the header, column=id"),
    "process step names a missing table": (HEAD + COLUMNS + STEP % "SELECT event_date, count(*) AS n FROM d.rau WHERE event_date = :date GROUP BY 1", {}, ":20: process day: "),
    "process step names a missing column": (HEAD + COLUMNS + STEP % "SELECT event_date, count(y) AS n FROM d.raw WHERE event_date = :date GROUP BY 1", {}, "No field named y"),
    "process step with other columns": (HEAD + COLUMNS + STEP % "SELECT event_date, count(*) AS m FROM d.raw WHERE event_date = :date GROUP BY 1", {}, "its query gives event_date, m; the table takes, in this order, event_date, n"),
    "process step for a missing table": (HEAD + COLUMNS + '[[process]]\ntable = "gold"\nday = "ts"\nsql = "SELECT 1"', {}, ":12: process writes a table that is not declared, table=gold; tables: raw"),
}


@pytest.mark.parametrize("case", CASES)
def test_apply_names_file_line_and_way_out(server, tmp_path, case):
    text, files, expected = CASES[case]
    path = tmp_path / "dataset.toml"
    path.write_text(text)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    failed = server.run("apply", str(path), "--yes", check=False)
    assert failed.returncode == 1 and expected in failed.stderr, failed.stderr
    assert "dataset.toml:" in failed.stderr or "things.csv:" in failed.stderr
    assert server.one("SELECT count(*) FROM system.tables") == 0, "nothing is created"


def test_two_files_for_one_table(server, tmp_path):
    for name in ["a", "b"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset.toml").write_text(HEAD + COLUMNS)
    failed = server.run("apply", str(tmp_path / "a/dataset.toml"), str(tmp_path / "b/dataset.toml"), "--yes", check=False)
    assert failed.returncode == 1 and f"d.raw is declared by {tmp_path}/a/dataset.toml and by {tmp_path}/b/dataset.toml; leave it to one of them" in failed.stderr
    failed = server.run("apply", "reactro", "--yes", check=False)
    assert failed.returncode == 1 and "neither a file nor a bundled dataset (reactor, satellite, building, energy, vehicle)" in failed.stderr


def test_a_good_one_is_applied_after_all_that(server, tmp_path):
    path = tmp_path / "dataset.toml"
    path.write_text(HEAD + COLUMNS + 'rules = [{ column = "id", in = "things", action = "warn" }]' + DIMENSION + STEP % "SELECT event_date, count(*) AS n FROM d.raw WHERE event_date = :date GROUP BY 1")
    (tmp_path / "things.csv").write_text("id,site\na,North\nb,\n")
    done = server.run("apply", str(path), "--yes")
    assert "created d.raw" in done.stdout and "loaded d.things, 2 rows" in done.stdout
    assert server.run("apply", str(path), "--yes", check=False).returncode == 99
    assert server.run("process", str(path), "--date", "2026-01-01", check=False).returncode == 99
    server.sql("DROP TABLE d.day")
