//! `CREATE TABLE .. PARTITIONED BY .. TBLPROPERTIES ..` and `DROP TABLE`, as Delta users spell them.
//!
//! sqlparser knows the column list; the two clauses behind it differ by dialect and are taken off first, token by token.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ColumnDef, ColumnOption, CreateTable, Expr, ObjectName, ObjectType, Statement,
    TableConstraint, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::Change;
use crate::dataset::{Action, Column, ColumnType, Contract, Rule, RuleKind};
use crate::fault::Fault;
use crate::query::default_schema;
use crate::sql::{Cursor, parse_one, parse_tokens, parts, resolve, syntax};
use crate::types::TableName;

pub(super) fn drop_table(tokens: Vec<TokenWithSpan>) -> Result<Change, Fault> {
    match parse_tokens(tokens)? {
        Statement::Drop {
            object_type: ObjectType::Table,
            if_exists,
            names,
            ..
        } => match names.as_slice() {
            [name] => Ok(Change::Drop {
                name: table_name(name)?,
                if_exists,
            }),
            _ => Err(syntax("DROP TABLE takes one table at a time")),
        },
        _ => Err(syntax("expected DROP TABLE [IF EXISTS] name")),
    }
}

pub(super) fn create(mut rest: Cursor<'_>) -> Result<Change, Fault> {
    let mut known = Vec::new();
    let mut partition_by = Vec::new();
    let mut properties = BTreeMap::new();
    let mut depth = 0usize;
    while let Some(token) = rest.rest().first() {
        if depth == 0 && rest.words(&["PARTITIONED"]) {
            if !rest.words(&["BY"]) {
                return Err(rest.expected("BY after PARTITIONED"));
            }
            partition_by = rest.group("column names", |rest| rest.word("a column's name"))?;
            continue;
        }
        if depth == 0 && rest.words(&["TBLPROPERTIES"]) {
            properties.extend(rest.group("'key' = 'value' pairs", property)?);
            continue;
        }
        // USING DELTA is what every table is.
        if depth == 0 && rest.words(&["USING"]) {
            if !rest.words(&["DELTA"]) {
                return Err(rest.expected("DELTA, the only format that is known,"));
            }
            continue;
        }
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        known.push(token.clone());
        rest.skip();
    }
    match parse_tokens(known)? {
        Statement::CreateTable(table) => contract(table, partition_by, &properties),
        _ => Err(syntax("expected CREATE TABLE name (columns)")),
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

pub(super) fn table_name(name: &ObjectName) -> Result<TableName, Fault> {
    resolve(&parts(name), &default_schema())
}

fn contract(
    table: CreateTable,
    partition_by: Vec<String>,
    properties: &BTreeMap<String, String>,
) -> Result<Change, Fault> {
    if table.or_replace || table.query.is_some() || table.external {
        return Err(Fault::new(
            crate::fault::Kind::Unimplemented,
            "not_implemented",
            "CREATE OR REPLACE, CREATE EXTERNAL and CREATE TABLE AS are not supported; create the table, then stream to it",
        ));
    }
    refuse_other_clauses(&table)?;
    let invalid = |e: crate::dataset::Error| Fault::invalid("invalid_contract", e.to_string());
    let mut contract = Contract::plain(table_name(&table.name)?, Vec::new());
    let mut checks: Vec<Expr> = Vec::new();
    for def in table.columns {
        let parsed = column(def)?;
        checks.extend(parsed.checks);
        if parsed.is_key {
            contract.key.push(parsed.column.name.clone());
        }
        contract.columns.push(parsed.column);
    }
    for constraint in table.constraints {
        match constraint {
            TableConstraint::Check(check) => checks.push(*check.expr),
            TableConstraint::PrimaryKey(key) => contract.key.extend(
                key.columns
                    .iter()
                    .map(|c| c.column.expr.to_string().trim_matches('"').to_owned()),
            ),
            other => {
                return Err(syntax(format!(
                    "not supported: {other}; known: CHECK, PRIMARY KEY"
                )));
            }
        }
    }
    contract.partition_by = partition_by;
    contract.set_properties(properties).map_err(invalid)?;
    for check in &checks {
        rules(check, &mut contract)?;
    }
    contract.order_rules(properties);
    own_spelling(&mut contract);
    contract.validate_self().map_err(invalid)?;
    Ok(Change::Create {
        contract: Box::new(contract),
        if_not_exists: table.if_not_exists,
    })
}

/// What sqlparser reads and this server does not do is refused, not dropped.
fn refuse_other_clauses(table: &CreateTable) -> Result<(), Fault> {
    let refused = |text: String| {
        Err(Fault::new(
            crate::fault::Kind::Unimplemented,
            "not_implemented",
            text,
        ))
    };
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
    if plain == *table {
        return Ok(());
    }
    refused(format!(
        "a clause of this CREATE TABLE is not supported: {}; known: columns, CONSTRAINT .. CHECK, PRIMARY KEY, PARTITIONED BY, USING DELTA, TBLPROPERTIES",
        table.to_string().chars().take(300).collect::<String>()
    ))
}

pub(super) struct ParsedColumn {
    pub column: Column,
    pub checks: Vec<Expr>,
    pub is_key: bool,
}

pub(super) fn column(def: ColumnDef) -> Result<ParsedColumn, Fault> {
    let given = def.data_type.to_string();
    let data_type: ColumnType = given.parse().map_err(|()| {
        let error = crate::dataset::Error::Type {
            column: def.name.value.clone(),
            given,
        };
        Fault::invalid("invalid_contract", error.to_string())
    })?;
    let mut out = ParsedColumn {
        column: Column::new(def.name.value, data_type),
        checks: Vec::new(),
        is_key: false,
    };
    for option in def.options {
        match option.option {
            ColumnOption::NotNull => out.column.required = true,
            ColumnOption::Null => {}
            ColumnOption::Comment(text) => out.column.description = Some(text),
            ColumnOption::Check(check) => out.checks.push(*check.expr),
            ColumnOption::PrimaryKey(_) => out.is_key = true,
            other => {
                return Err(syntax(format!(
                    "not supported in a column, column={}, option={other}",
                    out.column.name
                )));
            }
        }
    }
    Ok(out)
}

/// Key, event time and partitions name columns without regard to case.
fn own_spelling(contract: &mut Contract) {
    let names: Vec<String> = contract.columns.iter().map(|c| c.name.clone()).collect();
    let fix = |name: &mut String| {
        if let Some(own) = names.iter().find(|n| n.eq_ignore_ascii_case(name)) {
            name.clone_from(own);
        } else if name.eq_ignore_ascii_case("event_date") {
            *name = "event_date".to_owned();
        }
    };
    contract.key.iter_mut().for_each(fix);
    contract.partition_by.iter_mut().for_each(fix);
    contract.event_time.iter_mut().for_each(fix);
}

/// The rules that a CHECK says: ranges, lists, and ANDs of them.
pub(super) fn rules(check: &Expr, contract: &mut Contract) -> Result<(), Fault> {
    let unknown = || {
        Fault::invalid(
            "invalid_contract",
            format!(
                "this CHECK is no rule kind: {check}; known: c BETWEEN a AND b, c >= a, c <= b, c IN ('x', ..), c IS NOT NULL, and AND of them"
            ),
        )
    };
    let column_of = |e: &Expr, contract: &Contract| match e {
        Expr::Identifier(ident) => {
            let found = contract
                .columns
                .iter()
                .find(|c| c.name.eq_ignore_ascii_case(&ident.value));
            found.map(|c| c.name.clone()).ok_or_else(|| {
                Fault::invalid(
                    "invalid_contract",
                    format!("CHECK names no column of the table: {ident}"),
                )
            })
        }
        _ => Err(unknown()),
    };
    let number = |e: &Expr| {
        literal(e)
            .and_then(|t| t.parse::<f64>().ok())
            .ok_or_else(unknown)
    };
    match check {
        Expr::Nested(inner) => rules(inner, contract),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            rules(left, contract)?;
            rules(right, contract)
        }
        Expr::Between {
            expr,
            negated: false,
            low,
            high,
        } => {
            let column = column_of(expr, contract)?;
            add_range(contract, &column, Some(number(low)?), Some(number(high)?));
            Ok(())
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::GtEq,
            right,
        } => {
            let column = column_of(left, contract)?;
            add_range(contract, &column, Some(number(right)?), None);
            Ok(())
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::LtEq,
            right,
        } => {
            let column = column_of(left, contract)?;
            add_range(contract, &column, None, Some(number(right)?));
            Ok(())
        }
        Expr::InList {
            expr,
            list,
            negated: false,
        } => {
            let column = column_of(expr, contract)?;
            let values = list
                .iter()
                .map(|e| literal(e).ok_or_else(unknown))
                .collect::<Result<Vec<_>, _>>()?;
            contract.rules.push(Rule::new(
                &column,
                RuleKind::Enum { values },
                Action::Reject,
            ));
            Ok(())
        }
        Expr::IsNotNull(expr) => {
            let column = column_of(expr, contract)?;
            contract
                .columns
                .iter_mut()
                .filter(|c| c.name == column)
                .for_each(|c| c.required = true);
            Ok(())
        }
        _ => Err(unknown()),
    }
}

/// `c >= a AND c <= b` is one range.
fn add_range(contract: &mut Contract, column: &str, low: Option<f64>, high: Option<f64>) {
    for rule in contract.rules.iter_mut().filter(|r| r.column == column) {
        if let RuleKind::Range { min, max } = &mut rule.kind
            && ((min.is_none() && high.is_none()) || (max.is_none() && low.is_none()))
        {
            *min = min.or(low);
            *max = max.or(high);
            return;
        }
    }
    contract.rules.push(Rule::new(
        column,
        RuleKind::Range {
            min: low,
            max: high,
        },
        Action::Reject,
    ));
}

fn literal(e: &Expr) -> Option<String> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::Number(n, _) => Some(n.to_string()),
            Value::SingleQuotedString(s) => Some(s.clone()),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => literal(expr).map(|n| format!("-{n}")),
        _ => None,
    }
}
