//! Which properties a statement may set, and why it may not set the others: a property is set or refused, never accepted and
//! dropped.

use std::collections::BTreeMap;

use super::Error;
use super::retention;

/// Properties of Delta's that would change what a table is, and why this server refuses them. A name that ends in `.` stands
/// for all that begin with it.
const REFUSED: [(&str, &str); 22] = [
    (
        "delta.appendOnly",
        "UPDATE, DELETE, MERGE, RESTORE and retention would have to fail; leave it out and give no such right instead",
    ),
    (
        "delta.autoOptimize.",
        "small files are compacted by upkeep; see the settings of [upkeep]",
    ),
    (
        "delta.checkpoint.writeStatsAsJson",
        "checkpoints always carry statistics as JSON",
    ),
    (
        "delta.checkpoint.writeStatsAsStruct",
        "checkpoints always carry statistics as JSON",
    ),
    (
        "delta.checkpointInterval",
        "it holds for all tables; see the setting commit.checkpoint_every",
    ),
    (
        "delta.checkpointPolicy",
        "checkpoints are written in the classic form",
    ),
    (
        "delta.columnMapping.",
        "the server sets it when a column is renamed or dropped, or has a name that needs it",
    ),
    (
        "delta.constraints.",
        "write the rule as CONSTRAINT .. CHECK; the server stores the constraint",
    ),
    (
        "delta.dataSkippingNumIndexedCols",
        "statistics are kept for the first 32 columns",
    ),
    (
        "delta.dataSkippingStatsColumns",
        "statistics are kept for the first 32 columns",
    ),
    (
        "delta.enableChangeDataFeed",
        "no change files are written; read changes with table_changes('table', ..) or SUBSCRIBE",
    ),
    (
        "delta.enableDeletionVectors",
        "rows are taken out by writing files anew, so that every Delta reader can read them",
    ),
    (
        "delta.enableInCommitTimestamps",
        "commits bear a time that never goes back without it",
    ),
    ("delta.enableRowTracking", "rows bear no numbers here"),
    ("delta.enableTypeWidening", "a column keeps its type"),
    (
        "delta.feature.",
        "the server adds the features that a table's columns and constraints need",
    ),
    ("delta.isolationLevel", "commits are serializable"),
    (
        "delta.minReaderVersion",
        "the server raises it when a column needs it",
    ),
    (
        "delta.minWriterVersion",
        "the server raises it when a column or a constraint needs it",
    ),
    (
        "delta.randomizeFilePrefixes",
        "files stand in the folder of their partition",
    ),
    (
        "delta.setTransactionRetentionDuration",
        "the transaction identifiers of a table are what makes each row commit once; without them a restart would write rows twice",
    ),
    (
        "delta.targetFileSize",
        "it holds for all tables; see the setting upkeep.target_file_bytes",
    ),
];

/// Ours that the server alone writes.
const OWN: [&str; 4] = [
    "deltaplane.columns",
    "deltaplane.rules",
    "deltaplane.incarnation",
    "deltaplane.quarantineOf",
];

/// # Errors
/// The first property that cannot be set, with the reason.
pub(super) fn check(properties: &BTreeMap<String, String>) -> Result<(), Error> {
    properties.keys().try_for_each(|property| one(property))
}

fn one(property: &str) -> Result<(), Error> {
    let refused = |problem: String| {
        Err(Error::Property {
            property: property.chars().take(100).collect(),
            problem,
        })
    };
    if retention::KEPT.contains(&property) {
        return Ok(());
    }
    let lower = property.to_ascii_lowercase();
    if let Some((_, why)) = REFUSED.iter().find(|(name, _)| {
        let name = name.to_ascii_lowercase();
        lower == name || (name.ends_with('.') && lower.starts_with(&name))
    }) {
        return refused(format!("this server does not set it: {why}"));
    }
    if OWN.contains(&property) {
        return refused("the server writes it".to_owned());
    }
    if property.starts_with("deltaplane.") {
        // Which of them are known is said by those who read them.
        return Ok(());
    }
    refused(format!(
        "unknown property, it would not be kept; known: {} and those that begin with deltaplane.",
        retention::KEPT.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_property_is_set_or_refused_with_its_reason() {
        for known in [
            "delta.logRetentionDuration",
            "delta.deletedFileRetentionDuration",
            "deltaplane.retention",
            "deltaplane.unit.AT",
        ] {
            one(known).unwrap();
        }
        for (property, word) in [
            ("delta.appendOnly", "RESTORE"),
            ("DELTA.APPENDONLY", "RESTORE"),
            ("delta.columnMapping.mode", "renamed or dropped"),
            ("delta.feature.deletionVectors", "features"),
            ("delta.minReaderVersion", "raises"),
            ("delta.minWriterVersion", "raises"),
            ("delta.enableDeletionVectors", "anew"),
            ("delta.enableChangeDataFeed", "SUBSCRIBE"),
            ("delta.setTransactionRetentionDuration", "twice"),
            ("delta.nobodyKnowsThis", "unknown"),
            ("deltaplane.columns", "server"),
            ("owner", "unknown"),
        ] {
            let error = one(property).unwrap_err().to_string();
            assert!(error.contains(word), "{property}: {error}");
            assert!(error.contains(property), "{error}");
        }
    }
}
