//! The small files of the log as they stand on disk; those of frames are in `records`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::manifest::{Contents, Tail};
use super::segment::Header;
use super::*;
use crate::stored_form::{is_stored_as, stored};

const UUID: [u8; 16] = *b"uuid of this log";

#[test]
fn a_manifests_parts_have_their_form() {
    let contents = Contents {
        uuid: UUID,
        generation: 9,
        oldest: 3,
        oldest_first: Lsn::new(200),
        newest: 5,
        newest_first: Lsn::new(400),
        newest_crc: 0xDEAD_BEEF,
    };
    is_stored_as("manifest.contents", &contents.encode());
    assert_eq!(
        Contents::parse(&stored("manifest.contents")),
        Some(contents)
    );
    let tail = Tail {
        segment: 5,
        offset: Lsn::new(417),
        position: 8192,
        chain: 77,
    };
    is_stored_as("manifest.tail", &tail.encode(UUID));
    assert_eq!(Tail::parse(&stored("manifest.tail"), UUID), Some(tail));
}

#[test]
fn a_segments_header_has_its_form_with_a_manifest_and_without() {
    for (name, has_manifest) in [("segment.header", true), ("segment.header.first", false)] {
        let header = Header {
            uuid: UUID,
            number: 5,
            first: Lsn::new(400),
            bytes: 1 << 20,
            chain: 76,
            has_manifest,
        };
        let (bytes, crc) = header.encode();
        is_stored_as(name, &bytes);
        assert_eq!(Header::parse(&stored(name)), Some((header, crc)));
    }
}

#[test]
fn an_index_and_files_beside_the_log_have_their_form() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let index = |path: &Path| FileIndex::new(path.to_owned(), Arc::new(RealDisk));
    let entries = BTreeMap::from([("a.one".to_owned(), 3u64), ("a.two".to_owned(), 1)]);
    let written = index(&dir.path().join("some.index"));
    written.write(&entries, true).unwrap();
    is_stored_as("files.index", &file("some.index"));
    std::fs::write(dir.path().join("older.index"), stored("files.index")).unwrap();
    assert_eq!(
        index(&dir.path().join("older.index")).entries(),
        Ok(entries)
    );

    let bodies = [
        (7, b"rows".to_vec(), false),
        (8, b"rows and frames".to_vec(), true),
    ];
    let log = uuid::Uuid::from_bytes(UUID);
    let aside = Aside::new(dir.path(), log, Arc::new(RealDisk));
    for (number, body, has_frames) in &bodies {
        aside.write(*number, body, *has_frames).unwrap();
        is_stored_as(
            &format!("parked.{number}"),
            &file(&format!("parked/{number}.rows")),
        );
    }
    is_stored_as("parked.index", &file("parked.index"));
    let older = tempfile::tempdir().unwrap();
    std::fs::create_dir(older.path().join("parked")).unwrap();
    std::fs::write(older.path().join("parked.index"), stored("parked.index")).unwrap();
    for number in [7, 8] {
        let rows = older.path().join(format!("parked/{number}.rows"));
        std::fs::write(rows, stored(&format!("parked.{number}"))).unwrap();
    }
    let read = Aside::new(older.path(), log, Arc::new(RealDisk))
        .read_all()
        .unwrap();
    let read = read
        .into_iter()
        .map(|(number, body)| (number, body.unwrap()));
    let kept = bodies.into_iter().map(|(number, body, _)| (number, body));
    assert!(read.eq(kept));
}
