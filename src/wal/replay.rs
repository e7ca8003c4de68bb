//! Opening a log: which segments there are, what frames they hold, where the tail is, and whether anything before it is damaged.

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::{self, Frame, FrameKind, Place};
use super::queue::Log;
use super::segment::{self, Header};
use super::writer::{Sealed, Writer};
use super::{Disk, Error, GroupHook, LogConfig};
use crate::types::Lsn;

/// A segment that has been checked whole.
struct Checked {
    header: Header,
    /// Offset of its last frame.
    last: Lsn,
    /// CRC of its last frame, for the next segment's chain.
    chain: u32,
}

/// The frames of the log, oldest first. Segments are read one at a time.
pub struct Replay {
    config: LogConfig,
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
    sealed: Vec<Sealed>,
    next_number: u64,
    tail: Lsn,
    chain: u32,
}

/// Reads the log's folder, checks every frame, cuts a torn tail.
///
/// # Errors
/// - `Damaged`: a frame before the tail is not what was synced.
/// - `Sequence`: a segment is missing or belongs to another log.
/// - `Io`: the folder cannot be read or made.
pub fn open(config: LogConfig, disk: Arc<dyn Disk>) -> Result<(Opener, Replay), Error> {
    disk.create_dir(&config.dir).map_err(Error::io("folder"))?;
    let mut numbers: Vec<u64> = disk
        .list(&config.dir)
        .map_err(Error::io("folder"))?
        .iter()
        .filter_map(|p| segment::number_of(p))
        .collect();
    numbers.sort_unstable();
    let mut checked: Vec<Checked> = Vec::new();
    let mut checkpoint = None;
    for (index, number) in numbers.iter().enumerate() {
        let newest = index + 1 == numbers.len();
        match check(
            &config,
            &*disk,
            *number,
            checked.last(),
            newest,
            &mut checkpoint,
        )? {
            Some(segment) => checked.push(segment),
            // Begun and never finished: nothing in it was acked.
            None => {
                disk.remove(&segment::path(&config.dir, *number))
                    .map_err(Error::io("clean-up"))?;
                disk.sync_dir(&config.dir).map_err(Error::io("clean-up"))?;
            }
        }
    }
    let newest = checked.last();
    let uuid = newest.map_or_else(|| crate::ids::random_id().into_bytes(), |s| s.header.uuid);
    let tail = newest.map_or(Lsn::ZERO, |s| s.last);
    let chain = newest.map_or(0, |s| s.chain);
    let next_number = newest.map_or(1, |s| s.header.number + 1);
    let sealed = checked
        .iter()
        .map(|s| Sealed {
            number: s.header.number,
            last: s.last,
            bytes: s.header.bytes,
        })
        .collect();
    let segments = checked.iter().map(|s| (s.header.number, s.last)).collect();
    let opener = Opener {
        config: config.clone(),
        disk: disk.clone(),
        uuid,
        sealed,
        next_number,
        tail,
        chain,
    };
    Ok((
        opener,
        Replay {
            config,
            disk,
            checkpoint,
            segments,
            current: None,
            tail,
        },
    ))
}

fn check(
    config: &LogConfig,
    disk: &dyn Disk,
    number: u64,
    before: Option<&Checked>,
    newest: bool,
    checkpoint: &mut Option<Vec<u8>>,
) -> Result<Option<Checked>, Error> {
    let path = segment::path(&config.dir, number);
    let file = path.display().to_string();
    let handle = disk.open(&path).map_err(Error::io("open"))?;
    let bytes = handle.read_all().map_err(Error::io("read"))?;
    let first_expected = before.map_or(Lsn::new(1), |b| b.last.next());
    let header = Header::parse(&bytes).filter(|(h, _)| h.number == number);
    let Some((header, header_crc)) = header else {
        if newest {
            return Ok(None);
        }
        return Err(Error::Damaged {
            segment: number,
            offset: first_expected,
            position: 0,
            file,
        });
    };
    if let Some(before) = before {
        let problem = if header.uuid != before.header.uuid {
            Some("it belongs to another log".to_owned())
        } else if number != before.header.number + 1 {
            Some(format!("segment {} is missing", before.header.number + 1))
        } else if header.first != before.last.next() {
            // The segment before lost frames that had been synced before this one was begun.
            return Err(Error::Damaged {
                segment: before.header.number,
                offset: before.last.next(),
                position: 0,
                file: segment::path(&config.dir, before.header.number)
                    .display()
                    .to_string(),
            });
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(Error::Sequence {
                segment: number,
                file,
                problem,
            });
        }
    }
    let mut at = usize::try_from(segment::HEADER_BYTES).unwrap_or(64);
    // The checkpoint comes first and repeats the offset before the segment's own.
    let mut expected = Lsn::new(header.first.get().saturating_sub(1));
    let mut chain = header_crc;
    while let Some(parsed) = bytes.get(at..).and_then(frame::parse) {
        let is_checkpoint = parsed.frame.kind == FrameKind::Checkpoint;
        let belongs = is_checkpoint == (expected < header.first)
            && parsed.place.uuid == header.uuid
            && parsed.place.segment == number
            && parsed.place.offset == expected
            && parsed.place.chain == chain;
        if !belongs {
            break;
        }
        if is_checkpoint && before.is_none() {
            *checkpoint = Some(parsed.frame.payload);
        }
        at += parsed.len;
        chain = parsed.crc;
        expected = expected.next();
    }
    // What stands at `at` is no frame of ours. If one behind it was written after this place had been synced, it is damage.
    let was_synced = |p: &Place| {
        p.uuid == header.uuid
            && p.segment == number
            && p.offset > expected
            && p.group_start > expected
    };
    if frame::find_later(bytes.get(at..).unwrap_or_default(), was_synced) {
        return Err(Error::Damaged {
            segment: number,
            offset: expected,
            position: at as u64,
            file,
        });
    }
    if expected < header.first {
        // Not even the checkpoint that it opens with.
        return if newest {
            Ok(None)
        } else {
            Err(Error::Damaged {
                segment: number,
                offset: expected,
                position: at as u64,
                file,
            })
        };
    }
    if newest {
        // So that no frame of a torn group is ever found behind a later one.
        let zeros = vec![0u8; bytes.len().saturating_sub(at).min(1 << 20)];
        let mut position = at;
        while position < bytes.len() {
            let len = zeros.len().min(bytes.len() - position);
            if bytes[position..position + len].iter().any(|b| *b != 0) {
                handle
                    .write_at(&zeros[..len], position as u64)
                    .map_err(Error::io("truncate"))?;
            }
            position += len;
        }
        handle.sync().map_err(Error::io("truncate"))?;
    }
    let last = Lsn::new(expected.get() - 1);
    Ok(Some(Checked {
        header,
        last,
        chain,
    }))
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
            let file = self
                .disk
                .open(&segment::path(&self.config.dir, number))
                .map_err(Error::io("open"))?;
            let bytes = file.read_all().map_err(Error::io("read"))?;
            self.current = Some((
                bytes,
                usize::try_from(segment::HEADER_BYTES).unwrap_or(64),
                last,
            ));
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

    /// Begins a fresh segment and the writer thread.
    ///
    /// # Errors
    /// `Io`: the segment cannot be made.
    pub fn start(self, hook: Arc<dyn GroupHook>) -> Result<Log, Error> {
        let uuid = self.uuid();
        let Opener {
            config,
            disk,
            sealed,
            next_number,
            tail,
            chain,
            ..
        } = self;
        let writer = Writer::new(
            config.clone(),
            disk,
            hook,
            uuid.into_bytes(),
            sealed,
            next_number,
            tail,
            chain,
        )?;
        Log::start(config, uuid, writer)
    }
}
