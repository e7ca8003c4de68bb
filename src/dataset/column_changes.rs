//! `RENAME COLUMN` and `DROP COLUMN` of a contract: what needs the column, and what becomes of each column.

use std::collections::BTreeSet;

use super::Error;
use super::alter::{Alteration, constraint_name};
use super::column::Column;
use super::contract::Contract;
use super::rule::{Rule, RuleKind};
use crate::types::{ColumnMoves, SameName, quote_name};

/// So many names of a column before are remembered, the newest.
const FORMER_NAMES_MAX: usize = 32;

/// So many names of dropped columns are remembered, the newest.
const DROPPED_NAMES_MAX: usize = 1_000;

/// The part of a contract that needs a column.
struct Need {
    what: String,
    way_out: String,
}

fn names(rule: &Rule, column: &str) -> bool {
    let listed = match &rule.kind {
        RuleKind::Unique { columns } => columns.as_slice(),
        RuleKind::Monotonic { by } => by.as_slice(),
        _ => &[],
    };
    std::iter::once(&rule.column)
        .chain(listed)
        .any(|c| c.is_same_name(column))
}

impl Contract {
    /// The place of a column among those that clients send.
    ///
    /// # Errors
    /// `NoColumn`.
    fn place_of(&self, column: &str, place: &'static str) -> Result<usize, Error> {
        let found = self
            .columns
            .iter()
            .position(|c| c.name.is_same_name(column));
        found.ok_or_else(|| {
            let known: Vec<&str> = self.columns.iter().map(|c| &*c.name).collect();
            Error::NoColumn {
                table: self.table.to_string(),
                column: column.to_owned(),
                place,
                known: known.join(", "),
            }
        })
    }

    /// What else in the contract names the column.
    fn needs(&self, column: &str) -> Option<Need> {
        let another = || {
            "rows that are there were written with it: create another table (CREATE TABLE .. AS SELECT ..)"
                .to_owned()
        };
        let is = |name: &String| name.is_same_name(column);
        let need = |what: &str| Need {
            what: what.to_owned(),
            way_out: another(),
        };
        if self.event_time.as_ref().is_some_and(is) {
            return Some(need("the event time"));
        }
        if self.partition_by.iter().any(is) {
            return Some(need("the partitions"));
        }
        if let Some(rule) = self.rules.iter().find(|rule| names(rule, column)) {
            return Some(Need {
                what: format!("the rule {}", rule.name),
                way_out: format!(
                    "drop the rule first (ALTER TABLE {} DROP CONSTRAINT {}), and add it again afterwards if it is still wanted",
                    self.table,
                    quote_name(&constraint_name(&rule.name))
                ),
            });
        }
        if self.key.iter().any(is) {
            return Some(Need {
                what: "the key".to_owned(),
                way_out: format!(
                    "name another key first (ALTER TABLE {} SET TBLPROPERTIES ('deltaplane.key' = ..))",
                    self.table
                ),
            });
        }
        let made_from =
            |c: &&Column| c.from.as_ref().is_some_and(is) && !c.name.is_same_name(column);
        self.columns.iter().find(made_from).map(|made| Need {
            what: format!("the column {}, whose values come from it,", made.name),
            way_out: format!(
                "let them come from another one first (ALTER TABLE {} SET TBLPROPERTIES ('deltaplane.from.{}' = ..))",
                self.table, made.name
            ),
        })
    }

    fn refuse_if_needed(&self, column: &str, verb: &'static str) -> Result<(), Error> {
        match self.needs(column) {
            Some(need) => Err(Error::Needed {
                table: self.table.to_string(),
                column: column.to_owned(),
                verb,
                by: need.what,
                way_out: need.way_out,
            }),
            None => Ok(()),
        }
    }

    /// Each step is checked: the next one could not tell two columns of one name apart.
    fn refuse_twice(&self, name: &str) -> Result<(), Error> {
        let mut columns = self.columns.iter();
        if columns.any(|c| c.name.is_same_name(name)) {
            return Err(Error::Twice {
                table: self.table.to_string(),
                column: name.to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn add_column(&mut self, column: &Column) -> Result<(), Error> {
        self.refuse_twice(&column.name)?;
        self.columns.push(column.clone());
        Ok(())
    }

    pub(super) fn drop_column(&mut self, column: &str) -> Result<(), Error> {
        let place = self.place_of(column, "DROP COLUMN")?;
        self.refuse_if_needed(column, "dropped")?;
        self.columns.remove(place);
        Ok(())
    }

    pub(super) fn rename_column(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let place = self.place_of(from, "RENAME COLUMN")?;
        self.refuse_if_needed(from, "renamed")?;
        if !from.is_same_name(to) {
            self.refuse_twice(to)?;
        }
        if let Some(column) = self.columns.get_mut(place) {
            to.clone_into(&mut column.name);
        }
        Ok(())
    }

    /// A renamed column takes what is still sent under its name before, also by who sent it to the quarantine, until another column
    /// bears that name.
    pub(super) fn note_former_names(&mut self, moves: &ColumnMoves) {
        for column in &mut self.columns {
            let own = |name: &str| name.is_same_name(&column.name);
            if let Some(was) = moves.origin(&column.name).filter(|was| !own(was)) {
                column.formerly.retain(|name| !name.is_same_name(was));
                column.formerly.push(was.to_owned());
                let beyond = column.formerly.len().saturating_sub(FORMER_NAMES_MAX);
                column.formerly.drain(..beyond);
            }
        }
        let names = self.columns.iter().map(|c| c.name.folded_name());
        let names: BTreeSet<String> = names.collect();
        for column in &mut self.columns {
            let free = |name: &String| !names.contains(&name.folded_name());
            column.formerly.retain(free);
        }
    }

    /// Who sends a name of a dropped column means that one, and none that is given the name afterwards.
    pub(super) fn note_dropped_names(&mut self, before: &Contract, moves: &ColumnMoves) {
        let gone = before.columns.iter();
        let gone = gone.filter(|c| moves.dropped.contains(&c.name));
        for name in gone.flat_map(|c| std::iter::once(&c.name).chain(&c.formerly)) {
            self.dropped.insert(name.folded_name(), self.version);
        }
        while self.dropped.len() > DROPPED_NAMES_MAX {
            let oldest = self.dropped.iter().min_by_key(|(_, version)| **version);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
                break;
            };
            self.dropped.remove(&oldest);
        }
    }

    /// Was a column dropped since the version of a contract that called it so?
    pub fn has_dropped(&self, name: &str, since: u32) -> bool {
        let gone = self.dropped.get(&name.folded_name());
        gone.is_some_and(|version| *version > since)
    }

    /// A column that was dropped since a version of the contract, in lower case.
    pub fn dropped_since(&self, since: u32) -> Option<&str> {
        let mut dropped = self.dropped.iter();
        let (name, _) = dropped.find(|(_, version)| **version > since)?;
        Some(name)
    }

    /// A name that means another column in `next` than it means here: what was sent under it before would be taken for that one.
    /// A column that is added under the name of a dropped one takes what is still sent under it, as an unknown column would.
    pub fn name_taken_over<'a>(&self, next: &'a Contract, moves: &ColumnMoves) -> Option<&'a str> {
        let meant = |name: &str| {
            let mut columns = self.columns.iter();
            let named = columns.find(|c| c.name.is_same_name(name));
            named.or_else(|| {
                let mut columns = self.columns.iter();
                columns.find(|c| c.formerly.iter().any(|f| f.is_same_name(name)))
            })
        };
        let mut names = next.columns.iter().map(|c| c.name.as_str());
        names.find(|name| {
            let origin = moves.origin(name);
            match meant(name) {
                Some(column) => origin != Some(&column.name),
                None => origin.is_some_and(|from| from != *name) && self.has_dropped(name, 0),
            }
        })
    }

    /// What the changes do to the columns that are there by now. The changes are ones that [`Contract::altered`] takes.
    pub fn column_moves(&self, changes: &[Alteration]) -> ColumnMoves {
        let own = self.columns.iter();
        // Names as they are, and as they were before the statement.
        let mut now: Vec<(String, Option<String>)> = own
            .map(|c| (c.name.clone(), Some(c.name.clone())))
            .collect();
        for change in changes {
            match change {
                Alteration::AddColumn(column) => now.push((column.name.clone(), None)),
                Alteration::DropColumn(name) => {
                    now.retain(|(now, _)| !now.is_same_name(name));
                }
                Alteration::RenameColumn { from, to } => {
                    let mut found = now.iter_mut();
                    if let Some((name, _)) = found.find(|(name, _)| name.is_same_name(from)) {
                        to.clone_into(name);
                    }
                }
                Alteration::AddRule(_)
                | Alteration::DropRule(_)
                | Alteration::Describe { .. }
                | Alteration::Set(_) => {}
            }
        }
        let kept = |name: &str| now.iter().any(|(_, was)| was.as_deref() == Some(name));
        let dropped = self.columns.iter().filter(|c| !kept(&c.name));
        let dropped = dropped.map(|c| c.name.clone()).collect();
        let renamed = now
            .iter()
            .filter_map(|(name, was)| Some((was.clone()?, name.clone())))
            .filter(|(was, name)| was != name);
        ColumnMoves {
            renamed: renamed.collect(),
            dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use super::super::{Action, ColumnType};
    use super::*;
    use crate::types::TableName;

    fn table(columns: &[&str]) -> Contract {
        let columns = columns.iter();
        let columns = columns.map(|name| Column::new(*name, ColumnType::Long));
        Contract::plain(TableName::new("public", "t").unwrap(), columns.collect())
    }

    fn rename(from: &str, to: &str) -> Alteration {
        Alteration::RenameColumn {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    fn drop(name: &str) -> Alteration {
        Alteration::DropColumn(name.to_owned())
    }

    fn add(name: &str) -> Alteration {
        Alteration::AddColumn(Column::new(name, ColumnType::Long))
    }

    fn moved(changes: &[Alteration]) -> (Vec<(String, String)>, Vec<String>) {
        let table = table(&["a", "b", "c"]);
        table.altered(changes).unwrap();
        let ColumnMoves { renamed, dropped } = table.column_moves(changes);
        (renamed.into_iter().collect(), dropped.into_iter().collect())
    }

    #[test]
    fn what_becomes_of_each_column_is_what_the_steps_come_to() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(moved(&[add("d")]), (vec![], vec![]));
        assert_eq!(moved(&[rename("A", "x")]), (vec![pair("a", "x")], vec![]));
        assert_eq!(moved(&[rename("a", "A")]), (vec![pair("a", "A")], vec![]));
        let swap = [rename("a", "x"), rename("b", "a"), rename("x", "b")];
        assert_eq!(moved(&swap), (vec![pair("a", "b"), pair("b", "a")], vec![]));
        let again = [drop("a"), add("A")];
        assert_eq!(moved(&again), (vec![], vec!["a".to_owned()]));
        let taken = [drop("b"), rename("a", "b"), add("a")];
        let expected = (vec![pair("a", "b")], vec!["b".to_owned()]);
        assert_eq!(moved(&taken), expected);
        assert_eq!(
            moved(&[rename("a", "x"), rename("x", "a")]),
            (vec![], vec![])
        );
        assert_eq!(moved(&[add("d"), drop("d")]), (vec![], vec![]));
    }

    #[test]
    fn a_name_before_finds_its_column_until_another_one_bears_it() {
        let start = table(&["a", "b", "c"]);
        let formerly = |contract: &Contract| {
            let columns = contract.columns.iter();
            let of = |c: &Column| format!("{}:{}", c.name, c.formerly.join("+"));
            columns.map(of).collect::<Vec<_>>().join(" ")
        };
        let after = |contract: &Contract, changes: &[Alteration]| {
            let next = contract.altered(changes).unwrap();
            let moves = contract.column_moves(changes);
            let taken = contract.name_taken_over(&next, &moves);
            let taken = taken.map(str::to_owned);
            (next, taken)
        };
        let (once, taken) = after(&start, &[rename("a", "x")]);
        assert_eq!((formerly(&once), taken), ("x:a b: c:".to_owned(), None));
        let (twice, taken) = after(&once, &[rename("x", "y"), rename("b", "B")]);
        assert_eq!((formerly(&twice), taken), ("y:a+x B: c:".to_owned(), None));
        let (back, taken) = after(&twice, &[rename("y", "a")]);
        assert_eq!((formerly(&back), taken), ("a:x+y B: c:".to_owned(), None));
        let (added, taken) = after(&twice, &[add("X")]);
        let expected = ("y:a B: c: X:".to_owned(), Some("X".to_owned()));
        assert_eq!((formerly(&added), taken), expected);
        let swap = [rename("a", "t"), rename("b", "a"), rename("t", "b")];
        let (swapped, taken) = after(&start, &swap);
        let expected = ("b: a: c:".to_owned(), Some("b".to_owned()));
        assert_eq!((formerly(&swapped), taken), expected);
        let again = [drop("a"), add("A")];
        assert_eq!(after(&start, &again).1, Some("A".to_owned()));
        assert_eq!(after(&start, &[drop("a"), add("d")]).1, None);
        // It stands in the properties, and is read back.
        let told =
            Contract::from_properties(twice.table.clone(), Vec::new(), &twice.to_properties());
        assert_eq!(told.unwrap(), twice);
    }

    #[test]
    fn what_needs_a_column_is_named_with_the_way_out() {
        let mut contract = table(&["a", "b", "c"]);
        let unique = RuleKind::Unique {
            columns: vec!["a".to_owned(), "b".to_owned()],
        };
        contract.rules.push(Rule::new("a", unique, Action::Reject));
        contract.key = vec!["c".to_owned()];
        let error = |change: Alteration| contract.altered(&[change]).unwrap_err().to_string();
        for change in [drop("B"), rename("b", "x")] {
            let text = error(change);
            assert!(text.contains("the rule unique:a,b"), "{text}");
            assert!(text.contains("DROP CONSTRAINT \"unique_a,b\""), "{text}");
        }
        assert!(error(drop("c")).contains("deltaplane.key"));
        let free = [Alteration::DropRule("unique:a,b".to_owned()), drop("b")];
        assert_eq!(contract.altered(&free).unwrap().columns.len(), 2);
        let from = BTreeMap::from([("deltaplane.from.a".to_owned(), "x".to_owned())]);
        let mut made = table(&["a", "x"]);
        made.set_properties(&from).unwrap();
        let text = made.altered(&[rename("x", "y")]).unwrap_err().to_string();
        assert!(text.contains("the column a"), "{text}");
        assert!(error(drop("nowhere")).contains("a, b, c"));
        // All of them, and names that are taken or that the server fills.
        assert!(table(&["a"]).altered(&[drop("a")]).is_err());
        let mut parts = table(&["a", "b"]);
        parts.partition_by = vec!["b".to_owned()];
        let text = parts.altered(&[drop("a")]).unwrap_err().to_string();
        assert!(text.contains("no partition column"), "{text}");
        let text = parts.altered(&[drop("b")]).unwrap_err().to_string();
        assert!(text.contains("the partitions"), "{text}");
        assert!(made.altered(&[rename("a", "X")]).is_err());
        // By way of a third name, not through a state in which both are called alike.
        assert!(made.altered(&[rename("a", "x"), rename("x", "a")]).is_err());
        assert!(made.altered(&[add("a"), drop("a")]).is_err());
        assert!(made.altered(&[rename("a", "_seq")]).is_err());
    }
}
