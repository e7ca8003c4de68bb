//! Names that WITH gives. One within a query counts there before one of the same name around it. The planner takes the same name twice
//! for an error, so the inner one gets another name for it, and what is read by that name is called as it is written.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Ident, Query, TableAlias, TableFactor, With};

use super::spellings::Names;
use crate::sql::parts;
use crate::types::SameName;

/// Begins what the planner is told of a name that has another one of the same name around it.
const INNER: &str = "deltaplane.with.";

/// Names that WITH gives, innermost first.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(Option<Arc<One>>);

#[derive(Debug)]
pub(super) struct One {
    name: String,
    /// What the planner is told, if it is another name.
    inner: Option<String>,
    columns: Arc<Names>,
    rest: Given,
}

impl One {
    /// How WITH spells it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn columns(&self) -> Arc<Names> {
        self.columns.clone()
    }
}

impl Given {
    /// One more, of a WITH within `around`.
    pub(super) fn with(&self, around: &Given, with: &With, name: &str, columns: Names) -> Given {
        let others = around.all().filter(|one| one.name.is_same_name(name));
        let depth = others.count();
        let named = with.cte_tables.iter();
        let named = named.filter(|cte| cte.alias.name.value.is_same_name(name));
        // Two of one WITH are an error, which names them.
        let inner = depth > 0 && named.count() == 1;
        Given(Some(Arc::new(One {
            name: name.to_owned(),
            inner: inner.then(|| format!("{INNER}{depth}.{name}")),
            columns: Arc::new(columns),
            rest: self.clone(),
        })))
    }

    fn all(&self) -> impl Iterator<Item = &One> {
        std::iter::successors(self.0.as_deref(), |one| one.rest.0.as_deref())
    }

    pub(super) fn one(&self, name: &str) -> Option<&One> {
        self.all().find(|one| one.name.is_same_name(name))
    }

    /// What the planner knows it by.
    pub(super) fn told(&self, name: &str) -> Option<&str> {
        let one = self.one(name)?;
        Some(one.inner.as_deref().unwrap_or(&one.name))
    }

    /// Gives the names of a query's own WITH as the planner is told them. `self`: what is given within that query.
    pub(super) fn tell(&self, query: &mut Query) {
        for cte in query.with.iter_mut().flat_map(|w| &mut w.cte_tables) {
            let one = self.one(&cte.alias.name.value);
            if let Some(inner) = one.and_then(|one| one.inner.as_deref()) {
                cte.alias.name = Ident::with_quote('"', inner);
            }
        }
    }

    /// Calls what is read of a WITH by its own name, where the planner is told another.
    pub(super) fn call(&self, factor: &mut TableFactor) {
        if let TableFactor::Table {
            name,
            alias: alias @ None,
            args: None,
            ..
        } = factor
            && let [one] = parts(name).as_slice()
            && let Some(one) = self.one(one)
            && one.inner.is_some()
        {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', one.name()),
                columns: Vec::new(),
                at: None,
            });
        }
    }
}

/// The name that is written, of one that the planner was told.
pub(super) fn as_written(told: &str) -> &str {
    let inner = told.strip_prefix(INNER);
    let written = inner.and_then(|inner| inner.split_once('.'));
    written.map_or(told, |(_, written)| written)
}
