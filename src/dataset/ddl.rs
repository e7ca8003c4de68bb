//! The contract as `CREATE TABLE`, whole: what `apply` shows and sends.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::alter::constraint_name;
use super::column::{Column, ColumnType};
use super::contract::Contract;
use super::properties::json;
use super::rule::{Action, Rule, RuleKind};
use crate::types::{join_names, quote_name, shown_name};

impl Contract {
    pub fn to_ddl(&self) -> String {
        if let Some(view) = self.view_declaration() {
            return view.to_ddl();
        }
        let mut lines: Vec<String> = self
            .columns
            .iter()
            .map(|c| {
                let mut line = format!("{} {}", quote_name(&c.name), c.data_type);
                if c.required {
                    line.push_str(" NOT NULL");
                }
                if self.is_temporary()
                    && let Some(value) = &c.default
                {
                    let _ = write!(line, " DEFAULT {}", literal(value, &c.data_type));
                }
                if let Some(text) = &c.description {
                    let _ = write!(line, " COMMENT {}", quote_text(text));
                }
                line
            })
            .collect();
        let mut properties = self.own_properties();
        properties.extend(self.columns.iter().flat_map(Column::properties));
        for rule in &self.rules {
            match sql_check(rule) {
                Some(check) => lines.push(format!(
                    "CONSTRAINT {} CHECK ({check})",
                    quote_name(&constraint_name(&rule.name))
                )),
                None => {
                    properties.insert(format!("deltaplane.rule.{}", rule.name), json(rule));
                }
            }
        }
        // Checks are read after properties; another order of the rules is said, because quarantine tells the first one broken.
        let (said, checked): (Vec<&Rule>, Vec<&Rule>) =
            self.rules.iter().partition(|r| sql_check(r).is_none());
        let mut said: Vec<&str> = said.iter().map(|r| r.name.as_str()).collect();
        said.sort_unstable();
        said.extend(checked.iter().map(|r| r.name.as_str()));
        let order: Vec<&str> = self.rules.iter().map(|r| r.name.as_str()).collect();
        if order != said {
            properties.insert("deltaplane.ruleOrder".to_owned(), join_names(order, ';'));
        }
        if self.is_temporary() {
            // It has no properties.
            let table = shown_name(self.table.table());
            return format!("CREATE TEMP TABLE {table} (\n  {}\n)", lines.join(",\n  "));
        }
        let mut out = format!(
            "CREATE TABLE {} (\n  {}\n)",
            self.table,
            lines.join(",\n  ")
        );
        if !self.partition_by.is_empty() {
            let names: Vec<String> = self.partition_by.iter().map(|n| quote_name(n)).collect();
            let _ = write!(out, "\nPARTITIONED BY ({})", names.join(", "));
        }
        let properties: Vec<String> = properties
            .iter()
            .map(|(k, v)| format!("{}={}", quote_text(k), quote_text(v)))
            .collect();
        let _ = write!(out, "\nTBLPROPERTIES ({})", properties.join(", "));
        out
    }
}

impl Column {
    /// What SQL's column list has no word for.
    pub(super) fn properties(&self) -> BTreeMap<String, String> {
        let values = [
            ("unit", self.unit.clone()),
            ("default", self.default.as_ref().map(ToString::to_string)),
            ("timezone", self.timezone.clone()),
            (
                "timeUnit",
                self.time_unit
                    .map(|u| json(&u).trim_matches('"').to_owned()),
            ),
            ("from", self.from.clone()),
            (
                "formerly",
                (!self.formerly.is_empty()).then(|| json(&self.formerly)),
            ),
        ];
        let given = values
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        given
            .map(|(key, value)| (format!("deltaplane.{key}.{}", self.name), value))
            .collect()
    }
}

/// A rule that a CHECK can say; `apply`'s other rules travel as properties.
pub(super) fn sql_check(rule: &Rule) -> Option<String> {
    // A CHECK is read back with the name that its kind and column give.
    let own_name = Rule::new(&rule.column, rule.kind.clone(), rule.action).name;
    if rule.action != Action::Reject || rule.name != own_name {
        return None;
    }
    let c = quote_name(&rule.column);
    match &rule.kind {
        RuleKind::Range {
            min: Some(min),
            max: Some(max),
        } => Some(format!("{c} BETWEEN {min:?} AND {max:?}")),
        RuleKind::Range {
            min: Some(min),
            max: None,
        } => Some(format!("{c} >= {min:?}")),
        RuleKind::Range {
            min: None,
            max: Some(max),
        } => Some(format!("{c} <= {max:?}")),
        RuleKind::Enum { values } => {
            let values: Vec<String> = values.iter().map(|v| quote_text(v)).collect();
            Some(format!("{c} IN ({})", values.join(", ")))
        }
        RuleKind::Regex { pattern } => {
            Some(format!("{c} ~ {}", quote_text(&format!("^(?:{pattern})$"))))
        }
        RuleKind::MaxLength { chars } => Some(format!("length({c}) <= {chars}")),
        RuleKind::Range {
            min: None,
            max: None,
        }
        | RuleKind::MaxFuture { .. }
        | RuleKind::MaxLate { .. }
        | RuleKind::Referential { .. }
        | RuleKind::Unique { .. }
        | RuleKind::Monotonic { .. } => None,
    }
}

fn literal(value: &serde_json::Value, data_type: &ColumnType) -> String {
    match value {
        serde_json::Value::String(text) if !data_type.is_number() => quote_text(text),
        serde_json::Value::String(digits) => digits.clone(),
        other => other.to_string(),
    }
}

pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text inside SQL quotes.
pub fn unquote(text: &str) -> String {
    let inner = text
        .strip_prefix('\'')
        .and_then(|t| t.strip_suffix('\''))
        .unwrap_or(text);
    inner.replace("''", "'")
}
