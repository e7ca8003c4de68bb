//! `table_changes('schema.table', first [, last])`: what the versions changed, as a table.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::sql::sqlparser::ast::{FunctionArg, ObjectName};
use futures::TryStreamExt;
use futures::future::BoxFuture;

use super::super::errors::external;
use super::super::table_functions::{named_table, table_of};
use super::{Followed, rows};
use crate::catalog::view::Snapshot;
use crate::fault::{Fault, Kind};
use crate::query::scan::scan_by_planned;

pub(in crate::query) const NAME: &str = "table_changes";
const FORM: &str = "table_changes('schema.table', first_version [, last_version])";

/// Makes the function known to a session over this snapshot.
pub(crate) fn register(state: &mut SessionState, snapshot: &Snapshot) {
    let function = TableChanges(snapshot.clone());
    state.register_udtf(NAME, Arc::new(function));
}

/// The columns of a call of the function as it stands in a statement; none if it is another's.
pub(crate) fn columns(
    snapshot: &Snapshot,
    name: &ObjectName,
    args: &[FunctionArg],
) -> Option<Vec<String>> {
    let table = Followed::find(snapshot, &named_table(snapshot, NAME, name, args)?).ok()?;
    let fields = table.told_schema();
    Some(fields.fields().iter().map(|f| f.name().clone()).collect())
}

struct TableChanges(Snapshot);

impl std::fmt::Debug for TableChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAME)
    }
}

fn wrong() -> DataFusionError {
    external(Fault::invalid(
        "invalid_argument",
        format!("it is {FORM}, with literals"),
    ))
}

fn version(argument: &Expr) -> DfResult<i64> {
    match argument {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => Ok(*n),
        Expr::Literal(ScalarValue::UInt64(Some(n)), _) => i64::try_from(*n).map_err(|_| wrong()),
        Expr::Negative(inner) => version(inner).map(|n| -n),
        _ => Err(wrong()),
    }
}

impl TableFunctionImpl for TableChanges {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let (name, first, last) = match args.exprs() {
            [name, first] => (name, first, None),
            [name, first, last] => (name, first, Some(last)),
            _ => return Err(wrong()),
        };
        let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = name else {
            return Err(wrong());
        };
        let state = args.session().as_any().downcast_ref::<SessionState>();
        let state = state.ok_or_else(|| external(Fault::internal("a session of another kind")))?;
        let table = table_of(&self.0, name)
            .and_then(|name| Followed::find(&self.0, &name))
            .map_err(external)?;
        let newest = table.newest();
        let (first, last) = (version(first)?, last.map_or(Ok(newest), version)?);
        if first < 0 || first > last || last > newest {
            return Err(external(table.named(Fault::new(
                Kind::OutOfRange,
                "version_not_found",
                format!("versions are 0 to {newest}, asked for {first} to {last}"),
            ))));
        }
        let schema = table.told_schema();
        Ok(Arc::new(Changes(Arc::new(Versions {
            state: rows::reader(state),
            table,
            schema,
            first,
            last,
        }))))
    }
}

struct Versions {
    state: SessionState,
    table: Followed,
    schema: SchemaRef,
    first: i64,
    last: i64,
}

#[derive(Debug)]
struct Changes(Arc<Versions>);

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "changes of {}", self.table.name)
    }
}

impl TableProvider for Changes {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_planned!();
}

impl Changes {
    fn planned<'a>(
        &'a self,
        _: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let read = Arc::new(Reading(self.0.clone()));
            let plan: Arc<dyn ExecutionPlan> = Arc::new(StreamingTableExec::try_new(
                self.schema(),
                vec![read],
                projection,
                [],
                false,
                limit,
            )?);
            Ok(plan)
        })
    }
}

#[derive(Debug)]
struct Reading(Arc<Versions>);

impl PartitionStream for Reading {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStream::builder(self.0.schema.clone(), 2);
        let (tx, this) = (stream.tx(), self.0.clone());
        stream.spawn(async move {
            for version in this.first..=this.last {
                let history = &this.table.history;
                let change = history.change(version, &this.table.cold).await;
                let change = change.map_err(|e| external(this.table.named(e)))?;
                let mut rows = rows::told(&this.state, &this.table, &change);
                loop {
                    let told = match rows.try_next().await {
                        Ok(Some(told)) => told,
                        Ok(None) => break,
                        Err(fault) => {
                            let newest = this.table.newest();
                            let swept = history.vacuumed(version, &change, newest).await;
                            let fault = swept.map_or(fault, |e| this.table.named(e));
                            return Err(external(fault));
                        }
                    };
                    let batch = told
                        .with_place(&this.schema, version, change.timestamp_ms, None)
                        .map_err(external)?;
                    if tx.send(Ok(batch)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        stream.build()
    }
}
