//! Which table a name means, and the numbers that tables get.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lifecycle::life_of;
use super::table::Table;
use crate::types::{Incarnation, TableName};

/// The tables by folded name, and the incarnations given so far. Written by `lifecycle` and `recover` only.
#[derive(Default)]
pub struct Registry {
    pub(super) tables: BTreeMap<TableName, Arc<Table>>,
    /// How often a folded name was created: its folders are `name`, `name~2`, ..
    pub(super) lives: BTreeMap<TableName, u64>,
    pub(super) next_incarnation: u64,
}

impl Registry {
    pub fn insert(&mut self, table: Arc<Table>) {
        let folded = table.name().folded();
        let life = life_of(&table.folder);
        let lives = self.lives.entry(folded.clone()).or_default();
        *lives = (*lives).max(life);
        self.next_incarnation = self.next_incarnation.max(table.incarnation.get() + 1);
        self.tables.insert(folded, table);
    }

    pub fn remove(&mut self, table: &Table) {
        let folded = table.name().folded();
        if self
            .tables
            .get(&folded)
            .is_some_and(|t| t.incarnation == table.incarnation)
        {
            self.tables.remove(&folded);
        }
    }

    /// The table has another name than `from`.
    pub fn rename(&mut self, table: &Arc<Table>, from: &TableName) {
        let from = from.folded();
        let is_this = |t: &Arc<Table>| t.incarnation == table.incarnation;
        if self.tables.get(&from).is_some_and(is_this) {
            self.tables.remove(&from);
        }
        self.tables.insert(table.name().folded(), table.clone());
    }

    /// The next incarnation, given once, and the life of its name that it will at least be.
    pub(super) fn next_life(&mut self, name: &TableName) -> (Incarnation, u64) {
        let incarnation = self.next_incarnation.max(1);
        self.next_incarnation = incarnation + 1;
        let lives = self.lives.get(&name.folded()).copied().unwrap_or(0);
        (Incarnation::new(incarnation), lives + 1)
    }

    pub fn restore(&mut self, lives: Vec<(TableName, u64)>, next_incarnation: u64) {
        self.lives = lives.into_iter().collect();
        self.next_incarnation = next_incarnation;
    }
}
