//! `CREATE TABLE` and `DROP TABLE`, as Delta users spell them: columns, `AS` a query or `LIKE` another table, `PARTITIONED BY`,
//! `TBLPROPERTIES`.
//!
//! sqlparser knows the column list; what stands around it differs by dialect and is taken off first, token by token.

use datafusion::sql::sqlparser::ast::{CreateTable, ObjectName, ObjectType, Statement};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::change::Change;
use super::columns::{ParsedColumn, column, constraint};
use super::create::{Creation, Origin};
use super::declared::Declared;
use super::nested_types::folded;
use super::temporary;
use crate::catalog::lifecycle::IfThere;
use crate::dataset::TEMPORARY_SCHEMA;
use crate::fault::{Fault, Kind};
use crate::query::QueryContext;
use crate::sql::{Cursor, parse_one, parse_tokens, parts, resolve, syntax};
use crate::types::TableName;

/// `schema`: that of a name without one.
pub(super) fn drop_table(tokens: Vec<TokenWithSpan>, schema: &str) -> Result<Change, Fault> {
    match parse_tokens(tokens)? {
        Statement::Drop {
            object_type: ObjectType::Table,
            if_exists,
            names,
            cascade,
            ..
        } => match names.as_slice() {
            [name] => Ok(Change::Drop {
                name: table_name(name, schema)?,
                if_exists,
                cascade,
            }),
            _ => Err(syntax("DROP TABLE takes one table at a time")),
        },
        _ => Err(syntax("expected DROP TABLE [IF EXISTS] name [CASCADE]")),
    }
}

pub(super) fn table_name(name: &ObjectName, schema: &str) -> Result<TableName, Fault> {
    resolve(&parts(name), schema)
}

fn refused<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(Kind::Unimplemented, "not_implemented", text))
}

pub(super) fn create(caller: &QueryContext, mut rest: Cursor<'_>) -> Result<Change, Fault> {
    let begin = rest.clone();
    rest.skip();
    let replace = rest.words(&["OR", "REPLACE"]);
    let is_temporary = ["TEMPORARY", "TEMP"]
        .iter()
        .any(|word| rest.words(&["LOCAL", word]) || rest.words(&[word]));
    if rest.words(&["EXTERNAL"]) {
        return refused(
            "CREATE EXTERNAL TABLE is not supported: no statement reads files or other stores; load the file with `deltaplane ingest`",
        );
    }
    if !rest.words(&["TABLE"]) {
        return Err(rest.expected("TABLE"));
    }
    let keep = rest.words(&["IF", "NOT", "EXISTS"]);
    if keep && replace {
        return Err(syntax(
            "OR REPLACE and IF NOT EXISTS contradict each other; say one of them",
        ));
    }
    let name = match is_temporary {
        true => rest.name_in(TEMPORARY_SCHEMA)?,
        false => rest.name()?,
    };
    let is_temporary = is_temporary || temporary::is_in_schema(&name);
    let mut using = false;
    let head = begin.rest().len() - rest.rest().len();
    let head = begin.rest().get(..head).unwrap_or_default();
    let mut origin = like(caller, &mut rest)?.map_or(Origin::Columns, Origin::Like);
    let names = match origin {
        Origin::Columns => only_names(&mut rest)?,
        _ => Vec::new(),
    };
    let mut declared = Declared::default();
    // What is left for sqlparser, each word at its place.
    let mut others = Vec::new();
    let mut depth = 0usize;
    while let Some(token) = rest.rest().first() {
        if depth == 0 && rest.words(&["PARTITIONED"]) {
            if !rest.words(&["BY"]) {
                return Err(rest.expected("BY after PARTITIONED"));
            }
            let columns = rest.group("column names", |rest| rest.word("a column's name"))?;
            declared.partition_by = Some(columns);
            continue;
        }
        if depth == 0 && rest.words(&["TBLPROPERTIES"]) {
            let pairs = rest.group("'key' = 'value' pairs", property)?;
            declared.properties.extend(pairs);
            continue;
        }
        // What every temporary table does.
        if depth == 0 && is_temporary && rest.words(&["ON", "COMMIT"]) {
            if !rest.words(&["PRESERVE", "ROWS"]) {
                return refused(
                    "a temporary table keeps its rows until the session ends or it is dropped: ON COMMIT PRESERVE ROWS; say DELETE or DROP TABLE where they are to go",
                );
            }
            continue;
        }
        // USING DELTA is what every stored table is.
        if depth == 0 && rest.words(&["USING"]) {
            if !rest.words(&["DELTA"]) {
                return Err(rest.expected("DELTA, the only format that is known,"));
            }
            using = true;
            continue;
        }
        if depth == 0 && origin == Origin::Columns && rest.words(&["AS"]) {
            if rest.rest().is_empty() {
                return Err(rest.expected("a query"));
            }
            let empty = rest.words_at_end(&["WITH", "NO", "DATA"]);
            if !empty {
                rest.words_at_end(&["WITH", "DATA"]);
            }
            let query = rest.query()?;
            origin = Origin::Query(match empty {
                true => format!("SELECT * FROM ({query}) AS q LIMIT 0"),
                false => query.to_owned(),
            });
            break;
        }
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        others.push(token.clone());
        rest.skip();
    }
    while let Some(Token::SemiColon | Token::EOF) = others.last().map(|t| &t.token) {
        others.pop();
    }
    let there = if replace {
        IfThere::Replace
    } else if keep {
        IfThere::Keep
    } else {
        IfThere::Refuse
    };
    let has_list = match origin {
        Origin::Columns => names.is_empty(),
        Origin::Query(_) => names.is_empty() && !others.is_empty(),
        Origin::Like(_) => false,
    };
    if has_list {
        let known = folded(head.iter().cloned().chain(others).collect());
        match parse_tokens(known)? {
            Statement::CreateTable(table) => columns(table, &mut declared)?,
            _ => return Err(syntax("expected CREATE TABLE name (columns)")),
        }
    } else if let Some(other) = others.first() {
        return Err(syntax(format!(
            "expected AS, PARTITIONED BY, TBLPROPERTIES or the end, found {}{}",
            other.token, other.span.start
        )));
    }
    if !names.is_empty() && !matches!(origin, Origin::Query(_)) {
        return Err(syntax(
            "columns without a type take their types from a query: say CREATE TABLE name (a, b) AS SELECT .., or give each a type",
        ));
    }
    declared.names = names;
    if is_temporary {
        let creation = Creation {
            name,
            there,
            declared,
            origin,
        };
        return temporary::creation(creation, using);
    }
    if origin == Origin::Columns && there != IfThere::Replace {
        return Ok(Change::Create {
            contract: Box::new(declared.contract(&name, None)?),
            if_not_exists: keep,
        });
    }
    Ok(Change::CreateFrom(Box::new(Creation {
        name,
        there,
        declared,
        origin,
    })))
}

/// `LIKE other`, `(LIKE other [INCLUDING ..])`: the table that is copied.
fn like(caller: &QueryContext, rest: &mut Cursor<'_>) -> Result<Option<TableName>, Fault> {
    // A temporary table goes before a stored one.
    let name = |rest: &mut Cursor<'_>| {
        let mut ahead = rest.clone();
        let own = ahead.name_in(TEMPORARY_SCHEMA)?;
        if temporary::is_own(caller, &own) {
            *rest = ahead;
            return Ok(own);
        }
        rest.name()
    };
    if rest.words(&["LIKE"]) {
        return name(rest).map(Some);
    }
    let within = rest.peek() == Some(&Token::LParen)
        && matches!(rest.ahead(1),
            Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("LIKE"));
    if !within {
        return Ok(None);
    }
    rest.skip();
    rest.skip();
    let source = name(rest)?;
    // All of it is taken along.
    while rest.words(&["INCLUDING"]) {
        rest.word("what is included")?;
    }
    if rest.words(&["EXCLUDING"]) {
        return refused(
            "LIKE .. EXCLUDING is not supported: all of the other table's contract is taken along; ALTER the new table afterwards",
        );
    }
    if !rest.sign(&Token::RParen) {
        return Err(rest.expected("INCLUDING or ), as LIKE stands for all columns,"));
    }
    Ok(Some(source))
}

/// `(a, b)`, without types. Steps over nothing if it is another list.
fn only_names(rest: &mut Cursor<'_>) -> Result<Vec<String>, Fault> {
    let is_list = rest.peek() == Some(&Token::LParen)
        && matches!(rest.ahead(1), Some(Token::Word(_)))
        && matches!(rest.ahead(2), Some(Token::Comma | Token::RParen));
    if !is_list {
        return Ok(Vec::new());
    }
    let mut ahead = rest.clone();
    match ahead.group("column names", |rest| rest.word("a column's name")) {
        Ok(names) => {
            *rest = ahead;
            Ok(names)
        }
        // sqlparser says of it what is wrong.
        Err(_) => Ok(Vec::new()),
    }
}

/// `'key' = 'value'`
fn property(rest: &mut Cursor<'_>) -> Result<(String, String), Fault> {
    let key = rest.quoted("'key' = 'value'")?;
    if !rest.sign(&Token::Eq) {
        return Err(rest.expected("="));
    }
    Ok((key, rest.quoted("a value in quotes")?))
}

/// What the column list says.
fn columns(table: CreateTable, declared: &mut Declared) -> Result<(), Fault> {
    refuse_other_clauses(&table)?;
    for def in table.columns {
        let parsed: ParsedColumn = column(def)?;
        if parsed.is_key {
            declared.key.push(parsed.column.name.clone());
        }
        if parsed.is_unique {
            declared.unique.push(vec![parsed.column.name.clone()]);
        }
        declared.rules.extend(parsed.rules);
        declared.checks.extend(parsed.checks);
        declared.columns.push(parsed.column);
    }
    for said in table.constraints {
        constraint(said, declared)?;
    }
    Ok(())
}

/// What sqlparser reads and this server does not do is refused, not dropped.
fn refuse_other_clauses(table: &CreateTable) -> Result<(), Fault> {
    if let Some(location) = table.location.as_ref().or_else(|| {
        let formats = table.hive_formats.as_ref()?;
        formats.location.as_ref()
    }) {
        let location: String = location.chars().take(200).collect();
        return refused(format!(
            "CREATE TABLE .. LOCATION is not supported, location={location}; the server keeps tables under the location that storage.tables names: leave LOCATION out"
        ));
    }
    // The same statement with nothing but what is taken from it.
    let Statement::CreateTable(mut plain) = parse_one("CREATE TABLE t (c INT)")? else {
        return Err(Fault::internal("CREATE TABLE is read as another statement"));
    };
    plain.name = table.name.clone();
    plain.columns = table.columns.clone();
    plain.constraints = table.constraints.clone();
    plain.if_not_exists = table.if_not_exists;
    plain.or_replace = table.or_replace;
    // Its caller has read them.
    plain.temporary = table.temporary;
    plain.global = table.global;
    if plain == *table {
        return Ok(());
    }
    refused(format!(
        "a clause of this CREATE TABLE is not supported: {}; known: columns, CONSTRAINT .. CHECK, PRIMARY KEY, UNIQUE, PARTITIONED BY, USING DELTA, TBLPROPERTIES, LIKE, AS",
        table.to_string().chars().take(300).collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_table_of_a_query_may_begin_without_its_rows() {
        for (ending, expected) in [
            ("", "SELECT 1 AS x"),
            (" WITH DATA", "SELECT 1 AS x"),
            (
                " with no data;",
                "SELECT * FROM (SELECT 1 AS x) AS q LIMIT 0",
            ),
        ] {
            let sql = format!("CREATE TABLE t AS SELECT 1 AS x{ending}");
            let Some(Change::CreateFrom(creation)) =
                Change::parse(&QueryContext::new("tests"), &sql).unwrap()
            else {
                panic!("{sql}");
            };
            assert_eq!(creation.origin, Origin::Query(expected.to_owned()), "{sql}");
        }
    }
}
