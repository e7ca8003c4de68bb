//! Start: from the oldest checkpoint and the frames behind it to the state before the crash. Nothing is validated again;
//! each frame's rows go where its verdict sends them, unless the table's `txn` says that a commit holds them already.
//!
//! What goes wrong with one table parks it (`parked`) and stops no other: its frames are held as they are, until a repair
//! replays them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Registry;
use super::expected::Holdings;
use super::lifecycle::{OWNER_TXN, quarantine_folder};
use super::parked::{HeldFrame, ParkedState, Stage, guarded};
use super::parking::Parked;
use super::replayed::ReplayedFrame;
use super::running::{Running, Slot, Work};
use super::table::{Cold, Committed, ProducerEntry, Table};
use super::visible::Visible;
use crate::clock::Micros;
use crate::cold::{ColdTable, Lake};
use crate::dataset::{self, Contract};
use crate::fault::{Fault, Kind};
use crate::records::{Checkpoint, Day, Epoch, Expected, Problem, Record, SavedTable};
use crate::types::{Incarnation, Lsn, TableName};
use crate::validate::{Applied, Validator};
use crate::wal::{Aside, Frame, FrameKind};

/// The contract as the Delta table tells it: what others have changed there is in force. The log's own stands in for a table
/// that tells none.
fn described(table: &ColdTable, logged: Contract) -> Contract {
    let told = Contract::from_properties(
        logged.table.clone(),
        table.partition_by().to_vec(),
        &table.properties(),
    );
    match told.and_then(|c| c.validate_self().map(|()| c)) {
        Ok(contract) => {
            if contract != logged {
                tracing::info!(table = %logged.table, "the contract was changed in the Delta table, that one is in force");
            }
            contract
        }
        Err(error) => {
            tracing::warn!(table = %logged.table, %error, "the Delta table tells no contract, the log's is in force");
            logged
        }
    }
}

/// A table, and the offsets up to which frames add no rows: they are in Delta, or were parked.
struct Open {
    table: Arc<Table>,
    main_from: Lsn,
    quarantine_from: Lsn,
    /// What its Delta tables hold, if they were read: the contract is theirs then. Else it is the log's newest.
    opened: Option<Holdings>,
}

/// What a table's Delta logs say of it.
pub struct OpenedTable {
    pub main: ColdTable,
    pub quarantine: ColdTable,
    pub contract: Contract,
    /// The log's positions up to which rows are in them.
    pub committed: Lsn,
    pub quarantined: Lsn,
}

impl OpenedTable {
    pub fn holdings(&self) -> Holdings {
        Holdings {
            versions: [self.main.version(), self.quarantine.version()],
            committed: [self.committed, self.quarantined],
        }
    }
}

/// Reads both Delta tables. `known`: handles whose followers and staged files go on.
///
/// # Errors
/// DATA_LOSS `table_missing`, `table_damaged`; FAILED_PRECONDITION `schema_mismatch`; the store's.
pub async fn open_table(
    lake: &Lake,
    app: &str,
    folder: &str,
    logged: Contract,
    known: Option<&Cold>,
) -> Result<OpenedTable, Fault> {
    let name = logged.table.clone();
    let folders = [folder.to_owned(), quarantine_folder(folder)];
    let (main, quarantine) = match known {
        Some(known) => (
            known.main.reopened().await?,
            known.quarantine.reopened().await?,
        ),
        None => (
            ColdTable::open(lake, &folders[0]).await?,
            ColdTable::open(lake, &folders[1]).await?,
        ),
    };
    let missing = |folder: &str| {
        Fault::new(
            Kind::Corrupt,
            "table_missing",
            format!(
                "the log speaks of a table that is not in the store, table={name}, folder={folder}"
            ),
        )
    };
    let mut main = main.ok_or_else(|| missing(&folders[0]))?;
    let quarantine = quarantine.ok_or_else(|| missing(&folders[1]))?;
    let contract = described(&main, logged);
    main.conform_to(contract.table_schema())?;
    let position = |v: Option<i64>| Lsn::new(v.and_then(|v| u64::try_from(v).ok()).unwrap_or(0));
    let committed = position(main.read_txn(app).await?);
    let quarantined = position(quarantine.read_txn(app).await?);
    Ok(OpenedTable {
        main,
        quarantine,
        contract,
        committed,
        quarantined,
    })
}

/// Makes this server the owner of both tables: a commit with the next owner epoch (DESIGN, "Ownership").
///
/// # Errors
/// The store's; UNAVAILABLE `owned_elsewhere` when another server claims at the same moment.
pub async fn claim(main: &mut ColdTable, quarantine: &mut ColdTable) -> Result<(), Fault> {
    let ours = main.read_txn(OWNER_TXN).await?;
    let theirs = quarantine.read_txn(OWNER_TXN).await?;
    let epoch = ours.max(theirs).unwrap_or(0) + 1;
    quarantine.claim(OWNER_TXN, epoch).await?;
    main.claim(OWNER_TXN, epoch).await?;
    Ok(())
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
            .files(|cold| {
                let committed = positions.map_or(Lsn::ZERO, |(committed, _)| committed);
                table.note_committed(cold, committed);
                (cold.main.view(), cold.quarantine.view())
            })
            .await;
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

    /// # Errors
    /// DATA_LOSS `log_damaged`: a frame that is not a batch cannot be read.
    pub async fn frame(&mut self, frame: Frame) -> Result<(), Fault> {
        if frame.kind == FrameKind::Data {
            self.data(frame).await;
            return Ok(());
        }
        let number = frame.incarnation;
        match Record::decode(&frame)? {
            Record::Create(created) => {
                if !self.tables.contains_key(&number) {
                    let saved = SavedTable {
                        incarnation: Incarnation::new(number),
                        folder: created.folder,
                        contract: created.contract,
                        producers: Vec::new(),
                        days: BTreeMap::<i32, Day>::new(),
                        replays: 0,
                        forgetful: false,
                        expected: Expected::default(),
                    };
                    self.open(saved).await?;
                }
            }
            Record::Drop => {
                if let Some(Open { table, .. }) = self.tables.remove(&number) {
                    self.registry.remove(&table);
                    self.visible.remove_table(&table);
                }
            }
            Record::Epoch(change) => {
                if let Some(Open { table, .. }) = self.tables.get(&number) {
                    table.in_log_order(|producers| match change {
                        Epoch::Forgotten { producer } => {
                            producers.remove(&producer);
                            table.mark_forgetful();
                        }
                        Epoch::Opened {
                            producer,
                            epoch,
                            behind,
                        } => {
                            let state = &mut producers.entry(producer).or_default().state;
                            state.replay_epoch(epoch);
                            state.resume(behind);
                        }
                    });
                }
            }
            Record::Replayed(replayed) => {
                if let Some(Open { table, .. }) = self.tables.get(&number) {
                    self.visible.count_replay(table, &replayed);
                }
            }
            Record::Alter(contract) => {
                let key = (number, contract.version);
                let contract = Arc::new(*contract);
                if let Some(Open { table, .. }) = self.tables.get(&number) {
                    let from = table.name();
                    if from != contract.table && self.visible.rename_table(table, &contract.table) {
                        self.registry.rename(table, &from);
                    }
                }
                if let Some(open) = self.tables.get(&number)
                    && open.opened.is_none()
                {
                    open.table.set_contract(contract.clone());
                }
                self.contracts
                    .insert(key, Arc::new(Validator::new(contract)));
            }
            Record::Done(done) => {
                if let Some(Open { table, opened, .. }) = self.tables.get(&number) {
                    let before = *table.expected.lock();
                    let after = before.after(&done);
                    if after.is_below(before) {
                        let committed = opened.map(|held| held.committed).unwrap_or_default();
                        self.visible.restore_expected(table, after, committed);
                    } else {
                        *table.expected.lock() = after;
                    }
                }
            }
            // Replay decides by the tables' `txn`s. A segment's state was read before its frames.
            Record::Intent(_) | Record::Checkpoint(_) | Record::Data(_) => {}
        }
        Ok(())
    }

    /// A frame that cannot be replayed parks its table, and is held with all that follow.
    async fn data(&mut self, frame: Frame) {
        let number = frame.incarnation;
        if self.replaying.as_ref().is_none_or(|(of, _)| *of != number) {
            self.replaying = None;
            let slot = self.running.enter_part(&Work::Rows(number));
            self.replaying = Some((number, slot));
        }
        let Some(open) = self.tables.get(&number) else {
            return;
        };
        let table = open.table.clone();
        if !table.is_parked() {
            let what = format!("replaying the frame at {}", frame.offset);
            let Err(fault) = guarded(&what, async { self.rows(open, &frame) }).await else {
                return;
            };
            self.park(&table, Stage::Replay, &fault);
        }
        self.hold(open, frame).await;
    }

    async fn hold(&self, open: &Open, frame: Frame) {
        let table = &open.table;
        let crashed = table.parked().is_some_and(|p| p.stage == Stage::Crash);
        let mut counted = false;
        // Its numbers and counts are known to the next checkpoint, its rows wait.
        if !crashed
            && let Ok(read) =
                guarded("reading a frame", async { ReplayedFrame::read(&frame) }).await
        {
            read.note_producer(table, frame.offset);
            self.visible
                .count_arrival(table, &read.arrival(frame.offset));
            counted = true;
        }
        let mut backlog = table.backlog.lock();
        if frame.offset <= open.main_from && frame.offset <= open.quarantine_from {
            // It is committed, or stands beside the log.
            let beside = backlog.rows.iter_mut().flat_map(|rows| &mut rows.frames);
            for held in beside.filter(|held| held.frame.offset == frame.offset) {
                held.counted |= counted;
            }
            return;
        }
        let contracts = self.contracts.iter();
        let own = contracts.filter(|((incarnation, _), _)| *incarnation == frame.incarnation);
        for ((_, version), validator) in own {
            let contract = validator.contract().clone();
            backlog.contracts.insert(*version, contract);
        }
        backlog.frames.push(HeldFrame { frame, counted });
    }

    fn rows(&self, open: &Open, frame: &Frame) -> Result<(), Fault> {
        let Open {
            table,
            main_from,
            quarantine_from,
            ..
        } = open;
        let read = ReplayedFrame::read(frame)?;
        // Both sides in Delta: only the counts are wanted.
        let applied = if frame.offset > *main_from || frame.offset > *quarantine_from {
            let now = table.validator();
            // The verdict and its columns are about the contract that the batch was judged by.
            let logged = self
                .contracts
                .get(&(frame.incarnation, frame.contract_version));
            let judged_by = match logged {
                Some(logged) if frame.contract_version != now.contract().version => logged,
                _ => &now,
            };
            read.rows(judged_by, now.contract())?
        } else {
            Applied::default()
        };
        read.note_producer(table, frame.offset);
        let arrival = read.arrival(frame.offset);
        self.visible
            .replay_rows(table, applied, arrival, *main_from, *quarantine_from);
        Ok(())
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
            let mut cold = table.commit_lock().await;
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
