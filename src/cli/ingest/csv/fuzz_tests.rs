//! Texts of CSV, read here, by arrow-csv, and in blocks as lines without quotes are.

#![expect(clippy::unwrap_used, reason = "tests")]

use arrow::array::{Array, AsArray};
use arrow::csv::ReaderBuilder;
use deltaplane_client::csv::{Field as BlockField, Kind, parse};

use super::*;
use crate::fuzz_tests::Target;

type Rows = Vec<Vec<Option<String>>>;

const WORDS: &[&str] = &[
    "\"",
    "\"\"",
    ",",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    ",,",
    "\",\"",
    "\"\n\"",
    "\" ",
    "\u{fc}",
    "\u{feff}",
    "\u{0}",
    "\\x00ff",
    " ",
    "\t",
    "NULL",
    ";",
    "\"\"\"",
    "\n\"",
    "\"a\"\"b\"",
];

const SEEDS: [&str; 6] = [
    "id,s,v\n1,a,1.5\n2,\"b\"\"c\",\n3,\"two\nlines\",0\n",
    "\"id\",\"s\",\"v\"\r\n\"1\",\"\",\"2\"\r\n",
    ",id\n0,x\n1,y\n",
    "a\n1\n\n2\n",
    "a,b\n1,2\n3,4\n5,6",
    "a,b\n,\n\"\",\"\"\n",
];

fn range() -> Range {
    Range {
        base: 0,
        end: u64::MAX,
        first_line: 1,
    }
}

fn texts(batch: &RecordBatch) -> Rows {
    let row = |row| {
        let columns = batch.columns().iter().map(|c| c.as_string::<i32>());
        let field =
            |c: &arrow::array::StringArray| c.is_valid(row).then(|| c.value(row).to_owned());
        columns.map(field).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The rows as text, where an empty text is NULL; none if the file is refused. As `quoted` checks it.
fn rows(input: &[u8]) -> Option<(Header, Rows)> {
    let header = header(input, "").ok()?;
    let forms = vec![Form::Value; header.names.len()];
    let mut rows = Vec::new();
    for batch in super::Rows::new(input, range(), &header, &forms).ok()? {
        rows.extend(texts(&batch.ok()?));
    }
    Some((header, rows))
}

/// What arrow-csv reads, if it accepts the file.
fn rows_of_arrow(input: &[u8], columns: usize) -> Option<Rows> {
    let fields =
        (0..columns).map(|n| Field::new(n.to_string(), arrow::datatypes::DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reader = ReaderBuilder::new(schema).with_header(true).build(input);
    let mut rows = Vec::new();
    for batch in reader.ok()? {
        rows.extend(texts(&batch.ok()?));
    }
    Some(rows)
}

/// Does the text have what the two readers take differently, by design?
///
/// - Behind a closing quote, spaces and tabs are left out here, and kept by arrow-csv. Other text is refused here.
/// - A byte order mark is taken off before a file is read as CSV.
fn is_read_differently(input: &[u8]) -> bool {
    let behind_quote = |pair: &[u8]| pair[0] == b'"' && matches!(pair[1], b' ' | b'\t');
    input.windows(2).any(behind_quote) || input.starts_with(&[0xef, 0xbb, 0xbf])
}

/// The rows of lines without quotes, which are read in blocks; none if another reader has to take the file, or it is refused.
fn rows_in_blocks(input: &[u8], names: &[String]) -> Option<Rows> {
    let (line, blocks) = Blocks::open(input).ok()?;
    let line = line.filter(|line| !line.is_empty())?;
    if line.contains(&b'"') || line.contains(&b'\r') {
        return None;
    }
    let field = |name: &String| BlockField {
        name: name.clone(),
        kind: Kind::Text,
    };
    let fields: Vec<BlockField> = names.iter().map(field).collect();
    let mut rows = Vec::new();
    for block in blocks {
        let block = block.unwrap();
        let shape = csv::check(&block, names.len(), DELIMITER).ok()?;
        if shape.quoted {
            return None;
        }
        let batch = parse(&block, &fields, DELIMITER).unwrap().unwrap();
        assert_eq!(batch.num_rows() as u64, shape.rows);
        rows.extend(texts(&batch));
    }
    Some(rows)
}

#[test]
fn texts_of_csv() {
    let target = Target {
        seeds: SEEDS.map(|s| s.as_bytes().to_vec()).into(),
        words: WORDS,
        ..Target::default()
    };
    target.run(|input| {
        let read = rows(input);
        if let Some((header, rows)) = &read
            && !is_read_differently(input)
            && let Some(of_arrow) = rows_of_arrow(input, header.names.len())
        {
            assert_eq!(*rows, of_arrow, "arrow-csv reads other rows");
        }
        if let Some(names) = header(input, "").ok().map(|h| h.names)
            && let Some(in_blocks) = rows_in_blocks(input, &names)
        {
            let (_, rows) = read.as_ref().unwrap();
            assert_eq!(*rows, in_blocks, "blocks have other rows");
        }
        read.is_some()
    });
}

#[test]
fn quotes_nulls_and_bytes_of_csv() {
    let seeds = [
        "id,v,b\n1,a,00ff\n2,\"b\"\"c\",\n\"\",\"two\nlines\",0x0A\n",
        "\"id\",\"v\",\"b\"\r\n\"1\",\"\",\"\\x00\"\r\n",
    ];
    let target = Target {
        seeds: seeds.map(|s| s.as_bytes().to_vec()).into(),
        words: WORDS,
        ..Target::default()
    };
    target.run(|input| {
        let Ok(header) = header(input, "") else {
            return false;
        };
        let forms = [Form::Text, Form::Value, Form::Bytes];
        let forms: Vec<Form> = (0..header.names.len()).map(|n| forms[n % 3]).collect();
        let Ok(rows) = super::Rows::new(input, range(), &header, &forms) else {
            return false;
        };
        let batches = rows.collect::<Result<Vec<_>, _>>();
        for batch in batches.iter().flatten() {
            assert!(batch.num_rows() > 0 && batch.num_columns() == header.names.len());
        }
        batches.is_ok()
    });
}
