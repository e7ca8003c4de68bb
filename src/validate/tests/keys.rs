//! What is remembered of the keys of earlier rows.

use super::*;

proptest! {
    /// Batches one after another, with any number of rows that are out for other reasons: a key is in the table once, an equal
    /// row again is a duplicate, another one under the key is rejected.
    #[test]
    fn keys_follow_a_map(batches in prop::collection::vec(prop::collection::vec((0i64..6, 0u8..4), 1..12), 1..8)) {
        let contract = ruled("{ column = \"b\", min = 0, max = 2 }, { unique = [\"a\"] }");
        let validator = Validator::new(Arc::new(contract));
        let mut keys = Keys::new(1000);
        let mut model: HashMap<i64, u8> = HashMap::new();
        for rows in batches {
            let b: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|(_, b)| f64::from(*b))));
            let sent = RecordBatch::try_from_iter([("a", long(rows.iter().map(|(a, _)| Some(*a)))), ("b", b)]).unwrap();
            let origin = Origin { ingest_ts: NOW, source: &Source::new("p"), seq: 1 };
            let scope = Scope { keys: Some(&keys), ..scope() };
            let judged = validator.judge(&sent, &origin, &References::new(), scope).unwrap();
            let (applied, verdict, additions) = judged.into_parts();
            keys.add(additions);
            let (mut accepted, mut duplicates) = (0, 0);
            for (a, b) in rows.iter().filter(|(_, b)| *b <= 2) {
                match model.get(a) {
                    None => { model.insert(*a, *b); accepted += 1; }
                    Some(known) if known == b => duplicates += 1,
                    Some(_) => {}
                }
            }
            prop_assert_eq!(applied.into_sides().0.map_or(0, |rows| rows.num_rows()), accepted);
            prop_assert_eq!(verdict.accepted(), accepted as u64);
            prop_assert_eq!(verdict.duplicate_count(), duplicates);
        }
    }
}

/// What is remembered of keys is bounded for every kind of rule, and what it cannot say any more is counted.
#[test]
fn keys_beyond_the_bound_are_let_go_of_and_counted_as_unchecked() {
    for rule in [
        "{ unique = [\"a\"] }",
        "{ column = \"b\", monotonic_by = [\"a\"] }",
    ] {
        let contract = ruled(rule);
        let name = format!("unchecked:{}", contract.rules[0].name);
        let validator = Validator::new(Arc::new(contract));
        let mut keys = Keys::new(100);
        let mut unchecked = 0;
        for first in [0, 100, 200] {
            let b: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 100]));
            let a = long((first..first + 100).map(Some));
            let sent = RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap();
            let origin = Origin {
                ingest_ts: NOW,
                source: &Source::new("p"),
                seq: 1,
            };
            let scope = Scope {
                keys: Some(&keys),
                ..scope()
            };
            let judged = validator
                .judge(&sent, &origin, &References::new(), scope)
                .unwrap();
            let (_, verdict, additions) = judged.into_parts();
            assert_eq!(verdict.accepted(), 100);
            unchecked += verdict.warned.get(&name).copied().unwrap_or(0);
            keys.add(additions);
            assert!(keys.len() <= 100, "{rule}: {}", keys.len());
        }
        assert_eq!(
            unchecked, 100,
            "{rule}: of the third hundred nothing is certain"
        );
    }
}

#[test]
fn a_key_of_floats_has_one_nan_and_one_zero() {
    let nan = f64::NAN;
    let other = f64::from_bits(0xfff8_0000_0000_0001);
    let column: ArrayRef = Arc::new(Float64Array::from(vec![nan, -nan, other, 0.0, -0.0, 1.0]));
    let hashes = key_hashes(&[column]).unwrap();
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[0], hashes[2]);
    assert_eq!(hashes[3], hashes[4]);
    let different: std::collections::HashSet<u128> = hashes.into_iter().collect();
    assert_eq!(different.len(), 3);
}
