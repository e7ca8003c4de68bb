//! `system.alerts`: a row an instance, and a row for an alert that has none.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::error::ArrowError;

use super::Alerts;
use super::machine::Phase;
use crate::clock::Micros;

/// What `/metrics` and the console show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub alerts: usize,
    pub pending: usize,
    pub firing: usize,
    /// Alerts whose last look failed, or that cannot be kept or read.
    pub failing: usize,
    /// News that a webhook has not got.
    pub owed: usize,
}

#[derive(Default)]
struct Row {
    schema: String,
    alert: String,
    instance: Option<String>,
    state: &'static str,
    paused: bool,
    since: Option<Micros>,
    fired_at: Option<Micros>,
    resolved_at: Option<Micros>,
    values: Option<String>,
    last_evaluated: Option<Micros>,
    evaluation_ms: Option<i64>,
    errors: i64,
    last_error: Option<String>,
    pending: i64,
    delivered: i64,
    failed: i64,
    notify_error: Option<String>,
    owner: Option<String>,
    definition: Option<String>,
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Alerts {
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for entry in self.all() {
            let inner = entry.inner.lock();
            let (kept, note) = (&inner.kept, &inner.note);
            totals.alerts += usize::from(!kept.dropped);
            totals.pending += kept.state.count(Phase::Pending);
            totals.firing += kept.state.count(Phase::Firing);
            let failing = note.last_error.is_some() || note.store_error.is_some();
            totals.failing += usize::from(failing);
            for instance in kept.state.instances.values() {
                let notify = kept.declaration.notify.iter();
                totals.owed += notify.filter(|w| instance.owes(w)).count();
            }
        }
        totals.failing += self.damaged.lock().len();
        totals
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for entry in self.all() {
            let inner = entry.inner.lock();
            let (kept, note) = (&inner.kept, &inner.note);
            let alert = &kept.declaration;
            let lost = alert.notify.iter().filter(|w| !self.bells.contains_key(*w));
            let lost = lost.map(|w| format!("{w}: the configuration has no webhook of this name"));
            let problems = note.notify_errors.iter().map(|(w, p)| format!("{w}: {p}"));
            let problems: Vec<String> = lost.chain(problems).collect();
            let row = || Row {
                schema: alert.name.schema().to_owned(),
                alert: alert.name.table().to_owned(),
                last_evaluated: note.last_evaluated,
                evaluation_ms: note
                    .took
                    .map(|t| whole(t.as_millis().try_into().unwrap_or(u64::MAX))),
                errors: whole(note.errors),
                last_error: note
                    .last_error
                    .clone()
                    .or_else(|| note.store_error.as_ref().map(ToString::to_string)),
                notify_error: (!problems.is_empty()).then(|| problems.join("; ")),
                paused: kept.paused,
                owner: Some(kept.principal.clone()),
                definition: (!kept.dropped).then(|| alert.to_ddl()),
                ..Row::default()
            };
            if kept.state.instances.is_empty() {
                rows.push(Row {
                    state: if kept.dropped { "dropped" } else { "inactive" },
                    ..row()
                });
            }
            for (identity, instance) in &kept.state.instances {
                let owed = alert.notify.iter().filter(|w| instance.owes(w)).count();
                let told = || instance.told.values();
                rows.push(Row {
                    instance: Some(identity.clone()),
                    state: instance.phase.word(),
                    since: Some(instance.since),
                    fired_at: instance.fired_at,
                    resolved_at: instance.resolved_at,
                    values: serde_json::to_string(&instance.values).ok(),
                    pending: whole(owed as u64),
                    delivered: whole(told().map(|t| t.delivered).sum()),
                    failed: whole(told().map(|t| t.failed).sum()),
                    ..row()
                });
            }
        }
        for damaged in self.damaged.lock().values() {
            rows.push(Row {
                schema: damaged.name.schema().to_owned(),
                alert: damaged.name.table().to_owned(),
                state: "damaged",
                last_error: Some(damaged.message()),
                ..Row::default()
            });
        }
        rows
    }

    pub fn table(&self) -> Result<RecordBatch, ArrowError> {
        batch(&self.rows())
    }
}

/// The table without rows, which tells its columns.
pub fn empty() -> Result<RecordBatch, ArrowError> {
    batch(&[])
}

fn batch(rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let text = |f: fn(&Row) -> Option<&str>| {
        Arc::new(rows.iter().map(f).collect::<StringArray>()) as ArrayRef
    };
    let time = |f: fn(&Row) -> Option<Micros>| {
        let times = rows.iter().map(f).collect::<TimestampMicrosecondArray>();
        Arc::new(times.with_timezone("UTC")) as ArrayRef
    };
    let number = |f: fn(&Row) -> Option<i64>| {
        Arc::new(rows.iter().map(f).collect::<Int64Array>()) as ArrayRef
    };
    let paused: BooleanArray = rows.iter().map(|r| Some(r.paused)).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("schema", text(|r| Some(&r.schema)), false),
        ("alert", text(|r| Some(&r.alert)), false),
        ("instance", text(|r| r.instance.as_deref()), true),
        ("state", text(|r| Some(r.state)), false),
        ("paused", Arc::new(paused) as ArrayRef, false),
        ("since", time(|r| r.since), true),
        ("fired_at", time(|r| r.fired_at), true),
        ("resolved_at", time(|r| r.resolved_at), true),
        ("row_values", text(|r| r.values.as_deref()), true),
        ("last_evaluated", time(|r| r.last_evaluated), true),
        ("evaluation_ms", number(|r| r.evaluation_ms), true),
        ("errors", number(|r| Some(r.errors)), false),
        ("last_error", text(|r| r.last_error.as_deref()), true),
        ("notifications_pending", number(|r| Some(r.pending)), false),
        (
            "notifications_delivered",
            number(|r| Some(r.delivered)),
            false,
        ),
        ("notifications_failed", number(|r| Some(r.failed)), false),
        ("notify_error", text(|r| r.notify_error.as_deref()), true),
        ("owner", text(|r| r.owner.as_deref()), true),
        ("definition", text(|r| r.definition.as_deref()), true),
    ])
}
