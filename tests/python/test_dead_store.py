"""One table's store is down: its own producers are pushed back, nobody else notices, and nothing acked is lost."""

import os
import time

import pyarrow as pa
import pytest
from conftest import Server, Stream, rows

LOG = {"DELTAPLANE_LOG_BYTES_MAX": "24MiB", "DELTAPLANE_LOG_SEGMENT_BYTES": "4MiB", "DELTAPLANE_LIMITS_BATCH_BYTES_MAX": "2MiB"}


def stream_bytes(stream, seq, megabytes):
    """Batches of about 1 MiB with strings that nothing compresses."""
    for seq in range(seq, seq + megabytes):
        text = os.urandom(10_000 * 50).hex()
        stream.send(seq, rows(10_000, seq * 10_000, reactor_id=[text[i * 100:(i + 1) * 100] for i in range(10_000)]))
        stream.ack(seq)
    return seq + 1


@pytest.mark.parametrize("kill", [False, True])
def test_a_dead_store_holds_up_its_own_table_only_and_its_rows_are_committed_when_it_is_back(tmp_path, kill):
    server = Server(tmp_path / "data", **LOG).start()
    try:
        server.run("apply", "reactor", "--yes")
        server.sql("CREATE TABLE reactor.other (reactor_id STRING NOT NULL, ts TIMESTAMP NOT NULL, AT DOUBLE, V DOUBLE, AP DOUBLE, RH DOUBLE, PE DOUBLE)")
        folder, away = server.directory / "tables/reactor/raw", server.directory / "away"
        folder.rename(away)
        folder.write_text("in the way")
        dead = Stream(server, "dead")
        dead.send(1, rows(1000))
        assert dead.ack(1)["accepted"] == 1000
        healthy = Stream(server, "healthy", table=("reactor", "other"))
        # Three times what the log may hold.
        after = stream_bytes(healthy, 1, 72)
        assert server.one("SELECT count(*) FROM reactor.other") == (after - 1) * 10_000
        assert server.one("SELECT count(*) FROM reactor.raw") == 1000, "still answered, from memory"
        assert (server.directory / "wal/parked").exists()
        dead.send(2, rows(1000, 5000))
        assert dead.ack(2)["accepted"] == 2000, "still taken"
        if kill:
            server.kill()
        folder.unlink()
        away.rename(folder)
        if kill:
            server.start()
        server.wait_committed()
        deadline = time.monotonic() + 20
        while server.one("SELECT hot_bytes FROM system.tables WHERE table_name = 'raw'") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.one("SELECT count(*), count(DISTINCT ts) FROM reactor.raw") == (2000, 2000)
        assert server.delta().to_pyarrow_table().num_rows == 2000
        # The file goes after the rows are in Delta.
        while list((server.directory / "wal/parked").iterdir()):
            assert time.monotonic() < deadline, "parked rows stay although they are committed"
            time.sleep(0.1)
        again = Stream(server, "dead")
        assert again.ready["seq"] == 2
        again.close()
    finally:
        server.stop()
