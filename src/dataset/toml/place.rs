//! Where things stand in the file: an error is told with the line of what it is about.

use std::ops::Range;

use toml::Spanned;

use super::super::Error;
use super::{RuleEntry, TableEntry};
use crate::types::{NameError, SameName};

/// The text, for the numbers of its lines.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a>(pub(super) &'a str);

impl Lines<'_> {
    /// The line of a span's start, from 1.
    pub(super) fn number(&self, span: &Range<usize>) -> usize {
        let before = self.0.as_bytes().iter().take(span.start);
        before.filter(|b| **b == b'\n').count() + 1
    }

    pub(super) fn at(&self, span: &Range<usize>, error: Error) -> Error {
        match error {
            Error::At { .. } => error,
            other => Error::At {
                line: self.number(span),
                source: Box::new(other),
            },
        }
    }
}

/// Where the parts of a table stand in the file.
pub(super) struct Place {
    name: Range<usize>,
    event_time: Option<Range<usize>>,
    key: Option<Range<usize>>,
    partition_by: Option<Range<usize>>,
    columns: Vec<(String, Range<usize>)>,
    /// With the names of columns that a rule mentions.
    rules: Vec<(Vec<String>, Range<usize>)>,
}

impl Place {
    pub(super) fn of(entry: &TableEntry) -> Self {
        let rule = |rule: &Spanned<RuleEntry>| {
            let r = rule.get_ref();
            let lists = [&r.unique, &r.monotonic_by];
            let names = lists.into_iter().flatten().flatten().chain(&r.column);
            (names.cloned().collect(), rule.span())
        };
        Place {
            name: entry.name.span(),
            event_time: entry.event_time.as_ref().map(Spanned::span),
            key: entry.key.as_ref().map(Spanned::span),
            partition_by: entry.partition_by.as_ref().map(Spanned::span),
            columns: entry
                .columns
                .iter()
                .map(|c| (c.get_ref().name.clone(), c.span()))
                .collect(),
            rules: entry.rules.iter().map(rule).collect(),
        }
    }

    fn column(&self, name: &str) -> Option<&Range<usize>> {
        let own = |(n, _): &&(String, Range<usize>)| n.is_same_name(name);
        self.columns.iter().rev().find(own).map(|(_, span)| span)
    }

    fn rule(&self, column: &str) -> Option<&Range<usize>> {
        let of = |(names, _): &&(Vec<String>, Range<usize>)| names.iter().any(|n| n == column);
        self.rules.iter().rev().find(of).map(|(_, span)| span)
    }

    /// The part of the table that an error is about; the table's name if none is.
    pub(super) fn find(&self, error: &Error) -> Range<usize> {
        let found = match error {
            Error::Type { column, .. }
            | Error::Nested { column, .. }
            | Error::Twice { column, .. }
            | Error::Needed { column, .. } => self.column(column),
            Error::Reserved { name, .. } => self.column(name),
            Error::Name(NameError { name, .. }) => self.column(name),
            Error::NoColumn { place, column, .. } => match *place {
                "event_time" => self.event_time.as_ref(),
                "key" => self.key.as_ref(),
                "partition_by" => self.partition_by.as_ref(),
                _ => self.rule(column),
            },
            // A rule in short stands with its column.
            Error::Rule { rule, column, .. } => match rule.split(':').next() {
                Some("event_time" | "timezone, time_unit" | "timezone" | "from") => {
                    self.column(column)
                }
                _ => self.rule(column).or_else(|| self.column(column)),
            },
            Error::Toml(_) | Error::At { .. } | Error::Empty(_) | Error::Property { .. } => None,
        };
        found.unwrap_or(&self.name).clone()
    }
}
