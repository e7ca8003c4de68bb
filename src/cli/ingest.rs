//! `deltaplane ingest`: files into a table, each once. A file's producer is named by its content, so that a run that was cut goes
//! on where the server has acked it, and a run again adds nothing.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use deltaplane_client::{Producer, ProducerOptions};
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;

/// Rows a batch: fixed, because a batch's number stands for its rows when a cut run goes on.
const BATCH_ROWS: usize = 8192;
const KNOWN: &str = ".csv, .jsonl, .ndjson, .parquet, .arrow";

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Json,
    Parquet,
    Arrow,
}

/// A column that the files do not have: `{stem}` is the file's name without its ending, `{now_ns}` the clock.
#[derive(Clone, Debug)]
pub struct Set {
    column: String,
    value: String,
}

impl std::str::FromStr for Set {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (column, value) = text
            .split_once('=')
            .with_context(|| format!("--set is column=value, got {text}"))?;
        Ok(Set {
            column: column.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// # Errors
/// A file cannot be read as what its name says (the text names file and line), or the server refuses a batch. Files before
/// that one are in the table; a run again goes on from there.
pub async fn run(
    uri: &str,
    table: &str,
    paths: &[PathBuf],
    set: &[Set],
) -> anyhow::Result<Outcome> {
    let (schema, table) = table.split_once('.').context("the table is schema.table")?;
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        println!("no files ({KNOWN})");
        return Ok(Outcome::NothingToDo);
    }
    let bytes = files
        .iter()
        .map(|f| f.metadata().map_or(0, |m| m.len()))
        .sum();
    let bar = ProgressBar::new(bytes);
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {bytes}/{total_bytes} {elapsed} {msg}",
    )?);
    let mut sum = Counts::default();
    for path in &files {
        let name = path.display().to_string();
        bar.set_message(name.clone());
        let counts = one(uri, [schema, table], path, set)
            .await
            .with_context(|| name)?;
        sum.rows += counts.rows;
        sum.skipped += counts.skipped;
        sum.quarantined += counts.quarantined;
        sum.duplicates += counts.duplicates;
        bar.inc(path.metadata().map_or(0, |m| m.len()));
    }
    bar.finish_and_clear();
    println!(
        "{} files, {} rows sent, {} quarantined, {} duplicates, {} rows were there from an earlier run",
        files.len(),
        sum.rows,
        sum.quarantined,
        sum.duplicates,
        sum.skipped
    );
    Ok(if sum.rows == 0 {
        Outcome::NothingToDo
    } else {
        Outcome::Done
    })
}

#[derive(Default)]
struct Counts {
    rows: u64,
    skipped: u64,
    quarantined: u64,
    duplicates: u64,
}

/// Files below a folder that have a known ending, in the order of their names; a file named by itself must have one.
fn collect(path: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let shown = path.display();
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path)
            .with_context(|| format!("cannot read {shown}"))?
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()?;
        entries.sort();
        for entry in entries {
            if entry.is_dir() || format(&entry).is_some() {
                collect(&entry, into)?;
            }
        }
        return Ok(());
    }
    if format(path).is_none() {
        bail!("{shown}: the name does not say what it is; known: {KNOWN}");
    }
    into.push(path.to_owned());
    Ok(())
}

fn format(path: &Path) -> Option<Format> {
    Some(
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Format::Csv,
            "jsonl" | "ndjson" => Format::Json,
            "parquet" => Format::Parquet,
            "arrow" | "ipc" => Format::Arrow,
            _ => return None,
        },
    )
}

async fn one(uri: &str, table: [&str; 2], path: &Path, set: &[Set]) -> anyhow::Result<Counts> {
    let mut file = File::open(path)?;
    let identity = identity(&mut file)?;
    let batches = open(path, file)?;
    let producer = Producer::connect(
        uri,
        table,
        ProducerOptions::new(format!("ingest/{identity}")),
    )
    .await?;
    let before = producer.totals();
    let mut counts = Counts::default();
    for (index, batch) in batches.enumerate() {
        let batch = batch?;
        if (index as u64) < before.seq {
            counts.skipped += batch.num_rows() as u64;
            continue;
        }
        counts.rows += batch.num_rows() as u64;
        producer.send(with(batch, path, set)?).await?;
    }
    let after = producer.flush().await?;
    counts.quarantined = after.quarantined - before.quarantined;
    counts.duplicates = after.duplicates - before.duplicates;
    producer.close().await?;
    Ok(counts)
}

/// Length and checksum of the content.
fn identity(file: &mut File) -> anyhow::Result<String> {
    let (mut crc, mut length) = (0, 0u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer)?;
        if length == 0 && buffer[..read].starts_with(&[0x1f, 0x8b]) {
            bail!("it is compressed with gzip; unpack it first (gunzip)");
        }
        if read == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &buffer[..read]);
        length += read as u64;
    }
    file.rewind()?;
    Ok(format!("{length}-{crc:08x}"))
}

fn open(path: &Path, file: File) -> anyhow::Result<Batches> {
    let format = format(path).with_context(|| format!("known: {KNOWN}"))?;
    Ok(match format {
        Format::Csv => {
            let header = csv::Reader::from_reader(BufReader::new(file.try_clone()?))
                .headers()
                .context("line 1")?
                .clone();
            let mut file = file;
            file.rewind()?;
            // Text throughout: the server casts each value, and one that does not parse goes to quarantine by itself.
            let fields: Vec<Field> = header
                .iter()
                .map(|name| Field::new(name.trim(), DataType::Utf8, true))
                .collect();
            let reader = arrow::csv::ReaderBuilder::new(Arc::new(Schema::new(fields)))
                .with_header(true)
                .with_batch_size(BATCH_ROWS)
                .build(file)?;
            Box::new(reader)
        }
        Format::Json => {
            let mut reader = BufReader::new(file);
            let (schema, _) =
                arrow::json::reader::infer_json_schema_from_seekable(&mut reader, None)?;
            let reader = arrow::json::ReaderBuilder::new(Arc::new(schema))
                .with_batch_size(BATCH_ROWS)
                .build(reader)?;
            Box::new(reader)
        }
        Format::Parquet => Box::new(
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file)?
                .with_batch_size(BATCH_ROWS)
                .build()?,
        ),
        Format::Arrow => Box::new(arrow::ipc::reader::FileReader::try_new(file, None)?),
    })
}

fn with(batch: RecordBatch, path: &Path, set: &[Set]) -> anyhow::Result<RecordBatch> {
    if set.is_empty() {
        return Ok(batch);
    }
    let stem = path
        .file_stem()
        .and_then(|s| s.to_str())
        .unwrap_or_default();
    let mut fields: Vec<Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let mut columns = batch.columns().to_vec();
    let start = chrono::Utc::now().timestamp_nanos_opt().unwrap_or_default();
    for set in set {
        let value = set.value.replace("{stem}", stem);
        // Each row a nanosecond later, as if they had been sent one by one.
        let values = (0..batch.num_rows() as i64)
            .map(|row| value.replace("{now_ns}", &(start + row).to_string()));
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(values));
        fields.push(Field::new(&set.column, DataType::Utf8, true));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}
