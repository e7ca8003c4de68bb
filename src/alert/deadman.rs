//! Who has fallen silent: what `last_seen` tells at each look, held against the looks before. Pure.
//!
//! A key is heard when a source's number rises, a source is new, or its newest row is newer: what rises, not what time it
//! shows. So neither a device whose clock is in 2099 nor a server's clock that was put back hides a silence or makes one, and
//! silence is counted by the time for which a server looked.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::machine::{Columns, Found, Identity};
use super::message::time;
use crate::clock::Micros;

/// One row of `last_seen`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub identity: Identity,
    /// Empty where the table has no system columns.
    pub source: String,
    pub seq: Option<i64>,
    /// Newest arrival, or event time.
    pub last_row: Option<Micros>,
}

#[derive(Debug, Default)]
struct Key {
    seqs: BTreeMap<String, Option<i64>>,
    last_row: Option<Micros>,
    /// When it was heard last, by the looks' own time.
    heard: Micros,
}

/// What the looks so far have told. In memory only: after a start, silence begins with the first look.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    keys: HashMap<Identity, Key>,
    begun: bool,
}

impl Tracker {
    /// The keys that were silent for `silence`, at `now` by the looks' time. `firing`: those that were before a restart stay
    /// silent until they are heard.
    pub(super) fn look(
        &mut self,
        rows: Vec<Seen>,
        now: Micros,
        silence: Micros,
        firing: &BTreeSet<Identity>,
    ) -> Found {
        let first = !std::mem::replace(&mut self.begun, true);
        let mut there: HashMap<Identity, Key> = HashMap::new();
        for row in rows {
            let before = self.keys.get(&row.identity);
            let mut heard = match before {
                Some(key) => key.heard,
                None if first && firing.contains(&row.identity) => now.saturating_sub(silence),
                None => now,
            };
            if let Some(key) = before {
                let number = key.seqs.get(&row.source);
                let rises = number.is_none_or(|n| row.seq > *n) || row.last_row > key.last_row;
                if rises {
                    heard = now;
                }
            }
            let key = there.entry(row.identity).or_insert_with(|| Key {
                heard,
                ..Key::default()
            });
            key.heard = key.heard.max(heard);
            key.last_row = key.last_row.max(row.last_row);
            key.seqs.insert(row.source, row.seq);
        }
        self.keys = there;
        let silent = self.keys.iter().filter(|(_, k)| now - k.heard >= silence);
        Found(
            silent
                .map(|(identity, key)| {
                    let mut values = Columns::new();
                    values.insert(
                        "last_row".to_owned(),
                        key.last_row.map_or(Value::Null, |at| json!(time(at))),
                    );
                    let seconds = (now - key.heard) / 1_000_000;
                    values.insert("silent_seconds".to_owned(), json!(seconds));
                    (identity.clone(), values)
                })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Micros = 1_000_000;

    fn row(key: &str, seq: i64, last_row: Micros) -> Seen {
        Seen {
            identity: key.to_owned(),
            source: "p".to_owned(),
            seq: Some(seq),
            last_row: Some(last_row),
        }
    }

    fn silent(found: &Found) -> Vec<&str> {
        found.0.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_clock_in_2099_hides_no_silence_and_a_clock_put_back_makes_none() {
        let mut tracker = Tracker::default();
        let none = BTreeSet::new();
        let year = 365 * 86_400 * S;
        tracker.look(
            vec![row("good", 1, 0), row("2099", 1, 70 * year)],
            0,
            30 * S,
            &none,
        );
        // `good` sends on while the server's clock goes back; the other says no more.
        for n in 1..6 {
            let rows = vec![row("good", 1 + n, -n * year), row("2099", 1, 70 * year)];
            let found = tracker.look(rows, n * 10 * S, 30 * S, &none);
            assert_eq!(
                silent(&found),
                if n < 3 { vec![] } else { vec!["2099"] },
                "{n}"
            );
        }
    }

    #[test]
    fn a_start_makes_nobody_silent_and_leaves_silent_who_was() {
        let firing = BTreeSet::from(["b".to_owned()]);
        let mut tracker = Tracker::default();
        let rows = || vec![row("a", 5, 5), row("b", 5, 5)];
        let found = tracker.look(rows(), 1000 * S, 30 * S, &firing);
        assert_eq!(silent(&found), ["b"]);
        let found = tracker.look(
            vec![row("a", 5, 5), row("b", 6, 6)],
            1010 * S,
            30 * S,
            &firing,
        );
        assert!(found.0.is_empty());
        // Another source of the same key is the key, too.
        let other = Seen {
            source: "q".to_owned(),
            ..row("a", 1, 5)
        };
        let found = tracker.look(
            vec![row("a", 5, 5), other.clone(), row("b", 6, 6)],
            1025 * S,
            30 * S,
            &firing,
        );
        assert!(found.0.is_empty());
        let found = tracker.look(
            vec![row("a", 5, 5), other, row("b", 7, 7)],
            1045 * S,
            30 * S,
            &firing,
        );
        assert!(found.0.is_empty(), "heard 20 seconds ago by q");
        // Whose rows are all gone is not known any more.
        let found = tracker.look(vec![row("b", 7, 7)], 2000 * S, 30 * S, &firing);
        assert_eq!(silent(&found), ["b"]);
    }

    proptest! {
        /// Silent is who has sent nothing between the looks of the last `silence`.
        #[test]
        fn silent_is_who_sent_nothing_for_so_long(sends in prop::collection::vec(any::<[bool; 2]>(), 1..30), silence in 1i64..8) {
            let mut tracker = Tracker::default();
            let (mut seqs, mut heard) = ([0i64; 2], [0i64; 2]);
            for (at, which) in (0i64..).zip(sends) {
                for k in 0..2 {
                    if which[k] || at == 0 {
                        seqs[k] += 1;
                        heard[k] = at;
                    }
                }
                let rows = vec![row("0", seqs[0], 0), row("1", seqs[1], 0)];
                let found = tracker.look(rows, at * S, silence * S, &BTreeSet::new());
                for (k, name) in ["0", "1"].iter().enumerate() {
                    prop_assert_eq!(found.0.contains_key(*name), at - heard[k] >= silence);
                }
            }
        }
    }
}
