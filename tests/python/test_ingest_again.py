"""`deltaplane ingest` of files that were loaded before: grown, packed, deleted, changed; and of Delta tables."""

import gzip
import os
import shutil
import subprocess
import time

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import BIN, Server


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("again") / "data").start()
    yield server
    server.stop()


@pytest.fixture
def table(lake):
    lake.sql("DROP TABLE IF EXISTS public.t")
    lake.sql("CREATE TABLE public.t (id BIGINT, site STRING)")
    return lake


def ingest(server, *arguments):
    done = server.run("ingest", "public.t", *arguments, check=False)
    return done.returncode, done.stdout + done.stderr


def ids(server):
    return [r["id"] for r in server.sql("SELECT id FROM public.t ORDER BY id")]


@pytest.mark.parametrize("name,header,line", [("a.csv", "id\n", "{}\n"), ("a.csv", "id,site\n", '{},"x"\n'), ("a.jsonl", "", '{{"id":{}}}\n')])
def test_a_file_that_has_grown_brings_only_what_has_come(table, tmp_path, name, header, line):
    path, rows = tmp_path / name, lambda a, b: "".join(line.format(i) for i in range(a, b))
    path.write_text(header + rows(0, 2))
    assert ingest(table, path)[0] == 0
    for first, last in [(2, 3), (3, 40_000), (40_000, 40_001)]:
        with open(path, "a") as out:
            out.write(rows(first, last))
        code, said = ingest(table, path)
        assert code == 0 and f"{last - first} rows sent" in said, said
        assert ids(table) == list(range(last))
        assert ingest(table, path)[0] == 99
    # Another file that begins alike is the same case; one that differs early is another file.
    path.write_text(header + rows(1, 3))
    assert "2 rows sent" in ingest(table, path)[1]


def test_a_beginning_that_was_cut_off_in_a_line_is_refused_and_an_end_without_a_newline_is_none(table, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id\n1\n2")
    assert ingest(table, path)[0] == 0
    path.write_text("id\n1\n2\n3\n")
    assert "1 rows sent" in ingest(table, path)[1]
    assert ids(table) == [1, 2, 3]
    path.write_text("id\n1\n25\n3\n")
    code, said = ingest(table, path)
    assert code == 1 and "line 3: its beginning was loaded before it was whole" in said and "--again" in said, said
    assert ids(table) == [1, 2, 3]


def test_a_grown_file_whose_first_load_was_cut_is_loaded_whole(table, tmp_path):
    path, n = tmp_path / "a.csv", 600_000
    path.write_text("id\n" + "".join(f"{i}\n" for i in range(n)))
    client = subprocess.Popen([BIN / "deltaplane", "ingest", "--uri", f"http://127.0.0.1:{table.port}", "public.t", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and client.poll() is None and table.one("SELECT count(*) FROM public.t") == 0:
        pass
    client.kill()
    client.wait()
    with open(path, "a") as out:
        out.write(f"{n}\n")
    assert ingest(table, path)[0] == 0
    assert table.one("SELECT count(*), count(DISTINCT id) FROM public.t") == (n + 1, n + 1)


def test_rows_that_were_deleted_are_loaded_again_on_demand(table, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id\n1\n2\n")
    ingest(table, path)
    table.sql("DELETE FROM public.t WHERE true")
    code, said = ingest(table, path)
    assert code == 99 and "--again" in said, said
    for times in (1, 2):
        code, said = ingest(table, path, "--again")
        assert code == 0 and "2 rows sent" in said, said
        assert ids(table) == sorted([1, 2] * times)
    assert ingest(table, path)[0] == 99
    # It grows after that.
    path.write_text("id\n1\n2\n3\n")
    assert "1 rows sent" in ingest(table, path)[1]


def test_the_same_content_packed_twice_or_not_at_all_is_one_file(table, tmp_path):
    for name, time in [("a.csv.gz", 1), ("b.csv.gz", 2)]:
        (tmp_path / name).write_bytes(gzip.compress(b"id\n1\n", mtime=time))
    (tmp_path / "c.csv").write_text("id\n1\n")
    assert [ingest(table, tmp_path / n)[0] for n in ("a.csv.gz", "b.csv.gz", "c.csv")] == [0, 99, 99]
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(b"id\n1\n2\n"))
    assert "1 rows sent" in ingest(table, tmp_path / "d.csv.gz")[1]
    assert ids(table) == [1, 2]


def test_a_refused_batch_says_which_rows_are_there_and_how_to_go_on(lake, tmp_path):
    lake.sql("DROP TABLE IF EXISTS public.t")
    lake.sql("CREATE TABLE public.t (id BIGINT, site STRING) TBLPROPERTIES ('deltaplane.rule.small'='{\"name\":\"range:id\",\"column\":\"id\",\"kind\":{\"range\":{\"max\":9000}},\"action\":\"fail\"}')")
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": list(range(10_000))}), path)
    code, said = ingest(lake, path)
    assert code == 1 and "its first 8192 rows are in the table" in said and "leave these rows out" in said, said
    # The same file goes on behind them.
    lake.sql("ALTER TABLE public.t DROP CONSTRAINT range_id")
    assert "1808 rows sent" in ingest(lake, path)[1]
    assert lake.one("SELECT count(*), count(DISTINCT id) FROM public.t") == (10_000, 10_000)


# --- Delta tables ----------------------------------------------------------------------------------------------------------


def test_a_delta_table_is_read_through_its_log(table, tmp_path):
    path = str(tmp_path / "theirs")
    rows = lambda a, b: pa.table({"id": pa.array(range(a, b)), "site": pa.array([["K\u00f6ln", "a/b", None][i % 3] for i in range(a, b)], pa.string())})
    deltalake.write_deltalake(path, rows(0, 10), partition_by=["site"])
    deltalake.write_deltalake(path, rows(10, 20), mode="append")
    deltalake.DeltaTable(path).delete("id < 5")
    # What lies around in the folder is no row of it.
    pq.write_table(pa.table({"id": [1000]}), tmp_path / "theirs" / "stray.parquet")
    code, said = ingest(table, tmp_path)
    assert code == 0 and "1 files, 15 rows sent" in said, said
    assert ids(table) == list(range(5, 20))
    assert table.one("SELECT count(*) FROM public.t WHERE site = 'K\u00f6ln'") == len([i for i in range(5, 20) if i % 3 == 0])
    assert table.one("SELECT count(*) FROM public.t WHERE site IS NULL") == len([i for i in range(5, 20) if i % 3 == 2])
    assert ingest(table, path)[0] == 99
    # A copy of it elsewhere is the same table.
    shutil.copytree(path, tmp_path / "copy")
    assert ingest(table, tmp_path / "copy")[0] == 99
    # Another version would bring rows that are there.
    deltalake.write_deltalake(path, rows(20, 22), mode="append")
    code, said = ingest(table, path)
    assert code == 1 and "another version" in said and "--again" in said, said
    table.sql("DELETE FROM public.t WHERE true")
    assert "17 rows sent" in ingest(table, path, "--again")[1]
    assert ids(table) == list(range(5, 22))


def test_a_file_within_a_delta_table_is_refused(table, tmp_path):
    path = tmp_path / "theirs"
    deltalake.write_deltalake(str(path), pa.table({"id": [1], "site": ["x"]}), partition_by=["site"])
    for part in (next(path.glob("site=x/*.parquet")), path / "site=x"):
        code, said = ingest(table, part)
        assert code == 1 and "lies in the Delta table" in said, said
    assert ids(table) == []


def test_a_delta_table_keeps_columns_that_came_later_and_its_own_tables_load_too(table, tmp_path):
    path = str(tmp_path / "theirs")
    deltalake.write_deltalake(path, pa.table({"id": [1]}))
    deltalake.write_deltalake(path, pa.table({"id": [2], "site": ["x"]}), mode="append", schema_mode="merge")
    assert ingest(table, path)[0] == 0
    assert table.sql("SELECT id, site FROM public.t ORDER BY id") == [{"id": 1, "site": None}, {"id": 2, "site": "x"}]
    # A table of this server's is one like any other.
    table.sql("CREATE TABLE public.ours (id BIGINT, site STRING) PARTITIONED BY (site)")
    table.sql("INSERT INTO public.ours VALUES (3, 'a/b'), (4, NULL), (5, 'K\u00f6ln')")
    table.sql("DELETE FROM public.ours WHERE id = 4")
    table.wait_committed("ours")
    assert "2 rows sent" in ingest(table, table.directory / "tables/public/ours")[1]
    assert table.sql("SELECT id, site FROM public.t WHERE id > 2 ORDER BY id") == [{"id": 3, "site": "a/b"}, {"id": 5, "site": "K\u00f6ln"}]


def test_notes_of_other_programs_are_no_data(table, tmp_path):
    (tmp_path / "_temporary").mkdir()
    for name in ["_temporary/a.csv", ".b.csv", "_c.csv", "d.csv"]:
        (tmp_path / name).write_text(f"id\n{len(name)}\n")
    assert "1 files, 1 rows sent" in ingest(table, tmp_path)[1]
    assert ids(table) == [5]
