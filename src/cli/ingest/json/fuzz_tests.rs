//! Texts of JSON, an object a line.

#![expect(clippy::unwrap_used, reason = "tests")]

use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;

use super::tests::{table, whole};
use super::*;
use crate::fuzz_tests::Target;

const WORDS: &[&str] = &[
    "\n",
    "\r\n",
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "true",
    "false",
    "\\u0000",
    "\\ud800",
    "\\ud83d\\ude00",
    "\\",
    "\u{fc}",
    "\u{feff}",
    " ",
    "\"id\":",
    "\"v\":",
    "\"b\":",
    "\"new\":",
    "\"ff\"",
    "1e5",
    "-0",
    "{}",
    "{\"id\":1}\n",
];

const SEEDS: [&str; 6] = [
    "{\"id\":1,\"s\":\"a\\n\\u00f6\",\"d\":0.10}\n\n{\"s\":{\"x\": [1.0]},\"b\":\"0aFF\"}\n{\"d\":12345678901234567890.125,\"s\":true}\n",
    "{\"id\":1,\"v\":1.5,\"on\":true}\n{\"id\":2,\"v\":1,\"on\":false}\n",
    "{\"id\":1,\"new\":[1,2,{\"a\":null}]}",
    "{\"ID\":null}\r\n{\"f\":1.25}\r\n",
    "{\"b\":\"\\\\x00ff\",\"s\":\"\"}\n",
    "{\"v\":1e999}\n{\"v\":\"NaN\"}\n",
];

/// Each column has what is written: the text of a string, else the value as it stands there.
fn has_what_is_written(batch: &RecordBatch, row: usize, line: &str) {
    let object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(line).unwrap();
    let schema = batch.schema();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let written = object.get(field.name()).map(|value| value.get());
        let written = written.filter(|value| *value != "null");
        let is_null = column.is_null(row) || column.data_type().is_null();
        assert_eq!(is_null, written.is_none(), "{}: {line}", field.name());
        if let (Some(written), DataType::Utf8) = (written, column.data_type()) {
            let text = match written.starts_with('"') {
                true => serde_json::from_str(written).unwrap(),
                false => written.to_owned(),
            };
            assert_eq!(array_value_to_string(column, row).unwrap(), text);
        }
    }
}

#[test]
fn texts_of_json_lines() {
    let target = Target {
        seeds: SEEDS.map(|s| s.as_bytes().to_vec()).into(),
        words: WORDS,
        ..Target::default()
    };
    let table = table();
    target.run(|input| {
        let Ok((columns, count)) = check(input, Path::new("a.jsonl"), whole(), &table) else {
            return false;
        };
        // Whatever was checked can be read.
        let mut lines = input.split(|b| *b == b'\n');
        let mut rows = 0;
        for batch in Rows::new(input, &columns) {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let is_row = |line: &&[u8]| !line.iter().all(u8::is_ascii_whitespace);
                let line = lines.find(is_row).unwrap();
                has_what_is_written(&batch, row, std::str::from_utf8(line).unwrap());
            }
            rows += batch.num_rows() as u64;
        }
        assert_eq!(rows, count);
        true
    });
}
