//! What rules ask of rows that are there already: the keys of a dimension, and a table's own newest rows. Whoever answers
//! queries answers these; here is only the asking, and a memory of answers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock, Weak};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::Shared;
use super::table::DEDUP_KEYS_MAX;
use crate::dataset::{Action, Contract, RuleKind};
use crate::fault::{Fault, Kind};
use crate::types::TableName;

/// Reads the newest rows, hot ones included.
#[async_trait]
pub trait RowReader: Send + Sync {
    /// Distinct values of a column, as text.
    async fn values(&self, table: &TableName, column: &str) -> Result<HashSet<String>, Fault>;

    /// The newest `limit` rows by event time, oldest first, as columns of the contract in its order.
    async fn newest(&self, contract: &Contract, limit: usize) -> Result<Vec<RecordBatch>, Fault>;
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
    ) -> Result<HashMap<String, Arc<HashSet<String>>>, Fault> {
        let mut out = HashMap::new();
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

    /// The rows that uniqueness is held against after a start.
    pub async fn rows(&self, _: &Shared, contract: &Contract) -> Result<Vec<RecordBatch>, Fault> {
        self.reader()?.newest(contract, DEDUP_KEYS_MAX).await
    }
}
