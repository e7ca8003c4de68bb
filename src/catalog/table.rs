//! One table while it lives: its incarnation, contract and producers, and the lock under which it is committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sync::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::catalog::in_flight::OfTable;
use crate::catalog::locks::Locks;
use crate::catalog::parked::{Backlog, ParkedState};
use crate::catalog::producer;
use crate::catalog::visible::Part;
use crate::clock::Micros;
use crate::cold::{ColdTable, Recent};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::records::Expected;
use crate::types::{Incarnation, Lsn, TableName};
use crate::validate::Validator;

/// Keys that a table's uniqueness is held against: about 100 bytes each.
pub const DEDUP_KEYS_MAX: usize = 1_000_000;

/// A producer's admission state, and a bell that rings when its claim changes hands.
pub struct ProducerEntry {
    pub state: producer::Producer,
    pub changed: watch::Sender<u64>,
    /// When it was last heard of; 0: not known, after a start from an older log.
    pub seen: Micros,
    /// Streams that are open.
    pub streams: usize,
}

impl Default for ProducerEntry {
    fn default() -> Self {
        ProducerEntry {
            state: producer::Producer::default(),
            changed: watch::channel(0).0,
            seen: 0,
            streams: 0,
        }
    }
}

impl From<producer::Producer> for ProducerEntry {
    fn from(state: producer::Producer) -> Self {
        ProducerEntry {
            state,
            ..ProducerEntry::default()
        }
    }
}

/// How far a table's rows are in Delta: everything up to `offset` is in `version` or below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub offset: Lsn,
    pub version: i64,
}

/// The two Delta tables of one contract. Whoever holds the lock around it is the only one that commits.
pub struct Cold {
    pub main: ColdTable,
    pub quarantine: ColdTable,
    /// A commit of hot rows failed, and the store did not say whether it happened: to be asked before anything else.
    pub unsure: bool,
}

impl Cold {
    pub fn new(main: ColdTable, quarantine: ColdTable) -> Self {
        Cold {
            main,
            quarantine,
            unsure: false,
        }
    }

    pub fn part(&self, part: Part) -> &ColdTable {
        match part {
            Part::Main => &self.main,
            Part::Quarantine => &self.quarantine,
        }
    }

    pub fn part_mut(&mut self, part: Part) -> &mut ColdTable {
        match part {
            Part::Main => &mut self.main,
            Part::Quarantine => &mut self.quarantine,
        }
    }
}

struct Holder {
    id: u64,
    what: String,
    since: tokio::time::Instant,
}

/// See [`Table::hold`].
pub struct Hold {
    table: Arc<Table>,
    id: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.table.holders.lock().retain(|h| h.id != self.id);
    }
}

pub struct Table {
    pub incarnation: Incarnation,
    /// Changed by [`Table::rename`] alone.
    name: RwLock<TableName>,
    /// The contract in force, compiled. Changed by [`Table::set_contract`] alone, with the gate closed.
    validator: RwLock<Arc<Validator>>,
    pub folder: String,
    /// See [`super::locks`].
    pub(super) locks: Locks,
    /// Written with the commit lock held; waiters for `committed` acks watch it.
    committed: watch::Sender<Committed>,
    /// Wakes the flush early: enough bytes, or someone waits for a commit.
    pub flush_now: Notify,
    /// The last versions of table and quarantine.
    pub recent: [Recent; 2],
    /// Statements and upkeep that hold the commit lock for long, oldest first.
    holders: Mutex<Vec<Holder>>,
    dropped: AtomicBool,
    failing: AtomicBool,
    forgetful: AtomicBool,
    /// Why nobody may read or write it. Written by recovery, the flush and repair, the latter two with the commit lock.
    parked: RwLock<Option<Arc<ParkedState>>>,
    is_parked: AtomicBool,
    /// What recovery could not replay. Emptied by repair; short moments only.
    pub backlog: Mutex<Backlog>,
    /// What its Delta tables hold at least. Written by recovery and by whoever holds the commit lock; read by checkpoints.
    pub expected: Mutex<Expected>,
    pub unnamed_accepted: AtomicU64,
    /// Bytes of its batches that are judged and not yet visible.
    pub in_flight: OfTable,
}

impl Table {
    pub fn new(
        incarnation: Incarnation,
        contract: Arc<Contract>,
        folder: String,
        cold: Cold,
        committed: Committed,
    ) -> Self {
        Table {
            incarnation,
            name: RwLock::new(contract.table.clone()),
            validator: RwLock::new(Arc::new(Validator::new(contract))),
            folder,
            recent: [cold.main.recent(), cold.quarantine.recent()],
            locks: Locks::new(cold),
            committed: watch::channel(committed).0,
            flush_now: Notify::new(),
            holders: Mutex::default(),
            dropped: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            forgetful: AtomicBool::new(false),
            parked: RwLock::default(),
            is_parked: AtomicBool::new(false),
            backlog: Mutex::default(),
            expected: Mutex::default(),
            unnamed_accepted: AtomicU64::new(0),
            in_flight: OfTable::default(),
        }
    }

    pub fn name(&self) -> TableName {
        self.name.read().clone()
    }

    /// Its name from now on, also in its contract. Whoever finds tables by their names learns of it in the same step
    /// (`visible`).
    pub(super) fn rename(&self, to: &TableName) {
        let mut contract = (*self.contract()).clone();
        contract.table = to.clone();
        self.set_contract(Arc::new(contract));
        *self.name.write() = to.clone();
    }

    /// The contract in force.
    pub fn contract(&self) -> Arc<Contract> {
        self.validator.read().contract().clone()
    }

    /// What judges batches by the contract in force.
    pub fn validator(&self) -> Arc<Validator> {
        self.validator.read().clone()
    }

    pub fn set_contract(&self, contract: Arc<Contract>) {
        let validator = Arc::new(Validator::new(contract));
        *self.validator.write() = validator;
    }

    /// How far its rows are in Delta.
    pub fn committed(&self) -> Committed {
        *self.committed.borrow()
    }

    /// Tells of each commit, and of its being parked or dropped.
    pub fn commits(&self) -> watch::Receiver<Committed> {
        self.committed.subscribe()
    }

    /// Everything up to `offset` is in the newest version or below. `cold`: of the commit lock.
    pub fn note_committed(&self, cold: &Cold, offset: Lsn) {
        self.committed.send_replace(Committed {
            offset,
            version: cold.main.version(),
        });
    }

    /// A version has come that holds no more of the log's rows. `cold`: of the commit lock.
    pub fn note_version(&self, cold: &Cold) {
        self.note_committed(cold, self.committed().offset);
    }

    /// Everything up to `offset` is committed without a new version.
    pub fn note_nothing_hot(&self, offset: Lsn) {
        self.committed.send_if_modified(|now| {
            let moved = offset > now.offset;
            now.offset = now.offset.max(offset);
            moved
        });
    }

    /// # Errors
    /// NOT_FOUND `table_dropped`; UNAVAILABLE `table_parked`.
    pub fn check_alive(&self) -> Result<(), Fault> {
        if self.is_dropped() {
            return Err(self.dropped());
        }
        self.served()
    }

    /// Has it ever forgotten an idle producer? Then an unknown name is looked up in Delta.
    pub fn is_forgetful(&self) -> bool {
        self.forgetful.load(Ordering::Acquire)
    }

    pub fn mark_forgetful(&self) {
        self.forgetful.store(true, Ordering::Release);
    }

    /// Why it is parked; none: it is served.
    pub fn parked(&self) -> Option<Arc<ParkedState>> {
        if !self.is_parked() {
            return None;
        }
        self.parked.read().clone()
    }

    pub fn is_parked(&self) -> bool {
        self.is_parked.load(Ordering::Acquire)
    }

    /// From now on nobody reads or writes it. Whoever waits for a commit wakes.
    pub fn park(&self, state: ParkedState) {
        tracing::error!(
            table = %self.name(),
            stage = state.stage.word(),
            reason = %state.reason,
            problem = %state.problem,
            way_out = %state.way_out(&self.name()),
            "the table is parked; its rows are kept, all other tables are served"
        );
        self.stay_parked(state);
    }

    /// [`Table::park`] after a repair that found nothing new.
    pub fn stay_parked(&self, state: ParkedState) {
        *self.parked.write() = Some(Arc::new(state));
        self.is_parked.store(true, Ordering::Release);
        self.set_failing(true);
        self.committed.send_modify(|_| {});
    }

    pub fn unpark(&self) {
        self.is_parked.store(false, Ordering::Release);
        *self.parked.write() = None;
        self.set_failing(false);
    }

    /// # Errors
    /// UNAVAILABLE `table_parked`, with the reason and the way out.
    pub fn served(&self) -> Result<(), Fault> {
        match self.parked() {
            Some(state) => Err(state.fault(&self.name())),
            None => Ok(()),
        }
    }

    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    /// Its last commit did not succeed, or takes so long that it hardly will.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Told by the flush alone.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Release);
    }

    pub fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
        self.flush_now.notify_waiters();
        // Wakes whoever waits for a commit.
        self.committed.send_modify(|_| {});
    }

    /// What everyone is told who still wants something of it.
    pub fn dropped(&self) -> Fault {
        Fault::new(
            Kind::NotFound,
            "table_dropped",
            format!(
                "the table was dropped meanwhile, and its rows with it, table={}; CREATE TABLE it again",
                self.name()
            ),
        )
    }

    /// Notes who is about to hold the commit lock, for as long as the guard lives. `what`: as a user knows it.
    pub fn hold(self: &Arc<Self>, what: impl Into<String>) -> Hold {
        let mut holders = self.holders.lock();
        let id = holders.last().map_or(1, |h| h.id + 1);
        holders.push(Holder {
            id,
            what: what.into(),
            since: tokio::time::Instant::now(),
        });
        Hold {
            table: self.clone(),
            id,
        }
    }

    /// Who holds the table longest, and for how long.
    pub fn holder(&self) -> Option<String> {
        let holders = self.holders.lock();
        let oldest = holders.first()?;
        let secs = oldest.since.elapsed().as_secs_f64();
        Some(format!("{}, for {secs:.1} s", oldest.what))
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Table({}, incarnation={})",
            self.name(),
            self.incarnation
        )
    }
}
