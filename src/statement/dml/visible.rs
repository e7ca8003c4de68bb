//! The names in the expressions of a statement that changes rows: how the query calls the tables, and whose columns a WHEN
//! clause of a MERGE sees.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, TableFactor, Visitor, VisitorMut};

use super::When;
use crate::fault::Fault;
use crate::sql::{parts, printed, visit, visit_mut};
use crate::types::{SameName, shown_name};

/// The one side that a WHEN clause of a MERGE has a row of.
#[derive(Clone, Debug)]
pub(super) struct OneSide {
    clause: &'static str,
    /// The side that has a row.
    seen: Known,
    hidden: Known,
}

impl OneSide {
    /// None: the clause has a row of both sides.
    pub(super) fn of(when: When, target: &Known, source: &Known) -> Option<Self> {
        let (clause, seen, hidden) = match when {
            When::Matched => return None,
            When::NotMatched => ("WHEN NOT MATCHED", source, target),
            When::NotMatchedBySource => ("WHEN NOT MATCHED BY SOURCE", target, source),
        };
        Some(OneSide {
            clause,
            seen: seen.clone(),
            hidden: hidden.clone(),
        })
    }

    fn refused(&self, name: &[Ident]) -> Fault {
        Fault::invalid(
            "column_not_visible",
            format!(
                "{} has no row of {}, name={}; use columns of {} alone",
                self.clause,
                self.hidden.shown(),
                written(name),
                self.seen.shown()
            ),
        )
    }
}

/// How the statement may name a table, and what the query calls it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// `schema.table`, where the statement gives it no other name.
    full: Option<(String, String)>,
    /// What the statement calls it.
    called: String,
    alias: String,
}

impl Known {
    /// `called`: the last part of its name, or an alias.
    pub(super) fn new(full: Option<(&str, &str)>, called: &str, alias: &str) -> Self {
        let full = full.filter(|(_, table)| table.is_same_name(called));
        Known {
            full: full.map(|(schema, table)| (schema.to_owned(), table.to_owned())),
            called: called.to_owned(),
            alias: alias.to_owned(),
        }
    }

    /// How a statement names it that has one name for both tables.
    fn shown(&self) -> String {
        match &self.full {
            Some((schema, table)) if self.called != self.alias => {
                format!("{}.{}", shown_name(schema), shown_name(table))
            }
            _ => self.called.clone(),
        }
    }

    /// Does the name of a column say that it is this table's?
    fn has(&self, before: &[Ident]) -> bool {
        match (before, &self.full) {
            ([table], _) => self.called.is_same_name(&table.value),
            ([.., schema, table], Some((own, name))) => {
                own.is_same_name(&schema.value) && name.is_same_name(&table.value)
            }
            _ => false,
        }
    }
}

/// The text of an expression as the query has it. `schema.table.column` becomes `alias.column`, because the query gives the
/// tables their aliases. Where one side alone is visible, a column without a table is that side's. Names within a subquery
/// stay as they are: they are first of all those of its own FROM.
///
/// # Errors
/// INVALID_ARGUMENT `column_not_visible`: a column of the side that has no row; `ambiguous_name`: both sides have the name.
pub(super) fn text(expr: &Expr, known: &[Known], side: Option<&OneSide>) -> Result<String, Fault> {
    let mut expr = expr.clone();
    let mut names = Names {
        known,
        side,
        subqueries: Vec::new(),
        fault: None,
    };
    let _ = visit_mut(&mut expr, &mut names);
    match names.fault {
        None => Ok(printed(&expr)),
        Some(fault) => Err(fault),
    }
}

struct Names<'a> {
    known: &'a [Known],
    side: Option<&'a OneSide>,
    /// What those around the place that is visited read, in lower case.
    subqueries: Vec<BTreeSet<String>>,
    fault: Option<Fault>,
}

impl Names<'_> {
    /// Does a subquery around the place read something of the name? Then the name is that one's.
    fn reads(&self, called: &str) -> bool {
        let called = called.to_lowercase();
        self.subqueries.iter().any(|read| read.contains(&called))
    }

    /// `other.t.column`, of which the engine would take the schema for said in vain.
    fn is_of_another(&self, before: &[Ident]) -> bool {
        let called = |name: &Ident| {
            let mut known = self.known.iter();
            known.any(|known| known.called.is_same_name(&name.value))
        };
        match before {
            // The first may be a table, and what follows a column with its field.
            [first, .., table] => called(table) && !called(first) && !self.reads(&table.value),
            _ => false,
        }
    }

    fn failed(&mut self, fault: Fault) -> ControlFlow<()> {
        self.fault = Some(fault);
        ControlFlow::Break(())
    }

    fn of_none(&self, name: &[Ident]) -> Fault {
        let called: Vec<String> = self.known.iter().map(Known::shown).collect();
        Fault::invalid(
            "column_not_found",
            format!(
                "no such table in the statement, name={}; the tables are called {}",
                written(name),
                called.join(" and ")
            ),
        )
    }
}

fn written(name: &[Ident]) -> String {
    let name: Vec<&str> = name.iter().map(|part| part.value.as_str()).collect();
    name.join(".")
}

/// What a query and those within it call the tables that they read.
fn read_by(query: &Query) -> BTreeSet<String> {
    struct Read(BTreeSet<String>);
    impl Visitor for Read {
        type Break = ();

        fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
            if let TableFactor::Table { name, alias, .. } = table {
                let own = parts(name).last().copied().unwrap_or_default();
                let called = alias.as_ref().map_or(own, |a| &a.name.value);
                self.0.insert(called.to_lowercase());
            } else if let TableFactor::Derived {
                alias: Some(alias), ..
            } = table
            {
                self.0.insert(alias.name.value.to_lowercase());
            }
            ControlFlow::Continue(())
        }
    }
    let mut read = Read(BTreeSet::new());
    let _ = visit(query, &mut read);
    read.0
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.subqueries.push(read_by(query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.subqueries.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let asked = match &*expr {
            Expr::CompoundIdentifier(idents) => idents.clone(),
            _ => Vec::new(),
        };
        if let Expr::CompoundIdentifier(idents) = expr
            && let [before @ .., _] = asked.as_slice()
        {
            let meant = |known: &&Known| known.has(before) && !self.reads(&known.called);
            let mut known = self.known.iter().filter(meant);
            match (known.next(), known.next()) {
                (Some(_), Some(_)) => return self.failed(of_both(idents)),
                (Some(one), None) if before.len() > 1 || one.called != one.alias => {
                    let table = Ident::with_quote('"', &one.alias);
                    idents.splice(..idents.len() - 1, [table]);
                }
                (None, _) if self.is_of_another(before) => {
                    return self.failed(self.of_none(idents));
                }
                _ => {}
            }
        }
        let Some(side) = self.side.filter(|_| self.subqueries.is_empty()) else {
            return ControlFlow::Continue(());
        };
        match expr {
            Expr::Identifier(column) => {
                let table = Ident::with_quote('"', &side.seen.alias);
                *expr = Expr::CompoundIdentifier(vec![table, column.clone()]);
            }
            Expr::CompoundIdentifier(idents) => {
                if let [table, _] = idents.as_slice()
                    && table.value.is_same_name(&side.hidden.alias)
                    && !side.hidden.alias.is_same_name(&side.seen.alias)
                {
                    return self.failed(side.refused(&asked));
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn of_both(name: &[Ident]) -> Fault {
    Fault::invalid(
        "ambiguous_name",
        format!(
            "both tables have this name, name={}; give one of them another with AS, or write the schema before it",
            written(name)
        ),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql::parse_own_expr;

    fn read(when: When, expr: &str) -> Result<String, Fault> {
        let names = [
            Known::new(None, "t", "t"),
            Known::new(Some(("main", "items")), "Source", "Source"),
        ];
        let side = OneSide::of(when, &names[0], &names[1]);
        text(&parse_own_expr(expr).unwrap(), &names, side.as_ref())
    }

    #[test]
    fn names_without_a_table_are_those_of_the_side_that_has_a_row() {
        for (when, given, expected) in [
            (When::Matched, "a + t.b", "a + t.b"),
            (
                When::NotMatched,
                "\"a\" + B",
                "\"Source\".\"a\" + \"Source\".B",
            ),
            (When::NotMatched, "source.a > 1", "source.a > 1"),
            (When::NotMatchedBySource, "a > 1000", "\"t\".a > 1000"),
            (When::NotMatchedBySource, "t.a.field", "t.a.field"),
            (When::Matched, "main.items.a", "main.items.a"),
            (
                When::NotMatched,
                "a IN (SELECT b FROM x WHERE t.c = b) AND c",
                "\"Source\".a IN (SELECT b FROM x WHERE t.c = b) AND \"Source\".c",
            ),
        ] {
            assert_eq!(read(when, given).unwrap(), expected, "{given}");
        }
    }

    #[test]
    fn a_column_of_the_side_without_a_row_is_refused() {
        for (when, given, word) in [
            (When::NotMatched, "coalesce(T.a, 1)", "columns of Source"),
            (When::NotMatchedBySource, "SOURCE.a > 1", "columns of t"),
        ] {
            let fault = read(when, given).unwrap_err();
            assert_eq!(&*fault.reason, "column_not_visible", "{given}");
            assert!(fault.message.contains(word), "{fault}");
        }
    }

    #[test]
    fn a_name_of_both_tables_is_refused_and_their_whole_names_are_not() {
        let names = [
            Known::new(Some(("main", "t")), "t", "__target"),
            Known::new(Some(("other", "T")), "T", "__source"),
        ];
        let read = |expr: &str| text(&parse_own_expr(expr).unwrap(), &names, None);
        let side = OneSide::of(When::NotMatched, &names[0], &names[1]);
        let hidden = parse_own_expr("other.t.a + Main.T.a").unwrap();
        let fault = text(&hidden, &names, side.as_ref()).unwrap_err();
        assert!(
            fault
                .message
                .contains("no row of main.t, name=Main.T.a; use columns of other.T"),
            "{fault}"
        );
        let whole = read("main.t.a = other.t.a").unwrap();
        assert_eq!(whole, "\"__target\".a = \"__source\".a");
        assert_eq!(&*read("x.main.t.a").unwrap(), "\"__target\".a");
        assert_eq!(&*read("t.a = 1").unwrap_err().reason, "ambiguous_name");
        assert_eq!(
            &*read("third.t.a = 1").unwrap_err().reason,
            "column_not_found"
        );
        // A subquery's own table comes first.
        let own = "main.t.a > (SELECT avg(main.t.a) FROM main.t)";
        let expected = "\"__target\".a > (SELECT avg(main.t.a) FROM main.t)";
        assert_eq!(read(own).unwrap(), expected);
        let around = read("EXISTS (SELECT 1 FROM main.u WHERE u.a = main.t.a)").unwrap();
        assert!(around.ends_with("u.a = \"__target\".a)"), "{around}");
    }
}
