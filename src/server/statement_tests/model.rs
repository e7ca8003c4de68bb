//! Random statements over a table of (k, v, s), and what each of them makes of the table's rows in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

pub(in crate::server) type Row = (i64, Option<i64>, String);

#[derive(Clone, Debug)]
pub(in crate::server) enum Condition {
    Below(i64),
    Key(i64, i64),
    Text(&'static str),
    Null,
    All,
    InOther(i64),
}

impl Condition {
    fn sql(&self) -> String {
        match self {
            Condition::Below(n) => format!("V < {n}"),
            Condition::Key(m, r) => format!("x.k % {m} = {r}"),
            Condition::Text(t) => format!("s = '{t}'"),
            Condition::Null => "v IS NULL".to_owned(),
            Condition::All => "TRUE".to_owned(),
            Condition::InOther(n) => {
                format!("x.k IN (SELECT k + 1 FROM (VALUES ({n}), ({n} + 2)) AS o (k))")
            }
        }
    }

    fn holds(&self, (k, v, s): &Row) -> bool {
        match self {
            Condition::Below(n) => v.is_some_and(|v| v < *n),
            Condition::Key(m, r) => k % m == *r,
            Condition::Text(t) => s == t,
            Condition::Null => v.is_none(),
            Condition::All => true,
            Condition::InOther(n) => *k == n + 1 || *k == n + 3,
        }
    }
}

#[derive(Clone, Debug)]
pub(in crate::server) enum Step {
    Insert(Vec<Row>),
    Flush,
    Delete(Condition),
    Add(i64, Condition),
    Move(&'static str, Condition),
    Merge {
        source: BTreeMap<i64, Option<i64>>,
        new_above: i64,
        orphans_above: Option<i64>,
    },
    /// To one of the versions met so far.
    Restore(usize),
}

fn text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c"])
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        (-5i64..5).prop_map(Condition::Below),
        (2i64..4, 0i64..2).prop_map(|(m, r)| Condition::Key(m, r)),
        text().prop_map(Condition::Text),
        Just(Condition::Null),
        Just(Condition::All),
        (0i64..8).prop_map(Condition::InOther),
    ]
}

pub(in crate::server) fn step() -> impl Strategy<Value = Step> {
    let value = || prop::option::weighted(0.8, -5i64..5);
    let row = (0i64..12, value(), text().prop_map(str::to_owned));
    prop_oneof![
        4 => prop::collection::vec(row, 1..8).prop_map(Step::Insert),
        2 => Just(Step::Flush),
        2 => condition().prop_map(Step::Delete),
        2 => (1i64..4, condition()).prop_map(|(n, c)| Step::Add(n, c)),
        1 => (text(), condition()).prop_map(|(t, c)| Step::Move(t, c)),
        3 => (prop::collection::btree_map(0i64..12, value(), 1..6), 0i64..8, prop::option::of(-2i64..3))
            .prop_map(|(source, new_above, orphans_above)| Step::Merge { source, new_above, orphans_above }),
        1 => (0usize..8).prop_map(Step::Restore),
    ]
}

fn value(v: Option<i64>) -> String {
    v.map_or("CAST(NULL AS BIGINT)".to_owned(), |v| v.to_string())
}

/// The statement, and how many rows it changes in the model.
pub(in crate::server) fn apply(step: &Step, table: &str, model: &mut Vec<Row>) -> (String, u64) {
    match step {
        Step::Insert(new) => {
            let values: Vec<String> = new
                .iter()
                .map(|(k, v, s)| format!("({k}, {}, '{s}')", value(*v)))
                .collect();
            model.extend(new.iter().cloned());
            let sql = format!("INSERT INTO {table} VALUES {}", values.join(", "));
            (sql, new.len() as u64)
        }
        Step::Delete(condition) => {
            let before = model.len();
            model.retain(|row| !condition.holds(row));
            let sql = format!("DELETE FROM {table} AS x WHERE {}", condition.sql());
            (sql, (before - model.len()) as u64)
        }
        Step::Add(n, condition) => {
            let mut touched = 0;
            for row in model.iter_mut().filter(|row| condition.holds(row)) {
                row.1 = row.1.map(|v| v + n);
                touched += 1;
            }
            let sql = format!(
                "UPDATE {table} x SET v = x.V + {n} WHERE {}",
                condition.sql()
            );
            (sql, touched)
        }
        Step::Move(t, condition) => {
            let mut touched = 0;
            for row in model.iter_mut().filter(|row| condition.holds(row)) {
                row.2 = (*t).to_owned();
                touched += 1;
            }
            let sql = format!(
                "UPDATE {table} AS x SET S = '{t}' WHERE {}",
                condition.sql()
            );
            (sql, touched)
        }
        Step::Merge {
            source,
            new_above,
            orphans_above,
        } => {
            let mut touched = 0;
            let known: Vec<i64> = model.iter().map(|row| row.0).collect();
            model.retain_mut(|row| match source.get(&row.0) {
                Some(None) => {
                    touched += 1;
                    false
                }
                Some(v) => {
                    touched += 1;
                    row.1 = *v;
                    true
                }
                None => {
                    if let Some(limit) = orphans_above
                        && row.1.is_some_and(|v| v > *limit)
                    {
                        touched += 1;
                        row.1 = row.1.map(|v| v - 1);
                    }
                    true
                }
            });
            for (k, v) in source {
                if !known.contains(k) && k > new_above {
                    touched += 1;
                    model.push((*k, *v, "m".to_owned()));
                }
            }
            let values: Vec<String> = source
                .iter()
                .map(|(k, v)| format!("({k}, {})", value(*v)))
                .collect();
            let orphans = orphans_above.map_or_else(String::new, |limit| {
                format!(" WHEN NOT MATCHED BY SOURCE AND t.v > {limit} THEN UPDATE SET v = t.v - 1")
            });
            let sql = format!(
                "MERGE INTO {table} AS t USING (VALUES {}) AS s (k, v) ON t.K = s.k \
                 WHEN MATCHED AND s.v IS NULL THEN DELETE \
                 WHEN MATCHED THEN UPDATE SET v = s.v \
                 WHEN NOT MATCHED AND s.k > {new_above} THEN INSERT (k, v, s) VALUES (s.k, s.v, 'm'){orphans}",
                values.join(", ")
            );
            (sql, touched)
        }
        Step::Flush | Step::Restore(_) => (String::new(), 0),
    }
}
