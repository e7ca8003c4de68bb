//! Which subqueries DataFusion's decorrelation answers as SQL does.

use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, FetchType, Join, JoinType, Limit, LogicalPlan, Operator, SkipType,
    Subquery, SubqueryAlias,
};

/// What DataFusion does with a subquery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    /// It answers it rightly, or it is none of those that read the rows around.
    Right,
    /// It may refuse it.
    Unsure,
    /// It answers it wrongly.
    Wrong,
}

/// Where a subquery stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Beside a join: each of its rows counts.
    Lateral,
    Scalar,
    In,
    Exists,
}

/// What stands above a node of a subquery's plan.
#[derive(Clone, Copy)]
struct Above {
    place: Place,
    nothing: bool,
    /// Projections, and nothing else.
    projections: bool,
    /// An aggregate that computes something.
    aggregate: bool,
    /// A condition of groups, HAVING.
    condition: bool,
    /// An aggregate, or a DISTINCT.
    groups: bool,
}

impl Above {
    fn nothing(place: Place) -> Self {
        Above {
            place,
            nothing: true,
            projections: true,
            aggregate: false,
            condition: false,
            groups: false,
        }
    }

    fn is_all_of_lateral(self) -> bool {
        self.nothing && self.place == Place::Lateral
    }

    fn projection(self) -> Self {
        Above {
            nothing: false,
            ..self
        }
    }

    fn other(self) -> Self {
        Above {
            nothing: false,
            projections: false,
            ..self
        }
    }
}

/// Of an expression that asks a subquery.
pub(super) fn of_value(expr: &Expr) -> Shape {
    match expr {
        Expr::ScalarSubquery(subquery) => of(&subquery.subquery, Above::nothing(Place::Scalar)),
        Expr::Exists(found) => of(&found.subquery.subquery, Above::nothing(Place::Exists)),
        Expr::InSubquery(within) => of(&within.subquery.subquery, Above::nothing(Place::In)),
        _ => Shape::Right,
    }
}

/// Of a subquery whose columns stand beside those of the rows around it.
pub(super) fn of_lateral(plan: &LogicalPlan) -> Shape {
    of(plan, Above::nothing(Place::Lateral))
}

/// The subquery of a LATERAL that a plan is.
pub(super) fn read_for_each_row(plan: &LogicalPlan) -> Option<&Subquery> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some(subquery),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => read_for_each_row(input),
        _ => None,
    }
}

/// Does a plan read columns of the rows around it?
pub(super) fn is_correlated(plan: &LogicalPlan) -> bool {
    reads_around(plan) || plan.inputs().into_iter().any(is_correlated)
}

/// Does a node itself?
pub(super) fn reads_around(plan: &LogicalPlan) -> bool {
    plan.contains_outer_reference()
}

fn of(plan: &LogicalPlan, above: Above) -> Shape {
    if !is_correlated(plan) {
        return Shape::Right;
    }
    match plan {
        LogicalPlan::Projection(projection) => match (&*projection.input, reads_around(plan)) {
            // Columns of each row alone.
            (LogicalPlan::EmptyRelation(_), _) if above.is_all_of_lateral() => Shape::Right,
            (_, true) => Shape::Unsure,
            (input, false) => of(input, above.projection()),
        },
        LogicalPlan::Filter(filter) => {
            let conditions = split_conjunction(&filter.predicate);
            let asking = conditions.into_iter().filter(|each| each.contains_outer());
            let worst = asking.map(|each| of_condition(each, above)).max();
            let above = Above {
                condition: true,
                ..above.other()
            };
            worst.unwrap_or(Shape::Right).max(of(&filter.input, above))
        }
        LogicalPlan::Aggregate(aggregate) => {
            if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
                return Shape::Right;
            }
            let own = match aggregate.group_expr.is_empty() {
                true if !above.projections => match above {
                    Above {
                        place: Place::Scalar,
                        condition: true,
                        groups: false,
                        ..
                    } => Shape::Unsure,
                    _ => Shape::Wrong,
                },
                _ if reads_around(plan) => Shape::Unsure,
                _ => Shape::Right,
            };
            let above = Above {
                aggregate: above.aggregate || !aggregate.aggr_expr.is_empty(),
                groups: true,
                ..above.other()
            };
            own.max(of(&aggregate.input, above))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let above = Above {
                groups: true,
                ..above.other()
            };
            of(input, above)
        }
        LogicalPlan::Window(_) => Shape::Wrong,
        LogicalPlan::Limit(limit) => of_limit(limit, above),
        LogicalPlan::Join(join) => of_join(join, plan, above),
        LogicalPlan::Sort(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Distinct(Distinct::On(_)) => Shape::Unsure,
        _ => Shape::Right,
    }
}

/// A condition that names columns of the rows around.
fn of_condition(condition: &Expr, above: Above) -> Shape {
    if condition.column_refs().is_empty() {
        return Shape::Unsure;
    }
    let by_groups = above.aggregate || (above.groups && above.place == Place::Lateral);
    match by_groups && !is_equality(condition) {
        true => Shape::Wrong,
        false => Shape::Right,
    }
}

/// A column as it is, and an expression of the rows around.
fn is_equality(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = condition
    else {
        return false;
    };
    let column = |expr: &Expr| matches!(expr, Expr::Column(_));
    let around = |expr: &Expr| expr.contains_outer() && expr.column_refs().is_empty();
    (column(left) && around(right)) || (around(left) && column(right))
}

fn of_limit(limit: &Limit, above: Above) -> Shape {
    if above.place != Place::Exists {
        return Shape::Unsure;
    }
    // DataFusion leaves out the limits in an EXISTS.
    let skips = !matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)));
    let fetches = matches!(limit.get_fetch_type(), Ok(FetchType::Literal(n)) if n != Some(0));
    match above.nothing && !skips && fetches {
        true => of(&limit.input, above),
        false => Shape::Wrong,
    }
}

fn of_join(join: &Join, plan: &LogicalPlan, above: Above) -> Shape {
    let (left, right) = (is_correlated(&join.left), is_correlated(&join.right));
    let above = above.other();
    match join.join_type {
        _ if reads_around(plan) => Shape::Unsure,
        JoinType::Inner if left && right => Shape::Unsure,
        JoinType::Inner if left => of(&join.left, above),
        JoinType::Inner => of(&join.right, above),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti if !right => of(&join.left, above),
        JoinType::Right if !left => of(&join.right, above),
        _ => Shape::Wrong,
    }
}
