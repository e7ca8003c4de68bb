//! Carries columns through the plan of a subquery, from where their values are known up to its result.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, NullEquality, Result, ScalarValue};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, DistinctOn, Expr, ExprFunctionExt, FetchType, Filter, Join,
    JoinConstraint, Limit, LogicalPlan, LogicalPlanBuilder, Operator, Projection, SkipType,
    SortExpr, Union, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, lit, when,
};

use super::names::Names;
use super::null_equality::same;
use super::shape::is_correlated;

/// Where the values come from that rows carry.
pub(super) enum Source {
    /// Expressions over the input of the one condition.
    Own(Vec<Expr>),
    /// The distinct values of columns of the rows around.
    Around {
        distinct: Arc<LogicalPlan>,
        columns: Vec<Column>,
        /// What a value that can be null is compared as where it is.
        nulls: Vec<Option<ScalarValue>>,
    },
}

pub(super) struct Carrier<'a> {
    /// Names of the columns that are carried.
    pub(super) keys: Vec<String>,
    pub(super) source: Source,
    pub(super) names: &'a mut Names,
}

fn named(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

fn columns_of(plan: &LogicalPlan) -> impl Iterator<Item = Expr> + use<> {
    plan.schema().columns().into_iter().map(Expr::Column)
}

impl Carrier<'_> {
    pub(super) fn columns(&self) -> Vec<Expr> {
        self.keys.iter().map(|name| named(name)).collect()
    }

    /// The columns, and behind them those that are carried.
    fn project(
        &self,
        plan: LogicalPlan,
        columns: impl IntoIterator<Item = Expr>,
    ) -> Result<LogicalPlan> {
        let all = columns.into_iter().chain(self.columns()).collect();
        Projection::try_new(all, Arc::new(plan)).map(LogicalPlan::Projection)
    }

    /// A plan that reads nothing of the rows around, once for each value.
    fn beside(&self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let Source::Around { distinct, .. } = &self.source else {
            return Ok(None);
        };
        let pairs = LogicalPlanBuilder::from(plan.clone())
            .cross_join(distinct.as_ref().clone())?
            .build()?;
        Ok(Some(pairs))
    }

    /// Equalities of what is carried with columns of other names.
    fn same_keys(&self, again: &[String]) -> Result<Vec<(Expr, Expr)>> {
        let nulls = match &self.source {
            Source::Around { nulls, .. } => nulls.as_slice(),
            Source::Own(_) => &[],
        };
        let keys = self.keys.iter().zip(again).zip(nulls);
        let pairs = keys.map(|((key, again), null)| same(named(key), named(again), null.as_ref()));
        Ok(pairs.collect::<Result<Vec<_>>>()?.concat())
    }

    /// An expression over rows that carry what it reads of the rows around.
    fn over_own(&self, expr: Expr) -> Result<Expr> {
        let Source::Around { columns, .. } = &self.source else {
            return Ok(expr);
        };
        let done = expr.transform_up(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => {
                let at = columns.iter().position(|known| *known == column);
                let name = at.and_then(|at| self.keys.get(at));
                Ok(name.map_or_else(
                    || Transformed::no(Expr::Column(column)),
                    |name| Transformed::yes(named(name)),
                ))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(done.data)
    }

    /// With the names that they had.
    fn all_over_own(&self, exprs: &[Expr], names: &NamePreserver) -> Result<Vec<Expr>> {
        let exprs = exprs.iter().map(|expr| {
            let name = names.save(expr);
            Ok(name.restore(self.over_own(expr.clone())?))
        });
        exprs.collect()
    }

    /// The plan with its own columns, and behind them those that it carries. None: it can't be carried through.
    pub(super) fn through(&mut self, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        if !is_correlated(plan) {
            return self.beside(plan);
        }
        match plan {
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Projection(projection) => {
                let Some(input) = self.through(&projection.input)? else {
                    return Ok(None);
                };
                let names = NamePreserver::new_for_projection();
                let exprs = self.all_over_own(&projection.expr, &names)?;
                self.project(input, exprs).map(Some)
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate, plan),
            LogicalPlan::Window(window) => self.window(window, plan),
            // The order of a subquery's rows means nothing but to a limit.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.through(&sort.input),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = self.through(input)?;
                Ok(input.map(|plan| LogicalPlan::Distinct(Distinct::All(Arc::new(plan)))))
            }
            LogicalPlan::Distinct(Distinct::On(node)) => self.first_rows(node),
            LogicalPlan::Union(union) => self.union(union, plan),
            LogicalPlan::SubqueryAlias(alias) => {
                let Some(input) = self.through(&alias.input)? else {
                    return Ok(None);
                };
                let columns = renamed(&input, plan);
                self.project(input, columns).map(Some)
            }
            LogicalPlan::Join(join) => self.join(join, plan),
            _ => Ok(None),
        }
    }

    fn filter(&mut self, filter: &Filter) -> Result<Option<LogicalPlan>> {
        let conditions = filter.predicate.clone();
        if let Source::Own(own) = &self.source
            && conditions.contains_outer()
        {
            let keys = own.iter().zip(&self.keys);
            let keys: Vec<Expr> = keys.map(|(e, name)| e.clone().alias(name)).collect();
            let columns: Vec<Expr> = columns_of(&filter.input).chain(keys).collect();
            let below = Projection::try_new(columns, filter.input.clone())?;
            let below = LogicalPlan::Projection(below);
            let plain = split_conjunction_owned(conditions).into_iter();
            let plain = conjunction(plain.filter(|each| !each.contains_outer()));
            return Ok(Some(match plain {
                Some(plain) => LogicalPlan::Filter(Filter::try_new(plain, Arc::new(below))?),
                None => below,
            }));
        }
        let Some(input) = self.through(&filter.input)? else {
            return Ok(None);
        };
        let conditions = self.over_own(conditions)?;
        let filter = Filter::try_new(conditions, Arc::new(input))?;
        Ok(Some(LogicalPlan::Filter(filter)))
    }

    fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        plan: &LogicalPlan,
    ) -> Result<Option<LogicalPlan>> {
        if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
            return Ok(None);
        }
        let of_all = aggregate.group_expr.is_empty();
        if of_all && matches!(self.source, Source::Own(_)) {
            return Ok(None);
        }
        let Some(input) = self.through(&aggregate.input)? else {
            return Ok(None);
        };
        let names = NamePreserver::new(plan);
        let groups = self.all_over_own(&aggregate.group_expr, &names)?;
        let groups = groups.into_iter().chain(self.columns()).collect();
        let values = self.all_over_own(&aggregate.aggr_expr, &names)?;
        let grouped = Aggregate::try_new(Arc::new(input), groups, values)?;
        let grouped = LogicalPlan::Aggregate(grouped);
        match of_all {
            true => self.with_none(grouped, aggregate, plan),
            false => self.project(grouped, columns_of(plan)).map(Some),
        }
    }

    /// An aggregate of all rows has a row also where there are none.
    fn with_none(
        &mut self,
        grouped: LogicalPlan,
        aggregate: &Aggregate,
        plan: &LogicalPlan,
    ) -> Result<Option<LogicalPlan>> {
        let Source::Around { distinct, .. } = &self.source else {
            return Ok(None);
        };
        let distinct = distinct.clone();
        let there = self.names.next("there");
        let mut values = Vec::new();
        for (value, (relation, field)) in aggregate.aggr_expr.iter().zip(plan.schema().iter()) {
            let Some(of_none) = of_no_rows(value, field.data_type())? else {
                return Ok(None);
            };
            let column = Expr::Column(Column::new(relation.cloned(), field.name()));
            let value = match of_none.is_null() {
                true => column,
                false => when(named(&there).is_null(), lit(of_none))
                    .otherwise(column)?
                    .alias_qualified(relation.cloned(), field.name()),
            };
            values.push(value);
        }
        let again: Vec<String> = self.keys.iter().map(|_| self.names.next("again")).collect();
        let keys = self.keys.iter().zip(&again);
        let keys: Vec<Expr> = keys.map(|(key, name)| named(key).alias(name)).collect();
        let columns = columns_of(plan).chain(keys);
        let columns = columns.chain([lit(true).alias(&there)]).collect();
        let grouped = Projection::try_new(columns, Arc::new(grouped))?;
        let joined = Join::try_new(
            distinct,
            Arc::new(LogicalPlan::Projection(grouped)),
            self.same_keys(&again)?,
            None,
            JoinType::Left,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        self.project(LogicalPlan::Join(joined), values).map(Some)
    }

    fn window(&mut self, window: &Window, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.through(&window.input)? else {
            return Ok(None);
        };
        let names = NamePreserver::new(plan);
        let keys = self.columns();
        let exprs = window.window_expr.iter().map(|expr| {
            let name = names.save(expr);
            let expr = self.over_own(expr.clone())?.transform_up(|mut expr| {
                if let Expr::WindowFunction(call) = &mut expr {
                    call.params.partition_by.extend(keys.iter().cloned());
                    return Ok(Transformed::yes(expr));
                }
                Ok(Transformed::no(expr))
            })?;
            Ok(name.restore(expr.data))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        let window = LogicalPlan::Window(Window::try_new(exprs, Arc::new(input))?);
        self.project(window, columns_of(plan)).map(Some)
    }

    /// The first rows of each value, by their numbers.
    fn limit(&mut self, limit: &Limit) -> Result<Option<LogicalPlan>> {
        let SkipType::Literal(skip) = limit.get_skip_type()? else {
            return Ok(None);
        };
        let FetchType::Literal(fetch) = limit.get_fetch_type()? else {
            return Ok(None);
        };
        self.numbered(&limit.input, skip, fetch)
    }

    fn numbered(
        &mut self,
        plan: &LogicalPlan,
        skip: usize,
        fetch: Option<usize>,
    ) -> Result<Option<LogicalPlan>> {
        let (below, order) = match plan {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => (&sort.input, sort.expr.clone()),
            // The columns of the rows that are chosen below.
            LogicalPlan::Projection(projection) if is_ordered(&projection.input) => {
                let Some(input) = self.numbered(&projection.input, skip, fetch)? else {
                    return Ok(None);
                };
                let names = NamePreserver::new_for_projection();
                let exprs = self.all_over_own(&projection.expr, &names)?;
                return self.project(input, exprs).map(Some);
            }
            other => (&Arc::new(other.clone()), Vec::new()),
        };
        let Some(rows) = self.through(below)? else {
            return Ok(None);
        };
        let order = order.into_iter().map(|key| {
            let expr = self.over_own(key.expr)?;
            Ok(SortExpr { expr, ..key })
        });
        let order: Vec<SortExpr> = order.collect::<Result<Vec<_>>>()?;
        let frame = WindowFrame::new_bounds(
            WindowFrameUnits::Rows,
            WindowFrameBound::Preceding(ScalarValue::Null),
            WindowFrameBound::CurrentRow,
        );
        let number = self.names.next("number");
        let counted = row_number()
            .partition_by(self.columns())
            .order_by(order)
            .window_frame(frame)
            .build()?
            .alias(&number);
        let columns: Vec<Expr> = columns_of(below).collect();
        let skipped = u64::try_from(skip).unwrap_or(u64::MAX);
        let mut kept = named(&number).gt(lit(skipped));
        if let Some(fetch) = fetch {
            let last = skipped.saturating_add(u64::try_from(fetch).unwrap_or(u64::MAX));
            kept = kept.and(named(&number).lt_eq(lit(last)));
        }
        let rows = LogicalPlan::Window(Window::try_new(vec![counted], Arc::new(rows))?);
        let rows = LogicalPlan::Filter(Filter::try_new(kept, Arc::new(rows))?);
        self.project(rows, columns).map(Some)
    }

    fn first_rows(&mut self, node: &DistinctOn) -> Result<Option<LogicalPlan>> {
        let Some(input) = self.through(&node.input)? else {
            return Ok(None);
        };
        let names = NamePreserver::new_for_projection();
        let mut on = self.columns();
        for expr in &node.on_expr {
            on.push(self.over_own(expr.clone())?);
        }
        let mut select = self.all_over_own(&node.select_expr, &names)?;
        select.extend(self.columns());
        let keys = self.columns().into_iter().map(|key| key.sort(true, false));
        let sort = node.sort_expr.as_ref().map(|order| {
            let order = order.iter().map(|key| {
                let expr = self.over_own(key.expr.clone())?;
                Ok(SortExpr { expr, ..*key })
            });
            keys.map(Ok).chain(order).collect::<Result<Vec<_>>>()
        });
        let node = DistinctOn::try_new(on, select, sort.transpose()?, Arc::new(input))?;
        Ok(Some(LogicalPlan::Distinct(Distinct::On(node))))
    }

    fn union(&mut self, union: &Union, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let mut inputs = Vec::new();
        for input in &union.inputs {
            let Some(carried) = self.through(input)? else {
                return Ok(None);
            };
            inputs.push(Arc::new(carried));
        }
        let united = LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?);
        let columns = renamed(&united, plan);
        self.project(united, columns).map(Some)
    }

    fn join(&mut self, join: &Join, plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
        let (left, right) = (is_correlated(&join.left), is_correlated(&join.right));
        // Which sides carry, and whether the left one's values are those of the join.
        let (left, right, of_left) = match join.join_type {
            JoinType::Inner => (left || !right, right, left || !right),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => (true, right, true),
            JoinType::Right => (left, true, false),
            _ => return Ok(None),
        };
        let Some(left_input) = self.side(&join.left, left)? else {
            return Ok(None);
        };
        let Some(right_input) = self.side(&join.right, right)? else {
            return Ok(None);
        };
        let mut conditions = Vec::new();
        for (of_left, of_right) in &join.on {
            let both = self.over_own(of_left.clone())?;
            let both = BinaryExpr::new(
                Box::new(both),
                match join.null_equality {
                    NullEquality::NullEqualsNothing => Operator::Eq,
                    NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
                },
                Box::new(self.over_own(of_right.clone())?),
            );
            conditions.push(Expr::BinaryExpr(both));
        }
        if let Some(filter) = &join.filter {
            conditions.push(self.over_own(filter.clone())?);
        }
        let (mut left_input, mut right_input) = (left_input, right_input);
        if left && right {
            let again: Vec<String> = self.keys.iter().map(|_| self.names.next("again")).collect();
            let (side, columns) = match of_left {
                true => (&mut right_input, columns_of(&join.right)),
                false => (&mut left_input, columns_of(&join.left)),
            };
            let keys = self.keys.iter().zip(&again);
            let keys = keys.map(|(key, name)| named(key).alias(name));
            let columns = columns.chain(keys).collect();
            let renamed = Projection::try_new(columns, Arc::new(side.clone()))?;
            *side = LogicalPlan::Projection(renamed);
            let same = self.same_keys(&again)?.into_iter();
            conditions.extend(same.map(|(key, again)| key.eq(again)));
        }
        let joined = Join::try_new(
            Arc::new(left_input),
            Arc::new(right_input),
            Vec::new(),
            conjunction(conditions),
            join.join_type,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        self.project(LogicalPlan::Join(joined), columns_of(plan))
            .map(Some)
    }

    fn side(&mut self, plan: &Arc<LogicalPlan>, carries: bool) -> Result<Option<LogicalPlan>> {
        match carries {
            true => self.through(plan),
            false => Ok(Some(plan.as_ref().clone())),
        }
    }
}

/// The first columns of a plan, called as those of another one.
pub(super) fn renamed(plan: &LogicalPlan, as_in: &LogicalPlan) -> Vec<Expr> {
    let columns = columns_of(plan).zip(as_in.schema().iter());
    let renamed = columns
        .map(|(column, (relation, field))| column.alias_qualified(relation.cloned(), field.name()));
    renamed.collect()
}

/// A sort below nothing but projections.
fn is_ordered(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_ordered(&projection.input),
        _ => false,
    }
}

/// What an aggregate makes of no rows.
fn of_no_rows(value: &Expr, data_type: &DataType) -> Result<Option<ScalarValue>> {
    match value {
        Expr::Alias(alias) => of_no_rows(&alias.expr, data_type),
        Expr::AggregateFunction(call) => call.func.default_value(data_type).map(Some),
        _ => Ok(None),
    }
}
