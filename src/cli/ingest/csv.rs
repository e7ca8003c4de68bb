//! CSV: its header, how its lines are read, and its rows where quotes are in it. Lines without quotes are read in blocks
//! (`load`), which is many times as fast.

#[cfg(test)]
mod fuzz_tests;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::array::{ArrayRef, BinaryBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use deltaplane_client::csv::quoted::{Error, Record, Records};
use deltaplane_client::csv::{self, Blocks};
use futures::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;

use super::check::{AHEAD, Layout};
use super::cut::BATCH_ROWS;
use super::hex;
use super::source::{self, Range, text};
use super::table::Table;
use crate::dataset::ColumnType;
use crate::types::SameName;

const DELIMITER: u8 = b',';

/// The names of the columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub names: Vec<String>,
    /// All of them stand in quotes: whoever writes so writes NULL as `""`, because it has no other word.
    pub is_quoted: bool,
}

/// What the fields of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// Text that becomes a number, a time and the like: an empty one is NULL, quoted or not.
    Value,
    /// Hexadecimal.
    Bytes,
}

fn form(table: &Table, name: &str) -> Form {
    match table.column(name).map(|c| &c.data_type) {
        Some(ColumnType::Binary) => Form::Bytes,
        Some(ColumnType::String) | None => Form::Text,
        Some(_) => Form::Value,
    }
}

/// Finds out how a part of a file is read, and looks at each of its lines.
pub(super) async fn check(
    path: &Path,
    range: Range,
    table: &Table,
    bar: &ProgressBar,
) -> anyhow::Result<(Layout, u64)> {
    let first = Range { base: 0, ..range };
    let header = {
        let (path, bar) = (path.to_owned(), bar.clone());
        tokio::task::spawn_blocking(move || header(text(&path, first, &bar)?, cannot_read(&path)))
            .await??
    };
    if header
        .names
        .iter()
        .any(|name| form(table, name) == Form::Bytes)
    {
        return quoted(path, range, header, table, bar).await;
    }
    let reader = text(path, range, bar)?;
    let blocks = match range.base {
        0 => {
            let (line, blocks) = Blocks::open(reader).with_context(|| cannot_read(path))?;
            // An empty line may stand before the header, too.
            let is_plain = |line: &Vec<u8>| {
                !line.is_empty() && !line.contains(&b'"') && !line.contains(&b'\r')
            };
            if !line.as_ref().is_some_and(is_plain) {
                return quoted(path, range, header, table, bar).await;
            }
            blocks
        }
        _ => Blocks::behind_header(reader, range.first_line),
    };
    let (fields, unreadable) = (header.names.len(), cannot_read(path));
    let shapes = super::load::ahead(blocks)
        .map(move |block| {
            tokio::task::spawn_blocking(move || -> anyhow::Result<csv::Shape> {
                Ok(csv::check(&block?, fields, DELIMITER)?)
            })
        })
        .buffered(AHEAD)
        .map(move |joined| {
            joined.map_err(anyhow::Error::from).and_then(|r| {
                r.map_err(|e| {
                    if e.is::<csv::Problem>() {
                        e
                    } else {
                        e.context(unreadable)
                    }
                })
            })
        });
    futures::pin_mut!(shapes);
    let mut rows = Vec::new();
    while let Some(shape) = shapes.try_next().await? {
        if shape.quoted {
            return quoted(path, range, header, table, bar).await;
        }
        rows.push(shape.rows);
    }
    let sum = rows.iter().sum();
    Ok((Layout::Lines { header, rows }, sum))
}

pub(super) fn cannot_read(path: &Path) -> &'static str {
    if source::is_gzip(path) {
        source::CANNOT_UNPACK
    } else {
        "it cannot be read"
    }
}

fn read(
    records: &mut Records<impl BufRead>,
    record: &mut Record,
    unreadable: &'static str,
) -> anyhow::Result<bool> {
    records.read(record).map_err(|error| match error {
        Error::Problem(problem) => problem.into(),
        Error::Io(error) => anyhow::Error::from(error).context(unreadable),
    })
}

/// Reads the names of the columns, each of which there must be once.
fn header(reader: impl BufRead, unreadable: &'static str) -> anyhow::Result<Header> {
    let mut records = Records::new(reader, DELIMITER, 1);
    let mut record = Record::default();
    if !read(&mut records, &mut record, unreadable)? {
        bail!("line 1: the header is empty; the first line must name the columns");
    }
    let (mut names, mut seen, mut is_quoted) = (Vec::new(), BTreeSet::new(), true);
    for index in 0..record.len() {
        let (name, quoted) = record.get(index).unwrap_or_default();
        let name = std::str::from_utf8(name).context(
            "line 1: the header is no UTF-8; convert the file, as with `iconv -f latin1 -t utf-8`",
        )?;
        let name = name.trim().to_owned();
        // The index of a data frame, as pandas writes it, stands first and has no name.
        if name.is_empty() && (index > 0 || record.len() == 1) {
            bail!(
                "line 1: column {} of the header has no name; the first line must name the columns",
                index + 1
            );
        }
        if !seen.insert(name.folded_name()) {
            bail!("line 1: the header names {name} twice; rename or leave out one of them");
        }
        is_quoted &= quoted;
        names.push(name);
    }
    Ok(Header { names, is_quoted })
}

async fn quoted(
    path: &Path,
    range: Range,
    header: Header,
    table: &Table,
    bar: &ProgressBar,
) -> anyhow::Result<(Layout, u64)> {
    let (path, bar) = (path.to_owned(), bar.clone());
    let forms: Vec<Form> = header.names.iter().map(|name| form(table, name)).collect();
    tokio::task::spawn_blocking(move || {
        let unreadable = cannot_read(&path);
        let mut records = Records::new(text(&path, range, &bar)?, DELIMITER, range.first_line);
        let mut record = Record::default();
        if range.base == 0 {
            read(&mut records, &mut record, unreadable)?;
        }
        let mut rows = 0;
        while read(&mut records, &mut record, unreadable)? {
            let line = record.line;
            if record.len() != header.names.len() {
                bail!(
                    "line {line}: {} fields where the header has {}; a quote without its other half, a delimiter in a field without quotes, or a file that is not whole",
                    record.len(),
                    header.names.len()
                );
            }
            for (index, form) in forms.iter().enumerate() {
                let (bytes, _) = record.get(index).unwrap_or_default();
                if std::str::from_utf8(bytes).is_err() {
                    bail!("line {line}: a field is no UTF-8; convert the file, as with `iconv -f latin1 -t utf-8`");
                }
                if *form == Form::Bytes && hex::bytes(bytes).is_none() {
                    let name = header.names.get(index).map_or("", String::as_str);
                    bail!("line {line}: {name}: {}", hex::NOT_HEX);
                }
            }
            rows += 1;
        }
        Ok((Layout::Quoted { header, forms }, rows))
    })
    .await?
}

/// Rows of a CSV with quotes, as text but for bytes: the server casts each value, and one that does not parse goes to
/// quarantine by itself.
pub(super) struct Rows<R> {
    records: Records<R>,
    record: Record,
    header: Header,
    forms: Vec<Form>,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(
        reader: R,
        range: Range,
        header: &Header,
        forms: &[Form],
    ) -> Result<Self, ArrowError> {
        let mut rows = Rows {
            records: Records::new(reader, DELIMITER, range.first_line),
            record: Record::default(),
            header: header.clone(),
            forms: forms.to_vec(),
        };
        if range.base == 0 {
            rows.read()?;
        }
        Ok(rows)
    }

    fn read(&mut self) -> Result<bool, ArrowError> {
        let read = self.records.read(&mut self.record);
        read.map_err(|e| ArrowError::CsvError(e.to_string()))
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let changed =
            || ArrowError::CsvError("the file has changed since it was checked".to_owned());
        let mut columns: Vec<Values> = self.forms.iter().map(|f| Values::new(*f)).collect();
        let mut rows = 0;
        while rows < BATCH_ROWS && self.read()? {
            if self.record.len() != columns.len() {
                return Err(changed());
            }
            for (index, (column, form)) in columns.iter_mut().zip(&self.forms).enumerate() {
                let (bytes, quoted) = self.record.get(index).ok_or_else(changed)?;
                let is_empty_value = quoted && !self.header.is_quoted && *form != Form::Value;
                let is_null = bytes.is_empty() && !is_empty_value;
                let field = (!is_null).then_some(bytes);
                column.push(field).ok_or_else(changed)?;
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns: Vec<ArrayRef> = columns.into_iter().map(Values::finish).collect();
        let names = self.header.names.iter().zip(&columns);
        let fields = names.map(|(name, column)| Field::new(name, column.data_type().clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns).map(Some)
    }
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

enum Values {
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

impl Values {
    fn new(form: Form) -> Self {
        match form {
            Form::Bytes => Values::Bytes(BinaryBuilder::new()),
            Form::Text | Form::Value => Values::Text(StringBuilder::new()),
        }
    }

    /// None: it is not what was checked.
    fn push(&mut self, field: Option<&[u8]>) -> Option<()> {
        match (self, field) {
            (Values::Text(values), None) => values.append_null(),
            (Values::Bytes(values), None) => values.append_null(),
            (Values::Text(values), Some(field)) => {
                values.append_value(std::str::from_utf8(field).ok()?);
            }
            (Values::Bytes(values), Some(field)) => values.append_value(hex::bytes(field)?),
        }
        Some(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Values::Text(mut values) => Arc::new(values.finish()),
            Values::Bytes(mut values) => Arc::new(values.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Array, AsArray};

    use super::*;

    fn whole() -> Range {
        Range {
            base: 0,
            end: u64::MAX,
            first_line: 1,
        }
    }

    fn texts(text: &str) -> Vec<Vec<Option<String>>> {
        let header = header(text.as_bytes(), "").unwrap();
        let forms = [vec![Form::Value], vec![Form::Text; header.names.len() - 1]].concat();
        let rows = Rows::new(text.as_bytes(), whole(), &header, &forms).unwrap();
        let batch = rows.map(Result::unwrap).next().unwrap();
        let column = |c: &ArrayRef| -> Vec<Option<String>> {
            c.as_string::<i32>()
                .iter()
                .map(|t| t.map(str::to_owned))
                .collect()
        };
        batch.columns().iter().map(column).collect()
    }

    #[test]
    fn quotes_tell_an_empty_text_from_null_unless_all_is_quoted() {
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(
            texts("id,s\n1,\"\"\n2,\n3,\"a\"\n")[1],
            [some(""), None, some("a")]
        );
        assert_eq!(texts("id,s\n\"\",a\n")[0], [None]);
        // `to_csv(quoting=QUOTE_ALL)` has no other word for NULL.
        assert_eq!(
            texts("\"id\",\"s\"\n\"1\",\"\"\n\"2\",\"a\"\n")[1],
            [None, some("a")]
        );
    }

    #[test]
    fn a_header_names_its_columns_but_for_the_index_of_a_data_frame() {
        let names = |text: &str| header(text.as_bytes(), "").map(|h| h.names);
        assert_eq!(names(",id, v \n").unwrap(), ["", "id", "v"]);
        assert_eq!(names("\"a\nb\",c\n").unwrap(), ["a\nb", "c"]);
        for (bad, word) in [
            ("id,,v\n", "column 2"),
            ("", "empty"),
            ("id,ID\n", "twice"),
            ("id,\"v\n1,2\n", "nothing closes it"),
        ] {
            let error = names(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{bad:?}: {error}");
        }
    }

    #[test]
    fn bytes_are_hexadecimal() {
        let header = header(&b"b\n"[..], "").unwrap();
        let rows = Rows::new(&b"b\nff00\n\n\"\"\n"[..], whole(), &header, &[Form::Bytes]).unwrap();
        let batch = rows.map(Result::unwrap).next().unwrap();
        let bytes = batch.column(0).as_binary::<i32>();
        assert_eq!(
            (bytes.len(), bytes.value(0), bytes.value(1)),
            (2, &[0xff, 0][..], &[][..])
        );
    }
}
