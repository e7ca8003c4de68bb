//! What is running now, in a small file that outlives the process: what ended it twice in a row is not run a third time.
//!
//! Work that can take the whole process with it (the replay and commit of a table's rows, the refresh of a view, the look of
//! an alert, upkeep of a table) takes a slot of the file `running` while it runs. The slots are written without a sync: they stand in the page
//! cache, which outlives a killed process. After a power cut they may be old, and then nobody is suspected who was not
//! running shortly before.
//!
//! A start finds the slots that are still taken. Their work is *suspected*: suspects run one at a time, and each until it has
//! ended once. Work that was running as a suspect when the process ended again is *suspended* until an operator resumes it.
//! Suspects and suspended work stand in the file `suspects`, which is synced. Both files have checksums (`stored`).
//!
//! Where a file is damaged, nobody knows who is suspected. All work is then, until it has ended once: it runs alone if it can,
//! and what ends the process meanwhile is suspended at once. A file that is missing says that nobody is suspected.

mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::fault::{Fault, Kind};
use stored::{FREE, NAME_MAX, SLOT, Suspects, slot};

pub use stored::problems;

/// Work beyond it runs without a slot.
const SLOTS_MAX: usize = 4096;
/// How long a suspect waits for another one to end.
const TURN_WAIT: Duration = Duration::from_secs(60);
/// The same where all work is suspected: work inside other work would wait for itself.
const ANY_TURN_WAIT: Duration = Duration::from_secs(2);

/// Work that can take the process with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Replay or commit of a table's rows, by incarnation.
    Rows(u64),
    /// Refresh of a materialized view, by incarnation.
    Refresh(u64),
    /// A look of an alert, by folded name.
    Look(String),
    /// One kind of upkeep of a table, by incarnation.
    Upkeep(u64, Task),
}

/// What upkeep does by itself. Each is noted apart: one that ends the process is not cleared by another that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    Compaction,
    Retention,
    Vacuum,
}

impl Task {
    pub const ALL: [Task; 3] = [Task::Compaction, Task::Retention, Task::Vacuum];

    /// As `system.upkeep` calls it.
    pub fn word(self) -> &'static str {
        match self {
            Task::Compaction => "compact",
            Task::Retention => "retention",
            Task::Vacuum => "vacuum",
        }
    }
}

impl Work {
    fn name(&self) -> String {
        let name = match self {
            Work::Rows(incarnation) => format!("rows {incarnation}"),
            Work::Refresh(incarnation) => format!("refresh {incarnation}"),
            Work::Look(alert) => format!("look {alert}"),
            Work::Upkeep(incarnation, task) => format!("{} {incarnation}", task.word()),
        };
        let cut = (0..=NAME_MAX.min(name.len()))
            .rev()
            .find(|at| name.is_char_boundary(*at))
            .unwrap_or(0);
        name[..cut].to_owned()
    }
}

#[derive(Debug, Default)]
struct State {
    /// None: it could not be made, and nothing is noted.
    slots: Option<File>,
    taken: BTreeSet<usize>,
    known: Suspects,
    /// Set if a file was damaged: all work is suspected but this, which has ended once since.
    cleared: Option<BTreeSet<String>>,
}

impl State {
    fn is_suspected(&self, name: &str) -> bool {
        let may_be = |cleared: &BTreeSet<String>| {
            !cleared.contains(name) && !self.known.suspended.contains(name)
        };
        self.known.suspected.contains(name) || self.cleared.as_ref().is_some_and(may_be)
    }
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Running {
    dir: Arc<PathBuf>,
    state: Arc<Mutex<State>>,
    /// Held by the suspect that runs.
    alone: Arc<tokio::sync::Mutex<()>>,
    /// `--safe`: views, alerts and upkeep wait to be resumed.
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: bool,
    resumed: BTreeSet<String>,
}

/// A slot that is taken until this is dropped.
#[derive(Debug)]
pub struct Slot {
    running: Running,
    at: Option<usize>,
    suspect: Option<String>,
    _alone: Option<OwnedMutexGuard<()>>,
}

impl Running {
    /// Reads what the last process left in `dir`, and begins anew.
    pub fn open(dir: &Path, safe: bool) -> Self {
        let left = stored::read(dir);
        for problem in &left.problems {
            tracing::error!(
                "{problem}; until it has ended once, all work counts as suspected of having ended the process"
            );
        }
        let mut known = left.known;
        for (name, as_suspect) in left.taken {
            if as_suspect {
                known.suspected.remove(&name);
                known.suspended.insert(name);
            } else if !known.suspended.contains(&name) {
                known.suspected.insert(name);
            }
        }
        let running = Running {
            dir: Arc::new(dir.to_owned()),
            state: Arc::new(Mutex::new(State {
                known,
                cleared: (!left.problems.is_empty()).then(BTreeSet::new),
                ..State::default()
            })),
            alone: Arc::default(),
            held: Arc::new(Mutex::new(Held {
                all: safe,
                resumed: BTreeSet::new(),
            })),
        };
        let mut state = running.state.lock();
        running.save(&state.known);
        match File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(dir.join("running"))
        {
            Ok(file) => state.slots = Some(file),
            Err(error) => {
                tracing::warn!(%error, "what is running cannot be noted: a crash will not be traced to its cause");
            }
        }
        drop(state);
        running
    }

    fn save(&self, known: &Suspects) {
        if let Err(error) = known.write(&self.dir) {
            tracing::warn!(%error, "what is suspected of having ended the process is not on disk");
        }
    }

    /// Was it running when the process ended, or may it have been, and has not ended by itself since?
    pub fn is_suspected(&self, work: &Work) -> bool {
        self.state.lock().is_suspected(&work.name())
    }

    /// The work begins. A suspect waits until no other one runs.
    pub async fn enter(&self, work: &Work) -> Slot {
        let name = work.name();
        let (known, suspected) = {
            let state = self.state.lock();
            (
                state.known.suspected.contains(&name),
                state.is_suspected(&name),
            )
        };
        let alone = if suspected {
            // Work inside other work would wait for itself.
            let turn = self.alone.clone().lock_owned();
            let wait = if known { TURN_WAIT } else { ANY_TURN_WAIT };
            tokio::time::timeout(wait, turn).await.ok()
        } else {
            None
        };
        // Of two that may have ended the process, and run beside each other, nobody would know which one did.
        let suspected = known || (suspected && alone.is_some());
        self.take(name, suspected, alone)
    }

    /// [`Running::enter`] where nothing else runs yet.
    pub fn enter_at_start(&self, work: &Work) -> Slot {
        let name = work.name();
        let suspected = self.state.lock().is_suspected(&name);
        self.take(name, suspected, None)
    }

    /// A part of the work begins, at a start: that it ends clears nobody, as the rest is still to come.
    pub fn enter_part(&self, work: &Work) -> Slot {
        let mut slot = self.enter_at_start(work);
        slot.suspect = None;
        slot
    }

    fn take(&self, name: String, suspected: bool, alone: Option<OwnedMutexGuard<()>>) -> Slot {
        let mut state = self.state.lock();
        let at = (0..SLOTS_MAX).find(|at| !state.taken.contains(at));
        if let (Some(at), Some(file)) = (at, &state.slots)
            && let Err(error) = file.write_at(&slot(&name, suspected), (at * SLOT) as u64)
        {
            tracing::debug!(%error, "a slot was not written");
        }
        state.taken.extend(at);
        Slot {
            running: self.clone(),
            at,
            suspect: suspected.then_some(name),
            _alone: alone,
        }
    }

    /// Is it to be run only when an operator resumes it? The fault says why.
    pub fn suspended(&self, work: &Work) -> Option<Fault> {
        let name = work.name();
        let suspended = |why: &str| Fault::new(Kind::Unavailable, "suspended", why.to_owned());
        if self.state.lock().known.suspended.contains(&name) {
            return Some(suspended(match work {
                Work::Rows(_) => {
                    "the server ended twice in a row while it replayed or committed the table's rows"
                }
                Work::Refresh(_) => {
                    "the server ended twice in a row while it refreshed the view; resume it with REFRESH MATERIALIZED VIEW"
                }
                Work::Look(_) => {
                    "the server ended twice in a row while it evaluated the alert; resume it with ALTER ALERT .. RESUME"
                }
                Work::Upkeep(..) => {
                    "the server ended twice in a row while upkeep of this kind worked on the table; run OPTIMIZE of the table, which resumes all upkeep of it"
                }
            }));
        }
        let held = self.held.lock();
        if !held.all || held.resumed.contains(&name) {
            return None;
        }
        match work {
            Work::Rows(_) => None,
            Work::Refresh(_) => Some(suspended(
                "the server was started with --safe; resume the view with REFRESH MATERIALIZED VIEW, or start without --safe",
            )),
            Work::Look(_) => Some(suspended(
                "the server was started with --safe; resume the alert with ALTER ALERT .. RESUME, or start without --safe",
            )),
            Work::Upkeep(..) => Some(suspended(
                "the server was started with --safe; run OPTIMIZE of the table, which resumes all upkeep of it, or start without --safe",
            )),
        }
    }

    /// Everything suspended whose rows are a table's.
    pub fn suspended_rows(&self) -> BTreeSet<u64> {
        numbers(&self.state.lock().known.suspended)
    }

    /// An operator wants it run again. If it ends the process once more, it is suspended at once.
    pub fn resume(&self, work: &Work) {
        let name = work.name();
        self.held.lock().resumed.insert(name.clone());
        let mut state = self.state.lock();
        if state.known.suspended.remove(&name) {
            state.known.suspected.insert(name);
            self.save(&state.known);
        }
    }

    /// It is no more.
    pub fn forget(&self, work: &Work) {
        let name = work.name();
        let mut state = self.state.lock();
        let known = &mut state.known;
        if known.suspended.remove(&name) | known.suspected.remove(&name) {
            self.save(&state.known);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.running.state.lock();
        if let Some(at) = self.at {
            state.taken.remove(&at);
            if let Some(file) = &state.slots
                && let Err(error) = file.write_at(&FREE, (at * SLOT) as u64)
            {
                tracing::debug!(%error, "a slot was not freed");
            }
        }
        // It has ended, well or with an error, and the process lives.
        let Some(name) = &self.suspect else { return };
        if let Some(cleared) = &mut state.cleared {
            cleared.insert(name.clone());
        }
        if state.known.suspected.remove(name) {
            self.running.save(&state.known);
        }
    }
}

fn numbers(names: &BTreeSet<String>) -> BTreeSet<u64> {
    let rows = names.iter().filter_map(|name| name.strip_prefix("rows "));
    rows.filter_map(|number| number.parse().ok()).collect()
}
