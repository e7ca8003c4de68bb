//! Text to [`Dml`]. Delta's `UPDATE SET *` and `INSERT *` are taken out of the tokens before sqlparser sees them.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, CascadeOption, Delete, Expr, FromTable, Ident, MergeAction,
    MergeClauseKind, MergeInsertKind, ObjectName, Statement, TableAlias, TableFactor,
    TableWithJoins, Truncate, TruncateTableTarget, Update, UpdateTableFromKind, Value,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::with::given_to_queries;
use super::{Action, Clause, Dml, Merge, Values, When, Work};
use crate::fault::{Fault, Kind};
use crate::sql::{parameters, parse_tokens, parts, resolve, syntax};
use crate::types::{SameName, TableName, without_mark};

/// What stands for `*` where sqlparser wants an assignment.
const STAR: &str = "*";
/// What a source without a name is called.
const UNNAMED: &str = "__source_rows";

fn unsupported(what: &str) -> Fault {
    Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!("not supported: {what}"),
    )
}

/// `schema`: that of a name without one.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`; UNIMPLEMENTED for clauses that other systems know.
pub(in super::super) fn parse(tokens: Vec<TokenWithSpan>, schema: &str) -> Result<Dml, Fault> {
    let parameters = parameters(&tokens);
    let statement = given_to_queries(parse_tokens(without_stars(tokens))?)?;
    let schema = schema.into();
    let dml = dml(statement, &schema)?;
    Ok(Dml { parameters, ..dml })
}

fn dml(statement: Statement, schema: &Arc<str>) -> Result<Dml, Fault> {
    match statement {
        Statement::Update(update) => self::update(update, schema),
        Statement::Delete(delete) => self::delete(delete, schema),
        Statement::Merge(merge) => self::merge(merge, schema),
        Statement::Truncate(truncate) => self::truncate(&truncate, schema),
        _ => Err(syntax("expected UPDATE, DELETE, MERGE or TRUNCATE TABLE")),
    }
}

fn truncate(truncate: &Truncate, schema: &Arc<str>) -> Result<Dml, Fault> {
    let Truncate {
        table_names,
        partitions,
        table: _,
        if_exists,
        // There are no sequences.
        identity: _,
        cascade,
        on_cluster,
    } = truncate;
    let [
        TruncateTableTarget {
            name,
            only: _,
            has_asterisk: _,
        },
    ] = table_names.as_slice()
    else {
        return Err(unsupported("TRUNCATE of several tables"));
    };
    if partitions.is_some() {
        return Err(unsupported(
            "TRUNCATE .. PARTITION; say DELETE FROM .. WHERE with the partition's values",
        ));
    }
    if *if_exists {
        return Err(unsupported("TRUNCATE TABLE IF EXISTS"));
    }
    if let Some(CascadeOption::Cascade) = cascade {
        return Err(unsupported("TRUNCATE .. CASCADE"));
    }
    if on_cluster.is_some() {
        return Err(unsupported("ON CLUSTER"));
    }
    Ok(Dml {
        table: resolve(&parts(name), schema)?,
        schema: schema.clone(),
        alias: last(name),
        work: Work::Delete { selection: None },
        condition: None,
        parameters: 0,
    })
}

/// `SET *` becomes `SET "*" = 0`, `INSERT *` becomes `INSERT ROW`.
fn without_stars(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 2);
    let mut before = Keyword::NoKeyword;
    for token in tokens {
        let span = token.span;
        let mut push = |token| out.push(TokenWithSpan { token, span });
        match (&token.token, before) {
            (Token::Mul, Keyword::SET) => {
                push(Token::Word(Word {
                    value: STAR.to_owned(),
                    quote_style: Some('"'),
                    keyword: Keyword::NoKeyword,
                }));
                push(Token::Eq);
                push(Token::Number("0".to_owned(), false));
            }
            (Token::Mul, Keyword::INSERT) => push(Token::make_keyword("ROW")),
            (other, _) => push(other.clone()),
        }
        before = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
    }
    out
}

fn last(name: &ObjectName) -> String {
    parts(name).last().copied().unwrap_or_default().to_owned()
}

/// The one table that a statement changes, and what it calls it.
fn target(factor: &TableFactor, schema: &str) -> Result<(TableName, String), Fault> {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } => {
            let alias = alias
                .as_ref()
                .map_or_else(|| last(name), |a| a.name.value.clone());
            Ok((resolve(&parts(name), schema)?, alias))
        }
        other => Err(Fault::invalid(
            "syntax_error",
            format!("a table is due, found {other}"),
        )),
    }
}

fn alone(
    table: &TableWithJoins,
    statement: &str,
    schema: &str,
) -> Result<(TableName, String), Fault> {
    if !table.joins.is_empty() {
        return Err(unsupported(&format!(
            "a join in {statement}; use MERGE, or a subquery in WHERE"
        )));
    }
    target(&table.relation, schema)
}

fn update(update: Update, schema: &Arc<str>) -> Result<Dml, Fault> {
    if update.returning.is_some() || update.output.is_some() {
        return Err(unsupported("RETURNING"));
    }
    if update.limit.is_some() || !update.order_by.is_empty() || update.or.is_some() {
        return Err(unsupported("LIMIT, ORDER BY and OR in UPDATE"));
    }
    let (table, alias) = alone(&update.table, "UPDATE", schema)?;
    let set = assignments(update.assignments, &table, &alias)?;
    let Values::Named(set) = set else {
        return Err(Fault::invalid(
            "syntax_error",
            "SET * is for MERGE; name the columns to set",
        ));
    };
    let condition = update.selection.as_ref().map(ToString::to_string);
    if let Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) =
        update.from
    {
        let action = Action::Update(Values::Named(set));
        return Ok(Dml {
            table,
            schema: schema.clone(),
            alias,
            condition,
            work: with_second(from, "FROM", update.selection, action)?,
            parameters: 0,
        });
    }
    Ok(Dml {
        table,
        schema: schema.clone(),
        alias,
        condition,
        work: Work::Update {
            set,
            selection: update.selection,
        },
        parameters: 0,
    })
}

fn delete(delete: Delete, schema: &Arc<str>) -> Result<Dml, Fault> {
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let [from] = from.as_slice() else {
        return Err(unsupported("DELETE from several tables"));
    };
    if !delete.tables.is_empty() {
        return Err(unsupported("DELETE from several tables"));
    }
    if delete.returning.is_some() || delete.output.is_some() {
        return Err(unsupported("RETURNING"));
    }
    if delete.limit.is_some() || !delete.order_by.is_empty() {
        return Err(unsupported("LIMIT and ORDER BY in DELETE"));
    }
    let (table, alias) = alone(from, "DELETE", schema)?;
    let condition = delete.selection.as_ref().map(ToString::to_string);
    if let Some(using) = delete.using {
        return Ok(Dml {
            table,
            schema: schema.clone(),
            alias,
            condition,
            work: with_second(using, "USING", delete.selection, Action::Delete)?,
            parameters: 0,
        });
    }
    Ok(Dml {
        table,
        schema: schema.clone(),
        alias,
        condition,
        work: Work::Delete {
            selection: delete.selection,
        },
        parameters: 0,
    })
}

/// A statement over a second table, as a MERGE has it: what the condition matches.
fn with_second(
    mut tables: Vec<TableWithJoins>,
    word: &str,
    condition: Option<Expr>,
    action: Action,
) -> Result<Work, Fault> {
    let one = tables.pop().filter(|one| one.joins.is_empty());
    let (Some(one), true) = (one, tables.is_empty()) else {
        return Err(unsupported(&format!(
            "several tables behind {word}; join them in a query: {word} (SELECT .. FROM a JOIN b ..) AS s"
        )));
    };
    let mut source = one.relation;
    Ok(Work::Merge(Box::new(Merge {
        called: called(&mut source)?,
        source,
        on: condition.unwrap_or_else(|| Expr::value(Value::Boolean(true))),
        clauses: vec![Clause {
            when: When::Matched,
            condition: None,
            action,
        }],
    })))
}

/// What a statement calls its source.
fn called(source: &mut TableFactor) -> Result<String, Fault> {
    Ok(match source {
        TableFactor::Table { alias, name, .. } => {
            let own = last(name);
            let own = without_mark(&own)
                .map_or(own.as_str(), |(table, _)| table)
                .to_owned();
            alias.as_ref().map_or(own, |a| a.name.value.clone())
        }
        TableFactor::Derived { alias, .. } => alias
            .get_or_insert_with(|| TableAlias {
                explicit: true,
                name: Ident::with_quote('"', UNNAMED),
                columns: Vec::new(),
                at: None,
            })
            .name
            .value
            .clone(),
        other => {
            return Err(unsupported(&format!(
                "rows of {other} as a source; say (SELECT * FROM ..)"
            )));
        }
    })
}

fn merge(merge: datafusion::sql::sqlparser::ast::Merge, schema: &Arc<str>) -> Result<Dml, Fault> {
    if merge.output.is_some() {
        return Err(unsupported("RETURNING"));
    }
    let (table, alias) = target(&merge.table, schema)?;
    let mut source = merge.source;
    let called = called(&mut source)?;
    if merge.clauses.is_empty() {
        return Err(Fault::invalid("syntax_error", "MERGE without WHEN"));
    }
    let clauses = merge
        .clauses
        .into_iter()
        .map(|clause| {
            let when = match clause.clause_kind {
                MergeClauseKind::Matched => When::Matched,
                MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => {
                    When::NotMatched
                }
                MergeClauseKind::NotMatchedBySource => When::NotMatchedBySource,
            };
            let action = match clause.action {
                MergeAction::Delete { .. } => Action::Delete,
                MergeAction::Update(update) => {
                    if update.update_predicate.is_some() || update.delete_predicate.is_some() {
                        return Err(unsupported(
                            "WHERE behind UPDATE SET in MERGE; use WHEN .. AND",
                        ));
                    }
                    Action::Update(assignments(update.assignments, &table, &alias)?)
                }
                MergeAction::Insert(insert) => {
                    if insert.insert_predicate.is_some() {
                        return Err(unsupported("WHERE behind INSERT in MERGE; use WHEN .. AND"));
                    }
                    Action::Insert(inserted(&insert.columns, insert.kind)?)
                }
            };
            Ok(Clause {
                when,
                condition: clause.predicate,
                action,
            })
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    // As in Delta: only the last clause of a kind may have no condition, or those behind it could never apply.
    for (index, clause) in clauses.iter().enumerate() {
        let later = clauses.iter().skip(index + 1);
        if clause.condition.is_none() && later.into_iter().any(|c| c.when == clause.when) {
            return Err(Fault::invalid(
                "syntax_error",
                "only the last WHEN clause of its kind may be without a condition",
            ));
        }
    }
    Ok(Dml {
        table,
        schema: schema.clone(),
        alias,
        condition: Some(merge.on.to_string()),
        work: Work::Merge(Box::new(Merge {
            source,
            called,
            on: *merge.on,
            clauses,
        })),
        parameters: 0,
    })
}

/// `table`, `alias`: what may qualify the columns.
fn assignments(
    assignments: Vec<Assignment>,
    table: &TableName,
    alias: &str,
) -> Result<Values, Fault> {
    let star = |a: &Assignment| matches!(&a.target, AssignmentTarget::ColumnName(name) if last(name) == STAR);
    if let [one] = assignments.as_slice()
        && star(one)
    {
        return Ok(Values::All);
    }
    let pairs = assignments.into_iter().map(|a| match a.target {
        AssignmentTarget::ColumnName(name) if last(&name) != STAR => {
            let parts = parts(&name);
            let [before @ .., _] = parts.as_slice() else {
                return Ok((last(&name), a.value));
            };
            let same = |a: &str, b: &str| a.is_same_name(b);
            let qualifies = match before {
                [] => true,
                [one] => same(one, alias) || same(one, table.table()),
                [.., schema, own] => same(schema, table.schema()) && same(own, table.table()),
            };
            match qualifies {
                true => Ok((last(&name), a.value)),
                false => Err(unsupported(&format!(
                    "SET {name} = ..; a field of a struct is not set alone: set the whole column, as in SET gps = {{'lat': 1, 'lon': 2}}"
                ))),
            }
        }
        other => Err(unsupported(&format!(
            "SET {other} = ..; set one column at a time"
        ))),
    });
    pairs.collect::<Result<_, _>>().map(Values::Named)
}

fn inserted(columns: &[ObjectName], kind: MergeInsertKind) -> Result<Values, Fault> {
    let MergeInsertKind::Values(values) = kind else {
        return if columns.is_empty() {
            Ok(Values::All)
        } else {
            Err(Fault::invalid("syntax_error", "INSERT * takes no columns"))
        };
    };
    let mut rows = values.rows.into_iter();
    let (Some(row), None) = (rows.next(), rows.next()) else {
        return Err(Fault::invalid(
            "syntax_error",
            "INSERT in MERGE takes one row of values",
        ));
    };
    let row: Vec<Expr> = row.content;
    if columns.is_empty() {
        return Ok(Values::InOrder(row));
    }
    if columns.len() != row.len() {
        return Err(Fault::invalid(
            "column_count",
            format!(
                "INSERT names {} columns and gives {} values",
                columns.len(),
                row.len()
            ),
        ));
    }
    Ok(Values::Named(
        columns.iter().map(last).zip(row).collect::<Vec<_>>(),
    ))
}
