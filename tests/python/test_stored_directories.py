"""Data directories of older servers, which every later one reads: `tests/stored/`, an archive each, and what was in it.

`tests/store_directory` makes one of the server of today. It is run when what stands on disk has changed; the older ones stay.
"""

import json
import pathlib
import shutil
import subprocess
import tarfile

import pytest
from conftest import BIN, Server
from every_feature import SIDES, answers

STORED = pathlib.Path(__file__).parents[1] / "stored"
NAMES = sorted(path.name.removesuffix(".tar.xz") for path in STORED.glob("*.tar.xz"))
# Nothing is committed, compacted or deleted on its own while it is looked at.
SETTINGS = {"DELTAPLANE_COMMIT_INTERVAL": "1h", "DELTAPLANE_UPKEEP_ENABLED": "false"}


def unpacked(name, folder):
    with tarfile.open(STORED / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "data", json.loads((STORED / f"{name}.json").read_text())


def told(server):
    """As JSON has it."""
    return json.loads(json.dumps(answers(server), default=str))


def test_there_is_a_stored_directory():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_older_servers_directory_is_read_whole_and_goes_on(name, tmp_path):
    directory, expected = unpacked(name, tmp_path)
    whole = subprocess.run([BIN / "deltaplane", "check", "--data-dir", directory, "--deep"], capture_output=True, text=True, timeout=120)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    server = Server(directory, **SETTINGS).start()
    try:
        assert told(server) == expected
        # It takes more, commits all of it, and finds all of it after a start.
        rows = server.one("SELECT count(*) FROM d.r")
        server.sql("INSERT INTO d.r VALUES (1000, 0.25, 'c')")
        assert server.terminate() == 0, server.log()
        server.start()
        assert server.one("SELECT count(*) FROM d.r") == rows + 1
        server.sql("DELETE FROM d.r WHERE id = 1000")
        after = told(server)
        assert after == expected, {key: (after.get(key), expected[key]) for key in expected if after.get(key) != expected[key]}
        # Each table as a reader sees it that is not ours.
        seen = server.delta("t", dataset="d").to_pyarrow_table().num_rows
        assert seen == server.one("SELECT count(*) FROM d.t")
    finally:
        server.stop()


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_directory_has_every_kind_of_file(name, tmp_path):
    directory, expected = unpacked(name, tmp_path)
    files = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    for kind in ("wal/manifest", "wal/parked.index", "log.identity", "running", "suspects", "definitions", "definitions.index", "alerts.index", "alerts/d.high.alert",
                 "tables/d/q_quarantine/_deltaplane/replay.json"):
        assert kind in files, (kind, sorted(files))
    assert any(file.startswith("wal/parked/") for file in files) and any(file.endswith(".checkpoint.parquet") for file in files), sorted(files)
    assert expected[SIDES][0] == 200
    shutil.rmtree(directory)
