//! `FROM t, LATERAL (SELECT t.v * 2 AS d) AS x`: a subquery without a FROM of its own computes columns of each row. DataFusion
//! takes apart the subqueries that read tables; this one becomes a projection.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, Projection, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

#[derive(Debug, Default)]
pub(super) struct LateralColumns;

impl OptimizerRule for LateralColumns {
    fn name(&self) -> &str {
        "lateral_columns"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match projected(&plan)? {
            Some(projection) => Ok(Transformed::yes(projection)),
            None => Ok(Transformed::no(plan)),
        }
    }
}

fn projected(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    let LogicalPlan::Join(join) = plan else {
        return Ok(None);
    };
    let always = join
        .filter
        .as_ref()
        .is_none_or(|filter| *filter == lit(true));
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) || !join.on.is_empty() || !always
    {
        return Ok(None);
    }
    let Some(computed) = one_row(&join.right) else {
        return Ok(None);
    };
    let left = join.left.schema();
    let mut columns: Vec<Expr> = left.columns().into_iter().map(Expr::Column).collect();
    let made = join.schema.iter().skip(columns.len());
    for (expr, (qualifier, field)) in computed.iter().zip(made) {
        let mut known = true;
        let own = expr.clone().transform_up(|e| match e {
            Expr::OuterReferenceColumn(_, column) => {
                // One of a query further out stays what it is.
                known &= left.has_column(&column);
                Ok(Transformed::yes(Expr::Column(column)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        if !known {
            return Ok(None);
        }
        let own = own.data.unalias();
        columns.push(own.alias_qualified(qualifier.cloned(), field.name()));
    }
    if columns.len() != join.schema.fields().len() {
        return Ok(None);
    }
    let projection = Projection::try_new(columns, join.left.clone())?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// What a lateral subquery without FROM computes.
fn one_row(right: &LogicalPlan) -> Option<&[Expr]> {
    match right {
        LogicalPlan::SubqueryAlias(alias) => one_row(&alias.input),
        LogicalPlan::Subquery(subquery) => match &*subquery.subquery {
            LogicalPlan::Projection(projection) => match &*projection.input {
                LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => {
                    Some(&projection.expr)
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}
