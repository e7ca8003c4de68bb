//! Changed bytes of the log's files: a frame, a segment, the manifest, parked rows, and an index of files.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::seal;
use super::frame::{self, Parsed};
use super::manifest::{self, Manifest, ManifestFile};
use super::segment::Header;
use super::tests::{append, config, data, start};
use super::*;
use crate::fuzz_tests::{MemoryDisk, Target, seal_frame, sealed_frame};

const DIR: &str = "/log";
const FRAMES: u64 = 12;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A log of several segments, all of it synced.
fn whole_log() -> Files {
    let disk = MemoryDisk::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (log, _) = start(&config(Path::new(DIR)), Arc::new(disk.clone())).unwrap();
        for seq in 1..=FRAMES {
            let payload = vec![u8::try_from(seq).unwrap(); 900];
            append(&log, seq, payload).await.unwrap();
        }
        log.close().await.unwrap();
    });
    let mut files = disk.files();
    files.retain(|path, _| {
        segment::number_of(path).is_some() || *path == manifest::path(Path::new(DIR))
    });
    files
}

/// A segment whose checksums fit, its frames one behind the other as far as they are frames.
fn sealed_segment(bytes: &mut [u8]) {
    let Some(header) = bytes.first_chunk_mut::<64>() else {
        return;
    };
    let crc = crc32c::crc32c(&header[8..52]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    if header[52..60].iter().any(|b| *b != 0) {
        let whole = crc32c::crc32c(&header[..60]);
        header[60..].copy_from_slice(&whole.to_le_bytes());
    }
    let (mut at, mut chain) = (64, crc);
    while bytes[at..].starts_with(b"DPF1") {
        let Some((length, crc)) = seal_frame(&mut bytes[at..], Some(chain)) else {
            return;
        };
        (at, chain) = (at + length, crc);
    }
}

fn sealed_manifest(bytes: &mut [u8]) {
    for (at, length) in [(0, 128), (4096, 128), (8192, 56)] {
        if let Some(part) = bytes.get_mut(at..at + length) {
            seal(part);
        }
    }
}

/// The number of a file, and its bytes.
fn sealed_file(input: &[u8]) -> Vec<u8> {
    let mut out = input.to_vec();
    if let Some((_, file)) = out.split_first_mut() {
        match file.starts_with(b"DPM1") {
            true => sealed_manifest(file),
            false => sealed_segment(file),
        }
    }
    out
}

/// Files of a log as seeds: each behind its number.
fn seeds(files: &Files) -> Vec<Vec<u8>> {
    let number = |n: usize| u8::try_from(n).unwrap();
    let numbered = files.values().enumerate();
    numbered
        .map(|(n, file)| [&[number(n)], file.as_slice()].concat())
        .collect()
}

/// The log with one file changed, as an input says.
fn changed(files: &Files, input: &[u8]) -> Option<(Files, PathBuf)> {
    let (number, bytes) = input.split_first()?;
    let path = files.keys().nth(usize::from(*number) % files.len())?;
    let mut files = files.clone();
    files.insert(path.clone(), bytes.to_vec());
    Some((files, path.clone()))
}

fn parsed(bytes: &[u8]) -> Vec<Parsed> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some((found, parsed)) = frame::find_frame(bytes, at, |_| true) {
        at = found + 1;
        out.push(parsed);
    }
    out
}

/// Is all of the file that matches its checksums what was written? Else they were repaired behind a change.
fn is_genuine(log: &Files, path: &Path, bytes: &[u8]) -> bool {
    let written = &log[path];
    if path == manifest::path(Path::new(DIR)) {
        let read = |bytes: &[u8]| {
            let disk = MemoryDisk::default();
            disk.put(path, bytes.to_vec());
            Manifest::read(&disk, Path::new(DIR)).ok().flatten()
        };
        let (now, then) = (read(bytes), read(written).unwrap());
        return now.is_none_or(|now| {
            now.contents == then.contents && (now.tail.is_none() || now.tail == then.tail)
        });
    }
    // A header without the part that older servers did not write is whole, too.
    let header = |bytes: &[u8]| {
        Header::parse(bytes).map(|(header, crc)| {
            let header = Header {
                has_manifest: true,
                ..header
            };
            (header, crc)
        })
    };
    let is_known = |now: &Parsed| {
        let known = log.values().flat_map(|bytes| parsed(bytes));
        let mut known = known.map(|then| (then.frame, then.place));
        known.any(|(frame, place)| (&frame, &place) == (&now.frame, &now.place))
    };
    header(bytes).is_none_or(|now| Some(now) == header(written))
        && parsed(bytes).iter().all(is_known)
}

fn replayed(files: &Files) -> (MemoryDisk, Result<Vec<Frame>, Error>) {
    let disk = MemoryDisk::of(files);
    let opened = open(config(Path::new(DIR)), Arc::new(disk.clone()));
    let frames = opened.map(|(_, replay)| replay.map(Result::unwrap).collect());
    (disk, frames)
}

#[test]
fn log_frames() {
    let frame = |seq, bytes| frame::frame_bytes(&data(seq, vec![7; bytes]));
    let other = NewFrame {
        kind: FrameKind::Epoch,
        producer: "".into(),
        ..data(3, Vec::new())
    };
    let target = Target {
        seeds: vec![frame(1, 50), frame(2, 0), frame::frame_bytes(&other)],
        seal: &sealed_frame,
        bytes_max: 1 << 20,
        ..Target::default()
    };
    target.run(|input| {
        let Some(read) = frame::parse(input) else {
            return false;
        };
        assert!(read.len <= input.len());
        let mut again = Vec::new();
        let frame = NewFrame {
            kind: read.frame.kind,
            incarnation: read.frame.incarnation,
            contract_version: read.frame.contract_version,
            producer: read.frame.producer.clone(),
            epoch: read.frame.epoch,
            seq: read.frame.seq,
            batch_crc: read.frame.batch_crc,
            payload: read.frame.payload.to_vec().into(),
        };
        frame::encode_header(&frame, &read.place, &mut again);
        again.extend_from_slice(&frame.payload.head);
        let again = frame::parse(&again).unwrap();
        assert_eq!((again.frame, again.place), (read.frame, read.place));
        true
    });
}

/// A segment or the manifest of a whole log is changed, and the log is opened. It is refused, or every frame is there; frames
/// that were made up follow each other all the same.
#[test]
fn log_segments_and_their_manifest() {
    let log = whole_log();
    let whole = replayed(&log).1.unwrap();
    assert_eq!(whole.len() as u64, FRAMES);
    assert!(log.len() >= 4);
    let target = Target {
        seeds: seeds(&log),
        seal: &sealed_file,
        ..Target::default()
    };
    target.run(|input| {
        let Some((files, path)) = changed(&log, input) else {
            return false;
        };
        let (disk, frames) = replayed(&files);
        let Ok(frames) = frames else {
            return false;
        };
        for pair in frames.windows(2) {
            assert_eq!(pair[1].offset, pair[0].offset.next());
        }
        // A torn tail is cut. What is left is read as the same.
        assert_eq!(replayed(&disk.files()).1.unwrap(), frames);
        if is_genuine(&log, &path, &files[&path]) {
            assert_eq!(frames, whole);
        }
        true
    });
}

#[test]
fn log_manifests() {
    let log = whole_log();
    let path = manifest::path(Path::new(DIR));
    let target = Target {
        seeds: vec![log[&path].clone()],
        seal: &|input| {
            let mut out = input.to_vec();
            sealed_manifest(&mut out);
            out
        },
        bytes_max: 1 << 20,
        ..Target::default()
    };
    target.run(|input| {
        let disk = MemoryDisk::default();
        disk.put(&path, input.to_vec());
        let read = || Manifest::read(&disk, Path::new(DIR)).ok().flatten();
        let Some(found) = read() else {
            return false;
        };
        ManifestFile::begin(&disk, Path::new(DIR), found.contents, found.tail).unwrap();
        let again = read().unwrap();
        let generation = found.contents.generation.saturating_add(1);
        let expected = Manifest {
            contents: manifest::Contents {
                generation,
                ..found.contents
            },
            tail: again.tail.and(found.tail),
            is_half: false,
        };
        assert_eq!(again, expected);
        assert_eq!(again.tail, found.tail);
        true
    });
}

/// A new log is made from a damaged one, on the real disk, or better in memory. It can be opened, and has every frame that is whole, or says that it is lost.
#[test]
fn salvaged_logs() {
    let log = whole_log();
    let whole = replayed(&log).1.unwrap();
    let memory = PathBuf::from("/dev/shm");
    let memory = Some(memory)
        .filter(|m| m.is_dir())
        .unwrap_or_else(std::env::temp_dir);
    let target = Target {
        seeds: seeds(&log),
        seal: &sealed_file,
        bytes_max: 512 << 20,
        ..Target::default()
    };
    target.run(|input| {
        let Some((files, path)) = changed(&log, input) else {
            return false;
        };
        let folder = tempfile::tempdir_in(&memory).unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        for (file, bytes) in &files {
            std::fs::write(from.join(file.file_name().unwrap()), bytes).unwrap();
        }
        let Ok(salvaged) = salvage(&from, &to, b"state") else {
            return false;
        };
        let (_, replay) = open(config(&to), Arc::new(RealDisk)).unwrap();
        let frames: Vec<Frame> = replay.map(Result::unwrap).collect();
        for pair in frames.windows(2) {
            assert_eq!(pair[1].offset, pair[0].offset.next());
        }
        let (notes, frames): (Vec<Frame>, Vec<Frame>) = frames
            .into_iter()
            .partition(|f| *f.payload == *b"{\"lost\":true}");
        assert_eq!(frames.len() as u64, salvaged.frames);
        if is_genuine(&log, &path, &files[&path]) {
            assert!(frames.iter().all(|frame| whole.contains(frame)));
            let count = |l: &Lost| l.last.get() - l.first.get() + 1;
            let lost: u64 = salvaged.lost.iter().map(count).sum();
            assert_eq!(frames.len() as u64 + lost, FRAMES, "{:?}", salvaged.lost);
            assert!(notes.len() as u64 <= lost);
        }
        true
    });
}

#[test]
fn parked_rows() {
    let uuid = uuid::Uuid::from_u128(1);
    let path = Path::new(DIR).join("parked/7.rows");
    let aside = |disk: &MemoryDisk| Aside::new(Path::new(DIR), uuid, Arc::new(disk.clone()));
    let written = |body: &[u8], has_frames| {
        let disk = MemoryDisk::default();
        aside(&disk).write(7, body, has_frames).unwrap();
        disk.files()[&path].clone()
    };
    let target = Target {
        seeds: vec![written(b"some rows", false), written(b"", true)],
        seal: &|input| {
            let mut out = input.to_vec();
            seal(&mut out);
            out
        },
        bytes_max: 1 << 20,
        ..Target::default()
    };
    target.run(|input| {
        let disk = MemoryDisk::default();
        disk.put(&path, input.to_vec());
        let [(7, body)] = &aside(&disk).read_all().unwrap()[..] else {
            panic!("not one body");
        };
        let Ok(body) = body else {
            return false;
        };
        let again = MemoryDisk::default();
        aside(&again).write(7, body, true).unwrap();
        assert_eq!(aside(&again).read(7).unwrap(), *body);
        true
    });
}

#[test]
fn indexes_of_files() {
    let path = PathBuf::from("/x.index");
    let index = |disk: &MemoryDisk| FileIndex::new(path.clone(), Arc::new(disk.clone()));
    let disk = MemoryDisk::default();
    let entries = BTreeMap::from([("7".to_owned(), vec![1u32, 2]), ("8".to_owned(), vec![3])]);
    index(&disk).write(&entries, true).unwrap();
    let target = Target {
        seeds: vec![disk.files()[&path].clone()],
        seal: &|input| {
            let mut out = input.to_vec();
            if out.len() >= 8 {
                seal(&mut out);
            }
            out
        },
        words: &["[", "]", "{", "}", "\"", "\\u0000", "null"],
        bytes_max: 1 << 20,
        ..Target::default()
    };
    target.run(|input| {
        let disk = MemoryDisk::default();
        disk.put(&path, input.to_vec());
        let Ok(entries) = index(&disk).entries::<Vec<u32>>() else {
            return false;
        };
        index(&disk).write(&entries, false).unwrap();
        assert_eq!(index(&disk).entries().as_ref(), Ok(&entries));
        true
    });
}
