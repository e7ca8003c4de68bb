//! `CommandStatementIngest` as it was asked for ([`Ingest`]): which table, which mode, which options.

use arrow_flight::sql::CommandStatementIngest;
use bytes::Bytes;
use tonic::metadata::MetadataMap;

use crate::dataset::TEMPORARY_SCHEMA;
use crate::fault::{Fault, Kind};
use crate::ingest::bulk::Once;
use crate::query::{CATALOG, OfSession, QueryContext};
use crate::types::{TableName, split_names};

const ON_REJECT: &str = "deltaplane.on_reject";
const PRODUCER: &str = "deltaplane.producer";
const SEQ: &str = "deltaplane.seq";

/// What becomes of a table that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IfExists {
    Fail,
    Append,
    Replace,
}

/// A bulk ingest as it was asked for.
#[derive(Clone, Debug)]
pub struct Ingest {
    pub table: TableName,
    /// It is one of the caller's session.
    pub temporary: bool,
    pub(super) create: bool,
    pub(super) if_exists: IfExists,
    pub(super) quarantine: bool,
    pub(super) once: Option<Once>,
    /// Whose temporary tables it may write.
    pub(super) session: OfSession,
    /// The transaction that it is a part of.
    pub transaction: Option<Bytes>,
}

impl Ingest {
    /// Options come with the command or, from clients that cannot set them there, as headers of the same names.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a mode that is unspecified and an option that is unknown, or that a temporary table has not.
    pub fn new(
        command: CommandStatementIngest,
        headers: &MetadataMap,
        caller: &QueryContext,
    ) -> Result<Self, Fault> {
        let definition = command.table_definition_options.ok_or_else(unspecified)?;
        let create = match definition.if_not_exist {
            1 => true,
            2 => false,
            _ => return Err(unspecified()),
        };
        let if_exists = match definition.if_exists {
            1 => IfExists::Fail,
            2 => IfExists::Append,
            3 => IfExists::Replace,
            _ => return Err(unspecified()),
        };
        if let Some(catalog) = command.catalog.filter(|c| !c.is_empty())
            && !catalog.eq_ignore_ascii_case(CATALOG)
        {
            return Err(Fault::new(
                Kind::NotFound,
                "catalog_not_found",
                format!("no such catalog, catalog={catalog}; there is {CATALOG}"),
            ));
        }
        for key in command
            .options
            .keys()
            .filter(|k| k.starts_with("deltaplane."))
        {
            if ![ON_REJECT, PRODUCER, SEQ].contains(&&**key) {
                return Err(Fault::invalid(
                    "unknown_option",
                    format!("unknown option {key}; known: {ON_REJECT}, {PRODUCER}, {SEQ}"),
                ));
            }
        }
        let option = |key: &str| {
            let header = || headers.get(key)?.to_str().ok().map(str::to_owned);
            command.options.get(key).cloned().or_else(header)
        };
        let quarantine = match option(ON_REJECT).as_deref() {
            None | Some("fail" | "abort") => false,
            Some("quarantine") => true,
            Some(other) => {
                return Err(Fault::invalid(
                    "unknown_option",
                    format!("{ON_REJECT} is fail or quarantine, got {other}"),
                ));
            }
        };
        let once = match (option(PRODUCER), option(SEQ)) {
            (None, None) => None,
            (Some(producer), Some(seq)) => {
                let number = seq.parse().map_err(|_| {
                    Fault::invalid("invalid_seq", format!("{SEQ} is a whole number, got {seq}"))
                })?;
                Some(Once::new(&producer, number)?)
            }
            _ => {
                return Err(Fault::invalid(
                    "unknown_option",
                    format!("{PRODUCER} and {SEQ} go together"),
                ));
            }
        };
        let schema = command.schema.filter(|s| !s.is_empty());
        let table = temporary_name(
            caller,
            (command.temporary, if_exists),
            schema.as_deref(),
            &command.table,
        )?;
        let temporary = table.is_some();
        if temporary && (quarantine || once.is_some()) {
            return Err(Fault::invalid(
                "unknown_option",
                format!(
                    "a temporary table has no quarantine and knows no producers; leave out {ON_REJECT}, {PRODUCER} and {SEQ}, or ingest into a table that is not temporary"
                ),
            ));
        }
        let table = match table {
            Some(table) => table,
            None => table_name(caller, schema, &command.table)?,
        };
        Ok(Ingest {
            table,
            temporary,
            create,
            if_exists,
            quarantine,
            once,
            session: caller.session.clone(),
            transaction: command.transaction_id.filter(|id| !id.is_empty()),
        })
    }
}

fn unspecified() -> Fault {
    Fault::invalid(
        "mode_unspecified",
        "an ingest says what to do if the table is there (FAIL, APPEND, REPLACE) and if it is not (CREATE, FAIL)",
    )
}

fn table_name(
    caller: &QueryContext,
    schema: Option<String>,
    table: &str,
) -> Result<TableName, Fault> {
    let made = match schema {
        Some(schema) => TableName::new(&schema, table),
        None => TableName::read(table, &caller.schema),
    };
    let name = made.map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
    if name.quarantined().is_some() {
        return Err(Fault::invalid(
            "reserved_table",
            format!(
                "{name} is filled by the server with rejected rows; ingest into the table itself"
            ),
        ));
    }
    Ok(name)
}

/// The temporary table that a command means, if it means one: it says so, or names one by its schema, or adds rows under a name
/// alone that the session has a temporary table of, as INSERT does.
///
/// # Errors
/// INVALID_ARGUMENT: it names another schema as well, or no name.
fn temporary_name(
    caller: &QueryContext,
    (temporary, if_exists): (bool, IfExists),
    schema: Option<&str>,
    table: &str,
) -> Result<Option<TableName>, Fault> {
    // Without a schema of its own the name is read as in SQL.
    let read = match schema {
        Some(_) => Vec::new(),
        None => split_names(table, '.'),
    };
    let (schema, table) = match read.as_slice() {
        [schema, table] => (Some(schema.as_str()), table.as_str()),
        [table] => (None, table.as_str()),
        _ => (schema, table),
    };
    let is_named = schema.is_some_and(|schema| schema.eq_ignore_ascii_case(TEMPORARY_SCHEMA));
    if temporary && schema.is_some() && !is_named {
        return Err(Fault::invalid(
            "invalid_name",
            format!(
                "a temporary table belongs to the session and to no schema, schema={}, table={table}; leave the schema out",
                schema.unwrap_or_default()
            ),
        ));
    }
    let name = TableName::new(TEMPORARY_SCHEMA, table);
    if temporary || is_named {
        return name
            .map(Some)
            .map_err(|e| Fault::invalid("invalid_name", e.to_string()));
    }
    let own = caller.session.temporary();
    let is_own = |name: &TableName| {
        let own = own.as_ref();
        schema.is_none() && own.is_some_and(|own| own.is_there(name))
    };
    Ok(name
        .ok()
        .filter(|name| if_exists == IfExists::Append && is_own(name)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn command(if_not_exist: i32, if_exists: i32) -> CommandStatementIngest {
        let mut command = CommandStatementIngest {
            table: "t".to_owned(),
            ..CommandStatementIngest::default()
        };
        // arrow-flight does not name this type outside.
        let definition = command.table_definition_options.get_or_insert_default();
        definition.if_not_exist = if_not_exist;
        definition.if_exists = if_exists;
        command
    }

    #[test]
    fn modes_and_options_are_read_and_the_unclear_is_refused() {
        let (none, ann) = (MetadataMap::new(), QueryContext::new("ann"));
        let asked = Ingest::new(command(1, 3), &none, &ann).unwrap();
        assert!(asked.create && asked.if_exists == IfExists::Replace);
        assert_eq!(asked.table.to_string(), "public.t");
        for bad in [
            command(0, 1),
            command(1, 0),
            CommandStatementIngest::default(),
        ] {
            assert_eq!(
                Ingest::new(bad, &none, &ann).unwrap_err().reason,
                "mode_unspecified"
            );
        }
        let with = |pairs: &[(&str, &str)]| {
            let mut c = command(2, 2);
            let options = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            c.options = options.collect();
            Ingest::new(c, &none, &ann)
        };
        let once = with(&[(PRODUCER, "p"), (SEQ, "7")]).unwrap().once.unwrap();
        assert_eq!((&*once.producer, once.seq), ("p", 7));
        assert!(with(&[(PRODUCER, "p")]).is_err());
        assert!(with(&[(PRODUCER, "p"), (SEQ, "0")]).is_err());
        assert!(with(&[(ON_REJECT, "ignore")]).is_err());
        assert!(with(&[("deltaplane.onreject", "fail")]).is_err());
        assert!(with(&[("adbc.something", "x")]).is_ok());
        let mut headers = MetadataMap::new();
        headers.insert(ON_REJECT, "quarantine".parse().unwrap());
        assert!(
            Ingest::new(command(2, 2), &headers, &ann)
                .unwrap()
                .quarantine
        );
    }
}
