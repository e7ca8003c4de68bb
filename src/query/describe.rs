//! Statements that ask about tables, as queries: `SHOW CREATE TABLE`, `SHOW TABLES`, `DESCRIBE`.

use datafusion::sql::sqlparser::ast::{ObjectName, ShowCreateObject, Statement};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::default_schema;
use crate::catalog::view::{Snapshot, TableView};
use crate::fault::{Fault, Kind};
use crate::sql::{parse_own, parts, resolve};

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `SHOW CREATE MATERIALIZED VIEW v` as the parser knows it: without MATERIALIZED.
pub(super) fn as_known(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let said = ["SHOW", "CREATE", "MATERIALIZED", "VIEW"];
    let is = |(t, word): (&TokenWithSpan, &str)| matches!(&t.token, Token::Word(w) if w.value.eq_ignore_ascii_case(word));
    if tokens.len() >= said.len() && tokens.iter().zip(said).all(is) {
        tokens.remove(2);
    }
    tokens
}

/// The query that answers the statement; the statement itself if it asks about nothing.
///
/// # Errors
/// NOT_FOUND for a table that is not there.
pub(super) fn as_query(statement: Statement, snapshot: &Snapshot) -> Result<Statement, Fault> {
    match &statement {
        Statement::ShowCreate {
            obj_type: ShowCreateObject::Table | ShowCreateObject::View,
            obj_name,
        } => {
            let view = find(obj_name, snapshot)?;
            let Some(contract) = &view.contract else {
                return Err(Fault::invalid(
                    "no_contract",
                    format!(
                        "{} is kept by the server and has no statement of its own",
                        view.name
                    ),
                ));
            };
            let ddl = quoted(&contract.to_ddl());
            parse_own(&format!("SELECT {ddl} AS create_statement"))
        }
        Statement::ShowTables { .. } => parse_own(
            "SELECT table_schema, table_name, table_type FROM information_schema.tables ORDER BY 1, 2",
        ),
        Statement::ShowSchemas { .. } | Statement::ShowDatabases { .. } => {
            parse_own("SELECT schema_name FROM information_schema.schemata ORDER BY 1")
        }
        Statement::ExplainTable { table_name, .. } => {
            let view = find(table_name, snapshot)?;
            let rows = view.schema.fields().iter().map(|field| {
                let column = view.contract.as_ref().and_then(|c| c.column(field.name()));
                let sql_type = column.map_or_else(
                    || field.data_type().to_string(),
                    |c| c.data_type.to_string(),
                );
                let text = |t: Option<&String>| {
                    t.map_or_else(|| "CAST(NULL AS VARCHAR)".to_owned(), |t| quoted(t))
                };
                format!(
                    "({}, {}, {}, {}, {})",
                    quoted(field.name()),
                    quoted(&sql_type),
                    field.is_nullable(),
                    text(column.and_then(|c| c.unit.as_ref())),
                    text(column.and_then(|c| c.description.as_ref()))
                )
            });
            let rows: Vec<String> = rows.collect();
            parse_own(&format!(
                "SELECT * FROM (VALUES {}) AS d (column_name, data_type, nullable, unit, comment)",
                rows.join(", ")
            ))
        }
        _ => Ok(statement),
    }
}

fn find<'a>(name: &ObjectName, snapshot: &'a Snapshot) -> Result<&'a TableView, Fault> {
    let wanted = resolve(&parts(name), &default_schema())?;
    snapshot.tables.get(&wanted.folded()).ok_or_else(|| {
        Fault::new(
            Kind::NotFound,
            "table_not_found",
            format!("no such table, table={wanted}"),
        )
    })
}
