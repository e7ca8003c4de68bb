//! A checked file's rows on their way: read and parsed ahead of the producer, which waits for the server.

use std::fs::File;
use std::io::Read;
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
use super::check::{AHEAD, Checked, Layout};
use super::source::text;

/// Rows a batch, where no blocks are: fixed, because a batch's number stands for its rows when a cut run goes on.
const BATCH_ROWS: usize = 8192;
/// Bytes on the wire that are not acked yet.
const INFLIGHT_BYTES: usize = 64 << 20;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

#[derive(Default)]
pub(super) struct Counts {
    pub rows: u64,
    pub skipped: u64,
    pub quarantined: u64,
    pub duplicates: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Counts) {
        self.rows += other.rows;
        self.skipped += other.skipped;
        self.quarantined += other.quarantined;
        self.duplicates += other.duplicates;
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

/// Who sends a file.
struct Sender<'a> {
    uri: &'a str,
    table: [&'a str; 2],
    file: &'a Checked,
    producer: Producer,
    counts: Counts,
    /// Rows up to each batch, for what is said when the server refuses one.
    rows: Vec<u64>,
}

impl Sender<'_> {
    async fn connect(uri: &str, table: [&str; 2], file: &Checked) -> anyhow::Result<Producer> {
        let mut options = ProducerOptions::new(format!("ingest/{}", file.identity));
        options.inflight_bytes_max = INFLIGHT_BYTES;
        Producer::connect(uri, table, options).await
    }

    async fn send(&mut self, batch: RecordBatch) -> anyhow::Result<()> {
        let rows = batch.num_rows() as u64;
        self.counts.rows += rows;
        self.rows.push(rows);
        let batch = with(batch, &self.file.set)?;
        let sent = self.producer.send(batch).await;
        self.said(sent).map(|_| ())
    }

    /// From here on batches of another schema: the producer goes on under its name in a new stream.
    async fn anew(&mut self) -> anyhow::Result<()> {
        let flushed = self.producer.flush().await;
        self.said(flushed)?;
        self.producer = Self::connect(self.uri, self.table, self.file).await?;
        Ok(())
    }

    fn said<T>(&self, result: anyhow::Result<T>) -> anyhow::Result<T> {
        result.with_context(|| {
            let durable = usize::try_from(self.producer.totals().seq).unwrap_or(usize::MAX);
            let rows: u64 = self.rows.iter().take(durable).sum();
            format!(
                "its first {rows} rows are in the table, their _source is ingest/{}; the rest is not: run again once the cause is mended, or delete them",
                self.file.identity
            )
        })
    }
}

/// # Errors
/// The server refuses a batch, or cannot be reached for a minute.
pub(super) async fn load(
    uri: &str,
    table: [&str; 2],
    file: &Checked,
    due: &Schema,
    bar: &ProgressBar,
) -> anyhow::Result<Counts> {
    let producer = Sender::connect(uri, table, file).await?;
    let before = producer.totals();
    let mut sender = Sender {
        uri,
        table,
        file,
        producer,
        counts: Counts::default(),
        rows: Vec::new(),
    };
    match &file.layout {
        // All of it is there: it need not be read a second time.
        Layout::Lines { rows, .. } if before.seq >= rows.len() as u64 => {
            sender.counts.skipped = rows.iter().sum();
            bar.inc(file.path.metadata().map_or(0, |m| m.len()));
        }
        Layout::Lines { header, rows } => {
            blocks(
                &mut sender,
                (header.as_slice(), rows.as_slice()),
                due,
                before.seq,
                bar,
            )
            .await?;
        }
        _ => {
            let batches = ahead(open(file, bar)?);
            futures::pin_mut!(batches);
            let mut index = 0;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                index += 1;
                if index <= before.seq {
                    sender.counts.skipped += batch.num_rows() as u64;
                    sender.rows.push(batch.num_rows() as u64);
                    continue;
                }
                sender.send(batch).await?;
            }
        }
    }
    let flushed = sender.producer.flush().await;
    let after = sender.said(flushed)?;
    let mut counts = std::mem::take(&mut sender.counts);
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
    due: &Schema,
    durable: u64,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let kind = |name: &String| {
        let found = due
            .fields()
            .iter()
            .find(|f| f.name().eq_ignore_ascii_case(name));
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
    let reader: Box<dyn Read + Send> = text(&sender.file.path, bar)?;
    let (_, blocks) = Blocks::open(reader)?;
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
            let rows = rows.get(index).copied().unwrap_or_default();
            sender.counts.skipped += rows;
            sender.rows.push(rows);
            continue;
        }
        let batch = match batch? {
            Some(batch) if !as_text.load(Ordering::Acquire) || same(&batch, &plain) => batch,
            _ => {
                if !as_text.swap(true, Ordering::AcqRel) {
                    sender.anew().await?;
                }
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

fn open(file: &Checked, bar: &ProgressBar) -> anyhow::Result<Batches> {
    let path = &file.path;
    let whole = || -> anyhow::Result<File> {
        bar.inc(path.metadata().map_or(0, |m| m.len()));
        Ok(File::open(path)?)
    };
    Ok(match &file.layout {
        Layout::Quoted { header } | Layout::Lines { header, .. } => {
            // Text throughout: the server casts each value, and one that does not parse goes to quarantine by itself.
            let fields: Vec<datatypes::Field> = header
                .iter()
                .map(|name| datatypes::Field::new(name, DataType::Utf8, true))
                .collect();
            let reader = arrow::csv::ReaderBuilder::new(Arc::new(Schema::new(fields)))
                .with_header(true)
                .with_batch_size(BATCH_ROWS)
                .build(text(path, bar)?)?;
            Box::new(reader)
        }
        Layout::Json { schema } => {
            let reader = arrow::json::ReaderBuilder::new(SchemaRef::clone(schema))
                .with_batch_size(BATCH_ROWS)
                .with_coerce_primitive(true)
                .build(text(path, bar)?)?;
            Box::new(reader)
        }
        Layout::Parquet => Box::new(
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(whole()?)?
                .with_batch_size(BATCH_ROWS)
                .build()?,
        ),
        Layout::Arrow => Box::new(arrow::ipc::reader::FileReader::try_new(whole()?, None)?),
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
