"""A row costs memory however few bytes it came in, and a number may stand at its end: what a batch becomes is bounded, many bad
rows cost what their number says, and no epoch locks a producer out."""

import numpy as np
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import Server, Stream


def put(server, table, batch):
    """A plain stream; gives back the error, or None."""
    client = server.flight()
    try:
        writer, reader = client.do_put(fl.FlightDescriptor.for_path("public", table), batch.schema)
        writer.write_batch(batch)
        writer.done_writing()
        while reader.read() is not None:
            pass
        writer.close()
    except pa.ArrowException as error:
        return str(error)
    return None


def nulls(n, name):
    return pa.RecordBatch.from_arrays([pa.nulls(n)], names=[name])


def resident(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmRSS"))


@pytest.mark.parametrize("ddl, batch", [
    ("CREATE TABLE public.t (id BIGINT NOT NULL, v DOUBLE)", nulls(16_000_000, "id")),
    ("CREATE TABLE public.t (%s)" % ", ".join(f"c{i} DOUBLE" for i in range(50)), nulls(4_000_000, "c0")),
    ("CREATE TABLE public.t (v BIGINT CHECK (v BETWEEN 100 AND 200))",
     pa.RecordBatch.from_arrays([pa.array(np.ones(2_000_000, "i1"))], names=["v"])),
])
def test_a_batch_of_few_bytes_and_many_rows_is_refused_before_it_fills_the_memory(tmp_path, ddl, batch):
    server = Server(tmp_path / "rows").start()
    server.sql(ddl)
    error = put(server, "t", batch)
    assert error and "too_many_rows" in error and "limits.batch_rows_max" in error
    server.stop()
    # Where more rows are allowed, what they become is bounded.
    server = Server(tmp_path / "data", DELTAPLANE_LIMITS_BATCH_ROWS_MAX="100000000").start()
    server.sql(ddl)
    before = resident(server)
    error = put(server, "t", batch)
    assert error and "batch_too_large" in error and "limits.batch_memory_max" in error
    assert resident(server) - before < 1000
    assert server.one("SELECT count(*) FROM public.t") == 0
    # The table takes what fits.
    assert put(server, "t", batch.slice(0, 1000)) is None
    server.stop()


def test_a_batch_whose_rows_are_all_bad_is_taken_and_comes_back_after_a_crash(server):
    server.sql("CREATE TABLE public.t (v BIGINT CHECK (v BETWEEN 100 AND 200))")
    batch = pa.record_batch({"v": pa.array(np.arange(100_000) + 1000)})
    assert put(server, "t", batch) is None
    server.kill()
    server.start()
    assert server.one("SELECT count(*) FROM public.t_quarantine") == 100_000
    assert server.one("SELECT count(DISTINCT raw) FROM public.t_quarantine") == 100_000


def test_no_epoch_that_a_client_names_locks_its_producer_out(server):
    server.sql("CREATE TABLE public.t (id BIGINT)")
    schema = pa.schema([("id", pa.int64())])

    def opened(epoch):
        stream = Stream(server, "edge", epoch=epoch, table=("public", "t"), schema=schema)
        return stream

    for epoch in (2**63, 2**64 - 2, 2**64 - 1):
        with pytest.raises(Exception, match="invalid_epoch"):
            opened(epoch)
    opened(2**63 - 1).close()
    for _ in range(2):
        stream = opened(None)
        stream.close()
    server.kill()
    server.start()
    opened(None).close()
