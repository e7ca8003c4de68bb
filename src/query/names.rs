//! SQL text to a statement whose names are the tables' own: identifiers match without regard to case and keep theirs.
//!
//! DataFusion's own normalisation is off; instead each name in the statement is looked up among the columns of the tables it
//! reads and the aliases it gives. An exact match wins, a single match without regard to case is taken, two are an error.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, Ident, LimitClause, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, Statement, TableFactor, Value, ValueWithSpan, VisitMut,
    VisitorMut,
};

use super::caller::default_schema;
use super::table_function::named_table;
use crate::catalog::view::{Snapshot, TableView};
use crate::fault::Fault;
use crate::sql::{number, parse_one, parts, placed};
use crate::types::TableName;

/// What a query's names resolve to.
pub(crate) struct Resolved {
    pub statement: Statement,
    /// How many `?` there are; they have become `$1`, `$2`, ..
    pub parameters: usize,
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
    let mut collector = Collector {
        snapshot,
        others,
        names: Names::default(),
        given: BTreeSet::new(),
        called: false,
    };
    let _ = VisitMut::visit(&mut statement, &mut collector);
    let mut rewriter = Rewriter {
        snapshot,
        others,
        names: collector.names,
        given: collector.given,
        parameters: 0,
        counts: BTreeSet::new(),
        called: false,
        error: None,
    };
    let _ = VisitMut::visit(&mut statement, &mut rewriter);
    match rewriter.error {
        Some(fault) => Err(fault),
        None => Ok(Resolved {
            statement,
            parameters: rewriter.parameters,
            counts: rewriter.counts,
        }),
    }
}

/// Spellings by folded name.
#[derive(Default)]
struct Names(BTreeMap<String, BTreeSet<String>>);

impl Names {
    fn add(&mut self, name: &str) {
        self.0
            .entry(name.to_ascii_lowercase())
            .or_default()
            .insert(name.to_owned());
    }

    fn lookup(&self, name: &str) -> Result<Option<&str>, Fault> {
        let Some(spellings) = self.0.get(&name.to_ascii_lowercase()) else {
            return Ok(None);
        };
        if let Some(exact) = spellings.get(name) {
            return Ok(Some(exact));
        }
        let mut all = spellings.iter();
        match (all.next(), all.next()) {
            (Some(one), None) => Ok(Some(one)),
            _ => {
                let list: Vec<&str> = spellings.iter().map(String::as_str).collect();
                Err(Fault::invalid(
                    "ambiguous_name",
                    format!(
                        "ambiguous name {name}: {}; write it as one of them",
                        list.join(", ")
                    ),
                ))
            }
        }
    }
}

/// The table that a name in FROM means, if it is one of the snapshot's.
pub(super) fn find<'a>(snapshot: &'a Snapshot, name: &ObjectName) -> Option<&'a TableView> {
    let default = default_schema();
    let (schema, table) = placed(&parts(name), &default)?;
    snapshot
        .tables
        .get(&TableName::in_query(schema, table).ok()?.folded())
}

/// The snapshot's tables that a query reads, those that a table function is given included.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub fn tables_of(sql: &str, snapshot: &Snapshot) -> Result<Vec<TableName>, Fault> {
    struct Read<'a> {
        snapshot: &'a Snapshot,
        given: BTreeSet<String>,
        tables: BTreeSet<TableName>,
    }
    impl VisitorMut for Read<'_> {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            for Cte { alias, .. } in query.with.iter().flat_map(|w| &w.cte_tables) {
                self.given.insert(alias.name.value.to_ascii_lowercase());
            }
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            let TableFactor::Table { name, args, .. } = factor else {
                return ControlFlow::Continue(());
            };
            let given = matches!(parts(name).as_slice(), [one] if self.given.contains(&one.to_ascii_lowercase()));
            let view = match args {
                None if given => None,
                None => find(self.snapshot, name),
                Some(args) => {
                    let function = parts(name).join(".");
                    let table = named_table(&function, name, &args.args);
                    table.and_then(|t| self.snapshot.tables.get(&t.folded()))
                }
            };
            self.tables.extend(view.map(|v| v.name.clone()));
            ControlFlow::Continue(())
        }
    }
    let mut read = Read {
        snapshot,
        given: BTreeSet::new(),
        tables: BTreeSet::new(),
    };
    let _ = VisitMut::visit(&mut parse_one(sql)?, &mut read);
    Ok(read.tables.into_iter().collect())
}

struct Collector<'a> {
    snapshot: &'a Snapshot,
    /// Tables that are no snapshot's: `system` and `information_schema`.
    others: &'a [(String, Vec<String>)],
    names: Names,
    /// Names that a WITH gives, folded: they stand before tables.
    given: BTreeSet<String>,
    /// The next name is a function's: it is called, and no table of that name is meant.
    called: bool,
}

impl VisitorMut for Collector<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if std::mem::take(&mut self.called) {
            return ControlFlow::Continue(());
        }
        if let Some(view) = find(self.snapshot, relation) {
            self.names.add(view.name.table());
            view.schema
                .fields()
                .iter()
                .for_each(|f| self.names.add(f.name()));
        } else {
            let full = parts(relation).join(".").to_ascii_lowercase();
            for (name, columns) in self.others.iter().filter(|(name, _)| full.ends_with(name)) {
                self.names.add(name.rsplit('.').next().unwrap_or(name));
                columns.iter().for_each(|c| self.names.add(c));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.called = is_call(factor);
        if let TableFactor::Table {
            name,
            args: Some(args),
            ..
        } = factor
            && let Some(columns) = super::latest::columns(self.snapshot, name, &args.args)
                .or_else(|| super::last_seen::columns(self.snapshot, name, &args.args))
                .or_else(|| super::feed::columns(self.snapshot, name, &args.args))
        {
            columns.iter().for_each(|c| self.names.add(c));
        }
        let alias = match factor {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. } => alias,
            _ => return ControlFlow::Continue(()),
        };
        if let Some(alias) = alias {
            self.names.add(&alias.name.value);
            alias
                .columns
                .iter()
                .for_each(|c| self.names.add(&c.name.value));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for Cte { alias, .. } in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.names.add(&alias.name.value);
            self.given.insert(alias.name.value.to_ascii_lowercase());
            alias
                .columns
                .iter()
                .for_each(|c| self.names.add(&c.name.value));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.names.add(&alias.value);
            }
        }
        ControlFlow::Continue(())
    }
}

struct Rewriter<'a> {
    snapshot: &'a Snapshot,
    others: &'a [(String, Vec<String>)],
    names: Names,
    given: BTreeSet<String>,
    parameters: usize,
    counts: BTreeSet<usize>,
    /// As [`Collector::called`].
    called: bool,
    error: Option<Fault>,
}

impl Rewriter<'_> {
    fn ident(&mut self, ident: &mut Ident) {
        match self.names.lookup(&ident.value) {
            Ok(Some(name)) => {
                ident.value = name.to_owned();
                ident.quote_style = Some('"');
            }
            Ok(None) => {}
            Err(fault) => self.error = self.error.take().or(Some(fault)),
        }
    }

    /// A table of `system` or `information_schema` that is named without its schema, which is the caller's.
    fn server_table(&self, name: &ObjectName) -> Option<(String, String)> {
        let parts = parts(name);
        let [table] = parts.as_slice() else {
            return None;
        };
        let full = format!("{}.{table}", default_schema()).to_ascii_lowercase();
        let known = self.others.iter().any(|(other, _)| *other == full);
        let (schema, table) = full.split_once('.').filter(|_| known)?;
        Some((schema.to_owned(), table.to_owned()))
    }

    fn object(&mut self, name: &mut ObjectName) {
        for part in &mut name.0 {
            if let ObjectNamePart::Identifier(ident) = part {
                self.ident(ident);
            }
        }
    }
}

/// `f(..)` in FROM: a table function, also where a table has its name.
fn is_call(factor: &TableFactor) -> bool {
    matches!(factor, TableFactor::Table { args: Some(_), .. })
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        self.called = is_call(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        if std::mem::take(&mut self.called) {
            return ControlFlow::Continue(());
        }
        let given = |name: &str| self.given.contains(&name.to_ascii_lowercase());
        if matches!(parts(relation).as_slice(), [one] if given(one)) {
            self.object(relation);
        } else if let Some(view) = find(self.snapshot, relation) {
            *relation = ObjectName::from(vec![
                Ident::with_quote('"', super::CATALOG),
                Ident::with_quote('"', view.name.schema()),
                Ident::with_quote('"', view.name.table()),
            ]);
        } else if let Some((schema, table)) = self.server_table(relation) {
            *relation = ObjectName::from(vec![Ident::new(schema), Ident::new(table)]);
        } else if relation.0.len() == 1 {
            self.object(relation);
        } else {
            // `system` and `information_schema` are lower case throughout.
            for part in &mut relation.0 {
                if let ObjectNamePart::Identifier(ident) = part {
                    ident.value = ident.value.to_ascii_lowercase();
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                _,
            ) = item
            {
                self.object(name);
            }
        }
        for join in select.from.iter_mut().flat_map(|t| &mut t.joins) {
            use datafusion::sql::sqlparser::ast::{JoinConstraint, JoinOperator};
            if let JoinOperator::Join(c)
            | JoinOperator::Inner(c)
            | JoinOperator::Left(c)
            | JoinOperator::LeftOuter(c)
            | JoinOperator::Right(c)
            | JoinOperator::RightOuter(c)
            | JoinOperator::FullOuter(c) = &mut join.join_operator
                && let JoinConstraint::Using(columns) = c
            {
                columns.iter_mut().for_each(|c| self.object(c));
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.ident(ident),
            Expr::CompoundIdentifier(idents) => idents.iter_mut().for_each(|i| self.ident(i)),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        number(value, &mut self.parameters);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let number = |e: &Expr| match e {
            Expr::Value(v) => match &v.value {
                Value::Placeholder(p) => p.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()),
                _ => None,
            },
            _ => None,
        };
        if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            self.counts.extend(limit.as_ref().and_then(number));
            self.counts
                .extend(offset.as_ref().and_then(|o| number(&o.value)));
        }
        ControlFlow::Continue(())
    }
}
