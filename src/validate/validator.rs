//! A contract, compiled: where its columns are found, its rules with their bounds, lists and patterns. The order in which a
//! batch is judged stands here and nowhere else, and what comes out is the one type that goes on to the log or a commit.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use super::apply::{Applied, Origin, change, unfit, without};
use super::conform::Names;
use super::findings::{Findings, Out, Room};
use super::keys::{Additions, Candidates, History};
use super::quarantine;
use super::rules::Check;
use super::verdict::Verdict;
use super::{References, Scope};
use crate::dataset::{Action, Contract, Rule, RuleKind};
use crate::fault::{Fault, Kind};
use crate::threads;

/// Judges batches by one contract.
pub struct Validator {
    contract: Arc<Contract>,
    names: Names,
    targets: Vec<DataType>,
    /// For each column, the one of the contract that it says it comes from.
    origins: Vec<Option<usize>>,
    table_schema: SchemaRef,
    event_time: Option<usize>,
    /// A rule of the contract's own says how far ahead an event time may be, or how far behind.
    own_future: bool,
    own_past: bool,
    /// Rules about values alone, then those about lateness, each kind in the contract's order.
    checks: Vec<Check>,
    late: Vec<Check>,
    history: Vec<History>,
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Validator({}, version={})",
            self.contract.table, self.contract.version
        )
    }
}

/// A batch that has been judged: what goes to the table, what to its quarantine, and why. Only a [`Validator`] makes one.
#[derive(Default)]
pub struct Validated {
    rows: Applied,
    verdict: Verdict,
    additions: Additions,
    bytes: usize,
}

impl Validated {
    /// Of a batch that has a number and no rows.
    pub fn nothing() -> Self {
        Validated::default()
    }

    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// About what was made for it, in bytes, beside what was sent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows, the verdict, and what the table's keys learn once the rows have their place in the log or a commit.
    pub fn into_parts(self) -> (Applied, Verdict, Additions) {
        (self.rows, self.verdict, self.additions)
    }
}

impl Validator {
    pub fn new(contract: Arc<Contract>) -> Self {
        let position = |name: &String| contract.columns.iter().position(|c| c.name == *name);
        let event_time = contract.event_time.as_ref().and_then(position);
        let of_event_time = |is: fn(&Rule) -> bool| {
            let mut rules = contract.rules.iter();
            rules.any(|r| Some(&r.column) == contract.event_time.as_ref() && is(r))
        };
        let own_future = of_event_time(|r| matches!(r.kind, RuleKind::MaxFuture { .. }));
        // One that only counts late rows keeps none out.
        let own_past = of_event_time(|r| {
            matches!(r.kind, RuleKind::MaxLate { .. })
                && matches!(r.action, Action::Reject | Action::Fail)
        });
        let checks = contract
            .rules
            .iter()
            .filter_map(|r| Check::of(&contract, r));
        let (late, checks) = checks.partition(Check::is_late);
        let columns = contract.columns.iter();
        Validator {
            names: Names::of(&contract),
            targets: columns.clone().map(|c| c.data_type.to_arrow()).collect(),
            origins: columns
                .map(|c| c.from.as_ref().and_then(position))
                .collect(),
            table_schema: contract.table_schema(),
            event_time,
            own_future,
            own_past,
            checks,
            late,
            history: contract
                .rules
                .iter()
                .filter_map(|r| History::of(&contract, r))
                .collect(),
            contract,
        }
    }

    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// Has the contract rules that look at earlier rows?
    pub fn needs_history(&self) -> bool {
        !self.history.is_empty()
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The type that a column of the contract has in the table.
    pub(super) fn target(&self, column: usize) -> &DataType {
        self.targets.get(column).unwrap_or(&DataType::Null)
    }

    pub(super) fn origin(&self, column: usize) -> Option<usize> {
        self.origins.get(column).copied().flatten()
    }

    pub(super) fn table_schema(&self) -> &SchemaRef {
        &self.table_schema
    }

    pub(super) fn event_time(&self) -> Option<usize> {
        self.event_time
    }

    pub(super) fn has_own_future(&self) -> bool {
        self.own_future
    }

    pub(super) fn has_own_past(&self) -> bool {
        self.own_past
    }

    pub(super) fn history(&self) -> &[History] {
        &self.history
    }

    /// Judges a batch, in this order: its shape and types; event times, nulls and the rules about values; the rules about
    /// earlier rows, for what is accepted so far; lateness. Then it makes the rows. A row is rejected once, with every rule
    /// that it broke up to the stage that rejected it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the batch as a whole breaks the contract, or a row a rule with action `fail`. RESOURCE_EXHAUSTED
    /// `batch_too_large`: what it would become takes more than `scope` allows. Nothing of the batch may be written then.
    pub fn judge(
        &self,
        sent: &RecordBatch,
        origin: &Origin<'_>,
        references: &References,
        scope: Scope<'_>,
    ) -> Result<Validated, Fault> {
        let made = self.made_bytes(sent);
        // A large batch must not hold up the streams of everybody else.
        threads::step_aside_if(threads::is_long(sent.num_rows(), made), || {
            self.judge_here(sent, made, origin, references, scope)
        })
    }

    /// `made`: of [`Validator::made_bytes`].
    fn judge_here(
        &self,
        sent: &RecordBatch,
        made: usize,
        origin: &Origin<'_>,
        references: &References,
        scope: Scope<'_>,
    ) -> Result<Validated, Fault> {
        let now = origin.ingest_ts;
        let rows = sent.num_rows();
        let mut room = Room::new(scope.bytes_max);
        if !room.take(made) {
            return Err(self.too_large(sent, made, scope.bytes_max));
        }
        let mut findings = Findings::new(sent, room);

        // What can be said of the values alone.
        let sent_columns = self.conform(sent, now, &mut findings)?;
        self.event_times(&sent_columns, now, &mut findings)?;
        self.not_null(&sent_columns, &mut findings)?;
        for check in &self.checks {
            check.run(&sent_columns, now, references, &mut findings)?;
        }
        let mut columns = sent_columns.clone();
        change(&mut columns, findings.cells()).map_err(unfit)?;
        let changed = findings.changed();

        // What needs earlier rows, of those that are left.
        let mut out = findings.out();
        let mut left: Option<Vec<ArrayRef>> = None;
        let mut additions = Additions::default();
        if let Some(keys) = scope.keys
            && out.len() < rows
        {
            let candidates = without(&columns, rows, &out).map_err(unfit)?;
            let positions = out.positions(u32::try_from(rows).unwrap_or(u32::MAX));
            let candidates_of = Candidates {
                columns: &candidates,
                positions: &positions,
            };
            additions = keys.check(self, &candidates_of, &mut findings)?;
            left = Some(candidates);
        }

        // What came too late.
        if scope.lateness {
            for check in &self.late {
                check.run(&sent_columns, now, references, &mut findings)?;
            }
        }
        if findings.changed() > changed {
            columns = sent_columns;
            change(&mut columns, findings.cells()).map_err(unfit)?;
            left = None;
        }
        let now_out = findings.out();
        if now_out != out {
            left = None;
            out = now_out;
        }
        let (verdict, bytes) = findings.verdict(u32::try_from(rows).unwrap_or(u32::MAX));

        // The rows themselves.
        let event_time = self.event_time.and_then(|index| columns.get(index));
        let rejected =
            quarantine::rows(sent, &verdict.rejected, origin, event_time, scope.bytes_max)?;
        let left = match left {
            Some(left) => left,
            None if out.len() >= rows => Vec::new(),
            None => without(&columns, rows, &out).map_err(unfit)?,
        };
        let accepted = self.accepted(left, rows.saturating_sub(out.len()), origin)?;
        Ok(Validated {
            rows: Applied { accepted, rejected },
            verdict,
            additions: additions.without(&out),
            bytes,
        })
    }

    /// The rows of a batch by a verdict that stands in the log: nothing is judged again.
    ///
    /// # Errors
    /// `Internal`: the batch and the verdict do not belong together.
    pub fn replay(
        &self,
        sent: &RecordBatch,
        origin: &Origin<'_>,
        verdict: &Verdict,
    ) -> Result<Applied, Fault> {
        let mut columns = self.conform(sent, origin.ingest_ts, &mut Findings::ignored(sent))?;
        let cells = verdict.nulled.iter().chain(&verdict.clamped);
        change(&mut columns, cells).map_err(unfit)?;
        let out = Out::of(verdict);
        let event_time = self.event_time.and_then(|index| columns.get(index));
        let rejected = quarantine::rows(sent, &verdict.rejected, origin, event_time, usize::MAX)?;
        let rows = sent.num_rows();
        let left = without(&columns, rows, &out).map_err(unfit)?;
        let accepted = self.accepted(left, rows.saturating_sub(out.len()), origin)?;
        Ok(Applied { accepted, rejected })
    }

    fn too_large(&self, sent: &RecordBatch, bytes: usize, limit: usize) -> Fault {
        Fault::new(
            Kind::Exhausted,
            "batch_too_large",
            format!(
                "batch too large for memory once it has the columns and types of the table, rows={}, columns={}, bytes={bytes}, limit={limit}; send fewer rows at a time, or raise limits.batch_memory_max",
                sent.num_rows(),
                self.contract.columns.len()
            ),
        )
    }
}
