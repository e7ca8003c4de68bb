//! What a plan that has run took from files.

use std::sync::Arc;

use datafusion::datasource::physical_plan::ParquetSource;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;

/// Files that were opened, and the bytes that were read of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    pub files: u64,
    pub bytes: u64,
}

impl Scanned {
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut scanned = Scanned::default();
        let parquet = plan
            .downcast_ref::<DataSourceExec>()
            .and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>);
        if let Some((config, _)) = parquet {
            let told = plan.metrics().unwrap_or_default();
            let files: usize = config.file_groups.iter().map(|g| g.len()).sum();
            // Left out by their statistics before they were opened.
            let left_out = told.sum(|m| m.value().name() == "files_ranges_pruned_statistics");
            let left_out = match left_out {
                Some(MetricValue::PruningMetrics {
                    pruning_metrics, ..
                }) => pruning_metrics.pruned(),
                _ => 0,
            };
            scanned.files += files.saturating_sub(left_out) as u64;
            let bytes = told.sum_by_name("bytes_scanned");
            scanned.bytes += bytes.map_or(0, |b| b.as_usize() as u64);
        }
        for child in plan.children() {
            scanned.add(Scanned::of(child));
        }
        scanned
    }

    pub fn add(&mut self, other: Scanned) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}
