//! `ALTER TABLE`: columns, constraints and properties; several in one statement, separated by commas. `COMMENT ON COLUMN`.
//! `parse` reads the text, [`Altering`] says what it means for a contract.

mod parse;

pub(super) use parse::{comment, parse};

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, DropBehavior, Expr, SqlOption, TableConstraint, Value,
};

use super::{checks, columns};
use crate::dataset::{Alteration, Column, Contract};
use crate::fault::{Fault, Kind};
use crate::types::SameName;

const KNOWN: &str = "ADD COLUMN, DROP COLUMN, RENAME COLUMN .. TO, ADD CONSTRAINT .. CHECK, DROP CONSTRAINT, SET TBLPROPERTIES, RENAME TO alone";

/// What a statement changes of a contract.
#[derive(Clone, Debug, PartialEq)]
pub enum Altering {
    Operations(Vec<AlterTableOperation>),
    /// None takes the comment away.
    Comment {
        column: String,
        text: Option<String>,
    },
}

impl Altering {
    /// What it means for a contract.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a CHECK that is no rule kind; UNIMPLEMENTED for an operation that is not known.
    pub(super) fn alterations(&self, contract: &Contract) -> Result<Vec<Alteration>, Fault> {
        match self {
            Altering::Operations(operations) => alterations(contract, operations),
            Altering::Comment { column, text } => {
                let own = find(contract, column);
                if own.is_some_and(|own| own.description == *text) {
                    return Ok(Vec::new());
                }
                Ok(vec![Alteration::Describe {
                    column: column.clone(),
                    text: text.clone(),
                }])
            }
        }
    }
}

/// # Errors
/// UNIMPLEMENTED for a clause that nobody here would act on.
fn acted_on(yes: bool, clause: &str, way_out: &str) -> Result<(), Fault> {
    if yes {
        return Ok(());
    }
    Err(Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!("{clause} is not supported in ALTER TABLE; {way_out}"),
    ))
}

fn find<'a>(contract: &'a Contract, column: &str) -> Option<&'a Column> {
    let mut columns = contract.columns.iter();
    columns.find(|own| own.name.is_same_name(column))
}

fn alterations(
    contract: &Contract,
    operations: &[AlterTableOperation],
) -> Result<Vec<Alteration>, Fault> {
    let mut out = Vec::new();
    // Rules may be about columns that the same statement adds.
    let mut known = contract.clone();
    for operation in operations {
        match operation {
            AlterTableOperation::AddColumn {
                column_keyword: _,
                if_not_exists,
                column_def,
                column_position,
            } => {
                acted_on(
                    column_position.is_none(),
                    "a column's place, FIRST or AFTER",
                    "a new column is the last one; SELECT, or a view, puts columns in another order",
                )?;
                if *if_not_exists && find(&known, &column_def.name.value).is_some() {
                    continue;
                }
                let parsed = columns::column(column_def.clone())?;
                refuse_in_alter(&parsed)?;
                known.columns.push(parsed.column.clone());
                out.push(Alteration::AddColumn(parsed.column));
                out.extend(parsed.rules.into_iter().map(Alteration::AddRule));
                for check in &parsed.checks {
                    out.extend(rules(&mut known, check)?);
                }
            }
            AlterTableOperation::AddConstraint {
                constraint: TableConstraint::Check(check),
                not_valid,
            } => {
                acted_on(
                    !not_valid,
                    "NOT VALID",
                    "leave it out: a rule is about the rows that come after it",
                )?;
                out.extend(rules(&mut known, &check.expr)?);
            }
            AlterTableOperation::DropConstraint {
                if_exists,
                name,
                // Nothing depends on a constraint.
                drop_behavior: _,
            } => {
                if *if_exists && !contract.has_constraint(&name.value) {
                    continue;
                }
                out.push(Alteration::DropRule(name.value.clone()));
            }
            AlterTableOperation::DropColumn {
                drop_behavior: Some(DropBehavior::Cascade),
                ..
            } => {
                return Err(Fault::new(
                    Kind::Unimplemented,
                    "not_implemented",
                    "DROP COLUMN .. CASCADE is not supported: what needs the column is dropped by statements of its own; without CASCADE the error says what that is",
                ));
            }
            AlterTableOperation::DropColumn {
                column_names,
                if_exists,
                ..
            } => {
                for name in column_names {
                    if *if_exists && find(&known, &name.value).is_none() {
                        continue;
                    }
                    let gone = |c: &Column| c.name.is_same_name(&name.value);
                    known.columns.retain(|c| !gone(c));
                    out.push(Alteration::DropColumn(name.value.clone()));
                }
            }
            AlterTableOperation::RenameColumn {
                old_column_name: from,
                new_column_name: to,
            } => {
                if find(&known, &from.value).is_some_and(|c| c.name == to.value) {
                    continue;
                }
                let own = known.columns.iter_mut();
                let mut own = own.filter(|c| c.name.is_same_name(&from.value));
                if let Some(column) = own.next() {
                    column.name.clone_from(&to.value);
                }
                out.push(Alteration::RenameColumn {
                    from: from.value.clone(),
                    to: to.value.clone(),
                });
            }
            AlterTableOperation::SetTblProperties { table_properties } => {
                out.push(Alteration::Set(properties(table_properties)?));
            }
            other => {
                return Err(Fault::new(
                    Kind::Unimplemented,
                    "not_implemented",
                    format!("not supported: {other}; known: {KNOWN}"),
                ));
            }
        }
    }
    Ok(out)
}

/// What the rows that are there would have to be looked at for.
fn refuse_in_alter(parsed: &columns::ParsedColumn) -> Result<(), Fault> {
    let refused = |what: &str, way_out: &str| {
        Err(Fault::new(
            Kind::Unimplemented,
            "not_implemented",
            format!(
                "{what} of a column that is added is not supported, column={}; {way_out}",
                parsed.column.name
            ),
        ))
    };
    if parsed.column.default.is_some() {
        return refused(
            "a DEFAULT",
            "rows that are there would not have it: add the column without, UPDATE it, and say SET TBLPROPERTIES ('deltaplane.default.<column>' = '..')",
        );
    }
    if parsed.is_key || parsed.is_unique {
        return refused(
            "PRIMARY KEY or UNIQUE",
            "the rows that are there have no value: create another table with it",
        );
    }
    Ok(())
}

fn rules(known: &mut Contract, check: &Expr) -> Result<Vec<Alteration>, Fault> {
    let required = known.columns.iter().filter(|c| c.required).count();
    known.rules.clear();
    checks::rules(check, known)?;
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::query::QueryContext;
    use crate::statement::Change;

    #[test]
    fn an_alteration_that_is_there_already_changes_nothing() {
        let sql = "CREATE TABLE a.b (x BIGINT COMMENT 'known', y STRING CHECK (y IN ('k')))";
        let Some(Change::Create { contract, .. }) =
            Change::parse(&QueryContext::new("tests"), sql).unwrap()
        else {
            panic!("{sql}");
        };
        let altered = |sql: &str| match Change::parse(&QueryContext::new("tests"), sql).unwrap() {
            Some(Change::Alter {
                altering,
                if_exists,
                ..
            }) => (altering.alterations(&contract).unwrap(), if_exists),
            other => panic!("{other:?}"),
        };
        for nothing in [
            "ALTER TABLE IF EXISTS a.b ADD COLUMN IF NOT EXISTS X INT",
            "ALTER TABLE a.b DROP CONSTRAINT IF EXISTS gone",
            "ALTER TABLE a.b DROP COLUMN IF EXISTS gone, DROP IF EXISTS gone2",
            "ALTER TABLE a.b RENAME COLUMN X TO x",
            "COMMENT ON COLUMN a.b.X IS 'known'",
            "COMMENT ON COLUMN a.b.y IS ''",
            "COMMENT ON COLUMN a.b.y IS NULL",
        ] {
            let (changes, if_exists) = altered(nothing);
            assert_eq!(changes, Vec::new(), "{nothing}");
            assert_eq!(if_exists, nothing.contains("TABLE IF EXISTS"), "{nothing}");
        }
        let (changes, _) = altered(
            "ALTER TABLE a.b ADD COLUMN IF NOT EXISTS z INT, ADD COLUMN IF NOT EXISTS Z INT",
        );
        assert_eq!(contract.altered(&changes).unwrap().columns.len(), 3);
        // Rules may be about columns under the names that the same statement gives them.
        let (changes, _) = altered(
            "ALTER TABLE a.b RENAME COLUMN X TO z, DROP CONSTRAINT enum_y, DROP COLUMN IF EXISTS Y, ADD CONSTRAINT c CHECK (z >= 0)",
        );
        let moved = contract.altered(&changes).unwrap();
        let names: Vec<&str> = moved.columns.iter().map(|c| &*c.name).collect();
        assert_eq!((names, moved.rules.len()), (vec!["z"], 1));
        let (changes, _) = altered("COMMENT ON COLUMN a.b.Y IS 'it''s'");
        let described = contract.altered(&changes).unwrap();
        assert_eq!(described.columns[1].description.as_deref(), Some("it's"));
        let (changes, _) = altered("COMMENT ON COLUMN a.b.z IS 'new'");
        let error = contract.altered(&changes).unwrap_err().to_string();
        assert!(
            error.contains("COMMENT ON COLUMN") && error.contains("x, y"),
            "{error}"
        );
    }

    #[test]
    fn a_clause_that_nobody_would_act_on_is_refused() {
        let sql = "CREATE TABLE a.b (x BIGINT, y STRING)";
        let Some(Change::Create { contract, .. }) =
            Change::parse(&QueryContext::new("tests"), sql).unwrap()
        else {
            panic!("{sql}");
        };
        let altered = |sql: &str| match Change::parse(&QueryContext::new("tests"), sql)? {
            Some(Change::Alter { altering, .. }) => altering.alterations(&contract),
            other => panic!("{other:?}"),
        };
        for (sql, named) in [
            ("ALTER TABLE a.b ADD COLUMN z INT FIRST", "FIRST or AFTER"),
            ("ALTER TABLE a.b ADD COLUMN z INT AFTER x", "FIRST or AFTER"),
            (
                "ALTER TABLE a.b ADD COLUMN IF NOT EXISTS x INT FIRST",
                "FIRST or AFTER",
            ),
            (
                "ALTER TABLE a.b ADD COLUMN w INT, ADD COLUMN z INT AFTER w",
                "FIRST or AFTER",
            ),
            (
                "ALTER TABLE a.b ADD CONSTRAINT c CHECK (x > 1) NOT VALID",
                "NOT VALID",
            ),
            (
                "ALTER TABLE a.b ON CLUSTER k ADD COLUMN z INT",
                "ON CLUSTER",
            ),
        ] {
            let fault = altered(sql).expect_err(sql);
            assert_eq!(fault.kind, Kind::Unimplemented, "{sql}: {fault}");
            assert!(fault.message.contains(named), "{sql}: {fault}");
        }
        assert_eq!(
            altered("ALTER TABLE a.b ADD COLUMN z INT").unwrap().len(),
            1
        );
    }
}
