//! `WITH d AS (..) DELETE FROM t WHERE id IN (SELECT id FROM d)`, likewise UPDATE and MERGE: each query of the statement is given the
//! names, and a relation that is one of them becomes a query of it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, SetExpr, Statement, TableAlias, TableFactor, VisitorMut, With,
};

use crate::fault::Fault;
use crate::sql::{parse_own, parts, visit_mut};
use crate::types::SameName;

/// The statement behind its WITH, which stands in its queries then.
///
/// # Errors
/// INTERNAL: what is written here is no query.
pub(super) fn given_to_queries(statement: Statement) -> Result<Statement, Fault> {
    let Statement::Query(mut query) = statement else {
        return Ok(statement);
    };
    match (query.with.take(), *query.body) {
        (
            Some(with),
            SetExpr::Delete(mut changes)
            | SetExpr::Update(mut changes)
            | SetExpr::Merge(mut changes),
        ) => {
            let mut giver = Giver {
                with,
                depth: 0,
                fault: None,
            };
            let _ = visit_mut(&mut changes, &mut giver);
            giver.fault.map_or(Ok(changes), Err)
        }
        (with, body) => {
            query.with = with;
            query.body = Box::new(body);
            Ok(Statement::Query(query))
        }
    }
}

struct Giver {
    with: With,
    /// Queries around.
    depth: usize,
    fault: Option<Fault>,
}

impl Giver {
    fn names(&self, name: &ObjectName) -> Option<&Ident> {
        let parts = parts(name);
        let [one] = parts.as_slice() else {
            return None;
        };
        let mut given = self.with.cte_tables.iter().map(|cte| &cte.alias.name);
        given.find(|given| given.value.is_same_name(one))
    }
}

impl VisitorMut for Giver {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.depth == 0 {
            // Names of the query's own count within it, and are not known to those that are given.
            if query.with.is_some() {
                let own = query.clone();
                query.with = None;
                *query.body = SetExpr::Query(Box::new(own));
                query.order_by = None;
                query.limit_clause = None;
                query.fetch = None;
            }
            query.with = Some(self.with.clone());
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let Some(given) = self.names(name).filter(|_| self.depth == 0) else {
            return ControlFlow::Continue(());
        };
        let all = format!("SELECT * FROM {}", Ident::with_quote('"', &given.value));
        let subquery = match parse_own(&all) {
            Ok(Statement::Query(subquery)) => subquery,
            Ok(_) => return ControlFlow::Continue(()),
            Err(fault) => {
                self.fault = Some(fault);
                return ControlFlow::Break(());
            }
        };
        let alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: given.clone(),
            columns: Vec::new(),
            at: None,
        });
        *factor = TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias),
            sample: None,
        };
        ControlFlow::Continue(())
    }
}
