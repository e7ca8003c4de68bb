//! What the Delta library's errors mean: the store does not answer, the table is damaged, or Delta does not allow it.

use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

use super::super::{Error, store_error};

/// Does an error come from the store and not from what it has? Then another try may end otherwise.
fn is_transport(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<object_store::Error>() {
            return !matches!(found, object_store::Error::NotFound { .. });
        }
        if error.is::<std::io::Error>() {
            return true;
        }
        next = error.source();
    }
    let text = error.to_string();
    ["object store", "log object", "Log storage", "Reqwest"]
        .iter()
        .any(|word| text.contains(word))
}

/// An error of the Delta library while a table is read.
pub(super) fn read_error(error: DeltaTableError) -> Error {
    match store_error(&error) {
        Error::Store(text) if !is_transport(&error) => Error::Damaged(text),
        other => other,
    }
}

/// An error of the Delta library while a version is committed. Another writer's version is no refusal.
pub(super) fn commit_error(error: DeltaTableError) -> Error {
    use DeltaTableError as E;
    use TransactionError as T;
    let text = store_error(&error);
    let again = match &error {
        E::VersionAlreadyExists(_) | E::VersionMismatch(..) => true,
        E::Transaction { source } => !matches!(
            source,
            T::DeltaTableAppendOnly | T::UnsupportedTableFeatures(_) | T::TableFeaturesRequired(_)
        ),
        other => is_transport(other),
    };
    match text {
        Error::Store(text) if !again => Error::Refused(text),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> object_store::Error {
        object_store::Error::Generic {
            store: "test",
            source: "no route".into(),
        }
    }

    #[test]
    fn a_dead_store_is_told_from_a_damaged_table_and_from_a_refusal() {
        let dead = || DeltaTableError::ObjectStore {
            source: unavailable(),
        };
        assert!(matches!(read_error(dead()), Error::Store(_)));
        assert!(matches!(commit_error(dead()), Error::Store(_)));
        let damaged = DeltaTableError::MetadataError("no schema".to_owned());
        assert!(matches!(read_error(damaged), Error::Damaged(_)));
        let refused = DeltaTableError::Transaction {
            source: TransactionError::DeltaTableAppendOnly,
        };
        assert!(matches!(commit_error(refused), Error::Refused(_)));
        let raced = DeltaTableError::VersionAlreadyExists(7);
        assert!(matches!(commit_error(raced), Error::Store(_)));
    }
}
