"""The order of src/lib.rs, the homes of heavy crates, folders without circles of files and the length of files hold, and the check
that says so sees what breaks them."""

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


def circles(tmp_path, files):
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return layering.circles(tmp_path, ["one"])


def test_the_folders_without_circles_have_none():
    assert layering.circles(ROOT / "src", layering.NO_CIRCLES) == []


@pytest.mark.parametrize("files", [
    {"one/a.rs": "use super::b::Thing;", "one/b.rs": "use crate::one::{c, a::{self, Other}};"},
    {"one/a.rs": "fn f() { super::b::call() }", "one/b.rs": "use super::a::Other as Thing;"},
    # Through what one/mod.rs exports, and through what it imports for itself.
    {"one/mod.rs": "pub mod a;\npub(super) use b::call;", "one/a.rs": "use super::call;", "one/b.rs": "use crate::one::a::Other;"},
    {"one/mod.rs": "use b::Thing;\nuse a::Other;", "one/a.rs": "use super::Thing;", "one/b.rs": "use super::Other;"},
    # Of a module that is imported the item counts, wherever it is defined.
    {"one/a.rs": "use super::b;\nfn f() { b::call() }", "one/b/mod.rs": "pub use of::call;", "one/b/of.rs": "use crate::one::a;\nfn f(_: a::A) {}"},
    {"one/a.rs": "use super::call;\nfn f() { call(1) }", "one/mod.rs": "pub use call::call;", "one/call.rs": "use super::a::Other;"},
    {"one/a.rs": "use super::b;\nfn f() { b::of::call() }", "one/b/mod.rs": "pub mod of;", "one/b/of.rs": "use crate::one::a::Other;"},
    # A file and its children, and a re-export that is used where it stands.
    {"one/a.rs": "mod b;\nfn f() { b::call() }", "one/a/b.rs": "use super::Other;"},
    {"one/a.rs": "mod b;\npub use b::Thing;\nfn f(_: Thing) {}", "one/a/b.rs": "use super::Other;"},
    {"one/a.rs": "use super::b::Thing;", "one/b.rs": "use super::c::Thing;", "one/c.rs": "mod d;\nfn f() { d::call() }", "one/c/d.rs": "use crate::one::a;\nfn f() { a::call() }"},
])
def test_a_ring_of_files_is_found_with_the_names_that_they_use(tmp_path, files):
    wrong = circles(tmp_path, files)
    assert len(wrong) == 1 and "ring" in wrong[0], wrong
    assert "src/one/a.rs uses" in wrong[0] and " of src/one/a.rs" in wrong[0], wrong


@pytest.mark.parametrize("files", [
    # mod.rs lists the parts, which use each other in one direction.
    {"one/mod.rs": "mod a;\npub mod b;\npub use a::Thing;\npub use b::{part, Other};\nstruct Own { part: u8 }", "one/a.rs": "use super::{Other, Own};", "one/b.rs": "use super::Own;"},
    {"one/mod.rs": "mod a;\nmod b;", "one/a.rs": "use super::b;\nfn f() { b::call() }", "one/b/mod.rs": "mod of;\nmod low;\npub use low::call;", "one/b/of.rs": "use crate::one::a::Other;", "one/b/low.rs": ""},
    {"one/mod.rs": "mod a;\nuse a::Thing;\nfn f(_: Thing) {}", "one/a.rs": "pub(in crate::one) fn f() {}\npub(in super::super) fn g() {}"},
    {"one/a.rs": "use super::b::Thing;", "one/b.rs": "// use super::a::Other;\n#[cfg(test)]\nmod tests {\n    use super::super::a::Other;\n}"},
    {"one/a.rs": "use super::b::Thing;", "one/b/tests.rs": "use crate::one::a::Other;", "one/b.rs": "use std::a::Other;"},
    {"one/a.rs": "use crate::two::Thing;", "two/mod.rs": "use crate::one::a::Other;"},
])
def test_files_that_use_each_other_in_one_direction_are_no_ring(tmp_path, files):
    assert circles(tmp_path, files) == []


def test_a_folder_without_circles_that_is_gone_is_named(tmp_path):
    assert "one" in circles(tmp_path, {"two/a.rs": ""})[0]
