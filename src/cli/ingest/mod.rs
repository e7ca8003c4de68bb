//! `deltaplane ingest`: files into a table, each once. Every file is looked at whole before the first row is sent, so that a bad
//! one leaves nothing behind. A file's producer is named by its content, so that a run that was cut goes on where the server
//! has acked it, and a run again adds nothing.

mod check;
mod load;
mod source;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use deltaplane_client::SqlClient;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use source::{Format, KNOWN};

/// A server that does not answer is waited for before the first row: it may be on its way up again.
const SERVER_AWAY: Duration = Duration::from_secs(10);

/// A column that the files do not have: `{stem}` is the file's name without its ending, `{now_ns}` the clock.
#[derive(Clone, Debug)]
pub(super) struct Set {
    column: String,
    value: String,
}

impl Set {
    /// What it is for one file; the clock is put in row by row.
    fn of(&self, path: &Path) -> Set {
        let name = path
            .file_name()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        Set {
            column: self.column.clone(),
            value: self.value.replace("{stem}", stem),
        }
    }
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
/// A file cannot be read as what its name says (the text names file, line and what to do): nothing of any file has been sent
/// then. The server refuses a batch: files before that one are in the table, and the text says how much of it; a run again goes
/// on from there.
pub(super) async fn run(
    uri: &str,
    table: &str,
    paths: &[PathBuf],
    set: &[Set],
) -> anyhow::Result<Outcome> {
    let (schema, name) = table.split_once('.').context("the table is schema.table")?;
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
    let mut checked = Vec::with_capacity(files.len());
    for path in files {
        bar.set_message(format!("checking {}", path.display()));
        let shown = path.display().to_string();
        let set = set.iter().map(|s| s.of(&path)).collect();
        checked.push(check::check(path, set, &bar).await.context(shown)?);
    }
    bar.set_position(0);
    bar.set_message(format!("asking {uri} for the table's columns"));
    let columns = format!("SELECT * FROM {schema}.{name} LIMIT 0");
    let (due, _) = SqlClient::read_again(uri, &columns, SERVER_AWAY)
        .await
        .with_context(|| format!("table {table}"))?;
    let mut sum = load::Counts::default();
    for (index, file) in checked.iter().enumerate() {
        let shown = file.path.display().to_string();
        bar.set_message(shown.clone());
        let before = match index {
            0 => String::new(),
            n => format!("; the {n} files before it are in the table whole"),
        };
        let counts = load::load(uri, [schema, name], file, &due, &bar)
            .await
            .with_context(|| format!("{shown}{before}"))?;
        sum.add(&counts);
    }
    bar.finish_and_clear();
    println!(
        "{} files, {} rows sent, {} quarantined, {} duplicates, {} rows were there from an earlier run",
        checked.len(),
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
            if entry.is_dir() || Format::of(&entry).is_some() {
                collect(&entry, into)?;
            }
        }
        return Ok(());
    }
    if Format::of(path).is_none() {
        bail!("{shown}: the name does not say what it is; known: {KNOWN}");
    }
    into.push(path.to_owned());
    Ok(())
}
