# `just check` runs what CI runs (.ci/run). Install just from your packages, with `cargo install just`, or with `pip install rust-just`.

export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", justfile_directory() / "target")

# Lists the recipes.
default:
    @just --list --unsorted

# Every check, cheap ones first, then all tests.
check: lint test

# Every check but the tests.
lint: layers fmt deny clippy doc

# The order of the modules, the homes of heavy crates, circles of files, and the length of files.
layers:
    tests/layering

# The format of the Rust code. `cargo fmt --all` corrects it.
fmt:
    cargo fmt --all -- --check

# Licences, banned crates and sources of the dependencies.
deny:
    "$(.ci/tools)/cargo-deny" --locked check -D warnings licenses bans sources

# Known vulnerabilities of the dependencies. Fetches the advisory database from GitHub, so it is no part of `check`.
advisories:
    "$(.ci/tools)/cargo-deny" --locked check advisories

# Lints, with warnings as errors.
clippy:
    cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

# The documentation of every item, with warnings (such as broken links) as errors.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet

# All tests: Rust's, then the running server by real clients. Arguments go to pytest.
test *arguments:
    tests/run {{ arguments }}

# Generated queries, here and in DuckDB: `just differential 100000`. Arguments go to tests/differential.
differential *arguments:
    cargo build --workspace --quiet
    DELTAPLANE_BIN="$CARGO_TARGET_DIR/debug" "$(tests/venv)/bin/python" tests/differential {{ arguments }}

# Readers of foreign bytes are given changed ones, each for so many seconds: `just fuzz 3600`, or one of them: `just fuzz 3600 texts_of_csv`.
fuzz seconds name="fuzz_tests":
    DELTAPLANE_TEST_FUZZ_SECONDS={{ seconds }} cargo test -p deltaplane --lib -- --nocapture {{ name }}

# The loops behind the promises at their full count: 20 runs of uniqueness, 10,000 hostile statements and messages, 2,000 damaged places, 100,000 lives with crashes. Takes a day.
promises:
    DELTAPLANE_TEST_UNIQUE_RUNS=20 cargo test -p deltaplane --lib server::unique_tests
    DELTAPLANE_TEST_CRASH_SEEDS=100000 cargo test -p deltaplane --lib server::sim_tests::random_lives
    cargo build --workspace --quiet
    DELTAPLANE_TEST_HOSTILE_STATEMENTS=10000 DELTAPLANE_TEST_HOSTILE_MESSAGES=10000 DELTAPLANE_TEST_DAMAGE=2000 \
    DELTAPLANE_BIN="$CARGO_TARGET_DIR/debug" "$(tests/venv)/bin/python" -m pytest -v -p no:cacheprovider \
    tests/python/test_query_limits.py tests/python/test_hostile_wire.py tests/python/test_damage.py
