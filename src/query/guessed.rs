//! Types of parameters that nothing tells, of a statement that cannot be planned without them: `sum(?)`, `? + nullif(?, ?)`. Types are
//! tried until it can be planned, so that a driver is told one that fits, and the columns of the result are known.

use std::time::Duration;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::logical_expr::LogicalPlan;
use tokio::time::Instant;

use super::parameters::field;
use super::planner::Planner;

/// Plans that are made with one type of the parameters which are not tried.
const TRIES_MAX: usize = 120;

/// Of more parameters without a type none is guessed, and after this time no more.
const PARAMETERS_MAX: usize = 32;
const PATIENCE: Duration = Duration::from_millis(500);

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// What the other parameters are while some are tried.
fn others() -> [Option<DataType>; 4] {
    [
        None,
        Some(DataType::Float64),
        Some(time()),
        Some(DataType::Utf8),
    ]
}

/// A number comes first as a double, which a driver can bind any number as.
fn guesses() -> [Option<DataType>; 7] {
    [
        Some(DataType::Float64),
        Some(DataType::Int64),
        Some(time()),
        Some(DataType::Date32),
        Some(DataType::Utf8),
        Some(DataType::Boolean),
        None,
    ]
}

/// `told`: the types of the parameters, in order, as far as they are told.
pub(super) fn guessed(planner: &Planner<'_>, told: &[Option<FieldRef>]) -> Option<LogicalPlan> {
    if told.iter().filter(|field| field.is_none()).count() > PARAMETERS_MAX {
        return None;
    }
    let until = Instant::now() + PATIENCE;
    others().iter().find_map(|other| {
        let mut search = Search {
            planner,
            told,
            fields: told.to_vec(),
            settled: vec![false; told.len()],
            tries: 0,
            until,
        };
        for at in 0..told.len() {
            search.put(at, other);
        }
        let before = search.problem();
        let found = match &before {
            None => true,
            Some(_) if search.is_over(usize::MAX) => false,
            // Mostly one of them is enough.
            Some(before) => {
                (0..told.len()).any(|at| search.is_enough(at, other)) || search.from(other, before)
            }
        };
        found.then(|| search.fewest()).flatten()
    })
}

/// An error's text without the types in it.
pub(super) fn without_types(said: &str) -> String {
    let types = [
        "Timestamp(µs, \"UTC\")",
        "Timestamp(µs)",
        "Utf8View",
        "Utf8",
        "Null",
        "Float64",
        "Int64",
        "Date32",
        "Boolean",
    ];
    types
        .iter()
        .fold(said.to_owned(), |said, name| said.replace(name, "?"))
}

struct Search<'a> {
    planner: &'a Planner<'a>,
    told: &'a [Option<FieldRef>],
    fields: Vec<Option<FieldRef>>,
    /// The parameters whose types are not tried any more.
    settled: Vec<bool>,
    tries: usize,
    until: Instant,
}

impl Search<'_> {
    /// Whether more than so many plans were made, or the time is over.
    fn is_over(&self, tries: usize) -> bool {
        self.tries > tries || Instant::now() >= self.until
    }

    /// Gives a parameter a type, unless it is told one.
    fn put(&mut self, at: usize, data_type: &Option<DataType>) {
        if let Some(place) = self.fields.get_mut(at)
            && self.told.get(at).is_some_and(Option::is_none)
        {
            *place = data_type.clone().map(|t| field(at + 1, t));
        }
    }

    /// Why the statement cannot be planned, but for the types in the error, which differ from guess to guess.
    fn problem(&mut self) -> Option<String> {
        self.tries += 1;
        let error = self.planner.plan(self.fields.clone()).err()?;
        Some(without_types(&error.to_string()))
    }

    /// Whether there is a type of this parameter alone with which the statement can be planned.
    fn is_enough(&mut self, at: usize, other: &Option<DataType>) -> bool {
        if self.told.get(at).is_none_or(Option::is_some) || self.is_over(TRIES_MAX / 2) {
            return false;
        }
        for guess in guesses() {
            self.put(at, &guess);
            if self.problem().is_none() {
                return true;
            }
        }
        self.put(at, other);
        false
    }

    /// Tries the parameters that are not settled. A type after which the planner meets another problem has solved the one before,
    /// or made a new one: what the others solve tells which.
    fn from(&mut self, other: &Option<DataType>, before: &str) -> bool {
        for at in 0..self.told.len() {
            let is_told = self.told.get(at).is_none_or(Option::is_some);
            if is_told || self.settled.get(at).is_none_or(|settled| *settled) {
                continue;
            }
            for guess in guesses() {
                if self.is_over(TRIES_MAX) {
                    return false;
                }
                self.put(at, &guess);
                let Some(found) = self.problem() else {
                    return true;
                };
                if found != before {
                    self.settle(at, true);
                    if self.from(other, &found) {
                        return true;
                    }
                    self.settle(at, false);
                }
            }
            self.put(at, other);
        }
        false
    }

    fn settle(&mut self, at: usize, settled: bool) {
        if let Some(place) = self.settled.get_mut(at) {
            *place = settled;
        }
    }

    /// The plan in which only those parameters have a guessed type that need it: the planner asks the neighbours of the others.
    fn fewest(&mut self) -> Option<LogicalPlan> {
        let mut plan = self.planner.plan(self.fields.clone()).ok();
        for at in 0..self.told.len() {
            if self.is_over(usize::MAX) {
                break;
            }
            let guess = self.fields.get(at).cloned().flatten();
            self.put(at, &None);
            match self.planner.plan(self.fields.clone()) {
                Ok(planned) => plan = Some(planned),
                Err(_) => self.put(at, &guess.map(|g| g.data_type().clone())),
            }
        }
        plan
    }
}
