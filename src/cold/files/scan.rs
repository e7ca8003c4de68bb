//! Pinned files as a DataFusion plan over Parquet. Nothing here lists a store or reads a log; what a query sees was decided
//! when its snapshot was taken.

use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DataFusionError, Result as DfResult, ScalarValue};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::data_file::DataFiles;
use super::reader::PinnedReaders;
use super::{PinnedFiles, prune};

/// Where a row stands: the place of its file in the list, and its own place in the file.
pub const FILE: &str = "__file";
pub const ROW: &str = "__row";

/// An extension of a scan's file: its floats are in their one form ([`crate::floats`]).
#[derive(Clone, Copy, Debug)]
pub struct FloatsInOneForm;

impl PinnedFiles {
    /// A plan over the files; filters prune files, row groups and pages and are applied again above. The plan and the streams
    /// of its rows hold the pin too.
    pub fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.readable()
            .map_err(|fault| DataFusionError::External(Box::new(fault)))?;
        let (schema, files) = (self.schema(), self.files());
        let wanted: Vec<usize> = projection
            .cloned()
            .unwrap_or_else(|| (0..schema.fields().len()).collect());
        let nothing = || -> DfResult<Arc<dyn ExecutionPlan>> {
            let schema = Arc::new(schema.project(&wanted)?);
            Ok(Arc::new(EmptyExec::new(schema)))
        };
        if files.is_empty() {
            return nothing();
        }
        state
            .runtime_env()
            .register_object_store(self.store_url.as_ref(), self.store.clone());
        // DataFusion puts partition columns behind those of the file: the projection brings them back to their place.
        let (made, own): (Vec<FieldRef>, Vec<FieldRef>) = schema
            .fields()
            .iter()
            .cloned()
            .partition(|f| self.located && [FILE, ROW].contains(&f.name().as_str()));
        let (partition, file): (Vec<FieldRef>, Vec<FieldRef>) = own
            .into_iter()
            .partition(|f| self.partition_by().contains(f.name()));
        let mut partition: Vec<FieldRef> = self
            .partition_by()
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
            .map(|i| scan_schema.index_of(schema.field(*i).name()))
            .collect::<Result<Vec<_>, _>>()?;

        let in_files = table_schema.file_schema().fields().len();
        let readers = PinnedReaders {
            readers: DataFiles {
                store: self.store.clone(),
                folder: self.folder.clone(),
                mapping: self.mapping().clone(),
                tails: Arc::default(),
            },
            pin: self.held(),
        };
        // Spark writes times as INT96; as nanoseconds, which is how the library reads them, those after 2262 would wrap.
        let mut options = TableParquetOptions::default();
        options.global.coerce_int96 = Some("us".to_owned());
        let mut source = ParquetSource::new(table_schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(readers))
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
        let mut wanted_files = vec![true; files.len()];
        if let Some(filter) = conjunction(filters.iter().filter(prunes).cloned()) {
            let df_schema = DFSchema::try_from(scan_schema.as_ref().clone())?;
            let filter = state.create_physical_expr(filter, &df_schema)?;
            wanted_files = prune::may_hold(files, &scan_schema, in_files, &filter);
            source = source.with_predicate(filter);
        }
        let read = files.iter().zip(0i32..).zip(wanted_files);
        let read = read.filter(|(_, wanted)| *wanted).map(|((f, place), _)| {
            let mut file = PartitionedFile::from(f.meta.clone());
            file.partition_values = f.partition_values.clone();
            // What its partition is stands outside the file.
            let mut beside = f.partition_values.iter().map(ScalarValue::data_type);
            if f.in_one_form && !beside.any(|t| t.is_floating()) {
                file.extensions.insert(FloatsInOneForm);
            }
            if !self.located {
                return file.with_statistics(f.statistics.clone());
            }
            file.partition_values.push(ScalarValue::Int32(Some(place)));
            file.with_statistics(f.statistics.clone())
        });
        let read: Vec<PartitionedFile> = read.collect();
        if read.is_empty() {
            return nothing();
        }
        let partitions = if self.in_order {
            1
        } else {
            state.config().target_partitions().max(1)
        };
        let groups = FileGroup::new(read).split_files(partitions);
        let config = FileScanConfigBuilder::new(self.store_url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(Some(indices))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
