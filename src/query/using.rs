//! `JOIN .. USING (id)` whose sides spell the column differently: the planner knows it by one name.

use datafusion::sql::sqlparser::ast::{
    Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, SetExpr, Statement,
    TableAlias, TableFactor, TableWithJoins,
};

use super::given::Given;
use super::scope::{Relation, Scope, Sources, spell};
use super::table_lookup::find;
use crate::fault::Fault;
use crate::sql::{parse_own, parts};
use crate::types::quote_name;

/// Spells the columns of each USING as the left side does. A right side that spells them otherwise becomes a subquery that
/// gives them the left side's names.
///
/// # Errors
/// INVALID_ARGUMENT `ambiguous_name`.
pub(super) fn spell_using(
    table: &mut TableWithJoins,
    sources: &Sources<'_>,
    given: &Given,
) -> Result<(), Fault> {
    if table.joins.iter_mut().all(|join| using(join).is_none()) {
        return Ok(());
    }
    let read = |factor: &TableFactor| {
        let mut relations = Vec::new();
        sources.relation(factor, given, &mut relations);
        relations
    };
    let mut left = Scope::default();
    left.read(read(&table.relation));
    for join in &mut table.joins {
        let mut right = Scope::default();
        right.read(read(&join.relation));
        // Own name and the left side's.
        let mut renamed = Vec::new();
        for column in using(join).into_iter().flatten() {
            let Some(ObjectNamePart::Identifier(ident)) = column.0.last_mut() else {
                continue;
            };
            let own = right.column(&ident.value)?.map(str::to_owned);
            match (left.column(&ident.value)?, own) {
                (Some(name), Some(own)) => {
                    if own != name {
                        renamed.push((own, name.to_owned()));
                    }
                    spell(ident, name);
                }
                (Some(name), None) => spell(ident, name),
                (None, Some(own)) => spell(ident, &own),
                (None, None) => {}
            }
        }
        let mut relations = right.into_relations();
        if let ([relation], false) = (relations.as_slice(), renamed.is_empty()) {
            rename(&mut join.relation, relation, &renamed, sources, given)?;
            relations = read(&join.relation);
        }
        left.read(relations);
    }
    Ok(())
}

/// The columns of a join's USING.
fn using(join: &mut Join) -> Option<&mut Vec<ObjectName>> {
    match &mut join.join_operator {
        JoinOperator::Join(JoinConstraint::Using(columns))
        | JoinOperator::Inner(JoinConstraint::Using(columns))
        | JoinOperator::Left(JoinConstraint::Using(columns))
        | JoinOperator::LeftOuter(JoinConstraint::Using(columns))
        | JoinOperator::Right(JoinConstraint::Using(columns))
        | JoinOperator::RightOuter(JoinConstraint::Using(columns))
        | JoinOperator::FullOuter(JoinConstraint::Using(columns)) => Some(columns),
        _ => None,
    }
}

/// `(SELECT .., own AS name, .. FROM factor) AS called`
fn rename(
    factor: &mut TableFactor,
    relation: &Relation,
    renamed: &[(String, String)],
    sources: &Sources<'_>,
    given: &Given,
) -> Result<(), Fault> {
    let new = |own: &str| renamed.iter().find(|(known, _)| known == own);
    let select = |own: &str| match new(own) {
        Some((own, name)) => format!("{} AS {}", quote_name(own), quote_name(name)),
        None => quote_name(own),
    };
    let list = match &*factor {
        TableFactor::Table {
            name, args: None, ..
        } => {
            let parts = parts(name);
            let table = find(sources.snapshot, name);
            table.filter(|_| parts.len() > 1 || parts.iter().all(|p| given.one(p).is_none()))
        }
        _ => None,
    };
    let list: Vec<String> = match list {
        Some(table) => table
            .schema
            .fields()
            .iter()
            .map(|f| select(f.name()))
            .collect(),
        // The order of the columns is not known here. Behind a USING only the others show.
        None => {
            let own: Vec<String> = renamed.iter().map(|(own, _)| quote_name(own)).collect();
            let others = format!("* EXCLUDE ({})", own.join(", "));
            let renamed = renamed.iter().map(|(own, _)| select(own));
            std::iter::once(others).chain(renamed).collect()
        }
    };
    let text = format!("SELECT 1 FROM (SELECT {} FROM x)", list.join(", "));
    let Statement::Query(mut made) = parse_own(&text)? else {
        return Ok(());
    };
    let Some(outer) = first_of(&mut made.body) else {
        return Ok(());
    };
    if let TableFactor::Derived {
        subquery, alias, ..
    } = outer
    {
        if !relation.called().is_empty() {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', relation.called()),
                columns: Vec::new(),
                at: None,
            });
        }
        if let Some(inner) = first_of(&mut subquery.body) {
            std::mem::swap(inner, factor);
        }
    }
    std::mem::swap(outer, factor);
    Ok(())
}

/// What a SELECT reads first.
fn first_of(body: &mut SetExpr) -> Option<&mut TableFactor> {
    match body {
        SetExpr::Select(select) => select.from.first_mut().map(|from| &mut from.relation),
        _ => None,
    }
}
