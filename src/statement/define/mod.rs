//! `CREATE | ALTER | DROP VIEW` and `CREATE | DROP SCHEMA`: statements that define and write no rows.
//!
//! A view is its query's text: it is planned once when it is created, so that a query which cannot run is refused, and anew by
//! every statement that reads it.

mod parse;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::Shared;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::defined::{Defined, StoredView, VIEWS_DEEP, ViewColumn};
use crate::catalog::lifecycle::{IfThere, refuse_temporary_schema};
use crate::dataset::{Column, ColumnType, Contract, TEMPORARY_SCHEMA};
use crate::fault::{Fault, Kind};
use crate::query::{Engine, PUBLIC, QueryContext, SYSTEM, named_in};
use crate::types::{SameName, TableName};

pub(super) use parse::{schema, view};

/// A statement that defines.
#[derive(Clone, Debug, PartialEq)]
pub enum Define {
    CreateView {
        name: TableName,
        /// Of the query's columns, in its order; empty: the query's own names.
        columns: Vec<String>,
        sql: String,
        /// Of names without one.
        schema: String,
        there: IfThere,
        /// There has to be one.
        alters: bool,
    },
    RenameView {
        name: TableName,
        to: TableName,
    },
    DropView {
        name: TableName,
        if_exists: bool,
    },
    CreateSchema {
        name: String,
        if_not_exists: bool,
    },
    DropSchema {
        name: String,
        if_exists: bool,
    },
}

impl Define {
    /// The statement's first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Define::CreateView { alters: false, .. } | Define::CreateSchema { .. } => "CREATE",
            Define::CreateView { .. } | Define::RenameView { .. } => "ALTER",
            Define::DropView { .. } | Define::DropSchema { .. } => "DROP",
        }
    }
}

/// # Errors
/// INVALID_ARGUMENT and NOT_FOUND for a query that cannot run; ALREADY_EXISTS; FAILED_PRECONDITION; ABORTED `table_busy`; the disk's.
pub async fn run(
    shared: &Arc<Shared>,
    engine: &Engine,
    caller: &QueryContext,
    define: Define,
) -> Result<(), Fault> {
    match define {
        Define::CreateView {
            name,
            columns,
            sql,
            schema,
            there,
            alters,
        } => {
            allowed(&name)?;
            if there == IfThere::Keep && shared.definitions.now().view(&name).is_some() {
                return Ok(());
            }
            let planned = engine.plan(caller, &sql).await?;
            if !planned.parameters.fields().is_empty() {
                return Err(Fault::invalid(
                    "parameters",
                    "a view's query has no parameters; write the values into it",
                ));
            }
            let view = StoredView {
                columns: named_columns(&planned.wire, columns)?,
                reads: named_in(&sql, &engine.snapshot().in_schema(&caller.schema))?,
                name,
                sql,
                schema,
            };
            create(shared, view, there, alters).await
        }
        Define::RenameView { name, to } => {
            allowed(&to)?;
            let what = format!("ALTER VIEW {name}");
            let _names = lock(shared, &[&name, &to], &what).await?;
            free_of_tables(shared, &to)?;
            let not_there = gone(shared, &name);
            let rename = move |defined: &mut Defined| {
                let Some(view) = defined.views.get(&name.folded()).cloned() else {
                    return Err(not_there);
                };
                if name.folded() != to.folded() && defined.view(&to).is_some() {
                    return Err(taken(&to, "a view"));
                }
                refuse_circle(defined, &to, &view.reads)?;
                defined.views.remove(&name.folded());
                let mut view = (*view).clone();
                view.name = to.clone();
                defined.views.insert(to.folded(), Arc::new(view));
                Ok(())
            };
            shared.definitions.change(rename).await
        }
        Define::DropView { name, if_exists } => {
            let what = format!("DROP VIEW {name}");
            let _name = lock(shared, &[&name], &what).await?;
            let not_there = gone(shared, &name);
            let is_table = shared.table(&name).is_ok();
            let drop = move |defined: &mut Defined| {
                let found = defined.views.remove(&name.folded()).is_some();
                if found || (if_exists && !is_table) {
                    Ok(())
                } else {
                    Err(not_there)
                }
            };
            shared.definitions.change(drop).await
        }
        Define::CreateSchema {
            name,
            if_not_exists,
        } => {
            // Its folder has to fit.
            TableName::new(&name, "t")
                .map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
            let known = in_use(shared, &name).is_some() || is_fixed(&name);
            let create = move |defined: &mut Defined| {
                let folded = name.folded_name();
                if known || defined.schemas.contains_key(&folded) {
                    if if_not_exists {
                        return Ok(());
                    }
                    return Err(Fault::new(
                        Kind::AlreadyExists,
                        "schema_exists",
                        format!("the schema is there already, schema={name}; say IF NOT EXISTS"),
                    ));
                }
                defined.schemas.insert(folded, name.clone());
                Ok(())
            };
            shared.definitions.change(create).await
        }
        Define::DropSchema { name, if_exists } => drop_schema(shared, name, if_exists).await,
    }
}

async fn drop_schema(shared: &Arc<Shared>, name: String, if_exists: bool) -> Result<(), Fault> {
    if is_fixed(&name) {
        return Err(Fault::new(
            Kind::Precondition,
            "schema_is_fixed",
            format!("the schema is always there, schema={name}; drop what stands in it"),
        ));
    }
    if let Some(holds) = in_use(shared, &name) {
        return Err(Fault::new(
            Kind::Precondition,
            "schema_not_empty",
            format!("the schema is not empty, schema={name}, holds={holds}; drop them first"),
        ));
    }
    let drop = move |defined: &mut Defined| {
        let found = defined.schemas.remove(&name.folded_name()).is_some();
        if found || if_exists {
            return Ok(());
        }
        Err(Fault::new(
            Kind::NotFound,
            "schema_not_found",
            format!("no such schema, schema={name}; SHOW SCHEMAS lists them, or say IF EXISTS"),
        ))
    };
    shared.definitions.change(drop).await
}

async fn create(
    shared: &Arc<Shared>,
    view: StoredView,
    there: IfThere,
    alters: bool,
) -> Result<(), Fault> {
    let name = view.name.clone();
    let what = format!("CREATE VIEW {name}");
    let _name = lock(shared, &[&name], &what).await?;
    free_of_tables(shared, &name)?;
    let not_there = gone(shared, &name);
    let create = move |defined: &mut Defined| {
        match (defined.view(&name), there) {
            (Some(_), IfThere::Keep) => return Ok(()),
            (Some(_), IfThere::Refuse) => return Err(taken(&name, "a view")),
            (None, _) if alters => return Err(not_there),
            _ => {}
        }
        refuse_circle(defined, &name, &view.reads)?;
        if defined.depth(&view.reads) > VIEWS_DEEP {
            return Err(Fault::invalid(
                "views_too_deep",
                format!(
                    "views would read each other too deep, view={name}, limit={VIEWS_DEEP}; let one read a table"
                ),
            ));
        }
        defined.views.insert(name.folded(), Arc::new(view));
        Ok(())
    };
    shared.definitions.change(create).await
}

fn refuse_circle(defined: &Defined, name: &TableName, reads: &[TableName]) -> Result<(), Fault> {
    let way = defined.circle(name, reads);
    if way.is_empty() {
        return Ok(());
    }
    let way: Vec<String> = way.iter().map(ToString::to_string).collect();
    Err(Fault::invalid(
        "cyclic_view",
        format!(
            "the view would read itself: {name} reads {}",
            way.join(" reads ")
        ),
    ))
}

async fn lock(
    shared: &Shared,
    names: &[&TableName],
    what: &str,
) -> Result<crate::catalog::ddl_lock::DdlGuard, Fault> {
    let patience = Patience::of_ddl(&shared.config);
    shared.ddl.lock(names, what, patience).await
}

/// Names that the server keeps for itself are refused as those of tables are.
fn allowed(name: &TableName) -> Result<(), Fault> {
    refuse_temporary_schema(name)?;
    let column = Column::new("c", ColumnType::Int);
    Contract::plain(name.clone(), vec![column])
        .validate_self()
        .map_err(|e| Fault::invalid("invalid_view", e.to_string()))
}

fn taken(name: &TableName, by: &str) -> Fault {
    Fault::new(
        Kind::AlreadyExists,
        "table_exists",
        format!(
            "the name is taken by {by}, name={name}; drop it first, choose another, or, for a view, say CREATE OR REPLACE VIEW"
        ),
    )
}

fn free_of_tables(shared: &Shared, name: &TableName) -> Result<(), Fault> {
    match shared.registered(name) {
        None => Ok(()),
        Some(table) if table.contract().view.is_some() => Err(taken(name, "a materialized view")),
        Some(_) => Err(taken(name, "a table")),
    }
}

/// Why there is no view of this name.
fn gone(shared: &Shared, name: &TableName) -> Fault {
    match shared.registered(name) {
        Some(table) if table.contract().view.is_some() => Fault::invalid(
            "not_a_view",
            format!("{name} is a materialized view; say MATERIALIZED VIEW"),
        ),
        Some(_) => Fault::invalid("not_a_view", format!("{name} is a table; say TABLE")),
        None => Fault::new(
            Kind::NotFound,
            "view_not_found",
            format!("no such view, view={name}; SHOW TABLES lists them"),
        ),
    }
}

fn is_fixed(schema: &str) -> bool {
    [PUBLIC, SYSTEM, "information_schema", TEMPORARY_SCHEMA]
        .iter()
        .any(|own| own.is_same_name(schema))
}

/// Some of what stands in a schema; none: it is empty.
fn in_use(shared: &Shared, schema: &str) -> Option<String> {
    const NAMED: usize = 5;
    let defined = shared.definitions.now();
    let tables = shared.tables();
    let tables = tables.iter().map(|t| t.name());
    let all = tables.chain(defined.views.values().map(|v| v.name.clone()));
    let all = all.filter(|name| name.schema().is_same_name(schema));
    let all: Vec<String> = all.map(|name| name.to_string()).collect();
    let (first, more) = all.split_at(all.len().min(NAMED));
    match (first, more.len()) {
        ([], _) => None,
        (first, 0) => Some(first.join(", ")),
        (first, more) => Some(format!("{} and {more} more", first.join(", "))),
    }
}

/// The columns under the names that the statement gives them, each name once.
fn named_columns(
    given: &arrow::datatypes::Schema,
    names: Vec<String>,
) -> Result<Vec<ViewColumn>, Fault> {
    let count = given.fields().len();
    if !names.is_empty() && names.len() != count {
        return Err(Fault::invalid(
            "column_count",
            format!(
                "{} columns are named, the query gives {count}; name all of them, or none",
                names.len()
            ),
        ));
    }
    let mut seen = BTreeSet::new();
    let columns = given.fields().iter().enumerate().map(|(at, field)| {
        let name = names.get(at).unwrap_or_else(|| field.name());
        if !seen.insert(name.folded_name()) {
            return Err(Fault::invalid(
                "column_twice",
                format!("the view would have two columns of one name, column={name}; say AS another name"),
            ));
        }
        Ok(ViewColumn {
            name: name.clone(),
            from: field.name().clone(),
            data_type: field.data_type().to_string(),
        })
    });
    columns.collect()
}
