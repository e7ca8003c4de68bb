//! The first rows of a table that is being created: a query's, judged and staged as they come. Until the table is named they are
//! files in no version, and an error leaves nothing of them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::bulk::{Side, at_row};
use super::insert::refuse_rejects;
use super::named::named;
use crate::catalog::Shared;
use crate::catalog::lifecycle::{Founding, offset_i64};
use crate::catalog::table::DEDUP_KEYS_MAX;
use crate::cold::{Staged, Stager};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::validate::{Keys, Origin, References, Scope, Source, Validator};

/// The `_source` of the rows, as of every INSERT's.
const SOURCE: &str = "insert";

pub struct FirstRows {
    rows: BoxStream<'static, Result<RecordBatch, Fault>>,
}

impl FirstRows {
    /// `rows`: columns as the table's, in its order, under any names.
    pub fn new(rows: BoxStream<'static, Result<RecordBatch, Fault>>) -> Self {
        FirstRows { rows }
    }
}

impl Founding for FirstRows {
    /// # Errors
    /// What the rows' source meets; INVALID_ARGUMENT `rule_broken` with the first row that breaks a rule; the store's.
    fn stage<'a>(
        &'a mut self,
        shared: &'a Arc<Shared>,
        contract: &'a Arc<Contract>,
        stager: Stager,
    ) -> BoxFuture<'a, Result<Staged, Fault>> {
        Box::pin(async move {
            let judge = Judge {
                validator: Validator::new(contract.clone()),
                references: shared.lookups.references(shared, contract).await?,
                source: Source::new(SOURCE),
                ingest_ts: shared.clock.now(),
                seq: offset_i64(shared.log.durable()),
                bytes_max: shared.config.memory.query_bytes_max.as_usize(),
            };
            let mut side = Side::new(stager);
            let (mut whole, mut bytes, mut received) = (Vec::new(), 0, 0);
            while let Some(batch) = self.rows.next().await {
                let Some(batch) = named(contract, &[], vec![batch?])? else {
                    continue;
                };
                let first = received;
                received += batch.num_rows() as u64;
                if !judge.validator.needs_history() {
                    let judged = judge.accepted(&batch, None);
                    side.push(judged.map_err(|f| at_row(f, first))?).await?;
                    continue;
                }
                bytes += batch.get_array_memory_size();
                if bytes > judge.bytes_max {
                    return Err(Fault::new(
                        Kind::Exhausted,
                        "insert_too_large",
                        format!(
                            "the rules of {} ask all rows at once, and the rows take more than {} bytes; create the table without UNIQUE, or raise memory.query_bytes_max",
                            contract.table, judge.bytes_max
                        ),
                    ));
                }
                whole.push(batch);
            }
            if let Some(first) = whole.first() {
                let all = concat_batches(&first.schema(), &whole)
                    .map_err(|e| Fault::internal(format!("rows of a new table: {e}")))?;
                drop(whole);
                // There are no earlier ones.
                let mut keys = Keys::new(DEDUP_KEYS_MAX);
                keys.load(&judge.validator, &[])?;
                side.push(judge.accepted(&all, Some(&keys))?).await?;
            }
            side.stage().await?;
            Ok(side.take())
        })
    }
}

struct Judge {
    validator: Validator,
    references: References,
    source: Source,
    ingest_ts: i64,
    seq: i64,
    bytes_max: usize,
}

impl Judge {
    /// The rows as the table keeps them.
    fn accepted(
        &self,
        batch: &RecordBatch,
        keys: Option<&Keys>,
    ) -> Result<Option<RecordBatch>, Fault> {
        let origin = Origin {
            ingest_ts: self.ingest_ts,
            source: &self.source,
            seq: self.seq,
        };
        let scope = Scope {
            keys,
            lateness: true,
            bytes_max: self.bytes_max,
        };
        let validated = self
            .validator
            .judge(batch, &origin, &self.references, scope)?;
        refuse_rejects(self.validator.contract(), validated.verdict())?;
        let (applied, ..) = validated.into_parts();
        Ok(applied.into_sides().0)
    }
}
