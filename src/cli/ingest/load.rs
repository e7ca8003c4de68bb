//! A checked part's rows on their way: read and parsed ahead of the producer, which waits for the server.

use std::collections::BTreeSet;
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{self, DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use deltaplane_client::csv::{self, Block, Blocks, Field, Kind};
use deltaplane_client::{Producer, ProducerOptions};
use futures::{Stream, StreamExt};
use indicatif::ProgressBar;
use tokio_stream::wrappers::ReceiverStream;

use super::Set;
use super::check::{AHEAD, Layout, Part};
use super::columnar::{self, Batches};
use super::cut::cut;
use super::loads::Load;
use super::source::text;
use super::table::Table;
use super::{csv as quoted_csv, json};
use crate::types::SameName;

/// Bytes on the wire that are not acked yet.
const INFLIGHT_BYTES: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Counts {
    pub rows: u64,
    pub skipped: u64,
    pub quarantined: u64,
    pub duplicates: u64,
    /// Columns of the files that the server fills by itself.
    pub left_out: BTreeSet<String>,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        self.rows += other.rows;
        self.skipped += other.skipped;
        self.quarantined += other.quarantined;
        self.duplicates += other.duplicates;
        self.left_out.extend(other.left_out.iter().cloned());
    }
}

/// What an iterator that blocks gives, a few items ahead.
pub(super) fn ahead<T: Send + 'static>(
    items: impl Iterator<Item = T> + Send + 'static,
) -> impl Stream<Item = T> {
    let (tx, rx) = tokio::sync::mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        for item in items {
            if tx.blocking_send(item).is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(rx)
}

/// Where a part goes.
pub(super) struct Target<'a> {
    pub uri: &'a str,
    pub table: &'a Table,
    pub path: &'a Path,
    pub set: &'a [Set],
}

/// Who sends a part.
struct Sender<'a> {
    target: &'a Target<'a>,
    part: &'a Part,
    load: Load,
    producer: Producer,
    counts: Counts,
    /// Of the stream that is open; none before its first batch.
    schema: Option<SchemaRef>,
    /// Rows up to each batch, for what is said when the server refuses one.
    rows: Vec<u64>,
}

impl Sender<'_> {
    async fn connect(target: &Target<'_>, load: &Load) -> anyhow::Result<Producer> {
        let mut options = ProducerOptions::new(load.producer());
        options.inflight_bytes_max = INFLIGHT_BYTES;
        let name = &target.table.contract.table;
        Producer::connect(target.uri, [name.schema(), name.table()], options).await
    }

    async fn send(&mut self, batch: RecordBatch) -> anyhow::Result<()> {
        let rows = batch.num_rows() as u64;
        self.counts.rows += rows;
        self.rows.push(rows);
        let batch = self.without_filled(batch)?;
        let batch = with(batch, self.target.set)?;
        if self.schema.as_ref().is_some_and(|s| *s != batch.schema()) {
            self.anew().await?;
        }
        self.schema = Some(batch.schema());
        let sent = self.producer.send(batch).await;
        self.said(sent).map(|_| ())
    }

    /// Rows that are durable already.
    fn skip(&mut self, rows: u64) {
        self.counts.skipped += rows;
        self.rows.push(rows);
    }

    /// From here on batches of another schema: the producer goes on under its name in a new stream.
    async fn anew(&mut self) -> anyhow::Result<()> {
        let flushed = self.producer.flush().await;
        self.said(flushed)?;
        self.producer = Self::connect(self.target, &self.load).await?;
        self.schema = None;
        Ok(())
    }

    /// The rows without the columns that the server fills: a file that was exported has them.
    fn without_filled(&mut self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = batch.schema();
        let mut kept = Vec::with_capacity(batch.num_columns());
        for (index, field) in schema.fields().iter().enumerate() {
            if self.target.table.fills(field.name()) {
                self.counts.left_out.insert(field.name().clone());
            } else {
                kept.push(index);
            }
        }
        if kept.len() == batch.num_columns() {
            return Ok(batch);
        }
        batch.project(&kept)
    }

    fn said<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.with_context(|| {
            let durable = usize::try_from(self.producer.totals().seq).unwrap_or(usize::MAX);
            let rows: u64 = self.rows.iter().take(durable).sum();
            let producer = self.load.producer();
            match rows {
                0 => "nothing of it is in the table".to_owned(),
                rows => format!(
                    "its first {rows} rows are in the table, by the producer {producer}. Once the cause is mended, load this same file again: it goes on behind them. If the file itself has to change, it is another file then: leave these rows out of it, or delete them first"
                ),
            }
        })
    }
}

/// # Errors
/// The server refuses a batch, or cannot be reached for a minute.
pub(super) async fn load(
    target: &Target<'_>,
    part: &Part,
    bar: &ProgressBar,
) -> anyhow::Result<Counts> {
    if part.loaded >= part.rows {
        // All of it is there: it need not be read a second time.
        return Ok(Counts {
            skipped: part.rows,
            ..Counts::default()
        });
    }
    let mut load = part.load.clone();
    let mut producer = Sender::connect(target, &load).await?;
    // The server had forgotten that load, and the Delta table has not.
    while part.again && part.loaded == 0 && producer.totals().seq > 0 {
        load.generation += 1;
        producer = Sender::connect(target, &load).await?;
    }
    let before = producer.totals();
    let mut sender = Sender {
        target,
        part,
        load,
        producer,
        counts: Counts::default(),
        schema: None,
        rows: Vec::new(),
    };
    match &part.layout {
        Layout::Lines { header, rows } => {
            let lines = (header.names.as_slice(), rows.as_slice());
            blocks(&mut sender, lines, before.seq, bar).await?;
        }
        _ => {
            let batches = ahead(open(target, part, bar)?);
            futures::pin_mut!(batches);
            let mut index = 0;
            while let Some(batch) = batches.next().await {
                for batch in cut(batch?)? {
                    index += 1;
                    if index <= before.seq {
                        sender.skip(batch.num_rows() as u64);
                        continue;
                    }
                    sender.send(batch).await?;
                }
            }
        }
    }
    let flushed = sender.producer.flush().await;
    let after = sender.said(flushed)?;
    let mut counts = sender.counts;
    counts.quarantined = after.quarantined - before.quarantined;
    counts.duplicates = after.duplicates - before.duplicates;
    sender.producer.close().await?;
    Ok(counts)
}

/// A block, and its rows if they are what they were taken for.
type Parsed = (Block, Result<Option<RecordBatch>, ArrowError>);

async fn blocks(
    sender: &mut Sender<'_>,
    (header, rows): (&[String], &[u64]),
    durable: u64,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let due = sender.target.table.contract.user_schema();
    let kind = |name: &String| {
        let found = due.fields().iter().find(|f| f.name().is_same_name(name));
        found.map_or(Kind::Text, |f| Kind::of(f))
    };
    let field = |kind: Kind, name: &String| Field {
        name: name.clone(),
        kind,
    };
    let typed: Arc<Vec<Field>> = Arc::new(header.iter().map(|n| field(kind(n), n)).collect());
    let plain: Arc<Vec<Field>> = Arc::new(header.iter().map(|n| field(Kind::Text, n)).collect());
    // Set once a block has a value that is not of its column's type: the server judges each by itself, as text.
    let as_text = Arc::new(AtomicBool::new(false));
    let range = sender.part.range;
    let reader: Box<dyn Read + Send> = text(sender.target.path, range, bar)?;
    let blocks = match range.base {
        0 => Blocks::open(reader)?.1,
        _ => Blocks::behind_header(reader, range.first_line),
    };
    let parsed = ahead(blocks)
        .map(|block| {
            let (typed, plain, as_text) = (typed.clone(), plain.clone(), as_text.clone());
            tokio::task::spawn_blocking(move || -> anyhow::Result<Parsed> {
                let block = block?;
                if block.number < durable {
                    return Ok((block, Ok(None)));
                }
                let fields = if as_text.load(Ordering::Acquire) {
                    plain
                } else {
                    typed
                };
                let batch = csv::parse(&block, &fields, b',');
                Ok((block, batch))
            })
        })
        .buffered(AHEAD);
    futures::pin_mut!(parsed);
    while let Some(next) = parsed.next().await {
        let (block, batch) = next??;
        if block.number < durable {
            let index = usize::try_from(block.number).unwrap_or(usize::MAX);
            sender.skip(rows.get(index).copied().unwrap_or_default());
            continue;
        }
        let batch = match batch? {
            Some(batch) if !as_text.load(Ordering::Acquire) || same(&batch, &plain) => batch,
            _ => {
                as_text.store(true, Ordering::Release);
                csv::parse(&block, &plain, b',')?.context("text is always text")?
            }
        };
        sender.send(batch).await?;
    }
    Ok(())
}

fn same(batch: &RecordBatch, fields: &[Field]) -> bool {
    let schema = batch.schema();
    let types = schema.fields().iter().map(|f| f.data_type());
    types
        .zip(fields)
        .all(|(t, f)| (f.kind == Kind::Text) == (*t == DataType::Utf8))
}

fn open(target: &Target<'_>, part: &Part, bar: &ProgressBar) -> anyhow::Result<Batches> {
    let path = target.path;
    let lines = || -> anyhow::Result<Box<dyn BufRead + Send>> { text(path, part.range, bar) };
    let whole = || bar.inc(path.metadata().map_or(0, |m| m.len()));
    Ok(match &part.layout {
        Layout::Quoted { header, forms } => {
            Box::new(quoted_csv::Rows::new(lines()?, part.range, header, forms)?)
        }
        Layout::Lines { .. } => anyhow::bail!("lines without quotes are read in blocks"),
        Layout::Json { columns } => Box::new(json::Rows::new(lines()?, columns)),
        Layout::Parquet => {
            whole();
            columnar::parquet(path)?.0
        }
        Layout::Arrow => {
            whole();
            columnar::arrow(path)?
        }
        Layout::Delta(theirs) => {
            let theirs = theirs.clone();
            let files: Vec<_> = theirs.files().map(Path::to_owned).collect();
            let files = files.into_iter().enumerate();
            let batches = files.flat_map(move |(index, file)| -> Batches {
                let theirs = theirs.clone();
                match columnar::parquet(&file) {
                    Ok((rows, _)) => {
                        Box::new(rows.map(move |batch| theirs.complete(index, &batch?)))
                    }
                    Err(error) => {
                        let error =
                            ArrowError::ParquetError(format!("{}: {error:#}", file.display()));
                        Box::new(std::iter::once(Err(error)))
                    }
                }
            });
            Box::new(batches)
        }
    })
}

/// The rows with the columns that the file lacks.
fn with(batch: RecordBatch, set: &[Set]) -> anyhow::Result<RecordBatch> {
    if set.is_empty() {
        return Ok(batch);
    }
    let mut fields: Vec<datatypes::Field> = batch
        .schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    let mut columns = batch.columns().to_vec();
    let start = crate::clock::utc_now()
        .timestamp_nanos_opt()
        .unwrap_or_default();
    for set in set {
        if set.of_folder && fields.iter().any(|f| f.name().is_same_name(&set.column)) {
            continue;
        }
        // Each row a nanosecond later, as if they had been sent one by one.
        let values = (0..batch.num_rows() as i64)
            .map(|row| set.value.replace("{now_ns}", &(start + row).to_string()));
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(values));
        fields.push(datatypes::Field::new(&set.column, DataType::Utf8, true));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}
