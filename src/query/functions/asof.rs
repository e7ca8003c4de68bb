//! `l ASOF JOIN r MATCH_CONDITION (l.ts >= r.ts) ON l.k = r.k`: to each row on the left the newest row on the right that is
//! not later; nulls where there is none.
//!
//! Written out as a LEFT JOIN to the right's rows with the time up to which each one holds (`lead(ts)`). A key's rows meet
//! all of that key's on the right, so it is made for a right side that changes now and then: calibrations, set points,
//! assignments.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Spanned, Statement, TableFactor, TableWithJoins,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::query::names::find;
use crate::sql::parse_own;

const UNTIL: &str = "__until";

/// # Errors
/// INVALID_ARGUMENT for a join that says too little, or a right side that is no table.
pub(super) fn rewrite(statement: &mut Statement, snapshot: &Snapshot) -> Result<(), Fault> {
    let mut rewriter = Rewriter {
        snapshot,
        fault: None,
    };
    let _ = statement.visit(&mut rewriter);
    rewriter.fault.map_or(Ok(()), Err)
}

struct Rewriter<'a> {
    snapshot: &'a Snapshot,
    fault: Option<Fault>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Err(fault) = written_out(select, self.snapshot) {
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

fn written_out(select: &mut Select, snapshot: &Snapshot) -> Result<(), Fault> {
    if !select.from.iter().any(|f| f.joins.iter().any(is_asof)) {
        return Ok(());
    }
    explicit_columns(select, snapshot)?;
    for TableWithJoins { joins, .. } in &mut select.from {
        for join in joins.iter_mut().filter(|j| is_asof(j)) {
            let JoinOperator::AsOf {
                match_condition,
                constraint,
            } = &join.join_operator
            else {
                continue;
            };
            let TableFactor::Table { name, alias, .. } = &join.relation else {
                return Err(wrong(
                    &join.relation,
                    "the right side of an ASOF JOIN is a table",
                ));
            };
            let alias = alias.as_ref().map_or_else(
                || name.0.last().map_or_else(String::new, |p| p.to_string()),
                |a| a.name.to_string(),
            );
            let right = |e: &Expr| matches!(e, Expr::CompoundIdentifier(i) if i.len() == 2 && i[0].to_string().eq_ignore_ascii_case(&alias));
            let column = |e: &Expr| match e {
                Expr::CompoundIdentifier(idents) => idents.last().map(ToString::to_string),
                _ => None,
            };
            let condition = match_condition_of(match_condition);
            let Expr::BinaryOp { left, op, right: r } = &condition else {
                return Err(wrong(
                    &join.relation,
                    "the match condition compares two times",
                ));
            };
            // The left row's time first.
            let (time, op, theirs) = match (right(left), right(r)) {
                (false, true) => (left, op.clone(), r),
                (true, false) => (r, turned(op), left),
                _ => {
                    return Err(wrong(
                        &join.relation,
                        "the match condition compares a time of the left with one of the right, both with their table's name",
                    ));
                }
            };
            let (Some(theirs_column), true) = (
                column(theirs),
                matches!(op, BinaryOperator::GtEq | BinaryOperator::Gt),
            ) else {
                return Err(wrong(
                    &join.relation,
                    "the match condition is >= or >, the left one later",
                ));
            };
            let mut pairs = Vec::new();
            match constraint {
                JoinConstraint::On(on) => equalities(on, &mut pairs),
                JoinConstraint::Using(_) | JoinConstraint::Natural => {
                    return Err(wrong(&join.relation, "an ASOF JOIN says ON"));
                }
                JoinConstraint::None => {}
            }
            let mut keys = Vec::new();
            let mut conditions = Vec::new();
            for (a, b) in &pairs {
                let own = [a, b]
                    .into_iter()
                    .find_map(|side| side.strip_prefix(&format!("{alias}.")));
                let own = own.ok_or_else(|| {
                    wrong(
                        &join.relation,
                        "ON compares columns of both sides for equality, with their tables' names",
                    )
                })?;
                keys.push(own.to_owned());
                conditions.push(format!("{a} = {b}"));
            }
            let partition = if keys.is_empty() {
                String::new()
            } else {
                format!("PARTITION BY {} ", keys.join(", "))
            };
            let (reached, before) = match op {
                BinaryOperator::Gt => (">", "<="),
                _ => (">=", "<"),
            };
            conditions.push(format!("{time} {reached} {alias}.{theirs_column}"));
            conditions.push(format!(
                "({alias}.\"{UNTIL}\" IS NULL OR {time} {before} {alias}.\"{UNTIL}\")"
            ));
            let text = format!(
                "SELECT 1 FROM x LEFT JOIN (SELECT *, lead({theirs_column}) OVER ({partition}ORDER BY {theirs_column}) AS \"{UNTIL}\" FROM {name} WHERE {theirs_column} IS NOT NULL) AS {alias} ON {}",
                conditions.join(" AND ")
            );
            if let Statement::Query(query) = parse_own(&text)?
                && let SetExpr::Select(made) = *query.body
                && let Some(made) = made.from.into_iter().next()
                && let Some(made) = made.joins.into_iter().next()
            {
                *join = made;
            }
        }
    }
    Ok(())
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

fn equalities(on: &Expr, pairs: &mut Vec<(String, String)>) {
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
        } => pairs.push((left.to_string(), right.to_string())),
        // Neither side is the right table's: refused with the join.
        other => pairs.push((other.to_string(), String::new())),
    }
}

/// `*` would show the right side's helper column: it is spelled out.
fn explicit_columns(select: &mut Select, snapshot: &Snapshot) -> Result<(), Fault> {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    let factors = select
        .from
        .iter()
        .flat_map(|t| std::iter::once(&t.relation).chain(t.joins.iter().map(|j| &j.relation)));
    for factor in factors {
        if let TableFactor::Table { name, alias, .. } = factor
            && let Some(view) = find(snapshot, name)
        {
            let alias = alias.as_ref().map_or_else(
                || name.0.last().map_or_else(String::new, |p| p.to_string()),
                |a| a.name.to_string(),
            );
            let columns = view.schema.fields().iter().map(|f| f.name().clone());
            tables.push((alias, columns.collect()));
        }
    }
    let spelled = |(alias, columns): &(String, Vec<String>)| {
        let items = columns.iter().map(|c| {
            let table = alias.trim_matches('"');
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(vec![
                Ident::new(table),
                Ident::with_quote('"', c),
            ]))
        });
        items.collect::<Vec<_>>()
    };
    let plain = |options: &WildcardAdditionalOptions| {
        options.opt_exclude.is_none()
            && options.opt_except.is_none()
            && options.opt_replace.is_none()
    };
    let mut projection = Vec::new();
    for item in select.projection.drain(..) {
        match &item {
            SelectItem::Wildcard(options) if plain(options) => {
                projection.extend(tables.iter().flat_map(spelled));
            }
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) if plain(options) => {
                let known = tables
                    .iter()
                    .find(|(alias, _)| alias.eq_ignore_ascii_case(&name.to_string()));
                match known {
                    Some(table) => projection.extend(spelled(table)),
                    None => projection.push(item),
                }
            }
            _ => projection.push(item),
        }
    }
    select.projection = projection;
    Ok(())
}
