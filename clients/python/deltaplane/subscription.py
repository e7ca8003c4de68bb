"""A table's rows as they are committed, each once: a subscription that outlives cuts and restarts of the server."""

import random
import threading
import time

import pyarrow as pa
import pyarrow.flight as fl

from .producer import GaveUp, Refused, _is_passing, _text

# The server shows a sign of life every 10 s; a connection without an answer to a ping is given up by gRPC.
_OPTIONS = [("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 10_000), ("grpc.http2.max_pings_without_data", 0)]


class Subscription:
    """Iterates over `pyarrow.RecordBatch`es of one table or view, as they are committed, in order, each row once.

    uri: `grpc://host:port`. table: `schema.table`.
    start: "now" (the version that is committed next), "start" (the table's first), a version, or a `position` of an earlier run.
    where: a condition of SQL's over the table's columns.
    give_up_after: seconds that the server may be away before `GaveUp`; None: go on for ever.

    Behind the table's own columns each row bears `_change_type` ("insert", "delete"; an update is a delete and an insert),
    `_commit_version`, `_commit_timestamp` and `_commit_row`, its number in its version. After ALTER TABLE batches have the new
    columns. `Refused` tells what connecting again does not mend: no such table, a version whose files are gone.

    Used by one thread; `close` may be called from another and ends the iteration.
    """

    def __init__(self, uri, table, *, start="now", where=None, give_up_after=None):
        self._uri, self._table, self._where, self._patience = uri, table, where, give_up_after
        if start == "now":
            self._position = None
        elif start == "start":
            self._position = (0, 0)
        else:
            self._position = (start, 0) if isinstance(start, int) else (int(start[0]), int(start[1]))
        self.reconnects = 0
        self._client = self._reader = None
        self._closed = threading.Event()

    @property
    def position(self):
        """(version, row) of the first row that has not been returned; None before the server has said where "now" is.

        Kept somewhere safe together with what was made of the rows, it is the `start` with which another run goes on.
        """
        return self._position

    def __iter__(self):
        return self

    def __next__(self):
        since, attempt = None, 0
        while not self._closed.is_set():
            try:
                batch = self._step()
                since, attempt = None, 0
                if batch is not None:
                    return batch
                continue
            except StopIteration:
                why = "the server ended the stream"
            except (pa.ArrowException, OSError, KeyError) as error:
                why = _text(error).strip("'\"")
                if "columns_changed:" in why:
                    self._disconnect()
                    continue
                if "query_cancelled:" in why or not _is_passing(error, why):
                    self._disconnect()
                    if self._closed.is_set():
                        break
                    raise Refused(why) from None
            self._disconnect()
            since = since or time.monotonic()
            if self._patience is not None and time.monotonic() - since > self._patience:
                raise GaveUp(f"gave up after {self._patience} s: {why}")
            self.reconnects += 1
            self._closed.wait(min(5.0, 0.1 * 2 ** min(attempt, 6)) * random.uniform(1, 1.5))
            attempt += 1
        raise StopIteration

    def close(self):
        self._closed.set()
        reader = self._reader
        if reader is not None:
            reader.cancel()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close()
        self._disconnect()

    def _step(self):
        """One message: its rows, or None if it only says how far the feed is."""
        if self._reader is None:
            self._client = fl.connect(self._uri, generic_options=_OPTIONS)
            info = self._client.get_flight_info(fl.FlightDescriptor.for_command(self._statement().encode()), fl.FlightCallOptions(timeout=10))
            self._reader = self._client.do_get(info.endpoints[0].ticket)
            if self._closed.is_set():
                self._reader.cancel()
        batch = self._reader.read_chunk().data
        if batch is None or batch.num_rows == 0:
            return None
        version, row = batch.column("_commit_version")[-1].as_py(), batch.column("_commit_row")[-1].as_py()
        # A row without a number is the server's word that everything up to its version has been told.
        self._position = (version + 1, 0) if row is None else (version, row + 1)
        return None if row is None else batch

    def _statement(self):
        place = "NOW" if self._position is None else "VERSION {} ROW {}".format(*self._position)
        where = f" WHERE {self._where}" if self._where else ""
        return f"SUBSCRIBE {self._table} FROM {place}{where} WITH PROGRESS"

    def _disconnect(self):
        reader, client = self._reader, self._client
        self._reader = self._client = None
        try:
            if reader is not None:
                reader.cancel()
            if client is not None:
                client.close()
        except (pa.ArrowException, OSError):
            pass  # it was broken already
