"""One file of a data directory is damaged: the server refuses with its name, parks what it is about, or answers exactly as
before. It never starts with less than was acked and says nothing.

`DELTAPLANE_TEST_DAMAGE` is the number of places (2000 for a full run), `DELTAPLANE_TEST_DAMAGE_SEED` chooses them.
"""

import collections
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import subprocess

import every_feature
import pytest
from conftest import BIN, Server
from every_feature import SETTINGS, SIDES, TABLES, answers

PLACES = int(os.environ.get("DELTAPLANE_TEST_DAMAGE", "24"))
SEED = int(os.environ.get("DELTAPLANE_TEST_DAMAGE_SEED", "1"))
PARALLEL = int(os.environ.get("DELTAPLANE_TEST_DAMAGE_PARALLEL", "3"))


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """The same data directory at two times, each as kill -9 left it."""
    return every_feature.directories(tmp_path_factory.mktemp("damage"))


def kind(path):
    """What a file is, by its place."""
    parts, name = path.parts, path.name
    if parts[0] == "wal":
        if parts[1] == "parked":
            return "parked rows"
        return {"manifest": "manifest", "parked.index": "parked index", "spare.recycled": "spare segment"}.get(name, "segment")
    own = {"definitions": "definitions", "definitions.index": "definitions index", "log.identity": "identity", "running": "running", "suspects": "suspects",
           "replay.json": "note of a replay"}
    if name in own:
        return own[name]
    if parts[0] == "alerts" or name == "alerts.index":
        return "alert" if name.endswith(".alert") else "alert index"
    if "_delta_log" in parts:
        if name == "_last_checkpoint":
            return "checkpoint pointer"
        return "checkpoint" if name.endswith(".parquet") else "Delta entry"
    return {"parquet": "data file"}.get(name.rpartition(".")[2], "other")


def damage(rng, directory, older, path, how):
    """Does it, and gives back the position."""
    file = directory / path
    if how == "remove":
        file.unlink()
        return 0
    if how == "shorten":
        # The whole log from this version on, as a restored older copy would be.
        for entry in file.parent.iterdir():
            if entry.name[:20] >= file.name[:20] and entry.name[:1].isdigit():
                entry.unlink()
        return 0
    if how == "older":
        shutil.copy2(older / path, file)
        return 0
    data = bytearray(file.read_bytes())
    # Preallocated room is not content.
    used = max(len(data.rstrip(b"\0")), 1)
    at = rng.randrange(used) if rng.random() < 0.7 else rng.randrange(min(used, 64))
    if how == "empty":
        data = bytearray()
    elif how == "cut":
        del data[at:]
    else:
        data[at] ^= 1 << rng.randrange(8)
    file.write_bytes(data)
    return at


def before_replay(sides):
    """What [`SIDES`] answers if the replay has not happened: every 50th of 200 rows is in the quarantine."""
    moved = [i for first in (1000, 2000) for i in range(first, first + 100) if i % 50 == 0]
    return sides[0] - len(moved), sides[1] - sum(moved), sides[2] + len(moved)


def started(directory):
    """None, or the reason why not."""
    server = Server(directory, **SETTINGS)
    try:
        server.start()
    except RuntimeError as error:
        server.stop()
        return None, str(error)
    return server, None


def plan(directory, older):
    rng = random.Random(SEED)
    files = [p.relative_to(directory) for p in sorted(directory.rglob("*")) if p.is_file() and p.name != "lock"]
    kinds = collections.defaultdict(list)
    for file in files:
        kinds[kind(file)].append(file)
    names = sorted(kinds)
    for number in range(PLACES):
        # Each kind of file as often as the others, however many of it there are.
        path = rng.choice(kinds[names[number % len(names)]])
        ways = ["flip", "flip", "cut", "empty", "remove"]
        if (older / path).is_file() and (older / path).read_bytes() != (directory / path).read_bytes():
            ways += ["older", "older"]
        if kind(path) == "Delta entry":
            ways += ["shorten", "shorten"]
        yield number, path, rng.choice(ways), rng.randrange(1 << 30)


def one(directory, older, expected, number, path, how, seed):
    """What came of it, and whether that is allowed."""
    copy = directory.parent / f"case-{number}"
    shutil.copytree(directory, copy)
    try:
        at = damage(random.Random(seed), copy, older, path, how)
        server, refusal = started(copy)
        label = f"{number}: {kind(path)} {path} {how} at {at}"
        if refusal is not None:
            last = refusal.strip().splitlines()[-1]
            table = path.parts[2].removesuffix("_quarantine") if path.parts[0] == "tables" else path.name
            return label, "refused", path.name in last or table in last, last
        try:
            # Filters meet the statistics of a table's own files.
            table = path.parts[2].removesuffix("_quarantine") if path.parts[0] == "tables" else None
            got = answers(server, [table] if table in TABLES else [])
        finally:
            server.stop()
        # The replay was cut before it was answered: without its note, or its commit, it has not begun, and its rows are in the quarantine.
        of_replay = kind(path) == "note of a replay" or (kind(path) == "Delta entry" and path.parts[1:3] == ("d", "q"))
        if of_replay and got[SIDES] == before_replay(expected[SIDES]):
            got[SIDES] = expected[SIDES]
        # An alert that is not there any more is wrong; a query that was not asked is not.
        keys = [key for key in expected if key in got or key.startswith("alert ")]
        wrong = {key: got.get(key) for key in keys if not isinstance(got.get(key), Exception) and got.get(key) != expected[key]}
        if wrong:
            return label, "silently other", False, f"{wrong} instead of {({key: expected[key] for key in wrong})}"
        errors = {key: error for key, error in got.items() if isinstance(error, Exception)}
        if errors:
            return label, "parked", True, str(next(iter(errors.values())))[:200]
        return label, "right", True, ""
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        pathlib.Path(f"{copy}.log").unlink(missing_ok=True)


def test_damage_is_refused_parked_or_without_effect(directories):
    directory, older = directories
    whole = directory.parent / "whole"
    shutil.copytree(directory, whole)
    server, refusal = started(whole)
    assert refusal is None, refusal
    expected = answers(server)
    server.stop()
    assert not [e for e in expected.values() if isinstance(e, Exception)], expected
    assert {"alert high", "alert low"} <= set(expected)
    assert expected[SIDES][0] == 200 and expected[SIDES][2] == 0, expected[SIDES]
    empty = [query for query, row in expected.items() if isinstance(row, tuple) and not row[0]]
    assert not empty, empty
    kinds = {kind(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file() and p.name != "lock"}
    assert {"note of a replay", "running", "suspects", "definitions", "checkpoint", "parked rows"} <= kinds and "other" not in kinds, kinds
    cases = list(plan(directory, older))
    counts = collections.Counter()
    failures = []
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        outcomes = pool.map(lambda case: one(directory, older, expected, *case), cases)
        for (_, path, *_), (label, outcome, allowed, text) in zip(cases, outcomes):
            counts[kind(path), outcome] += 1
            if os.environ.get("DELTAPLANE_TEST_DAMAGE_SHOW"):
                print(label, outcome, allowed, text, flush=True)
            if not allowed:
                failures.append(f"{label}: {outcome}: {text}")
    for (what, outcome), count in sorted(counts.items()):
        print(f"{what:20} {outcome:16} {count}")
    assert not failures, "\n".join(failures)


def test_check_finds_every_kind_of_damage_and_a_whole_directory_is_whole(directories, tmp_path):
    directory, older = directories

    def check(copy, *arguments):
        done = subprocess.run([BIN / "deltaplane", "check", "--data-dir", copy, *arguments], env=os.environ | SETTINGS, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    assert check(copy, "--deep")[0] == 0, check(copy, "--deep")[1]
    # A replay that was cut is no damage.
    victims = {}
    for path in sorted(p.relative_to(directory) for p in directory.rglob("*") if p.is_file()):
        victims.setdefault(kind(path), path)
    assert {"segment", "manifest", "parked rows", "alert", "Delta entry", "data file"} <= set(victims)
    for what in ("segment", "manifest", "parked rows", "alert", "Delta entry", "definitions", "running", "suspects", "note of a replay"):
        path = victims[what]
        # `running` is empty while nothing runs.
        (copy / path).write_bytes(b"x" if what == "running" else b"")
        code, text = check(copy)
        assert code == 1 and path.name in text, (what, text)
        shutil.copy2(directory / path, copy / path)
    assert check(copy)[0] == 0
    # The note of a replay whose rows are on both sides.
    (copy / victims["note of a replay"]).unlink()
    code, text = check(copy)
    assert code == 1 and "the note of a replay is lost" in text, text
    shutil.copy2(directory / victims["note of a replay"], copy / victims["note of a replay"])
    # The newest entry of a table: the rows of its commit are not in the log any more.
    newest = max(directory.glob("tables/d/dead/_delta_log/*.json")).relative_to(directory)
    (copy / newest).unlink()
    code, text = check(copy)
    assert code == 1 and newest.name in text, text
    shutil.copy2(directory / newest, copy / newest)
    assert check(copy)[0] == 0
    # The newest file of the table, in the middle of its pages.
    path = max(p for p in directory.glob("tables/d/t/**/*.parquet") if "_delta_log" not in p.parts).relative_to(directory)
    data = bytearray((copy / path).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / path).write_bytes(data)
    code, text = check(copy, "--deep")
    assert code == 1 and path.name in text, text


def test_log_check_names_the_damage_and_salvage_takes_every_other_frame(directories, tmp_path):
    directory, _ = directories
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)

    def log(*arguments):
        done = subprocess.run([BIN / "deltaplane", "log", *arguments], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    code, text = log("check", copy)
    assert code == 0 and text.strip().endswith("whole"), text
    # The last but one batch, which no commit holds: each has 100 rows of 930 random bytes.
    # What is behind the used bytes of a segment is left from its last use.
    used = re.findall(r"used=(\d+) of .*file=(.*)", text)
    used, segment = [(int(used), pathlib.Path(path)) for used, path in used if int(used) > 300_000][-1]
    data = bytearray(segment.read_bytes())
    data[used - 150_000] ^= 1
    segment.write_bytes(data)
    code, text = log("check", copy)
    assert code == 1 and segment.name in text and "byte=" in text and "log salvage" in text, text
    before = {path: path.read_bytes() for path in (copy / "wal").rglob("*") if path.is_file()}
    code, text = log("salvage", copy, "--to", tmp_path / "new")
    assert code == 0, text
    lost = [line for line in text.splitlines() if line.startswith("lost:")]
    assert len(lost) == 1 and "byte" in lost[0], text
    assert before == {path: path.read_bytes() for path in (copy / "wal").rglob("*") if path.is_file()}
    assert log("salvage", copy, "--to", tmp_path / "new")[0] == 1, "what is there is not written over"
    (copy / "wal").rename(tmp_path / "damaged")
    (tmp_path / "new").rename(copy / "wal")
    assert log("check", copy)[0] == 0
    server, refusal = started(copy)
    assert refusal is None, refusal
    try:
        got = answers(server)
        shutil.copytree(directory, tmp_path / "whole")
        whole, _ = started(tmp_path / "whole")
        try:
            expected = answers(whole)
        finally:
            whole.stop()
        missing = {key: (got[key], expected[key]) for key in expected if got[key] != expected[key]}
        # One frame of one table: 98 rows, and what the view counts of them.
        rows = [(new, old) for key, (new, old) in missing.items() if "count(DISTINCT noise)" in key]
        assert len(rows) == 1 and rows[0][1][0] - rows[0][0][0] == 98, missing
    finally:
        server.stop()
