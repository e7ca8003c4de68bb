//! The frames behind the checkpoint, one after another: what each does to tables, producers and hot rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::parked::{HeldFrame, Stage, guarded};
use super::super::replayed::ReplayedFrame;
use super::super::running::Work;
use super::{Open, Recovery};
use crate::fault::Fault;
use crate::records::{Day, Epoch, Expected, Record, SavedTable};
use crate::types::Incarnation;
use crate::validate::Validator;
use crate::wal::{Frame, FrameKind};

impl Recovery<'_> {
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
        let now = table.validator();
        // The verdict and its columns are about the contract that the batch was judged by.
        let logged = self
            .contracts
            .get(&(frame.incarnation, frame.contract_version));
        let judged_by = match logged {
            Some(logged) if frame.contract_version != now.contract().version => logged,
            _ => &now,
        };
        let committed = (*main_from, *quarantine_from);
        let applied = read.rows((frame.offset, committed), judged_by, now.contract())?;
        read.note_producer(table, frame.offset);
        let arrival = read.arrival(frame.offset);
        self.visible
            .replay_rows(table, applied, arrival, *main_from, *quarantine_from);
        Ok(())
    }
}
