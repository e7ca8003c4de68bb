"""Generated queries have one answer, wherever the rows are, however constants come, and in DuckDB (`differential`)."""

import os
import pathlib
import tomllib

import pytest

from conftest import Server
from differential.kept import ask_kept
from differential.reasons import EXPLAINED, KNOWN
from differential.run import Session

COUNT = int(os.environ.get("DELTAPLANE_TEST_DIFFERENTIAL", "2000"))
# Parts of the count, each a test, so that they are asked side by side.
PARTS = 4
SEED = os.environ.get("DELTAPLANE_TEST_DIFFERENTIAL_SEED", "1")
FOLDER = pathlib.Path(__file__).parent / "differential"
KEPT = tomllib.loads((FOLDER / "kept.toml").read_text())["kept"]
PAGE = (pathlib.Path(__file__).parents[2] / "docs/differences-from-duckdb.md").read_text()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("differential") / "data", DELTAPLANE_COMMIT_INTERVAL="1h").start()
    session = Session(server)
    yield session
    session.close()
    server.stop()


@pytest.mark.parametrize("part", range(PARTS))
def test_generated_queries_have_one_answer(session, part):
    unexplained, refused = [], sum(session.failed.values())
    numbers = range(part, COUNT, PARTS)
    for number in numbers:
        found = session.query(SEED, number)
        if found and found[0] is None:
            unexplained.append(f"seed {SEED}, query {number}: {found[1]}")
    assert not unexplained, f"{len(unexplained)} of {len(numbers)} queries differ without a known reason; the first: {unexplained[0]}"
    assert sum(session.failed.values()) - refused <= len(numbers) / 10 + 5, "queries that DuckDB refuses test nothing"


@pytest.mark.parametrize("case", KEPT, ids=[" ".join(k["ours"].split())[:60] for k in KEPT])
def test_what_differed_once_agrees_or_has_its_reason(session, case):
    reason, differs = case.get("reason"), ask_kept(session, case)
    if reason in {r.name for r in KNOWN}:
        # A fault that is mended agrees; then its reason is taken out of KNOWN and of this case.
        if differs:
            pytest.xfail(f"{reason}: {differs}")
    elif reason:
        assert reason in {r.name for r in EXPLAINED}, f"no reason is called {reason}"
        assert differs, f"{reason} does not differ any more; take it out of EXPLAINED and of the page"
    else:
        assert differs is None


def test_each_reason_has_a_statement_and_what_is_explained_stands_on_the_page():
    kept = {k.get("reason") for k in KEPT}
    assert {r.name for r in EXPLAINED + KNOWN} <= kept
    for reason in EXPLAINED:
        assert f"| {reason.name} |" in PAGE, f"docs/differences-from-duckdb.md has no row for {reason.name}"
