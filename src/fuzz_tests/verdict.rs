//! Verdicts, as a frame of the log holds them.

use std::collections::BTreeMap;

use super::{Target, assert_same};
use crate::validate::{Cell, Rejected, Verdict};

fn seeds() -> Vec<Vec<u8>> {
    let rejected = |row| Rejected {
        row,
        rules: vec!["range:at".to_owned(), "enum:s".to_owned()],
        reason: "at = 99.5 is outside of -10 to 60".to_owned(),
        column: "at".to_owned(),
        value: "99.5".to_owned(),
    };
    let full = Verdict {
        rows: 10,
        rejected: vec![rejected(1), rejected(9)],
        nulled: vec![Cell::new(3, 4, None, "range:n")],
        clamped: vec![Cell::new(2, 3, Some(100.25), "range:v")],
        duplicates: vec![0, 5],
        warned: BTreeMap::from([("range:w".to_owned(), 7)]),
    };
    let one = |verdict: Verdict| Verdict {
        rows: 17,
        ..verdict
    };
    let same_rule = Verdict {
        nulled: vec![Cell::new(3, 4, None, "range:n")],
        warned: BTreeMap::from([("range:n".to_owned(), 7)]),
        ..Verdict::empty()
    };
    let duplicates = Verdict {
        duplicates: vec![3, 4],
        ..Verdict::empty()
    };
    let warned = Verdict {
        warned: BTreeMap::from([("range:w".to_owned(), 7)]),
        ..Verdict::empty()
    };
    let clamped = Verdict {
        clamped: vec![Cell::new(2, 3, Some(-0.5), "range:v")],
        ..Verdict::empty()
    };
    let others = [same_rule, duplicates, warned, clamped, Verdict::empty()].map(one);
    let all = [full, Verdict::empty()].into_iter().chain(others);
    let encoded = all.map(|verdict| {
        let bytes = verdict.encode();
        assert_eq!(Verdict::decode(&bytes).as_ref(), Ok(&verdict));
        bytes
    });
    encoded.collect()
}

#[test]
fn verdicts() {
    // A rule is broken once more than 64 bits can count.
    let kept = b"\x01\x11\0\0\0{\"rejected\":[],\"nulled\":[{\"row\":3,\"column\":4,\"bound\":null,\"rule\":\"range:n\"}],\"clamped\":[],\"duplicates\":[],\"warned\":{\"range:n\":18446744073709551615}}";
    let target = Target {
        kept: &[kept],
        seeds: seeds(),
        words: &["null", "{}", "[]", "\"", "range:n", "\\ud800", "1e999"],
        ..Target::default()
    };
    target.run(|input| {
        let Ok(verdict) = Verdict::decode(input) else {
            return false;
        };
        let rows = verdict.accepted() + verdict.quarantined() + verdict.duplicate_count();
        assert!(rows >= u64::from(verdict.rows));
        verdict.violations();
        assert_same(&verdict, &Verdict::decode(&verdict.encode()).unwrap());
        true
    });
}
