//! What statements are bound to: the rows of a bind as they come in, and the executions that they lead to.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream};

use super::decode::{Bounds, Decoded, Decoder, broken};
use super::encode::{self, DataStream};
use super::guarded::guarded;
use super::put_input::PutInput;
use super::server::FlightSqlServer;
use super::timestamps;
use crate::fault::{Fault, Kind};
use crate::query::{Engine, QueryContext, ResultStream};
use crate::statement::Bound;

impl FlightSqlServer {
    /// The columns of a query's result: with what is bound to it, or as they are announced before anything is.
    pub(super) async fn columns(
        &self,
        caller: &QueryContext,
        sql: &str,
        bound: &Bound,
    ) -> Result<SchemaRef, Fault> {
        let columns = self.engine.columns(caller, sql, bound.row(0)?, false);
        Ok(timestamps::announced(columns.await?, caller.timestamps))
    }

    /// The same for a client that fetches the rows next, by the id of the query.
    pub(super) async fn columns_told(
        &self,
        caller: &QueryContext,
        id: &str,
        sql: &str,
        bound: &Bound,
    ) -> Result<SchemaRef, Fault> {
        let caller = QueryContext {
            query: Some(id.into()),
            ..caller.clone()
        };
        let columns = self.engine.columns(&caller, sql, bound.row(0)?, true);
        Ok(timestamps::announced(columns.await?, caller.timestamps))
    }

    /// The rows of a query. Bound to several rows of parameters, it is executed once for each, one after the other.
    pub(super) async fn query(
        &self,
        caller: &QueryContext,
        sql: &str,
        bound: &Bound,
    ) -> Result<DataStream, Fault> {
        bound.check_executions()?;
        if bound.executions() == 0 {
            let columns = self.columns(caller, sql, bound).await?;
            return Ok(encode::batches(columns, stream::empty().boxed()));
        }
        let first = self.engine.query(caller, sql, bound.row(0)?).await?;
        let wire = first.wire.clone();
        let next = Next {
            engine: self.engine.clone(),
            caller: caller.clone(),
            sql: sql.into(),
            bound: bound.clone(),
            wire: wire.clone(),
        };
        let others = stream::iter(1..bound.executions()).then(move |row| next.clone().rows(row));
        let schema = timestamps::announced(wire, caller.timestamps);
        let told = schema.clone();
        let batches = stream::iter([Ok(first)])
            .chain(others)
            .map_ok(|result: ResultStream| result.batches.into_stream())
            .try_flatten()
            .map(move |batch| timestamps::given(batch?, &told));
        Ok(encode::batches(schema, batches.boxed()))
    }

    pub(super) async fn bind(&self, handle: &[u8], input: PutInput) -> Result<(), Fault> {
        self.prepared.get(handle)?;
        let bound = self.rows(input).await?;
        self.prepared.bind(handle, bound)
    }

    /// The rows of a bind, in a task of their own: bytes that nobody vouches for may make the decoder panic.
    pub(super) async fn rows(&self, mut input: PutInput) -> Result<Bound, Fault> {
        let limit = self.limits.message_bytes_max.as_usize();
        let bounds = Bounds::of_messages(&self.limits);
        let work = async move {
            let mut decoder = Decoder::within(bounds).charged_to(input.connection().clone());
            let (mut batches, mut bytes) = (Vec::new(), 0);
            while let Some(data) = input.next().await {
                let data = data.map_err(|status| broken(&status))?;
                if let Decoded::Batch(batch) = decoder.message(&data)? {
                    bytes += batch.get_array_memory_size();
                    if bytes > limit {
                        return Err(Fault::new(
                            Kind::Exhausted,
                            "parameters_too_large",
                            format!(
                                "bound rows take more than {limit} bytes; bind fewer at a time, use bulk ingest, or raise limits.message_bytes_max"
                            ),
                        ));
                    }
                    batches.push(batch);
                }
            }
            let Some(schema) = decoder.schema() else {
                return Ok(Bound::default());
            };
            let whole: RecordBatch = concat_batches(schema, &batches)
                .map_err(|e| Fault::invalid("parameters", e.to_string()))?;
            Bound::new(Some(whole))
        };
        guarded(work).await
    }
}

/// The executions of a query that are still to come.
#[derive(Clone)]
struct Next {
    engine: Arc<Engine>,
    caller: QueryContext,
    sql: Arc<str>,
    bound: Bound,
    wire: SchemaRef,
}

impl Next {
    async fn rows(self, row: usize) -> Result<ResultStream, Fault> {
        let asked = (self.engine).query(&self.caller, &self.sql, self.bound.row(row)?);
        let result = asked.await?;
        if result.wire == self.wire {
            return Ok(result);
        }
        Err(Fault::invalid(
            "parameters",
            format!(
                "row {} of the parameters gives other columns than the first; execute it by itself",
                row + 1
            ),
        ))
    }
}
