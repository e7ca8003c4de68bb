//! A table whose store is down keeps its durable rows in a file beside the log, so that the log can go on for all others. The
//! rows stay hot: queries see them, and the commit that succeeds at last takes them from memory; the file is for a restart.
//!
//! What holds where: *parked up to `cut`*, the file has every hot row of the table up to there and is synced, and only then may
//! the log let go of them. A crash before leaves the log as it was; after it, recovery reads the file and leaves out, frame by
//! frame, what stands in it. A file that a commit has overtaken is ignored and removed.

use std::sync::Arc;
use std::time::Duration;

use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::parked::HeldFrame;
use super::table::Table;
use super::{Shared, background};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::types::Lsn;
use crate::wal::{self, Frame, FrameKind};

/// The log's fill at which failing tables are parked: half of `log.bytes_max`.
const PRESSURE: u64 = 2;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often it is said which tables fill the log because their file cannot be read.
const SAY_EVERY: Duration = Duration::from_secs(600);

/// The first and last frame of a chunk.
type Frames = (Lsn, Lsn);

#[derive(Debug, Default, Serialize, Deserialize)]
struct Head {
    cut: Lsn,
    /// See [`Parked::committed`]. A file of an older server does not say.
    #[serde(default)]
    committed: [Lsn; 2],
    /// Producers whose newest durable seq no commit has recorded yet.
    moved: Vec<(String, u64)>,
    main: Vec<Frames>,
    quarantine: Vec<Frames>,
    /// Frames of a table that could not be opened, whose rows are not made yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    frames: Vec<FrameHead>,
    /// The contracts by which those were judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    contracts: Vec<Contract>,
}

/// A frame without its payload, which stands behind the chunks.
#[derive(Debug, Serialize, Deserialize)]
struct FrameHead {
    offset: Lsn,
    contract_version: u32,
    producer: String,
    epoch: u64,
    seq: u64,
    batch_crc: u32,
    counted: bool,
    bytes: usize,
}

/// A table's hot rows as a file keeps them.
#[derive(Clone, Debug, Default)]
pub struct Parked {
    pub cut: Lsn,
    /// What the Delta logs of table and quarantine held when the file was written: rows up to there are not in it.
    pub committed: [Lsn; 2],
    pub moved: Vec<(String, u64)>,
    pub main: Vec<Chunk>,
    pub quarantine: Vec<Chunk>,
    /// Behind the chunks in the log's order.
    pub frames: Vec<HeldFrame>,
    pub contracts: Vec<Arc<Contract>>,
}

impl Parked {
    /// Length and JSON of the head; length and Arrow IPC stream of each side, one batch a chunk; length and payloads of the
    /// frames.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        let failed = |e: String| Fault::internal(format!("cannot encode rows to park: {e}"));
        let frames = |chunks: &[Chunk]| chunks.iter().map(|c| (c.first, c.last)).collect();
        let head = Head {
            cut: self.cut,
            committed: self.committed,
            moved: self.moved.clone(),
            main: frames(&self.main),
            quarantine: frames(&self.quarantine),
            frames: self.frames.iter().map(FrameHead::of).collect(),
            contracts: self.contracts.iter().map(|c| (**c).clone()).collect(),
        };
        let mut out = Vec::new();
        let mut part = |bytes: &[u8]| {
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        part(&serde_json::to_vec(&head).map_err(|e| failed(e.to_string()))?);
        for chunks in [&self.main, &self.quarantine] {
            let mut stream = Vec::new();
            if let Some(first) = chunks.first() {
                let write = || -> Result<(), arrow::error::ArrowError> {
                    let mut writer = StreamWriter::try_new(&mut stream, &first.batch.schema())?;
                    chunks.iter().try_for_each(|c| writer.write(&c.batch))?;
                    writer.finish()
                };
                let mut write = write;
                write().map_err(|e| failed(e.to_string()))?;
            }
            part(&stream);
        }
        if !self.frames.is_empty() {
            let payloads = self.frames.iter().map(|f| &f.frame.payload[..]);
            part(&payloads.collect::<Vec<_>>().concat());
        }
        Ok(out)
    }

    /// A file's body as the log's folder gave it.
    ///
    /// # Errors
    /// DATA_LOSS: the file is missing or damaged, and is named.
    pub fn read(body: Result<Vec<u8>, wal::Error>) -> Result<Self, Fault> {
        Self::decode(&body.map_err(Fault::from)?)
    }

    /// # Errors
    /// DATA_LOSS: the bytes are whole, as their checksum says, and of another form.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, Fault> {
        let damaged = |e: String| {
            Fault::new(
                Kind::Corrupt,
                "parked_rows_damaged",
                format!("parked rows cannot be read: {e}; restore their file from a backup"),
            )
        };
        let mut part = || -> Option<&[u8]> {
            let (length, rest) = bytes.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let (part, rest) = rest.split_at_checked(length)?;
            bytes = rest;
            Some(part)
        };
        let short = || damaged("cut short".to_owned());
        let head: Head = serde_json::from_slice(part().ok_or_else(short)?)
            .map_err(|e| damaged(e.to_string()))?;
        let mut chunks = |frames: &[Frames]| -> Result<Vec<Chunk>, Fault> {
            let stream = part().ok_or_else(short)?;
            if stream.is_empty() {
                return Ok(Vec::new());
            }
            let reader = StreamReader::try_new(stream, None).map_err(|e| damaged(e.to_string()))?;
            let batches = reader
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| damaged(e.to_string()))?;
            if batches.len() != frames.len() {
                return Err(damaged("chunks are missing".to_owned()));
            }
            let chunks = frames
                .iter()
                .zip(batches)
                .map(|((first, last), batch)| Chunk {
                    first: *first,
                    last: *last,
                    batch,
                });
            Ok(chunks.collect())
        };
        let (main, quarantine) = (chunks(&head.main)?, chunks(&head.quarantine)?);
        let mut frames = Vec::with_capacity(head.frames.len());
        if !head.frames.is_empty() {
            let mut payloads = part().ok_or_else(short)?;
            for frame in head.frames {
                let (payload, rest) = payloads.split_at_checked(frame.bytes).ok_or_else(short)?;
                payloads = rest;
                frames.push(frame.held(payload));
            }
        }
        Ok(Parked {
            cut: head.cut,
            committed: head.committed,
            moved: head.moved,
            main,
            quarantine,
            frames,
            contracts: head.contracts.into_iter().map(Arc::new).collect(),
        })
    }
}

impl FrameHead {
    fn of(held: &HeldFrame) -> Self {
        let frame = &held.frame;
        FrameHead {
            offset: frame.offset,
            contract_version: frame.contract_version,
            producer: frame.producer.to_string(),
            epoch: frame.epoch,
            seq: frame.seq,
            batch_crc: frame.batch_crc,
            counted: held.counted,
            bytes: frame.payload.len(),
        }
    }

    fn held(self, payload: &[u8]) -> HeldFrame {
        HeldFrame {
            frame: Frame {
                offset: self.offset,
                kind: FrameKind::Data,
                // Whose file it is says which table it is of.
                incarnation: 0,
                contract_version: self.contract_version,
                producer: self.producer.into(),
                epoch: self.epoch,
                seq: self.seq,
                batch_crc: self.batch_crc,
                payload: Bytes::copy_from_slice(payload),
            },
            counted: self.counted,
        }
    }
}

/// Everything of the table that is not in Delta: what its earlier file has, what is hot, and what waits to be replayed.
fn rows_of(shared: &Shared, table: &Table) -> Parked {
    let backlog = table.backlog.lock().clone();
    let mut parked = backlog.rows.unwrap_or_default();
    let span = shared.visible.span(table);
    if let Some(span) = span {
        parked.cut = parked.cut.max(span.cut);
        parked
            .moved
            .extend(span.moved.iter().map(|(p, seq)| (p.to_string(), *seq)));
        parked.main.extend(span.main.iter().cloned());
        parked.quarantine.extend(span.quarantine.iter().cloned());
    }
    if let Some(last) = backlog.frames.last() {
        parked.cut = parked.cut.max(last.frame.offset);
        parked.frames.extend(backlog.frames);
        parked.contracts.extend(backlog.contracts.into_values());
    }
    // Behind the rows: a commit in between is in Delta, whatever the file has of it.
    parked.committed = table.expected.lock().offsets();
    parked
}

/// Parks what is hot of the table now; the log may then let go of it. False: there is nothing that is not parked already, or the
/// table has a file that cannot be read, which must not be written over. The log keeps that table's frames until it is repaired.
///
/// # Errors
/// The log disk's: nothing has changed.
pub async fn park(shared: &Arc<Shared>, table: &Arc<Table>) -> Result<bool, Fault> {
    if !shared.visible.is_pinning(table) || table.backlog.lock().unread {
        return Ok(false);
    }
    let parked = rows_of(shared, table);
    let cut = parked.cut;
    let has_frames = !parked.frames.is_empty();
    let (aside, incarnation) = (shared.aside.clone(), table.incarnation.get());
    let written = tokio::task::spawn_blocking(move || {
        let body = parked.encode()?;
        aside
            .write(incarnation, &body, has_frames)
            .map_err(Fault::from)
    });
    written
        .await
        .map_err(|e| Fault::internal(format!("parking: {e}")))??;
    shared.visible.set_parked(table, cut);
    shared.log.trim(shared.visible.trim_point());
    tracing::warn!(table = %table.name(), up_to = %cut, "the table cannot be committed: its rows are kept beside the log");
    Ok(true)
}

/// Reads the file of a table's parked rows again, if recovery could not.
///
/// # Errors
/// DATA_LOSS: it still cannot be read.
pub fn read_again(shared: &Shared, table: &Table) -> Result<(), Fault> {
    if !table.backlog.lock().unread {
        return Ok(());
    }
    let rows = Parked::read(shared.aside.read(table.incarnation.get()))?;
    shared.visible.set_parked(table, rows.cut);
    {
        let mut expected = table.expected.lock();
        *expected = expected.without(&rows);
    }
    shared.aside.mark(table.incarnation.get(), true);
    let mut backlog = table.backlog.lock();
    backlog.take_parked(rows);
    Ok(())
}

/// A file of parked rows that cannot be read and has no backup: the table goes on without it. What is left of it is set apart.
///
/// # Errors
/// The log disk's: nothing has changed.
pub fn give_up(shared: &Shared, table: &Table, why: &Fault) -> Result<(), Fault> {
    shared.aside.set_apart(table.incarnation.get())?;
    table.backlog.lock().unread = false;
    tracing::warn!(table = %table.name(), "parked rows are given up: {why}");
    Ok(())
}

/// After a commit up to `cut`: what was parked is in Delta.
pub fn unpark(shared: &Shared, table: &Table, cut: Lsn) {
    if !shared.visible.unpark(table, cut) {
        return;
    }
    match shared.aside.remove(table.incarnation.get()) {
        Ok(()) => tracing::info!(table = %table.name(), "parked rows are committed"),
        Err(error) => {
            tracing::warn!(table = %table.name(), %error, "parked rows are committed, their file stays until the next start");
        }
    }
}

/// Names the tables that fill the log because their file of parked rows cannot be read. False: there are none.
fn say_who_keeps(shared: &Shared) -> bool {
    let mut any = false;
    for table in shared.tables() {
        if !table.backlog.lock().unread {
            continue;
        }
        let Some(from) = shared.visible.hot_status(&table).held_from else {
            continue;
        };
        let name = table.name();
        tracing::warn!(
            table = %name,
            %from,
            "the log is short of room and keeps rows of a table whose file of parked rows cannot be read: restore the file and run REPAIR TABLE {name}, accept the loss with REPAIR TABLE {name} ACCEPT LOSS, or give the table up with DROP TABLE {name}"
        );
        any = true;
    }
    any
}

/// Parks failing tables while the log is short of room. Ends when the server drains.
pub fn watch(shared: Arc<Shared>) {
    background::keep("parking", move || watching(shared.clone()));
}

async fn watching(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let mut said: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.draining.cancelled() => return,
        }
        if shared.log.usage() < shared.config.log.bytes_max.get() / PRESSURE {
            continue;
        }
        for table in shared.tables().iter().filter(|t| t.is_failing()) {
            if let Err(error) = park(&shared, table).await {
                tracing::warn!(table = %table.name(), %error, "parking failed");
            }
        }
        if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) && say_who_keeps(&shared) {
            said = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;
    use crate::stored_form::{is_stored_as, stored};

    #[test]
    fn parked_rows_come_back_as_they_were() {
        let chunk = |n: u64, rows: usize| Chunk {
            first: Lsn::new(n),
            last: Lsn::new(n + 1),
            batch: RecordBatch::try_from_iter([(
                "n",
                Arc::new(Int64Array::from_value(7, rows)) as ArrayRef,
            )])
            .unwrap(),
        };
        let parked = Parked {
            cut: Lsn::new(9),
            committed: [Lsn::new(3), Lsn::new(2)],
            moved: vec![("p".to_owned(), 3)],
            main: vec![chunk(1, 5), chunk(4, 2)],
            quarantine: Vec::new(),
            frames: vec![HeldFrame {
                frame: Frame {
                    offset: Lsn::new(8),
                    kind: FrameKind::Data,
                    incarnation: 0,
                    contract_version: 2,
                    producer: "p".into(),
                    epoch: 1,
                    seq: 4,
                    batch_crc: 5,
                    payload: Bytes::from_static(b"frame"),
                },
                counted: true,
            }],
            contracts: Vec::new(),
        };
        is_stored_as("parked.body", &parked.encode().unwrap());
        let back = Parked::decode(&stored("parked.body")).unwrap();
        assert_eq!((back.cut, &back.moved), (parked.cut, &parked.moved));
        assert_eq!(back.committed, parked.committed);
        assert_eq!(back.main.len(), 2);
        assert_eq!(back.main[1].batch, parked.main[1].batch);
        assert_eq!(
            (back.main[1].first, back.main[1].last),
            (Lsn::new(4), Lsn::new(5))
        );
        assert!(back.quarantine.is_empty());
        assert_eq!(back.frames[0].frame, parked.frames[0].frame);
        assert!(back.frames[0].counted);
        assert!(Parked::decode(&parked.encode().unwrap()[..40]).is_err());
    }
}
