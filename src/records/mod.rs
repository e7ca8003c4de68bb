//! What is written to the log, by kind: the stored forms of everything that a frame carries. A frame's own bytes are `wal`'s;
//! what follows from a record is the catalogue's. It does no I/O and reads no clock.

pub mod batch;
mod checkpoint;
mod commit;
mod counts;

pub use checkpoint::{Checkpoint, Created, DurablePoint, SavedProducer, SavedTable};
pub use commit::{Accepted, Expected, Least, Unlogged};
pub use counts::{Day, Left, Replayed, Totals};
