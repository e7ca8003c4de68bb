//! `deltaplane check`: a whole data directory, without a server: the log, parked rows, alerts, notes, and every table.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Outcome;
use crate::alert;
use crate::catalog::defined::Definitions;
use crate::catalog::expected::Holdings;
use crate::catalog::lifecycle::quarantine_folder;
use crate::catalog::parking::Parked;
use crate::catalog::running;
use crate::cold::{ColdTable, Lake, folder_check};
use crate::config::{Config, Resolved};
use crate::ingest::replay;
use crate::records::{Checkpoint, Expected, Record};
use crate::server::identity::Identity;
use crate::server::lock_directory;
use crate::types::Lsn;
use crate::wal;

pub(super) fn command(command: Command) -> Command {
    command
        .about("Verifies a data directory that no server has open; a line a finding, exit code 1 if there is one")
        .arg(
            Arg::new("deep")
                .long("deep")
                .action(ArgAction::SetTrue)
                .help("Read every data file whole, against its checksums and what the Delta log says of it"),
        )
}

pub(super) async fn run(resolved: Resolved, matches: &ArgMatches) -> anyhow::Result<Outcome> {
    let config = resolved.config;
    let dir = &config.server.data_dir;
    if !dir.is_dir() {
        bail!("no such data directory, path={}", dir.display());
    }
    let _lock = lock_directory(dir)?;
    let mut findings = Vec::new();
    let known = log(&config, &mut findings);
    findings.extend(alert::damaged(dir));
    let disk = std::sync::Arc::new(wal::RealDisk);
    findings.extend(Definitions::open(dir, disk, Duration::ZERO).problem());
    findings.extend(running::problems(dir));
    let checked = tables(&config, known, matches.get_flag("deep"), &mut findings).await?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("whole: the log, alerts, views, and {checked} Delta tables");
        return Ok(Outcome::Done);
    }
    bail!("findings={}, Delta tables={checked}", findings.len())
}

/// A table as the log knows it.
struct Known {
    folder: String,
    expected: Expected,
    log: String,
}

/// The tables that the log knows; none if it cannot be read.
fn log(config: &Config, findings: &mut Vec<String>) -> Option<BTreeMap<u64, Known>> {
    let dir = config.log_dir();
    if !dir.is_dir() {
        findings.push(format!("{}: the log's folder is missing", dir.display()));
        return None;
    }
    let mut known = known(&dir);
    if let Err(problem) = &known {
        findings.push(problem.clone());
    }
    if let Ok(found) = wal::uuid_of(&dir)
        && let Err(fault) = Identity::of(config).check(found)
    {
        findings.push(fault.to_string());
    }
    if let Ok(Some(uuid)) = wal::uuid_of(&dir) {
        let parked = wal::Aside::new(&dir, uuid, std::sync::Arc::new(wal::RealDisk));
        findings.extend(parked.problems().iter().map(ToString::to_string));
        for (number, table) in known.iter_mut().flatten() {
            table.log = uuid.to_string();
            if let Ok(rows) = Parked::read(parked.read(*number)) {
                table.expected = table.expected.without(&rows);
            }
        }
    }
    known.ok()
}

/// From the oldest checkpoint and the frames behind it.
fn known(dir: &Path) -> Result<BTreeMap<u64, Known>, String> {
    let table = |folder: String, expected: Expected| Known {
        folder,
        expected,
        log: String::new(),
    };
    let mut replay = wal::read_only(dir).map_err(|e| e.to_string())?;
    let mut tables: BTreeMap<u64, Known> = BTreeMap::new();
    if let Some(bytes) = replay.take_checkpoint() {
        let checkpoint =
            Checkpoint::decode(&bytes).map_err(|problem| problem.of_checkpoint().to_string())?;
        for saved in checkpoint.tables {
            tables.insert(saved.incarnation.get(), table(saved.folder, saved.expected));
        }
    }
    for frame in replay {
        let frame = frame.map_err(|e| e.to_string())?;
        match Record::decode(&frame).map_err(|e| e.to_string())? {
            Record::Create(created) => {
                let fresh = || table(created.folder, Expected::default());
                tables.entry(frame.incarnation).or_insert_with(fresh);
            }
            Record::Done(done) => {
                if let Some(table) = tables.get_mut(&frame.incarnation) {
                    table.expected = table.expected.after(&done);
                }
            }
            Record::Drop => {
                tables.remove(&frame.incarnation);
            }
            _ => {}
        }
    }
    Ok(tables)
}

/// What the Delta logs of a table lack; none as well if they cannot be opened, which is a finding of its own.
async fn missing(lake: &Lake, number: u64, table: &Known) -> Option<String> {
    let app = format!("{}/{number}", table.log);
    let mut held = Holdings {
        versions: [0; 2],
        committed: [Lsn::ZERO; 2],
    };
    let folders = [table.folder.clone(), quarantine_folder(&table.folder)];
    let places = held.versions.iter_mut().zip(&mut held.committed);
    for (folder, (version, committed)) in folders.iter().zip(places) {
        let opened = ColdTable::open(lake, folder).await.ok()??;
        *version = opened.version();
        let position = opened.read_txn(&app).await.ok()?.unwrap_or(0);
        *committed = Lsn::new(u64::try_from(position).unwrap_or(0));
    }
    let checked = table.expected.check(&table.folder, held);
    checked.err().map(|fault| fault.message)
}

/// What is wrong with the note of a replay; none as well if the Delta logs cannot be opened.
async fn half_replayed(lake: &Lake, folder: &str) -> Option<String> {
    let main = ColdTable::open(lake, folder).await.ok()??;
    let quarantine = ColdTable::open(lake, &quarantine_folder(folder))
        .await
        .ok()??;
    replay::problem(&main, &quarantine).await
}

async fn tables(
    config: &Config,
    known: Option<BTreeMap<u64, Known>>,
    deep: bool,
    findings: &mut Vec<String>,
) -> anyhow::Result<usize> {
    let root = config.tables_root();
    if !root.contains("://") && !Path::new(&root).is_dir() {
        if known.is_none_or(|tables| !tables.is_empty()) {
            findings.push(format!("{root}: the folder of the tables is missing"));
        }
        return Ok(0);
    }
    let lake = Lake::open(&root).await?;
    let folders = match &known {
        Some(tables) => {
            let tables = tables.values().map(|t| &t.folder);
            let both = tables.flat_map(|folder| [folder.clone(), quarantine_folder(folder)]);
            both.collect()
        }
        // The log does not say which tables there are: all that are found.
        None => folder_check::folders(&lake)
            .await
            .map_err(anyhow::Error::msg)?,
    };
    for folder in &folders {
        for finding in folder_check::findings(&lake, folder, deep).await {
            findings.push(format!("{root}/{} {}", finding.file, finding.problem));
        }
    }
    for (number, table) in known.iter().flatten() {
        if let Some(problem) = missing(&lake, *number, table).await {
            findings.push(format!("{root}/{}: {problem}", table.folder));
        }
        if let Some(problem) = half_replayed(&lake, &table.folder).await {
            let folder = quarantine_folder(&table.folder);
            findings.push(format!("{root}/{folder}: {problem}"));
        }
    }
    Ok(folders.len())
}
