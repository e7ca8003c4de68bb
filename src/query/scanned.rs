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
            let files: usize = config.file_groups.iter().map(|g| g.len()).sum();
            scanned.files += files as u64;
            let bytes = plan.metrics().and_then(|m| m.sum_by_name("bytes_scanned"));
            scanned.bytes += bytes.map_or(0, |b: MetricValue| b.as_usize() as u64);
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
