//! Records of a table's life and of its producers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Contract;
use crate::wal::{Frame, NewFrame};

/// A table that was created. Its two Delta tables were there before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    pub folder: String,
    pub contract: Contract,
}

/// A change of a producer on one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// It has opened a stream under this epoch, which is above 0. `behind`: the batch that it goes on behind if it was
    /// forgotten before, as replay has no Delta table to ask; else 0.
    Opened {
        producer: Arc<str>,
        epoch: u64,
        behind: u64,
    },
    /// It was silent for long and is known no more.
    Forgotten { producer: Arc<str> },
}

/// The epoch in the header of a producer that was forgotten: streams have 1 and above.
const FORGOTTEN: u64 = 0;

impl Epoch {
    pub(super) fn put_into(self, frame: &mut NewFrame) {
        (frame.producer, frame.epoch, frame.seq) = match self {
            Epoch::Opened {
                producer,
                epoch,
                behind,
            } => (producer, epoch, behind),
            Epoch::Forgotten { producer } => (producer, FORGOTTEN, 0),
        };
    }

    pub(super) fn take_from(frame: &Frame) -> Self {
        let producer = frame.producer.clone();
        match frame.epoch {
            FORGOTTEN => Epoch::Forgotten { producer },
            epoch => Epoch::Opened {
                producer,
                epoch,
                behind: frame.seq,
            },
        }
    }
}
