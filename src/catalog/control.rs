//! Frames that are about a table and come from no producer, and how they get into the log.

use std::sync::Arc;

use super::Shared;
use super::table::Table;
use super::visible::FrameEffect;
use crate::fault::Fault;
use crate::records::{Intent, Record, Stamp};
use crate::types::Lsn;
use crate::wal::{AppendTicket, NewFrame, Reservation};

/// Bytes of a frame beside its payload.
pub(super) const FRAME_BYTES: usize = 512;

/// The frame of a record about a table, under the contract in force.
///
/// # Errors
/// INTERNAL: none that is known.
pub fn control_frame(table: &Table, record: Record) -> Result<NewFrame, Fault> {
    let stamp = Stamp {
        incarnation: table.incarnation,
        contract_version: table.contract().version,
    };
    Ok(record.encode(stamp)?)
}

/// Logs what an operator may want to know, or what a start is better off knowing. Nothing waits for it.
pub fn note(shared: &Shared, table: &Table, record: Record) {
    let noted =
        control_frame(table, record).and_then(|frame| Ok(shared.log.append_unsynced(frame)?));
    if let Err(fault) = noted {
        tracing::debug!(table = %table.name(), "commit note not logged: {fault}");
    }
}

/// Waits until every frame that has its place in the log by now is durable and visible.
///
/// # Errors
/// The log's.
pub async fn settle(shared: &Shared, table: &Table) -> Result<(), Fault> {
    append_synced(shared, table, Record::Intent(Intent::Statement)).await
}

/// Appends a record that does nothing but be there, and waits until it is on disk.
///
/// # Errors
/// The log's.
pub(super) async fn append_synced(
    shared: &Shared,
    table: &Table,
    record: Record,
) -> Result<(), Fault> {
    let frame = control_frame(table, record)?;
    let room = shared
        .log
        .reserve(frame.payload.len() + FRAME_BYTES)
        .await?;
    let ticket = shared.log.append(room, frame, Box::new(|_| {}))?;
    shared.synced(ticket.wait()).await?;
    Ok(())
}

/// Gives a frame its place in the log; what it does is done when it is on disk.
///
/// # Errors
/// The log's: the frame is not in it.
pub(super) fn enqueue(
    shared: &Shared,
    room: Reservation,
    frame: NewFrame,
    effect: FrameEffect,
) -> Result<AppendTicket, Fault> {
    let effects = shared.effects.clone();
    let on_durable = Box::new(move |_: Lsn| effects.push(effect));
    Ok(shared.log.append(room, frame, on_durable)?)
}

/// Appends it and waits until it is on disk, and what it does is done.
pub async fn append_control(
    shared: &Arc<Shared>,
    frame: NewFrame,
    effect: FrameEffect,
) -> Result<(), Fault> {
    let room = shared
        .log
        .reserve(frame.payload.len() + FRAME_BYTES)
        .await?;
    let ticket = enqueue(shared, room, frame, effect)?;
    shared.synced(ticket.wait()).await?;
    Ok(())
}
