//! One data file, as a version's log entry describes it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, TimeZone, Utc};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde_json::Value;

use super::super::mapping::Mapping;
use super::super::{Error, store_error};

/// As what a file is listed: the columns of a table's version, those that make up its partitions, and what each is called in
/// files.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    pub schema: &'a SchemaRef,
    pub partition_by: &'a [String],
    pub mapping: &'a Mapping,
}

/// The tag of an `add` action that says that each float of the file is in its one form ([`crate::floats`]), so that a scan need not
/// look at it (Delta protocol, "Add File"). Whoever writes the file anew writes another action, without the tag.
const IN_ONE_FORM: &str = "deltaplane.floatsInOneForm";

/// The tags of an action whose file's floats are in their one form, or may not be.
pub(in crate::cold) fn tags(in_one_form: bool) -> Option<HashMap<String, Option<String>>> {
    in_one_form.then(|| HashMap::from([(IN_ONE_FORM.to_owned(), Some("true".to_owned()))]))
}

/// Do the tags say so?
pub(in crate::cold) fn is_in_one_form(tags: Option<&HashMap<String, Option<String>>>) -> bool {
    let said = tags.and_then(|tags| tags.get(IN_ONE_FORM));
    said.is_some_and(|said| said.as_deref() == Some("true"))
}

/// Does an action in the log say so?
pub(in crate::cold) fn said_in(action: &Value) -> bool {
    action["tags"][IN_ONE_FORM].as_str() == Some("true")
}

/// What an action of the Delta log says of a file.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// Relative to the table.
    pub path: &'a str,
    /// In bytes.
    pub size: i64,
    /// In milliseconds since 1970.
    pub modified_ms: i64,
    pub stats: Option<&'a str>,
    pub partition_values: &'a HashMap<String, Option<String>>,
    /// Its floats are in their one form, as its tags say.
    pub in_one_form: bool,
}

/// One data file of a version. Statistics follow the table schema without partition columns.
#[derive(Clone, Debug)]
pub struct ColdFile {
    /// As the Delta log has it, relative to the table.
    path: String,
    pub(super) meta: ObjectMeta,
    pub(super) partition_values: Vec<ScalarValue>,
    pub(super) statistics: Arc<Statistics>,
    rows: Option<usize>,
    pub(super) in_one_form: bool,
}

impl ColdFile {
    pub fn new(
        root: &Path,
        described: Described<'_>,
        columns: Columns<'_>,
    ) -> Result<Arc<Self>, Error> {
        let path = described.path;
        let Columns {
            schema,
            partition_by,
            mapping,
        } = columns;
        let location = Path::parse(format!("{root}/{path}")).map_err(store_error)?;
        let stats: Value = described
            .stats
            .and_then(|s| serde_json::from_str(s).ok())
            .unwrap_or(Value::Null);
        let rows = stats["numRecords"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        let columns = schema
            .fields()
            .iter()
            .filter(|f| !partition_by.contains(f.name()))
            .map(|f| match mapping.in_files(f.name()) {
                Some(name) => column_statistics(f.data_type(), name, &stats, rows),
                None => ColumnStatistics::new_unknown(),
            });
        let statistics = Statistics {
            num_rows: rows.map_or(Precision::Absent, Precision::Exact),
            total_byte_size: Precision::Absent,
            column_statistics: columns.collect(),
        };
        let partition_values = partition_by
            .iter()
            .map(|name| {
                let field = schema.field_with_name(name).map_err(store_error)?;
                let value = mapping
                    .in_files(name)
                    .and_then(|name| described.partition_values.get(name));
                match value.cloned().flatten() {
                    Some(text) => {
                        ScalarValue::try_from_string(text, field.data_type()).map_err(store_error)
                    }
                    None => ScalarValue::try_from(field.data_type()).map_err(store_error),
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(ColdFile {
            path: path.to_owned(),
            meta: ObjectMeta {
                location,
                last_modified: Utc
                    .timestamp_millis_opt(described.modified_ms)
                    .single()
                    .unwrap_or_default(),
                size: u64::try_from(described.size).unwrap_or(0),
                e_tag: None,
                version: None,
            },
            partition_values,
            statistics: Arc::new(statistics),
            rows,
            in_one_form: described.in_one_form,
        }))
    }

    pub fn rows(&self) -> Option<usize> {
        self.rows
    }

    /// Relative to the table, as [`Removal::Files`](crate::cold::Removal::Files) takes it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// When it was written, in milliseconds since 1970.
    pub fn modified_ms(&self) -> i64 {
        self.meta.last_modified.timestamp_millis()
    }

    /// Columns follow the table's, without those of partitions.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub fn size(&self) -> u64 {
        self.meta.size
    }

    /// When it was written, as the Delta log says.
    pub fn modified(&self) -> DateTime<Utc> {
        self.meta.last_modified
    }

    /// A bound that no value of the column is below, if statistics tell one. Columns of partitions have none.
    pub fn lower_bound(&self, column: usize) -> Option<&ScalarValue> {
        self.statistics
            .column_statistics
            .get(column)?
            .min_value
            .get_value()
    }

    /// The values of the table's partition columns in their order, as text; None is null.
    pub fn partition(&self) -> Vec<Option<String>> {
        let text = |v: &ScalarValue| (!v.is_null()).then(|| v.to_string());
        self.partition_values.iter().map(text).collect()
    }

    /// No row of the file has a later time in this column, in microseconds since 1970. None: unknown, or no column of time.
    pub fn latest(&self, schema: &Schema, partition_by: &[String], column: &str) -> Option<i64> {
        let kept = schema.fields().iter().map(|f| f.name());
        let index = kept
            .filter(|name| !partition_by.contains(name))
            .position(|name| name == column)?;
        match self
            .statistics
            .column_statistics
            .get(index)?
            .max_value
            .get_value()?
        {
            ScalarValue::TimestampMicrosecond(micros, _) => *micros,
            _ => None,
        }
    }
}

/// Bounds that hold, not exact ones: Delta truncates texts and cuts timestamps to milliseconds.
fn column_statistics(
    data_type: &DataType,
    name: &str,
    stats: &Value,
    rows: Option<usize>,
) -> ColumnStatistics {
    let bound = |kind: &str| scalar(data_type, &stats[kind][name], kind == "maxValues");
    let null_count = stats["nullCount"][name]
        .as_u64()
        .and_then(|n| usize::try_from(n).ok());
    let mut out = ColumnStatistics::new_unknown();
    if rows.is_some() {
        out.null_count = null_count.map_or(Precision::Absent, Precision::Exact);
    }
    out.min_value = bound("minValues").map_or(Precision::Absent, Precision::Inexact);
    out.max_value = bound("maxValues").map_or(Precision::Absent, Precision::Inexact);
    out
}

fn scalar(data_type: &DataType, value: &Value, upper: bool) -> Option<ScalarValue> {
    match data_type {
        DataType::Int64 => Some(ScalarValue::Int64(Some(value.as_i64()?))),
        DataType::Int32 => Some(ScalarValue::Int32(Some(
            i32::try_from(value.as_i64()?).ok()?,
        ))),
        // A NaN is above every number, and writers leave it out: nothing bounds a column of floats from above.
        DataType::Float64 if !upper => Some(ScalarValue::Float64(Some(value.as_f64()?))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instant: DateTime<Utc> =
                DateTime::parse_from_rfc3339(value.as_str()?).ok()?.to_utc();
            let micros = instant
                .timestamp_micros()
                .checked_add(if upper { 999 } else { 0 })?;
            Some(ScalarValue::TimestampMicrosecond(
                Some(micros),
                zone.clone(),
            ))
        }
        // A truncated maximum is below the true one; what lies above it is unknown.
        DataType::Utf8 if !upper || value.as_str()?.len() < 32 => {
            Some(ScalarValue::Utf8(Some(value.as_str()?.to_owned())))
        }
        _ => None,
    }
}
