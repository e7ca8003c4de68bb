//! `latest('schema.table')`: the row with the newest event time of each key, without a scan of the table: what earlier
//! versions came to is kept, and a query reads the files that came since and the hot rows. It promises what a scan of the
//! statement's snapshot would give; it does not know who writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::JoinType;
use datafusion::common::{Column, Result as DfResult, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::first_last::last_value;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::sqlparser::ast::{FunctionArg, ObjectName};
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::argument::{named_table, table_of};
use crate::catalog::view::{Snapshot, TableView};
use crate::cold::{ColdFile, FileList};
use crate::fault::{Fault, Kind};
use crate::query::arithmetic::max;
use crate::query::errors::external;
use crate::query::provider::SnapshotTable;
use crate::query::scan::scan_by_planned;
use crate::types::{TableName, quote_name};

pub(super) const NAME: &str = "latest";
/// Names of columns in between, which no table's are.
const NEWEST: &str = "deltaplane.newest";
const OF: &str = "deltaplane.of.";
const FORM: &str = "latest('schema.table')";
/// What is kept of one table, at one version.
const KEPT_BYTES: usize = 64 << 20;
/// Versions that are kept of one table: statements over slightly older snapshots run beside newer ones.
const KEPT_VERSIONS: usize = 3;
/// Questions about one table whose answers are kept.
const QUESTIONS_MAX: usize = 8;

/// What a version's rows came to, the files of which are not pinned.
#[derive(Debug)]
pub(super) struct Known {
    cold: FileList,
    rows: RecordBatch,
}

pub(super) type OfTable = Arc<tokio::sync::Mutex<Vec<Known>>>;

/// What the statements of one engine have found out, by the table's folder and the question: a table that is created anew has
/// another folder.
#[derive(Debug, Default)]
pub(in crate::query) struct Newest(Mutex<BTreeMap<(String, String), OfTable>>);

impl Newest {
    pub(super) fn of(&self, view: &TableView, question: &str, snapshot: &Snapshot) -> OfTable {
        let Some(folder) = folder_of(view) else {
            return OfTable::default();
        };
        let mut all = self.0.lock();
        let asked = (folder.to_owned(), question.to_owned());
        if let Some(known) = all.get(&asked) {
            return known.clone();
        }
        // Tables that were dropped.
        let there: Vec<&str> = snapshot.tables.values().filter_map(folder_of).collect();
        all.retain(|(known, _), _| there.contains(&known.as_str()));
        if all.keys().filter(|(known, _)| *known == asked.0).count() >= QUESTIONS_MAX {
            return OfTable::default();
        }
        all.entry(asked).or_default().clone()
    }
}

fn folder_of(view: &TableView) -> Option<&str> {
    view.cold.history().map(|history| history.folder())
}

/// Makes the function known to a session over this snapshot.
pub(super) fn register(state: &mut SessionState, snapshot: &Snapshot, newest: &Arc<Newest>) {
    let function = Latest {
        snapshot: snapshot.clone(),
        newest: newest.clone(),
    };
    state.register_udtf(NAME, Arc::new(function));
}

pub(super) fn find<'a>(snapshot: &'a Snapshot, name: &TableName) -> Result<&'a TableView, Fault> {
    snapshot.tables.get(&name.folded()).ok_or_else(|| {
        Fault::new(
            Kind::NotFound,
            "table_not_found",
            format!("no such table, table={name}"),
        )
    })
}

/// The columns of a call of the function as it stands in a statement; none if it is another's.
pub(super) fn columns(
    snapshot: &Snapshot,
    name: &ObjectName,
    args: &[FunctionArg],
) -> Option<Vec<String>> {
    let view = find(snapshot, &named_table(snapshot, NAME, name, args)?).ok()?;
    let fields = view.schema.fields();
    Some(fields.iter().map(|f| f.name().clone()).collect())
}

struct Latest {
    snapshot: Snapshot,
    newest: Arc<Newest>,
}

impl std::fmt::Debug for Latest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAME)
    }
}

impl TableFunctionImpl for Latest {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let [Expr::Literal(ScalarValue::Utf8(Some(text)), _)] = args.exprs() else {
            return Err(external(Fault::invalid(
                "invalid_argument",
                format!("it is {FORM}, with a literal"),
            )));
        };
        let view = table_of(&self.snapshot, text)
            .and_then(|name| find(&self.snapshot, &name))
            .map_err(external)?;
        let (keys, time) = keys(view).map_err(external)?;
        let known = self.newest.of(view, NAME, &self.snapshot);
        Ok(Arc::new(LatestRows {
            view: view.clone(),
            keys,
            time,
            known,
        }))
    }
}

/// Key columns without the event time, and the event time.
fn keys(view: &TableView) -> Result<(Vec<String>, String), Fault> {
    let refused = |what: &str| {
        Err(Fault::invalid(
            "no_latest",
            format!("{what}, table={}", view.name),
        ))
    };
    if view.progress.is_some() {
        return refused(
            "a view's newest windows come by ORDER BY window_start DESC; latest() is for tables",
        );
    }
    let Some(contract) = &view.contract else {
        return refused("latest() is for tables, and a quarantine has no key");
    };
    let Some(time) = &contract.event_time else {
        return refused(
            "latest() needs an event time; name one with ALTER TABLE .. SET TBLPROPERTIES ('deltaplane.eventTime'='column')",
        );
    };
    // A column that the event time is made from is the event time too.
    let column = contract.columns.iter().find(|c| c.name == *time);
    let made_from = column.and_then(|c| c.from.as_ref());
    let keys: Vec<String> = contract
        .key
        .iter()
        .filter(|k| *k != time && Some(*k) != made_from)
        .cloned()
        .collect();
    if keys.is_empty() {
        return refused(
            "latest() needs a key; name it with ALTER TABLE .. SET TBLPROPERTIES ('deltaplane.key'='column, ..')",
        );
    }
    Ok((keys, time.clone()))
}

#[derive(Debug)]
struct LatestRows {
    view: TableView,
    keys: Vec<String>,
    time: String,
    known: OfTable,
}

impl TableProvider for LatestRows {
    fn schema(&self) -> SchemaRef {
        self.view.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_planned!();
}

impl LatestRows {
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
            let rows = carried(&self.view, &self.known, &self.schema(), reduce).await?;
            let plan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(
                &[vec![rows]],
                self.schema(),
                projection.cloned(),
            )?;
            Ok(plan)
        })
    }
}

fn kept(rows: RecordBatch) -> DfResult<Arc<dyn TableProvider>> {
    Ok(Arc::new(MemTable::try_new(
        rows.schema(),
        vec![vec![rows]],
    )?))
}

/// What the table's rows come to, hot ones included: what an earlier version came to is reduced again with the rows that came
/// since. `reduce` has to give the same for rows that it is given twice.
pub(super) async fn carried<F: Future<Output = DfResult<RecordBatch>>>(
    view: &TableView,
    known: &OfTable,
    schema: &SchemaRef,
    reduce: impl Fn(Vec<Arc<dyn TableProvider>>) -> F,
) -> DfResult<RecordBatch> {
    let cold = cold_rows(view, known, schema, &reduce).await?;
    if view.hot.is_empty() {
        return Ok(cold);
    }
    let hot = over(view, Vec::new(), view.hot.clone());
    reduce(vec![kept(cold)?, hot]).await
}

fn over(
    view: &TableView,
    files: Vec<Arc<ColdFile>>,
    hot: Arc<Vec<crate::hot::Chunk>>,
) -> Arc<dyn TableProvider> {
    Arc::new(SnapshotTable::new(TableView {
        cold: Arc::new(view.cold.with_files(files)),
        hot,
        ..view.clone()
    }))
}

/// Of the rows in Delta. One statement at a time finds it out, the others wait for it.
async fn cold_rows<F: Future<Output = DfResult<RecordBatch>>>(
    view: &TableView,
    known: &OfTable,
    schema: &SchemaRef,
    reduce: &impl Fn(Vec<Arc<dyn TableProvider>>) -> F,
) -> DfResult<RecordBatch> {
    let cold = &view.cold;
    let mut known = known.lock().await;
    let older = known.iter().rev().find(|k| {
        k.cold.version() <= cold.version()
            && k.rows.schema() == *schema
            && k.cold.same_columns(cold)
    });
    let since = match older {
        Some(older) => files_since(view, &older.cold).await.map(|f| (older, f)),
        None => None,
    };
    let rows = match since {
        Some((older, files)) if files.is_empty() => older.rows.clone(),
        Some((older, files)) => {
            let inputs = vec![kept(older.rows.clone())?, over(view, files, Arc::default())];
            reduce(inputs).await?
        }
        None => {
            let all = over(view, cold.files().to_vec(), Arc::default());
            reduce(vec![all]).await?
        }
    };
    let newest = known.last().map(|k| k.cold.version());
    if newest.is_none_or(|newest| newest < cold.version())
        && rows.get_array_memory_size() <= KEPT_BYTES
    {
        known.push(Known {
            cold: cold.to_list(),
            rows: rows.clone(),
        });
        if known.len() > KEPT_VERSIONS {
            known.remove(0);
        }
    }
    Ok(rows)
}

/// Files whose rows are all that came since; none if rows were taken out as well, or if the log does not tell any more.
async fn files_since(view: &TableView, older: &FileList) -> Option<Vec<Arc<ColdFile>>> {
    let changed = view.cold.since(older);
    if changed.removed.is_empty() {
        return Some(changed.added);
    }
    let history = view.cold.history()?;
    let told = history.silent(older.version(), &view.cold).await;
    let silent = told
        .map_err(|error| tracing::debug!(table = %view.name, %error, "read whole"))
        .ok()?;
    if silent.rows_taken_out {
        return None;
    }
    let mut added = changed.added;
    // Rows that came and were compacted since are in what compaction wrote, and nowhere else.
    if silent.passed.is_empty() {
        added.retain(|file| !silent.paths.contains(file.path()));
    }
    Some(added)
}

impl LatestRows {
    /// The newest row of each key among all rows of these.
    async fn reduced(
        &self,
        context: &SessionContext,
        inputs: Vec<Arc<dyn TableProvider>>,
    ) -> DfResult<RecordBatch> {
        let mut all: Option<DataFrame> = None;
        for input in inputs {
            let input = context.read_table(input)?;
            all = Some(match all {
                Some(all) => all.union(input)?,
                None => input,
            });
        }
        let schema = self.schema();
        let Some(all) = all else {
            return Ok(RecordBatch::new_empty(schema));
        };
        let named = |name: &str| Expr::Column(Column::from_name(name));
        let keys = || self.keys.iter().map(|k| named(k)).collect::<Vec<_>>();
        // Which time is the newest first, then the rows that have it: an aggregate that takes whole rows by time sorts them all.
        let newest = all
            .clone()
            .aggregate(keys(), vec![max(named(&self.time)).alias(NEWEST)])?;
        let same = |name: &String| (format!("{OF}{name}"), name.clone());
        let renamed: Vec<(String, String)> = self.keys.iter().map(same).collect();
        let columns = renamed.iter().map(|(of, key)| named(key).alias(of));
        let newest = newest.select(columns.chain([named(NEWEST)]).collect::<Vec<_>>())?;
        // What is not quoted is read as a relation and its column where it has a dot.
        let left = self.keys.iter().chain([&self.time]);
        let left: Vec<String> = left.map(|name| quote_name(name)).collect();
        let right = renamed.iter().map(|(of, _)| of.as_str()).chain([NEWEST]);
        let right: Vec<String> = right.map(quote_name).collect();
        let [left, right] = [&left, &right].map(|names| {
            let names = names.iter().map(String::as_str);
            names.collect::<Vec<&str>>()
        });
        // Few rows on the side that is held, all rows on the side that flows by.
        let rows = newest.join(all, JoinType::RightSemi, &right, &left, None)?;
        // Of rows with the same time, one.
        let rest = schema.fields().iter();
        let one = rest
            .filter(|f| !self.keys.contains(f.name()))
            .map(|f| last_value(named(f.name()), Vec::new()).alias(f.name()))
            .collect();
        let columns: Vec<Expr> = schema.fields().iter().map(|f| named(f.name())).collect();
        let found = rows
            .aggregate(keys(), one)?
            .select(columns)?
            .collect()
            .await?;
        let found = found
            .into_iter()
            .map(|batch| RecordBatch::try_new(schema.clone(), batch.columns().to_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(concat_batches(&schema, &found)?)
    }
}
