//! The text of ALTER TABLE and COMMENT ON COLUMN.

use datafusion::sql::sqlparser::ast::{
    AlterTable, AlterTableOperation, CommentObject, RenameTableNameKind, Statement,
};
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use super::{Altering, KNOWN, acted_on};
use crate::fault::{Fault, Kind};
use crate::sql::{parse_tokens, parts, resolve, syntax};
use crate::statement::change::Change;
use crate::statement::{ddl, nested_types};

/// `schema`: that of a name without one.
pub(in crate::statement) fn parse(
    tokens: Vec<TokenWithSpan>,
    schema: &str,
) -> Result<Change, Fault> {
    match parse_tokens(nested_types::folded(tokens))? {
        Statement::AlterTable(alter) => {
            let AlterTable {
                name,
                if_exists,
                // Tables have no children.
                only: _,
                operations,
                location,
                on_cluster,
                table_type,
                end_token: _,
            } = alter;
            let name = ddl::table_name(&name, schema)?;
            let clauses = [
                (location.is_some(), "SET LOCATION"),
                (on_cluster.is_some(), "ON CLUSTER"),
                (table_type.is_some(), "a kind of table"),
            ];
            for (there, clause) in clauses {
                acted_on(!there, clause, "leave it out")?;
            }
            if let [AlterTableOperation::RenameTable { table_name }] = operations.as_slice() {
                let (RenameTableNameKind::To(to) | RenameTableNameKind::As(to)) = table_name;
                // As in PostgreSQL, a name alone stays in its schema.
                let to = resolve(&parts(to), name.schema())?;
                return Ok(Change::Rename {
                    name,
                    to,
                    if_exists,
                });
            }
            Ok(Change::Alter {
                name,
                altering: Altering::Operations(operations),
                if_exists,
            })
        }
        _ => Err(syntax(format!(
            "expected ALTER TABLE name and one of {KNOWN}"
        ))),
    }
}

/// `COMMENT [IF EXISTS] ON COLUMN table.column IS 'text'`
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`; UNIMPLEMENTED for a comment on anything else.
pub(in crate::statement) fn comment(
    tokens: Vec<TokenWithSpan>,
    schema: &str,
) -> Result<Change, Fault> {
    let Statement::Comment {
        object_type,
        object_name,
        comment,
        if_exists,
    } = parse_tokens(tokens)?
    else {
        return Err(syntax("expected COMMENT ON COLUMN table.column IS 'text'"));
    };
    if object_type != CommentObject::Column {
        return Err(Fault::new(
            Kind::Unimplemented,
            "not_implemented",
            format!(
                "COMMENT ON {object_type} is not supported, name={object_name}; comments are kept for the columns of tables: COMMENT ON COLUMN table.column IS 'text'"
            ),
        ));
    }
    match parts(&object_name).as_slice() {
        [table @ .., column] if !table.is_empty() => Ok(Change::Alter {
            name: resolve(table, schema)?,
            altering: Altering::Comment {
                column: (*column).to_owned(),
                text: comment.filter(|text| !text.is_empty()),
            },
            if_exists,
        }),
        _ => Err(syntax(format!(
            "COMMENT ON COLUMN names a column with its table, name={object_name}; write table.column"
        ))),
    }
}
