//! One file of the log's folder is damaged: it is refused by name, or everything is there. Never less.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Place};
use super::segment::Header;
use super::tests::{append, config, data, seqs, start};
use super::*;

/// A log of 20 frames in several segments, as a crash leaves it: nobody closed it.
async fn crashed(dir: &Path) -> LogConfig {
    let config = config(dir);
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    for seq in 1..=20 {
        append(&log, seq, vec![u8::try_from(seq).unwrap(); 700])
            .await
            .unwrap();
    }
    config
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_file())
        .collect();
    files.sort();
    files
}

/// The frames, or the text of the refusal. Opens a copy, because opening cuts a torn tail.
fn replayed(dir: &Path) -> Result<Vec<u64>, String> {
    let copy = tempfile::tempdir().unwrap();
    for file in files(dir) {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    let (_, replay) = open(config(copy.path()), Arc::new(RealDisk)).map_err(|e| e.to_string())?;
    let frames = replay.collect::<Result<Vec<_>, _>>().unwrap();
    Ok(seqs(&frames))
}

fn is_told_or_whole(dir: &Path, file: &Path, what: &str, whole: &[u64]) {
    match replayed(dir) {
        Ok(frames) => assert_eq!(frames, whole, "{what} of {}", file.display()),
        Err(text) => assert!(
            text.contains("manifest") || text.contains(".log"),
            "{what} of {}: {text}",
            file.display()
        ),
    }
}

#[tokio::test]
async fn a_changed_cut_emptied_or_removed_file_is_told_or_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path()).await;
    let whole: Vec<u64> = (1..=20).collect();
    assert_eq!(replayed(dir.path()).unwrap(), whole);
    assert!(files(dir.path()).len() >= 5);
    for file in files(dir.path()) {
        let bytes = fs::read(&file).unwrap();
        let used = bytes.len() - bytes.iter().rev().take_while(|b| **b == 0).count();
        // Every byte of headers, and places in between.
        for at in (0..used).filter(|at| *at < 220 || at % 37 == 0) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            fs::write(&file, &changed).unwrap();
            is_told_or_whole(dir.path(), &file, &format!("byte {at}"), &whole);
            if at % 5 == 0 {
                fs::write(&file, &bytes[..at]).unwrap();
                is_told_or_whole(dir.path(), &file, &format!("the first {at} bytes"), &whole);
            }
        }
        fs::remove_file(&file).unwrap();
        let text = replayed(dir.path()).unwrap_err();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(text.contains(name), "{text}");
        fs::write(&file, &bytes).unwrap();
    }
    assert_eq!(replayed(dir.path()).unwrap(), whole);
}

#[tokio::test]
async fn an_older_copy_of_any_file_is_told_or_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    let mut older: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for seq in 1..=20 {
        let copies = files(dir.path()).into_iter().map(|file| {
            let bytes = fs::read(&file).unwrap();
            (file, bytes)
        });
        older.extend(copies.collect::<Vec<_>>());
        append(&log, seq, vec![1; 700]).await.unwrap();
    }
    let whole: Vec<u64> = (1..=20).collect();
    for (file, bytes) in older {
        let newest = fs::read(&file).unwrap();
        fs::write(&file, &bytes).unwrap();
        is_told_or_whole(dir.path(), &file, "an older copy", &whole);
        fs::write(&file, newest).unwrap();
    }
}

#[tokio::test]
async fn a_segment_of_another_log_is_told() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    crashed(one.path()).await;
    crashed(other.path()).await;
    for number in 1..=4 {
        let file = segment::path(one.path(), number);
        let ours = fs::read(&file).unwrap();
        fs::copy(segment::path(other.path(), number), &file).unwrap();
        let text = replayed(one.path()).unwrap_err();
        assert!(text.contains("another log"), "{text}");
        fs::write(&file, ours).unwrap();
    }
    fs::copy(manifest::path(other.path()), manifest::path(one.path())).unwrap();
    let text = replayed(one.path()).unwrap_err();
    assert!(text.contains("another log"), "{text}");
}

#[tokio::test]
async fn what_a_crash_leaves_around_the_beginning_of_a_segment_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let config = crashed(dir.path()).await;
    let whole: Vec<u64> = (1..=20).collect();
    let newest = files(dir.path())
        .iter()
        .filter_map(|f| segment::number_of(f))
        .max()
        .unwrap();
    let next = segment::path(dir.path(), newest + 1);
    // Made and not written; written in part, over the bytes of a recycled segment.
    fs::write(&next, [0; 100]).unwrap();
    assert_eq!(replayed(dir.path()).unwrap(), whole);
    fs::copy(segment::path(dir.path(), 1), &next).unwrap();
    assert_eq!(replayed(dir.path()).unwrap(), whole);
    fs::remove_file(&next).unwrap();
    // Whole, and not in the manifest yet.
    let before = fs::read(manifest::path(dir.path())).unwrap();
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    fs::write(manifest::path(dir.path()), before).unwrap();
    assert_eq!(replayed(dir.path()).unwrap(), whole);
    drop(log);
    // Let go of by the manifest, and not removed.
    let (log, _) = start(&config, Arc::new(RealDisk)).unwrap();
    let first = fs::read(segment::path(dir.path(), 1)).unwrap();
    log.trim(Lsn::new(10));
    append(&log, 21, vec![1; 10]).await.unwrap();
    append(&log, 22, vec![1; 10]).await.unwrap();
    log.close().await.unwrap();
    fs::write(segment::path(dir.path(), 1), first).unwrap();
    let frames = replayed(dir.path()).unwrap();
    assert!(frames[0] > 1 && frames[0] <= 11, "{frames:?}");
    assert_eq!(frames.last(), Some(&22));
}

/// Frames of one segment, as a server without manifests wrote them. `groups`: how many frames each group has.
fn by_hand(groups: &[u64]) -> (Vec<u8>, Vec<std::ops::Range<usize>>) {
    let header = Header {
        uuid: [7; 16],
        number: 1,
        first: Lsn::new(1),
        bytes: 4096,
        chain: 0,
        has_manifest: false,
    };
    let (head, mut chain) = header.encode();
    let mut out = head.to_vec();
    let mut put = |out: &mut Vec<u8>, frame: &NewFrame, offset, group_start| {
        let place = Place {
            uuid: header.uuid,
            segment: 1,
            offset: Lsn::new(offset),
            group_start: Lsn::new(group_start),
            chain,
        };
        let begin = out.len();
        chain = frame::encode_header(frame, &place, out);
        out.extend_from_slice(&frame.payload.head);
        begin..out.len()
    };
    let state = NewFrame {
        kind: FrameKind::Checkpoint,
        ..data(0, b"state".to_vec())
    };
    put(&mut out, &state, 0, 0);
    let mut places = Vec::new();
    let mut offset = 1;
    for group in groups {
        for in_group in 0..*group {
            let frame = data(offset, vec![9; 50]);
            places.push(put(&mut out, &frame, offset, offset - in_group));
            offset += 1;
        }
    }
    out.resize(4096, 0);
    (out, places)
}

#[test]
fn a_bad_frame_is_a_torn_tail_if_its_group_is_the_last_and_damage_if_a_later_group_was_begun() {
    let dir = tempfile::tempdir().unwrap();
    let file = segment::path(dir.path(), 1);
    let (bytes, places) = by_hand(&[3, 3]);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(replayed(dir.path()).unwrap(), [1, 2, 3, 4, 5, 6]);
    for (index, place) in places.iter().enumerate() {
        let mut changed = bytes.clone();
        changed[place.end - 1] ^= 1;
        fs::write(&file, &changed).unwrap();
        let number = index as u64 + 1;
        match replayed(dir.path()) {
            Err(text) if number <= 3 => assert!(
                text.contains(&format!("offset={number}, byte={}", place.start)),
                "{text}"
            ),
            Ok(frames) if number > 3 => assert_eq!(frames, (1..number).collect::<Vec<_>>()),
            other => panic!("frame {number}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_log_without_a_manifest_is_read_and_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, _) = by_hand(&[3, 3]);
    fs::write(segment::path(dir.path(), 1), &bytes).unwrap();
    let (log, frames) = start(&config(dir.path()), Arc::new(RealDisk)).unwrap();
    assert_eq!(seqs(&frames), [1, 2, 3, 4, 5, 6]);
    append(&log, 7, vec![1; 10]).await.unwrap();
    log.close().await.unwrap();
    assert_eq!(replayed(dir.path()).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
    fs::remove_file(segment::path(dir.path(), 1)).unwrap();
    let text = replayed(dir.path()).unwrap_err();
    assert!(text.contains("it is missing"), "{text}");
    fs::write(segment::path(dir.path(), 1), &bytes).unwrap();
    fs::remove_file(manifest::path(dir.path())).unwrap();
    let text = replayed(dir.path()).unwrap_err();
    assert!(
        text.contains("manifest") && text.contains("it is missing"),
        "{text}"
    );
}

#[test]
fn segments_that_a_server_without_manifests_wrote_are_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wal/fixtures/without_manifest");
    let dir = tempfile::tempdir().unwrap();
    for file in files(&fixture) {
        fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    assert!(files(dir.path()).len() >= 2);
    let (_, mut replay) = open(config(dir.path()), Arc::new(RealDisk)).unwrap();
    assert!(replay.take_checkpoint().is_some());
    let frames = replay.collect::<Result<Vec<_>, _>>().unwrap();
    let rows = frames.iter().filter(|f| f.kind == FrameKind::Data);
    let seqs: Vec<(&str, u64)> = rows.map(|f| (&*f.producer, f.seq)).collect();
    let expected: Vec<(&str, u64)> = (1..=40).map(|seq| ("edge-1", seq)).collect();
    assert_eq!(seqs, expected);
    assert_eq!(frames[0].kind, FrameKind::Create);
}

#[tokio::test]
async fn a_salvaged_log_has_every_whole_frame_and_names_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path()).await;
    let numbers: Vec<u64> = files(dir.path())
        .iter()
        .filter_map(|f| segment::number_of(f))
        .collect();
    let salvaged = |what: &str| {
        let to = tempfile::tempdir().unwrap();
        let done = salvage(dir.path(), to.path(), b"nothing").unwrap();
        let frames = replayed(to.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
        let frames: Vec<u64> = frames.into_iter().filter(|seq| *seq > 0).collect();
        let lost = done.lost.iter().map(|l| (l.first.get(), l.last.get()));
        (frames, lost.collect::<Vec<_>>(), done)
    };
    let (frames, lost, _) = salvaged("whole");
    assert_eq!((frames.len(), lost.len()), (20, 0));
    for number in numbers {
        let file = segment::path(dir.path(), number);
        let bytes = fs::read(&file).unwrap();
        // A frame in the middle.
        let (_, parsed) = frame::find_frame(&bytes, 1100, |_| true).unwrap();
        let gone = parsed.place.offset.get();
        let at = bytes
            .windows(4)
            .enumerate()
            .skip(1100)
            .find(|(_, w)| *w == b"DPF1");
        let mut changed = bytes.clone();
        changed[at.unwrap().0 + 50] ^= 1;
        fs::write(&file, &changed).unwrap();
        let (frames, lost, _) = salvaged("a frame");
        assert_eq!(lost, [(gone, gone)]);
        assert_eq!(frames, (1..=20).filter(|s| *s != gone).collect::<Vec<_>>());
        // The header alone: nothing is lost.
        let mut changed = bytes.clone();
        changed[30] ^= 1;
        fs::write(&file, &changed).unwrap();
        let (frames, lost, _) = salvaged("the header");
        assert_eq!((frames.len(), lost.len()), (20, 0), "segment {number}");
        // All of it.
        fs::remove_file(&file).unwrap();
        let (frames, lost, done) = salvaged("a segment");
        let count: u64 = lost.iter().map(|(first, last)| last - first + 1).sum();
        assert_eq!(
            frames.len() as u64 + count,
            20,
            "segment {number}: {lost:?}"
        );
        assert_eq!(done.frames, frames.len() as u64);
        fs::write(&file, &bytes).unwrap();
    }
    fs::write(manifest::path(dir.path()), b"").unwrap();
    let (frames, lost, _) = salvaged("without a manifest");
    assert_eq!((frames.len(), lost.len()), (20, 0));
}

/// A segment whose state and frames have these offsets, under checksums that fit.
fn made_up(state: u64, offsets: &[u64]) -> Vec<u8> {
    let header = Header {
        uuid: [7; 16],
        number: 1,
        first: Lsn::new(1),
        bytes: 4096,
        chain: 0,
        has_manifest: false,
    };
    let (head, mut chain) = header.encode();
    let mut out = head.to_vec();
    let frames = offsets.iter().map(|o| (FrameKind::Data, *o));
    for (kind, offset) in [(FrameKind::Checkpoint, state)].into_iter().chain(frames) {
        let frame = NewFrame {
            kind,
            ..data(offset, vec![9; 50])
        };
        let place = Place {
            uuid: header.uuid,
            segment: 1,
            offset: Lsn::new(offset),
            group_start: Lsn::new(offset),
            chain,
        };
        chain = frame::encode_header(&frame, &place, &mut out);
        out.extend_from_slice(&frame.payload.head);
    }
    out.resize(4096, 0);
    out
}

/// What a log of this one segment is salvaged to.
fn salvaged_to(segment: &[u8]) -> Result<Vec<u64>, Error> {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(segment::path(from.path(), 1), segment).unwrap();
    salvage(from.path(), to.path(), b"state")?;
    Ok(replayed(to.path()).unwrap())
}

#[test]
fn an_offset_that_was_made_up_does_not_become_as_many_lost_frames() {
    assert_eq!(salvaged_to(&made_up(0, &[1, 2, 4])).unwrap(), [1, 2, 0, 4]);
    for offset in [1 << 20, 1 << 40, u64::MAX] {
        let error = salvaged_to(&made_up(0, &[1, 2, offset])).unwrap_err();
        assert!(error.to_string().contains("have room for"), "{error}");
    }
}

#[test]
fn a_state_whose_offset_was_made_up_does_not_put_frames_in_another_order() {
    assert_eq!(salvaged_to(&made_up(2, &[1, 2, 3])).unwrap(), [3]);
    // Nor does the next segment's.
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let second = Header {
        number: 2,
        ..Header::parse(&made_up(0, &[])).unwrap().0
    };
    let mut bytes = second.encode().0.to_vec();
    let place = |offset: u64| Place {
        uuid: second.uuid,
        segment: 2,
        offset: Lsn::new(offset),
        group_start: Lsn::new(offset),
        chain: 0,
    };
    let state = NewFrame {
        kind: FrameKind::Checkpoint,
        ..data(0, b"state".to_vec())
    };
    for (frame, offset) in [
        (state, 1),
        (data(2, vec![9; 50]), 2),
        (data(3, vec![9; 50]), 3),
    ] {
        frame::encode_header(&frame, &place(offset), &mut bytes);
        bytes.extend_from_slice(&frame.payload.head);
    }
    fs::write(segment::path(from.path(), 1), made_up(2, &[])).unwrap();
    fs::write(segment::path(from.path(), 2), bytes).unwrap();
    salvage(from.path(), to.path(), b"state").unwrap();
    assert_eq!(replayed(to.path()).unwrap(), [3]);
}

#[test]
fn a_manifest_of_the_last_generation_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let contents = manifest::Contents {
        generation: u64::MAX,
        ..manifest::Contents::new([7; 16])
    };
    for _ in 0..2 {
        manifest::ManifestFile::begin(&RealDisk, dir.path(), contents, None).unwrap();
        let read = manifest::Manifest::read(&RealDisk, dir.path()).unwrap();
        assert_eq!(read.map(|m| m.contents), Some(contents));
    }
}
