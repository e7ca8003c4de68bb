//! Telling webhooks: a task for each, so that a dead one holds up no other. It asks the alerts what they owe it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::machine::Phase;
use super::message::{BATCH_MAX, Item, Message};
use super::webhook::{Sender, Sent, pause};
use super::{Alerts, Entry, micros};
use crate::config::{Form, Webhook};
use crate::dataset::AlertDeclaration;
use crate::types::TableName;

/// How often a webhook looks by itself whether something is owed.
const LOOK: Duration = Duration::from_secs(1);
/// Alertmanager takes what fires as over after so many intervals of silence, as Prometheus has it.
const LASTS: i64 = 4;

/// An alert that a webhook could not be told of.
struct Wait {
    failures: u32,
    first: Instant,
    until: Instant,
}

/// What one webhook does about one alert.
#[derive(Default)]
struct Course {
    wait: Option<Wait>,
    /// When everything that fires was told last.
    reminded: Option<Instant>,
    reminders: u64,
}

impl Entry {
    /// What this webhook has not been told, and the alert as it is; with `remind` also what fires and it knows of. Nothing
    /// before it is on disk: a server that is killed must know what it has told.
    fn owed(&self, webhook: &str, remind: bool) -> Option<(AlertDeclaration, Vec<Item>)> {
        let inner = self.inner.lock();
        let settled = inner.written == inner.version || inner.note.store_error.is_some();
        let declaration = &inner.kept.declaration;
        if inner.gone || !settled || !declaration.notify.iter().any(|n| n == webhook) {
            return None;
        }
        let items = inner.kept.state.instances.iter();
        let items = items.filter_map(|(identity, instance)| {
            let reminds = remind && instance.phase == Phase::Firing;
            let news = instance.news.as_ref()?;
            (reminds || instance.owes(webhook)).then(|| Item {
                identity: identity.clone(),
                news: news.clone(),
            })
        });
        let items: Vec<Item> = items.collect();
        (!items.is_empty()).then(|| (declaration.clone(), items))
    }
}

impl Alerts {
    /// Tells one webhook whatever it is owed, until the server drains.
    pub(super) async fn deliver(self: Arc<Self>, webhook: Webhook) {
        let config = &self.shared.config.alerts;
        let sender = match Sender::new(webhook.clone(), config.webhook_timeout) {
            Ok(sender) => sender,
            Err(problem) => {
                tracing::error!(webhook = webhook.name, "alerts cannot be told: {problem}");
                return;
            }
        };
        let begun = Instant::now();
        let mut courses: HashMap<TableName, Course> = HashMap::new();
        loop {
            let mut next = Instant::now() + LOOK;
            let mut told = false;
            let all: Vec<_> = {
                let entries = self.entries.lock();
                entries
                    .iter()
                    .map(|(n, e)| (n.clone(), e.clone()))
                    .collect()
            };
            courses.retain(|name, _| all.iter().any(|(n, _)| n == name));
            for (name, entry) in all {
                let course = courses.entry(name).or_default();
                if let Some(wait) = &course.wait
                    && wait.until > Instant::now()
                {
                    next = next.min(wait.until);
                    continue;
                }
                // Alertmanager has to hear what fires once at a start; others know it.
                let since = match webhook.form {
                    Form::Alertmanager => course.reminded,
                    Form::Webhook => Some(course.reminded.unwrap_or(begun)),
                };
                let remind = webhook
                    .repeat
                    .is_some_and(|every| since.is_none_or(|at| at.elapsed() >= every));
                let Some((alert, items)) = entry.owed(&webhook.name, remind) else {
                    continue;
                };
                tokio::select! {
                    () = self.tell(&sender, &webhook, &entry, &alert, items, course, remind) => {}
                    () = self.shared.draining.cancelled() => return,
                }
                told = true;
            }
            if told {
                continue;
            }
            let Some(bell) = self.bells.get(&webhook.name) else {
                return;
            };
            tokio::select! {
                () = bell.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                () = self.shared.draining.cancelled() => return,
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of the loop above, which holds all of them"
    )]
    async fn tell(
        self: &Arc<Self>,
        sender: &Sender,
        webhook: &Webhook,
        entry: &Arc<Entry>,
        alert: &AlertDeclaration,
        items: Vec<Item>,
        course: &mut Course,
        remind: bool,
    ) {
        let config = &self.shared.config.alerts;
        let repeat = webhook.repeat.map_or(0, micros);
        if remind {
            course.reminders += 1;
        }
        for part in items.chunks(BATCH_MAX) {
            let message = Message {
                alert,
                receiver: &webhook.name,
                external_url: &self.external_url,
                items: part,
                now: self.shared.clock.now(),
                lasts: repeat.saturating_mul(LASTS),
            };
            let number = if remind { course.reminders } else { 0 };
            let (outcome, problem) = match sender.send(&message, number).await {
                Sent::Delivered => ("delivered", None),
                Sent::Refused(problem) => ("refused", Some(problem)),
                Sent::Later { after, problem } => {
                    let now = Instant::now();
                    let before = course.wait.take();
                    let first = before.as_ref().map_or(now, |w| w.first);
                    let failures = before.map_or(0, |w| w.failures).saturating_add(1);
                    let salt = format!("{}/{}", webhook.name, alert.name);
                    let pause = pause(failures, config.retry_max, after, &salt);
                    if now.duration_since(first) < config.retry_for {
                        self.note_failure(entry, webhook, &problem, failures, Some(pause));
                        let until = now + pause;
                        course.wait = Some(Wait {
                            failures,
                            first,
                            until,
                        });
                        return;
                    }
                    ("given_up", Some(problem))
                }
            };
            course.wait = None;
            let webhook_name = webhook.name.clone();
            metrics::counter!("deltaplane_alert_notifications_total", "webhook" => webhook_name, "outcome" => outcome)
                .increment(part.len() as u64);
            if let Some(problem) = &problem {
                self.note_failure(entry, webhook, problem, 1, None);
            }
            self.settle_items(entry, webhook, part, problem.is_none())
                .await;
        }
        if remind {
            course.reminded = Some(Instant::now());
        }
    }

    fn note_failure(
        &self,
        entry: &Entry,
        webhook: &Webhook,
        problem: &str,
        failures: u32,
        pause: Option<Duration>,
    ) {
        let mut inner = entry.inner.lock();
        let name = inner.kept.declaration.name.clone();
        let what = match pause {
            Some(_) => "tried again",
            None => "not told again",
        };
        if failures == 1 {
            tracing::warn!(alert = %name, webhook = webhook.name, "notification failed, {what}: {problem}");
        }
        if pause.is_some() {
            let webhook = webhook.name.clone();
            metrics::counter!("deltaplane_alert_notifications_total", "webhook" => webhook, "outcome" => "retried")
                .increment(1);
        }
        let text = format!("{what}, failures={failures}: {problem}");
        inner.note.notify_errors.insert(webhook.name.clone(), text);
    }

    /// The webhook knows these, or has refused them for good.
    async fn settle_items(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        webhook: &Webhook,
        items: &[Item],
        delivered: bool,
    ) {
        let over = {
            let mut inner = entry.inner.lock();
            let inner = &mut *inner;
            for item in items {
                let number = item.news.number;
                inner
                    .kept
                    .state
                    .told(&item.identity, &webhook.name, number, delivered);
            }
            inner.version += 1;
            if delivered {
                inner.note.notify_errors.remove(&webhook.name);
            }
            inner.kept.dropped
        };
        self.keep(entry).await;
        if over {
            self.bury_soon(entry);
        }
    }
}
