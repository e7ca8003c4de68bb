"""`deltaplane ingest`: each file once, whatever is killed; what is wrong with a file is said before a row of it is sent."""

import gzip
import os
import random
import subprocess
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import BIN, Server

ROWS = int(os.environ.get("DELTAPLANE_TEST_INGEST_ROWS", "120000"))


@pytest.fixture
def lake(tmp_path):
    server = Server(tmp_path / "data").start()
    server.sql("CREATE TABLE public.t (id BIGINT NOT NULL, name STRING, v DOUBLE)")
    yield server
    server.stop()


def lines(n, first=0):
    return "".join(f"{first + i},name {i % 97},{i * 0.25}\n" for i in range(n))


def write(path, text, header="id,name,v\n"):
    path.write_bytes((header + text).encode() if isinstance(text, str) else text)
    return path


def state(server):
    return server.one("SELECT count(*), count(DISTINCT id), sum(id) FROM public.t")


def whole(n):
    return (n, n, n * (n - 1) // 2)


def test_forms_of_good_files_are_loaded_once(lake, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    write(tree / "a.csv", lines(1000))
    write(tree / "b.csv", b"\xef\xbb\xbfid,name,v\r\n" + lines(1000, 1000).replace("\n", "\r\n").encode())
    (tree / "c.csv.gz").write_bytes(gzip.compress(("id,name,v\n" + lines(1000, 2000)).encode()))
    write(tree / "sub" / "d.csv", "".join(f'{3000 + i},"a ""quoted"", name\nof two lines",{i}\n' for i in range(1000)))
    write(tree / "sub" / "e.jsonl", "".join(f'{{"id":{4000 + i},"v":{i}.5,"name":null}}\n' for i in range(1000)), "")
    (tree / "f.ndjson.gz").write_bytes(gzip.compress("".join(f'{{"id":{5000 + i}}}\n\n' for i in range(1000)).encode()))
    table = pa.table({"id": pa.array(range(6000, 7000)), "v": [1.0] * 1000})
    pq.write_table(table, tree / "g.parquet")
    with pa.ipc.new_file(tree / "h.arrow", table.schema) as out:
        out.write_table(pa.table({"id": pa.array(range(7000, 8000)), "v": [1.0] * 1000}))
    (tree / "README.md").write_text("not data")
    assert "8 files, 8000 rows sent, 0 quarantined" in lake.run("ingest", "public.t", tree).stdout
    assert state(lake) == whole(8000)
    assert lake.one("SELECT name FROM public.t WHERE id = 3001") == 'a "quoted", name\nof two lines'
    assert lake.one("SELECT v FROM public.t WHERE id = 1003") == 0.75
    # Again, and under other names: nothing is added.
    (tree / "a.csv").rename(tree / "z.csv")
    again = lake.run("ingest", "public.t", tree, check=False)
    assert again.returncode == 99 and "8000 rows were there" in again.stdout
    assert state(lake) == whole(8000)


def test_same_content_for_another_device_is_another_file(lake, tmp_path):
    for name in ["sat1", "sat2"]:
        write(tmp_path / f"{name}.csv", lines(10))
    lake.run("ingest", "public.t", tmp_path / "sat1.csv", tmp_path / "sat2.csv", "--set", "name={stem}", check=False)
    # `name` is in the files: the server says so. Without it there they are two.
    assert lake.one("SELECT count(*) FROM public.t") == 0
    for name in ["sat1", "sat2"]:
        write(tmp_path / f"{name}.csv", "1,2\n", "id,v\n")
    lake.run("ingest", "public.t", tmp_path / "sat1.csv", tmp_path / "sat2.csv", "--set", "name={stem}")
    assert [r["name"] for r in lake.sql("SELECT name FROM public.t ORDER BY name")] == ["sat1", "sat2"]


@pytest.mark.parametrize("name,content,words", [
    ("half.csv", b"id,name,v\n1,a,2\n2,b", ["line 3", "2 fields where the header has 3", "write it again"]),
    ("ragged.csv", b"id,name,v\n1,a,2\n2,b\n3,c,4\n", ["line 3", "2 fields", "correct the line"]),
    ("ragged_quoted.csv", b'id,name,v\n1,"a",2\n2,"b,c\n3,d,4\n', ["line 3", "quote"]),
    ("header.csv", b"id,nmae,v\n1,a,2\n", ["nmae", "did you mean name?"]),
    ("no_header.csv", b"1,1,2\n2,b,3\n", ["line 1", "twice"]),
    ("latin.csv", "id,name,v\n1,a,2\n2,M\u00fcnchen,3\n".encode("latin1"), ["line 3", "no UTF-8", "iconv"]),
    ("utf16.csv", "id,name,v\n1,a,2\n".encode("utf-16"), ["line 1", "UTF-16", "iconv"]),
    ("empty.csv", b"", ["line 1", "empty"]),
    ("cut.csv.gz", gzip.compress(b"id,name,v\n" + lines(100_000).encode())[:5000], ["cut.csv.gz", "unpacked", "write it again"]),
    ("half.jsonl", b'{"id":1}\n{"id":2,"na', ["line 2", "no end", "write the file again"]),
    ("bad.jsonl", b'{"id":1}\n{"id":2,}\n', ["line 2", "column 9", "correct it"]),
    ("list.jsonl", b'{"id":1}\n[2]\n', ["line 2", "no JSON object"]),
    ("cut.parquet", b"PAR1abc", ["cut.parquet", "no whole Parquet file"]),
    ("cut.arrow", b"ARROW1\0\0", ["cut.arrow", "no whole Arrow file"]),
])
def test_a_bad_file_says_file_line_and_fix_and_leaves_nothing_behind(lake, tmp_path, name, content, words):
    write(tmp_path / "a_good.csv", lines(100))
    (tmp_path / name).write_bytes(content)
    checked_first = name != "header.csv"
    result = lake.run("ingest", "public.t", tmp_path / "a_good.csv", tmp_path / name, check=False)
    assert result.returncode == 1 and name in result.stderr, result
    for word in words:
        assert word in result.stderr, result.stderr
    assert lake.one("SELECT count(*) FROM public.t") == (0 if checked_first else 100)
    if not checked_first:
        assert "1 files before it are in the table whole" in result.stderr


def test_values_that_are_no_numbers_go_to_quarantine_by_themselves(lake, tmp_path):
    many = lines(60_000)
    file = write(tmp_path / "a.csv", many + "60000,x,1.2.3\n60001,y,NaN\n60002,z,1e3\n" + lines(60_000, 60_003))
    assert "120003 rows sent, 1 quarantined" in lake.run("ingest", "public.t", file).stdout
    assert lake.one("SELECT raw FROM public.t_quarantine") == '{"id":"60000","name":"x","v":"1.2.3"}'
    assert lake.one("SELECT count(*), count(DISTINCT id) FROM public.t") == (120_002, 120_002)
    assert lake.one("SELECT v FROM public.t WHERE id = 60002") == 1000
    assert lake.run("ingest", "public.t", file, check=False).returncode == 99


def test_killed_and_resumed_no_row_is_doubled(lake, tmp_path):
    seed = int(os.environ.get("DELTAPLANE_TEST_SEED", time.time_ns() % 10_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    files = [write(tmp_path / "a.csv", lines(ROWS)), write(tmp_path / "b.jsonl", "".join(f'{{"id":{ROWS + i},"v":1.5}}\n' for i in range(ROWS // 4)), "")]
    total = ROWS + ROWS // 4
    command = [BIN / "deltaplane", "ingest", "--uri", f"http://127.0.0.1:{lake.port}", "public.t", *files]
    # The client is killed, again and again; then the server under a client that goes on.
    for _ in range(3):
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(chance.uniform(0.05, 0.8))
        client.kill()
        client.wait()
        n, distinct, _ = state(lake)
        assert n == distinct
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(2):
        time.sleep(chance.uniform(0.05, 0.6))
        lake.kill()
        lake.start()
    out, err = client.communicate(timeout=120)
    assert client.returncode in (0, 99), err
    assert state(lake) == whole(total), out
    assert lake.run("ingest", "public.t", *files, check=False).returncode == 99
    assert state(lake) == whole(total)


def test_folders_of_partitions_are_columns(lake, tmp_path):
    """As Spark and pandas write them: the column is not in the files. A null has a folder of its own."""
    lake.sql("CREATE TABLE public.hive (id BIGINT, day DATE, site STRING)")
    root = tmp_path / "hive"
    for at, folder in enumerate(["Day=2026-01-01/site=K%C3%B6ln", "day=2026-01-02/site=__HIVE_DEFAULT_PARTITION__", "other=1"]):
        (root / folder).mkdir(parents=True)
        pq.write_table(pa.table({"id": [at]}), root / folder / "part-0.parquet")
    pq.write_table(pa.table({"id": [3], "site": ["own"]}), root / "Day=2026-01-01/site=K%C3%B6ln/part-1.parquet")
    lake.run("ingest", "public.hive", root)
    got = lake.sql("SELECT id, CAST(day AS STRING) AS day, site FROM public.hive ORDER BY id")
    assert [tuple(row.values()) for row in got] == [(0, "2026-01-01", "Köln"), (1, "2026-01-02", None), (2, None, None), (3, "2026-01-01", "own")]
    lake.run("ingest", "public.hive", root / "day=2026-01-02", root / "other=1", "--set", "site=all", "--set", "day=2026-02-02")
    assert lake.one("SELECT count(*) FROM public.hive WHERE site = 'all' AND day = DATE '2026-02-02'") == 2


def test_a_file_that_was_loaded_without_its_folder_is_not_loaded_again(lake, tmp_path):
    """As older versions loaded it: its columns would make it another file."""
    lake.sql("CREATE TABLE public.hive (id BIGINT, day DATE)")
    (tmp_path / "day=2026-01-01").mkdir()
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "day=2026-01-01/a.parquet")
    lake.run("ingest", "public.hive", tmp_path / "a.parquet")
    assert lake.run("ingest", "public.hive", tmp_path / "day=2026-01-01", check=False).returncode == 99
    assert lake.one("SELECT count(*) FROM public.hive") == 2
    lake.run("ingest", "public.hive", tmp_path / "day=2026-01-01", "--again")
    assert lake.one("SELECT count(*) FROM public.hive WHERE day = DATE '2026-01-01'") == 2
