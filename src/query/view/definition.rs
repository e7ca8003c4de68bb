//! The query of a materialized view, understood, and what becomes of it when only some of its buckets are wanted.
//!
//! `SELECT .. FROM source [LEFT JOIN dimension ..] [WHERE ..] GROUP BY tumble(ts, '1 minute'), keys ..` becomes the same
//! query over `(SELECT *, <window starts> FROM source WHERE <times of the wanted buckets>)`. A shape is refused (`shape`) if a
//! bucket's rows alone would not decide its result.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, SetExpr, Statement, TableFactor, VisitorMut,
};

use super::START;
use super::columns::{put_columns, put_date};
use super::shape::{bucket_call, bucket_of, check_query, relations, time_of};
use crate::catalog::view::Snapshot;
use crate::dataset::{Bucket, Spans, quoted_span};
use crate::fault::Fault;
use crate::query::functions::rewrite_first_last;
use crate::sql::{parse_one, parse_own, visit_mut};
use crate::types::{SameName, TableName, quote_name};

/// A definition that has been understood.
pub struct Definition {
    /// With the bucket's columns in place of its call, and the source's relation still a table.
    query: Query,
    pub source: TableName,
    pub dimensions: Vec<TableName>,
    pub bucket: Bucket,
    pub time_column: String,
    /// As arrow_cast spells it.
    time_type: &'static str,
    pub start_column: String,
    pub end_column: String,
    /// The SELECT says where `event_date` stands.
    pub dated: bool,
}

impl Definition {
    /// `schema`: where names without one are looked for.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with place and way out; NOT_FOUND for a table that is not there.
    pub fn parse(sql: &str, schema: &str, snapshot: &Snapshot) -> Result<Definition, Fault> {
        let mut statement = parse_one(sql)?;
        qualify(&mut statement, schema);
        rewrite_first_last(&mut statement, snapshot)?;
        let Statement::Query(query) = statement else {
            return Err(Fault::invalid("invalid_view", "a view is a SELECT"));
        };
        let mut query = *query;
        check_query(&query)?;
        let SetExpr::Select(select) = &mut *query.body else {
            return Err(Fault::invalid(
                "invalid_view",
                "a view is one SELECT, without UNION, VALUES and the like",
            ));
        };
        let (source, dimensions) = relations(select, snapshot)?;
        let call = bucket_call(select)?;
        let (time, bucket) = bucket_of(&call)?;
        let (time_column, time_type) = time_of(&time, &call, source)?;
        let dated = put_date(select, &time_column, bucket, source)?;
        let source_has = |name: &str| {
            source
                .schema
                .fields()
                .iter()
                .any(|f| f.name().is_same_name(name))
        };
        let (start_column, end_column) = put_columns(select, &call, bucket, &source_has)?;
        let found = Definition {
            source: source.name.clone(),
            dimensions,
            bucket,
            time_column,
            time_type,
            start_column,
            end_column,
            dated,
            query,
        };
        Ok(found)
    }

    /// The query over the rows of some windows; of all for None.
    ///
    /// # Errors
    /// None that a definition which was understood can cause.
    pub fn statement(&self, spans: Option<&Spans>) -> Result<Statement, Fault> {
        let table = self.source.sql();
        let time = quote_name(&self.time_column);
        let literal = |at: i64| format!("arrow_cast({at}, '{}')", self.time_type);
        // One that reaches beyond what a time can be is no bound.
        let between = |column: &str, (first, end): (i64, i64)| {
            let from = (first > i64::MIN / 8).then(|| format!("{column} >= {}", literal(first)));
            let to = (end < i64::MAX / 8).then(|| format!("{column} < {}", literal(end)));
            let both: Vec<String> = from.into_iter().chain(to).collect();
            if both.is_empty() {
                "true".to_owned()
            } else {
                format!("({})", both.join(" AND "))
            }
        };
        let any = |column: &str, ranges: Vec<(i64, i64)>| {
            let each: Vec<String> = ranges.into_iter().map(|r| between(column, r)).collect();
            if each.is_empty() {
                "false".to_owned()
            } else {
                format!("({})", each.join(" OR "))
            }
        };
        let all = Spans::of([(i64::MIN, i64::MAX)]);
        let spans = spans.unwrap_or(&all);
        let times = Spans::of(spans.iter().map(|s| self.bucket.times(s)));
        let rows = format!(
            "{time} IS NOT NULL AND {}",
            any(&time, times.iter().collect())
        );
        let (step, size) = (quoted_span(self.bucket.step), quoted_span(self.bucket.size));
        let windowed = if self.bucket.step == self.bucket.size {
            format!("SELECT *, tumble({time}, {size}) AS \"{START}\" FROM {table} WHERE {rows}")
        } else {
            format!(
                "SELECT * FROM (SELECT *, unnest(hop({time}, {step}, {size})) AS \"{START}\" FROM {table} WHERE {rows}) WHERE {}",
                any(&format!("\"{START}\""), spans.iter().collect())
            )
        };
        let mut query = self.query.clone();
        if let SetExpr::Select(select) = &mut *query.body
            && let Some(from) = select.from.first_mut()
        {
            let name = match &from.relation {
                TableFactor::Table {
                    alias: Some(alias), ..
                } => alias.name.to_string(),
                _ => quote_name(self.source.table()),
            };
            let derived = parse_own(&format!("SELECT 1 FROM ({windowed}) AS {name}"))?;
            if let Statement::Query(q) = derived
                && let SetExpr::Select(s) = *q.body
                && let Some(made) = s.from.into_iter().next()
            {
                from.relation = made.relation;
            }
        }
        Ok(Statement::Query(Box::new(query)))
    }
}

/// Gives tables without a schema the view's own.
fn qualify(statement: &mut Statement, schema: &str) {
    struct Qualified<'a>(&'a str);
    impl VisitorMut for Qualified<'_> {
        type Break = ();

        fn post_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
            if let [only] = name.0.as_slice()
                && let Some(ident) = only.as_ident()
            {
                *name = ObjectName::from(vec![Ident::with_quote('"', self.0), ident.clone()]);
            }
            ControlFlow::Continue(())
        }
    }
    let _ = visit_mut(statement, &mut Qualified(schema));
}
