//! What rules ask of rows that are there already: the keys of a dimension, and a table's own newest rows. Whoever answers
//! queries answers these; here is only the asking, and a memory of answers.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};

use crate::sync::Mutex;
use arrow::array::RecordBatch;
use futures::future::BoxFuture;

use super::Shared;
use super::control::settle;
use super::table::{DEDUP_KEYS_MAX, Table};
use crate::cold::PinnedFiles;
use crate::dataset::{Action, Contract, RuleKind};
use crate::fault::{Fault, Kind};
use crate::types::TableName;
use crate::validate::{Keys, References, Validator};

/// Reads the newest rows, hot ones included.
pub trait RowReader: Send + Sync {
    /// Distinct values of a column, as text.
    fn values<'a>(
        &'a self,
        table: &'a TableName,
        column: &'a str,
    ) -> BoxFuture<'a, Result<HashSet<String>, Fault>>;

    /// The newest `limit` rows by event time, oldest first, as columns of the contract in its order. `files`: of these files
    /// alone; none given, of all rows that a query sees.
    fn newest<'a>(
        &'a self,
        contract: &'a Contract,
        limit: usize,
        files: Option<Arc<PinnedFiles>>,
    ) -> BoxFuture<'a, Result<Vec<RecordBatch>, Fault>>;
}

/// What a table looked like when its values were read: incarnation, version, hot rows.
type Stamp = (u64, i64, usize);

/// Values, and what the table looked like when they were read.
type Remembered = (Stamp, Arc<HashSet<String>>);

#[derive(Default)]
pub struct Lookups {
    reader: OnceLock<Weak<dyn RowReader>>,
    dimensions: Mutex<BTreeMap<(TableName, String), Remembered>>,
}

impl Lookups {
    /// Set once, when queries can be answered.
    pub fn set_reader(&self, reader: &Arc<dyn RowReader>) {
        let _ = self.reader.set(Arc::downgrade(reader));
    }

    fn reader(&self) -> Result<Arc<dyn RowReader>, Fault> {
        self.reader.get().and_then(Weak::upgrade).ok_or_else(|| {
            Fault::new(
                Kind::Unavailable,
                "starting",
                "the server is starting or stopping; retry",
            )
        })
    }

    /// The values that each `referential` rule of the contract allows, by the rule's name.
    ///
    /// # Errors
    /// FAILED_PRECONDITION `dimension_missing`, unless the rule only warns: then every value is unknown.
    pub async fn references(
        &self,
        shared: &Shared,
        contract: &Contract,
    ) -> Result<References, Fault> {
        let mut out = References::new();
        for rule in &contract.rules {
            let RuleKind::Referential { table, column } = &rule.kind else {
                continue;
            };
            let values = match shared.visible.stamp(table) {
                Some(stamp) => self.dimension(table, column, stamp).await?,
                None if rule.action == Action::Warn => Arc::default(),
                None => {
                    return Err(Fault::new(
                        Kind::Precondition,
                        "dimension_missing",
                        format!(
                            "a rule refers to a table that is not there, rule={}, table={table}; create and load it, then send again",
                            rule.name
                        ),
                    ));
                }
            };
            out.insert(rule.name.clone(), values);
        }
        Ok(out)
    }

    async fn dimension(
        &self,
        table: &TableName,
        column: &str,
        stamp: Stamp,
    ) -> Result<Arc<HashSet<String>>, Fault> {
        let key = (table.folded(), column.to_owned());
        if let Some((known, values)) = self.dimensions.lock().get(&key)
            && *known == stamp
        {
            return Ok(values.clone());
        }
        let values = Arc::new(self.reader()?.values(table, column).await?);
        // Read after the stamp: rows that came in between are there already, and are looked for again at the next batch.
        self.dimensions.lock().insert(key, (stamp, values.clone()));
        Ok(values)
    }

    /// Reads what rules about earlier rows have to know of the table, if it is not known. The lock on the keys is held, so
    /// nothing is admitted meanwhile; what was admitted before is made durable and visible first, or a row that no query sees
    /// yet would be unknown.
    ///
    /// # Errors
    /// The log's, and the query's.
    pub async fn load_keys(
        &self,
        shared: &Shared,
        table: &Table,
        validator: &Validator,
        keys: &mut Keys,
    ) -> Result<(), Fault> {
        if keys.is_loaded() {
            return Ok(());
        }
        settle(shared, table).await?;
        let reader = self.reader()?;
        let rows = reader
            .newest(validator.contract(), DEDUP_KEYS_MAX, None)
            .await?;
        keys.load(validator, &rows)
    }

    /// The keys of the rows of these files: what stays when others are replaced.
    ///
    /// # Errors
    /// The query's.
    pub async fn keys_in(
        &self,
        validator: &Validator,
        files: Arc<PinnedFiles>,
    ) -> Result<Keys, Fault> {
        let mut keys = Keys::new(DEDUP_KEYS_MAX);
        let rows = if files.files().is_empty() {
            Vec::new()
        } else {
            let reader = self.reader()?;
            reader
                .newest(validator.contract(), DEDUP_KEYS_MAX, Some(files))
                .await?
        };
        keys.load(validator, &rows)?;
        Ok(keys)
    }
}
