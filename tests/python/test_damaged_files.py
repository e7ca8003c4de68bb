"""A data file of a table is not what the Delta log says of it: whoever needs it is told the table, the file and its sizes, nobody
gets fewer rows without a word, and nothing is written in its place."""

import os
import shutil
import struct
import subprocess

import pyarrow as pa
import pytest
from conftest import BIN, Server

SETTINGS = {"DELTAPLANE_COMMIT_INTERVAL": "1h", "DELTAPLANE_UPKEEP_ENABLED": "false"}
# The last digits of a sum of doubles depend on the order in which the files come.
ROWS = "SELECT count(*), sum(id), round(sum(v), 3) FROM (SELECT id, v FROM d.t WHERE id >= 0)"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("files") / "data", **SETTINGS).start()
    server.sql("CREATE TABLE d.t (id BIGINT NOT NULL, ts TIMESTAMP NOT NULL, v DOUBLE) TBLPROPERTIES ('deltaplane.eventTime'='ts')")
    # A file each: what is written by a DELETE is preceded by a commit of all hot rows.
    for first in (0, 1000):
        server.sql(f"INSERT INTO d.t SELECT value, to_timestamp(1767225600 + value), value / 7.0 FROM generate_series({first}, {first + 999})")
        server.sql("DELETE FROM d.t WHERE id = -1")
    server.sql("CREATE MATERIALIZED VIEW d.w AS SELECT count(*) AS n FROM d.t GROUP BY tumble(ts, '1min')")
    yield server
    server.stop()


def data_files(server):
    files = (server.directory / "tables/d/t").rglob("*.parquet")
    return sorted(f for f in files if "_delta_log" not in f.parts)


def cut(to):
    def change(file):
        data = file.read_bytes()
        file.write_bytes(data[:to(len(data))])
    return change


def longer(file):
    file.write_bytes(file.read_bytes() + b"more")


def huge_footer(file):
    data = bytearray(file.read_bytes())
    data[-8:-4] = struct.pack("<I", 0xFFFF_FFF0)
    file.write_bytes(data)


def folder(file):
    file.unlink()
    file.mkdir()


# The change, and the words about it.
CAUSES = {
    "missing": (lambda file: file.unlink(), "it is missing and the Delta log says that it has {size} bytes"),
    "without its last byte": (cut(lambda n: n - 1), "it has {less} bytes and the Delta log says {size}"),
    "half": (cut(lambda n: n // 2), "it has {half} bytes and the Delta log says {size}"),
    "one byte": (cut(lambda n: 1), "it has 1 bytes and the Delta log says {size}"),
    "empty": (cut(lambda n: 0), "it has 0 bytes and the Delta log says {size}"),
    "longer": (longer, "it has {more} bytes and the Delta log says {size}"),
    "a footer of 4 GiB": (huge_footer, "footer"),
    "a folder": (folder, "it is missing and the Delta log says that it has {size} bytes"),
}
STATEMENTS = [
    ROWS,
    "SELECT count(*) FROM d.t",
    "SELECT max(id) FROM d.t",
    "SELECT * FROM d.t ORDER BY v DESC LIMIT 3000",
    "SELECT a.id FROM d.t a JOIN d.t b ON a.id = b.id",
    "DELETE FROM d.t WHERE v >= 0",
    "UPDATE d.t SET v = v + 1 WHERE v >= 0",
    "MERGE INTO d.t USING (SELECT 5 AS id) s ON t.id = s.id WHEN MATCHED THEN DELETE",
    "INSERT INTO d.copy SELECT * FROM d.t",
    "OPTIMIZE d.t",
    "REFRESH MATERIALIZED VIEW d.w FULL",
]


@pytest.mark.parametrize("cause", CAUSES)
def test_a_file_that_is_not_what_was_committed_is_told_by_name(server, cause):
    server.sql("CREATE TABLE IF NOT EXISTS d.copy (id BIGINT, ts TIMESTAMP, v DOUBLE)")
    change, words = CAUSES[cause]
    expected, files = server.one(ROWS), data_files(server)
    file = files[0]
    size = file.stat().st_size
    words = words.format(size=size, less=size - 1, half=size // 2, more=size + 4)
    saved = server.directory.parent / "saved"
    shutil.copy2(file, saved)
    change(file)
    try:
        for statement in STATEMENTS:
            with pytest.raises(pa.ArrowException) as caught:
                answer = server.sql(statement)
                pytest.fail(f"{statement}: {answer}")
            told = str(caught.value)
            assert "file_damaged: " in told and "internal: " not in told, (statement, told)
            assert file.name in told and "table=d.t" in told and words in told and "backup" in told, (statement, told)
        checked = server.sql("CHECK TABLE d.t")
        assert file.name in str(checked), checked
        assert server.process.poll() is None
    finally:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        shutil.copy2(saved, file)
    assert server.one(ROWS) == expected
    assert data_files(server) == files
    assert server.one("SELECT count(*) FROM d.copy") == 0
    server.sql("REFRESH MATERIALIZED VIEW d.w FULL")
    assert server.one("SELECT sum(n) FROM d.w") == expected[0]


def test_a_damaged_page_is_told_and_a_check_names_its_file(server):
    file = data_files(server)[0]
    good = file.read_bytes()
    data = bytearray(good)
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    try:
        with pytest.raises(pa.ArrowException) as caught:
            server.sql("SELECT * FROM d.t")
        told = str(caught.value)
        assert "file_damaged: " in told and "CHECK TABLE" in told and "internal: " not in told, told
        (checked,) = server.sql("CHECK TABLE d.t")
        assert checked["problems"] == 1 and file.name in checked["detail"], checked
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize("cause", CAUSES)
def test_an_offline_check_names_the_file(server, cause, tmp_path):
    copy = tmp_path / "data"
    shutil.copytree(server.directory, copy, ignore=lambda _, names: [n for n in names if n == "lock"])
    file = data_files(server)[0]
    file = copy / file.relative_to(server.directory)

    def check(*arguments):
        done = subprocess.run([BIN / "deltaplane", "check", "--data-dir", copy, *arguments], env=os.environ | SETTINGS, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    assert check("--deep")[0] == 0, check("--deep")[1]
    CAUSES[cause][0](file)
    for arguments in [["--deep"]] if cause == "a footer of 4 GiB" else [[], ["--deep"]]:
        code, text = check(*arguments)
        assert code == 1 and file.name in text, text
