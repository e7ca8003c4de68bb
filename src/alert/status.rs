//! `system.alerts`: a row an instance, and a row for an alert that has none.

use std::sync::Arc;

use super::Alerts;
use super::machine::Phase;
use crate::clock::Micros;
use crate::system_table::{Columns, SystemTable};

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
}

/// Those of `alerts`; none before alerts are looked at.
pub fn table(alerts: impl Fn() -> Option<Arc<Alerts>> + Send + Sync + 'static) -> SystemTable {
    let columns = Columns::<Row>::default()
        .text("schema", |r| &r.schema)
        .text("alert", |r| &r.alert)
        .maybe_text("instance", |r| r.instance.as_deref())
        .text("state", |r| r.state)
        .flag("paused", |r| r.paused)
        .maybe_instant("since", |r| r.since)
        .maybe_instant("fired_at", |r| r.fired_at)
        .maybe_instant("resolved_at", |r| r.resolved_at)
        .maybe_text("row_values", |r| r.values.as_deref())
        .maybe_instant("last_evaluated", |r| r.last_evaluated)
        .maybe_signed("evaluation_ms", |r| r.evaluation_ms)
        .signed("errors", |r| r.errors)
        .maybe_text("last_error", |r| r.last_error.as_deref())
        .signed("notifications_pending", |r| r.pending)
        .signed("notifications_delivered", |r| r.delivered)
        .signed("notifications_failed", |r| r.failed)
        .maybe_text("notify_error", |r| r.notify_error.as_deref())
        .maybe_text("owner", |r| r.owner.as_deref())
        .maybe_text("definition", |r| r.definition.as_deref());
    SystemTable::new("alerts", columns, move || {
        alerts().map(|alerts| alerts.rows()).unwrap_or_default()
    })
}
