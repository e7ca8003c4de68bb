//! Start: from the oldest checkpoint and the frames behind it to the state before the crash. Nothing is validated again;
//! each frame's rows go where its verdict sends them, unless the table's `txn` says that a commit holds them already.
//!
//! What goes wrong with one table parks it (`parked`) and stops no other: its frames are held as they are, until a repair
//! replays them.

mod frames;
mod opening;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Registry;
use super::ddl_lock::Patience;
use super::expected::Holdings;
use super::lifecycle::quarantine_folder;
use super::parked::{ParkedState, Stage, guarded};
use super::parking::Parked;
use super::running::{Running, Slot};
use super::table::{Cold, Committed, ProducerEntry, Table};
use super::visible::Visible;
use crate::clock::Micros;
use crate::cold::{ColdTable, Lake};
use crate::dataset;
use crate::fault::{Fault, Kind};
use crate::records::{Checkpoint, Problem, SavedTable};
use crate::types::{Lsn, TableName};
use crate::validate::Validator;
use crate::wal::Aside;

pub use opening::{OpenedTable, claim, open_table};

/// A table, and the offsets up to which frames add no rows: they are in Delta, or were parked.
struct Open {
    table: Arc<Table>,
    main_from: Lsn,
    quarantine_from: Lsn,
    /// What its Delta tables hold, if they were read: the contract is theirs then. Else it is the log's newest.
    opened: Option<Holdings>,
}

/// Rebuilds tables, producers and hot rows. `app_prefix` is the log's uuid.
pub struct Recovery<'a> {
    pub lake: &'a Lake,
    pub log_uuid: String,
    pub registry: Registry,
    pub visible: &'a Visible,
    tables: HashMap<u64, Open>,
    /// Contracts by incarnation and version, as the log tells them: what a frame was judged by, whatever is in force now.
    contracts: HashMap<(u64, u32), Arc<Validator>>,
    /// Rows that stand beside the log, or why their file cannot be read, until their table is met.
    parked: HashMap<u64, Result<Parked, Fault>>,
    last: Lsn,
    now: Micros,
    /// Notes whose rows are being replayed.
    running: Running,
    replaying: Option<(u64, Slot)>,
    /// Incarnations that ended the process, twice in a row: nothing is done with their rows.
    suspended: BTreeMap<u64, Fault>,
}

/// What the last process left behind beside log and tables.
pub struct LastProcess {
    /// When this one starts.
    pub now: Micros,
    pub running: Running,
    /// Why nothing is done with the rows of these incarnations.
    pub suspended: BTreeMap<u64, Fault>,
}

impl<'a> Recovery<'a> {
    pub async fn start(
        lake: &'a Lake,
        log_uuid: String,
        visible: &'a Visible,
        checkpoint: Option<&[u8]>,
        tail: Lsn,
        aside: &Aside,
        before: LastProcess,
    ) -> Result<Self, Fault> {
        let mut parked = HashMap::new();
        for (incarnation, body) in aside.read_all()? {
            let read = Parked::read(body);
            aside.mark(incarnation, read.is_ok());
            parked.insert(incarnation, read);
        }
        let mut this = Recovery {
            lake,
            log_uuid,
            registry: Registry::default(),
            visible,
            tables: HashMap::new(),
            contracts: HashMap::new(),
            parked,
            last: tail,
            now: before.now,
            running: before.running,
            replaying: None,
            suspended: before.suspended,
        };
        let Some(bytes) = checkpoint else {
            return Ok(this);
        };
        let unreadable = |problem: Problem| problem.of_checkpoint();
        let checkpoint = Checkpoint::decode(bytes).map_err(unreadable)?;
        this.registry
            .restore(checkpoint.lives, checkpoint.next_incarnation);
        for saved in checkpoint.tables {
            this.open(saved).await?;
        }
        Ok(this)
    }

    /// Opens a table where its `txn` left it, or parks it. A table that was dropped further down the log may be gone from the
    /// store: it is parked until the drop is met.
    ///
    /// # Errors
    /// DATA_LOSS `log_is_old_copy`: about the log, not about the table.
    async fn open(&mut self, saved: SavedTable) -> Result<(), Fault> {
        let name = saved.contract.table.clone();
        let number = saved.incarnation.get();
        let logged = Arc::new(saved.contract.clone());
        let validator = Arc::new(Validator::new(logged.clone()));
        self.contracts.insert((number, logged.version), validator);
        let app = format!("{}/{}", self.log_uuid, saved.incarnation);
        let opening = open_table(self.lake, &app, &saved.folder, saved.contract, None);
        let opened = guarded("opening the table", opening).await;
        let (aside, unread) = match self.parked.remove(&number) {
            None => (None, None),
            Some(Ok(rows)) => (Some(rows), None),
            Some(Err(fault)) => (None, Some(fault)),
        };
        let expected = saved.expected;
        let (table, problem, holdings) = match opened {
            Ok(opened) => {
                let beyond = opened.committed.max(opened.quarantined);
                if beyond > self.last {
                    return Err(old_copy(&name, beyond, self.last));
                }
                let holdings = opened.holdings();
                let table = Table::new(
                    saved.incarnation,
                    Arc::new(opened.contract),
                    saved.folder,
                    Cold::new(opened.main, opened.quarantine),
                    Committed::default(),
                );
                (table, None, Some(holdings))
            }
            Err(fault) => {
                let schema = logged.table_schema();
                let folder = &saved.folder;
                let main = ColdTable::closed(self.lake, folder, schema, &logged.partition_by)?;
                let quarantine = ColdTable::closed(
                    self.lake,
                    &quarantine_folder(folder),
                    dataset::quarantine_schema(),
                    &["ingest_date".to_owned()],
                )?;
                let cold = Cold::new(main, quarantine);
                let table = Table::new(
                    saved.incarnation,
                    logged,
                    saved.folder,
                    cold,
                    Committed::default(),
                );
                (table, Some((Stage::Open, fault)), None)
            }
        };
        let positions = holdings.map(|held| (held.committed[0], held.committed[1]));
        let table = Arc::new(table);
        table.in_log_order(|producers| {
            for p in &saved.producers {
                let entry = ProducerEntry {
                    seen: p.seen,
                    ..super::producer::Producer::restore(p).into()
                };
                producers.insert(p.name.as_str().into(), entry);
            }
        });
        if saved.forgetful {
            table.mark_forgetful();
        }
        let views = table
            .files_within(Patience::of_own_work(), |cold| {
                let committed = positions.map_or(Lsn::ZERO, |(committed, _)| committed);
                table.note_committed(cold, committed);
                (cold.main.view(), cold.quarantine.view())
            })
            .await?;
        self.registry.insert(table.clone());
        self.visible.add_table(table.clone(), views.0, views.1);
        self.visible.restore_days(&table, saved.days, saved.replays);
        let committed = holdings.map(|held| held.committed).unwrap_or_default();
        self.visible.restore_expected(&table, expected, committed);
        table.backlog.lock().unread = unread.is_some();
        // A damaged file stays where it is, and so do the frames that may follow on it.
        let problem = problem.or_else(|| unread.map(|fault| (Stage::Parked, fault)));
        let problem = problem.or_else(|| {
            let fault = self.suspended.get(&number)?;
            Some((Stage::Crash, fault.clone()))
        });
        let (mut main_from, mut quarantine_from) = positions.unwrap_or_default();
        if let Some(rows) = &aside {
            *table.expected.lock() = expected.without(rows);
        }
        match aside {
            None => {}
            Some(rows) if problem.is_some() || !rows.frames.is_empty() => {
                // Which of them are committed is known when the table can be read.
                main_from = main_from.max(rows.cut);
                quarantine_from = quarantine_from.max(rows.cut);
                self.visible.set_parked(&table, rows.cut);
                table.backlog.lock().rows = Some(rows);
            }
            Some(rows) => {
                main_from = main_from.max(rows.cut);
                quarantine_from = quarantine_from.max(rows.cut);
                let (committed, quarantined) = positions.unwrap_or_default();
                self.visible
                    .restore_parked(&table, rows, committed, quarantined);
            }
        }
        if let Some((stage, fault)) = problem {
            self.park(&table, stage, &fault);
        } else if table.backlog.lock().rows.is_some() {
            let fault = Fault::new(
                Kind::Unavailable,
                "frames_not_replayed",
                "frames that stand beside the log were not replayed yet",
            );
            self.park(&table, Stage::Replay, &fault);
        }
        self.tables.insert(
            number,
            Open {
                table,
                main_from,
                quarantine_from,
                opened: holdings,
            },
        );
        Ok(())
    }

    fn park(&self, table: &Table, stage: Stage, fault: &Fault) {
        if !table.is_parked() {
            table.park(ParkedState::new(stage, fault, self.now));
        }
    }

    /// Incarnations whose parked rows nobody asked for: their tables were dropped. A file that cannot be read stays.
    pub fn unclaimed(&self) -> impl Iterator<Item = u64> {
        self.parked.iter().filter_map(|(number, rows)| match rows {
            Ok(_) => Some(*number),
            Err(fault) => {
                tracing::warn!("a file of parked rows belongs to no table and stays: {fault}");
                None
            }
        })
    }

    /// Compares each table with what the log says of its commits, after the last frame. One that holds less is parked: nothing is
    /// committed on top of a Delta log that has lost entries.
    pub fn compare(&self) {
        for open in self.tables.values() {
            let Some(held) = open.opened else {
                continue;
            };
            let expected = *open.table.expected.lock();
            match expected.check(&open.table.folder, held) {
                Ok(()) => open.table.expected.lock().raise_offsets(held.committed),
                Err(fault) => self.park(&open.table, Stage::Open, &fault),
            }
        }
    }

    /// Claims each table for this start, before any ack. One that cannot be claimed is parked.
    pub async fn claim(&self) {
        for Open { table, .. } in self.tables.values() {
            if table.is_parked() {
                continue;
            }
            let locked = table.commit_lock_within(Patience::of_own_work()).await;
            let mut cold = match locked {
                Ok(cold) => cold,
                Err(fault) => {
                    self.park(table, Stage::Claim, &fault);
                    continue;
                }
            };
            let Cold {
                main, quarantine, ..
            } = &mut *cold;
            if let Err(fault) = guarded("claiming the table", claim(main, quarantine)).await {
                self.park(table, Stage::Claim, &fault);
                continue;
            }
            self.visible
                .replace_cold(table, cold.main.view(), cold.quarantine.view());
            table.note_version(&cold);
        }
    }
}

fn old_copy(name: &TableName, beyond: Lsn, last: Lsn) -> Fault {
    Fault::new(
        Kind::Corrupt,
        "log_is_old_copy",
        format!(
            "table {name} holds rows up to offset {beyond}, but this log ends at {last}: the log is an old copy, and serving from it would write rows twice; restore the newest log, or start with an empty data directory that points at the same tables"
        ),
    )
}
