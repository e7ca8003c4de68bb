//! `deltaplane check`: a whole data directory, without a server: the log, parked rows, alerts, and every table.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::Outcome;
use crate::alert;
use crate::catalog::checkpoint::{Checkpoint, Created};
use crate::catalog::lifecycle::quarantine_folder;
use crate::cold::{Lake, folder_check};
use crate::config::{Config, Resolved};
use crate::server::identity::Identity;
use crate::server::lock_directory;
use crate::wal::{self, FrameKind};

pub fn command(command: Command) -> Command {
    command
        .about("Verifies a data directory that no server has open; a line a finding, exit code 1 if there is one")
        .arg(
            Arg::new("deep")
                .long("deep")
                .action(ArgAction::SetTrue)
                .help("Read every data file whole, against its checksums and what the Delta log says of it"),
        )
}

pub async fn run(resolved: Resolved, matches: &ArgMatches) -> anyhow::Result<Outcome> {
    let config = resolved.config;
    let dir = &config.server.data_dir;
    if !dir.is_dir() {
        bail!("no such data directory, path={}", dir.display());
    }
    let _lock = lock_directory(dir)?;
    let mut findings = Vec::new();
    let folders = log(&config, &mut findings);
    findings.extend(alert::damaged(dir));
    let checked = tables(&config, folders, matches.get_flag("deep"), &mut findings).await?;
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("whole: the log, alerts, and {checked} Delta tables");
        return Ok(Outcome::Done);
    }
    bail!("findings={}, Delta tables={checked}", findings.len())
}

/// The folders of the tables that the log knows; none if it cannot be read.
fn log(config: &Config, findings: &mut Vec<String>) -> Option<Vec<String>> {
    let dir = config.log_dir();
    if !dir.is_dir() {
        findings.push(format!("{}: the log's folder is missing", dir.display()));
        return None;
    }
    let known = known(&dir);
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
    }
    known.ok()
}

/// From the oldest checkpoint and the frames behind it.
fn known(dir: &Path) -> Result<Vec<String>, String> {
    let mut replay = wal::read_only(dir).map_err(|e| e.to_string())?;
    let mut folders: BTreeMap<u64, String> = BTreeMap::new();
    if let Some(bytes) = replay.take_checkpoint() {
        let checkpoint = Checkpoint::decode(&bytes).map_err(|e| e.to_string())?;
        let tables = checkpoint.tables.into_iter();
        folders.extend(tables.map(|t| (t.incarnation.get(), t.folder)));
    }
    for frame in replay {
        let frame = frame.map_err(|e| e.to_string())?;
        match frame.kind {
            FrameKind::Create => {
                let created: Created = serde_json::from_slice(&frame.payload)
                    .map_err(|e| format!("create frame at {}: {e}", frame.offset))?;
                folders.insert(frame.incarnation, created.folder);
            }
            FrameKind::Drop => {
                folders.remove(&frame.incarnation);
            }
            _ => {}
        }
    }
    let both = folders.into_values().flat_map(|folder| {
        let quarantine = quarantine_folder(&folder);
        [folder, quarantine]
    });
    Ok(both.collect())
}

async fn tables(
    config: &Config,
    folders: Option<Vec<String>>,
    deep: bool,
    findings: &mut Vec<String>,
) -> anyhow::Result<usize> {
    let root = config.tables_root();
    if !root.contains("://") && !Path::new(&root).is_dir() {
        if folders.is_none_or(|f| !f.is_empty()) {
            findings.push(format!("{root}: the folder of the tables is missing"));
        }
        return Ok(0);
    }
    let lake = Lake::open(&root).await?;
    let folders = match folders {
        Some(folders) => folders,
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
    Ok(folders.len())
}
