//! What is running now, in a small file that outlives the process: what ended it twice in a row is not run a third time.
//!
//! Work that can take the whole process with it (the replay and commit of a table's rows, the refresh of a view, the look of
//! an alert, upkeep of a table) takes a slot of the file `running` while it runs. The slots are written without a sync: they stand in the page
//! cache, which outlives a killed process. After a power cut they may be old, and then nobody is suspected who was not
//! running shortly before.
//!
//! A start finds the slots that are still taken. Their work is *suspected*: suspects run one at a time, and each until it has
//! ended once. Work that was running as a suspect when the process ended again is *suspended* until an operator resumes it.
//! Suspects and suspended work stand in the file `suspects`, which is synced.
//!
//! A slot, 320 bytes:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | 0 free, 1 taken, 2 taken by a suspect |
//! | 1 | 1 | length of the name |
//! | 2 | n | name: the kind of work and whose it is |

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use crate::fault::{Fault, Kind};

const SLOT: usize = 320;
const NAME_MAX: usize = 255;
/// Work beyond it runs without a slot.
const SLOTS_MAX: usize = 4096;
/// How long a suspect waits for another one to end.
const TURN_WAIT: Duration = Duration::from_secs(60);
const FREE: u8 = 0;
const TAKEN: u8 = 1;
const TAKEN_BY_SUSPECT: u8 = 2;

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

#[derive(Debug, Default, Serialize, Deserialize)]
struct Suspects {
    suspected: BTreeSet<String>,
    suspended: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct State {
    /// None: it could not be made, and nothing is noted.
    slots: Option<File>,
    taken: BTreeMap<usize, u8>,
    known: Suspects,
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
        let left = fs::read(dir.join("running")).unwrap_or_default();
        let mut known: Suspects = fs::read(dir.join("suspects"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        for (name, as_suspect) in taken(&left) {
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
        let path = self.dir.join("suspects");
        let saved = if known.suspected.is_empty() && known.suspended.is_empty() {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        } else {
            // Plain data: cannot fail.
            let json = serde_json::to_vec(known).unwrap_or_default();
            let fresh = self.dir.join("suspects.tmp");
            File::create(&fresh)
                .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()))
                .and_then(|()| fs::rename(&fresh, &path))
                .and_then(|()| File::open(&*self.dir)?.sync_all())
        };
        if let Err(error) = saved {
            tracing::warn!(%error, "what is suspected of having ended the process is not on disk");
        }
    }

    /// Was it running when the process ended, and has not ended by itself since?
    pub fn is_suspected(&self, work: &Work) -> bool {
        self.state.lock().known.suspected.contains(&work.name())
    }

    /// The work begins. A suspect waits until no other one runs.
    pub async fn enter(&self, work: &Work) -> Slot {
        let name = work.name();
        let suspected = self.state.lock().known.suspected.contains(&name);
        let alone = if suspected {
            // Work inside other work would wait for itself.
            let turn = self.alone.clone().lock_owned();
            tokio::time::timeout(TURN_WAIT, turn).await.ok()
        } else {
            None
        };
        self.take(name, suspected, alone)
    }

    /// [`Running::enter`] where nothing else runs yet.
    pub fn enter_at_start(&self, work: &Work) -> Slot {
        let name = work.name();
        let suspected = self.state.lock().known.suspected.contains(&name);
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
        let at = (0..SLOTS_MAX).find(|at| !state.taken.contains_key(at));
        let how = if suspected { TAKEN_BY_SUSPECT } else { TAKEN };
        if let (Some(at), Some(file)) = (at, &state.slots) {
            let mut slot = vec![how, u8::try_from(name.len()).unwrap_or(u8::MAX)];
            slot.extend_from_slice(name.as_bytes());
            slot.resize(SLOT, 0);
            if let Err(error) = file.write_at(&slot, (at * SLOT) as u64) {
                tracing::debug!(%error, "a slot was not written");
            }
        }
        if let Some(at) = at {
            state.taken.insert(at, how);
        }
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

    /// The tables whose rows were being worked on when the last process ended.
    pub fn suspected_rows(&self) -> BTreeSet<u64> {
        numbers(&self.state.lock().known.suspected)
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
                && let Err(error) = file.write_at(&[FREE], (at * SLOT) as u64)
            {
                tracing::debug!(%error, "a slot was not freed");
            }
        }
        // It has ended, well or with an error, and the process lives.
        if let Some(name) = &self.suspect
            && state.known.suspected.remove(name)
        {
            self.running.save(&state.known);
        }
    }
}

fn numbers(names: &BTreeSet<String>) -> BTreeSet<u64> {
    let rows = names.iter().filter_map(|name| name.strip_prefix("rows "));
    rows.filter_map(|number| number.parse().ok()).collect()
}

/// Names of the slots that are taken, and whether by a suspect.
fn taken(bytes: &[u8]) -> Vec<(String, bool)> {
    let slots = bytes.chunks(SLOT);
    let named = slots.filter_map(|slot| {
        let (how, rest) = slot.split_first()?;
        let (length, rest) = rest.split_first()?;
        let name = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
        let known = [TAKEN, TAKEN_BY_SUSPECT].contains(how) && !name.is_empty();
        known.then(|| (name.to_owned(), *how == TAKEN_BY_SUSPECT))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The process ends while `work` runs.
    fn killed(running: &Running, work: &Work) {
        std::mem::forget(running.enter_at_start(work));
    }

    #[test]
    fn what_ends_the_process_twice_in_a_row_is_suspended_until_it_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let (guilty, bystander) = (Work::Rows(7), Work::Refresh(8));
        let first = Running::open(dir.path(), false);
        drop(first.enter_at_start(&Work::Rows(9)));
        killed(&first, &guilty);
        killed(&first, &bystander);
        // Nobody is suspended for one crash.
        let second = Running::open(dir.path(), false);
        assert_eq!(second.suspected_rows(), BTreeSet::from([7]));
        assert_eq!(second.suspended(&guilty), None);
        drop(second.enter_at_start(&bystander));
        killed(&second, &guilty);
        let third = Running::open(dir.path(), false);
        assert_eq!(third.suspended_rows(), BTreeSet::from([7]));
        assert_eq!(third.suspended(&bystander), None);
        let told = third.suspended(&guilty).unwrap();
        assert!(told.message.contains("twice"), "{told}");
        // It stays so over a start in which it does not run.
        let fourth = Running::open(dir.path(), false);
        assert!(fourth.suspended(&guilty).is_some());
        // Resumed, one more crash is enough.
        fourth.resume(&guilty);
        assert_eq!(fourth.suspended(&guilty), None);
        killed(&fourth, &guilty);
        let fifth = Running::open(dir.path(), false);
        assert!(fifth.suspended(&guilty).is_some());
        // Resumed and ended: forgotten.
        fifth.resume(&guilty);
        drop(fifth.enter_at_start(&guilty));
        let sixth = Running::open(dir.path(), false);
        assert!(sixth.suspected_rows().is_empty() && sixth.suspended_rows().is_empty());
        assert!(!dir.path().join("suspects").exists());
    }

    #[test]
    fn upkeep_that_does_not_end_the_process_does_not_clear_upkeep_that_does() {
        let dir = tempfile::tempdir().unwrap();
        let (guilty, other) = (
            Work::Upkeep(7, Task::Vacuum),
            Work::Upkeep(7, Task::Compaction),
        );
        killed(&Running::open(dir.path(), false), &guilty);
        let second = Running::open(dir.path(), false);
        drop(second.enter_at_start(&other));
        assert!(second.is_suspected(&guilty));
        killed(&second, &guilty);
        let third = Running::open(dir.path(), false);
        assert!(third.suspended(&guilty).is_some() && third.suspended(&other).is_none());
        assert!(third.suspended_rows().is_empty());
    }

    #[test]
    fn a_safe_start_holds_views_alerts_and_upkeep_and_no_tables() {
        let dir = tempfile::tempdir().unwrap();
        let safe = Running::open(dir.path(), true);
        let (view, alert) = (Work::Refresh(1), Work::Look("a.b".to_owned()));
        assert!(safe.suspended(&Work::Upkeep(1, Task::Compaction)).is_some());
        assert_eq!(safe.suspended(&Work::Rows(1)), None);
        assert!(safe.suspended(&view).is_some() && safe.suspended(&alert).is_some());
        safe.resume(&view);
        assert_eq!(safe.suspended(&view), None);
        assert!(safe.suspended(&alert).is_some());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        for bytes in [vec![1, 255], vec![2], vec![1; 3000], vec![]] {
            let _ = taken(&bytes);
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("suspects"), b"{").unwrap();
        fs::write(dir.path().join("running"), [1; 900]).unwrap();
        let running = Running::open(dir.path(), false);
        assert!(running.suspended_rows().is_empty());
    }
}
