"""A producer's stream as a state machine: what is unacked, what to send again, when to stop. No I/O and no clock.

The same machine as `clients/rust/src/producer/session.rs`.
"""

import collections


class Diverged(Exception):
    """The server remembers another past than this producer."""


class Session:
    def __init__(self):
        self.epoch = None  # given by the server's first ready; stays for the producer's life
        self.next = 1
        self.acked = 0
        self.unacked_bytes = 0
        self._unacked = collections.deque()  # (seq, bytes, batch), dense
        self._unsent = 1  # first seq that has not been put on the present connection

    def push(self, batch, size):
        """Takes a batch of `size` bytes; returns its seq."""
        seq = self.next
        self.next += 1
        self._unacked.append((seq, size, batch))
        self.unacked_bytes += size
        return seq

    def on_ready(self, ready):
        """A connection is ready. The first one says where to go on, later ones what has to be sent again."""
        seq = ready["seq"]
        if self.epoch is None:
            shift = seq + 1 - (self._unacked[0][0] if self._unacked else self.next)
            self._unacked = collections.deque((s + shift, size, batch) for s, size, batch in self._unacked)
            self.next += shift
        elif not self.acked <= seq < self.next:
            raise Diverged(f"the server is at seq {seq}, this producer's acked seq is {self.acked} and its next is {self.next}; "
                           "another program writes under this name, or the server lost its log")
        self.epoch = ready["epoch"]
        self.confirm(seq)
        self._unsent = seq + 1

    def confirm(self, seq):
        """Everything up to `seq` is done with."""
        self.acked = max(self.acked, min(seq, self.next - 1))
        while self._unacked and self._unacked[0][0] <= seq:
            self.unacked_bytes -= self._unacked.popleft()[1]

    def next_to_send(self):
        """The next batch for the connection as (seq, batch), or None."""
        if not self._unacked or self._unsent >= self.next:
            return None
        first = self._unacked[0][0]
        seq, _, batch = self._unacked[max(self._unsent - first, 0)]
        self._unsent = seq + 1
        return seq, batch

    def idle(self):
        return not self._unacked

    def unacked(self):
        return [(seq, batch) for seq, _, batch in self._unacked]
