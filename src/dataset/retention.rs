//! How long a table keeps what: rows by their day, and, in Delta's own words, removed files and log entries.

use super::Error;
use super::contract::{Contract, EVENT_DATE};
use crate::config::size::{parse_duration, parse_interval};

/// Delta's properties that a contract carries as they are.
pub(super) const KEPT: [&str; 2] = [
    "delta.deletedFileRetentionDuration",
    "delta.logRetentionDuration",
];

impl Contract {
    /// `retention` in microseconds; none: rows stay.
    pub fn retention_micros(&self) -> Option<i64> {
        let keep = parse_duration(self.retention.as_ref()?).ok()?;
        i64::try_from(keep.as_micros()).ok()
    }

    pub(super) fn check_retention(&self) -> Result<(), Error> {
        let bad = |property: &str, problem: String| {
            Err(Error::Property {
                property: property.to_owned(),
                problem,
            })
        };
        for (property, value) in &self.delta {
            if parse_interval(value).is_none() {
                return bad(
                    property,
                    format!(
                        "{value} is no interval; write one as in \"interval 7 days\" (weeks to milliseconds)"
                    ),
                );
            }
        }
        let Some(retention) = &self.retention else {
            return Ok(());
        };
        match parse_duration(retention) {
            Err(problem) => return bad("retention", format!("{retention}: {problem}")),
            Ok(keep) if keep.is_zero() => {
                return bad(
                    "retention",
                    "must be more than zero; leave it out to keep all rows".to_owned(),
                );
            }
            Ok(_) => {}
        }
        if self.event_time.is_none() || !self.partition_by.iter().any(|c| c == EVENT_DATE) {
            return bad(
                "retention",
                format!(
                    "it takes away whole days, so the table needs an event time and PARTITIONED BY ({EVENT_DATE})"
                ),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::from_toml;

    fn table(rest: &str) -> String {
        format!(
            "dataset = \"d\"\n[[table]]\nname = \"t\"\ncolumns = [{{ name = \"ts\", type = \"timestamp\" }}]\n{rest}\n"
        )
    }

    #[test]
    fn retention_survives_every_spelling_and_nonsense_is_refused() {
        let text = table(
            "event_time = \"ts\"\nretention = \"3d\"\nproperties = { \"delta.logRetentionDuration\" = \"interval 1 days\" }",
        );
        let contract = from_toml(&text).unwrap().tables.remove(0);
        assert_eq!(contract.retention_micros(), Some(3 * 86_400_000_000));
        let told = super::super::Contract::from_properties(
            contract.table.clone(),
            contract.partition_by.clone(),
            &contract.to_properties(),
        );
        assert_eq!(told.unwrap(), contract);
        assert!(
            contract
                .to_ddl()
                .contains("'delta.logRetentionDuration'='interval 1 days'")
        );
        for (rest, word) in [
            ("retention = \"3d\"", "needs an event time"),
            ("event_time = \"ts\"\nretention = \"3\"", "give a unit"),
            ("event_time = \"ts\"\nretention = \"0d\"", "more than zero"),
            (
                "event_time = \"ts\"\npartition_by = []\nretention = \"1d\"",
                "PARTITIONED BY",
            ),
            (
                "properties = { \"delta.logRetentionDuration\" = \"soon\" }",
                "no interval",
            ),
            (
                "properties = { \"delta.appendOnly\" = \"true\" }",
                "not kept",
            ),
        ] {
            let error = from_toml(&table(rest)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
