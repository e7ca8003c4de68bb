//! A producer's stream as a pure state machine: what is unacked, what to resend, when to stop. No I/O and no clock.

use std::collections::VecDeque;

use crate::protocol::{Ack, Ready};

/// Numbers and keeps batches until they are acked.
#[derive(Debug)]
pub struct Session<B> {
    /// None until the first `ready`: the server gives it, and it stays for the producer's life.
    epoch: Option<u64>,
    next: u64,
    unacked: VecDeque<(u64, usize, B)>,
    unacked_bytes: usize,
    /// First seq that has not been put on the present connection.
    unsent: u64,
    acked: u64,
}

impl<B: Clone> Default for Session<B> {
    fn default() -> Self {
        Session {
            epoch: None,
            next: 1,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            unsent: 1,
            acked: 0,
        }
    }
}

/// The server remembers another past than this producer: data was lost on one side, or the name is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server is at seq {server}, this producer's acked seq is {acked} and its next is {next}; another program writes under this name, or the server lost its log"
)]
pub struct Diverged {
    pub server: u64,
    pub acked: u64,
    pub next: u64,
}

impl<B: Clone> Session<B> {
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    pub fn acked(&self) -> u64 {
        self.acked
    }

    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn unacked_bytes(&self) -> usize {
        self.unacked_bytes
    }

    pub fn is_idle(&self) -> bool {
        self.unacked.is_empty()
    }

    /// Takes a batch and gives its seq.
    pub fn push(&mut self, bytes: usize, batch: B) -> u64 {
        let seq = self.next;
        self.next += 1;
        self.unacked.push_back((seq, bytes, batch));
        self.unacked_bytes += bytes;
        seq
    }

    /// A connection is ready. The first one says where to go on; later ones say what has to be sent again.
    pub fn on_ready(&mut self, ready: &Ready) -> Result<(), Diverged> {
        if self.epoch.is_none() {
            // Batches that were queued before the first answer take the numbers that follow the server's.
            let shift = ready.seq + 1 - self.unacked.front().map_or(self.next, |(seq, ..)| *seq);
            self.unacked.iter_mut().for_each(|(seq, ..)| *seq += shift);
            self.next += shift;
            self.acked = ready.seq;
        } else if ready.seq < self.acked || ready.seq >= self.next {
            return Err(Diverged {
                server: ready.seq,
                acked: self.acked,
                next: self.next,
            });
        }
        self.epoch = Some(ready.epoch);
        self.confirm(ready.seq);
        self.unsent = ready.seq + 1;
        Ok(())
    }

    /// Cumulative: everything up to the ack's seq is done with.
    pub fn on_ack(&mut self, ack: &Ack) {
        self.confirm(ack.seq);
    }

    fn confirm(&mut self, seq: u64) {
        self.acked = self.acked.max(seq.min(self.next - 1));
        while let Some((_, bytes, _)) = self.unacked.front().filter(|(s, ..)| *s <= seq) {
            self.unacked_bytes -= bytes;
            self.unacked.pop_front();
        }
    }

    /// The oldest batch that waits for its ack.
    pub fn oldest(&self) -> Option<&B> {
        self.unacked.front().map(|(_, _, batch)| batch)
    }

    /// The next batch to put on the connection.
    pub fn next_to_send(&mut self) -> Option<(u64, B)> {
        // The numbers follow each other without a gap.
        let (first, ..) = self.unacked.front()?;
        let sent = usize::try_from(self.unsent.saturating_sub(*first)).ok()?;
        let (seq, _, batch) = self.unacked.get(sent)?;
        self.unsent = seq + 1;
        Some((*seq, batch.clone()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn ready(seq: u64) -> Ready {
        Ready {
            epoch: 3,
            seq,
            ..Ready::default()
        }
    }

    #[test]
    fn after_a_lost_ack_only_what_the_server_lacks_is_sent_again() {
        let mut s = Session::default();
        s.on_ready(&ready(10)).unwrap();
        for b in ["a", "b", "c"] {
            s.push(1, b);
        }
        let sent: Vec<u64> = std::iter::from_fn(|| s.next_to_send().map(|(seq, _)| seq)).collect();
        assert_eq!(sent, [11, 12, 13]);
        s.on_ready(&ready(12)).unwrap();
        assert_eq!(s.next_to_send(), Some((13, "c")));
        assert_eq!(s.next_to_send(), None);
        assert_eq!((s.acked(), s.unacked_bytes()), (12, 1));
    }

    #[test]
    fn batches_queued_before_the_first_ready_take_the_servers_numbers() {
        let mut s = Session::default();
        s.push(1, "a");
        s.on_ready(&ready(41)).unwrap();
        assert_eq!(s.next_to_send(), Some((42, "a")));
    }

    #[test]
    fn a_server_that_forgot_an_acked_batch_is_not_papered_over() {
        let mut s = Session::default();
        s.on_ready(&ready(0)).unwrap();
        s.push(1, "a");
        s.on_ack(&Ack {
            seq: 1,
            ..Ack::default()
        });
        assert!(s.on_ready(&ready(0)).is_err());
        assert!(s.on_ready(&ready(5)).is_err());
    }
}
