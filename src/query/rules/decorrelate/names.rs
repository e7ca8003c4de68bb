//! Names of the columns that are put into a plan.

/// Names of columns that no table's column can have, each of them once in a plan.
#[derive(Default)]
pub(super) struct Names {
    count: usize,
}

impl Names {
    pub(super) fn next(&mut self, what: &str) -> String {
        self.count += 1;
        format!("deltaplane.{what}.{}", self.count)
    }
}
