//! What table functions over a named table have in common: `f('schema.table', ..)`.

use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, ObjectName};

use super::caller::default_schema;
use super::{feed, last_seen, latest};
use crate::fault::Fault;
use crate::types::TableName;

/// The table that the text names; one without a schema is of the caller's default one.
///
/// # Errors
/// INVALID_ARGUMENT: it can be no table's name.
pub(super) fn table_of(text: &str) -> Result<TableName, Fault> {
    let default = default_schema();
    TableName::read_in_query(text, &default)
        .map_err(|e| Fault::invalid("invalid_name", e.to_string()))
}

/// The table that a call of `function` names, as it stands in a statement; none if it is another's.
pub(super) fn named_table(
    function: &str,
    name: &ObjectName,
    args: &[FunctionArg],
) -> Option<TableName> {
    let [part] = name.0.as_slice() else {
        return None;
    };
    part.as_ident()
        .filter(|i| i.value.eq_ignore_ascii_case(function))?;
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Value(value)))) = args.first()
    else {
        return None;
    };
    table_of(&value.value.clone().into_string()?).ok()
}

/// Does the function read the table that its first argument names?
pub(super) fn is_over_table(function: &str) -> bool {
    let all = [latest::NAME, last_seen::NAME, feed::NAME];
    all.into_iter()
        .any(|own| own.eq_ignore_ascii_case(function))
}
