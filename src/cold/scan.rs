//! Reading a pinned version: its file list with statistics, as a DataFusion plan over Parquet. Nothing here lists a store
//! or reads a log; what a query sees was decided when its snapshot was taken.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, TimeZone, Utc};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{
    ColumnStatistics, DFSchema, DataFusionError, Result as DfResult, ScalarValue, Statistics,
};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::RowNumber;
use serde_json::Value;

use super::delta::history::History;
use super::pins::Pins;
use super::{Error, Lake, prune, store_error};
use crate::fault::Fault;

/// Where a row stands: the place of its file in the view's list, and its own place in the file.
pub const FILE: &str = "__file";
pub const ROW: &str = "__row";

/// One data file of a version. Statistics follow the table schema without partition columns.
#[derive(Clone, Debug)]
pub struct ColdFile {
    /// As the Delta log has it, relative to the table.
    path: String,
    pub(super) meta: ObjectMeta,
    pub(super) partition_values: Vec<ScalarValue>,
    statistics: Arc<Statistics>,
    rows: Option<usize>,
}

/// Delta's own types come back as views or with other field names; ours are plain.
pub fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| {
        let plain = match f.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
            other => other.clone(),
        };
        Arc::new(f.as_ref().clone().with_data_type(plain))
    });
    Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>()))
}

impl ColdFile {
    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of a Delta add action, from two types that share no trait"
    )]
    pub fn new(
        root: &Path,
        path: &str,
        size: i64,
        modified_ms: i64,
        stats: Option<&str>,
        values: &HashMap<String, Option<String>>,
        schema: &SchemaRef,
        partition_by: &[String],
    ) -> Result<Arc<Self>, Error> {
        let location = Path::parse(format!("{root}/{path}")).map_err(store_error)?;
        let stats: Value = stats
            .and_then(|s| serde_json::from_str(s).ok())
            .unwrap_or(Value::Null);
        let rows = stats["numRecords"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        let columns = schema
            .fields()
            .iter()
            .filter(|f| !partition_by.contains(f.name()))
            .map(|f| column_statistics(f, &stats, rows));
        let statistics = Statistics {
            num_rows: rows.map_or(Precision::Absent, Precision::Exact),
            total_byte_size: Precision::Absent,
            column_statistics: columns.collect(),
        };
        let partition_values = partition_by
            .iter()
            .map(|name| {
                let field = schema.field_with_name(name).map_err(store_error)?;
                match values.get(name).cloned().flatten() {
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
                    .timestamp_millis_opt(modified_ms)
                    .single()
                    .unwrap_or_default(),
                size: u64::try_from(size).unwrap_or(0),
                e_tag: None,
                version: None,
            },
            partition_values,
            statistics: Arc::new(statistics),
            rows,
        }))
    }

    pub fn rows(&self) -> Option<usize> {
        self.rows
    }

    /// Relative to the table, as [`super::Removal::Files`] takes it.
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

    pub(super) fn location(&self) -> &Path {
        &self.meta.location
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
fn column_statistics(field: &Field, stats: &Value, rows: Option<usize>) -> ColumnStatistics {
    let bound = |kind: &str| {
        scalar(
            field.data_type(),
            &stats[kind][field.name()],
            kind == "maxValues",
        )
    };
    let null_count = stats["nullCount"][field.name()]
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
        DataType::Float64 => Some(ScalarValue::Float64(Some(value.as_f64()?))),
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

/// One version of a table, immutable.
#[derive(Clone, Debug)]
pub struct ColdView {
    /// The table's; empty for a view that no table made.
    folder: Arc<str>,
    version: i64,
    files: Arc<Vec<Arc<ColdFile>>>,
    pub(super) schema: SchemaRef,
    pub(super) partition_by: Vec<String>,
    pub(super) store: Arc<dyn ObjectStore>,
    store_url: ObjectStoreUrl,
    /// The way to other versions; none for a view that no table made.
    history: Option<Arc<History>>,
    located: bool,
    in_order: bool,
    pins: Pins,
    /// The table is parked: whoever reads has this as the error.
    unreadable: Option<Arc<Fault>>,
}

impl ColdView {
    pub fn empty(lake: &Lake, schema: SchemaRef, partition_by: Vec<String>) -> Self {
        let url = ObjectStoreUrl::parse(lake.store_url())
            .unwrap_or_else(|_| ObjectStoreUrl::local_filesystem());
        ColdView {
            folder: Arc::from(""),
            version: -1,
            files: Arc::default(),
            schema,
            partition_by,
            store: lake.store(),
            store_url: url,
            history: None,
            located: false,
            in_order: false,
            pins: Pins::default(),
            unreadable: None,
        }
    }

    /// The same version, which nobody can read.
    pub fn unreadable(&self, fault: Fault) -> Self {
        ColdView {
            unreadable: Some(Arc::new(fault)),
            ..self.clone()
        }
    }

    /// # Errors
    /// Why the table is parked.
    pub fn readable(&self) -> Result<(), Fault> {
        match &self.unreadable {
            Some(fault) => Err(Fault::clone(fault)),
            None => Ok(()),
        }
    }

    pub fn in_folder(mut self, folder: &str) -> Self {
        self.folder = Arc::from(folder);
        self
    }

    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Versions of one table, and of one life of it?
    pub fn is_of(&self, other: &ColdView) -> bool {
        self.folder == other.folder
    }

    pub fn with_history(mut self, history: Arc<History>) -> Self {
        self.history = Some(history);
        self
    }

    pub fn history(&self) -> Option<&Arc<History>> {
        self.history.as_ref()
    }

    /// The same table under other columns, no files yet.
    pub fn reshaped(&self, schema: SchemaRef) -> Self {
        ColdView {
            version: -1,
            files: Arc::default(),
            schema,
            ..self.clone()
        }
    }

    /// The same table, partitioned otherwise, no files yet.
    pub fn partitioned_by(&self, partition_by: Vec<String>) -> Self {
        ColdView {
            version: -1,
            files: Arc::default(),
            partition_by,
            ..self.clone()
        }
    }

    /// The same files with two more columns, [`FILE`] (Int32, a place in [`Self::files`]) and [`ROW`] (Int64).
    pub fn located(&self) -> Self {
        let mut fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(FILE, DataType::Int32, true)));
        fields.push(Arc::new(
            Field::new(ROW, DataType::Int64, true).with_extension_type(RowNumber),
        ));
        ColdView {
            schema: Arc::new(Schema::new(fields)),
            located: true,
            ..self.clone()
        }
    }

    /// Some of the files, read one after the other as they are listed here.
    pub fn only(&self, files: Vec<Arc<ColdFile>>) -> Self {
        ColdView {
            in_order: true,
            ..self.with_files(self.version, files)
        }
    }

    /// [`Self::only`] without keeping vacuum from the files: whoever is slow holds nothing.
    pub fn passing(&self, files: Vec<Arc<ColdFile>>) -> Self {
        ColdView {
            in_order: true,
            files: Arc::new(files),
            pins: Pins::default(),
            ..self.clone()
        }
    }

    /// This version is visible now: tells those who follow the table.
    pub fn announce(&self) {
        if let Some(history) = &self.history {
            history.announce(self.version);
        }
    }

    /// Another set of the table's files. They are safe from vacuum for as long as the view lives.
    pub fn with_files(&self, version: i64, files: Vec<Arc<ColdFile>>) -> Self {
        let files = Arc::new(files);
        self.pins.note(&files);
        ColdView {
            version,
            files,
            ..self.clone()
        }
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The same files in the books of another view of the table: vacuum leaves them for as long as this lives.
    pub fn pinned_with(&self, owner: &ColdView) -> Self {
        let files = Arc::new(self.files.to_vec());
        owner.pins.note(&files);
        ColdView {
            files,
            pins: owner.pins.clone(),
            ..self.clone()
        }
    }

    /// The same version as a list to compare with: nobody may read by it, as vacuum may take its files.
    pub fn unpinned(&self) -> Self {
        ColdView {
            files: Arc::new(self.files.to_vec()),
            pins: Pins::default(),
            ..self.clone()
        }
    }

    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size()).sum()
    }

    pub fn appended(&self, version: i64, files: Vec<Arc<ColdFile>>) -> Self {
        if files.is_empty() {
            return ColdView {
                version,
                ..self.clone()
            };
        }
        let all = self.files.iter().cloned().chain(files).collect();
        self.with_files(version, all)
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub fn partition_by(&self) -> &[String] {
        &self.partition_by
    }

    pub fn files(&self) -> &[Arc<ColdFile>] {
        &self.files
    }

    /// Exact, if every file says how many rows it has.
    pub fn rows(&self) -> Option<usize> {
        self.files.iter().map(|f| f.rows()).sum()
    }

    /// A plan over the files; filters prune files, row groups and pages and are applied again above.
    pub fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.readable()
            .map_err(|fault| DataFusionError::External(Box::new(fault)))?;
        let wanted: Vec<usize> = projection
            .cloned()
            .unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        if self.files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(
                self.schema.project(&wanted)?,
            ))));
        }
        state
            .runtime_env()
            .register_object_store(self.store_url.as_ref(), self.store.clone());
        // DataFusion puts partition columns behind those of the file: the projection brings them back to their place.
        let (made, own): (Vec<FieldRef>, Vec<FieldRef>) = self
            .schema
            .fields()
            .iter()
            .cloned()
            .partition(|f| self.located && [FILE, ROW].contains(&f.name().as_str()));
        let (partition, file): (Vec<FieldRef>, Vec<FieldRef>) = own
            .into_iter()
            .partition(|f| self.partition_by.contains(f.name()));
        let mut partition: Vec<FieldRef> = self
            .partition_by
            .iter()
            .filter_map(|name| partition.iter().find(|f| f.name() == name).cloned())
            .collect();
        // Every file has one value of FILE, as of a partition column; the reader counts rows, also when it leaves some out.
        let (place, row): (Vec<FieldRef>, Vec<FieldRef>) =
            made.into_iter().partition(|f| f.name() == FILE);
        partition.extend(place);
        let file_schema = Arc::new(Schema::new(file));
        let table_schema = TableSchema::builder(file_schema)
            .with_table_partition_cols(partition)
            .with_virtual_columns(row)
            .build();
        let scan_schema = table_schema.table_schema().clone();
        let indices = wanted
            .iter()
            .map(|i| scan_schema.index_of(self.schema.field(*i).name()))
            .collect::<Result<Vec<_>, _>>()?;

        let in_files = table_schema.file_schema().fields().len();
        let mut source = ParquetSource::new(table_schema)
            .with_pushdown_filters(false)
            .with_enable_page_index(true);
        // What is made while reading prunes nothing.
        let prunes = |filter: &&Expr| {
            !self.located
                || !filter
                    .column_refs()
                    .iter()
                    .any(|c| [FILE, ROW].contains(&c.name.as_str()))
        };
        let mut wanted_files = vec![true; self.files.len()];
        if let Some(filter) = conjunction(filters.iter().filter(prunes).cloned()) {
            let df_schema = DFSchema::try_from(scan_schema.as_ref().clone())?;
            let filter = state.create_physical_expr(filter, &df_schema)?;
            wanted_files = prune::may_hold(&self.files, &scan_schema, in_files, &filter)?;
            source = source.with_predicate(filter);
        }
        let files = self.files.iter().zip(0i32..).zip(wanted_files);
        let files = files.filter(|(_, wanted)| *wanted).map(|((f, place), _)| {
            let mut file = PartitionedFile::from(f.meta.clone());
            file.partition_values = f.partition_values.clone();
            if !self.located {
                return file.with_statistics(f.statistics.clone());
            }
            file.partition_values.push(ScalarValue::Int32(Some(place)));
            file.with_statistics(f.statistics.clone())
        });
        let files: Vec<PartitionedFile> = files.collect();
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(
                self.schema.project(&wanted)?,
            ))));
        }
        let partitions = if self.in_order {
            1
        } else {
            state.config().target_partitions().max(1)
        };
        let groups = FileGroup::new(files).split_files(partitions);
        let config = FileScanConfigBuilder::new(self.store_url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(Some(indices))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
