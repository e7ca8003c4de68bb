//! One alert's instances, from quiet to pending to firing to resolved. Pure: rows and times in, states and news out.
//!
//! How long something has lasted is told by `seen`, the time during which a server looked (`Attention`), never by the wall
//! clock, which only stamps what is shown: a clock that is put forward or back fires and resolves nothing, and neither does
//! the time for which no server ran. A look that failed is no event here: nothing changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Micros;

/// A row's columns by name.
pub type Columns = Map<String, Value>;

/// What is in condition at one look: values by identity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found(pub BTreeMap<Identity, Columns>);

/// The BY columns' values, as JSON text: equal for the same instance, also after a restart.
pub type Identity = String;

/// An alert's times and bounds.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `FOR`.
    pub hold: Micros,
    /// `KEEP FIRING FOR`.
    pub keep: Micros,
    /// Instances that may be pending or firing at once.
    pub instances_max: usize,
    /// How long a resolved instance is remembered, and how many are.
    pub resolved_for: Micros,
    pub resolved_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Pending,
    Firing,
    Resolved,
}

impl Phase {
    pub fn word(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Firing => "firing",
            Phase::Resolved => "resolved",
        }
    }
}

/// What receivers are to know of an instance. A newer one takes the place of one that was not delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct News {
    /// Rises with each of an alert's.
    pub number: u64,
    pub firing: bool,
    pub values: Columns,
    pub starts_at: Micros,
    pub ends_at: Option<Micros>,
}

/// How far one webhook knows an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The newest news that was delivered or given up.
    pub number: u64,
    pub delivered: u64,
    pub failed: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub phase: Phase,
    /// Since when it is in this phase, by the clock on the wall.
    pub since: Micros,
    /// The same by `seen`: of a pending one when it came into condition.
    seen_since: Micros,
    /// Of a firing one that is out of condition: since when, by `seen`.
    #[serde(default)]
    clear_since: Option<Micros>,
    #[serde(default)]
    pub fired_at: Option<Micros>,
    #[serde(default)]
    pub resolved_at: Option<Micros>,
    pub values: Columns,
    #[serde(default)]
    pub news: Option<News>,
    /// By webhook.
    #[serde(default)]
    pub told: BTreeMap<String, Told>,
}

impl Instance {
    /// Is there news that this webhook has not got?
    pub fn owes(&self, webhook: &str) -> bool {
        let told = self.told.get(webhook).map_or(0, |t| t.number);
        self.news.as_ref().is_some_and(|news| news.number > told)
    }

    fn tell(&mut self, firing: bool, numbers: &mut u64) {
        *numbers += 1;
        let number = *numbers;
        self.news = Some(News {
            number,
            firing,
            values: self.values.clone(),
            starts_at: self.fired_at.unwrap_or(self.since),
            ends_at: self.resolved_at.filter(|_| !firing),
        });
    }

    fn fire(&mut self, seen: Micros, now: Micros, numbers: &mut u64) {
        self.phase = Phase::Firing;
        (self.since, self.seen_since) = (now, seen);
        (self.fired_at, self.resolved_at) = (Some(now), None);
        self.clear_since = None;
        self.tell(true, numbers);
    }

    fn resolve(&mut self, seen: Micros, now: Micros, numbers: &mut u64) {
        self.phase = Phase::Resolved;
        (self.since, self.seen_since) = (now, seen);
        self.clear_since = None;
        // A clock that was put back ends nothing before it began.
        self.resolved_at = Some(now.max(self.fired_at.unwrap_or(now)));
        self.tell(false, numbers);
    }
}

/// What one look changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub fired: Vec<Identity>,
    pub resolved: Vec<Identity>,
    /// Anything that has to outlive a restart.
    pub durable: bool,
}

/// More instances are in condition than the bound: nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub usize);

/// All that is remembered of one alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// How long servers have looked at this alert, in microseconds.
    pub seen: Micros,
    /// News so far: one that is told of an instance that was forgotten since is not taken for news of another.
    #[serde(default)]
    numbers: u64,
    pub instances: BTreeMap<Identity, Instance>,
}

impl State {
    /// Takes the rows of one look. `seen`: not smaller than at the look before. `webhooks`: who is told.
    ///
    /// # Errors
    /// `TooMany`: the state is as it was.
    pub fn look(
        &mut self,
        rule: &Rule,
        found: Found,
        seen: Micros,
        now: Micros,
        webhooks: &[String],
    ) -> Result<Changed, TooMany> {
        let seen = seen.max(self.seen);
        let kept = |(identity, instance): &(&Identity, &Instance)| {
            let stays = instance.clear_since.unwrap_or(seen) + rule.keep > seen;
            instance.phase == Phase::Firing && !found.0.contains_key(*identity) && stays
        };
        let active = found.0.len() + self.instances.iter().filter(kept).count();
        if active > rule.instances_max {
            return Err(TooMany(active));
        }
        self.seen = seen;
        let mut changed = Changed::default();
        let gone: Vec<Identity> = {
            let out = |(i, _): &(&Identity, &Instance)| !found.0.contains_key(*i);
            self.instances
                .iter()
                .filter(out)
                .map(|(i, _)| i.clone())
                .collect()
        };
        for (identity, values) in found.0 {
            self.within(rule, identity, values, now, &mut changed);
        }
        for identity in gone {
            self.without(rule, identity, now, &mut changed);
        }
        changed.durable |= self.forget(rule, webhooks);
        // Time that pending instances have waited for outlives a restart too.
        changed.durable |= self.instances.values().any(Instance::waits);
        Ok(changed)
    }

    fn within(
        &mut self,
        rule: &Rule,
        identity: Identity,
        values: Columns,
        now: Micros,
        changed: &mut Changed,
    ) {
        let seen = self.seen;
        let instance = self.instances.entry(identity.clone()).or_insert(Instance {
            phase: Phase::Resolved,
            since: now,
            seen_since: seen,
            clear_since: None,
            fired_at: None,
            resolved_at: None,
            values: Columns::new(),
            news: None,
            told: BTreeMap::new(),
        });
        instance.values = values;
        if instance.phase == Phase::Resolved {
            instance.phase = Phase::Pending;
            (instance.since, instance.seen_since) = (now, seen);
            changed.durable = true;
        }
        if instance.phase == Phase::Pending && seen - instance.seen_since >= rule.hold {
            instance.fire(seen, now, &mut self.numbers);
            changed.fired.push(identity);
            changed.durable = true;
        }
        changed.durable |= instance.clear_since.take().is_some();
    }

    fn without(&mut self, rule: &Rule, identity: Identity, now: Micros, changed: &mut Changed) {
        let seen = self.seen;
        let Some(instance) = self.instances.get_mut(&identity) else {
            return;
        };
        match instance.phase {
            Phase::Resolved => {}
            Phase::Pending => {
                changed.durable = true;
                // One that has fired before is again what it was: resolved.
                match instance.resolved_at {
                    Some(at) => {
                        instance.phase = Phase::Resolved;
                        (instance.since, instance.seen_since) = (at, seen);
                    }
                    None => {
                        self.instances.remove(&identity);
                    }
                }
            }
            Phase::Firing => {
                let since = *instance.clear_since.get_or_insert(seen);
                changed.durable = true;
                if seen - since >= rule.keep {
                    instance.resolve(seen, now, &mut self.numbers);
                    changed.resolved.push(identity);
                }
            }
        }
    }

    /// Lets go of what was resolved long ago, or of the oldest where there are too many; of what someone is still to be told
    /// only where that is more than may be in condition.
    fn forget(&mut self, rule: &Rule, webhooks: &[String]) -> bool {
        let before = self.instances.len();
        let seen = self.seen;
        let owed = |i: &Instance| webhooks.iter().any(|w| i.owes(w));
        self.instances.retain(|_, i| {
            i.phase != Phase::Resolved || seen - i.seen_since < rule.resolved_for || owed(i)
        });
        for (is_owed, most) in [(false, rule.resolved_max), (true, rule.instances_max)] {
            let all = self.instances.iter();
            let mut resolved: Vec<(Micros, Identity)> = all
                .filter(|(_, i)| i.phase == Phase::Resolved && owed(i) == is_owed)
                .map(|(id, i)| (i.seen_since, id.clone()))
                .collect();
            let over = resolved.len().saturating_sub(most);
            if over == 0 {
                continue;
            }
            resolved.sort();
            for (_, identity) in resolved.into_iter().take(over) {
                self.instances.remove(&identity);
            }
        }
        self.instances.len() != before
    }

    /// Ends everything: the alert is paused, dropped, or looks for something else now.
    pub fn end(&mut self, now: Micros) -> Changed {
        let mut changed = Changed::default();
        let seen = self.seen;
        let all: Vec<Identity> = self.instances.keys().cloned().collect();
        for identity in all {
            let Some(instance) = self.instances.get_mut(&identity) else {
                continue;
            };
            match (instance.phase, instance.resolved_at) {
                (Phase::Firing, _) => {
                    instance.resolve(seen, now, &mut self.numbers);
                    changed.resolved.push(identity);
                }
                (Phase::Pending, Some(_)) => instance.phase = Phase::Resolved,
                (Phase::Pending, None) => {
                    self.instances.remove(&identity);
                }
                (Phase::Resolved, _) => continue,
            }
            changed.durable = true;
        }
        changed
    }

    /// A webhook has got news of an instance, or has refused it for good.
    pub fn told(&mut self, identity: &str, webhook: &str, number: u64, delivered: bool) {
        let Some(instance) = self.instances.get_mut(identity) else {
            return;
        };
        let told = instance.told.entry(webhook.to_owned()).or_default();
        if number <= told.number {
            return;
        }
        told.number = number;
        told.delivered += u64::from(delivered);
        told.failed += u64::from(!delivered);
    }

    pub fn count(&self, phase: Phase) -> usize {
        let all = self.instances.values();
        all.filter(|i| i.phase == phase).count()
    }
}

impl Instance {
    fn waits(&self) -> bool {
        self.phase == Phase::Pending || self.clear_since.is_some()
    }
}

#[cfg(test)]
mod tests;
