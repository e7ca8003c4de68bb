//! Which versions and features of the Delta protocol a table's schema and properties ask for (Delta protocol, "Table Features").

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Schema};
use deltalake::kernel::{Action, Protocol};
use serde_json::{Value, json};

use super::super::{Error, store_error};

const NTZ: &str = "timestampNtz";
const CHECKS: &str = "checkConstraints";
const MAPPING: &str = "columnMapping";
/// The first versions that list features by name.
const READER_FEATURES: i64 = 3;
const WRITER_FEATURES: i64 = 7;
/// What a writer of a version below [`WRITER_FEATURES`] keeps, by the version that brought it.
const LEGACY: [(i64, &str); 7] = [
    (2, "appendOnly"),
    (2, "invariants"),
    (3, CHECKS),
    (4, "changeDataFeed"),
    (4, "generatedColumns"),
    (5, MAPPING),
    (6, "identityColumns"),
];

/// The protocol action that a version with this schema needs; none if the table's protocol has it all. `maps`: its columns have
/// other names in the files.
///
/// # Errors
/// `Store`: the table's own protocol action is not one.
pub(super) fn upgrade(
    now: Option<&Protocol>,
    schema: &Schema,
    has_checks: bool,
    maps: bool,
) -> Result<Option<Action>, Error> {
    let now = match now {
        Some(protocol) => serde_json::to_value(protocol).map_err(store_error)?,
        None => json!({ "minReaderVersion": 0, "minWriterVersion": 0 }),
    };
    let has_ntz = schema.fields().iter().any(|f| is_ntz(f.data_type()));
    let Some(next) = raised(&now, has_ntz, has_checks, maps) else {
        return Ok(None);
    };
    let protocol = serde_json::from_value(next).map_err(store_error)?;
    Ok(Some(Action::Protocol(protocol)))
}

fn is_ntz(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::Struct(fields) => fields.iter().any(|f| is_ntz(f.data_type())),
        DataType::List(f) | DataType::LargeList(f) | DataType::Map(f, _) => is_ntz(f.data_type()),
        _ => false,
    }
}

fn features(of: &Value) -> BTreeSet<String> {
    let listed = of.as_array().into_iter().flatten();
    listed
        .filter_map(|f| Some(f.as_str()?.to_owned()))
        .collect()
}

/// Versions never fall and features are never taken away.
fn raised(now: &Value, has_ntz: bool, has_checks: bool, maps: bool) -> Option<Value> {
    let version = |key: &str| now[key].as_i64().unwrap_or(0);
    let (reader, writer) = (version("minReaderVersion"), version("minWriterVersion"));
    let for_readers = has_ntz || maps;
    let next = if for_readers || writer >= WRITER_FEATURES {
        let mut writing = features(&now["writerFeatures"]);
        if writer < WRITER_FEATURES {
            let kept = LEGACY.iter().filter(|(since, _)| *since <= writer.max(2));
            writing.extend(kept.map(|(_, name)| (*name).to_owned()));
        }
        let mut reading = features(&now["readerFeatures"]);
        if reader == 2 {
            reading.insert(MAPPING.to_owned());
        }
        if has_checks {
            writing.insert(CHECKS.to_owned());
        }
        if has_ntz {
            writing.insert(NTZ.to_owned());
            reading.insert(NTZ.to_owned());
        }
        if maps {
            writing.insert(MAPPING.to_owned());
            reading.insert(MAPPING.to_owned());
        }
        let mut next = json!({
            "minReaderVersion": if for_readers { READER_FEATURES } else { reader.max(1) },
            "minWriterVersion": WRITER_FEATURES,
            "writerFeatures": writing,
        });
        if for_readers || reader >= READER_FEATURES {
            next["readerFeatures"] = json!(reading);
        }
        next
    } else {
        json!({
            "minReaderVersion": reader.max(1),
            "minWriterVersion": writer.max(if has_checks { 3 } else { 2 }),
        })
    };
    let same = ["minReaderVersion", "minWriterVersion"]
        .iter()
        .all(|k| next[k] == now[k])
        && ["writerFeatures", "readerFeatures"]
            .iter()
            .all(|k| features(&next[k]) == features(&now[k]));
    (!same).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_rises_to_what_columns_and_constraints_ask_for() {
        let new = json!({ "minReaderVersion": 0, "minWriterVersion": 0 });
        let plain = json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
        let checked = json!({ "minReaderVersion": 1, "minWriterVersion": 3 });
        assert_eq!(raised(&new, false, false, false), Some(plain.clone()));
        assert_eq!(raised(&plain, false, false, false), None);
        assert_eq!(raised(&plain, false, true, false), Some(checked.clone()));
        assert_eq!(raised(&checked, false, false, false), None);
        let zoneless = json!({
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [NTZ],
            "writerFeatures": ["appendOnly", "checkConstraints", "invariants", NTZ],
        });
        assert_eq!(raised(&checked, true, true, false), Some(zoneless.clone()));
        assert_eq!(raised(&zoneless, true, true, false), None);
        let unchecked = json!({
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [NTZ],
            "writerFeatures": ["appendOnly", "invariants", NTZ],
        });
        assert_eq!(raised(&plain, true, false, false), Some(unchecked.clone()));
        assert_eq!(
            raised(&unchecked, true, true, false),
            Some(zoneless.clone())
        );
        let mapped = json!({
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [MAPPING],
            "writerFeatures": ["appendOnly", "checkConstraints", MAPPING, "invariants"],
        });
        assert_eq!(raised(&checked, false, true, true), Some(mapped.clone()));
        assert_eq!(raised(&mapped, false, true, true), None);
        assert_eq!(
            raised(&mapped, false, false, false),
            None,
            "no feature is taken away"
        );
        let both = raised(&zoneless, true, true, true).unwrap_or_default();
        assert_eq!(both["readerFeatures"], json!([MAPPING, NTZ]));
    }
}
