"""The producer: one thread that connects and writes, one for each connection that reads acks."""

import dataclasses
import json
import random
import threading
import time

import pyarrow as pa
import pyarrow.flight as fl

from .session import Diverged, Session

# Words of the server's errors after which the same batch can go through later. Arrow has no kind of its own for "exhausted".
_LATER = ("log_full:", "memory_full:", "wire_full:", "shutting_down:", "log_poisoned:")
# And those after which it is refused again, on every connection.
_TOO_LARGE = ("batch_too_large", "message_too_large", "too_many_rows")
_RETRY = (fl.FlightUnavailableError, fl.FlightCancelledError, fl.FlightInternalError, fl.FlightTimedOutError, fl.FlightServerError)


class Refused(Exception):
    """The server said no, and would again: what to change stands in the text, the stable word in `reason`."""

    def __init__(self, text):
        super().__init__(text)
        head = text.split(":", 1)[0].strip()
        self.reason = head if head.replace("_", "").isalpha() else "refused"


class GaveUp(Exception):
    """The server could not be reached for `give_up_after` seconds."""


@dataclasses.dataclass(frozen=True)
class Reject:
    """A row that went to quarantine: `row` counts from 0 within the batch `seq`."""

    seq: int
    row: int
    column: str
    rule: str
    value: str


@dataclasses.dataclass(frozen=True)
class Totals:
    """What the server holds of this producer, over all its runs: `seq` is its last acked batch, the rest are rows."""

    seq: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    version: int | None = None  # Delta version, with ack="committed"
    rejects: tuple = ()  # the first few rejected rows of the newest ack that had any
    reconnects: int = 0


class Producer:
    """Streams record batches to one table, each exactly once.

    uri: `grpc://host:port`. table: `schema.table`, or schema and table as a pair. name: 1 to 256 bytes; who writes under it is one producer over all its runs.
    schema: of every batch; with it the stream opens here, so `seq` is known and a wrong table is refused here. Without it the
    first batch's schema is taken.
    ack: "durable" (synced to the log) or "committed" (in a Delta version).
    inflight_bytes_max: `send` waits while more than this is sent and unacked.
    give_up_after: seconds to go on trying while nothing gets through.
    on_ack: called with each new `Totals`, from a thread of the producer; it must not call the producer.
    """

    def __init__(self, uri, table, *, name, schema=None, ack="durable", inflight_bytes_max=32 << 20, give_up_after=60.0, on_ack=None):
        if ack not in ("durable", "committed"):
            raise ValueError(f"ack is durable or committed, got {ack}")
        path = table.split(".") if isinstance(table, str) else list(table)
        if len(path) != 2:
            raise ValueError(f"table is schema.table, or a pair of names if one of them has a dot, got {table}")
        self._uri, self._path, self._name, self._ack = uri, path, name, ack
        self._schema, self._limit, self._patience, self._on_ack = schema, inflight_bytes_max, give_up_after, on_ack
        self._session, self._totals = Session(), Totals()
        self._changed = threading.Condition()
        self._failure, self._closing = None, False
        self._thread = None
        if schema is not None:
            self._start()

    # What a program calls.

    @property
    def seq(self):
        """The last batch that is acked, counted from 1 over all runs under this name; 0: none."""
        with self._changed:
            return self._session.acked

    @property
    def totals(self):
        with self._changed:
            return self._totals

    def unacked(self):
        """Batches that were sent and not acked yet, as (seq, batch)."""
        with self._changed:
            return self._session.unacked()

    def send(self, rows):
        """Takes a `pyarrow.RecordBatch`, or a list of dicts (needs `schema`); returns its seq. Waits while there is no room.

        Returning says nothing about durability: that is the ack's word (`flush`, `on_ack`, `totals.seq`).
        """
        batch = rows if isinstance(rows, pa.RecordBatch) else self._batch(rows)
        if self._schema is None:
            self._schema = batch.schema
            self._start()
        if not batch.schema.equals(self._schema):
            raise ValueError(f"batches of one producer share a schema; this one has {batch.schema}, the first had {self._schema}")
        size = batch.nbytes
        with self._changed:
            self._wait(lambda: self._session.idle() or self._session.unacked_bytes + size <= self._limit)
            if self._failure is not None:
                raise self._failure
            if self._closing:
                raise ValueError("the producer is closed")
            seq = self._session.push(batch, size)
            self._changed.notify_all()
            return seq

    def flush(self, timeout=None):
        """Waits until everything sent is acked; returns the `Totals`. TimeoutError after `timeout` seconds."""
        with self._changed:
            self._wait(self._session.idle, timeout)
            return self._totals

    def close(self):
        """Flushes, and ends the stream; returns the `Totals`."""
        try:
            return self.flush()
        finally:
            self._stop()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        # A program that fails does not wait for a server that may be away.
        if kind is None:
            self.close()
        else:
            self._stop()

    # What its threads do.

    def _batch(self, rows):
        if self._schema is None:
            raise ValueError("rows as dicts need a schema: Producer(.., schema=pa.schema([..]))")
        return pa.RecordBatch.from_pylist(list(rows), schema=self._schema)

    def _start(self):
        self._thread = threading.Thread(target=self._run, name=f"deltaplane-{self._name}", daemon=True)
        self._thread.start()
        with self._changed:
            self._wait(lambda: self._session.epoch is not None)

    def _stop(self):
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _wait(self, done, timeout=None):
        """Waits for `done`; the lock is held."""
        if not self._changed.wait_for(lambda: self._failure is not None or done(), timeout):
            raise TimeoutError(f"not acked within {timeout} s, unacked bytes={self._session.unacked_bytes}")
        if self._failure is not None and not done():
            raise self._failure

    def _run(self):
        since, attempt = None, 0
        while True:
            acked = self._session.acked
            try:
                _Connection(self).run()
                return
            except (Diverged, Refused) as error:
                return self._fail(error if isinstance(error, Refused) else Refused(f"diverged: {error}"))
            except Exception as error:  # of the connection: pyarrow has several kinds for it
                why = _text(error)
                if not _is_passing(error, why):
                    return self._fail(Refused(why))
            if self._session.acked > acked:
                since, attempt = None, 0
            since = since or time.monotonic()
            if time.monotonic() - since > self._patience:
                return self._fail(GaveUp(f"gave up after {self._patience} s: {why}"))
            # Doubling with jitter, so that a fleet does not come back in step.
            pause = 0.05 * 2 ** min(attempt, 6)
            attempt += 1
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, pause * random.uniform(1, 1.5)):
                    return
                self._totals = dataclasses.replace(self._totals, reconnects=self._totals.reconnects + 1)

    def _fail(self, error):
        with self._changed:
            self._failure = error
            self._changed.notify_all()

    def _take(self, counts, ready):
        """Counts of a ready or an ack."""
        with self._changed:
            if ready:
                self._session.on_ready(counts)
            else:
                self._session.confirm(counts["seq"])
            rejects = tuple(Reject(**r) for r in counts.get("rejects") or ()) or self._totals.rejects
            self._totals = dataclasses.replace(self._totals, seq=counts["seq"], accepted=counts["accepted"], quarantined=counts["quarantined"],
                                               duplicates=counts["duplicates"], version=counts.get("version"), rejects=rejects)
            totals = self._totals
            self._changed.notify_all()
        if self._on_ack is not None and not ready:
            self._on_ack(totals)


class _Connection:
    """One stream, from open to its end."""

    def __init__(self, producer):
        self.producer = producer
        self.ended = False  # the reader has seen the stream's end; under the producer's lock
        self.why = None

    def run(self):
        p = self.producer
        with fl.connect(p._uri) as client:
            writer, reader = client.do_put(fl.FlightDescriptor.for_path(*p._path), p._schema)
            try:
                self._open(writer, reader)
                thread = threading.Thread(target=self._read, args=(reader,), daemon=True)
                thread.start()
                if self._write(writer):
                    writer.done_writing()
                    thread.join(timeout=10)
                    return
            except (pa.ArrowException, OSError) as error:
                self.why = self.why or error
            # pyarrow tells why a stream ended only when the writer is closed.
            writer.close()
            raise self.why or ConnectionError("the server ended the stream")

    def _open(self, writer, reader):
        p = self.producer
        opening = {"open": {"producer": p._name, "epoch": p._session.epoch, "ack": p._ack}}
        writer.write_metadata(json.dumps(opening).encode())
        answer = reader.read()
        if answer is None:
            writer.done_writing()
            writer.close()
            raise ConnectionError("the server ended the stream before it was open")
        p._take(json.loads(answer.to_pybytes())["ready"], ready=True)

    def _write(self, writer):
        """Writes batches as they come. True: all is acked and the producer closes; False: the stream broke."""
        p = self.producer
        while True:
            with p._changed:
                item = None
                while not self.ended and (item := p._session.next_to_send()) is None:
                    if p._closing:
                        return True
                    p._changed.wait()
                if self.ended:
                    return False
            seq, batch = item
            writer.write_with_metadata(batch, b'{"seq":%d}' % seq)

    def _read(self, reader):
        p = self.producer
        try:
            while (buffer := reader.read()) is not None:
                message = json.loads(buffer.to_pybytes())
                if "ack" in message:
                    p._take(message["ack"], ready=False)
        except (pa.ArrowException, OSError) as error:
            self.why = error
        finally:
            with p._changed:
                self.ended = True
                p._changed.notify_all()


def _text(error):
    """The server's words, without what gRPC and Arrow put around them."""
    text = str(error)
    for mark in (". gRPC client debug context", ". Client context", ". Detail:"):
        text = text.split(mark, 1)[0]
    for mark in ("gRPC returned", "returned"):
        if "with message: " in text:
            text = text.split("with message: ", 1)[1]
            break
    return text.strip()


def _is_passing(error, why):
    """Can the same batches go through on another connection?"""
    if any(word in why for word in _TOO_LARGE):
        return False
    return isinstance(error, (*_RETRY, OSError)) or any(word in why for word in _LATER)
