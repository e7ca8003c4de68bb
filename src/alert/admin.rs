//! What statements do to alerts: create, drop, pause, show.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Statement;
use tokio::task::JoinHandle;

use super::machine::{Phase, State, Told};
use super::store::{self, Kept};
use super::{Alerts, Entry, evaluate};
use crate::catalog::defined::answered;
use crate::catalog::running::Work;
use crate::dataset::{AlertDeclaration, Watched};
use crate::fault::{Fault, Kind};
use crate::query::place::{place_of, with_place};
use crate::query::{QueryContext, last_seen_columns, tables_of};
use crate::sql::parse_one;
use crate::types::{SameName, TableName};

/// An alert to be, and the statement that makes it.
pub struct Creation<'a> {
    pub alert: AlertDeclaration,
    pub if_not_exists: bool,
    pub or_replace: bool,
    /// For places in errors.
    pub text: &'a str,
}

/// A creation that has been checked.
struct Wanted {
    alert: AlertDeclaration,
    reads: Vec<TableName>,
    principal: String,
    if_not_exists: bool,
    or_replace: bool,
}

fn gone(name: &TableName, known: &[String]) -> Fault {
    let known = if known.is_empty() {
        "there are no alerts yet".to_owned()
    } else {
        format!("alerts: {}", known.join(", "))
    };
    Fault::new(
        Kind::NotFound,
        "alert_not_found",
        format!("no such alert, alert={name}; {known}"),
    )
}

impl Alerts {
    fn existing(&self, name: &TableName) -> Result<Arc<Entry>, Fault> {
        if let Some(damaged) = self.damaged.lock().get(&name.folded()) {
            return Err(Fault::new(
                Kind::Corrupt,
                "alert_damaged",
                damaged.message(),
            ));
        }
        let there = |e: &Arc<Entry>| !e.inner.lock().kept.dropped;
        self.entry(name).filter(there).ok_or_else(|| {
            let all = self.all();
            let known = all.iter().filter(|e| there(e));
            let known: Vec<String> = known
                .map(|e| e.inner.lock().kept.declaration.name.to_string())
                .collect();
            gone(name, &known)
        })
    }

    /// # Errors
    /// INVALID_ARGUMENT with place and way out for a condition that no alert can have; ALREADY_EXISTS; UNAVAILABLE if it
    /// cannot be kept.
    pub async fn create(
        self: &Arc<Self>,
        caller: &QueryContext,
        creation: Creation<'_>,
    ) -> Result<(), Fault> {
        let name = creation.alert.name.clone();
        if creation.if_not_exists && self.existing(&name).is_ok() {
            return Ok(());
        }
        // Planning may take its time, and holds up no other statement.
        let (alert, reads) = self.checked(caller, creation.alert, creation.text).await?;
        let wanted = Wanted {
            alert,
            reads,
            principal: caller.principal.to_string(),
            if_not_exists: creation.if_not_exists,
            or_replace: creation.or_replace,
        };
        // A statement that has begun is finished, whether or not its caller still waits: there is a file and an alert, or
        // neither.
        let this = self.clone();
        self.finished(tokio::spawn(async move { this.put_in_force(wanted).await }))
            .await
    }

    /// Waits for a statement, which goes on by itself, as long as the disk may take.
    async fn finished(&self, statement: JoinHandle<Result<(), Fault>>) -> Result<(), Fault> {
        answered(
            self.shared.config.log.admission_timeout,
            "alerts",
            statement,
        )
        .await?
    }

    async fn put_in_force(self: &Arc<Self>, wanted: Wanted) -> Result<(), Fault> {
        let _one_at_a_time = self.statements.lock().await;
        let Wanted {
            alert,
            reads,
            principal,
            if_not_exists,
            or_replace,
        } = wanted;
        let name = alert.name.clone();
        let there = self.existing(&name);
        match &there {
            Ok(_) if if_not_exists => return Ok(()),
            Ok(_) if !or_replace => {
                return Err(Fault::new(
                    Kind::AlreadyExists,
                    "alert_exists",
                    format!(
                        "the alert is there already, alert={name}; say CREATE OR REPLACE ALERT, IF NOT EXISTS, or drop it first"
                    ),
                ));
            }
            Err(fault) if fault.kind == Kind::Corrupt && !or_replace => {
                return Err(fault.clone());
            }
            _ => {}
        }
        let now = self.shared.clock.now();
        let Some(entry) = self.entry(&name) else {
            let count = self.entries.lock().len();
            let limit = self.shared.config.alerts.count_max;
            if count >= limit {
                return Err(Fault::new(
                    Kind::Exhausted,
                    "too_many_alerts",
                    format!("too many alerts, limit={limit}; drop some, or raise alerts.count_max"),
                ));
            }
            let kept = Kept {
                declaration: alert,
                reads,
                principal,
                created: now,
                paused: false,
                dropped: false,
                state: State::default(),
            };
            let entry = Entry::new(kept, self.attention.now(), false);
            self.kept_or(&entry, None).await?;
            self.damaged.lock().remove(&name.folded());
            self.entries.lock().insert(name.folded(), entry.clone());
            self.watch(entry);
            tracing::info!(alert = %name, "alert created");
            return Ok(());
        };
        let before = Self::change(&entry, |kept| {
            let same = !kept.dropped && alert.has_instances_of(&kept.declaration);
            if !same {
                kept.state.end(now);
            }
            // A webhook that is new hears of what fires, and not of what is over.
            let fresh = alert.notify.iter();
            let fresh = fresh.filter(|w| !kept.declaration.notify.contains(w));
            for webhook in fresh {
                for instance in kept.state.instances.values_mut() {
                    let number = instance.news.as_ref().map_or(0, |n| n.number);
                    if instance.phase != Phase::Firing {
                        let told = Told {
                            number,
                            ..Told::default()
                        };
                        instance.told.insert(webhook.clone(), told);
                    }
                }
            }
            kept.declaration = alert;
            kept.reads = reads;
            kept.principal = principal;
            kept.dropped = false;
        });
        self.kept_or(&entry, Some(before)).await?;
        tracing::info!(alert = %name, "alert replaced");
        Ok(())
    }

    /// Changes what is kept, and starts the alert anew. Gives back what it was.
    fn change(entry: &Entry, change: impl FnOnce(&mut Kept)) -> Kept {
        let mut inner = entry.inner.lock();
        let before = inner.kept.clone();
        change(&mut inner.kept);
        inner.generation += 1;
        inner.version += 1;
        inner.note.last_error = None;
        inner.note.notify_errors.clear();
        before
    }

    /// A statement has succeeded when its effect is on disk; else it is taken back.
    async fn kept_or(&self, entry: &Arc<Entry>, before: Option<Kept>) -> Result<(), Fault> {
        self.keep(entry).await;
        let (problem, declaration) = {
            let inner = entry.inner.lock();
            let unwritten = inner.written != inner.version;
            let problem = inner.note.store_error.clone().filter(|_| unwritten);
            (problem, inner.kept.declaration.clone())
        };
        if let Some(problem) = problem {
            if let Some(before) = before {
                Self::change(entry, |kept| *kept = before);
                entry.wake.notify_one();
            }
            return Err(problem);
        }
        entry.wake.notify_one();
        self.ring(&declaration);
        Ok(())
    }

    /// # Errors
    /// NOT_FOUND; UNAVAILABLE if that cannot be kept.
    pub async fn remove(self: &Arc<Self>, name: &TableName, if_exists: bool) -> Result<(), Fault> {
        let (this, name) = (self.clone(), name.clone());
        self.finished(tokio::spawn(async move {
            this.remove_now(&name, if_exists).await
        }))
        .await
    }

    async fn remove_now(&self, name: &TableName, if_exists: bool) -> Result<(), Fault> {
        let _one_at_a_time = self.statements.lock().await;
        let damaged = self.damaged.lock().contains_key(&name.folded());
        if damaged {
            self.store.remove(&name.folded())?;
            self.damaged.lock().remove(&name.folded());
            return Ok(());
        }
        let entry = match self.existing(name) {
            Ok(entry) => entry,
            Err(fault) if if_exists && fault.kind == Kind::NotFound => return Ok(()),
            Err(fault) => return Err(fault),
        };
        let now = self.shared.clock.now();
        let before = Self::change(&entry, |kept| {
            kept.state.end(now);
            kept.dropped = true;
        });
        self.kept_or(&entry, Some(before)).await?;
        self.bury(&entry).await;
        tracing::info!(alert = %name, "alert dropped");
        Ok(())
    }

    /// Lets go of a dropped alert once everyone knows that what fired is over. By itself, because no statement may find the
    /// alert half gone.
    pub(super) fn bury_soon(self: &Arc<Self>, entry: &Arc<Entry>) {
        let (this, entry) = (self.clone(), entry.clone());
        tokio::spawn(async move {
            let _one_at_a_time = this.statements.lock().await;
            this.bury(&entry).await;
        });
    }

    /// With the lock on statements held.
    async fn bury(&self, entry: &Arc<Entry>) {
        let _writing = entry.writing.clone().lock_owned().await;
        let name = {
            let mut inner = entry.inner.lock();
            let kept = &inner.kept;
            let webhooks = self.webhooks(&kept.declaration);
            let mut instances = kept.state.instances.values();
            let owed = instances.any(|i| webhooks.iter().any(|w| i.owes(w)));
            if owed || !kept.dropped || inner.gone {
                return;
            }
            inner.gone = true;
            inner.kept.declaration.name.folded()
        };
        if let Err(fault) = self.store.remove(&name) {
            tracing::warn!(alert = %name, "the file of a dropped alert was left behind: {fault}");
        }
        entry.stop.cancel();
        let mut entries = self.entries.lock();
        if entries.get(&name).is_some_and(|e| Arc::ptr_eq(e, entry)) {
            entries.remove(&name);
        }
    }

    /// # Errors
    /// NOT_FOUND; UNAVAILABLE if that cannot be kept.
    pub async fn pause(self: &Arc<Self>, name: &TableName, paused: bool) -> Result<(), Fault> {
        let (this, name) = (self.clone(), name.clone());
        self.finished(tokio::spawn(
            async move { this.pause_now(&name, paused).await },
        ))
        .await
    }

    async fn pause_now(&self, name: &TableName, paused: bool) -> Result<(), Fault> {
        let _one_at_a_time = self.statements.lock().await;
        let entry = self.existing(name)?;
        let now = self.shared.clock.now();
        if !paused {
            let work = Work::Look(name.folded().to_string());
            self.shared.running.resume(&work);
        }
        let before = Self::change(&entry, |kept| {
            kept.paused = paused;
            if paused {
                kept.state.end(now);
            }
        });
        self.kept_or(&entry, Some(before)).await
    }

    /// The statement that makes the alert.
    ///
    /// # Errors
    /// NOT_FOUND; DATA_LOSS for one whose file is damaged.
    pub fn definition(&self, name: &TableName) -> Result<String, Fault> {
        let entry = self.existing(name)?;
        let ddl = entry.inner.lock().kept.declaration.to_ddl();
        Ok(ddl)
    }

    /// The alert with its columns as they are spelled, and what its query reads.
    async fn checked(
        &self,
        caller: &QueryContext,
        mut alert: AlertDeclaration,
        text: &str,
    ) -> Result<(AlertDeclaration, Vec<TableName>), Fault> {
        let invalid = |problem: String| Fault::invalid("invalid_alert", problem);
        alert.check().map_err(invalid)?;
        if let Some(problem) = store::problem(&alert.name) {
            return Err(invalid(problem));
        }
        if let Some(unknown) = alert.notify.iter().find(|n| !self.bells.contains_key(*n)) {
            let known: Vec<&str> = self.bells.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "the configuration has none".to_owned()
            } else {
                format!("known: {}", known.join(", "))
            };
            return Err(Fault::invalid(
                "no_such_webhook",
                format!(
                    "no such webhook, webhook={unknown}{}; {known}; [alerts.webhooks.{unknown}] url = \"https://..\" in the server's file makes one",
                    place_of(text, Some("NOTIFY"), unknown)
                ),
            ));
        }
        let reads;
        match &alert.watched {
            Watched::Query { sql } => {
                let asking = evaluate::caller(&alert.name, &caller.principal);
                let by = self.query_columns(&asking, &alert, sql, text).await?;
                reads = tables_of(sql, &self.engine.snapshot_of(&asking))?;
                alert.by = by;
            }
            Watched::Deadman { table, .. } => {
                let snapshot = self.engine.snapshot();
                let Some(view) = snapshot.tables.get(&table.folded()) else {
                    // The registry's error names what there is.
                    let none =
                        Fault::internal(format!("a table without a snapshot, table={table}"));
                    let fault = self.shared.table(table).err().unwrap_or(none);
                    return Err(with_place(fault, text, Some("ON")));
                };
                let by = last_seen_columns(view, &alert.by);
                let by = by.map_err(|fault| with_place(fault, text, Some("BY")))?;
                let table = view.name.clone();
                reads = vec![table.clone()];
                alert.by = by;
                if let Watched::Deadman { table: place, .. } = &mut alert.watched {
                    *place = table;
                }
            }
        }
        alert.check().map_err(invalid)?;
        Ok((alert, reads))
    }

    /// Plans the query as it will run, and finds the BY columns among its own.
    async fn query_columns(
        &self,
        asking: &QueryContext,
        alert: &AlertDeclaration,
        sql: &str,
        text: &str,
    ) -> Result<Vec<String>, Fault> {
        if !matches!(parse_one(sql)?, Statement::Query(_)) {
            return Err(Fault::invalid(
                "invalid_alert",
                "an alert's condition is a SELECT; each of its rows is in condition",
            ));
        }
        let planned = self.engine.plan(asking, sql).await;
        let planned = planned.map_err(|fault| with_place(fault, text, Some("AS")))?;
        if !planned.parameters.fields().is_empty() {
            return Err(Fault::invalid(
                "invalid_alert",
                "an alert's query has no parameters; write the values into it",
            ));
        }
        let fields = planned.wire.fields();
        let mut by = Vec::new();
        for column in &alert.by {
            let only = |is: &dyn Fn(&str) -> bool| {
                let mut found = fields.iter().filter(|f| is(f.name()));
                match (found.next(), found.next()) {
                    (Some(one), None) => Some(one),
                    _ => None,
                }
            };
            let exact = only(&|name| name == column);
            let Some(field) = exact.or_else(|| only(&|name| name.is_same_name(column))) else {
                let known: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
                return Err(Fault::invalid(
                    "column_not_found",
                    format!(
                        "BY names a column that the query does not give, column={column}{}; it gives {}: select it too, or leave it out of BY",
                        place_of(text, Some("BY"), column),
                        known.join(", ")
                    ),
                ));
            };
            by.push(field.name().clone());
        }
        Ok(by)
    }
}
