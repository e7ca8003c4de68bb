//! What a name can mean at a place of a query: the columns of what its FROM reads, then what its SELECT calls its results,
//! then what the query around it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, NamedWindowDefinition, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins,
    WildcardAdditionalOptions,
};

use super::CATALOG;
use super::given::Given;
use super::spellings::{Names, pick};
use super::table_functions;
use super::table_lookup::{find, find_view, server_table};
use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::sql::parts;
use crate::types::{SameName, TableName};

/// Writes a name as it is spelled.
pub(super) fn spell(ident: &mut Ident, spelling: &str) {
    spelling.clone_into(&mut ident.value);
    ident.quote_style = Some('"');
}

/// One that FROM reads.
#[derive(Debug)]
pub(super) struct Relation {
    /// What qualifies its columns: its alias, or the table's own name.
    called: String,
    /// A table that is called by its own name.
    pub table: Option<TableName>,
    columns: Arc<Names>,
    /// Those of a table's columns that have no fields. Of other relations the types are not known here.
    without_fields: Names,
    /// It may have columns that are not known here.
    open: bool,
    /// A table function that has no alias: the planner has a name of its own for it.
    unnamed_call: bool,
}

/// The names of one SELECT.
#[derive(Debug, Default)]
pub(super) struct Scope {
    relations: Vec<Relation>,
    /// Those of all relations.
    columns: Names,
    /// What the SELECT calls its results.
    aliases: Names,
    windows: Names,
    /// ORDER BY means results before columns.
    pub ordering: bool,
    pub merged: Merged,
}

/// The columns that joins have of both sides (`merged`).
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// What stands for them, by their spelling.
    pub columns: BTreeMap<String, Expr>,
    /// A `*` names them among its columns.
    pub written_out: bool,
}

impl Scope {
    /// The spelling of a column, or of a result.
    pub(super) fn column(&self, name: &str) -> Result<Option<&str>, Fault> {
        let read = || pick(name, self.columns.spellings(name));
        let given = || pick(name, self.aliases.spellings(name));
        if self.ordering {
            given()?.map_or_else(read, |found| Ok(Some(found)))
        } else {
            read()?.map_or_else(given, |found| Ok(Some(found)))
        }
    }

    /// What stands for a column of FROM that a join has of both sides, by its spelling.
    pub(super) fn merged(&self, spelling: &str) -> Option<&Expr> {
        let is_result = self.ordering && self.aliases.spellings(spelling).any(|s| s == spelling);
        self.merged.columns.get(spelling).filter(|_| !is_result)
    }

    /// What a name means within an aggregate or a window function of ORDER BY: a column of FROM. It is written with its relation where a
    /// result has its name, because the planner would take it for the result. None: the name says it as it stands.
    pub(super) fn computed_over(&self, name: &str) -> Result<Option<Expr>, Fault> {
        if !self.ordering || self.aliases.spellings(name).next().is_none() {
            return Ok(None);
        }
        let Some(column) = pick(name, self.columns.spellings(name))? else {
            return Ok(None);
        };
        if let Some(merged) = self.merged.columns.get(column) {
            return Ok(Some(merged.clone()));
        }
        let has = |r: &&Relation| r.columns.spellings(name).any(|own| own == column);
        let mut having = self.relations.iter().filter(has);
        // Two have it: it is ambiguous, or the result that is called so.
        match (having.next(), having.next()) {
            (Some(relation), None) => Ok(relation.path(column)),
            _ => Ok(None),
        }
    }

    /// May a `*` have a column of this name that is not among the results by name?
    pub(super) fn hides(&self, name: &str) -> bool {
        let mut named = self.merged.columns.keys();
        let named = self.merged.written_out && named.any(|own| own.is_same_name(name));
        !named && self.gives(name)
    }

    /// Takes in what a SELECT calls its results by now.
    pub(super) fn name_results(&mut self, select: &Select) {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.aliases.add(&alias.value);
            }
        }
    }

    /// Is there a column of this name in FROM?
    pub(super) fn gives(&self, name: &str) -> bool {
        self.columns.spellings(name).next().is_some()
    }

    /// Is it known that it cannot be asked for a field?
    pub(super) fn has_no_fields(&self, column: &str) -> bool {
        let mut relations = self.relations.iter();
        relations.any(|r| r.without_fields.spellings(column).any(|s| s == column))
    }

    /// What FROM calls by this name.
    pub(super) fn relation(&self, name: &str) -> Result<Option<&Relation>, Fault> {
        let called = pick(name, self.relations.iter().map(|r| r.called.as_str()))?;
        Ok(called.and_then(|called| self.relations.iter().find(|r| r.called == called)))
    }

    /// Adds what FROM reads.
    pub(super) fn read(&mut self, relations: Vec<Relation>) {
        for relation in &relations {
            self.columns.add_all(relation.columns.all());
        }
        self.relations.extend(relations);
    }

    pub(super) fn into_relations(self) -> Vec<Relation> {
        self.relations
    }

    /// May a name that is not known mean a column here?
    pub(super) fn open(&self) -> bool {
        self.relations.iter().any(|r| r.open)
    }

    pub(super) fn window(&self, name: &str) -> Result<Option<&str>, Fault> {
        pick(name, self.windows.spellings(name))
    }
}

impl Relation {
    /// Of unknown columns.
    fn opened(called: &str) -> Self {
        Relation {
            called: called.to_owned(),
            table: None,
            columns: Arc::default(),
            without_fields: Names::default(),
            open: true,
            unnamed_call: false,
        }
    }

    fn closed(called: &str, columns: Arc<Names>) -> Self {
        Relation {
            called: called.to_owned(),
            table: None,
            columns,
            without_fields: Names::default(),
            open: false,
            unnamed_call: false,
        }
    }

    /// One of its columns, by all that it is qualified by. None: it has no name that is known here.
    fn path(&self, column: &str) -> Option<Expr> {
        let parts = match &self.table {
            Some(table) => vec![CATALOG, table.schema(), table.table(), column],
            None if self.called.is_empty() || self.unnamed_call => return None,
            None => vec![&*self.called, column],
        };
        let parts = parts.into_iter().map(|part| Ident::with_quote('"', part));
        Some(Expr::CompoundIdentifier(parts.collect()))
    }

    /// May it have columns that are not known here?
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.all()
    }

    pub(super) fn called(&self) -> &str {
        &self.called
    }

    pub(super) fn column(&self, name: &str) -> Result<Option<&str>, Fault> {
        pick(name, self.columns.spellings(name))
    }
}

/// Where the columns of relations are known from.
pub(super) struct Sources<'a> {
    pub snapshot: &'a Snapshot,
    /// Tables that are no snapshot's: `system` and `information_schema`.
    pub others: &'a [(String, Vec<String>)],
}

impl Sources<'_> {
    /// What is given within a query: by its own WITH, and around it. Before it, what is given within each query of that WITH, which
    /// knows those before it, and itself if it is recursive.
    pub(super) fn given(&self, query: &Query, around: &Given) -> (Vec<Given>, Given) {
        let mut given = around.clone();
        let mut within = Vec::new();
        let Some(with) = &query.with else {
            return (within, given);
        };
        for cte in &with.cte_tables {
            within.push(given.clone());
            let columns = called_columns(Some(&cte.alias))
                .unwrap_or_else(|| self.results(&cte.query, &given));
            given = given.with(around, with, &cte.alias.name.value, columns);
        }
        if with.recursive {
            within.fill(given.clone());
        }
        (within, given)
    }

    pub(super) fn scope(&self, select: &Select, given: &Given) -> Scope {
        let aliases = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.as_str()),
            _ => None,
        });
        let windows = select.named_window.iter();
        let mut scope = Scope {
            aliases: aliases.collect(),
            windows: windows
                .map(|NamedWindowDefinition(name, _)| name.value.as_str())
                .collect(),
            ..Scope::default()
        };
        for table in &select.from {
            let mut relations = Vec::new();
            self.joined(table, given, &mut relations);
            scope.read(relations);
        }
        scope
    }

    /// What a query calls its results. One that has no name of its own is in none.
    fn results(&self, query: &Query, around: &Given) -> Names {
        let (_, given) = self.given(query, around);
        self.results_of(&query.body, &given)
    }

    fn results_of(&self, body: &SetExpr, given: &Given) -> Names {
        match body {
            SetExpr::Select(select) => self.results_of_select(select, given),
            SetExpr::Query(query) => self.results(query, given),
            SetExpr::SetOperation { left, .. } => self.results_of(left, given),
            SetExpr::Values(values) => {
                let columns = values.rows.first().map_or(0, |row| row.content.len());
                let mut names = Names::default();
                (1..=columns).for_each(|n| names.add(&format!("column{n}")));
                names
            }
            _ => Names::default(),
        }
    }

    fn results_of_select(&self, select: &Select, given: &Given) -> Names {
        let scope = self.scope(select, given);
        let mut names = Names::default();
        // An ambiguous name is an error where it is written.
        let spelled = |ident: &Ident| match scope.column(&ident.value) {
            Ok(Some(own)) => own.to_owned(),
            _ => ident.value.clone(),
        };
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => names.add(&alias.value),
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => names.add(&spelled(ident)),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => {
                    if let [.., relation, column] = idents.as_slice() {
                        let relation = scope.relation(&relation.value).ok().flatten();
                        let own = relation.and_then(|r| r.column(&column.value).ok().flatten());
                        names.add(own.unwrap_or(&column.value));
                    }
                }
                SelectItem::Wildcard(options) => {
                    let out = excluded(options);
                    let is_out = |name: &&str| out.iter().any(|out| out.is_same_name(name));
                    names.add_all(scope.columns.all().filter(|name| !is_out(name)));
                }
                SelectItem::QualifiedWildcard(kind, _) => {
                    let asked = match kind {
                        SelectItemQualifiedWildcardKind::ObjectName(name) => {
                            parts(name).last().copied()
                        }
                        SelectItemQualifiedWildcardKind::Expr(_) => None,
                    };
                    if let Some(asked) = asked
                        && let Ok(Some(relation)) = scope.relation(asked)
                    {
                        names.add_all(relation.columns.all());
                    }
                }
                _ => {}
            }
        }
        names
    }

    fn joined(&self, table: &TableWithJoins, given: &Given, out: &mut Vec<Relation>) {
        self.relation(&table.relation, given, out);
        for join in &table.joins {
            self.relation(&join.relation, given, out);
        }
    }

    pub(super) fn relation(&self, factor: &TableFactor, given: &Given, out: &mut Vec<Relation>) {
        let (alias, mut relation) = match factor {
            TableFactor::Table {
                name,
                alias,
                args: None,
                ..
            } => (alias, self.named(name, given)),
            TableFactor::Table {
                name,
                alias,
                args: Some(args),
                ..
            } => {
                let args = &args.args;
                let called = parts(name).last().copied().unwrap_or_default();
                let columns = table_functions::columns(self.snapshot, name, args);
                let mut relation = columns.map_or_else(
                    || Relation::opened(called),
                    |columns| {
                        let columns = columns.iter().map(String::as_str).collect();
                        Relation::closed(called, Arc::new(columns))
                    },
                );
                relation.unnamed_call = alias.is_none();
                (alias, relation)
            }
            TableFactor::Derived {
                subquery, alias, ..
            } => {
                let columns = Arc::new(self.results(subquery, given));
                (alias, Relation::closed("", columns))
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias: None,
            } => {
                self.joined(table_with_joins, given, out);
                return;
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                let mut within = Vec::new();
                self.joined(table_with_joins, given, &mut within);
                let columns = within.iter().flat_map(|r| r.columns.all()).collect();
                let mut relation = Relation::closed("", Arc::new(columns));
                relation.open = within.iter().any(|r| r.open);
                (alias, relation)
            }
            TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => (alias, Relation::opened("")),
            _ => (&None, Relation::opened("")),
        };
        if let Some(alias) = alias {
            relation.called.clone_from(&alias.name.value);
            relation.table = None;
        }
        if let Some(columns) = called_columns(alias.as_ref()) {
            relation.columns = Arc::new(columns);
            relation.without_fields = Names::default();
            relation.open = false;
        }
        out.push(relation);
    }

    fn named(&self, name: &ObjectName, given: &Given) -> Relation {
        let parts = parts(name);
        if let [one] = parts.as_slice()
            && let Some(one) = given.one(one)
        {
            return Relation::closed(one.name(), one.columns());
        }
        if let Some(view) = find(self.snapshot, name) {
            let fields = view.schema.fields().iter();
            let columns = fields.clone().map(|f| f.name().as_str());
            let mut relation = Relation::closed(view.name.table(), Arc::new(columns.collect()));
            let without = fields
                .filter(|f| !matches!(f.data_type(), DataType::Struct(_) | DataType::Map(..)));
            relation.without_fields = without.map(|f| f.name().as_str()).collect();
            relation.table = Some(view.name.clone());
            return relation;
        }
        if let Some(view) = find_view(self.snapshot, name) {
            let columns = view.columns.iter().map(|c| c.name.as_str());
            let mut relation = Relation::closed(view.name.table(), Arc::new(columns.collect()));
            relation.table = Some(view.name.clone());
            return relation;
        }
        let full = server_table(self.snapshot, name, self.others)
            .unwrap_or_else(|| parts.join(".").to_ascii_lowercase());
        let known = self.others.iter().find(|(other, _)| {
            let before = full.strip_suffix(other.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        known.map_or_else(
            || Relation::opened(parts.last().copied().unwrap_or_default()),
            |(other, columns)| {
                let called = other.rsplit('.').next().unwrap_or(other);
                let columns = columns.iter().map(String::as_str).collect();
                Relation::closed(called, Arc::new(columns))
            },
        )
    }
}

/// `* EXCLUDE (a, b)`
fn excluded(options: &WildcardAdditionalOptions) -> Vec<&str> {
    let names = match &options.opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => std::slice::from_ref(name),
        Some(ExcludeSelectItem::Multiple(names)) => names.as_slice(),
        None => &[],
    };
    let names = names.iter();
    names
        .filter_map(|name| parts(name).last().copied())
        .collect()
}

/// `AS t (a, b)`
fn called_columns(alias: Option<&TableAlias>) -> Option<Names> {
    let columns = &alias?.columns;
    (!columns.is_empty()).then(|| columns.iter().map(|c| c.name.value.as_str()).collect())
}
