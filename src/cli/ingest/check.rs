//! A file is looked at whole before a row of it is sent: what is wrong with it is said with its line, and nothing of it is in the
//! table then.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use deltaplane_client::csv::{self, Blocks, identity};
use futures::{StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::Set;
use super::source::{self, Format, text};

/// How a file is read.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// CSV without quotes, in blocks.
    Lines {
        header: Vec<String>,
        /// Rows of each block.
        rows: Vec<u64>,
    },
    /// CSV with quotes, row by row.
    Quoted {
        header: Vec<String>,
    },
    Json {
        schema: SchemaRef,
    },
    Parquet,
    Arrow,
}

/// A file that can be loaded.
#[derive(Debug)]
pub(super) struct Checked {
    pub path: PathBuf,
    pub set: Vec<Set>,
    pub layout: Layout,
    /// Names the producer: the same content with the same values set is the same file, whatever it is called.
    pub identity: String,
}

/// Threads that look at blocks.
pub(super) const AHEAD: usize = 2;

/// # Errors
/// With the line, and what to do.
pub(super) async fn check(
    path: PathBuf,
    set: Vec<Set>,
    bar: &ProgressBar,
) -> anyhow::Result<Checked> {
    if path.metadata().context("cannot open it")?.len() == 0 {
        bail!("line 1: the file is empty; write it again, or leave it out");
    }
    // Beside the look at its lines: either reads all of it.
    let identity = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            let mut file = File::open(&path).context("cannot open it")?;
            anyhow::Ok(identity(&mut file)?)
        })
    };
    let layout = match Format::of(&path).context("its name does not say what it is")? {
        Format::Csv => lines(&path, bar).await?,
        Format::Json => {
            let (path, bar) = (path.clone(), bar.clone());
            tokio::task::spawn_blocking(move || json(&path, &bar)).await??
        }
        Format::Parquet => {
            ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?).context(
                "it is no whole Parquet file; if it is still being written, wait, else write it again",
            )?;
            Layout::Parquet
        }
        Format::Arrow => {
            arrow::ipc::reader::FileReader::try_new(File::open(&path)?, None)
                .context("it is no whole Arrow file (streams are not taken); write it again")?;
            Layout::Arrow
        }
    };
    let mut identity = identity.await??;
    if !set.is_empty() {
        let values: Vec<String> = set
            .iter()
            .map(|s| format!("{}={}", s.column, s.value))
            .collect();
        identity = format!(
            "{identity}-{:08x}",
            crc32c::crc32c(values.join("\n").as_bytes())
        );
    }
    Ok(Checked {
        path,
        set,
        layout,
        identity,
    })
}

/// Names of the columns, each once.
fn header(line: &[u8]) -> anyhow::Result<Vec<String>> {
    let line = std::str::from_utf8(line).context(
        "line 1: the header is no UTF-8; convert the file, as with `iconv -f latin1 -t utf-8`",
    )?;
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(line.as_bytes());
    let record = reader.records().next().transpose().context("line 1")?;
    let names: Vec<String> = record
        .iter()
        .flatten()
        .map(|name| name.trim().to_owned())
        .collect();
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            bail!(
                "line 1: column {} of the header has no name; the first line must name the columns",
                index + 1
            );
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            bail!("line 1: the header names {name} twice; rename or leave out one of them");
        }
    }
    if names.is_empty() {
        bail!("line 1: the header is empty; the first line must name the columns");
    }
    Ok(names)
}

async fn lines(path: &Path, bar: &ProgressBar) -> anyhow::Result<Layout> {
    let (first, blocks) = Blocks::open(text(path, bar)?).with_context(|| cannot_read(path))?;
    let line = first.context("line 1: the file is empty; the first line must name the columns")?;
    let header = header(&line)?;
    if line.contains(&b'"') || line.contains(&b'\r') {
        return quoted(path, bar).await;
    }
    let fields = header.len();
    let unreadable = cannot_read(path);
    let shapes = super::load::ahead(blocks)
        .map(move |block| {
            tokio::task::spawn_blocking(move || -> anyhow::Result<csv::Shape> {
                Ok(csv::check(&block?, fields, b',')?)
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
            return quoted(path, bar).await;
        }
        rows.push(shape.rows);
    }
    Ok(Layout::Lines { header, rows })
}

fn cannot_read(path: &Path) -> &'static str {
    if source::is_gzip(path) {
        source::CANNOT_UNPACK
    } else {
        "it cannot be read"
    }
}

async fn quoted(path: &Path, bar: &ProgressBar) -> anyhow::Result<Layout> {
    let (path, bar) = (path.to_owned(), bar.clone());
    tokio::task::spawn_blocking(move || {
        let mut reader = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text(&path, &bar)?);
        let mut record = ::csv::ByteRecord::new();
        let mut names: Option<Vec<String>> = None;
        while reader.read_byte_record(&mut record).with_context(|| cannot_read(&path))? {
            let line = record.position().map_or(0, ::csv::Position::line);
            let bad = record.iter().find(|f| std::str::from_utf8(f).is_err());
            if bad.is_some() {
                bail!("line {line}: a field is no UTF-8; convert the file, as with `iconv -f latin1 -t utf-8`");
            }
            let Some(names) = &names else {
                let line: Vec<String> = record
                    .iter()
                    .map(|f| String::from_utf8_lossy(f).replace('"', "\"\""))
                    .map(|f| format!("\"{f}\""))
                    .collect();
                names = Some(header(line.join(",").as_bytes())?);
                continue;
            };
            if record.len() != names.len() {
                bail!(
                    "line {line}: {} fields where the header has {}; a quote without its other half, a delimiter in a field without quotes, or a file that is not whole",
                    record.len(),
                    names.len()
                );
            }
        }
        let header = names.context("line 1: the header is empty; the first line must name the columns")?;
        Ok(Layout::Quoted { header })
    })
    .await?
}

/// Each line is one JSON object; the types are those of all lines together.
fn json(path: &Path, bar: &ProgressBar) -> anyhow::Result<Layout> {
    let mut reader = text(path, bar)?;
    let mut number = 0u64;
    let mut problem = None;
    let values = std::iter::from_fn(|| {
        loop {
            let mut line = Vec::new();
            number += 1;
            let failed =
                |what: String| Some(Err(ArrowError::JsonError(format!("line {number}: {what}"))));
            match reader.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(e) => return failed(format!("{}: {e}", cannot_read(path))),
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if std::str::from_utf8(&line).is_err() {
                return failed(
                    "it is no UTF-8; convert the file, as with `iconv -f latin1 -t utf-8`"
                        .to_owned(),
                );
            }
            return match serde_json::from_slice::<serde_json::Value>(&line) {
                Ok(value @ serde_json::Value::Object(_)) => Some(Ok(value)),
                Ok(_) => {
                    failed("it is no JSON object; each line is one row, as {\"a\": 1}".to_owned())
                }
                Err(e) if e.is_eof() => failed(
                    "the object has no end; each line is one whole row: write the file again"
                        .to_owned(),
                ),
                Err(e) => failed(format!("column {}: it is no JSON; correct it", e.column())),
            };
        }
    })
    .inspect(|value| {
        if let Err(ArrowError::JsonError(text)) = value {
            problem = Some(text.clone());
        }
    });
    let schema = arrow::json::reader::infer_json_schema_from_iterator(values);
    if let Some(problem) = problem {
        bail!(problem);
    }
    let schema = schema.context("its lines are of different forms")?;
    if schema.fields().is_empty() {
        bail!("line 1: there is no row in it; write it again, or leave it out");
    }
    // In one order, whatever order they were met in.
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(Layout::Json {
        schema: Arc::new(Schema::new(fields)),
    })
}
