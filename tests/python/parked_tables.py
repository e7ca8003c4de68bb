"""Tables that are damaged in several ways, and what the tests of parked tables ask of a server."""

import shutil
import time

import deltalake
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from conftest import Server

# Commits come when a test asks for them.
SLOW = {"DELTAPLANE_COMMIT_INTERVAL": "1h", "DELTAPLANE_UPKEEP_ENABLED": "false"}
SLOT = 320


def refused(server, statement):
    with pytest.raises((fl.FlightError, pa.ArrowException)) as caught:
        server.sql(statement)
    return str(caught.value)


def ids(server, table="public.x"):
    return [row["id"] for row in server.sql(f"SELECT id FROM {table} ORDER BY id")]


def state(server, table="x"):
    (row,) = server.sql(f"SELECT * FROM system.tables WHERE table_name = '{table}'")
    return row


def put(server, table, batch):
    """A plain stream of one batch: None when it was acked, or the error."""
    client = server.flight()
    try:
        writer, reader = client.do_put(fl.FlightDescriptor.for_path(*table.split(".")), batch.schema)
        writer.write_batch(batch)
        writer.done_writing()
        while reader.read() is not None:
            pass
        writer.close()
        return None
    except (fl.FlightError, pa.ArrowException) as error:
        return str(error)
    finally:
        client.close()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def newest_entry(folder):
    return max((folder / "_delta_log").glob("*.json"))


def cut_entry(tables):
    entry = newest_entry(tables / "x")
    entry.write_bytes(entry.read_bytes()[:40])


def garbage_entry(tables):
    newest_entry(tables / "x").write_bytes(b"\x00\xff not json")


def other_columns(tables):
    deltalake.write_deltalake(str(tables / "x"), pa.table({"other": ["a"]}), mode="overwrite", schema_mode="overwrite")


def damaged_note(tables):
    note = tables / "x_quarantine/_deltaplane/replay.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text('{"version":1,"repl')


CAUSES = {
    "cut_entry": (cut_entry, "open", "table_damaged"),
    "garbage_entry": (garbage_entry, "open", "table_damaged"),
    "missing_folder": (lambda tables: shutil.rmtree(tables / "x"), "open", "table_missing"),
    "missing_quarantine": (lambda tables: shutil.rmtree(tables / "x_quarantine"), "open", "table_missing"),
    "other_columns": (other_columns, "open", "schema_mismatch"),
    "damaged_note": (damaged_note, "requeue", "table_damaged"),
}


@pytest.fixture
def two_tables(tmp_path):
    """public.good, and public.x with row 1 in Delta and row 2 in the log alone; killed."""
    server = Server(tmp_path / "data", **SLOW).start()
    server.sql("CREATE TABLE public.good (id BIGINT)")
    server.sql("CREATE TABLE public.x (id BIGINT)")
    server.sql("INSERT INTO public.x VALUES (1)")
    server.sql("DELETE FROM public.x WHERE id = -1")
    server.sql("INSERT INTO public.x VALUES (2)")
    server.kill()
    yield server
    server.stop()


def by_statement(server):
    (row,) = server.sql("REPAIR TABLE public.x ACCEPT LOSS")
    assert (row["table"], row["state"]) == ("public.x", "served")
    return row["detail"]


def by_verb(server):
    done = server.run("table", "repair", "public.x", "--accept-loss")
    assert "served" in done.stdout
    return done.stdout
