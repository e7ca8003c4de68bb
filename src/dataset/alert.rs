//! An alert's declaration: what `[[alert]]` and `CREATE ALERT` say. Times are microseconds.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::contract::is_servers_schema;
use super::ddl::quote_text;
use super::view::{parse_span, show_span};
use crate::types::{SameName, TableName, join_names, quote_name};

/// An alert is looked at no oftener.
const EVERY_MIN: i64 = 1_000_000;
const EVERY_MAX: i64 = 86_400_000_000;
/// No wait is longer: a year.
const SPAN_MAX: i64 = 366 * 86_400_000_000;
/// Labels that every instance has.
const OWN_LABELS: [&str; 2] = ["alertname", "schema"];

/// What an alert looks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// Each row of the query is in condition.
    Query { sql: String },
    /// Each key of the table that has sent no row for so long.
    Deadman { table: TableName, silence: i64 },
}

/// An alert as `dataset.toml` and `CREATE ALERT` declare it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertDeclaration {
    pub name: TableName,
    pub watched: Watched,
    /// Columns that tell one instance from another. None of them: there is one instance.
    #[serde(default)]
    pub by: Vec<String>,
    /// Time between two looks.
    pub every: i64,
    /// How long a row has to be in condition before it fires.
    #[serde(default)]
    pub hold: i64,
    /// How long it has to be out of condition before it is resolved.
    #[serde(default)]
    pub keep: i64,
    /// Webhooks of the configuration, by name.
    #[serde(default)]
    pub notify: Vec<String>,
    /// Said of every instance, for those who sort alerts: severity, team.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub comment: Option<String>,
}

impl AlertDeclaration {
    /// With the times that are in force where none are said.
    pub fn new(name: TableName, watched: Watched) -> Self {
        AlertDeclaration {
            name,
            watched,
            by: Vec::new(),
            every: 10_000_000,
            hold: 0,
            keep: 0,
            notify: Vec::new(),
            labels: BTreeMap::new(),
            comment: None,
        }
    }

    /// # Errors
    /// What contradicts itself, and the way out.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if is_servers_schema(name) {
            return Err(format!(
                "reserved name, alert={name}; the server fills this schema: choose another"
            ));
        }
        if !(EVERY_MIN..=EVERY_MAX).contains(&self.every) {
            return Err(format!(
                "EVERY is from 1 second to 1 day, alert={name}, every={}",
                show_span(self.every)
            ));
        }
        for (word, span) in [("FOR", self.hold), ("KEEP FIRING FOR", self.keep)] {
            if span > SPAN_MAX {
                return Err(format!(
                    "{word} is a year at most, alert={name}, given={}",
                    show_span(span)
                ));
            }
        }
        if let Watched::Deadman { silence, .. } = &self.watched {
            if self.by.is_empty() {
                return Err(format!(
                    "DEADMAN needs BY (column, ..): whose silence it is, alert={name}"
                ));
            }
            if !(EVERY_MIN..=SPAN_MAX).contains(silence) {
                return Err(format!(
                    "DEADMAN is from 1 second to a year, alert={name}, given={}",
                    show_span(*silence)
                ));
            }
            if self.hold > 0 {
                return Err(format!(
                    "DEADMAN says already how long, alert={name}; leave FOR out"
                ));
            }
        }
        let twice = |list: &[String]| {
            let repeated = list.iter().enumerate().find(|(i, one)| {
                let mut before = list.iter().take(*i);
                before.any(|b| b.is_same_name(one))
            });
            repeated.map(|(_, one)| one.clone())
        };
        for (word, list) in [("BY", &self.by), ("NOTIFY", &self.notify)] {
            if let Some(one) = twice(list) {
                return Err(format!("{word} names {one} twice, alert={name}"));
            }
        }
        let reserved = |label: &&String| OWN_LABELS.iter().any(|o| o.is_same_name(label));
        if let Some(label) = self.by.iter().chain(self.labels.keys()).find(reserved) {
            return Err(format!(
                "{label} is a label that every alert has, alert={name}; call it something else, in a query by {label} AS .."
            ));
        }
        if let Some(label) = self.labels.keys().find(|l| self.by.contains(l)) {
            return Err(format!(
                "{label} is in BY and in LABELS, alert={name}; leave it to one of them"
            ));
        }
        Ok(())
    }

    /// Are instances of the other one, by their keys, instances of this one?
    pub fn has_instances_of(&self, other: &AlertDeclaration) -> bool {
        let same = match (&self.watched, &other.watched) {
            (Watched::Query { .. }, Watched::Query { .. }) => true,
            (Watched::Deadman { table, .. }, Watched::Deadman { table: there, .. }) => {
                table == there
            }
            _ => false,
        };
        same && self.by == other.by && self.labels == other.labels
    }

    /// The whole statement that makes it.
    pub fn to_ddl(&self) -> String {
        let mut out = format!("CREATE ALERT {}", self.name);
        let list = |names: &[String]| {
            let names: Vec<String> = names.iter().map(|n| quote_name(n)).collect();
            names.join(", ")
        };
        let span = |micros: i64| quote_text(&show_span(micros));
        // Writing to a String cannot fail.
        if let Watched::Deadman { table, silence } = &self.watched {
            let by = list(&self.by);
            let _ = write!(out, " ON {table} BY ({by}) DEADMAN {}", span(*silence));
        }
        let _ = write!(out, "\nEVERY {}", span(self.every));
        if self.hold > 0 {
            let _ = write!(out, " FOR {}", span(self.hold));
        }
        if self.keep > 0 {
            let _ = write!(out, " KEEP FIRING FOR {}", span(self.keep));
        }
        if !self.by.is_empty() && matches!(self.watched, Watched::Query { .. }) {
            let _ = write!(out, " BY ({})", list(&self.by));
        }
        if !self.notify.is_empty() {
            let _ = write!(out, "\nNOTIFY {}", list(&self.notify));
        }
        if !self.labels.is_empty() {
            let pairs = self.labels.iter();
            let pairs = pairs.map(|(k, v)| format!("{} = {}", quote_name(k), quote_text(v)));
            let pairs: Vec<String> = pairs.collect();
            let _ = write!(out, "\nLABELS ({})", pairs.join(", "));
        }
        if let Some(comment) = &self.comment {
            let _ = write!(out, "\nCOMMENT {}", quote_text(comment));
        }
        if let Watched::Query { sql } = &self.watched {
            let _ = write!(out, "\nAS {}", sql.trim().trim_end_matches(';').trim_end());
        }
        out
    }

    /// The statement that makes an alert of another declaration into this one; none if it is one.
    pub fn alter_ddl(&self, there: &AlertDeclaration) -> Option<String> {
        let mut this = self.clone();
        let fold = |names: &[String]| join_names(names, ',').folded_name();
        // The server has columns and tables as they are spelled there.
        if fold(&self.by) == fold(&there.by) {
            this.by.clone_from(&there.by);
        }
        if let (Watched::Deadman { table, .. }, Watched::Deadman { table: known, .. }) =
            (&mut this.watched, &there.watched)
            && table.folded() == known.folded()
        {
            *table = known.clone();
        }
        let words = |alert: &AlertDeclaration| {
            let ddl = alert.to_ddl();
            ddl.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        (words(&this) != words(there))
            .then(|| this.to_ddl().replacen("CREATE", "CREATE OR REPLACE", 1))
    }
}

/// The span of a clause such as `EVERY '10s'`.
///
/// # Errors
/// It is none; the text names the clause.
pub fn clause_span(clause: &str, text: &str) -> Result<i64, String> {
    parse_span(text).map_err(|problem| format!("{clause} {}: {problem}", quote_text(text)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn hot() -> AlertDeclaration {
        let sql = "SELECT room_id FROM raw".to_owned();
        AlertDeclaration::new(
            TableName::new("building", "hot").unwrap(),
            Watched::Query { sql },
        )
    }

    #[test]
    fn what_contradicts_itself_is_refused_with_the_way_out() {
        hot().check().unwrap();
        type Change = fn(&mut AlertDeclaration);
        let silent: Change = |a| {
            a.watched = Watched::Deadman {
                table: TableName::new("building", "raw").unwrap(),
                silence: 30_000_000,
            }
        };
        let cases: [(&[Change], &str); 9] = [
            (
                &[|a| a.name = TableName::new("System", "x").unwrap()],
                "reserved name",
            ),
            (
                &[|a| a.name = TableName::new("information_schema", "x").unwrap()],
                "reserved name",
            ),
            (&[|a| a.every = 10], "from 1 second"),
            (&[|a| a.hold = i64::MAX], "a year at most"),
            (&[silent], "needs BY"),
            (
                &[silent, |a| a.by = vec!["k".into()], |a| a.hold = 5],
                "leave FOR out",
            ),
            (&[|a| a.by = vec!["k".into(), "K".into()]], "K twice"),
            (&[|a| a.by = vec!["AlertName".into()]], "AS .."),
            (
                &[
                    |a| a.by = vec!["k".into()],
                    |a| a.labels = [("k".to_owned(), "v".to_owned())].into(),
                ],
                "in BY and in LABELS",
            ),
        ];
        for (changes, expected) in cases {
            let mut alert = hot();
            changes.iter().for_each(|c| c(&mut alert));
            let problem = alert.check().unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn white_space_in_a_query_is_no_change() {
        let mut other = hot();
        other.watched = Watched::Query {
            sql: "SELECT room_id\n  FROM raw;".to_owned(),
        };
        assert_eq!(hot().alter_ddl(&other), None);
        other.hold = 5_000_000;
        let ddl = other.alter_ddl(&hot()).unwrap();
        assert!(
            ddl.starts_with("CREATE OR REPLACE ALERT building.hot"),
            "{ddl}"
        );
        assert!(ddl.contains("FOR '5 seconds'"), "{ddl}");
    }
}
