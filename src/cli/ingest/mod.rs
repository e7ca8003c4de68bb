//! `deltaplane ingest`: files into a table, each once. Every file is looked at whole before the first row is sent, so that a bad
//! one leaves nothing behind. A file's producer is named by its content, so that a run that was cut goes on where the server
//! has acked it, and a run again adds nothing.

mod check;
mod columnar;
mod content;
mod csv;
mod cut;
mod hex;
mod json;
mod load;
mod loads;
mod source;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arrow::array::AsArray;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use deltaplane_client::SqlClient;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use crate::dataset::EVENT_DATE;
use crate::partition_folder::unescaped;
use crate::types::SameName;
use check::{Checked, delta_around, is_delta};
use load::{Counts, Target};
use source::{Format, KNOWN, stem};
use table::Table;

/// A column that the files do not have: `{stem}` is the file's name without its ending, `{now_ns}` the clock.
#[derive(Clone, Debug)]
pub(super) struct Set {
    column: String,
    value: String,
    /// It is that of a folder, and a file may have the column as well.
    of_folder: bool,
}

impl Set {
    /// What it is for one file; the clock is put in row by row.
    fn of(&self, path: &Path) -> Set {
        Set {
            column: self.column.clone(),
            value: self.value.replace("{stem}", stem(path)),
            of_folder: false,
        }
    }

    /// What the folders of a file say, `day=2026-01-01/part-0.parquet`, as Hive, Spark and pandas write partitions: of columns of the table
    /// for which nothing else is set.
    fn of_folders(path: &Path, table: &Table, set: &[Set]) -> Vec<Set> {
        let folders = path.parent().into_iter().flat_map(Path::components);
        let pairs = folders.filter_map(|folder| folder.as_os_str().to_str()?.split_once('='));
        let known = pairs.filter_map(|(name, value)| {
            let name = unescaped(name);
            let mut columns = table.contract.columns.iter();
            let column = columns.find(|c| c.name.is_same_name(&name))?;
            let is_set = set.iter().any(|s| s.column.is_same_name(&name));
            // A null is a column that is not there.
            let is_null = value == "__HIVE_DEFAULT_PARTITION__";
            (!is_set && !is_null && column.name != EVENT_DATE).then(|| Set {
                column: column.name.clone(),
                value: unescaped(value),
                of_folder: true,
            })
        });
        known.collect()
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
            of_folder: false,
        })
    }
}

pub(super) fn command(uri: Arg) -> Command {
    Command::new("ingest")
        .about("Loads files into a table, each once: csv, jsonl, parquet, arrow, Delta tables; goes on after a cut")
        .arg(uri)
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("COLUMN=VALUE")
                .action(ArgAction::Append)
                .value_parser(|text: &str| text.parse::<Set>())
                .help("A column that the files lack; {stem} is the file's name, {now_ns} the clock"),
        )
        .arg(
            Arg::new("again")
                .long("again")
                .action(ArgAction::SetTrue)
                .help("Loads files that were loaded before once more, as after a DELETE"),
        )
        .arg(Arg::new("table").required(true).help("schema.table"))
        .arg(
            Arg::new("paths")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("Files, folders of them, or folders of Delta tables"),
        )
}

/// # Errors
/// A file cannot be read as what its name says (the text names file, line and what to do): nothing of any file has been sent
/// then. The server refuses a batch: files before that one are in the table, and the text says how much of it; a run again goes
/// on from there. No row was accepted, and some went to quarantine.
pub(super) async fn run(matches: &ArgMatches) -> anyhow::Result<Outcome> {
    let text = |name: &str| matches.get_one::<String>(name).cloned().unwrap_or_default();
    let (uri, name, again) = (text("uri"), text("table"), matches.get_flag("again"));
    let name = super::table::table_of(&name)?;
    let mut files = Vec::new();
    for path in matches.get_many::<PathBuf>("paths").into_iter().flatten() {
        if let Some(delta) = delta_around(path) {
            bail!(
                "{}: it lies in the Delta table {}, whose log says which rows it has; give that folder",
                path.display(),
                delta.display()
            );
        }
        collect(path, &mut files)?;
    }
    if files.is_empty() {
        println!("no files ({KNOWN}, or a Delta table)");
        return Ok(Outcome::NothingToDo);
    }
    let bytes = files.iter().map(|f| f.metadata().map_or(0, |m| m.len()));
    let bar = ProgressBar::new(bytes.sum());
    bar.set_style(ProgressStyle::with_template(
        "{bar:30} {bytes}/{total_bytes} {elapsed} {msg}",
    )?);
    bar.set_message(format!("asking {uri} for the table's columns"));
    let table = Table::read(&uri, &name)
        .await
        .with_context(|| format!("table {name}"))?;
    let set: Vec<Set> = matches
        .get_many("set")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let mut checked = Vec::with_capacity(files.len());
    for path in files {
        bar.set_message(format!("checking {}", path.display()));
        let shown = path.display().to_string();
        let mut set: Vec<Set> = set.iter().map(|s| s.of(&path)).collect();
        if !is_delta(&path) {
            set.extend(Set::of_folders(&path, &table, &set));
        }
        let file = check::check(path, set, &table, again, &bar);
        checked.push(file.await.context(shown)?);
    }
    bar.set_position(0);
    let mut sum = Counts::default();
    for (index, file) in checked.iter().enumerate() {
        let shown = file.path.display().to_string();
        bar.set_message(shown.clone());
        let before = match index {
            0 => String::new(),
            n => format!("; the {n} files before it are in the table whole"),
        };
        let target = Target {
            uri: &uri,
            table: &table,
            path: &file.path,
            set: &file.set,
        };
        for part in &file.parts {
            let counts = load::load(&target, part, &bar)
                .await
                .with_context(|| format!("{shown}{before}"))?;
            sum.add(&counts);
        }
    }
    bar.finish_and_clear();
    report(&uri, &table, &checked, &sum).await
}

/// Says what was done, and what a user may not expect.
async fn report(
    uri: &str,
    table: &Table,
    files: &[Checked],
    sum: &Counts,
) -> anyhow::Result<Outcome> {
    println!(
        "{} files, {} rows sent, {} quarantined, {} duplicates, {} rows were there from an earlier run",
        files.len(),
        sum.rows,
        sum.quarantined,
        sum.duplicates,
        sum.skipped
    );
    if !sum.left_out.is_empty() {
        let names: Vec<&str> = sum.left_out.iter().map(String::as_str).collect();
        println!(
            "columns that the server fills were left out: {}",
            names.join(", ")
        );
    }
    let name = &table.contract.table;
    if sum.quarantined > 0 {
        let reason = match first_reason(uri, table, files).await {
            Some(reason) => format!("{reason}; all of them: "),
            None => String::new(),
        };
        let advice = format!("{reason}deltaplane quarantine show {name}");
        if sum.quarantined >= sum.rows {
            bail!("all rows that were sent went to quarantine. One of them: {advice}");
        }
        println!("one of the quarantined rows: {advice}");
    }
    if sum.rows > 0 {
        return Ok(Outcome::Done);
    }
    if sum.skipped > 0 {
        println!("to load them once more, as after a DELETE: --again");
    }
    Ok(Outcome::NothingToDo)
}

/// Why a row of these files is in quarantine. None: it cannot be asked, or the row is not there any more.
async fn first_reason(uri: &str, table: &Table, files: &[Checked]) -> Option<String> {
    let parts = files.iter().flat_map(|f| &f.parts);
    let names: Vec<String> = parts.map(|p| format!("'{}'", p.load.producer())).collect();
    // The text of a statement is bounded.
    let names = names.get(..names.len().min(100))?.join(", ");
    let query = format!(
        "SELECT reason FROM {} WHERE _source IN ({names}) LIMIT 1",
        table.contract.table.quarantine()
    );
    let mut client = SqlClient::connect(uri).await.ok()?;
    let (_, rows) = client.query(&query).await.ok()?;
    let reason = rows.iter().find(|b| b.num_rows() > 0)?;
    let reason = reason.column(0).as_string_opt::<i32>()?;
    Some(reason.value(0).to_owned())
}

/// Files below a folder that have a known ending, and Delta tables, in the order of their names; a file named by itself must
/// have such an ending. Names that begin with `_` or `.` are those of other programs' notes.
fn collect(path: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let shown = path.display();
    if path.is_dir() && !is_delta(path) {
        let mut entries = std::fs::read_dir(path)
            .with_context(|| format!("cannot read {shown}"))?
            .map(|e| e.map(|e| e.path()))
            .collect::<Result<Vec<_>, _>>()?;
        entries.sort();
        for entry in entries {
            let name = entry.file_name().and_then(|n| n.to_str());
            let is_note = name.is_some_and(|n| n.starts_with(['_', '.']));
            if !is_note && (entry.is_dir() || Format::of(&entry).is_some()) {
                collect(&entry, into)?;
            }
        }
        return Ok(());
    }
    if !path.is_dir() && Format::of(path).is_none() {
        bail!("{shown}: the name does not say what it is; known: {KNOWN}");
    }
    into.push(path.to_owned());
    Ok(())
}
