//! Every record that the log keeps, as one type. A frame is a header, which is `wal`'s, and a payload, which `wal` does not
//! look into. [`Record`] is the one place that turns both into values and back; nobody else makes a frame.
//!
//! | kind | fields of the header, beside the [`Stamp`] | payload |
//! |---|---|---|
//! | data | producer, epoch, seq, CRC of the batch; none of them on an unnamed stream | see [`Data`] |
//! | create | | JSON: [`Created`] |
//! | alter | | JSON: the contract that is in force from here on |
//! | drop | | none |
//! | epoch | producer, epoch (0: forgotten), seq that the producer goes on behind | none |
//! | commit intent | | JSON: see [`Intent`] |
//! | commit done | | JSON: see [`Done`] |
//! | checkpoint | | LZ4 block of JSON: [`Checkpoint`]; the stamp is zero |
//! | replayed | | JSON: [`Replayed`] |
//!
//! The stored forms are fixed by `fixtures/`, one frame a kind as it stands on disk. What follows from a record is the
//! catalogue's. This room does no I/O and reads no clock.

mod batch;
mod checkpoint;
mod commit;
mod counts;
mod data;
mod error;
mod table;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use batch::{Encoded, Stored};
pub use checkpoint::{Checkpoint, DurablePoint, SavedProducer, SavedTable};
pub use commit::{Done, Expected, Intent, Least};
pub use counts::{Day, Left, Replayed, Totals};
pub use data::{Data, Sender};
pub use error::{Error, Problem};
pub use table::{Created, Epoch};

use crate::dataset::Contract;
use crate::types::Incarnation;
use crate::wal::{Frame, FrameKind, NewFrame, Payload};

/// The life of a table that a record is about, and the version of the contract that was in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub incarnation: Incarnation,
    pub contract_version: u32,
}

/// What a frame of the log says.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A batch of a stream, and what becomes of each of its rows.
    Data(Data),
    /// A table is there from here on.
    Create(Box<Created>),
    /// The contract that judges from here on.
    Alter(Box<Contract>),
    /// The table, its quarantine and its hot rows are gone from here on.
    Drop,
    /// A producer has a new epoch on a table, or was forgotten.
    Epoch(Epoch),
    /// What is about to be committed. It tells an operator and the orphan sweep what was under way.
    Intent(Intent),
    /// What was committed.
    Done(Done),
    /// Everything that frames before this segment did and that later frames rely on.
    Checkpoint(Box<Checkpoint>),
    /// Rows have left a quarantine.
    Replayed(Replayed),
}

impl Record {
    pub fn kind(&self) -> FrameKind {
        match self {
            Record::Data(_) => FrameKind::Data,
            Record::Create(_) => FrameKind::Create,
            Record::Alter(_) => FrameKind::Alter,
            Record::Drop => FrameKind::Drop,
            Record::Epoch(_) => FrameKind::Epoch,
            Record::Intent(_) => FrameKind::CommitIntent,
            Record::Done(_) => FrameKind::CommitDone,
            Record::Checkpoint(_) => FrameKind::Checkpoint,
            Record::Replayed(_) => FrameKind::Replayed,
        }
    }

    /// The frame of this record. The batch of a [`Record::Data`] is not copied.
    ///
    /// # Errors
    /// [`Error::TooLarge`], of data alone.
    pub fn encode(self, stamp: Stamp) -> Result<NewFrame, Error> {
        let mut frame = NewFrame {
            kind: self.kind(),
            incarnation: stamp.incarnation.get(),
            contract_version: stamp.contract_version,
            producer: "".into(),
            epoch: 0,
            seq: 0,
            batch_crc: 0,
            payload: Payload::default(),
        };
        match self {
            Record::Data(data) => data.put_into(&mut frame)?,
            Record::Create(created) => frame.payload = json(&created)?.into(),
            Record::Alter(contract) => frame.payload = json(&contract)?.into(),
            Record::Drop => {}
            Record::Epoch(epoch) => epoch.put_into(&mut frame),
            Record::Intent(intent) => frame.payload = intent.encode()?.into(),
            Record::Done(done) => frame.payload = done.encode()?.into(),
            Record::Checkpoint(checkpoint) => frame.payload = checkpoint.encode().into(),
            Record::Replayed(replayed) => frame.payload = json(&replayed)?.into(),
        }
        Ok(frame)
    }

    /// What a frame that replay gave back says. The batch of a [`Record::Data`] shares the frame's bytes and is read by
    /// [`Data::batch`].
    ///
    /// # Errors
    /// [`Error::Unreadable`].
    pub fn decode(frame: &Frame) -> Result<Self, Error> {
        let payload = &frame.payload;
        let record = match frame.kind {
            FrameKind::Data => Data::take_from(frame).map(Record::Data),
            FrameKind::Create => read_json(payload).map(Record::Create),
            FrameKind::Alter => read_json(payload).map(Record::Alter),
            FrameKind::Drop => Ok(Record::Drop),
            FrameKind::Epoch => Ok(Record::Epoch(Epoch::take_from(frame))),
            FrameKind::CommitIntent => Ok(Record::Intent(Intent::decode(payload))),
            FrameKind::CommitDone => Ok(Record::Done(Done::decode(payload))),
            FrameKind::Checkpoint => {
                Checkpoint::decode(payload).map(|c| Record::Checkpoint(Box::new(c)))
            }
            FrameKind::Replayed => read_json(payload).map(Record::Replayed),
        };
        record.map_err(|problem| problem.at(frame))
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|e| Error::Unwritable(e.to_string()))
}

fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| Problem::Json(e.to_string()))
}
