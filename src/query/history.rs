//! `DESCRIBE HISTORY t [LIMIT n]` and `DESCRIBE DETAIL t`: what a table's Delta log says, as tables of one query. The log is
//! read when the query runs, not when it is planned.

use std::sync::Arc;

use super::scan::scan_by_planned;
use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::catalog::view::Snapshot;
use crate::cold::{Detail, Entry, History};
use crate::fault::{Fault, Kind};
use crate::sql::Cursor;
use crate::types::TableName;

/// Which of a table's two descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    History,
    Detail,
}

/// What was asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Asked {
    about: About,
    table: TableName,
    limit: Option<usize>,
}

/// # Errors
/// INVALID_ARGUMENT: what follows `DESCRIBE HISTORY` or `DETAIL` is no table, or no limit.
pub(super) fn parse(mut rest: Cursor<'_>) -> Result<Asked, Fault> {
    rest.skip();
    let about = if rest.words(&["HISTORY"]) {
        About::History
    } else {
        rest.skip();
        About::Detail
    };
    let table = rest.name()?;
    let limited = about == About::History && rest.words(&["LIMIT"]);
    let limit = limited.then(|| rest.number("a whole number of versions"));
    let limit = limit.transpose()?;
    rest.end_or(match about {
        About::History => "LIMIT n or the end of the statement",
        About::Detail => "the end of the statement",
    })?;
    Ok(Asked {
        about,
        table,
        limit,
    })
}

/// The answer as a table, and the query that reads it when it stands under `name`.
///
/// # Errors
/// NOT_FOUND.
pub(super) fn answer(asked: &Asked, snapshot: &Snapshot) -> Result<LogTable, Fault> {
    let view = snapshot.tables.get(&asked.table.folded()).ok_or_else(|| {
        Fault::new(
            Kind::NotFound,
            "table_not_found",
            format!("no such table, table={}", asked.table),
        )
    })?;
    let history =
        view.cold.history().cloned().ok_or_else(|| {
            Fault::invalid("no_versions", format!("{} has no versions", view.name))
        })?;
    Ok(LogTable {
        about: asked.about,
        limit: asked.limit,
        name: view.name.to_string(),
        history,
    })
}

#[derive(Debug)]
pub(super) struct LogTable {
    about: About,
    limit: Option<usize>,
    name: String,
    history: Arc<History>,
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema(about: About) -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(match about {
        About::History => vec![
            field("version", DataType::Int64),
            field("timestamp", time()),
            field("operation", DataType::Utf8),
            field("operationParameters", DataType::Utf8),
            field("operationMetrics", DataType::Utf8),
            field("isBlindAppend", DataType::Boolean),
            field("engineInfo", DataType::Utf8),
            field("txns", DataType::Utf8),
        ],
        About::Detail => vec![
            field("format", DataType::Utf8),
            field("id", DataType::Utf8),
            field("name", DataType::Utf8),
            field("description", DataType::Utf8),
            field("location", DataType::Utf8),
            field("createdAt", time()),
            field("lastModified", time()),
            field(
                "partitionColumns",
                DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
            ),
            field("numFiles", DataType::Int64),
            field("sizeInBytes", DataType::Int64),
            field("properties", DataType::Utf8),
            field("minReaderVersion", DataType::Int32),
            field("minWriterVersion", DataType::Int32),
        ],
    }))
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let micros = values.map(|ms| ms.map(|ms| ms.saturating_mul(1000)));
    Arc::new(
        micros
            .collect::<TimestampMicrosecondArray>()
            .with_timezone("UTC"),
    )
}

fn json(map: &Map<String, Value>) -> String {
    Value::Object(map.clone()).to_string()
}

fn versions(entries: &[Entry]) -> Vec<ArrayRef> {
    let text = |value: &dyn Fn(&Entry) -> Option<String>| -> ArrayRef {
        Arc::new(entries.iter().map(value).collect::<StringArray>())
    };
    vec![
        Arc::new(entries.iter().map(|e| e.version).collect::<Int64Array>()),
        times(entries.iter().map(|e| Some(e.timestamp_ms))),
        text(&|e| e.operation.clone()),
        text(&|e| Some(json(&e.parameters))),
        text(&|e| Some(json(&e.metrics))),
        Arc::new(
            entries
                .iter()
                .map(|e| e.blind_append)
                .collect::<BooleanArray>(),
        ),
        text(&|e| e.engine.clone()),
        text(&|e| Some(json(&e.txns))),
    ]
}

fn detail(name: &str, detail: &Detail) -> Vec<ArrayRef> {
    let text = |value: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
    let mut partitions = ListBuilder::new(StringBuilder::new());
    partitions.append_value(detail.partition_by.iter().map(Some));
    let properties: Map<String, Value> = detail
        .properties
        .iter()
        .map(|(k, v)| (k.clone(), Value::String(v.clone())))
        .collect();
    vec![
        text(Some("delta")),
        text(Some(&detail.id)),
        text(Some(name)),
        text(detail.description.as_deref()),
        text(Some(&detail.location)),
        times(std::iter::once(detail.created_ms)),
        times(std::iter::once(detail.modified_ms)),
        Arc::new(partitions.finish()),
        Arc::new(Int64Array::from(vec![detail.files])),
        Arc::new(Int64Array::from(vec![detail.bytes])),
        text(Some(&json(&properties))),
        Arc::new(Int32Array::from(vec![detail.reader_version])),
        Arc::new(Int32Array::from(vec![detail.writer_version])),
    ]
}

impl TableProvider for LogTable {
    fn schema(&self) -> SchemaRef {
        schema(self.about)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    scan_by_planned!();
}

impl LogTable {
    fn planned<'a>(
        &'a self,
        _: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        _: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let failed =
                |e: crate::cold::Error| DataFusionError::External(Box::new(Fault::from(e)));
            let columns = match self.about {
                About::History => {
                    versions(&self.history.entries(self.limit).await.map_err(failed)?)
                }
                About::Detail => detail(&self.name, &self.history.detail().await.map_err(failed)?),
            };
            let batch = RecordBatch::try_new(self.schema(), columns)?;
            let plan: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(
                &[vec![batch]],
                self.schema(),
                projection.cloned(),
            )?;
            Ok(plan)
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql;

    fn parse(sql: &str) -> Result<Asked, Fault> {
        super::parse(sql::parse(sql).unwrap().cursor("table", "public"))
    }

    #[test]
    fn both_statements_are_read() {
        let asked = parse("describe history reactor.raw limit 3;").unwrap();
        assert_eq!(
            asked,
            Asked {
                about: About::History,
                table: TableName::new("reactor", "raw").unwrap(),
                limit: Some(3)
            }
        );
        assert_eq!(parse("DESC DETAIL t").unwrap().about, About::Detail);
        for bad in [
            "DESCRIBE HISTORY a LIMIT x",
            "DESCRIBE DETAIL a LIMIT 1",
            "DESCRIBE HISTORY a b",
            "DESCRIBE HISTORY 'a'",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, "syntax_error", "{bad}");
        }
    }
}
