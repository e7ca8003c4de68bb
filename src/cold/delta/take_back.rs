//! A version's rows are taken out again, by the transaction that it carries.

use std::collections::BTreeSet;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::Value;

use super::super::{Error, store_error};
use super::rewrite::{Reason, Removal};
use super::stage::Staged;
use super::table::ColdTable;

impl ColdTable {
    /// Takes out the files that the version with the transaction `app`, `number` has put in, in one commit that carries `mark`,
    /// `number`. Once that is done, this does nothing.
    ///
    /// False, and nothing was done: the version's entry has gone from the Delta log, or its files were written anew since, or
    /// the version has taken files out as well.
    ///
    /// # Errors
    /// As [`ColdTable::rewrite`].
    pub async fn take_back(&mut self, app: &str, number: i64, mark: &str) -> Result<bool, Error> {
        if self.read_txn(mark).await? == Some(number) {
            return Ok(true);
        }
        let Some(added) = self.added_with(app, number).await? else {
            return Ok(false);
        };
        let view = self.view();
        let present: BTreeSet<&str> = view.files().iter().map(|file| file.path()).collect();
        if !added.iter().all(|path| present.contains(path.as_str())) {
            return Ok(false);
        }
        let reason = Reason::Delete {
            predicate: Some("taken back".to_owned()),
        };
        let txns = [(mark.to_owned(), number)];
        self.rewrite(&Removal::Files(added), Staged::empty(), &reason, &txns)
            .await?;
        Ok(true)
    }

    /// The files that the version has put in; none as [`ColdTable::take_back`] says.
    async fn added_with(&self, app: &str, number: i64) -> Result<Option<BTreeSet<String>>, Error> {
        let log = self.lake.path(&self.folder).join("_delta_log");
        for version in (0..=self.version()).rev() {
            let path = log.clone().join(format!("{version:020}.json"));
            let bytes = match self.lake.store().get(&path).await {
                Ok(got) => got.bytes().await.map_err(store_error)?,
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(store_error(error)),
            };
            let mut added = BTreeSet::new();
            let (mut is_it, mut takes_out) = (false, false);
            for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                let action: Value = serde_json::from_slice(line).map_err(store_error)?;
                let txn = &action["txn"];
                is_it |= txn["appId"] == app && txn["version"] == number;
                takes_out |= action["remove"].is_object();
                if let Some(path) = action["add"]["path"].as_str() {
                    // Paths in a log are URLs (Delta protocol, "Add File and Remove File").
                    let path = Path::from_url_path(path);
                    added.insert(path.map_err(store_error)?.to_string());
                }
            }
            if is_it {
                return Ok((!takes_out).then_some(added));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};

    use super::super::super::Lake;
    use super::*;

    const APP: &str = "app";

    fn rows(from: i64) -> RecordBatch {
        let values = Arc::new(Int64Array::from_iter_values(from..from + 10));
        RecordBatch::try_from_iter_with_nullable([("n", values as _, true)]).unwrap()
    }

    async fn appended(table: &mut ColdTable, number: i64) {
        let staged = table.stage(vec![rows(number * 10)]).await.unwrap();
        let txns = [(APP.to_owned(), number)];
        let done = table.rewrite(&Removal::Nothing, staged, &Reason::Append, &txns);
        done.await.unwrap();
    }

    #[tokio::test]
    async fn a_versions_rows_are_taken_back_once_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
        let txns = vec![("deltaplane/owner".to_owned(), 1)];
        let schema = rows(0).schema();
        let made = ColdTable::create(&lake, "s/t", schema, &[], BTreeMap::new(), txns).await;
        let mut table = made.unwrap();
        for number in 1..=3 {
            appended(&mut table, number).await;
        }
        // Not the newest version.
        assert!(table.take_back(APP, 2, "back").await.unwrap());
        assert_eq!(table.view().rows(), Some(20));
        let version = table.version();
        assert!(table.take_back(APP, 2, "back").await.unwrap());
        assert_eq!((table.version(), table.view().rows()), (version, Some(20)));
        // Nobody has heard of it; its file was written anew.
        assert!(!table.take_back(APP, 9, "back").await.unwrap());
        let view = table.view();
        let all = view.files().iter().map(|f| f.path().to_owned());
        let all = Removal::Files(all.collect());
        let staged = table.stage(vec![rows(10), rows(30)]).await.unwrap();
        let reason = Reason::Optimize { target_bytes: 1 };
        table.rewrite(&all, staged, &reason, &[]).await.unwrap();
        assert!(!table.take_back(APP, 3, "back").await.unwrap());
        assert_eq!(table.view().rows(), Some(20));
    }
}
