//! Which tables and views a query names, told from its text: for those who keep queries.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Cte, Query, TableFactor, VisitorMut};

use super::table_functions::{is_over_table, named_table};
use super::table_lookup::{find, find_view};
use crate::catalog::view::{Snapshot, TableView};
use crate::fault::{Fault, Kind};
use crate::sql::{parse_one, parts, visit_mut};
use crate::types::{SameName, TableName};

/// The snapshot's tables that a query reads, those that a table function is given and those that views read included.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub fn tables_of(sql: &str, snapshot: &Snapshot) -> Result<Vec<TableName>, Fault> {
    let mut tables = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut next = named_in(sql, snapshot)?;
    while let Some(name) = next.pop() {
        if let Some(table) = snapshot.tables.get(&name.folded()) {
            tables.insert(table.name.clone());
        } else if let Some(view) = snapshot.defined.view(&name)
            && seen.insert(name.folded())
        {
            next.extend(view.reads.iter().cloned());
        }
    }
    Ok(tables.into_iter().collect())
}

/// The snapshot's tables and the views that a query names, those that a table function is given included.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub fn named_in(sql: &str, snapshot: &Snapshot) -> Result<Vec<TableName>, Fault> {
    let mut read = Read {
        snapshot,
        given: BTreeSet::new(),
        outer: Vec::new(),
        named: BTreeSet::new(),
        untold: None,
    };
    let _ = visit_mut(&mut parse_one(sql)?, &mut read);
    match read.untold {
        Some(function) => Err(Fault::invalid(
            "table_not_told",
            format!(
                "the table that {function} reads is not told by a plain text; write {function}('schema.table', ..)"
            ),
        )),
        None => Ok(read.named.into_iter().collect()),
    }
}

/// What is stored for everyone reads no table that one session alone has.
///
/// # Errors
/// FAILED_PRECONDITION `temporary_table`: the query names one of the snapshot's. `what`: whose query it is.
pub fn refuse_temporary(sql: &str, snapshot: &Snapshot, what: &str) -> Result<(), Fault> {
    // What else is wrong with the query, its own planning says.
    let named = named_in(sql, snapshot).unwrap_or_default();
    let is_temporary = |name: &&TableName| {
        let view = snapshot.tables.get(&name.folded());
        view.is_some_and(TableView::is_temporary)
    };
    match named.iter().find(is_temporary) {
        None => Ok(()),
        Some(name) => Err(Fault::new(
            Kind::Precondition,
            "temporary_table",
            format!(
                "{what} is for every session and cannot read a temporary table, table={name}; read a stored table (CREATE TABLE .. AS SELECT * FROM {name} makes one), or write schema.table if a stored one of that name is meant"
            ),
        )),
    }
}

/// Collects the tables and views that a query names.
struct Read<'a> {
    snapshot: &'a Snapshot,
    /// Names of WITH at this place, in lower case.
    given: BTreeSet<String>,
    /// The same around each query that is being visited.
    outer: Vec<BTreeSet<String>>,
    named: BTreeSet<TableName>,
    /// A table function whose table is not known before it is called.
    untold: Option<String>,
}

impl VisitorMut for Read<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.outer.push(self.given.clone());
        // A name of WITH is given behind its own query, and no further than this one: a table that is called alike is read in
        // both places.
        for Cte { alias, query, .. } in query.with.take().into_iter().flat_map(|w| w.cte_tables) {
            let _ = visit_mut(&mut { query }, self);
            self.given.insert(alias.name.value.folded_name());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.given = self.outer.pop().unwrap_or_default();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let (name, args) = match factor {
            TableFactor::Table { name, args, .. } => {
                (&*name, args.as_ref().map(|a| a.args.as_slice()))
            }
            TableFactor::Function { name, args, .. } => (&*name, Some(args.as_slice())),
            _ => return ControlFlow::Continue(()),
        };
        let given =
            matches!(parts(name).as_slice(), [one] if self.given.contains(&one.folded_name()));
        let found = match args {
            None if given => None,
            None => find(self.snapshot, name)
                .map(|view| &view.name)
                .or_else(|| find_view(self.snapshot, name).map(|view| &view.name)),
            Some(args) => {
                let function = parts(name).join(".");
                let table = named_table(self.snapshot, &function, name, args);
                if table.is_none() && is_over_table(&function) {
                    self.untold = Some(function);
                }
                let view = table.and_then(|t| self.snapshot.tables.get(&t.folded()));
                view.map(|view| &view.name)
            }
        };
        self.named.extend(found.cloned());
        ControlFlow::Continue(())
    }
}
