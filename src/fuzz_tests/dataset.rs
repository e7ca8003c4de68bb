//! Texts of `dataset.toml`, and contracts in their other spellings.

use super::{Target, assert_same};
use crate::dataset::{Contract, from_toml};
use crate::query::QueryContext;
use crate::statement::Change;

const WORDS: &[&str] = &[
    "\n[[table]]\nname = \"t\"\ncolumns = []\n",
    "\n[[view]]\nname = \"v\"\nsql = \"SELECT 1\"\n",
    "\n[[alert]]\n",
    "\n[[process]]\n",
    "\n",
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "{",
    "}",
    "=",
    "#",
    "\\u0000",
    "\\",
    "\u{fc}",
    "\u{0}",
    "nan",
    "inf",
    "-",
    "_",
    "event_time = \"ts\"\n",
    "regex = \"(a|b)*\"",
    "range = [0, 1]",
    "enum = []",
    "max_length = 1",
    "required = true",
    "type = \"long\"",
    "\"decimal(10,2)\"",
    "\"array<struct<a: int>>\"",
    "\"map<string, double>\"",
    "\"1d\"",
    "\"3 minutes\"",
    "_quarantine",
    "event_date",
    "%",
    "''",
    ";",
];

const OTHER: &str = r#"
dataset = "plant"
description = "all that a file may say"
[[table]]
name = "raw"
event_time = "ts"
key = ["id", "ts"]
partition_by = ["event_date"]
on_violation = "reject"
retention = "3d"
system_columns = true
unknown_columns = "ignore"
columns = [
  { name = "id", type = "string", required = true, from = "Id", max_length = 10, regex = "^[a-z]+$" },
  { name = "ts", type = "timestamp", required = true, timezone = "Europe/Berlin" },
  { name = "at", type = "double", unit = "degC", range = [-10.0, 60.0], description = "it's hot" },
  { name = "n", type = "decimal(10,2)", default = 1.5 },
  { name = "s", type = "string", enum = ["a", "b"] },
  { name = "x", type = "struct<a: array<int>, b: map<string, double>>" },
]
rules = [
  { column = "n", min = 0.0, max = 100.0, action = "clamp" },
  { column = "ts", max_late = "1d" },
  { column = "ts", max_future = "5m", action = "warn" },
  { unique = ["id", "ts"] },
  { column = "ts", monotonic_by = ["id"], action = "warn" },
  { column = "s", in = "dim.s" },
]
[table.properties]
"delta.logRetentionDuration" = "interval 7 days"
[[table]]
name = "dim"
load = "dim.csv"
columns = [{ name = "s", type = "string" }]
[[view]]
name = "v"
delay = "1m"
sql = "SELECT 1"
[[alert]]
name = "a"
sql = "SELECT id FROM raw"
by = ["id"]
every = "1m"
for = "5m"
labels = { team = "x" }
[[alert]]
name = "b"
on = "raw"
deadman = "10m"
by = ["id"]
[[process]]
table = "raw"
day = "event_date"
sql = "SELECT :date"
nulls_as = { at = "at" }
[[query]]
title = "t"
sql = "SELECT 1"
"#;

fn seeds() -> Vec<Vec<u8>> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/data");
    let folders = std::fs::read_dir(data).unwrap();
    let files = folders.map(|folder| folder.unwrap().path().join("dataset.toml"));
    let mut texts: Vec<Vec<u8>> = files.filter_map(|file| std::fs::read(file).ok()).collect();
    texts.sort();
    texts.push(OTHER.as_bytes().to_vec());
    texts
}

/// Every contract of a file can be said in Delta properties and in DDL.
fn comes_back(contract: &Contract) {
    let properties = contract.to_properties();
    let (table, partition_by) = (contract.table.clone(), contract.partition_by.clone());
    let again = Contract::from_properties(table, partition_by, &properties).unwrap();
    assert_same(contract, &again);
    let ddl = contract.to_ddl();
    let change = Change::parse(&QueryContext::new("tests"), &ddl);
    match change.unwrap_or_else(|e| panic!("{e}: {ddl}")) {
        Some(Change::Create {
            contract: again, ..
        }) => assert_same(contract, &again),
        other => panic!("{other:?}: {ddl}"),
    }
}

#[test]
fn texts_of_dataset_toml() {
    let target = Target {
        seeds: seeds(),
        words: WORDS,
        ..Target::default()
    };
    target.run(|input| {
        let Ok(text) = std::str::from_utf8(input) else {
            return false;
        };
        let Ok(dataset) = from_toml(text) else {
            return false;
        };
        dataset.tables.iter().for_each(comes_back);
        true
    });
}
