"""The exactly-once protocol, by pyarrow.flight and JSON: what DESIGN promises of seq, epoch and acks, also after a restart."""

import json

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import SCHEMA, Stream, rows


def count(server):
    return server.one("SELECT count(*) FROM reactor.raw")


def test_plain_flight_client_streams_and_reads_its_rows_back(server):
    client = server.flight()
    writer, reader = client.do_put(fl.FlightDescriptor.for_path("reactor", "raw"), SCHEMA)
    for i in range(3):
        writer.write_batch(rows(10, i * 10))
    writer.done_writing()
    acks = []
    while (message := reader.read()) is not None:
        acks.append(json.loads(message.to_pybytes())["ack"])
    writer.close()
    assert (acks[-1]["seq"], acks[-1]["accepted"], acks[-1]["quarantined"], acks[-1]["rejects"]) == (3, 30, 0, [])
    assert count(server) == 30
    assert server.sql("SELECT DISTINCT _source FROM reactor.raw") == [{"_source": "unnamed"}]


def test_same_seq_again_is_acked_and_nothing_is_written(server):
    first, second = rows(5), rows(7, 100)
    s = Stream(server, "p")
    assert (s.ready["epoch"], s.ready["seq"]) == (1, 0)
    s.send(1, first)
    s.ack(1)
    s.send(1, first)
    s.send(2, second)
    assert s.ack(2)["accepted"] == 12
    s.close()
    assert count(server) == 12
    for trimmed in (False, True):
        if trimmed:
            server.wait_committed()
            assert server.terminate() == 0
        else:
            server.kill()
        server.start()
        s = Stream(server, "p", epoch=1)
        assert (s.ready["seq"], s.ready["accepted"]) == (2, 12)
        s.send(1, first)
        s.send(2, second)
        assert s.ack(2)["accepted"] == 12
        s.close()
        assert count(server) == 12


@pytest.mark.parametrize("restarted", [False, True])
def test_gap_reused_seq_and_older_epoch_are_refused_by_their_codes(server, restarted):
    s = Stream(server, "p")
    s.send(1, rows(5))
    s.ack(1)
    s.close()
    if restarted:
        server.wait_committed()
        assert server.terminate() == 0
        server.start()
    s = Stream(server, "p", epoch=1)
    s.send(3, rows(1))
    error = s.error()
    assert "expected=2" in error, error
    s = Stream(server, "p", epoch=1)
    s.send(1, rows(5, 1))
    error = s.error()
    assert "seq_reused" in error, error
    old = Stream(server, "p", epoch=1)
    new = Stream(server, "p")
    assert new.ready["epoch"] == 2
    error = old.error()
    assert "producer_fenced" in error, error
    with pytest.raises(pa.ArrowException, match="producer_fenced"):
        Stream(server, "p", epoch=1)
    new.send(2, rows(1, 50))
    new.ack(2)
    new.close()
    assert count(server) == 6


def test_a_batch_with_bad_rows_is_taken_and_each_bad_row_says_why(server):
    s = Stream(server, "p")
    s.send(1, rows(4, AT=[20.0, 99.1, float("nan"), None]))
    ack = s.ack(1)
    assert (ack["accepted"], ack["quarantined"]) == (1, 3)
    assert ack["rejects"][0] == {"seq": 1, "row": 1, "column": "AT", "rule": "range", "value": "99.1"}
    s.close()
    quarantined = server.sql("SELECT row_index, rules, raw FROM reactor.raw_quarantine ORDER BY row_index")
    assert [q["rules"] for q in quarantined] == [["range:AT"], ["range:AT"], ["not_null:AT"]]
    assert json.loads(quarantined[1]["raw"])["AT"] == "NaN"
    assert server.sql("SELECT received, accepted, quarantined, duplicates FROM system.quality WHERE \"table\" = 'reactor.raw'") == [
        {"received": 4, "accepted": 1, "quarantined": 3, "duplicates": 0}]


def test_level_committed_acks_with_the_delta_version(server):
    s = Stream(server, "p", ack="committed")
    s.send(1, rows(5))
    ack = s.ack(1)
    s.close()
    table = server.delta()
    table.load_as_version(ack["version"])
    assert table.to_pyarrow_table().num_rows == 5


def test_delta_log_lets_any_reader_audit_exactly_once(server):
    s = Stream(server, "edge-7")
    s.send(1, rows(5))
    s.send(2, rows(5, 100, PE=[999.0] * 5))
    s.ack(2)
    s.close()
    server.wait_committed()
    actions = [json.loads(line) for f in sorted((server.directory / "tables/reactor/raw/_delta_log").glob("*.json")) for line in open(f)]
    txns = {a["txn"]["appId"]: a["txn"]["version"] for a in actions if "txn" in a}
    assert txns["deltaplane/producer/edge-7"] == 2
    assert txns["deltaplane/owner"] == 1
    assert any(app.endswith("/1") and len(app) == 38 for app in txns), txns
    configuration = server.delta().metadata().configuration
    assert configuration["delta.constraints.range_AT"] == "`AT` IS NULL OR `AT` BETWEEN 1.81 AND 37.11"
    assert configuration["deltaplane.eventTime"] == "ts"
    assert server.delta().to_pyarrow_table().num_rows == 5
    assert server.delta("raw_quarantine").to_pyarrow_table().num_rows == 5
