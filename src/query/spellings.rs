//! Names as they are spelled, found without regard to case.

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::Fault;
use crate::types::SameName;

/// Spellings by folded name.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<String, BTreeSet<String>>);

impl Names {
    pub(super) fn add(&mut self, name: &str) {
        self.0
            .entry(name.folded_name())
            .or_default()
            .insert(name.to_owned());
    }

    pub(super) fn add_all<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        names.into_iter().for_each(|name| self.add(name));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(String::as_str)
    }

    pub(super) fn spellings(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.0.get(&name.folded_name());
        found.into_iter().flatten().map(String::as_str)
    }
}

impl<'a> FromIterator<&'a str> for Names {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut made = Names::default();
        made.add_all(names);
        made
    }
}

/// An exact match wins, a single match without regard to case is taken, two are an error.
pub(super) fn pick<'a>(
    name: &str,
    spellings: impl Iterator<Item = &'a str>,
) -> Result<Option<&'a str>, Fault> {
    let mut found = BTreeSet::new();
    for spelling in spellings.filter(|s| s.is_same_name(name)) {
        if spelling == name {
            return Ok(Some(spelling));
        }
        found.insert(spelling);
    }
    let mut all = found.iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => Ok(Some(one)),
        _ => {
            let list: Vec<&str> = found.iter().copied().collect();
            Err(Fault::invalid(
                "ambiguous_name",
                format!(
                    "ambiguous name {name}: {}; write it as one of them",
                    list.join(", ")
                ),
            ))
        }
    }
}
