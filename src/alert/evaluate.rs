//! One look of one alert: its query, or the silence of its table, under the limits of all queries and in the name of whoever
//! made it.

use std::collections::BTreeSet;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};

use super::deadman::{Seen, Tracker};
use super::machine::{Columns, Found, Identity};
use crate::clock::Micros;
use crate::dataset::{AlertDeclaration, Watched, quote_text};
use crate::fault::{Fault, Kind};
use crate::query::{Engine, QueryContext, ResultStream};
use crate::types::TableName;

/// Rows of a condition that are read before it is an error, for each instance that there may be.
const ROWS_PER_INSTANCE: usize = 100;

/// What bounds a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub instances_max: usize,
    pub keys_max: usize,
    pub timeout: Duration,
    /// Of a deadman's first look after a start, which reads the table.
    pub first_timeout: Duration,
}

/// Where a deadman's look stands.
pub(super) struct Silence<'a> {
    pub tracker: &'a mut Tracker,
    pub seen: Micros,
    pub firing: BTreeSet<Identity>,
}

/// The name in which the query of an alert runs, and where its names are looked for.
pub(super) fn caller(alert: &TableName, principal: &str) -> QueryContext {
    QueryContext {
        schema: alert.schema().into(),
        ..QueryContext::new(principal)
    }
}

fn too_many(what: &str, limit: usize, setting: &str) -> Fault {
    Fault::new(
        Kind::Exhausted,
        "too_many_instances",
        format!("{what}, limit={limit}; narrow the alert, or raise {setting}"),
    )
}

/// Whose state more than the bound would be in.
pub(super) fn over(count: usize, limit: usize) -> Fault {
    too_many(
        &format!("more instances are in condition than an alert may have, instances={count}"),
        limit,
        "alerts.instances_max",
    )
}

/// # Errors
/// The query's; DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED where there are more instances, rows or keys than the bounds say.
pub(super) async fn look(
    engine: &Engine,
    alert: &AlertDeclaration,
    principal: &str,
    bounds: &Bounds,
    silence: Silence<'_>,
) -> Result<Found, Fault> {
    let (sql, timeout) = match &alert.watched {
        Watched::Query { sql } => (sql.clone(), bounds.timeout),
        Watched::Deadman { table, .. } => {
            let keys = alert.by.iter().map(|k| quote_text(k));
            let keys: Vec<String> = keys.collect();
            let table = quote_text(&table.to_string());
            let sql = format!("SELECT * FROM last_seen({table}, {})", keys.join(", "));
            (sql, bounds.first_timeout)
        }
    };
    let at = silence.seen;
    // An id by which it is told from users' own queries, and that no cancel has used up.
    let asking = QueryContext {
        query: Some(format!("alert/{}/{}", alert.name, at).into()),
        ..caller(&alert.name, principal)
    };
    let asked = async {
        let rows = engine.query(&asking, &sql, None).await?;
        match &alert.watched {
            Watched::Query { .. } => in_condition(rows, &alert.by, bounds).await,
            Watched::Deadman { silence: span, .. } => {
                let rows = seen(rows, &alert.by, bounds).await?;
                let Silence {
                    tracker,
                    seen,
                    firing,
                } = silence;
                Ok(tracker.look(rows, seen, *span, &firing))
            }
        }
    };
    match tokio::time::timeout(timeout, asked).await {
        Ok(found) => found,
        Err(_) => Err(Fault::new(
            Kind::Deadline,
            "alert_timeout",
            format!(
                "the alert's query ran longer than {timeout:?}; narrow it, ask less often, or raise alerts.timeout"
            ),
        )),
    }
}

/// Each row is in condition; of rows with the same BY columns the first one's values count.
async fn in_condition(
    mut rows: ResultStream,
    by: &[String],
    bounds: &Bounds,
) -> Result<Found, Fault> {
    let mut found = Found::default();
    let rows_max = bounds.instances_max.saturating_mul(ROWS_PER_INSTANCE);
    let mut read = 0usize;
    while let Some(batch) = rows.batches.recv().await {
        for mut row in objects(&batch?)? {
            read += 1;
            let identity = identity(&mut row, by)?;
            found.0.entry(identity).or_insert(row);
            // All rows are the one instance.
            if by.is_empty() {
                return Ok(found);
            }
            if found.0.len() > bounds.instances_max {
                return Err(over(found.0.len(), bounds.instances_max));
            }
        }
        if read > rows_max {
            let what = format!("the alert's query gives too many rows, rows={read}");
            return Err(too_many(
                &what,
                rows_max,
                "alerts.instances_max; GROUP BY what BY names gives a row an instance",
            ));
        }
    }
    Ok(found)
}

/// Takes the BY columns out of a row.
fn identity(row: &mut Columns, by: &[String]) -> Result<Identity, Fault> {
    let mut own = Columns::new();
    for column in by {
        let Some(value) = row.remove(column) else {
            return Err(Fault::invalid(
                "column_not_found",
                format!("the alert's query no longer gives a column of BY, column={column}"),
            ));
        };
        own.insert(column.clone(), value);
    }
    serde_json::to_string(&own).map_err(|e| Fault::internal(e.to_string()))
}

/// A batch's rows as JSON objects, nulls included.
fn objects(batch: &RecordBatch) -> Result<Vec<Columns>, Fault> {
    let internal = |e: String| Fault::internal(format!("rows as JSON: {e}"));
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, arrow::json::writer::JsonArray>(Vec::new());
    writer.write(batch).map_err(|e| internal(e.to_string()))?;
    writer.finish().map_err(|e| internal(e.to_string()))?;
    serde_json::from_slice(&writer.into_inner()).map_err(|e| internal(e.to_string()))
}

/// The rows of `last_seen`.
async fn seen(mut rows: ResultStream, by: &[String], bounds: &Bounds) -> Result<Vec<Seen>, Fault> {
    let mut out = Vec::new();
    while let Some(batch) = rows.batches.recv().await {
        let batch = batch?;
        if out.len() + batch.num_rows() > bounds.keys_max {
            return Err(too_many(
                "the table has more keys than a deadman may watch",
                bounds.keys_max,
                "alerts.keys_max",
            ));
        }
        let whole = |name: &str| {
            let column = batch.column_by_name(name)?;
            let numbers = arrow::compute::cast(column, &DataType::Int64).ok()?;
            Some(numbers.as_primitive_opt::<Int64Type>()?.clone())
        };
        let (seqs, last) = (whole("_seq"), whole("last_row"));
        let sources = batch
            .column_by_name("_source")
            .and_then(|c| arrow::compute::cast(c, &DataType::Utf8).ok());
        let sources = sources.as_ref().and_then(|c| c.as_string_opt::<i32>());
        let number = |numbers: &Option<arrow::array::Int64Array>, row: usize| {
            use arrow::array::Array;
            let numbers = numbers.as_ref()?;
            (!numbers.is_null(row)).then(|| numbers.value(row))
        };
        for (row, mut columns) in objects(&batch)?.into_iter().enumerate() {
            out.push(Seen {
                identity: identity(&mut columns, by)?,
                source: sources.map_or_else(String::new, |s| s.value(row).to_owned()),
                seq: number(&seqs, row),
                last_row: number(&last, row),
            });
        }
    }
    Ok(out)
}
