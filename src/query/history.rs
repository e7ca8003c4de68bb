//! `DESCRIBE HISTORY t [LIMIT n]` and `DESCRIBE DETAIL t`: what a table's Delta log says, as tables of one query. The log is
//! read when the query runs, not when it is planned.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::sqlparser::tokenizer::Token;
use serde_json::{Map, Value};

use super::caller::default_schema;
use super::text::tokenize;
use crate::catalog::view::Snapshot;
use crate::cold::{Detail, Entry, History};
use crate::fault::{Fault, Kind};
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

/// None: the text is another statement.
///
/// # Errors
/// INVALID_ARGUMENT: what follows `DESCRIBE HISTORY` or `DETAIL` is no table, or no limit.
pub(super) fn parse(sql: &str) -> Result<Option<Asked>, Fault> {
    let head = sql.trim_start().get(..4).unwrap_or_default();
    if !head.eq_ignore_ascii_case("desc") {
        return Ok(None);
    }
    let tokens: Vec<Token> = tokenize(sql)?
        .into_iter()
        .map(|t| t.token)
        .filter(|t| !matches!(t, Token::Whitespace(_) | Token::SemiColon))
        .collect();
    let bare = |at: usize| match tokens.get(at) {
        Some(Token::Word(w)) if w.quote_style.is_none() => w.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let about = match (bare(0).as_str(), bare(1).as_str()) {
        ("DESCRIBE" | "DESC", "HISTORY") => About::History,
        ("DESCRIBE" | "DESC", "DETAIL") => About::Detail,
        _ => return Ok(None),
    };
    // `DESCRIBE history` means a table of that name.
    if tokens.len() == 2 {
        return Ok(None);
    }
    let wrong = || {
        Fault::invalid(
            "syntax_error",
            "expected DESCRIBE HISTORY table [LIMIT n] or DESCRIBE DETAIL table",
        )
    };
    let mut parts = Vec::new();
    let mut at = 2;
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) => parts.push(word.value.as_str()),
            _ => return Err(wrong()),
        }
        at += 1;
        if tokens.get(at) != Some(&Token::Period) {
            break;
        }
        at += 1;
    }
    let table = match parts.as_slice() {
        [table] => TableName::new(&default_schema(), table),
        [.., schema, table] => TableName::new(schema, table),
        [] => return Err(wrong()),
    };
    let table = table.map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
    let limit = match (bare(at).as_str(), tokens.get(at + 1), tokens.len() - at) {
        ("", None, 0) => None,
        ("LIMIT", Some(Token::Number(n, _)), 2) if about == About::History => {
            Some(n.parse().map_err(|_| wrong())?)
        }
        _ => return Err(wrong()),
    };
    Ok(Some(Asked {
        about,
        table,
        limit,
    }))
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

#[async_trait]
impl TableProvider for LogTable {
    fn schema(&self) -> SchemaRef {
        schema(self.about)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let failed = |e: crate::cold::Error| DataFusionError::External(Box::new(Fault::from(e)));
        let columns = match self.about {
            About::History => versions(&self.history.entries(self.limit).await.map_err(failed)?),
            About::Detail => detail(&self.name, &self.history.detail().await.map_err(failed)?),
        };
        let batch = RecordBatch::try_new(self.schema(), columns)?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![batch]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn both_statements_are_read_and_others_are_left_alone() {
        let asked = parse("describe history reactor.raw limit 3;")
            .unwrap()
            .unwrap();
        assert_eq!(
            asked,
            Asked {
                about: About::History,
                table: TableName::new("reactor", "raw").unwrap(),
                limit: Some(3)
            }
        );
        assert_eq!(
            parse("DESC DETAIL t").unwrap().unwrap().about,
            About::Detail
        );
        for other in ["DESCRIBE history", "DESCRIBE raw", "SELECT 1", "desc", "ü"] {
            assert!(parse(other).unwrap().is_none(), "{other}");
        }
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
