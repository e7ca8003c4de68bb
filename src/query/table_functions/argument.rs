//! The table that a call of a table function names: `f('schema.table', ..)`.

use datafusion::sql::sqlparser::ast::{self, FunctionArg, FunctionArgExpr, ObjectName};

use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::types::TableName;

/// The table that the text names; one without a schema is of the snapshot's.
///
/// # Errors
/// INVALID_ARGUMENT: it can be no table's name.
pub(in crate::query) fn table_of(snapshot: &Snapshot, text: &str) -> Result<TableName, Fault> {
    TableName::read_in_query(text, &snapshot.schema)
        .map_err(|e| Fault::invalid("invalid_name", e.to_string()))
}

/// The table that a call of `function` names, as it stands in a statement; none if it is another's.
pub(in crate::query) fn named_table(
    snapshot: &Snapshot,
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
    table_of(snapshot, &value.value.clone().into_string()?).ok()
}
