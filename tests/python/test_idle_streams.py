"""A stream whose client sends nothing hears of what ends it."""

import time

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import Stream

SCHEMA = pa.schema([("k", pa.int64())])


def told(stream, change):
    """What an open stream is told once the table was changed, and after how long."""
    change()
    begun = time.monotonic()
    text = stream.error()
    return text, time.monotonic() - begun


@pytest.mark.parametrize("change", ["DROP TABLE public.t", "CREATE OR REPLACE TABLE public.t (k BIGINT, v DOUBLE)"])
@pytest.mark.parametrize("ack", ["durable", "committed"])
@pytest.mark.parametrize("sent", [0, 1])
def test_an_idle_stream_of_a_dropped_table_is_told(server, change, ack, sent):
    server.sql("CREATE TABLE public.t (k BIGINT)")
    stream = Stream(server, "p", ack=ack, table=("public", "t"), schema=SCHEMA)
    if sent:
        stream.send(1, pa.record_batch([[1]], schema=SCHEMA))
        stream.ack(1)
    text, seconds = told(stream, lambda: server.sql(change))
    assert "table_dropped" in text and seconds < 5, (text, seconds)


def test_a_plain_stream_without_a_batch_is_told(server):
    server.sql("CREATE TABLE public.t (k BIGINT)")
    client = server.flight()
    writer, reader = client.do_put(fl.FlightDescriptor.for_path("public", "t"), SCHEMA)
    writer.write_batch(pa.record_batch([[1]], schema=SCHEMA))
    assert reader.read() is not None
    server.sql("DROP TABLE public.t")
    assert reader.read() is None
    with pytest.raises(pa.ArrowException, match="table_dropped"):
        writer.close()
