//! Clauses that the parser takes and that nobody here would act on. They are refused: `DELETE .. WHERE id IN (SELECT .. TABLESAMPLE
//! (1 PERCENT))` may not delete all rows. The trees are taken apart field by field, so that a clause which a new version of the
//! parser knows does not compile until someone has decided on it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    GroupByExpr, Join, Query, Select, Statement, TableAlias, TableFactor, TableFunctionArgs,
    TableWithJoins, Visitor, WildcardAdditionalOptions,
};
use datafusion::sql::sqlparser::ast::{SelectItem, SelectItemQualifiedWildcardKind};

use super::visit::visit;
use crate::fault::{Fault, Kind};

/// # Errors
/// UNIMPLEMENTED `not_implemented` with the clause; INVALID_ARGUMENT `syntax_error` for an alias that is meant as a version.
pub(super) fn check(statement: &Statement) -> Result<(), Fault> {
    let mut checker = Checker(None);
    let _ = visit(statement, &mut checker);
    checker.0.map_or(Ok(()), Err)
}

/// The first fault that was found.
struct Checker(Option<Fault>);

impl Visitor for Checker {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.flow(of_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.flow(of_select(select))
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        self.flow(of_table(table))
    }
}

impl Checker {
    fn flow(&mut self, checked: Result<(), Fault>) -> ControlFlow<()> {
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                self.0 = Some(fault);
                ControlFlow::Break(())
            }
        }
    }
}

/// `there`: whether the statement has the clause.
fn none(there: bool, clause: &str, way_out: &str) -> Result<(), Fault> {
    if !there {
        return Ok(());
    }
    let way_out = match way_out {
        "" => "leave it out".to_owned(),
        other => other.to_owned(),
    };
    Err(Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!("{clause} is not supported; {way_out}"),
    ))
}

fn of_query(query: &Query) -> Result<(), Fault> {
    let Query {
        with: _,
        body: _,
        order_by: _,
        limit_clause: _,
        fetch: _,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators: _,
    } = query;
    none(
        !locks.is_empty(),
        "FOR UPDATE and FOR SHARE",
        "a query sees one state of its tables and locks nothing",
    )?;
    none(for_clause.is_some(), "FOR XML, FOR JSON and FOR BROWSE", "")?;
    none(settings.is_some(), "SETTINGS", "")?;
    none(format_clause.is_some(), "FORMAT", "")
}

fn of_select(select: &Select) -> Result<(), Fault> {
    let Select {
        select_token: _,
        // A comment.
        optimizer_hints: _,
        distinct: _,
        select_modifiers,
        top,
        top_before_distinct: _,
        projection,
        exclude: _,
        into,
        from,
        lateral_views,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        cluster_by,
        distribute_by,
        sort_by,
        having: _,
        named_window: _,
        qualify: _,
        window_before_qualify: _,
        value_table_mode,
        flavor: _,
    } = select;
    none(select_modifiers.is_some(), "a modifier of SELECT", "")?;
    none(top.is_some(), "TOP", "say LIMIT at the end of the query")?;
    none(
        into.is_some(),
        "SELECT INTO",
        "say CREATE TABLE .. AS SELECT",
    )?;
    none(!lateral_views.is_empty(), "LATERAL VIEW", "")?;
    none(prewhere.is_some(), "PREWHERE", "say WHERE")?;
    none(!connect_by.is_empty(), "CONNECT BY", "say WITH RECURSIVE")?;
    none(!cluster_by.is_empty(), "CLUSTER BY", "")?;
    none(!distribute_by.is_empty(), "DISTRIBUTE BY", "")?;
    none(!sort_by.is_empty(), "SORT BY", "say ORDER BY")?;
    none(value_table_mode.is_some(), "AS STRUCT and AS VALUE", "")?;
    let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
    none(
        !modifiers.is_empty(),
        "WITH ROLLUP, WITH CUBE and WITH TOTALS",
        "say GROUP BY ROLLUP (..), CUBE (..) or GROUPING SETS (..)",
    )?;
    for item in projection {
        match item {
            SelectItem::Wildcard(options) => of_wildcard(options)?,
            SelectItem::QualifiedWildcard(kind, options) => {
                match kind {
                    SelectItemQualifiedWildcardKind::ObjectName(_)
                    | SelectItemQualifiedWildcardKind::Expr(_) => {}
                }
                of_wildcard(options)?;
            }
            SelectItem::UnnamedExpr(_)
            | SelectItem::ExprWithAlias { .. }
            | SelectItem::ExprWithAliases { .. } => {}
        }
    }
    from.iter().try_for_each(of_joins)
}

fn of_joins(table: &TableWithJoins) -> Result<(), Fault> {
    let TableWithJoins { relation: _, joins } = table;
    for Join {
        relation: _,
        global,
        join_operator: _,
    } in joins
    {
        none(*global, "GLOBAL JOIN", "say JOIN")?;
    }
    Ok(())
}

fn of_wildcard(options: &WildcardAdditionalOptions) -> Result<(), Fault> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike,
        opt_exclude: _,
        opt_except: _,
        opt_replace: _,
        opt_rename,
        opt_alias,
    } = options;
    none(opt_ilike.is_some(), "* ILIKE", "name the columns")?;
    none(opt_rename.is_some(), "* RENAME", "name the columns with AS")?;
    none(opt_alias.is_some(), "an alias of *", "")
}

fn of_table(table: &TableFactor) -> Result<(), Fault> {
    match table {
        TableFactor::Table {
            name: _,
            alias,
            args,
            with_hints,
            // Read before, from the text.
            version: _,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            of_alias(alias.as_ref())?;
            if let Some(TableFunctionArgs { args: _, settings }) = args {
                none(settings.is_some(), "SETTINGS of a table function", "")?;
            }
            none(!with_hints.is_empty(), "a hint of a table", "")?;
            none(
                *with_ordinality,
                "WITH ORDINALITY",
                "say row_number() OVER ()",
            )?;
            none(
                !partitions.is_empty(),
                "PARTITION behind a table",
                "say WHERE with the partition's values",
            )?;
            none(json_path.is_some(), "a path behind a table", "")?;
            none(!index_hints.is_empty(), "a hint of an index", "")?;
            sampled(sample.is_some())
        }
        TableFactor::Derived {
            lateral: _,
            subquery: _,
            alias,
            sample,
        } => {
            of_alias(alias.as_ref())?;
            sampled(sample.is_some())
        }
        TableFactor::TableFunction { expr: _, alias } => of_alias(alias.as_ref()),
        TableFactor::Function {
            lateral: _,
            name: _,
            args: _,
            with_ordinality,
            alias,
        } => {
            of_alias(alias.as_ref())?;
            none(
                *with_ordinality,
                "WITH ORDINALITY",
                "say row_number() OVER ()",
            )
        }
        TableFactor::UNNEST {
            alias,
            array_exprs: _,
            with_offset,
            with_offset_alias: _,
            with_ordinality,
        } => {
            of_alias(alias.as_ref())?;
            none(*with_offset, "WITH OFFSET", "")?;
            none(
                *with_ordinality,
                "WITH ORDINALITY",
                "say row_number() OVER ()",
            )
        }
        TableFactor::NestedJoin {
            table_with_joins,
            alias,
        } => {
            of_joins(table_with_joins)?;
            of_alias(alias.as_ref())
        }
        // The engine refuses these by itself.
        TableFactor::JsonTable { .. }
        | TableFactor::OpenJsonTable { .. }
        | TableFactor::Pivot { .. }
        | TableFactor::Unpivot { .. }
        | TableFactor::MatchRecognize { .. }
        | TableFactor::XmlTable { .. }
        | TableFactor::SemanticView { .. } => Ok(()),
    }
}

fn sampled(there: bool) -> Result<(), Fault> {
    none(
        there,
        "TABLESAMPLE",
        "say WHERE random() < 0.01 for one row in a hundred",
    )
}

/// `t @v1` and `t AS @v1` look like a version and would be another name of the newest rows.
fn of_alias(alias: Option<&TableAlias>) -> Result<(), Fault> {
    let Some(TableAlias {
        explicit: _,
        name,
        columns: _,
        at,
    }) = alias
    else {
        return Ok(());
    };
    none(at.is_some(), "AT behind an alias", "")?;
    if name.quote_style.is_none() && name.value.starts_with('@') {
        return Err(Fault::invalid(
            "syntax_error",
            format!(
                "{} stands where an alias does, and looks like a version; write it to the table's name without a space, or within one pair of quotes as in \"t@v1\", or say VERSION AS OF",
                name.value
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::parse_one;

    #[test]
    fn what_nobody_would_act_on_is_refused() {
        let mut taken = Vec::new();
        for (sql, named) in [
            ("SELECT * FROM t TABLESAMPLE BERNOULLI (10)", "TABLESAMPLE"),
            ("SELECT * FROM t TABLESAMPLE (1 PERCENT)", "TABLESAMPLE"),
            (
                "SELECT * FROM (SELECT 1) q TABLESAMPLE (5 ROWS)",
                "TABLESAMPLE",
            ),
            (
                "DELETE FROM t WHERE id IN (SELECT id FROM t TABLESAMPLE (1 PERCENT))",
                "TABLESAMPLE",
            ),
            (
                "CREATE TABLE u AS SELECT * FROM t TABLESAMPLE (1 PERCENT)",
                "TABLESAMPLE",
            ),
            ("SELECT * FROM t PREWHERE id < 3", "PREWHERE"),
            (
                "SELECT * FROM t START WITH id = 1 CONNECT BY PRIOR id = id + 1",
                "CONNECT BY",
            ),
            (
                "SELECT k, count(*) FROM t GROUP BY k WITH ROLLUP",
                "GROUP BY ROLLUP",
            ),
            (
                "SELECT k, count(*) FROM t GROUP BY ALL WITH TOTALS",
                "WITH TOTALS",
            ),
            ("SELECT * FROM t PARTITION (p0)", "PARTITION"),
            ("SELECT * ILIKE '%k%' FROM t", "ILIKE"),
            ("SELECT t.* ILIKE '%k%' FROM t", "ILIKE"),
            ("SELECT * FROM t WITH ORDINALITY", "ORDINALITY"),
            ("SELECT * FROM t LIMIT 2 FOR UPDATE", "FOR UPDATE"),
            ("SELECT * FROM t FOR SHARE SKIP LOCKED", "FOR SHARE"),
            ("SELECT * FROM t FOR JSON AUTO", "FOR JSON"),
            ("SELECT * FROM t SETTINGS max_threads = 1", "SETTINGS"),
            ("SELECT * FROM t FORMAT JSON", "FORMAT"),
            ("SELECT * FROM t WITH (NOLOCK)", "hint"),
            (
                "SELECT * FROM t GLOBAL JOIN u ON t.id = u.id",
                "GLOBAL JOIN",
            ),
            (
                "SELECT * FROM (t GLOBAL JOIN u ON t.id = u.id)",
                "GLOBAL JOIN",
            ),
            (
                "SELECT * FROM t JOIN (u a GLOBAL JOIN u b ON a.id = b.id) ON t.id = a.id",
                "GLOBAL JOIN",
            ),
            ("SELECT * INTO u FROM t", "SELECT INTO"),
            ("SELECT TOP 3 * FROM t", "TOP is not"),
            ("SELECT * FROM t LATERAL VIEW explode(x) v", "LATERAL VIEW"),
            ("SELECT * FROM t CLUSTER BY k", "CLUSTER BY"),
            ("SELECT * FROM t DISTRIBUTE BY k", "DISTRIBUTE BY"),
            ("SELECT * FROM t SORT BY k", "SORT BY"),
            ("SELECT * RENAME (k AS l) FROM t", "RENAME"),
            ("SELECT * FROM f(1, SETTINGS a = 1)", "SETTINGS"),
            ("SELECT * FROM f(1) WITH ORDINALITY", "ORDINALITY"),
            ("SELECT * FROM UNNEST([1]) WITH OFFSET", "OFFSET"),
            ("SELECT * FROM UNNEST([1]) WITH ORDINALITY", "ORDINALITY"),
            ("SELECT * FROM t FOR XML AUTO", "FOR XML"),
            ("SELECT * FROM t FOR BROWSE", "FOR BROWSE"),
            ("SELECT * FROM t AS @v1", "VERSION AS OF"),
            ("SELECT * FROM t @v1", "VERSION AS OF"),
        ] {
            match parse_one(sql) {
                Ok(_) => taken.push(sql),
                Err(fault) => assert!(fault.to_string().contains(named), "{sql}: {fault}"),
            }
        }
        assert!(taken.is_empty(), "{taken:#?}");
    }

    #[test]
    fn what_is_acted_on_is_let_through() {
        for sql in [
            "SELECT * EXCLUDE (k) FROM t AS \"@v1\" WHERE id > (SELECT max(id) FROM t) LIMIT 3",
            "SELECT DISTINCT ON (k) k, t.* REPLACE (1 AS id) FROM t JOIN LATERAL (SELECT 1) q ON true",
            "WITH a AS (SELECT 1) SELECT * FROM a, UNNEST([1, 2]) AS u(x) GROUP BY ROLLUP (x)",
            "SELECT * FROM \"t@v1\"",
        ] {
            parse_one(sql).unwrap();
        }
    }
}
