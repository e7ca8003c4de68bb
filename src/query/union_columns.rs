//! Equal columns in a part of a union are not known to be equal.
//!
//! DataFusion knows of `SELECT v AS a, v AS b` that `a` and `b` are equal, and of a union with such rows it does not: it sorts the part by one
//! of the two, and finds no order by the other in the union. So the later one is told apart by a function that gives it back.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::functions::another;

/// Runs behind the rules that simplify and move expressions.
#[derive(Debug, Default)]
pub(super) struct UnionColumns;

impl OptimizerRule for UnionColumns {
    fn name(&self) -> &str {
        "union_columns"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Union(Union { inputs, schema }) = plan else {
            return Ok(Transformed::no(plan));
        };
        let mut changed = false;
        let inputs = inputs.into_iter().map(|input| {
            let told_apart = told_apart(&input)?;
            changed |= told_apart.is_some();
            Ok(told_apart.map_or(input, Arc::new))
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let union = LogicalPlan::Union(Union { inputs, schema });
        Ok(Transformed::new_transformed(union, changed))
    }
}

/// None: no two columns are equal.
fn told_apart(part: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match part {
        LogicalPlan::Projection(projection) => in_projection(projection),
        LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_) => {
            let inputs = part.inputs();
            let [input] = inputs.as_slice() else {
                return Ok(None);
            };
            let input = told_apart(input)?;
            let above = |input| part.with_new_exprs(part.expressions(), vec![input]);
            input.map(above).transpose()
        }
        _ => Ok(None),
    }
}

fn in_projection(projection: &Projection) -> Result<Option<LogicalPlan>> {
    let mut seen = HashSet::new();
    let mut changed = false;
    let columns = projection.expr.iter().zip(projection.schema.iter());
    let columns = columns.map(|(expr, (relation, field))| {
        let value = unnamed(expr);
        // Of constants, and of what is another value each time, the engine makes no equal columns.
        if seen.insert(value) || matches!(value, Expr::Literal(..)) || value.is_volatile() {
            return expr.clone();
        }
        changed = true;
        let value = another().call(vec![value.clone()]);
        value.alias_qualified(relation.cloned(), field.name())
    });
    let columns: Vec<Expr> = columns.collect();
    if !changed {
        return Ok(None);
    }
    let projection = Projection::try_new(columns, projection.input.clone())?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

fn unnamed(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unnamed(&alias.expr),
        other => other,
    }
}
