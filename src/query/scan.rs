//! `TableProvider::scan` for providers whose work stands in a function of its own.
//!
//! `#[async_trait]` makes a future under as many lifetimes as the method has references, each bound by a `where`. Whether it is
//! `Send` is then asked of every type within it anew, and the types of plans name each other in circles: one `scan` costs the
//! compiler about five seconds, several times. Under a single lifetime the answers are remembered.

/// Inside an `impl TableProvider`: `scan`, by the provider's own `fn planned<'a>(&'a self, state: &'a dyn Session, projection:
/// Option<&'a Vec<usize>>, filters: &'a [Expr], limit: Option<usize>) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>>`.
macro_rules! scan_by_planned {
    () => {
        fn scan<'a, 'b, 'c, 'd, 'e>(
            &'a self,
            state: &'b dyn datafusion::catalog::Session,
            projection: Option<&'c Vec<usize>>,
            filters: &'d [datafusion::logical_expr::Expr],
            limit: Option<usize>,
        ) -> futures::future::BoxFuture<
            'e,
            datafusion::common::Result<
                std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>,
            >,
        >
        where
            'a: 'e,
            'b: 'e,
            'c: 'e,
            'd: 'e,
            Self: 'e,
        {
            self.planned(state, projection, filters, limit)
        }
    };
}

pub(super) use scan_by_planned;
