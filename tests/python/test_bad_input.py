"""What a careless or hostile client sends: a clear error each, the server alive, other streams undisturbed."""

import struct
import subprocess

import pyarrow as pa
import pyarrow.flight as fl
import pytest
import wire
from conftest import BIN, SCHEMA, Server, Stream, rows


@pytest.fixture
def bystander(server):
    """A stream that is open before the bad input and must go on after it."""
    stream = Stream(server, "bystander")
    stream.send(1, rows(3))
    stream.ack(1)
    yield stream
    stream.send(2, rows(3, 100))
    assert stream.ack(2)["accepted"] == 6
    stream.close()
    assert server.one("SELECT count(*) FROM reactor.raw WHERE _source = 'bystander'") == 6


def put(server, batches, schema=None, path=("reactor", "raw")):
    """A plain stream; gives back the error, or None."""
    schema = schema or (batches[0].schema if batches else SCHEMA)
    client = server.flight()
    try:
        writer, reader = client.do_put(fl.FlightDescriptor.for_path(*path), schema)
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        while reader.read() is not None:
            pass
        writer.close()
    except pa.ArrowException as error:
        return str(error)
    return None


def replaced(name, array):
    batch = rows(len(array))
    return batch.set_column(batch.schema.get_field_index(name), name, array)


def test_streams_without_rows_are_fine(server, bystander):
    assert put(server, []) is None
    assert put(server, [rows(0)]) is None


@pytest.mark.parametrize("batch, word", [
    (rows(2).drop_columns(["PE"]), "missing_column"),
    (rows(2).rename_columns(["reactor_id", "ts", "T", "V", "AP", "RH", "PE"]), "unknown_column"),
    (replaced("AT", pa.array([True, False])), "incompatible_type"),
    (rows(1).append_column("_seq", pa.array([1])), "reserved_column"),
    (replaced("reactor_id", pa.array(["x" * (17 * 1024 * 1024)])), "batch_too_large"),
])
def test_a_batch_that_breaks_the_contract_is_refused_by_name(server, bystander, batch, word):
    error = put(server, [batch])
    assert error and word in error, error
    assert len(error) < 4000


@pytest.mark.parametrize("name, array, rule", [
    ("AT", pa.array([float("nan")]), "range:AT"),
    ("AT", pa.array(["n/a"]), "type:AT"),
    ("ts", pa.array([-9246182400], pa.timestamp("s", "UTC")), "event_time:ts"),
    ("ts", pa.array([9214646400], pa.timestamp("s", "UTC")), "event_time:ts"),
    ("ts", pa.array([2**62], pa.timestamp("s", "UTC")), "type:ts"),
    ("ts", pa.array([-(2**63) + 1], pa.timestamp("ns", "UTC")), "event_time:ts"),
])
def test_a_bad_value_goes_to_quarantine_with_its_rule(server, bystander, name, array, rule):
    assert put(server, [replaced(name, array)]) is None
    (row,) = server.sql("SELECT rules FROM reactor.raw_quarantine")
    assert rule in row["rules"]


def test_a_table_that_is_not_there_is_not_found_with_the_way_out(server, bystander):
    error = put(server, [rows(1)], path=("reactor", "nope"))
    assert "table_not_found" in error and "reactor.raw" in error, error
    assert "reserved_table" in put(server, [rows(1)], path=("reactor", "raw_quarantine"))


def raw_put(server, messages):
    """What the server answers to FlightData messages that no client library has seen: the code and the text."""
    with wire.channel(server) as channel:
        return " ".join(wire.do_put(channel, messages))


def schema_message():
    return wire.flight_data(wire.path_descriptor("reactor", "raw"), SCHEMA.serialize().to_pybytes()[8:])


def test_an_lz4_body_that_declares_2_to_the_46_bytes_is_refused_before_it_is_allocated(server, bystander):
    header, body = wire.ipc_messages(rows(1000), "lz4")[-1]
    position = next(i for i in range(0, len(body) - 8, 8) if 0 < struct.unpack_from("<q", body, i)[0] == 8000)
    body = body[:position] + struct.pack("<q", 1 << 46) + body[position + 8:]
    answer = raw_put(server, [schema_message(), wire.flight_data(header=header, body=body)])
    assert answer.startswith("RESOURCE_EXHAUSTED") and "batch_too_large" in answer, answer


@pytest.mark.parametrize("message", [b"\x00" * 64, bytes(range(256)), b"\xff" * 100])
def test_random_bytes_as_ipc_end_their_own_stream_only(server, bystander, message):
    answer = raw_put(server, [schema_message(), wire.flight_data(header=message, body=message)])
    assert answer.split()[0] in {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}, answer
    header, body = wire.ipc_messages(rows(100))[-1]
    for at in range(0, len(header), 7):
        broken = header[:at] + bytes([header[at] ^ 0xFF]) + header[at + 1:]
        answer = raw_put(server, [schema_message(), wire.flight_data(header=broken, body=body)])
        assert not answer.startswith(("INTERNAL", "UNKNOWN", "UNAVAILABLE")), answer


def test_no_message_at_all_and_no_descriptor_are_answered_at_once(server, bystander):
    assert "empty_stream" in raw_put(server, [])
    assert "invalid_descriptor" in raw_put(server, [wire.flight_data(header=SCHEMA.serialize().to_pybytes()[8:])])


def test_port_taken_and_unwritable_directory_say_the_way_out(server, tmp_path):
    other = Server(tmp_path / "other")
    other.port = server.port
    process = other.spawn()
    assert process.wait(timeout=20) == 1
    assert "--listen" in other.log()
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    done = subprocess.run([BIN / "deltaplane", "serve", "--data-dir", blocked / "data", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "--data-dir" in done.stderr
    done = subprocess.run([BIN / "deltaplane", "serve", "--data-dir", tmp_path / "remote", "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "authentication" in done.stderr
