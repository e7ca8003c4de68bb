//! SQL text to a statement whose names are the tables' own: identifiers match without regard to case and keep theirs.
//!
//! DataFusion's own normalisation is off; instead each name is looked up in the scope that it stands in (`scope`), then in
//! the one around it. In one scope an exact match wins, a single match without regard to case is taken, two are an error.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, LimitClause, NamedWindowDefinition, NamedWindowExpr,
    ObjectName, ObjectNamePart, Query, RenameSelectItem, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, VisitorMut,
    WildcardAdditionalOptions, WindowSpec, WindowType,
};

use super::CATALOG;
use super::access::with_names_first;
use super::functions::computes_over_rows;
use super::given::Given;
use super::merged;
use super::same_names;
use super::scope::{Scope, Sources, spell};
use super::table_lookup::{find, find_view, server_table};
use super::using::spell_using;
use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::sql::{parts, placeholder, visit_mut};
use crate::types::{SameName, TableName};

/// What a query's names resolve to.
pub(crate) struct Resolved {
    pub statement: Statement,
    /// Parameters that stand in a LIMIT or OFFSET, from 1.
    pub counts: BTreeSet<usize>,
}

/// # Errors
/// INVALID_ARGUMENT `ambiguous_name`.
pub(crate) fn resolve(
    mut statement: Statement,
    snapshot: &Snapshot,
    others: &[(String, Vec<String>)],
) -> Result<Resolved, Fault> {
    let mut rewriter = Rewriter {
        sources: Sources { snapshot, others },
        levels: Vec::new(),
        counts: BTreeSet::new(),
        called: false,
        unnamed: 0,
        calls: Vec::new(),
        error: None,
    };
    let _ = visit_mut(&mut statement, &mut rewriter);
    match rewriter.error {
        Some(fault) => Err(fault),
        None => Ok(Resolved {
            statement,
            counts: rewriter.counts,
        }),
    }
}

/// A query or a SELECT that is being visited.
struct Level {
    given: Given,
    /// What is given within the queries of its WITH that are still to be visited.
    within: std::vec::IntoIter<Given>,
    /// A query's are those of its first SELECT, for its ORDER BY, once that was visited.
    scope: Option<Scope>,
    select: bool,
    /// A query of set operations, whose ORDER BY sees their results alone.
    of_sets: bool,
}

struct Rewriter<'a> {
    sources: Sources<'a>,
    /// Outermost first. A SELECT stands behind its query.
    levels: Vec<Level>,
    counts: BTreeSet<usize>,
    /// The next name is a function's: it is called, and no table of that name is meant.
    called: bool,
    /// Relations that have no name of their own.
    unnamed: usize,
    /// Aggregates and window functions that are being visited, each by the number of levels around it.
    calls: Vec<usize>,
    error: Option<Fault>,
}

impl Rewriter<'_> {
    fn note<T>(&mut self, outcome: Result<T, Fault>) -> Option<T> {
        match outcome {
            Ok(found) => Some(found),
            Err(fault) => {
                self.error = self.error.take().or(Some(fault));
                None
            }
        }
    }

    fn given(&self) -> Given {
        self.levels
            .last()
            .map_or_else(Given::default, |level| level.given.clone())
    }

    /// The names at this place, innermost first.
    fn scopes(&self) -> impl Iterator<Item = &Scope> {
        let within = |at: usize| self.levels.get(at + 1).is_some_and(|l| l.select);
        let innermost = self.levels.iter().enumerate().rev();
        // What a query has for its ORDER BY is none of its SELECTs' business.
        let seen = innermost.filter(move |(at, level)| level.select || !within(*at));
        seen.filter_map(|(_, level)| level.scope.as_ref())
    }

    /// What is given around the query that is visited next.
    fn around(&mut self) -> Given {
        let within = self.levels.last_mut().and_then(|l| l.within.next());
        within.unwrap_or_else(|| self.given())
    }

    /// Spells a column's name. Gives what stands in its place, if anything does.
    fn column(&self, ident: &mut Ident) -> Result<Option<Expr>, Fault> {
        if self.calls.last() == Some(&self.levels.len())
            && let Some(level) = self.levels.last().filter(|l| !l.of_sets)
            && let Some(scope) = &level.scope
            && let Some(column) = scope.computed_over(&ident.value)?
        {
            return Ok(Some(column));
        }
        for scope in self.scopes() {
            if let Some(spelling) = scope.column(&ident.value)? {
                spell(ident, spelling);
                return Ok(scope.merged(spelling).cloned());
            }
            if scope.open() {
                break;
            }
        }
        Ok(None)
    }

    /// `relation.column`, `schema.relation.column`, `column.field`.
    fn compound(&self, idents: &mut Vec<Ident>) -> Result<(), Fault> {
        for (at, scope) in self.scopes().enumerate() {
            if let [.., schema, table, column] = idents.as_mut_slice()
                && let Some(relation) = scope.relation(&table.value)?
                && let Some(name) = &relation.table
                && name.schema().is_same_name(&schema.value)
            {
                spell(schema, name.schema());
                spell(table, name.table());
                if let Some(spelling) = relation.column(&column.value)? {
                    spell(column, spelling);
                }
                return Ok(());
            }
            if let [first, column, ..] = idents.as_mut_slice()
                && let Some(relation) = scope.relation(&first.value)?
            {
                spell(first, relation.called());
                if let Some(spelling) = relation.column(&column.value)? {
                    spell(column, spelling);
                }
                return Ok(());
            }
            if let [first, rest @ ..] = idents.as_mut_slice()
                && let Some(spelling) = scope.column(&first.value)?
            {
                if let [column] = rest
                    && scope.has_no_fields(spelling)
                    && let Some(found) = self.column_around(at, first, column)?
                {
                    *idents = found;
                } else {
                    spell(first, spelling);
                }
                return Ok(());
            }
            if scope.open() {
                break;
            }
        }
        Ok(())
    }

    /// `relation.column` of a query around a scope that has a column called as the relation is. It is written with a catalog and a
    /// schema, because DataFusion takes two names for a field of the inner column; an alias matches whatever stands before it.
    fn column_around(
        &self,
        scope: usize,
        relation: &Ident,
        column: &Ident,
    ) -> Result<Option<Vec<Ident>>, Fault> {
        for around in self.scopes().skip(scope + 1) {
            let Some(relation) = around.relation(&relation.value)? else {
                continue;
            };
            let Some(column) = relation.column(&column.value)? else {
                return Ok(None);
            };
            let schema = relation.table.as_ref().map_or(CATALOG, TableName::schema);
            let whole = [CATALOG, schema, relation.called(), column];
            let whole = whole.map(|part| Ident::with_quote('"', part));
            return Ok(Some(whole.into()));
        }
        Ok(None)
    }

    fn window(&self, over: &mut WindowType) -> Result<(), Fault> {
        let (WindowType::NamedWindow(name)
        | WindowType::WindowSpec(WindowSpec {
            window_name: Some(name),
            ..
        })) = over
        else {
            return Ok(());
        };
        match self.scopes().next() {
            Some(scope) => named_window(scope, name),
            None => Ok(()),
        }
    }
}

fn named_window(scope: &Scope, name: &mut Ident) -> Result<(), Fault> {
    if let Some(spelling) = scope.window(&name.value)? {
        spell(name, spelling);
    }
    Ok(())
}

/// The names in a SELECT that stand in no expression.
fn spell_select(select: &mut Select, scope: &Scope) -> Result<(), Fault> {
    for item in &mut select.projection {
        match item {
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) => {
                spell_options(options, scope)?;
                qualifier(name, scope)?;
            }
            SelectItem::QualifiedWildcard(_, options) | SelectItem::Wildcard(options) => {
                spell_options(options, scope)?;
            }
            _ => {}
        }
    }
    for NamedWindowDefinition(_, window) in &mut select.named_window {
        match window {
            NamedWindowExpr::NamedWindow(name)
            | NamedWindowExpr::WindowSpec(WindowSpec {
                window_name: Some(name),
                ..
            }) => named_window(scope, name)?,
            NamedWindowExpr::WindowSpec(_) => {}
        }
    }
    Ok(())
}

/// `t.*`: a table that has no alias is called by its whole name, which the planner asks for beside a window function.
fn qualifier(name: &mut ObjectName, scope: &Scope) -> Result<(), Fault> {
    let parts = parts(name);
    let Some(relation) = parts
        .last()
        .map(|last| scope.relation(last))
        .transpose()?
        .flatten()
    else {
        return Ok(());
    };
    let whole = relation
        .table
        .as_ref()
        .filter(|table| match parts.as_slice() {
            [_] => true,
            [.., schema, _] => table.schema().is_same_name(schema),
            [] => false,
        });
    if let Some(table) = whole {
        *name = whole_name(table);
    } else if let [_] = parts.as_slice() {
        *name = ObjectName::from(vec![Ident::with_quote('"', relation.called())]);
    }
    Ok(())
}

fn whole_name(table: &TableName) -> ObjectName {
    ObjectName::from(vec![
        Ident::with_quote('"', CATALOG),
        Ident::with_quote('"', table.schema()),
        Ident::with_quote('"', table.table()),
    ])
}

/// EXCLUDE, EXCEPT, REPLACE and RENAME behind a `*`.
fn spell_options(options: &mut WildcardAdditionalOptions, scope: &Scope) -> Result<(), Fault> {
    let column = |ident: &mut Ident| -> Result<(), Fault> {
        if let Some(spelling) = scope.column(&ident.value)? {
            spell(ident, spelling);
        }
        Ok(())
    };
    match &mut options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => last_ident(name, scope)?,
        Some(ExcludeSelectItem::Multiple(names)) => {
            for name in names {
                last_ident(name, scope)?;
            }
        }
        None => {}
    }
    if let Some(except) = &mut options.opt_except {
        column(&mut except.first_element)?;
        except.additional_elements.iter_mut().try_for_each(column)?;
    }
    if let Some(replace) = &mut options.opt_replace {
        let mut items = replace.items.iter_mut();
        items.try_for_each(|item| column(&mut item.column_name))?;
    }
    match &mut options.opt_rename {
        Some(RenameSelectItem::Single(one)) => column(&mut one.ident)?,
        Some(RenameSelectItem::Multiple(many)) => {
            many.iter_mut().try_for_each(|one| column(&mut one.ident))?;
        }
        None => {}
    }
    Ok(())
}

/// A column's name, with or without what it is qualified by.
fn last_ident(name: &mut ObjectName, scope: &Scope) -> Result<(), Fault> {
    if let Some(ObjectNamePart::Identifier(ident)) = name.0.last_mut()
        && let Some(spelling) = scope.column(&ident.value)?
    {
        spell(ident, spelling);
    }
    Ok(())
}

/// `f(..)` in FROM: a table function, also where a table has its name.
fn is_call(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { args: Some(_), .. })
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        same_names::mark_right_sides(&mut query.body);
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                same_names::mark_named(&mut cte.query, &cte.alias);
            }
        }
        let around = self.around();
        let (within, given) = self.sources.given(query, &around);
        given.tell(query);
        self.levels.push(Level {
            given,
            within: within.into_iter(),
            scope: None,
            select: false,
            of_sets: matches!(*query.body, SetExpr::SetOperation { .. }),
        });
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let given = self.given();
        for table in &mut select.from {
            let outcome = spell_using(table, &self.sources, &given);
            self.note(outcome);
        }
        let merged = merged::merge(select, &self.sources, &given, &mut self.unnamed);
        let mut scope = self.sources.scope(select, &given);
        scope.merged = self.note(merged).unwrap_or_default();
        self.note(merged::name_results(select, &scope));
        self.note(spell_select(select, &scope));
        self.levels.push(Level {
            given,
            within: Vec::new().into_iter(),
            scope: Some(scope),
            select: true,
            of_sets: false,
        });
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let scope = self.levels.pop().and_then(|level| level.scope);
        // The statement's own result, or a part of its union.
        if let (Some(scope), [_]) = (&scope, self.levels.as_slice()) {
            same_names::mark(select, |name| scope.hides(name));
        }
        if let (Some(mut scope), Some(query)) = (scope, self.levels.last_mut()) {
            scope.ordering = true;
            if query.of_sets {
                scope.merged.columns.clear();
            } else if !scope.merged.columns.is_empty() {
                scope.name_results(select);
            }
            query.scope.get_or_insert(scope);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.called = is_call(factor);
        self.given().call(factor);
        if let TableFactor::Derived {
            subquery,
            alias: Some(alias),
            ..
        } = factor
        {
            same_names::mark_named(subquery, alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if std::mem::take(&mut self.called) {
            return ControlFlow::Continue(());
        }
        let given = match parts(relation).as_slice() {
            [one] => self.given().told(one).map(str::to_owned),
            _ => None,
        };
        if let Some(told) = given {
            *relation = ObjectName::from(vec![Ident::with_quote('"', told)]);
        } else if let Some(view) = find(self.sources.snapshot, relation) {
            *relation = whole_name(&view.name);
        } else if let Some(view) = find_view(self.sources.snapshot, relation) {
            *relation = whole_name(&view.name);
        } else if let Some(full) =
            server_table(self.sources.snapshot, relation, self.sources.others)
        {
            *relation = ObjectName::from(full.split('.').map(Ident::new).collect::<Vec<_>>());
        } else if relation.0.len() > 1 {
            // `system` and `information_schema` are lower case throughout.
            for part in &mut relation.0 {
                if let ObjectNamePart::Identifier(ident) = part {
                    ident.value = ident.value.to_ascii_lowercase();
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        with_names_first(expr);
        let outcome = match expr {
            Expr::Identifier(ident) => self.column(ident).map(|merged| {
                if let Some(merged) = merged {
                    *expr = merged;
                }
            }),
            Expr::CompoundIdentifier(idents) => self.compound(idents),
            Expr::Function(function) => {
                if computes_over_rows(function) {
                    self.calls.push(self.levels.len());
                }
                match &mut function.over {
                    Some(over) => self.window(over),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        };
        self.note(outcome);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Function(function) if computes_over_rows(function)) {
            self.calls.pop();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let counts = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                [limit.as_ref(), offset.as_ref().map(|o| &o.value)]
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => [Some(limit), Some(offset)],
            None => [None, None],
        };
        let fetched = query.fetch.as_ref().and_then(|f| f.quantity.as_ref());
        let counts = counts.into_iter().chain([fetched]).flatten();
        self.counts.extend(counts.filter_map(placeholder));
        self.levels.pop();
        ControlFlow::Continue(())
    }
}
