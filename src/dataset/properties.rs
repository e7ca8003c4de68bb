//! The contract in a Delta table's properties, so that a table describes itself wherever it is copied. Rules also stand as
//! Delta CHECK constraints where they can, for writers other than this server to keep.

use std::collections::BTreeMap;

use super::alter::constraint_name;
use super::contract::{Contract, UnknownColumns};
use super::ddl::quote_text;
use super::rule::{Action, Rule, RuleKind};
use super::{Column, Error, retention};
use crate::types::{SameName, TableName, join_names, split_names};

const PREFIX: &str = "deltaplane.";

impl Contract {
    pub fn to_properties(&self) -> BTreeMap<String, String> {
        let mut out = self.own_properties();
        for rule in self.rules.iter().filter(|r| r.action == Action::Reject) {
            if let Some(check) = delta_check(rule) {
                out.insert(
                    format!("delta.constraints.{}", constraint_name(&rule.name)),
                    check,
                );
            }
        }
        // Columns in the exact form in which they were declared; Delta's schema has no place for defaults.
        out.insert(format!("{PREFIX}columns"), json(&self.columns));
        out.insert(format!("{PREFIX}rules"), json(&self.rules));
        out
    }

    /// What TBLPROPERTIES say beside columns and constraints.
    pub(super) fn own_properties(&self) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        let mut put = |key: &str, value: String| out.insert(format!("{PREFIX}{key}"), value);
        put("contractVersion", self.version.to_string());
        put("systemColumns", self.system_columns.to_string());
        put(
            "onViolation",
            json(&self.on_violation).trim_matches('"').to_owned(),
        );
        if self.unknown_columns != UnknownColumns::default() {
            put(
                "unknownColumns",
                json(&self.unknown_columns).trim_matches('"').to_owned(),
            );
        }
        if !self.dropped.is_empty() {
            put("dropped", json(&self.dropped));
        }
        if let Some(name) = &self.event_time {
            put("eventTime", name.clone());
        }
        if !self.key.is_empty() {
            put("key", join_names(&self.key, ','));
        }
        if let Some(retention) = &self.retention {
            put("retention", retention.clone());
        }
        if let Some(view) = &self.view {
            put("view", json(view));
        }
        out.extend(self.delta.iter().map(|(k, v)| (k.clone(), v.clone())));
        out
    }

    /// The inverse of [`Contract::to_properties`].
    pub fn from_properties(
        table: TableName,
        partition_by: Vec<String>,
        properties: &BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let columns: Vec<Column> = parse(properties, "columns")?;
        let mut contract = Contract::plain(table, columns);
        contract.partition_by = partition_by;
        contract.rules = parse(properties, "rules")?;
        contract.apply_properties(properties)?;
        Ok(contract)
    }

    /// Takes what TBLPROPERTIES of a statement say.
    ///
    /// # Errors
    /// A property that cannot be set, with the reason: see `settable`.
    pub fn set_properties(&mut self, properties: &BTreeMap<String, String>) -> Result<(), Error> {
        super::settable::check(properties)?;
        self.apply_properties(properties)
    }

    /// Takes what a table's properties say. Keys that are not ours are left alone; a key of ours that is unknown is an error.
    fn apply_properties(&mut self, properties: &BTreeMap<String, String>) -> Result<(), Error> {
        for (property, value) in properties {
            if retention::KEPT.contains(&property.as_str()) {
                self.delta.insert(property.clone(), value.clone());
            }
            let Some(key) = property.strip_prefix(PREFIX) else {
                continue;
            };
            let bad = |problem: &str| Error::Property {
                property: property.clone(),
                problem: problem.to_owned(),
            };
            match key {
                "contractVersion" => {
                    self.version = value.parse().map_err(|_| bad("not a number"))?
                }
                "systemColumns" => {
                    self.system_columns =
                        value.parse().map_err(|_| bad("neither true nor false"))?
                }
                "onViolation" => {
                    self.on_violation = serde_json::from_str(&format!("\"{value}\""))
                        .map_err(|_| bad("not an action"))?;
                }
                "unknownColumns" => {
                    self.unknown_columns = serde_json::from_str(&format!("\"{value}\""))
                        .map_err(|_| bad("none of reject, ignore, add"))?;
                }
                "dropped" => {
                    self.dropped = serde_json::from_str(value).map_err(|e| bad(&e.to_string()))?;
                }
                "eventTime" => self.event_time = Some(value.clone()),
                "key" => self.key = split_names(value, ','),
                "retention" => self.retention = Some(value.clone()),
                "view" => {
                    let view = serde_json::from_str(value).map_err(|e| bad(&e.to_string()))?;
                    self.view = Some(view);
                }
                "columns" | "rules" | "incarnation" | "ruleOrder" => {}
                _ => {
                    if let Some(name) = key.strip_prefix("unit.") {
                        self.column_mut(name, property)?.unit = Some(value.clone());
                    } else if let Some(name) = key.strip_prefix("default.") {
                        let default =
                            serde_json::from_str(value).map_err(|e| bad(&e.to_string()))?;
                        self.column_mut(name, property)?.default = Some(default);
                    } else if let Some(name) = key.strip_prefix("timezone.") {
                        self.column_mut(name, property)?.timezone = Some(value.clone());
                    } else if let Some(name) = key.strip_prefix("timeUnit.") {
                        let unit = serde_json::from_str(&format!("\"{value}\""))
                            .map_err(|_| bad("none of s, ms, us, ns"))?;
                        self.column_mut(name, property)?.time_unit = Some(unit);
                    } else if let Some(name) = key.strip_prefix("from.") {
                        self.column_mut(name, property)?.from = Some(value.clone());
                    } else if let Some(name) = key.strip_prefix("formerly.") {
                        let names: Vec<String> =
                            serde_json::from_str(value).map_err(|e| bad(&e.to_string()))?;
                        self.column_mut(name, property)?.formerly = names;
                    } else if key.starts_with("rule.") {
                        let rule: Rule =
                            serde_json::from_str(value).map_err(|e| bad(&e.to_string()))?;
                        self.rules.retain(|r| r.name != rule.name);
                        self.rules.push(rule);
                    } else {
                        return Err(bad(
                            "unknown property; known: eventTime, key, retention, systemColumns, onViolation, unknownColumns, dropped, unit.<column>, default.<column>, timezone.<column>, timeUnit.<column>, from.<column>, formerly.<column>, rule.<name>",
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Rules in the order that TBLPROPERTIES tell; those that it does not name come last.
    pub(crate) fn order_rules(&mut self, properties: &BTreeMap<String, String>) {
        if let Some(order) = properties.get("deltaplane.ruleOrder") {
            let names = split_names(order, ';');
            let place = |r: &Rule| names.iter().position(|n| *n == r.name);
            self.rules.sort_by_key(|r| place(r).unwrap_or(usize::MAX));
        }
    }

    fn column_mut(&mut self, name: &str, property: &str) -> Result<&mut Column, Error> {
        self.columns
            .iter_mut()
            .find(|c| c.name.is_same_name(name))
            .ok_or_else(|| Error::Property {
                property: property.to_owned(),
                problem: format!("no column {name}"),
            })
    }
}

/// The rule as Delta's SQL: there a null fails a CHECK, here it passes.
fn delta_check(rule: &Rule) -> Option<String> {
    let c = format!("`{}`", rule.column.replace('`', "``"));
    match &rule.kind {
        RuleKind::Range {
            min: Some(min),
            max: Some(max),
        } => Some(format!("{c} IS NULL OR {c} BETWEEN {min:?} AND {max:?}")),
        RuleKind::Range {
            min: Some(min),
            max: None,
        } => Some(format!("{c} IS NULL OR {c} >= {min:?}")),
        RuleKind::Range {
            min: None,
            max: Some(max),
        } => Some(format!("{c} IS NULL OR {c} <= {max:?}")),
        RuleKind::Enum { values } => {
            let values: Vec<String> = values.iter().map(|v| quote_text(v)).collect();
            Some(format!("{c} IS NULL OR {c} IN ({})", values.join(", ")))
        }
        RuleKind::MaxLength { chars } => Some(format!("{c} IS NULL OR length({c}) <= {chars}")),
        RuleKind::Range {
            min: None,
            max: None,
        }
        | RuleKind::Regex { .. }
        | RuleKind::MaxFuture { .. }
        | RuleKind::MaxLate { .. }
        | RuleKind::Referential { .. }
        | RuleKind::Unique { .. }
        | RuleKind::Monotonic { .. } => None,
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    // Plain data with string keys: cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn parse<T: serde::de::DeserializeOwned>(
    properties: &BTreeMap<String, String>,
    key: &str,
) -> Result<T, Error> {
    let property = format!("{PREFIX}{key}");
    let bad = |problem: String| Error::Property {
        property: property.clone(),
        problem,
    };
    let text = properties
        .get(&property)
        .ok_or_else(|| bad("missing".to_owned()))?;
    serde_json::from_str(text).map_err(|e| bad(e.to_string()))
}
