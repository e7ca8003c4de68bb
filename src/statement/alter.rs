//! `ALTER TABLE`: columns, constraints and properties; several in one statement, separated by commas.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, Expr, SqlOption, Statement, TableConstraint, Value,
};
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

use super::{Change, ddl};
use crate::dataset::{Alteration, Contract};
use crate::fault::Fault;
use crate::sql::{parse_tokens, syntax};

const KNOWN: &str = "ADD COLUMN, ADD CONSTRAINT .. CHECK, DROP CONSTRAINT, SET TBLPROPERTIES";

pub(super) fn parse(tokens: Vec<TokenWithSpan>) -> Result<Change, Fault> {
    match parse_tokens(tokens)? {
        Statement::AlterTable(alter) => Ok(Change::Alter {
            name: ddl::table_name(&alter.name)?,
            operations: alter.operations,
        }),
        _ => Err(syntax(format!(
            "expected ALTER TABLE name and one of {KNOWN}"
        ))),
    }
}

/// What the operations mean for a contract.
///
/// # Errors
/// INVALID_ARGUMENT for a CHECK that is no rule kind; UNIMPLEMENTED for an operation that is not known.
pub(super) fn alterations(
    contract: &Contract,
    operations: &[AlterTableOperation],
) -> Result<Vec<Alteration>, Fault> {
    let mut out = Vec::new();
    // Rules may be about columns that the same statement adds.
    let mut known = contract.clone();
    for operation in operations {
        match operation {
            AlterTableOperation::AddColumn { column_def, .. } => {
                let parsed = ddl::column(column_def.clone())?;
                known.columns.push(parsed.column.clone());
                out.push(Alteration::AddColumn(parsed.column));
                for check in &parsed.checks {
                    out.extend(rules(&mut known, check)?);
                }
            }
            AlterTableOperation::AddConstraint {
                constraint: TableConstraint::Check(check),
                ..
            } => out.extend(rules(&mut known, &check.expr)?),
            AlterTableOperation::DropConstraint { name, .. } => {
                out.push(Alteration::DropRule(name.value.clone()));
            }
            AlterTableOperation::SetTblProperties { table_properties } => {
                out.push(Alteration::Set(properties(table_properties)?));
            }
            other => {
                return Err(Fault::new(
                    crate::fault::Kind::Unimplemented,
                    "not_implemented",
                    format!("not supported: {other}; known: {KNOWN}"),
                ));
            }
        }
    }
    Ok(out)
}

fn rules(known: &mut Contract, check: &Expr) -> Result<Vec<Alteration>, Fault> {
    let required = known.columns.iter().filter(|c| c.required).count();
    known.rules.clear();
    ddl::rules(check, known)?;
    if known.columns.iter().filter(|c| c.required).count() != required {
        return Err(Fault::invalid(
            "invalid_contract",
            "IS NOT NULL cannot be added: rows that are there may have no value",
        ));
    }
    Ok(known.rules.drain(..).map(Alteration::AddRule).collect())
}

fn properties(options: &[SqlOption]) -> Result<BTreeMap<String, String>, Fault> {
    let pair = |option: &SqlOption| match option {
        SqlOption::KeyValue {
            key,
            value: Expr::Value(value),
        } => match &value.value {
            Value::SingleQuotedString(text) => Some((key.value.clone(), text.clone())),
            _ => None,
        },
        _ => None,
    };
    options
        .iter()
        .map(|o| {
            pair(o).ok_or_else(|| {
                Fault::invalid("syntax_error", "TBLPROPERTIES takes 'key'='value' pairs")
            })
        })
        .collect()
}
