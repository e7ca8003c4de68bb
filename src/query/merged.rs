//! `a FULL JOIN b USING (id)`: the column `id` of the join, which is of the left side, the right side, or of whichever has the row.
//!
//! The planner takes the left side's for it, also where that side has no row, and of a `*` the one whose qualifier comes first in the
//! alphabet. Here `id` becomes `coalesce(a.id, b.id)` of a full join and `b.id` of a right join, a `*` the columns that it stands for, those
//! of USING first, and USING the condition that it is (SQL:2023, 7.10).

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Select,
    SelectItem, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins,
    WildcardAdditionalOptions,
};

use super::given::Given;
use super::scope::{Merged, Relation, Scope, Sources};
use crate::fault::Fault;
use crate::sql::{parse_own, parse_own_expr, parts};
use crate::types::{SameName, quote_name};

/// Prefix of what subqueries and functions in FROM are called that have no name. No table can have such a name.
const UNNAMED: &str = "deltaplane.side.";

/// A column that a join has of both sides.
#[derive(Clone)]
struct Column {
    name: String,
    /// The columns that it is made of, as they are written: its value is that of the first which is not null.
    made_of: Vec<String>,
    /// Does the planner take it for the side's column of a USING that names it?
    known: bool,
}

impl Column {
    fn text(&self) -> String {
        match self.made_of.as_slice() {
            [one] => one.clone(),
            several => format!("coalesce({})", several.join(", ")),
        }
    }
}

/// One that FROM reads.
struct Read {
    /// What its columns are qualified by.
    path: String,
    relation: Relation,
    /// Those of its columns that a join has of both sides.
    merged: Vec<String>,
}

impl Read {
    fn has(&self, name: &str) -> bool {
        !self.merged.iter().any(|m| m.is_same_name(name))
            && matches!(self.relation.column(name), Ok(Some(_)))
    }
}

/// What stands on one side of a join.
#[derive(Default)]
struct Side {
    relations: Vec<Read>,
    merged: Vec<Column>,
}

impl Side {
    fn add(&mut self, other: Side) {
        self.relations.extend(other.relations);
        self.merged.extend(other.merged);
    }

    /// The column that a USING names, which is then none of this side alone. None: it is not known which.
    fn take(&mut self, name: &str) -> Option<Column> {
        if let Some(at) = self.merged.iter().position(|c| c.name.is_same_name(name)) {
            return Some(self.merged.remove(at));
        }
        let alone = self.relations.len() == 1;
        let having = self.relations.iter_mut();
        let mut having = having.filter(|read| read.has(name) || (alone && read.relation.is_open()));
        let (read, None) = (having.next()?, having.next()) else {
            return None;
        };
        let own = read.relation.column(name).ok()?.unwrap_or(name).to_owned();
        let made_of = vec![format!("{}.{}", read.path, quote_name(&own))];
        read.merged.push(own.clone());
        Some(Column {
            name: own,
            made_of,
            known: true,
        })
    }
}

/// Does it for one SELECT. Gives what stands for the columns that joins have of both sides, by their names. `unnamed`: how many relations of
/// the statement have a name from here, which is no other's.
///
/// # Errors
/// None: what is made here is read again.
pub(super) fn merge(
    select: &mut Select,
    sources: &Sources<'_>,
    given: &Given,
    unnamed: &mut usize,
) -> Result<Merged, Fault> {
    if !select.from.iter().any(merges) {
        return Ok(Merged::default());
    }
    let mut reader = Reader {
        sources,
        given,
        unnamed,
        keeps_using: select.projection.iter().any(has_options),
    };
    let mut from = select.from.clone();
    let mut sides = Vec::with_capacity(from.len());
    for table in &mut from {
        match reader.joined(table)? {
            Some(side) => sides.push(side),
            None => return Ok(Merged::default()),
        }
    }
    select.from = from;
    let mut written_out = false;
    let mut items = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match &item {
            SelectItem::Wildcard(options) if !has_options(&item) => match all(&sides, options) {
                Some(text) => {
                    written_out = true;
                    items.extend(items_of(&text)?);
                }
                None => items.push(item),
            },
            _ => items.push(item),
        }
    }
    select.projection = items;
    let columns = sides.iter().flat_map(|side| &side.merged);
    // Beside a column of another relation the name is ambiguous, and stays so.
    let clear = columns.filter(|column| {
        let mut others = sides.iter().flat_map(|side| &side.relations);
        let merged = sides.iter().flat_map(|side| &side.merged);
        let again = merged.filter(|other| other.name.is_same_name(&column.name));
        again.count() == 1 && !others.any(|read| read.has(&column.name))
    });
    let clear = clear.map(|c| Ok((c.name.clone(), parse_own_expr(&c.text())?)));
    Ok(Merged {
        columns: clear.collect::<Result<_, Fault>>()?,
        written_out,
    })
}

/// `SELECT id` of what is computed of both sides, under the name that it has.
pub(super) fn name_results(select: &mut Select, scope: &Scope) -> Result<(), Fault> {
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(Expr::Identifier(ident)) = item else {
            continue;
        };
        let Some(spelling) = scope.column(&ident.value)? else {
            continue;
        };
        if let Some(expr @ Expr::Function(_)) = scope.merged(spelling) {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', spelling),
            };
        }
    }
    Ok(())
}

fn merges(table: &TableWithJoins) -> bool {
    let within = |factor: &TableFactor| match factor {
        TableFactor::NestedJoin {
            table_with_joins,
            alias: None,
        } => merges(table_with_joins),
        _ => false,
    };
    within(&table.relation)
        || table.joins.iter().any(|join| {
            let constraint = constraint(&join.join_operator);
            within(&join.relation)
                || matches!(
                    constraint,
                    Some(JoinConstraint::Using(_) | JoinConstraint::Natural)
                )
        })
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

struct Reader<'a> {
    sources: &'a Sources<'a>,
    given: &'a Given,
    unnamed: &'a mut usize,
    /// The planner is to leave out what a `*` would have twice.
    keeps_using: bool,
}

impl Reader<'_> {
    fn joined(&mut self, table: &mut TableWithJoins) -> Result<Option<Side>, Fault> {
        let Some(mut left) = self.side(&mut table.relation)? else {
            return Ok(None);
        };
        for join in &mut table.joins {
            let Some(right) = self.side(&mut join.relation)? else {
                return Ok(None);
            };
            if !merge_sides(&mut left, right, join, self.keeps_using)? {
                return Ok(None);
            }
        }
        Ok(Some(left))
    }

    fn side(&mut self, factor: &mut TableFactor) -> Result<Option<Side>, Fault> {
        match factor {
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => return self.joined(table_with_joins),
            TableFactor::Derived {
                alias: alias @ None,
                ..
            }
            | TableFactor::Table {
                alias: alias @ None,
                args: Some(_),
                ..
            } => {
                *alias = Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', format!("{UNNAMED}{}", self.unnamed)),
                    columns: Vec::new(),
                    at: None,
                });
                *self.unnamed += 1;
            }
            _ => {}
        }
        let mut read = Vec::new();
        self.sources.relation(factor, self.given, &mut read);
        let mut side = Side::default();
        for relation in read {
            let path = match &relation.table {
                Some(table) => {
                    let (schema, table) = (table.schema(), table.table());
                    format!("{}.{}", quote_name(schema), quote_name(table))
                }
                None if relation.called().is_empty() => return Ok(None),
                None => quote_name(relation.called()),
            };
            side.relations.push(Read {
                path,
                relation,
                merged: Vec::new(),
            });
        }
        Ok(Some(side))
    }
}

/// Adds the right side of a join. False: which columns it has of both is not known here.
fn merge_sides(
    left: &mut Side,
    mut right: Side,
    join: &mut Join,
    keeps_using: bool,
) -> Result<bool, Fault> {
    let names: Vec<String> = match constraint(&join.join_operator) {
        Some(JoinConstraint::Using(columns)) => {
            let names = columns
                .iter()
                .map(|c| parts(c).last().map(|n| (*n).to_owned()));
            names.flatten().collect()
        }
        Some(JoinConstraint::Natural) => match common(left, &right) {
            Some(names) if !names.is_empty() => names,
            _ => return Ok(false),
        },
        Some(_) => Vec::new(),
        None if matches!(join.join_operator, JoinOperator::CrossJoin(_)) => Vec::new(),
        None => return Ok(false),
    };
    let mut conditions = Vec::with_capacity(names.len());
    let mut known = true;
    let mut columns = Vec::with_capacity(names.len());
    for name in &names {
        let again = left.merged.iter().any(|c| c.name.is_same_name(name));
        let (Some(one), Some(other)) = (left.take(name), right.take(name)) else {
            return Ok(false);
        };
        conditions.push(format!("{} = {}", one.text(), other.text()));
        known &= one.known && other.known;
        let (made_of, of_left) = match &join.join_operator {
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => (other.made_of, false),
            JoinOperator::FullOuter(_) => {
                let all = one.made_of.into_iter().chain(other.made_of);
                (all.collect(), false)
            }
            _ => (one.made_of, one.known),
        };
        columns.push(Column {
            name: one.name,
            made_of,
            known: of_left && !again,
        });
    }
    if let Some(constraint) = constraint_mut(&mut join.join_operator)
        && !names.is_empty()
    {
        // Beside a USING the planner takes a name of the results for an ambiguous one, where it is one of more than two columns.
        *constraint = match known && keeps_using {
            true => JoinConstraint::Using(names.iter().map(|n| named(n)).collect()),
            false => JoinConstraint::On(parse_own_expr(&conditions.join(" AND "))?),
        };
    }
    left.add(right);
    // Those of the last join come first.
    columns.append(&mut left.merged);
    left.merged = columns;
    Ok(true)
}

fn named(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::with_quote('"', name)])
}

/// The columns that both sides of a NATURAL join have. None: not all columns are known.
fn common(left: &Side, right: &Side) -> Option<Vec<String>> {
    let names = |side: &Side| -> Option<Vec<String>> {
        let mut names: Vec<String> = side.merged.iter().map(|c| c.name.clone()).collect();
        for read in &side.relations {
            if read.relation.is_open() {
                return None;
            }
            let own = read.relation.columns().filter(|name| read.has(name));
            names.extend(own.map(str::to_owned));
        }
        Some(names)
    };
    let (left, right) = (names(left)?, names(right)?);
    Some(
        left.into_iter()
            .filter(|name| right.contains(name))
            .collect(),
    )
}

/// Has a `*` options that are the planner's to follow?
fn has_options(item: &SelectItem) -> bool {
    match item {
        SelectItem::Wildcard(options) => {
            options.opt_replace.is_some()
                || options.opt_rename.is_some()
                || options.opt_ilike.is_some()
        }
        _ => false,
    }
}

/// The columns that `*` stands for. None: there are none.
fn all(sides: &[Side], options: &WildcardAdditionalOptions) -> Option<String> {
    if options.opt_replace.is_some() || options.opt_rename.is_some() || options.opt_ilike.is_some()
    {
        return None;
    }
    let mut left_out: Vec<String> = match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => vec![last(name)?],
        Some(ExcludeSelectItem::Multiple(names)) => {
            names.iter().map(last).collect::<Option<_>>()?
        }
        None => Vec::new(),
    };
    if let Some(except) = &options.opt_except {
        let others = except.additional_elements.iter();
        let names = std::iter::once(&except.first_element).chain(others);
        left_out.extend(names.map(|name| name.value.clone()));
    }
    let is_out = |name: &str| left_out.iter().any(|out| out.is_same_name(name));
    let mut items = Vec::new();
    for side in sides {
        for column in side.merged.iter().filter(|c| !is_out(&c.name)) {
            items.push(match column.made_of.len() {
                1 => column.text(),
                _ => format!("{} AS {}", column.text(), quote_name(&column.name)),
            });
        }
        for read in &side.relations {
            let mut own = read.relation.columns();
            if !read.relation.is_open() && own.all(|name| !read.has(name) || is_out(name)) {
                continue;
            }
            let named = left_out.iter().filter(|name| read.has(name));
            let named = named.filter_map(|name| read.relation.column(name).ok().flatten());
            let out = read.merged.iter().map(String::as_str).chain(named);
            let out: Vec<String> = out.map(quote_name).collect();
            items.push(match out.is_empty() {
                true => format!("{}.*", read.path),
                false => format!("{}.* EXCLUDE ({})", read.path, out.join(", ")),
            });
        }
    }
    (!items.is_empty()).then(|| items.join(", "))
}

fn last(name: &ObjectName) -> Option<String> {
    parts(name).last().map(|name| (*name).to_owned())
}

fn items_of(text: &str) -> Result<Vec<SelectItem>, Fault> {
    if let Statement::Query(query) = parse_own(&format!("SELECT {text} FROM x"))?
        && let SetExpr::Select(select) = *query.body
    {
        return Ok(select.projection);
    }
    Err(Fault::internal("the columns of a join are no list"))
}
