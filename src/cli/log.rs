//! `deltaplane log check|salvage`: what is in a log that no server has open, and a new log from what is whole in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command, value_parser};

use super::Outcome;
use crate::records::Checkpoint;
use crate::server::lock_directory;
use crate::wal::{self, Lost, SegmentReport};

pub(super) fn command() -> Command {
    let dir = || {
        Arg::new("dir")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("The data directory, or the log's own folder if it has one elsewhere")
    };
    Command::new("log")
        .about("Looks into the log of a server that does not run, and saves what is whole in a damaged one")
        .subcommand_required(true)
        .subcommand(
            Command::new("check")
                .about("Reads every frame; prints the segments and the first damage; exit code 1 if there is any")
                .arg(dir()),
        )
        .subcommand(
            Command::new("salvage")
                .about("Writes a new log from every whole frame, before and behind the damage; prints what is lost")
                .arg(dir())
                .arg(
                    Arg::new("to")
                        .long("to")
                        .required(true)
                        .value_name("NEW")
                        .value_parser(value_parser!(PathBuf))
                        .help("Folder of the new log; it must not hold anything"),
                ),
        )
}

pub(super) fn run(matches: &ArgMatches) -> anyhow::Result<Outcome> {
    let path = |m: &ArgMatches, name: &str| m.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    match matches.subcommand() {
        Some(("check", m)) => check(&path(m, "dir")),
        Some(("salvage", m)) => salvage(&path(m, "dir"), &path(m, "to")),
        _ => bail!("check or salvage"),
    }
}

/// The log's folder, and the lock on the data directory that it belongs to, if that is known.
fn open(dir: &Path) -> anyhow::Result<(PathBuf, Option<std::fs::File>)> {
    if !dir.is_dir() {
        bail!("no such folder, path={}", dir.display());
    }
    let inner = dir.join("wal");
    let (log, data) = if inner.is_dir() {
        (inner, Some(dir))
    } else {
        (dir.to_owned(), dir.parent())
    };
    let data = data.filter(|d| d.join("lock").is_file());
    let lock = data.map(lock_directory).transpose()?;
    Ok((log, lock))
}

/// Lines for people; the last says whether a server would start with it.
fn check(dir: &Path) -> anyhow::Result<Outcome> {
    let (log, _lock) = open(dir)?;
    let report = wal::inspect(&log)?;
    for segment in &report.segments {
        println!("{}", line(segment));
    }
    match report.manifest {
        Some(manifest) => {
            let contents = manifest.contents;
            let tail = manifest.tail.map_or_else(
                || "not known".to_owned(),
                |t| format!("offset {} in segment {}", t.offset, t.segment),
            );
            println!(
                "manifest: log {}, segments {} to {}, synced at least to: {tail}",
                uuid::Uuid::from_bytes(contents.uuid),
                contents.oldest,
                contents.newest
            );
        }
        None => println!("manifest: none that can be read"),
    }
    match report.problem {
        None => {
            println!("whole");
            Ok(Outcome::Done)
        }
        Some(problem) => bail!("{problem}"),
    }
}

fn line(s: &SegmentReport) -> String {
    let file = s.file.display();
    let Some(first) = s.first else {
        return format!(
            "segment {}: no header that can be read, {} whole frames in it, bytes={}, file={file}",
            s.number, s.frames_behind, s.bytes
        );
    };
    let offsets = match s.last {
        Some(last) => format!("offsets {first} to {last}"),
        None => format!("no frames, next offset {first}"),
    };
    let behind = match s.behind {
        Some((from, to)) => format!(
            "; behind byte {} there are {} whole frames more, offsets {from} to {to}",
            s.end, s.frames_behind
        ),
        None => String::new(),
    };
    format!(
        "segment {}: {offsets}, frames={}, used={} of {} bytes, file={file}{behind}",
        s.number, s.frames, s.end, s.bytes
    )
}

fn salvage(dir: &Path, to: &Path) -> anyhow::Result<Outcome> {
    let (log, _lock) = open(dir)?;
    let done = wal::salvage(&log, to, &Checkpoint::empty().encode())?;
    copy_parked(&log, to)?;
    for Lost {
        first,
        last,
        segment,
        position,
    } in &done.lost
    {
        println!("lost: offsets {first} to {last}, in segment {segment} from byte {position} on");
    }
    if done.is_state_newer {
        println!(
            "lost: the state that the oldest segment opened with; a later one stands in, so that counts a day may be too high"
        );
    }
    println!(
        "frames saved={}, newest offset={}; to go on with them: move {log} away, move {to} to its place, start the server",
        done.frames,
        done.last,
        log = log.display(),
        to = to.display()
    );
    Ok(Outcome::Done)
}

/// Rows of tables whose store was down stand beside the segments; they have checksums of their own.
fn copy_parked(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copy = |from: &Path, to: &Path| {
        std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))
    };
    let index = from.join("parked.index");
    if index.is_file() {
        copy(&index, &to.join("parked.index"))?;
    }
    let parked = from.join("parked");
    if !parked.is_dir() {
        return Ok(());
    }
    let target = to.join("parked");
    std::fs::create_dir(&target)?;
    for entry in std::fs::read_dir(&parked)? {
        let path = entry?.path();
        if let Some(name) = path.file_name() {
            copy(&path, &target.join(name))?;
        }
    }
    Ok(())
}
