//! JSON, an object a line. A value is sent as it is written, as text, and the server casts it to its column's type: so the
//! same row has the same answer, whatever stands in the other rows. Columns whose values all are of the column's own type are
//! sent as that type, which is faster.

#[cfg(test)]
mod fuzz_tests;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, NullArray, RecordBatch,
    StringBuilder,
};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use serde_json::value::RawValue;

use super::csv::cannot_read;
use super::cut::BATCH_ROWS;
use super::hex;
use super::source::Range;
use super::table::Table;
use crate::dataset::ColumnType;
use crate::validate::JsonObject;

/// What a column is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but nulls.
    Null,
    Boolean,
    Integer,
    Float,
    Text,
    /// Hexadecimal.
    Bytes,
}

/// The names in the order of the alphabet, whatever order they were met in.
pub(super) type Columns = BTreeMap<String, Kind>;

/// What a value is; its text is what is sent of it.
fn kind(value: &RawValue) -> Kind {
    let written = value.get();
    match written.as_bytes().first() {
        Some(b'n') => Kind::Null,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'-' | b'0'..=b'9') if written.parse::<i64>().is_ok() => Kind::Integer,
        Some(b'-' | b'0'..=b'9') if written.parse::<f64>().is_ok_and(f64::is_finite) => Kind::Float,
        _ => Kind::Text,
    }
}

/// The text of a value: that of a string, else as it is written. None is null.
fn text(value: &RawValue) -> Result<Option<String>, serde_json::Error> {
    let written = value.get();
    match written.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => serde_json::from_str(written).map(Some),
        _ => Ok(Some(written.to_owned())),
    }
}

/// Both kinds in one column.
fn joined(a: Kind, b: Kind) -> Kind {
    match (a, b) {
        (a, b) if a == b => a,
        (Kind::Null, other) | (other, Kind::Null) => other,
        (Kind::Integer, Kind::Float) | (Kind::Float, Kind::Integer) => Kind::Float,
        _ => Kind::Text,
    }
}

/// What a column of the table takes as it is; everything else is text.
fn sent(due: &ColumnType, found: Kind) -> Kind {
    match (due, found) {
        (_, Kind::Null) => Kind::Null,
        (ColumnType::Binary, _) => Kind::Bytes,
        (ColumnType::Boolean, Kind::Boolean)
        | (ColumnType::Long, Kind::Integer)
        | (ColumnType::Double, Kind::Float) => found,
        (ColumnType::Double, Kind::Integer) => Kind::Float,
        _ => Kind::Text,
    }
}

/// Looks at each line of a part of a file. The columns with what they are sent as, and how many rows there are.
///
/// # Errors
/// The first line that is no object, with what to do.
pub(super) fn check(
    mut reader: impl BufRead,
    path: &Path,
    range: Range,
    table: &Table,
) -> anyhow::Result<(Columns, u64)> {
    let mut columns = Columns::new();
    let (mut line, mut number, mut rows) = (Vec::new(), range.first_line, 0);
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) => bail!("line {number}: {}: {e}", cannot_read(path)),
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            if let Err(problem) = one(&line, table, &mut columns) {
                bail!("line {number}: {problem}");
            }
            rows += 1;
        }
        number += 1;
    }
    if rows == 0 && range.base == 0 {
        bail!("line 1: there is no row in it; write it again, or leave it out");
    }
    if columns.is_empty() && rows > 0 {
        bail!("line 1: its objects are empty; write it again, or leave it out");
    }
    for (name, kind) in &mut columns {
        if let Some(column) = table.column(name) {
            *kind = sent(&column.data_type, *kind);
        }
    }
    Ok((columns, rows))
}

fn one(line: &[u8], table: &Table, columns: &mut Columns) -> Result<(), String> {
    if std::str::from_utf8(line).is_err() {
        return Err(
            "it is no UTF-8; convert the file, as with `iconv -f latin1 -t utf-8`".to_owned(),
        );
    }
    let JsonObject(pairs) = serde_json::from_slice(line).map_err(|e| problem(line, &e))?;
    for (index, (name, value)) in pairs.iter().enumerate() {
        if pairs.iter().take(index).any(|(other, _)| other == name) {
            return Err(format!("it names {name} twice; leave out one of them"));
        }
        let found = kind(value);
        let is_binary = |name: &str| {
            let column = table.column(name);
            column.is_some_and(|c| c.data_type == ColumnType::Binary)
        };
        if found == Kind::Text || is_binary(name) {
            let text =
                text(value).map_err(|_| format!("{name}: its text is no Unicode; correct it"))?;
            if is_binary(name) && text.is_some_and(|t| hex::bytes(t.as_bytes()).is_none()) {
                return Err(format!("{name}: {}", hex::NOT_HEX));
            }
        }
        match columns.get_mut(name) {
            Some(kind) => *kind = joined(*kind, found),
            None => {
                columns.insert(name.clone(), found);
            }
        }
    }
    Ok(())
}

fn problem(line: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the object has no end; each line is one whole row: write the file again"
            .to_owned();
    }
    let is_object = line.trim_ascii_start().starts_with(b"{");
    if !is_object {
        return "it is no JSON object; each line is one row, as {\"a\": 1}".to_owned();
    }
    format!("column {}: it is no JSON; correct it", error.column())
}

/// Rows of a part of a file that was checked.
pub(super) struct Rows<R> {
    reader: R,
    columns: Columns,
    /// Where each name stands.
    places: BTreeMap<String, usize>,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(reader: R, columns: &Columns) -> Self {
        let names = columns.keys().cloned();
        Rows {
            reader,
            places: names
                .enumerate()
                .map(|(place, name)| (name, place))
                .collect(),
            columns: columns.clone(),
        }
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let mut columns: Vec<Values> = self.columns.values().map(|k| Values::new(*k)).collect();
        let (mut rows, mut line) = (0, Vec::new());
        while rows < BATCH_ROWS {
            line.clear();
            if self.reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.push(&line, &mut columns).ok_or_else(|| {
                ArrowError::JsonError("the file has changed since it was checked".to_owned())
            })?;
            rows += 1;
            columns.iter_mut().for_each(|column| column.fill(rows));
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = columns.into_iter().map(|c| c.finish(rows)).collect();
        let names = self.columns.keys().zip(&columns);
        let fields = names.map(|(name, column)| Field::new(name, column.data_type().clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns).map(Some)
    }

    /// None: it is not what was checked.
    fn push(&self, line: &[u8], columns: &mut [Values]) -> Option<()> {
        let JsonObject(pairs) = serde_json::from_slice(line).ok()?;
        for (name, value) in pairs {
            columns.get_mut(*self.places.get(&name)?)?.push(value)?;
        }
        Some(())
    }
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

/// A column's values so far.
struct Values {
    builder: Builder,
    length: usize,
}

enum Builder {
    Null,
    Boolean(BooleanBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

impl Values {
    fn new(kind: Kind) -> Self {
        let builder = match kind {
            Kind::Null => Builder::Null,
            Kind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            Kind::Integer => Builder::Integer(Int64Builder::new()),
            Kind::Float => Builder::Float(Float64Builder::new()),
            Kind::Text => Builder::Text(StringBuilder::new()),
            Kind::Bytes => Builder::Bytes(BinaryBuilder::new()),
        };
        Values { builder, length: 0 }
    }

    fn push(&mut self, value: &RawValue) -> Option<()> {
        let Some(text) = text(value).ok()? else {
            return Some(());
        };
        match &mut self.builder {
            Builder::Null => return None,
            Builder::Boolean(values) => values.append_value(text.parse().ok()?),
            Builder::Integer(values) => values.append_value(text.parse().ok()?),
            Builder::Float(values) => values.append_value(text.parse().ok()?),
            Builder::Text(values) => values.append_value(text),
            Builder::Bytes(values) => values.append_value(hex::bytes(text.as_bytes())?),
        }
        self.length += 1;
        Some(())
    }

    /// A row that has no value here has NULL.
    fn fill(&mut self, rows: usize) {
        if self.length == rows {
            return;
        }
        match &mut self.builder {
            Builder::Null => {}
            Builder::Boolean(values) => values.append_null(),
            Builder::Integer(values) => values.append_null(),
            Builder::Float(values) => values.append_null(),
            Builder::Text(values) => values.append_null(),
            Builder::Bytes(values) => values.append_null(),
        }
        self.length = rows;
    }

    fn finish(self, rows: usize) -> ArrayRef {
        match self.builder {
            Builder::Null => Arc::new(NullArray::new(rows)),
            Builder::Boolean(mut values) => Arc::new(values.finish()),
            Builder::Integer(mut values) => Arc::new(values.finish()),
            Builder::Float(mut values) => Arc::new(values.finish()),
            Builder::Text(mut values) => Arc::new(values.finish()),
            Builder::Bytes(mut values) => Arc::new(values.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::util::display::array_value_to_string;

    use super::super::loads::Loads;
    use super::*;
    use crate::dataset::{Column, Contract};
    use crate::types::TableName;

    pub(super) fn table() -> Table {
        let decimal = ColumnType::Decimal {
            precision: 10,
            scale: 2,
        };
        let columns = [
            ("id", ColumnType::Long),
            ("v", ColumnType::Double),
            ("f", ColumnType::Float),
            ("d", decimal),
            ("on", ColumnType::Boolean),
            ("s", ColumnType::String),
            ("b", ColumnType::Binary),
        ];
        let columns = columns.map(|(name, data_type)| Column::new(name, data_type));
        Table {
            contract: Contract::plain(TableName::new("public", "t").unwrap(), columns.to_vec()),
            loads: Loads::default(),
        }
    }

    pub(super) fn whole() -> Range {
        Range {
            base: 0,
            end: u64::MAX,
            first_line: 1,
        }
    }

    fn checked(text: &str) -> anyhow::Result<(Columns, u64)> {
        check(text.as_bytes(), Path::new("a.jsonl"), whole(), &table())
    }

    fn rows(text: &str) -> Vec<Vec<String>> {
        let (columns, _) = checked(text).unwrap();
        let batch = Rows::new(text.as_bytes(), &columns)
            .next()
            .unwrap()
            .unwrap();
        let row = |row| {
            let cells = batch.columns().iter();
            cells
                .map(|c| array_value_to_string(c, row).unwrap())
                .collect()
        };
        (0..batch.num_rows()).map(row).collect()
    }

    #[test]
    fn what_a_column_is_sent_as_never_loses_what_was_written() {
        for (text, name, expected) in [
            (r#"{"id":1}"#, "id", Kind::Integer),
            ("{\"id\":1}\n{\"id\":2.5}", "id", Kind::Text),
            ("{\"id\":9223372036854775808}", "id", Kind::Text),
            (r#"{"v":1}"#, "v", Kind::Float),
            (r#"{"v":1.5}"#, "v", Kind::Float),
            ("{\"v\":1}\n{\"v\":\"NaN\"}", "v", Kind::Text),
            (r#"{"v":1e999}"#, "v", Kind::Text),
            (r#"{"f":1.25}"#, "f", Kind::Text),
            (r#"{"d":1.25}"#, "d", Kind::Text),
            (r#"{"on":true}"#, "on", Kind::Boolean),
            (r#"{"on":1}"#, "on", Kind::Text),
            (r#"{"s":17}"#, "s", Kind::Text),
            (r#"{"s":{"a":[1]}}"#, "s", Kind::Text),
            (r#"{"b":"ff00"}"#, "b", Kind::Bytes),
            (r#"{"ID":null}"#, "ID", Kind::Null),
            // Of the table's columns it is none: its values say what it could become.
            (r#"{"new":17}"#, "new", Kind::Integer),
            ("{\"new\":17}\n{\"new\":1.5}", "new", Kind::Float),
            (r#"{"new":[1]}"#, "new", Kind::Text),
        ] {
            let (columns, _) = checked(text).unwrap();
            assert_eq!(columns.get(name), Some(&expected), "{text}");
        }
    }

    #[test]
    fn values_are_what_is_written() {
        let text = "{\"id\":1,\"s\":\"a\\n\\u00f6\",\"d\":0.10}\n\n{\"s\":{\"x\": [1.0]},\"b\":\"0aFF\"}\n{\"d\":12345678901234567890.125,\"s\":true}\n";
        // Columns: b, d, id, s.
        assert_eq!(
            rows(text),
            [
                ["", "0.10", "1", "a\n\u{f6}"],
                ["0aff", "", "", "{\"x\": [1.0]}"],
                ["", "12345678901234567890.125", "", "true"],
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        for (text, words) in [
            ("{\"id\":1}\n{\"id\":2,\"na", ["line 2", "no end"]),
            ("{\"id\":1}\n{\"id\":2,}", ["line 2", "column 9"]),
            ("{\"id\":1}\n[2]", ["line 2", "no JSON object"]),
            ("{\"id\":1,\"id\":2}", ["line 1", "id twice"]),
            ("{\"id\":1}\n\n{\"b\":\"xyz\"}", ["line 3", "hexadecimal"]),
            ("{\"s\":\"\\ud800\"}", ["line 1", "no Unicode"]),
            ("\n", ["line 1", "no row"]),
            ("{}", ["line 1", "empty"]),
        ] {
            let error = checked(text).unwrap_err().to_string();
            assert!(words.iter().all(|w| error.contains(w)), "{text:?}: {error}");
        }
    }
}
