//! Opening a log: which segments there are and must be, what frames they hold, where the tail is, and whether anything before
//! it is damaged. [`verify`] only reads; [`open`] also cuts a torn tail and removes what a crash left over.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Frame, FrameKind};
use super::manifest::{self, Contents, Manifest, ManifestFile, Tail};
use super::queue::Log;
use super::scan::{self, Scan};
use super::segment;
use super::writer::{Sealed, Writer};
use super::{Disk, Error, GroupHook, LogConfig};
use crate::types::Lsn;

/// A log that is whole.
pub(super) struct Verified {
    pub segments: Vec<Scan>,
    pub manifest: Option<Manifest>,
    /// The state before the oldest frame.
    checkpoint: Option<Vec<u8>>,
    /// Segments that were begun and never finished, or trimmed and not removed.
    leftovers: Vec<u64>,
}

/// The frames of the log, oldest first. Segments are read one at a time.
pub struct Replay {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    checkpoint: Option<Vec<u8>>,
    segments: VecDeque<(u64, Lsn)>,
    current: Option<(Vec<u8>, usize, Lsn)>,
    tail: Lsn,
}

/// Starts the writer once replay has been used.
pub struct Opener {
    config: LogConfig,
    disk: Arc<dyn Disk>,
    uuid: [u8; 16],
    generation: u64,
    segments: Vec<Scan>,
}

/// Reads the log's folder, checks every frame, cuts a torn tail.
///
/// # Errors
/// - `Damaged`: a frame before the tail is not what was synced.
/// - `Sequence`: a segment is missing, or belongs to another log.
/// - `Manifest`: the manifest is missing, damaged or an older copy.
/// - `Io`: the folder cannot be read or made.
pub fn open(config: LogConfig, disk: Arc<dyn Disk>) -> Result<(Opener, Replay), Error> {
    disk.create_dir(&config.dir).map_err(Error::io("folder"))?;
    let Verified {
        segments,
        manifest,
        checkpoint,
        leftovers,
    } = verify(&config.dir, &*disk)?;
    if let Some(newest) = segments.last() {
        cut_torn_tail(&config.dir, &*disk, newest)?;
    }
    for number in &leftovers {
        disk.remove(&segment::path(&config.dir, *number))
            .map_err(Error::io("clean-up"))?;
    }
    if !leftovers.is_empty() {
        disk.sync_dir(&config.dir).map_err(Error::io("clean-up"))?;
    }
    let contents = manifest.map(|m| m.contents);
    let uuid = contents.map(|c| c.uuid);
    let uuid = uuid.or_else(|| segments.last().map(|s| s.header.uuid));
    let replayed = segments.iter().map(|s| (s.header.number, s.last)).collect();
    let tail = segments.last().map_or(Lsn::ZERO, |s| s.last);
    let opener = Opener {
        config: config.clone(),
        disk: disk.clone(),
        uuid: uuid.unwrap_or_else(|| crate::ids::random_id().into_bytes()),
        generation: contents.map_or(0, |c| c.generation),
        segments,
    };
    let replay = Replay {
        dir: config.dir,
        disk,
        checkpoint,
        segments: replayed,
        current: None,
        tail,
    };
    Ok((opener, replay))
}

/// The frames of a log that no server has open. It changes nothing.
///
/// # Errors
/// As [`open`].
pub fn read_only(dir: &Path) -> Result<Replay, Error> {
    let disk = Arc::new(super::RealDisk);
    let verified = verify(dir, &*disk)?;
    let segments = &verified.segments;
    Ok(Replay {
        dir: dir.to_owned(),
        disk,
        checkpoint: verified.checkpoint,
        segments: segments.iter().map(|s| (s.header.number, s.last)).collect(),
        current: None,
        tail: segments.last().map_or(Lsn::ZERO, |s| s.last),
    })
}

pub(super) fn numbers(dir: &Path, disk: &dyn Disk) -> Result<Vec<u64>, Error> {
    let files = disk.list(dir).map_err(Error::io("folder"))?;
    let mut numbers: Vec<u64> = files.iter().filter_map(|p| segment::number_of(p)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn read(dir: &Path, disk: &dyn Disk, number: u64) -> Result<Vec<u8>, Error> {
    let file = disk
        .open(&segment::path(dir, number))
        .map_err(Error::io("open"))?;
    file.read_all().map_err(Error::io("read"))
}

/// # Errors
/// As [`open`].
pub(super) fn verify(dir: &Path, disk: &dyn Disk) -> Result<Verified, Error> {
    let manifest = Manifest::read(disk, dir)?;
    let numbers = numbers(dir, disk)?;
    let told = manifest.map(|m| m.contents);
    let rules = Rules {
        dir,
        told,
        tail: manifest.and_then(|m| m.tail),
        must_have_manifest: manifest.is_none(),
    };
    let (first, last) = match told {
        Some(c) if c.newest > 0 => (c.oldest, c.newest),
        _ => (1, 0),
    };
    if let Some(missing) = (first..=last).find(|n| !numbers.contains(n)) {
        // With newer segments there, it is the manifest that is old: it knows one that was let go of since.
        return Err(match numbers.last().filter(|newest| **newest > last) {
            Some(newest) => rules.is_older(*newest, last),
            None => rules.sequence(missing, "it is missing"),
        });
    }
    let (trimmed, numbers): (Vec<u64>, Vec<u64>) = numbers
        .into_iter()
        .partition(|n| *n < first && told.is_some());
    let mut verified = Verified {
        segments: Vec::new(),
        manifest,
        checkpoint: None,
        leftovers: trimmed,
    };
    for number in &numbers {
        let bytes = read(dir, disk, *number)?;
        let is_last = Some(number) == numbers.last();
        let before = verified.segments.last();
        match rules.segment(*number, &bytes, before, is_last)? {
            Some(scan) => {
                if before.is_none() {
                    let state = scan.checkpoint.clone().and_then(|at| bytes.get(at));
                    verified.checkpoint = state.map(<[u8]>::to_vec);
                }
                verified.segments.push(scan);
            }
            None => verified.leftovers.push(*number),
        }
    }
    Ok(verified)
}

/// What a segment must be.
struct Rules<'a> {
    dir: &'a Path,
    /// None: a folder as a server without manifests left it, or an empty one.
    told: Option<Contents>,
    tail: Option<Tail>,
    must_have_manifest: bool,
}

impl Rules<'_> {
    fn file(&self, number: u64) -> String {
        segment::path(self.dir, number).display().to_string()
    }

    fn sequence(&self, segment: u64, problem: impl Into<String>) -> Error {
        Error::Sequence {
            segment,
            file: self.file(segment),
            problem: problem.into(),
        }
    }

    fn damaged(&self, segment: u64, offset: Lsn, position: usize) -> Error {
        Error::Damaged {
            segment,
            offset,
            position: position as u64,
            file: self.file(segment),
        }
    }

    fn manifest(&self, problem: String) -> Error {
        Error::Manifest {
            file: manifest::path(self.dir).display().to_string(),
            problem,
        }
    }

    fn is_older(&self, segment: u64, newest: u64) -> Error {
        self.manifest(format!(
            "it is older than segment {segment}: the newest that it knows is {newest}"
        ))
    }

    /// None: it was begun and never finished, so that nothing in it was promised to anyone.
    fn segment(
        &self,
        number: u64,
        bytes: &[u8],
        before: Option<&Scan>,
        is_last: bool,
    ) -> Result<Option<Scan>, Error> {
        let newest = self.told.map(|c| c.newest);
        let is_promised = newest.is_some_and(|newest| number <= newest);
        let scan = Scan::of(bytes, number);
        let Some(scan) = scan.clone().filter(|s| s.checkpoint.is_some()) else {
            if is_last && !is_promised && !scan::has_frames_of(bytes, number) {
                return Ok(None);
            }
            let first = before.map_or(Lsn::new(1), Scan::next);
            let (offset, at) = scan.map_or((first, 0), |s| (s.header.first, s.end));
            return Err(self.damaged(number, offset, at));
        };
        if let Some(newest) = newest.filter(|newest| number > *newest) {
            // Begun, and not yet in the manifest: it cannot hold frames.
            if number != newest + 1 || scan.frames > 0 {
                return Err(self.is_older(number, newest));
            }
        }
        if self.must_have_manifest && scan.header.has_manifest {
            return Err(self.manifest("it is missing".to_owned()));
        }
        self.follows(&scan, before)?;
        self.is_what_was_synced(&scan)?;
        Ok(Some(scan))
    }

    /// Does it continue the segment before, and is it of this log?
    fn follows(&self, scan: &Scan, before: Option<&Scan>) -> Result<(), Error> {
        let header = &scan.header;
        let number = header.number;
        let uuid = self.told.map(|c| c.uuid);
        let uuid = uuid.or_else(|| before.map(|b| b.header.uuid));
        if uuid.is_some_and(|uuid| uuid != header.uuid) {
            return Err(self.sequence(number, "it belongs to another log"));
        }
        if let Some(before) = before {
            let last = before.header.number;
            if number != last + 1 {
                return Err(self.sequence(last + 1, "it is missing"));
            }
            if header.first != before.last.next() || header.chain != before.chain {
                // The segment before is not what it was when this one was begun.
                return Err(self.damaged(last, before.next(), before.end));
            }
        }
        let Some(told) = self.told else {
            return Ok(());
        };
        let is_other = (number == told.oldest && header.first != told.oldest_first)
            || (number == told.newest && scan.header_crc != told.newest_crc);
        if is_other {
            return Err(self.sequence(number, "it is not the one that the manifest knows"));
        }
        Ok(())
    }

    fn is_what_was_synced(&self, scan: &Scan) -> Result<(), Error> {
        let number = scan.header.number;
        if scan.is_damaged {
            return Err(self.damaged(number, scan.next(), scan.end));
        }
        let Some(tail) = self.tail.filter(|t| t.segment == number) else {
            return Ok(());
        };
        let end = scan.end as u64;
        if end < tail.position {
            return Err(self.damaged(number, scan.next(), scan.end));
        }
        if end == tail.position && (scan.last, scan.chain) != (tail.offset, tail.chain) {
            return Err(self.sequence(number, "its last frame is not the one that was synced"));
        }
        Ok(())
    }
}

/// So that no frame of a torn group is ever found behind a later one.
fn cut_torn_tail(dir: &Path, disk: &dyn Disk, newest: &Scan) -> Result<(), Error> {
    let path = segment::path(dir, newest.header.number);
    let handle = disk.open(&path).map_err(Error::io("open"))?;
    let bytes = handle.read_all().map_err(Error::io("read"))?;
    let mut position = newest.end;
    for torn in bytes.get(position..).unwrap_or_default().chunks(1 << 20) {
        if torn.iter().any(|b| *b != 0) {
            handle
                .write_at(&vec![0; torn.len()], position as u64)
                .map_err(Error::io("truncate"))?;
        }
        position += torn.len();
    }
    handle.sync().map_err(Error::io("truncate"))
}

impl Replay {
    /// The state before the oldest frame; none for a new log.
    pub fn take_checkpoint(&mut self) -> Option<Vec<u8>> {
        self.checkpoint.take()
    }

    /// Offset of the last durable frame.
    pub fn tail(&self) -> Lsn {
        self.tail
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some((bytes, at, last)) = &mut self.current {
                if let Some(parsed) = frame::parse(bytes.get(*at..).unwrap_or_default()) {
                    *at += parsed.len;
                    let done = parsed.place.offset == *last;
                    if done {
                        self.current = None;
                    }
                    if parsed.frame.kind == FrameKind::Checkpoint {
                        continue;
                    }
                    return Ok(Some(parsed.frame));
                }
                return Err(Error::Io {
                    what: "replay",
                    cause: "a segment changed while it was read".to_owned(),
                });
            }
            let Some((number, last)) = self.segments.pop_front() else {
                return Ok(None);
            };
            let bytes = read(&self.dir, &*self.disk, number)?;
            let start = usize::try_from(segment::HEADER_BYTES).unwrap_or(64);
            self.current = Some((bytes, start, last));
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Frame, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame().transpose()
    }
}

impl Opener {
    pub fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_bytes(self.uuid)
    }

    /// There was no log in the folder.
    pub fn is_new(&self) -> bool {
        self.segments.is_empty() && self.generation == 0
    }

    /// Writes the manifest, begins a fresh segment, and starts the writer thread.
    ///
    /// # Errors
    /// `Io`: manifest or segment cannot be written.
    pub fn start(self, hook: Arc<dyn GroupHook>) -> Result<Log, Error> {
        let (uuid, config) = (self.uuid(), self.config.clone());
        Log::start(config, uuid, self.writer(hook)?)
    }

    /// [`Opener::start`], with the writer's work in the caller's hands.
    #[cfg(test)]
    pub fn model(
        self,
        hook: Arc<dyn GroupHook>,
    ) -> Result<(Log, impl FnOnce() + Send + 'static), Error> {
        let (uuid, config) = (self.uuid(), self.config.clone());
        let writer = self.writer(hook)?;
        Ok((Log::over(config, uuid, writer.shared()), move || {
            writer.run()
        }))
    }

    fn writer(self, hook: Arc<dyn GroupHook>) -> Result<Writer, Error> {
        let uuid = self.uuid();
        let Opener {
            config,
            disk,
            generation,
            segments,
            ..
        } = self;
        let mut contents = Contents {
            generation,
            ..Contents::new(uuid.into_bytes())
        };
        if let (Some(oldest), Some(newest)) = (segments.first(), segments.last()) {
            contents.oldest = oldest.header.number;
            contents.oldest_first = oldest.header.first;
            contents.newest = newest.header.number;
            contents.newest_first = newest.header.first;
            contents.newest_crc = newest.header_crc;
        }
        let tail = segments.last().map(|s| Tail {
            segment: s.header.number,
            offset: s.last,
            position: s.end as u64,
            chain: s.chain,
        });
        let manifest = ManifestFile::begin(&*disk, &config.dir, contents, tail)?;
        let sealed = segments.iter().map(|s| Sealed {
            number: s.header.number,
            first: s.header.first,
            last: s.last,
            bytes: s.header.bytes,
        });
        Writer::new(
            config,
            disk,
            hook,
            manifest,
            sealed.collect(),
            tail.map_or((Lsn::ZERO, 0), |t| (t.offset, t.chain)),
        )
    }
}
