//! Columns of a projection that is put below a node to compute values for it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

use super::expressions::is_of_the_rows;
use super::projections::all_columns;

/// Prefix of the columns. No table's column can have such a name.
pub(super) const COMPUTED: &str = "deltaplane.subquery.";

/// Each value once.
#[derive(Default)]
pub(super) struct Columns {
    values: Vec<Expr>,
    side: &'static str,
}

impl Columns {
    /// Of a side of a join: a column of the other one has another name.
    pub(super) fn of(side: &'static str) -> Self {
        Columns {
            values: Vec::new(),
            side,
        }
    }

    /// The column in which a value stands.
    pub(super) fn column(&mut self, value: Expr) -> Expr {
        let known = self.values.iter().position(|known| *known == value);
        let at = known.unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        Expr::Column(Column::from_name(self.name(at)))
    }

    /// In place of every part of an expression that has to be computed below.
    pub(super) fn instead(&mut self, expr: Expr) -> Result<Expr> {
        let done = expr.transform_down(|expr| {
            if !is_of_the_rows(&expr) {
                return Ok(Transformed::no(expr));
            }
            let column = self.column(expr);
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        Ok(done.data)
    }

    fn name(&self, at: usize) -> String {
        format!("{COMPUTED}{}{at}", self.side)
    }

    /// The rows with the columns behind their own. None: there are no columns.
    pub(super) fn beside(self, input: &Arc<LogicalPlan>) -> Result<Option<Projection>> {
        if self.values.is_empty() {
            return Ok(None);
        }
        let named = self.values.iter().enumerate();
        let named = named.map(|(at, value)| value.clone().alias(self.name(at)));
        let all = all_columns(input).into_iter().chain(named).collect();
        Projection::try_new(all, input.clone()).map(Some)
    }
}
