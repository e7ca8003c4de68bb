//! Changed bytes of an alert's file.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::store::{Kept, Store};
use crate::fuzz_tests::{MemoryDisk, Target, assert_same};

/// An alert that fires, whose webhook does not know it yet.
fn kept() -> Kept {
    let values = json!({"id": "R1", "at": 99.5});
    let instance = json!({
        "phase": "firing", "since": 5, "seen_since": 3, "clear_since": 4, "fired_at": 5, "resolved_at": null, "values": values,
        "news": {"number": 1, "firing": true, "values": values, "starts_at": 5, "ends_at": null},
        "told": {"ops": {"number": 0, "delivered": 0, "failed": 2}},
    });
    let declaration = crate::dataset::AlertDeclaration::new(
        crate::types::TableName::new("a", "one").unwrap(),
        crate::dataset::Watched::Query {
            sql: "SELECT 1".to_owned(),
        },
    );
    let kept = json!({
        "declaration": declaration, "reads": ["a.t"], "principal": "p", "created": 5, "paused": false, "dropped": false,
        "state": {"seen": 7, "numbers": 1, "instances": {"[\"R1\"]": instance}},
    });
    serde_json::from_value(kept).unwrap()
}

#[test]
fn files_of_alerts() {
    let path = Path::new("/data/alerts/a.one.alert");
    let store = |disk: &MemoryDisk| Store::new(Path::new("/data"), Arc::new(disk.clone()));
    let disk = MemoryDisk::default();
    store(&disk).write(&kept()).unwrap();
    let target = Target {
        seeds: vec![disk.files()[path].clone()],
        seal: &|input| {
            let mut out = input.to_vec();
            if let Some((head, body)) = out.split_first_chunk_mut::<8>() {
                head[4..].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
            }
            out
        },
        words: &[
            "null",
            "\"",
            "{",
            "}",
            "[",
            "]",
            "\\u0000",
            "\"pending\"",
            "\"resolved\"",
            "\"deadman\"",
            "a.\"b\"",
            "1e999",
        ],
        ..Target::default()
    };
    target.run(|input| {
        let disk = MemoryDisk::of(&BTreeMap::from([(path.to_owned(), input.to_vec())]));
        let (good, bad) = store(&disk).read_all();
        assert_eq!(good.len() + bad.len(), 1);
        let [kept] = &good[..] else {
            return false;
        };
        let again = MemoryDisk::default();
        store(&again).write(kept).unwrap();
        let (read, _) = store(&again).read_all();
        assert_eq!(read.len(), 1);
        assert_same(kept, &read[0]);
        true
    });
}
