//! Frames that are about a table and come from no producer, and how they get into the log.

use std::sync::Arc;

use super::Shared;
use super::table::Table;
use super::visible::FrameEffect;
use crate::fault::Fault;
use crate::types::Lsn;
use crate::wal::{AppendTicket, FrameKind, NewFrame, Reservation};

/// A frame that is about a table and not from a producer.
pub fn control_frame(kind: FrameKind, table: &Table, payload: Vec<u8>) -> NewFrame {
    NewFrame {
        kind,
        incarnation: table.incarnation.get(),
        contract_version: table.contract().version,
        producer: "".into(),
        epoch: 0,
        seq: 0,
        batch_crc: 0,
        payload: payload.into(),
    }
}

/// Waits until every frame that has its place in the log by now is durable and visible.
///
/// # Errors
/// The log's.
pub async fn settle(shared: &Shared, table: &Table) -> Result<(), Fault> {
    let note = br#"{"statement":true}"#.to_vec();
    let frame = control_frame(FrameKind::CommitIntent, table, note);
    let reservation = shared.log.reserve(frame.payload.len() + 512).await?;
    let ticket = shared.log.append(reservation, frame, Box::new(|_| {}))?;
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
    let room = shared.log.reserve(frame.payload.len() + 512).await?;
    let ticket = enqueue(shared, room, frame, effect)?;
    shared.synced(ticket.wait()).await?;
    Ok(())
}
