//! Statements that ask about tables, as queries: `SHOW CREATE TABLE`, `SHOW TABLES`, `SHOW COLUMNS`, `DESCRIBE`.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    ObjectName, ShowCreateObject, ShowStatementFilter, ShowStatementFilterPosition,
    ShowStatementOptions, Statement,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::sql_types::type_name;
use super::{CATALOG, PUBLIC, SYSTEM, table_lookup};
use crate::catalog::view::{Snapshot, TableView};
use crate::fault::{Fault, Kind};
use crate::sql::{parse_own, parts, resolve, syntax};
use crate::types::SameName;

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A pattern of LIKE that only the text itself fits.
fn literal(text: &str) -> String {
    let escaped = ["\\", "%", "_"]
        .iter()
        .fold(text.to_owned(), |text, special| {
            text.replace(special, &format!("\\{special}"))
        });
    quoted(&escaped)
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
/// NOT_FOUND for a table or a schema that is not there; INVALID_ARGUMENT for a clause that says nothing here.
pub(super) fn as_query(statement: Statement, snapshot: &Snapshot) -> Result<Statement, Fault> {
    const TABLES: &str =
        "SELECT table_schema, table_name, table_type FROM information_schema.tables";
    match &statement {
        Statement::ShowCreate {
            obj_type: ShowCreateObject::Table | ShowCreateObject::View,
            obj_name,
        } => {
            if let Some(view) = table_lookup::find_view(snapshot, obj_name) {
                let ddl = quoted(&view.to_ddl(false));
                return parse_own(&format!("SELECT {ddl} AS create_statement"));
            }
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
        Statement::ShowTables { show_options, .. } => {
            let schema = schema_in(show_options, snapshot)?;
            list(TABLES, "table_name", schema, show_options, "1, 2")
        }
        Statement::ShowViews { show_options, .. } => {
            let views = format!("{TABLES} WHERE table_type = 'VIEW'");
            let schema = schema_in(show_options, snapshot)?;
            list(&views, "table_name", schema, show_options, "1, 2")
        }
        Statement::ShowSchemas { show_options, .. }
        | Statement::ShowDatabases { show_options, .. } => {
            catalog_in(show_options)?;
            let schemas = "SELECT schema_name FROM information_schema.schemata";
            list(schemas, "schema_name", None, show_options, "1")
        }
        Statement::ShowCatalogs { show_options, .. } => {
            let catalogs = format!("SELECT {} AS catalog_name", quoted(CATALOG));
            list(&catalogs, "catalog_name", None, show_options, "1")
        }
        Statement::ShowColumns { show_options, .. } => {
            let table = show_options.show_in.as_ref();
            let Some(name) = table.and_then(|t| t.parent_name.as_ref()) else {
                return Err(syntax("SHOW COLUMNS FROM a table"));
            };
            let columns = columns(name, snapshot)?;
            list(&columns, "column_name", None, show_options, "")
        }
        Statement::ShowVariable { variable } if matches!(variable.as_slice(), [one] if one.value.eq_ignore_ascii_case("search_path")) => {
            parse_own("SELECT current_schema() AS search_path")
        }
        Statement::ExplainTable { table_name, .. } => parse_own(&columns(table_name, snapshot)?),
        _ => Ok(statement),
    }
}

/// A query for the columns of a table or view, in its order.
fn columns(name: &ObjectName, snapshot: &Snapshot) -> Result<String, Fault> {
    let Some(view) = table_lookup::find_view(snapshot, name) else {
        return Ok(columns_of(find(name, snapshot)?));
    };
    let schema = view.columns_schema();
    let rows = schema.fields().iter().map(|field| {
        let nothing = "CAST(NULL AS VARCHAR)";
        format!(
            "({}, {}, true, {nothing}, {nothing})",
            quoted(field.name()),
            quoted(&type_name(field.data_type()))
        )
    });
    Ok(listed(rows.collect()))
}

fn columns_of(view: &TableView) -> String {
    let rows = view.schema.fields().iter().map(|field| {
        let column = view.contract.as_ref().and_then(|c| c.column(field.name()));
        let sql_type =
            column.map_or_else(|| type_name(field.data_type()), |c| c.data_type.to_string());
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
    listed(rows.collect())
}

fn listed(rows: Vec<String>) -> String {
    format!(
        "SELECT * FROM (VALUES {}) AS d (column_name, data_type, nullable, unit, comment)",
        rows.join(", ")
    )
}

/// What SHOW lists, narrowed by its clauses. `name`: the column that LIKE is about, without regard to case, as names are.
fn list(
    all: &str,
    name: &str,
    schema: Option<String>,
    options: &ShowStatementOptions,
    order: &str,
) -> Result<Statement, Fault> {
    if options.starts_with.is_some() || options.limit.is_some() || options.limit_from.is_some() {
        return Err(syntax(
            "SHOW takes FROM, LIKE and WHERE; for more ask information_schema",
        ));
    }
    let mut conditions = Vec::new();
    if let Some(schema) = schema {
        conditions.push(format!("table_schema ILIKE {}", literal(&schema)));
    }
    match &options.filter_position {
        None => {}
        Some(
            ShowStatementFilterPosition::Infix(filter)
            | ShowStatementFilterPosition::Suffix(filter),
        ) => conditions.push(match filter {
            ShowStatementFilter::Like(pattern)
            | ShowStatementFilter::ILike(pattern)
            | ShowStatementFilter::NoKeyword(pattern) => {
                format!("{name} ILIKE {}", quoted(pattern))
            }
            ShowStatementFilter::Where(condition) => format!("({condition})"),
        }),
    }
    let mut query = format!("SELECT * FROM ({all}) AS shown");
    if !conditions.is_empty() {
        query.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
    }
    if !order.is_empty() {
        query.push_str(&format!(" ORDER BY {order}"));
    }
    parse_own(&query)
}

/// The schema whose tables are asked for; none: those of all.
fn schema_in(options: &ShowStatementOptions, snapshot: &Snapshot) -> Result<Option<String>, Fault> {
    let asked = options.show_in.as_ref();
    let Some(name) = asked.and_then(|asked| asked.parent_name.as_ref()) else {
        return Ok(None);
    };
    let own = snapshot.tables.values().map(|view| view.name.schema());
    let defined = &snapshot.defined;
    let views = defined.views.values().map(|view| view.name.schema());
    let created = defined.schemas.values().map(String::as_str);
    let fixed = [PUBLIC, SYSTEM, "information_schema"];
    let known: BTreeSet<&str> = own.chain(views).chain(created).chain(fixed).collect();
    let schema = match parts(name).as_slice() {
        [catalog, schema] if catalog.eq_ignore_ascii_case(CATALOG) => (*schema).to_owned(),
        [catalog] if catalog.eq_ignore_ascii_case(CATALOG) && !known.contains(catalog) => {
            return Ok(None);
        }
        [schema] => (*schema).to_owned(),
        _ => name.to_string(),
    };
    if known.iter().any(|own| own.is_same_name(&schema)) {
        return Ok(Some(schema));
    }
    Err(Fault::new(
        Kind::NotFound,
        "schema_not_found",
        format!(
            "no such schema, schema={schema}; there are {}",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ),
    ))
}

/// # Errors
/// NOT_FOUND: another catalog than the one that there is.
fn catalog_in(options: &ShowStatementOptions) -> Result<(), Fault> {
    let asked = options.show_in.as_ref();
    match asked.and_then(|asked| asked.parent_name.as_ref()) {
        Some(name) if !matches!(parts(name).as_slice(), [own] if own.eq_ignore_ascii_case(CATALOG)) => {
            Err(Fault::new(
                Kind::NotFound,
                "catalog_not_found",
                format!("no such catalog, catalog={name}; there is {CATALOG}"),
            ))
        }
        _ => Ok(()),
    }
}

fn find<'a>(name: &ObjectName, snapshot: &'a Snapshot) -> Result<&'a TableView, Fault> {
    if let Some(view) = table_lookup::find(snapshot, name) {
        return Ok(view);
    }
    let wanted = resolve(&parts(name), &snapshot.schema)?;
    snapshot.tables.get(&wanted.folded()).ok_or_else(|| {
        Fault::new(
            Kind::NotFound,
            "table_not_found",
            format!("no such table, table={wanted}"),
        )
    })
}
