//! Changes of a contract: what `ALTER TABLE` may do, and the one statement that leads from a contract to another.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::column::Column;
use super::contract::Contract;
use super::ddl::{quote_text, sql_check};
use super::properties::json;
use super::rule::Rule;
use crate::types::{SameName, quote_name};

#[derive(Clone, Debug, PartialEq)]
pub enum Alteration {
    AddColumn(Column),
    /// Its values are not read any more.
    DropColumn(String),
    RenameColumn {
        from: String,
        to: String,
    },
    AddRule(Rule),
    /// By its own name (`range:AT`) or as a constraint's (`range_AT`).
    DropRule(String),
    /// What a column is, for its readers. None takes it away.
    Describe {
        column: String,
        text: Option<String>,
    },
    Set(BTreeMap<String, String>),
}

pub(super) fn constraint_name(rule: &str) -> String {
    // A column's name may have a colon, too.
    rule.replacen(':', "_", 1)
}

/// By its own name, or as a constraint.
fn is_called(rule: &Rule, name: &str) -> bool {
    rule.name == name || constraint_name(&rule.name).is_same_name(name)
}

impl Contract {
    /// Is there a rule that `DROP CONSTRAINT` finds by this name?
    pub fn has_constraint(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| is_called(rule, name))
    }

    /// The contract with the changes, as its next version.
    ///
    /// # Errors
    /// A change that rows which are there could not bear, or a contract that contradicts itself.
    pub fn altered(&self, changes: &[Alteration]) -> Result<Contract, Error> {
        let mut next = self.clone();
        for change in changes {
            match change {
                Alteration::AddColumn(column) if column.required => {
                    return Err(Error::Rule {
                        rule: "not_null".to_owned(),
                        column: column.name.clone(),
                        problem:
                            "rows that are there have no value for it; add it without NOT NULL"
                                .to_owned(),
                    });
                }
                Alteration::AddColumn(column) => next.add_column(column)?,
                Alteration::DropColumn(name) => next.drop_column(name)?,
                Alteration::RenameColumn { from, to } => next.rename_column(from, to)?,
                Alteration::AddRule(rule) => {
                    if next.rules.iter().any(|r| r.name == rule.name) {
                        return Err(Error::Rule {
                            rule: rule.name.clone(),
                            column: rule.column.clone(),
                            problem: "there is one of this name; drop it in the same statement"
                                .to_owned(),
                        });
                    }
                    next.rules.push(rule.clone());
                }
                Alteration::DropRule(name) => {
                    let before = next.rules.len();
                    next.rules.retain(|rule| !is_called(rule, name));
                    if next.rules.len() == before {
                        let known: Vec<String> = self
                            .rules
                            .iter()
                            .map(|r| constraint_name(&r.name))
                            .collect();
                        return Err(Error::Rule {
                            rule: name.clone(),
                            column: String::new(),
                            problem: format!("there is no such rule; rules: {}", known.join(", ")),
                        });
                    }
                }
                Alteration::Describe { column, text } => {
                    let own = next.columns.iter_mut();
                    let Some(own) = own.into_iter().find(|c| c.name.is_same_name(column)) else {
                        let known: Vec<&str> = self.columns.iter().map(|c| &*c.name).collect();
                        return Err(Error::NoColumn {
                            table: self.table.to_string(),
                            column: column.clone(),
                            place: "COMMENT ON COLUMN",
                            known: known.join(", "),
                        });
                    };
                    own.description.clone_from(text);
                }
                Alteration::Set(properties) => next.set_properties(properties)?,
            }
        }
        if next.event_time != self.event_time || next.system_columns != self.system_columns {
            return Err(Error::Property {
                property: "deltaplane.eventTime, deltaplane.systemColumns".to_owned(),
                problem: "rows that are there were written with it; create another table"
                    .to_owned(),
            });
        }
        next.version = self.version + 1;
        let moves = self.column_moves(changes);
        next.note_former_names(&moves);
        next.note_dropped_names(self, &moves);
        next.validate_self()?;
        next.check_stored()?;
        Ok(next)
    }

    /// The `ALTER TABLE` that leads to `wanted`; none if nothing differs. Columns that `wanted` does not have stay.
    ///
    /// # Errors
    /// A column that would change its type or become required; another event time or partitioning.
    pub fn alter_statement(&self, wanted: &Contract) -> Result<Option<String>, Error> {
        let mut parts = Vec::new();
        let mut properties: BTreeMap<String, String> = BTreeMap::new();
        for column in &wanted.columns {
            let old = self
                .columns
                .iter()
                .find(|c| c.name.is_same_name(&column.name));
            match old {
                None => parts.push(format!(
                    "ADD COLUMN {} {}{}",
                    quote_name(&column.name),
                    column.data_type,
                    column
                        .description
                        .as_ref()
                        .map_or_else(String::new, |d| format!(" COMMENT {}", quote_text(d)))
                )),
                Some(old)
                    if old.data_type != column.data_type || old.required != column.required =>
                {
                    return Err(Error::Rule {
                        rule: "type".to_owned(),
                        column: column.name.clone(),
                        problem: format!(
                            "it is {}{} in the table and {}{} in the file; a column keeps what it is",
                            old.data_type,
                            if old.required { " NOT NULL" } else { "" },
                            column.data_type,
                            if column.required { " NOT NULL" } else { "" }
                        ),
                    });
                }
                Some(_) => {}
            }
            for (key, value) in column.properties() {
                let known = old.is_some_and(|o| o.properties().get(&key) == Some(&value));
                if !known {
                    properties.insert(key, value);
                }
            }
        }
        if self.event_time != wanted.event_time || self.partition_by != wanted.partition_by {
            return Err(Error::Property {
                property: "event_time, partition_by".to_owned(),
                problem: "the table was created with others; create another table".to_owned(),
            });
        }
        for rule in self.rules.iter().filter(|r| !wanted.rules.contains(r)) {
            parts.push(format!(
                "DROP CONSTRAINT {}",
                quote_name(&constraint_name(&rule.name))
            ));
        }
        for rule in wanted.rules.iter().filter(|r| !self.rules.contains(r)) {
            match sql_check(rule) {
                Some(check) => parts.push(format!(
                    "ADD CONSTRAINT {} CHECK ({check})",
                    quote_name(&constraint_name(&rule.name))
                )),
                None => {
                    properties.insert(format!("deltaplane.rule.{}", rule.name), json(rule));
                }
            }
        }
        let own = self.own_properties();
        let skip: BTreeSet<&str> = ["deltaplane.contractVersion"].into();
        for (key, value) in wanted.own_properties() {
            if !skip.contains(key.as_str()) && own.get(&key) != Some(&value) {
                properties.insert(key, value);
            }
        }
        if !properties.is_empty() {
            let pairs: Vec<String> = properties
                .iter()
                .map(|(k, v)| format!("{} = {}", quote_text(k), quote_text(v)))
                .collect();
            parts.push(format!("SET TBLPROPERTIES ({})", pairs.join(", ")));
        }
        Ok((!parts.is_empty())
            .then(|| format!("ALTER TABLE {}\n  {}", self.table, parts.join(",\n  "))))
    }
}
