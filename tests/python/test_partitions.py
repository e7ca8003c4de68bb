"""Values of partition columns: the same before and after the commit, and for every reader of the table on disk."""

import datetime as dt
import itertools
import json

import deltalake
import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Server

VALUES = ["Halle 1", "K\u00f6ln", "a:b", "a/b", "a=b", "50%", "100%25", "a%2Fb", " ", "..", ".", "~", "\U0001f600", "\u6771\u4eac" * 20, "x" * 250,
          "a+b", "a&b", "a\\b", "a\nb", "\t", "null", "'q'", '"q"', "#?*", "trailing. ", "2026-01-01", "007", "1e5", "a\u0085b", "e\u0301"]


@pytest.fixture
def lake(tmp_path):
    server = Server(tmp_path / "data", DELTAPLANE_UPKEEP_RETAIN_MIN="0ms").start()
    yield server
    server.stop()


def folder(server, table):
    return str(server.directory / "tables/public" / table)


def adds(server, table):
    log = sorted((server.directory / "tables/public" / table / "_delta_log").glob("*.json"))
    actions = [json.loads(line) for entry in log for line in entry.read_text().split("\n") if line]
    return [a["add"] for a in actions if "add" in a]


def by_readers(server, table, column="site"):
    """The column's values by id, as delta-rs and Polars read the table, and as DuckDB reads the folders' names."""
    path = folder(server, table)
    yield deltalake.DeltaTable(path).to_pyarrow_table().sort_by("id")[column].to_pylist()
    yield polars.scan_delta(path).collect().sort("id")[column].to_list()
    files = f"{path}/*/*.parquet"
    yield [v for (v,) in duckdb.sql(f"SELECT {column} FROM read_parquet('{files}', hive_partitioning = true, hive_types_autocast = false) ORDER BY id").fetchall()]


def test_every_reader_reads_the_values_that_were_sent(lake):
    lake.sql("CREATE TABLE public.x (id BIGINT, site STRING) PARTITIONED BY (site)")
    sent = VALUES + [None]
    lake.put("public.x", pa.record_batch({"id": pa.array(range(len(sent))), "site": pa.array(sent)}))
    ours = lambda: [r["site"] for r in lake.sql("SELECT site FROM public.x ORDER BY id")]
    assert ours() == sent
    lake.wait_committed("x")
    lake.terminate()
    lake.start()
    assert ours() == sent
    for read in by_readers(lake, "x"):
        assert read == sent
    # Paths in the log are URLs.
    assert all(path.isascii() and " " not in path for path in (a["path"] for a in adds(lake, "x")))
    # What rewrites and deletes files finds them under their names.
    lake.sql("OPTIMIZE public.x")
    for value in ("a/b", "..", "K\u00f6ln"):
        assert lake.one(f"SELECT count(*) FROM public.x WHERE site = '{value}'") == 1
        lake.sql(f"DELETE FROM public.x WHERE site = '{value}'")
    lake.sql("VACUUM public.x RETAIN 0 HOURS")
    left = [v for v in sent if v not in ("a/b", "..", "K\u00f6ln")]
    assert ours() == left
    # Those of the log: what reads folders sees files that VACUUM keeps for a while.
    for read in itertools.islice(by_readers(lake, "x"), 2):
        assert read == left


@pytest.mark.parametrize("value,words", [
    ("", "Delta reads as NULL"),
    ("__HIVE_DEFAULT_PARTITION__", "word for NULL"),
    ("x" * 251, "256 bytes"),
    ("\u6771" * 84, "257 bytes"),
])
def test_a_value_that_no_folder_can_bear_is_rejected_when_it_comes(lake, value, words):
    lake.sql("CREATE TABLE public.x (id BIGINT, site STRING) PARTITIONED BY (site)")
    ack = lake.put("public.x", pa.record_batch({"id": pa.array([1, 2]), "site": pa.array([value, "b"])}))
    assert (ack["accepted"], ack["quarantined"]) == (1, 1)
    (row,) = lake.sql("SELECT rules, reason, raw FROM public.x_quarantine")
    assert list(row["rules"]) == ["partition:site"] and words in row["reason"] and json.loads(row["raw"])["site"] == value
    for statement in (f"INSERT INTO public.x VALUES (3, '{value}')", f"UPDATE public.x SET site = '{value}' WHERE id = 2"):
        with pytest.raises(pa.ArrowInvalid, match="partition:site"):
            lake.sql(statement)
    lake.wait_committed("x")
    assert [r["id"] for r in lake.sql("SELECT id FROM public.x")] == [2]
    # A correction brings it back.
    lake.run("quarantine", "replay", "public.x", "--set", "site=c")
    assert [r["site"] for r in lake.sql("SELECT site FROM public.x ORDER BY id")] == ["c", "b"]


def test_a_column_that_is_no_partition_keeps_empty_texts(lake):
    lake.sql("CREATE TABLE public.x (id BIGINT, site STRING, name STRING) PARTITIONED BY (site)")
    lake.put("public.x", pa.record_batch({"id": pa.array([1]), "site": pa.array(["a"]), "name": pa.array([""])}))
    lake.wait_committed("x")
    assert lake.one("SELECT name FROM public.x") == ""


TYPES = {
    "TIMESTAMP_NTZ": ([dt.datetime(2026, 1, 1), dt.datetime(1, 1, 1, 0, 0, 0, 1)], pa.timestamp("us"), ["2026-01-01 00:00:00", "0001-01-01 00:00:00.000001"]),
    "TIMESTAMP": ([dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.timezone.utc)], pa.timestamp("us", "UTC"), ["9999-12-31T23:59:59.999999Z"]),
    "DATE": ([dt.date(1, 1, 1), dt.date(9999, 12, 31)], pa.date32(), ["0001-01-01", "9999-12-31"]),
    "DOUBLE": ([0.1, float("inf"), float("-inf"), -0.0], pa.float64(), ["0.1", "Infinity", "-Infinity", "-0.0"]),
    "BOOLEAN": ([True, False], pa.bool_(), ["true", "false"]),
    "BIGINT": ([-(2**63), 7], pa.int64(), [str(-(2**63)), "7"]),
}


@pytest.mark.parametrize("name", TYPES)
def test_values_of_other_types_are_spelled_as_the_protocol_says(lake, name):
    sent, kind, spelled = TYPES[name]
    lake.sql(f"CREATE TABLE public.x (id BIGINT, p {name}) PARTITIONED BY (p)")
    lake.put("public.x", pa.record_batch({"id": pa.array(range(len(sent))), "p": pa.array(sent, kind)}))
    hot = lake.sql("SELECT id, p FROM public.x ORDER BY id")
    lake.wait_committed("x")
    lake.terminate()
    lake.start()
    assert lake.sql("SELECT id, p FROM public.x ORDER BY id") == hot
    assert [r["p"] for r in hot] == sent
    assert sorted(a["partitionValues"]["p"] for a in adds(lake, "x")) == sorted(spelled)
    path = folder(lake, "x")
    assert deltalake.DeltaTable(path).to_pyarrow_table().sort_by("id")["p"].to_pylist() == sent
    assert polars.scan_delta(path).collect().sort("id")["p"].to_list() == sent


def test_times_that_delta_cannot_spell_are_rejected_and_bytes_are_no_partitions(lake):
    lake.sql("CREATE TABLE public.x (id BIGINT, p TIMESTAMP) PARTITIONED BY (p)")
    far = pa.array([300_000_000_000_000_000, 0], pa.int64()).cast(pa.timestamp("us", "UTC"))
    assert lake.put("public.x", pa.record_batch({"id": pa.array([1, 2]), "p": far}))["quarantined"] == 1
    assert "years 1 to 9999" in lake.one("SELECT reason FROM public.x_quarantine")
    for columns, by in [("id BIGINT, p BINARY", "p"), ("p STRING", "p")]:
        with pytest.raises(pa.ArrowInvalid, match="partition_by"):
            lake.sql(f"CREATE TABLE public.y ({columns}) PARTITIONED BY ({by})")


def test_a_zoneless_column_is_added_with_the_feature_and_those_of_the_versions_before(lake):
    lake.sql("CREATE TABLE public.x (id BIGINT, v DOUBLE, CONSTRAINT c CHECK (v >= 0))")
    lake.sql("INSERT INTO public.x VALUES (1, 1.0)")
    lake.sql("ALTER TABLE public.x ADD COLUMN t TIMESTAMP_NTZ")
    lake.sql("INSERT INTO public.x VALUES (2, 2.0, TIMESTAMP '2026-01-01 00:00:00')")
    lake.wait_committed("x")
    path = folder(lake, "x")
    protocol = deltalake.DeltaTable(path).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (3, 7)
    assert protocol.reader_features == ["timestampNtz"]
    assert sorted(protocol.writer_features) == ["appendOnly", "checkConstraints", "invariants", "timestampNtz"]
    expected = [None, dt.datetime(2026, 1, 1)]
    assert deltalake.DeltaTable(path).to_pyarrow_table().sort_by("id")["t"].to_pylist() == expected
    assert polars.scan_delta(path).collect().sort("id")["t"].to_list() == expected
    # Another writer keeps to it, and this server takes what it wrote.
    deltalake.write_deltalake(path, pa.table({"id": [3], "v": [3.0], "t": pa.array([dt.datetime(2026, 1, 2)], pa.timestamp("us"))}), mode="append")
    lake.terminate()
    lake.start()
    assert lake.one("SELECT count(*) FROM public.x WHERE t > TIMESTAMP '2026-01-01 12:00:00'") == 1


def test_far_times_that_another_writer_stores_as_int96_do_not_wrap(lake):
    lake.sql("CREATE TABLE public.x (id BIGINT, ts TIMESTAMP)")
    lake.terminate()
    times = [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)]
    path = lake.directory / "tables/public/x"
    pq.write_table(pa.table({"id": [1, 2], "ts": pa.array(times, pa.timestamp("us"))}), path / "theirs.parquet", use_deprecated_int96_timestamps=True)
    newest = max(int(p.stem) for p in (path / "_delta_log").glob("*.json"))
    add = {"path": "theirs.parquet", "partitionValues": {}, "size": (path / "theirs.parquet").stat().st_size, "modificationTime": 0, "dataChange": True}
    (path / "_delta_log" / f"{newest + 1:020}.json").write_text(json.dumps({"commitInfo": {"timestamp": 0, "operation": "WRITE"}}) + "\n" + json.dumps({"add": add}) + "\n")
    lake.start()
    assert [r["ts"] for r in lake.sql("SELECT ts FROM public.x ORDER BY id")] == [t.replace(tzinfo=dt.timezone.utc) for t in times]
