//! `t VERSION AS OF n` and `t TIMESTAMP AS OF '..'`: a table as one of its committed versions has it.
//!
//! The parser has made `t@v5` or `t@t1767225600000000` of them (`sql/versions`). The snapshot that the query is planned over
//! gets an entry under that name. Hot rows are in no version.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Statement, TableAlias, TableFactor, VisitorMut,
};

use crate::catalog::view::{Snapshot, TableView};
use crate::cold::At;
use crate::fault::{Fault, Kind};
use crate::sql::{parts, placed, visit_mut};
use crate::types::{SameName, TableName, without_mark};

/// `raw@v5`: the table and the version.
fn split(name: &str) -> Option<(&str, At)> {
    let (table, mark) = without_mark(name)?;
    let number = mark.get(1..)?;
    match mark.as_bytes().first()? {
        b'v' | b'V' => Some((table, At::Version(number.parse().ok()?))),
        b't' | b'T' => Some((table, At::Time(number.parse().ok()?))),
        _ => None,
    }
}

struct Asked<'a> {
    /// Of names without one.
    schema: &'a str,
    versions: Vec<(TableName, At)>,
}

impl VisitorMut for Asked<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let Some((schema, table)) = placed(&parts(name), self.schema) else {
            return ControlFlow::Continue(());
        };
        if let Some((table, at)) = split(table)
            && let Ok(table) = TableName::new(schema, table)
        {
            // Columns are spelled with the table's own name.
            if alias.is_none() {
                *alias = Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', table.table()),
                    columns: Vec::new(),
                    at: None,
                });
            }
            self.versions.push((table, at));
        }
        ControlFlow::Continue(())
    }
}

/// `schema.table.column` becomes `table.column` where the table has become an alias.
struct Shorten<'a>(&'a [(TableName, At)]);

impl VisitorMut for Shorten<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let [.., schema, table, _] = idents.as_slice()
            && self.0.iter().any(|(name, _)| {
                name.schema().is_same_name(&schema.value) && name.table().is_same_name(&table.value)
            })
        {
            idents.drain(..idents.len() - 2);
        }
        ControlFlow::Continue(())
    }
}

/// The snapshot with the versions that the statement asks for.
///
/// # Errors
/// NOT_FOUND; OUT_OF_RANGE names the versions that are there.
pub(super) async fn resolve(
    statement: &mut Statement,
    snapshot: Snapshot,
) -> Result<Snapshot, Fault> {
    let mut asked = Asked {
        schema: &snapshot.schema,
        versions: Vec::new(),
    };
    let _ = visit_mut(statement, &mut asked);
    let asked = asked.versions;
    if asked.is_empty() {
        return Ok(snapshot);
    }
    let _ = visit_mut(statement, &mut Shorten(&asked));
    let mut tables = (*snapshot.tables).clone();
    for (name, at) in asked {
        let view = snapshot.tables.get(&name.folded()).ok_or_else(|| {
            if snapshot.defined.view(&name).is_some() {
                return Fault::invalid(
                    "no_versions",
                    format!("{name} is a view, which has no versions; say VERSION AS OF in its query, for the tables there"),
                );
            }
            Fault::new(
                Kind::NotFound,
                "table_not_found",
                format!("no such table, table={name}"),
            )
        })?;
        let mark = match at {
            At::Version(number) => format!("v{number}"),
            At::Time(micros) => format!("t{micros}"),
        };
        let name = view.name.variant(&mark);
        if tables.contains_key(&name.folded()) {
            continue;
        }
        let Some(history) = view.cold.history() else {
            return Err(Fault::invalid(
                "no_versions",
                format!("{} has no versions", view.name),
            ));
        };
        let cold = history
            .view(at, &view.cold)
            .await
            .map_err(|e| named(e.into(), &view.name))?;
        tables.insert(
            name.folded(),
            TableView {
                name,
                contract: None,
                schema: cold.schema(),
                cold,
                hot: Arc::default(),
                comment: None,
                progress: None,
            },
        );
    }
    Ok(Snapshot {
        tables: Arc::new(tables),
        ..snapshot
    })
}

pub(super) fn named(mut fault: Fault, table: &TableName) -> Fault {
    fault.message.push_str(&format!(", table={table}"));
    fault
}
