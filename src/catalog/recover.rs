//! Start: from the oldest checkpoint and the frames behind it to the state before the crash. Nothing is validated again;
//! each frame's rows go where its verdict sends them, unless the table's `txn` says that a commit holds them already.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Created, SavedTable};
use super::lifecycle::{OWNER_TXN, quarantine_folder};
use super::parking::Parked;
use super::producer::Totals;
use super::table::{Cold, Committed, FORGOTTEN_EPOCH, ProducerEntry, Table};
use super::visible::{Arrival, ProducerMove, Visible};
use super::{Day, Registry, Replayed};
use crate::clock;
use crate::cold::{ColdTable, Lake};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::hot;
use crate::ingest::{self, payload};
use crate::types::{Incarnation, Lsn};
use crate::validate::{Applied, Origin, Source, Validator};
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
    /// Tables whose folder is gone. Fine if a drop follows in the log, a loss if not.
    missing: HashMap<u64, String>,
    /// Rows that stand beside the log, until their table is met.
    parked: HashMap<u64, Parked>,
    last: Lsn,
}

impl<'a> Recovery<'a> {
    pub async fn start(
        lake: &'a Lake,
        log_uuid: String,
        visible: &'a Visible,
        checkpoint: Option<&[u8]>,
        tail: Lsn,
        aside: &Aside,
    ) -> Result<Self, Fault> {
        let mut parked = HashMap::new();
        for (incarnation, body) in aside.read_all()? {
            parked.insert(incarnation, Parked::decode(&body)?);
        }
        let mut this = Recovery {
            lake,
            log_uuid,
            registry: Registry::default(),
            visible,
            tables: HashMap::new(),
            contracts: HashMap::new(),
            missing: HashMap::new(),
            parked,
            last: tail,
        };
        let Some(bytes) = checkpoint else {
            return Ok(this);
        };
        let checkpoint = Checkpoint::decode(bytes)?;
        this.registry
            .restore(checkpoint.lives, checkpoint.next_incarnation);
        for saved in checkpoint.tables {
            this.open(saved).await?;
        }
        Ok(this)
    }

    /// Opens a table where its `txn` left it. A table that was dropped further down the log may be gone from the store: its
    /// frames are skipped until the drop is met.
    async fn open(&mut self, saved: SavedTable) -> Result<(), Fault> {
        let name = saved.contract.table.clone();
        let main = ColdTable::open(self.lake, &saved.folder).await?;
        let quarantine = ColdTable::open(self.lake, &quarantine_folder(&saved.folder)).await?;
        let (Some(mut main), Some(quarantine)) = (main, quarantine) else {
            self.missing.insert(
                saved.incarnation.get(),
                format!("{name} (folder {})", saved.folder),
            );
            return Ok(());
        };
        let incarnation = saved.incarnation.get();
        let logged = Validator::new(Arc::new(saved.contract.clone()));
        self.contracts
            .insert((incarnation, saved.contract.version), Arc::new(logged));
        let contract = described(&main, saved.contract);
        main.conform_to(contract.table_schema())?;
        let app = format!("{}/{}", self.log_uuid, saved.incarnation);
        let position =
            |v: Option<i64>| Lsn::new(v.and_then(|v| u64::try_from(v).ok()).unwrap_or(0));
        let committed = position(main.read_txn(&app).await?);
        let quarantined = position(quarantine.read_txn(&app).await?);
        let beyond = committed.max(quarantined);
        if beyond > self.last {
            return Err(Fault::new(
                Kind::Corrupt,
                "log_is_old_copy",
                format!(
                    "table {name} holds rows up to offset {beyond}, but this log ends at {}: the log is an old copy, and serving from it would write rows twice; restore the newest log, or start with an empty data directory that points at the same tables",
                    self.last
                ),
            ));
        }
        let views = (main.view(), quarantine.view());
        let version = main.version();
        let table = Arc::new(Table::new(
            saved.incarnation,
            Arc::new(contract),
            saved.folder,
            Cold::new(main, quarantine),
            Committed {
                offset: committed,
                version,
            },
        ));
        {
            let mut producers = table.producers.lock();
            for p in &saved.producers {
                let entry = ProducerEntry {
                    seen: p.seen,
                    ..super::producer::Producer::restore(p).into()
                };
                producers.insert(p.name.as_str().into(), entry);
            }
        }
        if saved.forgetful {
            table.mark_forgetful();
        }
        self.registry.insert(table.clone());
        self.visible.add_table(table.clone(), views.0, views.1);
        self.visible.restore_days(&table, saved.days, saved.replays);
        let (mut main_from, mut quarantine_from) = (committed, quarantined);
        if let Some(parked) = self.parked.remove(&table.incarnation.get()) {
            main_from = main_from.max(parked.cut);
            quarantine_from = quarantine_from.max(parked.cut);
            self.visible
                .restore_parked(&table, parked, committed, quarantined);
        }
        self.tables.insert(
            table.incarnation.get(),
            Open {
                table,
                main_from,
                quarantine_from,
            },
        );
        Ok(())
    }

    pub async fn frame(&mut self, frame: Frame) -> Result<(), Fault> {
        match frame.kind {
            FrameKind::Create => {
                let created: Created = serde_json::from_slice(&frame.payload).map_err(|e| {
                    Fault::new(
                        Kind::Corrupt,
                        "log_damaged",
                        format!("create frame at {}: {e}", frame.offset),
                    )
                })?;
                if !self.tables.contains_key(&frame.incarnation) {
                    let saved = SavedTable {
                        incarnation: Incarnation::new(frame.incarnation),
                        folder: created.folder,
                        contract: created.contract,
                        producers: Vec::new(),
                        days: BTreeMap::<i32, Day>::new(),
                        replays: 0,
                        forgetful: false,
                    };
                    self.open(saved).await?;
                }
            }
            FrameKind::Drop => {
                self.missing.remove(&frame.incarnation);
                if let Some(Open { table, .. }) = self.tables.remove(&frame.incarnation) {
                    self.registry.remove(&table);
                    self.visible.remove_table(&table);
                }
            }
            FrameKind::Epoch => {
                if let Some(Open { table, .. }) = self.tables.get(&frame.incarnation) {
                    let mut producers = table.producers.lock();
                    if frame.epoch == FORGOTTEN_EPOCH {
                        producers.remove(&frame.producer);
                        table.mark_forgetful();
                    } else {
                        let state = &mut producers.entry(frame.producer.clone()).or_default().state;
                        state.replay_epoch(frame.epoch);
                        state.resume(frame.seq);
                    }
                }
            }
            FrameKind::Data => self.rows(&frame)?,
            FrameKind::Replayed => {
                let replayed: Replayed = serde_json::from_slice(&frame.payload).map_err(|e| {
                    Fault::new(
                        Kind::Corrupt,
                        "log_damaged",
                        format!("replay frame at {}: {e}", frame.offset),
                    )
                })?;
                if let Some(Open { table, .. }) = self.tables.get(&frame.incarnation) {
                    self.visible.count_replay(table, &replayed);
                }
            }
            FrameKind::Alter => {
                let contract: Contract = serde_json::from_slice(&frame.payload).map_err(|e| {
                    Fault::new(
                        Kind::Corrupt,
                        "log_damaged",
                        format!("alter frame at {}: {e}", frame.offset),
                    )
                })?;
                let key = (frame.incarnation, contract.version);
                let validator = Validator::new(Arc::new(contract));
                self.contracts.insert(key, Arc::new(validator));
            }
            FrameKind::CommitIntent | FrameKind::CommitDone | FrameKind::Checkpoint => {}
        }
        Ok(())
    }

    fn rows(&self, frame: &Frame) -> Result<(), Fault> {
        let Some(Open {
            table,
            main_from,
            quarantine_from,
        }) = self.tables.get(&frame.incarnation)
        else {
            return Ok(());
        };
        let decoded = payload::decode(&frame.payload)?;
        let counts: Totals = ingest::counts(&decoded.verdict);
        let named = !frame.producer.is_empty();
        if named {
            let mut producers = table.producers.lock();
            let entry = producers.entry(frame.producer.clone()).or_default();
            entry.state.replay(
                frame.epoch,
                frame.seq,
                frame.batch_crc,
                frame.offset,
                counts,
            );
            entry.seen = entry.seen.max(decoded.arrived);
        }
        let applied = match &decoded.batch {
            // Both sides in Delta: only the counts are wanted.
            Some(batch) if frame.offset > *main_from || frame.offset > *quarantine_from => {
                let source = Source::new(if named {
                    &*frame.producer
                } else {
                    ingest::UNNAMED_SOURCE
                });
                let origin = Origin {
                    ingest_ts: decoded.arrived,
                    source: &source,
                    seq: i64::try_from(frame.seq).unwrap_or(i64::MAX),
                };
                let now = table.validator();
                // The verdict and its columns are about the contract that the batch was judged by.
                let logged = self
                    .contracts
                    .get(&(frame.incarnation, frame.contract_version));
                let validator = match logged {
                    Some(logged) if frame.contract_version != now.contract().version => logged,
                    _ => &now,
                };
                let applied = validator.replay(batch, &origin, &decoded.verdict)?;
                let schema = now.contract().table_schema();
                applied.reshaped(|rows| hot::conform(rows, &schema))
            }
            _ => Applied::default(),
        };
        let moved = named.then(|| ProducerMove {
            producer: frame.producer.clone(),
            seq: frame.seq,
        });
        let arrival = Arrival {
            day: clock::day_of(decoded.arrived),
            counts,
            violations: decoded.verdict.violations(),
            moved,
            offset: frame.offset,
        };
        self.visible
            .replay_rows(table, applied, arrival, *main_from, *quarantine_from);
        Ok(())
    }

    /// Incarnations whose parked rows nobody asked for: their tables were dropped.
    pub fn unclaimed(&self) -> impl Iterator<Item = u64> {
        self.parked.keys().copied()
    }

    /// Claims each table for this start (DESIGN, "Ownership"): a commit with the next owner epoch, before any ack.
    ///
    /// # Errors
    /// DATA_LOSS `table_missing`: the log has rows for a table whose folder is not in the store.
    pub async fn claim(&self) -> Result<(), Fault> {
        if let Some(name) = self.missing.values().next() {
            return Err(Fault::new(
                Kind::Corrupt,
                "table_missing",
                format!(
                    "the log speaks of a table that is not in the store, table={name}; bring the folder back, or check storage.tables"
                ),
            ));
        }
        for Open { table, .. } in self.tables.values() {
            let mut cold = table.cold.lock().await;
            let main = cold.main.read_txn(OWNER_TXN).await?;
            let quarantine = cold.quarantine.read_txn(OWNER_TXN).await?;
            let epoch = main.max(quarantine).unwrap_or(0) + 1;
            let views = {
                cold.quarantine.claim(OWNER_TXN, epoch).await?;
                cold.main.claim(OWNER_TXN, epoch).await?;
                (cold.main.view(), cold.quarantine.view())
            };
            self.visible.replace_cold(table, views.0, views.1);
            let offset = table.committed.borrow().offset;
            table.committed.send_replace(Committed {
                offset,
                version: cold.main.version(),
            });
        }
        Ok(())
    }
}
