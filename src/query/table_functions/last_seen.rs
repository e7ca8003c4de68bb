//! `last_seen('schema.table', 'key', ..)`: when each key was heard last, without a scan of the table: as `latest()`, it keeps
//! what a version came to and reads what came since.
//!
//! Of a table with system columns a row is a key and a source (which may be the key), with `_seq`, the source's highest, and `last_row`, its newest
//! arrival by the server's clock. Of another, a row is a key, and `last_row` its newest event time.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Column, Result as DfResult, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, ObjectName};
use futures::future::BoxFuture;

use super::argument::{named_table, table_of};
use super::latest::{self, Newest, OfTable, find};
use crate::catalog::view::{Snapshot, TableView};
use crate::fault::Fault;
use crate::query::arithmetic::max;
use crate::query::errors::external;
use crate::query::scan::scan_by_planned;
use crate::types::{SameName, join_names};

pub(super) const NAME: &str = "last_seen";
const FORM: &str = "last_seen('schema.table', 'key' [, 'key' ..])";
const ARRIVAL: &str = "_ingest_ts";
const SOURCE: &str = "_source";
const SEQ: &str = "_seq";
const LAST: &str = "last_row";

/// Makes the function known to a session over this snapshot.
pub(super) fn register(state: &mut SessionState, snapshot: &Snapshot, newest: &Arc<Newest>) {
    let function = LastSeen {
        snapshot: snapshot.clone(),
        newest: newest.clone(),
    };
    state.register_udtf(NAME, Arc::new(function));
}

/// The columns of a call of the function as it stands in a statement; none if it is another's.
pub(super) fn columns(
    snapshot: &Snapshot,
    name: &ObjectName,
    args: &[FunctionArg],
) -> Option<Vec<String>> {
    let view = find(snapshot, &named_table(snapshot, NAME, name, args)?).ok()?;
    let text = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Value(value))) => {
            value.value.clone().into_string()
        }
        _ => None,
    };
    let keys: Option<Vec<String>> = args.iter().skip(1).map(text).collect();
    let asked = Asked::of(view, &keys?).ok()?;
    let fields = asked.schema.fields();
    Some(fields.iter().map(|f| f.name().clone()).collect())
}

/// The keys as the table spells them.
///
/// # Errors
/// INVALID_ARGUMENT for a view, a column that the table has not, or a table that tells neither arrival nor event time.
pub fn columns_of(view: &TableView, keys: &[String]) -> Result<Vec<String>, Fault> {
    Asked::of(view, keys).map(|asked| asked.keys)
}

/// What is grouped by, and what the newest of is taken.
struct Asked {
    keys: Vec<String>,
    /// Source and number, where the table has them.
    arrives: bool,
    time: String,
    schema: SchemaRef,
}

impl Asked {
    fn of(view: &TableView, keys: &[String]) -> Result<Self, Fault> {
        let refused = |what: String| Fault::invalid("no_last_seen", what);
        let name = &view.name;
        if view.progress.is_some() {
            return Err(refused(format!(
                "{name} is a view; silence is told of tables: take the one that it reads, or ask the view by a query"
            )));
        }
        if keys.is_empty() {
            return Err(refused(format!("it is {FORM}, with a key")));
        }
        let mut columns = Vec::new();
        for key in keys {
            let fields = view.schema.fields().iter();
            let exact = fields.clone().find(|f| f.name() == key);
            let found = exact.or_else(|| {
                let mut fields = fields.clone();
                fields.find(|f| f.name().is_same_name(key))
            });
            let Some(field) = found else {
                let known: Vec<&str> = fields.map(|f| f.name().as_str()).collect();
                return Err(refused(format!(
                    "no such column, table={name}, column={key}; columns: {}",
                    known.join(", ")
                )));
            };
            if [ARRIVAL, SEQ].contains(&field.name().as_str()) {
                return Err(refused(format!(
                    "{} is the server's own and no key, table={name}",
                    field.name()
                )));
            }
            columns.push(field.clone());
        }
        let arrival = view.schema.field_with_name(ARRIVAL).ok();
        let event_time = || view.contract.as_ref().and_then(|c| c.event_time.clone());
        let (arrives, time) = match (arrival, event_time()) {
            (Some(_), _) => (true, ARRIVAL.to_owned()),
            (None, Some(time)) => (false, time),
            (None, None) => {
                return Err(refused(format!(
                    "{name} tells neither arrival nor event time; name one with ALTER TABLE {name} SET TBLPROPERTIES ('deltaplane.eventTime'='column'), or create it with 'deltaplane.systemColumns'='true'"
                )));
            }
        };
        let own = |name: &str| {
            let field = view.schema.field_with_name(name);
            field
                .cloned()
                .map_err(|e| Fault::internal(format!("a system column is missing: {e}")))
        };
        let keys = columns.iter().map(|f| f.name().clone()).collect();
        let last = own(&time)?.with_name(LAST).with_nullable(true);
        let mut fields: Vec<Field> = columns.iter().map(|f| f.as_ref().clone()).collect();
        if arrives {
            if !fields.iter().any(|f| f.name() == SOURCE) {
                fields.push(own(SOURCE)?);
            }
            fields.push(own(SEQ)?.with_nullable(true));
        }
        fields.push(last);
        let plain = fields.into_iter().map(|f| f.with_metadata([].into()));
        Ok(Asked {
            keys,
            arrives,
            time,
            schema: Arc::new(Schema::new(plain.collect::<Vec<_>>())),
        })
    }
}

struct LastSeen {
    snapshot: Snapshot,
    newest: Arc<Newest>,
}

impl std::fmt::Debug for LastSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAME)
    }
}

impl TableFunctionImpl for LastSeen {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let texts = args.exprs().iter().map(|e| match e {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text.clone()),
            _ => None,
        });
        let texts: Option<Vec<String>> = texts.collect();
        let form = || external(Fault::invalid("invalid_argument", format!("it is {FORM}")));
        let texts = texts.ok_or_else(form)?;
        let (table, keys) = texts.split_first().ok_or_else(form)?;
        let view = table_of(&self.snapshot, table)
            .and_then(|name| find(&self.snapshot, &name))
            .map_err(external)?;
        let asked = Asked::of(view, keys).map_err(external)?;
        let question = format!("{NAME} {}", join_names(&asked.keys, ','));
        Ok(Arc::new(LastRows {
            known: self.newest.of(view, &question, &self.snapshot),
            view: view.clone(),
            asked,
        }))
    }
}

struct LastRows {
    view: TableView,
    asked: Asked,
    known: OfTable,
}

impl std::fmt::Debug for LastRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LastRows({})", self.view.name)
    }
}

impl TableProvider for LastRows {
    fn schema(&self) -> SchemaRef {
        self.asked.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_planned!();
}

impl LastRows {
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        _: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let state = state.as_any().downcast_ref::<SessionState>();
            let state =
                state.ok_or_else(|| external(Fault::internal("a session of another kind")))?;
            let context = SessionContext::new_with_state(state.clone());
            let reduce = |inputs| self.reduced(&context, inputs);
            let rows = latest::carried(&self.view, &self.known, &self.asked.schema, reduce).await?;
            let plan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(
                &[vec![rows]],
                self.schema(),
                projection.cloned(),
            )?;
            Ok(plan)
        })
    }
}

impl LastRows {
    /// The newest of each key and source; the same for rows that come twice.
    async fn reduced(
        &self,
        context: &SessionContext,
        inputs: Vec<Arc<dyn TableProvider>>,
    ) -> DfResult<RecordBatch> {
        let Asked {
            keys,
            arrives,
            time,
            schema,
        } = &self.asked;
        let named = |name: &str| Expr::Column(Column::from_name(name));
        let own = keys.iter().any(|k| k == SOURCE);
        let groups = || {
            let source = (*arrives && !own).then_some(SOURCE);
            let keys = keys.iter().map(String::as_str);
            keys.chain(source).map(named).collect::<Vec<Expr>>()
        };
        let mut all: Option<DataFrame> = None;
        for input in inputs {
            // Rows of the table, or what they came to before.
            let time = if input.schema() == *schema {
                LAST
            } else {
                time
            };
            let mut columns = groups();
            if *arrives {
                columns.push(named(SEQ));
            }
            columns.push(named(time).alias(LAST));
            let input = context.read_table(input)?.select(columns)?;
            all = Some(match all {
                Some(all) => all.union(input)?,
                None => input,
            });
        }
        let Some(all) = all else {
            return Ok(RecordBatch::new_empty(schema.clone()));
        };
        let mut newest = Vec::new();
        if *arrives {
            newest.push(max(named(SEQ)).alias(SEQ));
        }
        newest.push(max(named(LAST)).alias(LAST));
        let columns: Vec<Expr> = schema.fields().iter().map(|f| named(f.name())).collect();
        let found = all.aggregate(groups(), newest)?.select(columns)?;
        let found = found.collect().await?;
        let found = found
            .into_iter()
            .map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(concat_batches(schema, &found)?)
    }
}
