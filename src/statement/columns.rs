//! The column list of `CREATE TABLE` and `ALTER TABLE .. ADD COLUMN`: columns, and what stands beside them.

use arrow::array::StringArray;
use arrow::compute::{CastOptions, cast_with_options};
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, Expr, IndexColumn, TableConstraint, Value,
};

use super::checks::literal;
use super::declared::Declared;
use super::types::column_type;
use crate::dataset::{Action, Column, Rule, RuleKind};
use crate::fault::Fault;
use crate::sql::syntax;

pub(super) struct ParsedColumn {
    pub column: Column,
    /// That its type says.
    pub rules: Vec<Rule>,
    pub checks: Vec<Expr>,
    pub is_key: bool,
    pub is_unique: bool,
}

pub(super) fn column(def: ColumnDef) -> Result<ParsedColumn, Fault> {
    let (data_type, length) = column_type(&def.name.value, &def.data_type)?;
    let column = Column::new(def.name.value, data_type);
    let length = length.map(|chars| RuleKind::MaxLength { chars });
    let rules = length.map(|kind| Rule::new(&column.name, kind, Action::Reject));
    let mut out = ParsedColumn {
        rules: rules.into_iter().collect(),
        column,
        checks: Vec::new(),
        is_key: false,
        is_unique: false,
    };
    for option in def.options {
        match option.option {
            ColumnOption::NotNull => out.column.required = true,
            ColumnOption::Null => {}
            ColumnOption::Comment(text) => out.column.description = Some(text),
            ColumnOption::Check(check) => out.checks.push(*check.expr),
            ColumnOption::PrimaryKey(_) => out.is_key = true,
            ColumnOption::Unique(_) => out.is_unique = true,
            ColumnOption::Default(value) => out.column.default = default(&out.column, &value)?,
            ColumnOption::ForeignKey(_) => {
                return Err(syntax(format!(
                    "REFERENCES is not supported, column={}; say TBLPROPERTIES with a rule of kind referential, which holds a value to those of another table's column",
                    out.column.name
                )));
            }
            other => {
                return Err(syntax(format!(
                    "not supported in a column, column={}, option={other}; known: NOT NULL, DEFAULT, CHECK, PRIMARY KEY, UNIQUE, COMMENT",
                    out.column.name
                )));
            }
        }
    }
    Ok(out)
}

/// A literal of the column's type. `NULL` is what stands in without it.
fn default(column: &Column, value: &Expr) -> Result<Option<serde_json::Value>, Fault> {
    let refused = |problem: &str| {
        Fault::invalid(
            "invalid_contract",
            format!(
                "a DEFAULT that cannot stand, column={}, value={value}: {problem}",
                column.name
            ),
        )
    };
    let is_null = matches!(value, Expr::Value(v) if v.value == Value::Null);
    if column.data_type.is_nested() && !is_null {
        return Err(refused(&format!(
            "a default is for a column that is not nested, this is {}",
            column.data_type
        )));
    }
    let (text, json) = match value {
        Expr::Value(v) if v.value == Value::Null => return Ok(None),
        Expr::Value(v) if matches!(v.value, Value::Boolean(_)) => {
            let is = v.value == Value::Boolean(true);
            (is.to_string(), serde_json::Value::Bool(is))
        }
        other => {
            let text = literal(other).ok_or_else(|| {
                refused("it is a number, a text, true, false or NULL; what is computed belongs to the query that writes")
            })?;
            // Its digits stay as they are written.
            (text.clone(), serde_json::Value::String(text))
        }
    };
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let one = StringArray::from(vec![text]);
    cast_with_options(&one, &column.data_type.to_arrow(), &strict)
        .map_err(|_| refused(&format!("the column is {}", column.data_type)))?;
    Ok(Some(json))
}

/// A constraint that stands beside the columns.
pub(super) fn constraint(said: TableConstraint, declared: &mut Declared) -> Result<(), Fault> {
    match said {
        TableConstraint::Check(check) => declared.checks.push(*check.expr),
        TableConstraint::PrimaryKey(key) => declared.key.extend(names(&key.columns)),
        TableConstraint::Unique(unique) => declared.unique.push(names(&unique.columns)),
        other => {
            return Err(syntax(format!(
                "not supported: {other}; known: CHECK, PRIMARY KEY, UNIQUE"
            )));
        }
    }
    Ok(())
}

fn names(columns: &[IndexColumn]) -> Vec<String> {
    let name = |c: &IndexColumn| match &c.column.expr {
        Expr::Identifier(ident) => ident.value.clone(),
        other => other.to_string(),
    };
    columns.iter().map(name).collect()
}
