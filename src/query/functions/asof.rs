//! `l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k`: to each row on the left the newest row on the right that is
//! not later; nulls where there is none.
//!
//! Written out as a LEFT JOIN to the right's rows with the time up to which each one holds (`lead(ts)`). A key's rows meet
//! all of that key's on the right, so it is made for a right side that changes now and then: calibrations, set points,
//! assignments.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Spanned, Statement, TableFactor,
    TableWithJoins, VisitorMut,
};

use crate::fault::Fault;
use crate::sql::{parse_own, printed, visit_mut};
use crate::types::SameName;

/// Begins the names of the columns that the right sides get.
const UNTIL: &str = "__until_";

/// # Errors
/// INVALID_ARGUMENT for a join that says too little.
pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Fault> {
    let mut rewriter = Rewriter::default();
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.fault.map_or(Ok(()), Err)
}

#[derive(Default)]
struct Rewriter {
    joins: usize,
    fault: Option<Fault>,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Err(fault) = written_out(select, &mut self.joins) {
            self.fault = self.fault.take().or(Some(fault));
        }
        ControlFlow::Continue(())
    }
}

fn wrong(at: &impl Spanned, problem: &str) -> Fault {
    let start = at.span().start;
    Fault::invalid(
        "invalid_query",
        format!(
            "{problem}: FROM l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k at Line: {}, Column: {}",
            start.line, start.column
        ),
    )
}

fn is_asof(join: &Join) -> bool {
    matches!(join.join_operator, JoinOperator::AsOf { .. })
}

/// What stands on the right.
struct Right {
    /// As text behind FROM, with the names that it gives its columns.
    rows: String,
    /// What the rest of the statement calls it.
    called: Ident,
}

impl Right {
    fn of(relation: &TableFactor) -> Result<Self, Fault> {
        let mut bare = relation.clone();
        let (alias, own) = match &mut bare {
            TableFactor::Table { name, alias, .. } => {
                let own = name.0.last().and_then(|part| part.as_ident()).cloned();
                (alias.take(), own)
            }
            TableFactor::Derived {
                lateral: false,
                alias,
                ..
            } => (alias.take(), None),
            _ => (None, None),
        };
        let columns = alias.as_ref().map_or(&[][..], |a| &a.columns);
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        let Some(called) = alias.map(|a| a.name).or(own) else {
            return Err(wrong(
                relation,
                "the right side of an ASOF JOIN is a table, a table function, or a subquery with a name",
            ));
        };
        let columns = match columns.is_empty() {
            true => String::new(),
            false => format!(" ({})", columns.join(", ")),
        };
        Ok(Right {
            rows: format!("{bare} AS {called}{columns}"),
            called,
        })
    }
}

/// The column of an expression that is one of the table, whatever the letters of its name are.
fn column_of<'e>(called: &Ident, expr: &'e Expr) -> Option<&'e Ident> {
    match expr {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, column] if table.value.is_same_name(&called.value) => Some(column),
            _ => None,
        },
        _ => None,
    }
}

fn written_out(select: &mut Select, count: &mut usize) -> Result<(), Fault> {
    let mut helpers: Vec<(Ident, Ident)> = Vec::new();
    for TableWithJoins { joins, .. } in &mut select.from {
        for join in joins.iter_mut().filter(|j| is_asof(j)) {
            let helper = Ident::with_quote('"', format!("{UNTIL}{count}"));
            *count += 1;
            let (called, made) = as_left_join(join, &helper)?;
            *join = made;
            helpers.push((called, helper));
        }
    }
    if !helpers.is_empty() {
        leave_out(select, &helpers);
    }
    Ok(())
}

fn as_left_join(join: &Join, helper: &Ident) -> Result<(Ident, Join), Fault> {
    let JoinOperator::AsOf {
        match_condition,
        constraint,
    } = &join.join_operator
    else {
        return Err(Fault::internal("no ASOF JOIN"));
    };
    let Right { rows, called } = Right::of(&join.relation)?;
    let refused = |problem: &str| Err(wrong(&join.relation, problem));
    let condition = match_condition_of(match_condition);
    let Expr::BinaryOp { left, op, right } = &condition else {
        return refused("the match condition compares two times");
    };
    // The left row's time first.
    let (time, op, theirs) = match (column_of(&called, left), column_of(&called, right)) {
        (None, Some(theirs)) => (left, op.clone(), theirs),
        (Some(theirs), None) => (right, turned(op), theirs),
        _ => {
            return refused(
                "the match condition compares a time of the left with one of the right, both with their table's name",
            );
        }
    };
    let (reached, before) = match op {
        BinaryOperator::Gt => (">", "<="),
        BinaryOperator::GtEq => (">=", "<"),
        _ => return refused("the match condition is >= or >, the left one later"),
    };
    let mut pairs = Vec::new();
    match constraint {
        JoinConstraint::On(on) => equalities(on, &mut pairs),
        JoinConstraint::Using(_) | JoinConstraint::Natural => {
            return refused("an ASOF JOIN says ON");
        }
        JoinConstraint::None => {}
    }
    let mut keys = Vec::new();
    let mut conditions = Vec::new();
    for (a, b) in &pairs {
        let own = match (column_of(&called, a), column_of(&called, b)) {
            (Some(own), None) | (None, Some(own)) => own,
            (Some(_), Some(_)) => {
                return refused(
                    "a condition on the right side alone stands in a subquery on that side, and ON compares columns of both sides",
                );
            }
            (None, None) => {
                return refused(
                    "ON compares columns of both sides for equality, with their tables' names",
                );
            }
        };
        keys.push(printed(&Expr::Identifier(own.clone())));
        conditions.push(format!("{a} = {b}"));
    }
    let partition = match keys.is_empty() {
        true => String::new(),
        false => format!("PARTITION BY {} ", keys.join(", ")),
    };
    conditions.push(format!("{time} {reached} {called}.{theirs}"));
    conditions.push(format!(
        "({called}.{helper} IS NULL OR {time} {before} {called}.{helper})"
    ));
    let text = format!(
        "SELECT 1 FROM x LEFT JOIN (SELECT *, lead({theirs}) OVER ({partition}ORDER BY {theirs}) AS {helper} FROM {rows} WHERE {theirs} IS NOT NULL) AS {called} ON {}",
        conditions.join(" AND ")
    );
    if let Statement::Query(query) = parse_own(&text)?
        && let SetExpr::Select(made) = *query.body
        && let Some(made) = made.from.into_iter().next()
        && let Some(made) = made.joins.into_iter().next()
    {
        return Ok((called, made));
    }
    Err(Fault::internal("an ASOF JOIN was not read again"))
}

/// `*` leaves the helper columns out.
fn leave_out(select: &mut Select, helpers: &[(Ident, Ident)]) {
    for item in &mut select.projection {
        let (options, of) = match item {
            SelectItem::Wildcard(options) => (options, None),
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) => (options, Some(name.clone())),
            _ => continue,
        };
        let is_of = |called: &Ident| match &of {
            None => true,
            Some(name) => matches!(name.0.as_slice(), [one]
                if one.as_ident().is_some_and(|i| i.value.is_same_name(&called.value))),
        };
        let of_item = helpers.iter().filter(|(called, _)| is_of(called));
        let mut out: Vec<ObjectName> = of_item.map(|(_, helper)| helper.clone().into()).collect();
        if out.is_empty() {
            continue;
        }
        if let Some(except) = &mut options.opt_except {
            let more = out.into_iter().filter_map(|name| {
                let part = name.0.into_iter().next()?;
                part.as_ident().cloned()
            });
            except.additional_elements.extend(more);
            continue;
        }
        match options.opt_exclude.take() {
            None => {}
            Some(ExcludeSelectItem::Single(name)) => out.push(name),
            Some(ExcludeSelectItem::Multiple(names)) => out.extend(names),
        }
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(out));
    }
}

fn match_condition_of(expr: &Expr) -> Expr {
    match expr {
        Expr::Nested(inner) => match_condition_of(inner),
        other => other.clone(),
    }
}

fn turned(op: &BinaryOperator) -> BinaryOperator {
    match op {
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Lt => BinaryOperator::Gt,
        // Any other is refused where it is used.
        _ => BinaryOperator::Eq,
    }
}

fn equalities(on: &Expr, pairs: &mut Vec<(Expr, Expr)>) {
    match on {
        Expr::Nested(inner) => equalities(inner, pairs),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            equalities(left, pairs);
            equalities(right, pairs);
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } => pairs.push(((**left).clone(), (**right).clone())),
        // No side of it is a column of the right table alone: refused with the join.
        other => pairs.push((other.clone(), other.clone())),
    }
}
