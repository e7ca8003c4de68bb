"""The order of src/lib.rs, the homes of heavy crates and the length of files hold, and the check that says so sees what breaks them."""

import importlib.machinery
import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def load():
    loader = importlib.machinery.SourceFileLoader("layering", str(ROOT / "tests/layering"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("layering", loader))
    loader.exec_module(module)
    return module


layering = load()


def test_modules_use_only_what_is_declared_above_them_and_heavy_crates_stay_at_home():
    assert layering.check(ROOT / "src", layering.EXCEPTIONS) == []


def test_a_file_that_is_too_long_is_named_with_its_length(tmp_path):
    assert layering.too_long(ROOT) == []
    for file, lines in [("src/a.rs", 500), ("src/b/tests.rs", 501), ("clients/c/src/d.rs", 600), ("src/e.py", 900)]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("//\n" * lines)
    found = [line.split(" lines")[0] for line in layering.too_long(tmp_path)]
    assert found == ["clients/c/src/d.rs: 600", "src/b/tests.rs: 501"]


@pytest.mark.parametrize("file, text, found", [
    ("low.rs", "use crate::high::Thing;", "src/low.rs:1: low uses high"),
    ("low.rs", "\nuse crate::{high, other::{a, b}};", "src/low.rs:2: low uses high"),
    ("low/part.rs", "fn f() { super::super::high::call() }", "low uses high"),
    ("low.rs", "fn f() { super::high::call() }", "low uses high"),
    ("low/part.rs", "use tonic::Status;", "uses tonic, which belongs in flight"),
    ("low.rs", "use ::axum::Router;", "uses axum, which belongs in web"),
    ("low.rs", "fn f() -> reqwest::Client { todo() }", "uses reqwest"),
    ("low.rs", "fn f() { let quote = '\"'; }\nuse crate::high::Thing; // \"", "src/low.rs:2: low uses high"),
    # None of these is a use.
    ("low/part.rs", "use super::high::Thing;", None),
    ("low.rs", "// crate::high::Thing\n/* tonic::Status */ const A: &str = \"crate::high::x\"; const B: &str = r#\"tonic::\"#;", None),
    ("low.rs", "#[cfg(test)]\nmod tests {\n    use crate::high::Thing;\n    fn f() {}\n}", None),
    ("low/tests.rs", "use crate::high::Thing;", None),
    ("low/part_tests/made.rs", "use crate::high::Thing;", None),
    ("high.rs", "use crate::low::{self, Thing};", None),
    ("flight/put.rs", "use tonic::Status;", None),
    ("low.rs", "use my_tonic::x; use a::tonic::b;", None),
])
def test_a_use_upwards_or_away_from_home_is_found(tmp_path, file, text, found):
    (tmp_path / "lib.rs").write_text("//! pub mod high;\npub mod low;\npub(crate) mod flight;\nmod high;\n")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    wrong = layering.check(tmp_path, {})
    assert (wrong == []) if found is None else (len(wrong) == 1 and found in wrong[0]), wrong


def test_an_exception_covers_its_file_alone_and_ends_with_its_cause(tmp_path):
    (tmp_path / "lib.rs").write_text("pub mod low;\npub mod high;\n")
    (tmp_path / "low.rs").write_text("use crate::high::Thing;")
    exceptions = {("low.rs", "high"): "a reason"}
    assert layering.check(tmp_path, exceptions) == []
    (tmp_path / "low.rs").write_text("")
    assert "not needed any more" in layering.check(tmp_path, exceptions)[0]
    (tmp_path / "low").mkdir()
    (tmp_path / "low/part.rs").write_text("use crate::high::Thing;")
    assert len(layering.check(tmp_path, exceptions)) == 2
