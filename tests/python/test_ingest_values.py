"""What `deltaplane ingest` makes of the values in files: nothing is swallowed, changed or lost in silence."""

import datetime as dt
import decimal
import os
import subprocess

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import BIN, Server

UTC = dt.timezone.utc


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("values") / "data").start()
    yield server
    server.stop()


def fresh(server, columns, properties=""):
    server.sql("DROP TABLE IF EXISTS public.t")
    server.sql(f"CREATE TABLE public.t ({columns})" + (f" TBLPROPERTIES ({properties})" if properties else ""))


def ingest(server, path, content=None, *options):
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = server.run("ingest", "public.t", path, *options, check=False)
    return done.returncode, done.stdout + done.stderr


def values(server, column):
    return [r[column] for r in server.sql(f"SELECT {column} FROM public.t ORDER BY id")]


def reasons(server):
    return [r["reason"] for r in server.sql("SELECT reason FROM public.t_quarantine ORDER BY _seq, row_index")]


# --- CSV -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text,line", [("id,s\n1,\"a\n2,b\n3,c\n", 2), ("id,s\n1,x\n2,\"a\n3,b\n4,\"c\"\n", 3), ("id,s\n1,\"a\"b\n", 2)])
def test_a_quote_that_nothing_closes_swallows_no_rows(lake, tmp_path, text, line):
    fresh(lake, "id BIGINT, s STRING")
    code, said = ingest(lake, tmp_path / "a.csv", text)
    assert code == 1 and f"line {line}: a quote opens a field here" in said, said
    assert lake.one("SELECT count(*) FROM public.t") == 0


def test_quotes_lines_and_empty_texts_are_what_is_written(lake, tmp_path):
    fresh(lake, "id BIGINT, s STRING, v DOUBLE")
    code, said = ingest(lake, tmp_path / "a.csv", 'id,s,v\r\n1,"a\r\nb ""c"", d",1\r\n2,"",\r\n3,,""\r\n4,5" pipe,2\r\n')
    assert code == 0 and "4 rows sent, 0 quarantined" in said, said
    assert values(lake, "s") == ['a\r\nb "c", d', "", None, '5" pipe']
    assert values(lake, "v") == [1.0, None, None, 2.0]
    # A writer that quotes everything has no other word for NULL.
    fresh(lake, "id BIGINT, s STRING, v DOUBLE")
    assert ingest(lake, tmp_path / "b.csv", '"id","s","v"\n"1","","2.5"\n"2","x",""\n')[0] == 0
    assert (values(lake, "s"), values(lake, "v")) == ([None, "x"], [2.5, None])


def test_a_file_of_which_no_column_is_known_is_refused(lake, tmp_path):
    fresh(lake, "ts TIMESTAMP, v DOUBLE", "'deltaplane.unknownColumns'='ignore'")
    code, said = ingest(lake, tmp_path / "a.csv", "ts;v\n2026-01-01T00:00:00Z;1.5\n")
    assert code == 1 and "none of the columns is known" in said and "ts;v" in said, said
    assert lake.one("SELECT count(*) FROM public.t") == 0
    # The same for any other client, and a column that is known is enough.
    with pytest.raises(AssertionError):
        lake.put("public.t", pa.RecordBatch.from_pydict({"w": [1.0]}))
    assert lake.put("public.t", pa.RecordBatch.from_pydict({"w": [1.0], "v": [1.0]}))["accepted"] == 1


def test_the_index_of_a_data_frame_is_left_out_where_unknown_columns_are(lake, tmp_path):
    fresh(lake, "id BIGINT, v DOUBLE", "'deltaplane.unknownColumns'='ignore'")
    assert ingest(lake, tmp_path / "a.csv", ",id,v\n0,1,2.5\n")[0] == 0
    assert values(lake, "v") == [2.5]
    fresh(lake, "id BIGINT, v DOUBLE")
    code, said = ingest(lake, tmp_path / "b.csv", ",id,v\n0,2,2.5\n")
    assert code == 1 and "to_csv(index=False)" in said, said


# --- JSON ------------------------------------------------------------------------------------------------------------------


def test_json_goes_into_every_type_as_it_is_written(lake, tmp_path):
    fresh(lake, "id BIGINT, f FLOAT, d DECIMAL(20,4), b BINARY, s STRING, k BOOLEAN, i SMALLINT")
    code, said = ingest(lake, tmp_path / "a.jsonl", "\n".join([
        '{"id":1,"f":1.25,"d":1234567890123456.7891,"b":"00ff","s":17,"k":true,"i":3}',
        '{"id":2,"f":0.1,"d":"0.5","b":"","s":{"x": [1.0]},"k":"false","i":4.0}',
        '{"id":3,"s":"","k":null}', '{"id":4,"f":1e300}', '{"id":5,"i":40000}', '{"id":6,"i":1.5}', ""]))
    assert code == 0 and "6 rows sent, 3 quarantined" in said, said
    assert values(lake, "f") == [1.25, pytest.approx(0.1, rel=1e-7), None]
    assert values(lake, "d") == [decimal.Decimal("1234567890123456.7891"), decimal.Decimal("0.5000"), None]
    assert values(lake, "b") == [b"\x00\xff", b"", None]
    assert values(lake, "s") == ["17", '{"x": [1.0]}', ""]
    assert (values(lake, "k"), values(lake, "i")) == ([True, False, None], [3, 4, None])
    assert reasons(lake) == ["f 1e300 is not a FLOAT", "i 40000 is not a SMALLINT", "i 1.5 is not a SMALLINT"]


def test_a_row_has_the_same_answer_whatever_stands_in_the_others(lake, tmp_path):
    fresh(lake, "id BIGINT, s STRING")
    for name, text in [("a", '{"id":1,"s":17}\n'), ("b", '{"id":2.0,"s":17}\n{"id":3.5}\n{"id":4,"s":"x"}\n'), ("c", '{"id":5.0}\n'), ("d", '{"id":6.5}\n')]:
        code, said = ingest(lake, tmp_path / f"{name}.jsonl", text)
        assert code == (1 if name == "d" else 0), said
    assert values(lake, "id") == [1, 2, 4, 5]
    assert values(lake, "s") == ["17", "17", "x", None]
    assert sorted(reasons(lake)) == ["id 3.5 is not a BIGINT", "id 6.5 is not a BIGINT"]
    # From a stream, and from a CSV.
    ack = lake.put("public.t", pa.RecordBatch.from_pydict({"id": [7.0, 7.5, float("nan"), 1e17]}))
    assert (ack["accepted"], ack["quarantined"]) == (1, 3)
    assert "3 rows sent, 1 quarantined" in ingest(lake, tmp_path / "e.csv", "id\n8.0\n9\n9.5\n")[1]
    assert values(lake, "id") == [1, 2, 4, 5, 7, 8, 9]


def test_columns_that_json_adds_have_the_type_of_all_their_values(lake, tmp_path):
    fresh(lake, "id BIGINT", "'deltaplane.unknownColumns'='add'")
    assert ingest(lake, tmp_path / "a.jsonl", '{"id":1,"n":1,"x":1,"k":true,"l":[1],"z":null}\n{"id":2,"n":2,"x":1.5,"s":"a"}\n')[0] == 0
    schema = {r["column_name"]: r["data_type"] for r in lake.sql("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 't'")}
    assert {k: v for k, v in schema.items() if k in "nxklsz"} == {"n": "BIGINT", "x": "DOUBLE", "k": "BOOLEAN", "l": "STRING", "s": "STRING"}
    assert values(lake, "l") == ["[1]", None]


@pytest.mark.parametrize("text,words", [
    ('{"id":1,"id":2}\n', ["line 1", "id twice"]),
    ('{"id":1}\n{"b":"xyz"}\n', ["line 2", "b: ", "hexadecimal"]),
])
def test_json_that_says_two_things_or_no_bytes_is_named_with_its_line(lake, tmp_path, text, words):
    fresh(lake, "id BIGINT, b BINARY")
    code, said = ingest(lake, tmp_path / "a.jsonl", text)
    assert code == 1 and all(w in said for w in words), said


# --- times -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit,whole,half", [("s", "1502902504", "1502902504.5"), ("ms", "1502902504000", "1502902504500.0"), ("us", "1502902504000000", "1502902504500000.25")])
def test_a_number_counts_the_columns_unit_with_a_fraction_too(lake, tmp_path, unit, whole, half):
    expected = [dt.datetime(2017, 8, 16, 16, 55, 4, tzinfo=UTC), dt.datetime(2017, 8, 16, 16, 55, 4, 500_000, tzinfo=UTC)]
    for ending, text in [("jsonl", f'{{"id":1,"ts":{whole}}}\n{{"id":2,"ts":{half}}}\n'), ("csv", f"id,ts\n1,{whole}\n2,{half}\n")]:
        fresh(lake, "id BIGINT, ts TIMESTAMP", f"'deltaplane.timeUnit.ts'='{unit}'")
        assert ingest(lake, tmp_path / f"a.{ending}", text)[0] == 0
        assert values(lake, "ts") == expected, ending
    fresh(lake, "id BIGINT, ts TIMESTAMP", f"'deltaplane.timeUnit.ts'='{unit}'")
    lake.put("public.t", pa.RecordBatch.from_pydict({"id": [1, 2], "ts": [float(whole), float(half)]}))
    assert values(lake, "ts") == expected


def test_iso_times_need_no_seconds_and_a_bare_number_is_named_with_the_property_that_it_lacks(lake, tmp_path):
    fresh(lake, "id BIGINT, ts TIMESTAMP, n TIMESTAMP_NTZ")
    ten = dt.datetime(2026, 1, 1, 10, 20)
    code, said = ingest(lake, tmp_path / "a.csv", "id,ts,n\n1,2026-01-01T10:20Z,2026-01-01T10:20\n2,2026-01-01 10:20,2026-01-01 10:20:00+02:00\n3,2026-01-01T12:20+02:00,\n")
    assert code == 0 and "0 quarantined" in said, said
    assert values(lake, "ts") == [ten.replace(tzinfo=UTC)] * 3
    assert values(lake, "n") == [ten, ten, None]
    code, said = ingest(lake, tmp_path / "b.csv", "id,ts\n4,1698228000\n")
    assert code == 1 and "deltaplane.timeUnit.ts" in said and "quarantine show" in said, said
    assert lake.one("SELECT count(*) FROM public.t") == 3


def test_a_date_is_the_day_that_is_written(lake, tmp_path):
    fresh(lake, "id BIGINT, d DATE")
    ingest(lake, tmp_path / "a.csv", "id,d\n1,2026-01-01T23:30:00-05:00\n2,2026-01-01 00:30:00+08:00\n3,2026-01-01\n4,2026-01-01Tx\n")
    assert values(lake, "d") == [dt.date(2026, 1, 1)] * 3
    lake.sql("INSERT INTO public.t VALUES (5, '2026-01-01T23:30:00-05:00')")
    assert values(lake, "d") == [dt.date(2026, 1, 1)] * 4


def test_int96_times_do_not_wrap(lake, tmp_path):
    fresh(lake, "id BIGINT, ts TIMESTAMP")
    times = [dt.datetime(1, 1, 1), dt.datetime(2026, 1, 1, 0, 0, 0, 123456), dt.datetime(9999, 12, 31, 23, 59, 59)]
    pq.write_table(pa.table({"id": [1, 2, 3], "ts": pa.array(times, pa.timestamp("us"))}), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert ingest(lake, tmp_path / "a.parquet")[0] == 0
    assert values(lake, "ts") == [t.replace(tzinfo=UTC) for t in times]


# --- sizes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl", "csv"])
def test_wide_rows_are_cut_to_batches_that_the_server_takes(lake, tmp_path, ending):
    fresh(lake, "id BIGINT, s STRING")
    path, n = tmp_path / f"a.{ending}", 9000
    table = pa.table({"id": list(range(n)), "s": ["x" * 3000] * n})
    if ending == "parquet":
        pq.write_table(table, path)
    elif ending == "arrow":
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_batch(table.combine_chunks().to_batches()[0])
    elif ending == "jsonl":
        path.write_text("".join(f'{{"id":{i},"s":"{"x" * 3000}"}}\n' for i in range(n)))
    else:
        path.write_text("id,s\n" + "".join(f'{i},"{"x" * 3000}"\n' for i in range(n)))
    code, said = ingest(lake, path)
    assert code == 0 and f"{n} rows sent" in said, said
    assert lake.one("SELECT count(*), count(DISTINCT id), min(length(s)) FROM public.t") == (n, n, 3000)
    assert ingest(lake, path)[0] == 99


# --- what the server itself wrote ------------------------------------------------------------------------------------------


def test_own_exports_load_again_and_say_the_same(lake, tmp_path):
    columns = "id BIGINT, ts TIMESTAMP, s STRING, v DOUBLE, f FLOAT, d DECIMAL(10,2), b BINARY, k BOOLEAN, day DATE, n TIMESTAMP_NTZ"
    properties = "'deltaplane.eventTime'='ts', 'deltaplane.systemColumns'='true'"
    fresh(lake, columns, properties)
    lake.put("public.t", pa.RecordBatch.from_pydict({
        "id": [1, 2, 3, 4], "ts": pa.array([dt.datetime(2026, 1, 1, 0, 0, 0, i, tzinfo=UTC) for i in range(4)], pa.timestamp("us", "UTC")),
        "s": ['a,"b"\nc', "", None, " x "], "v": [0.1, float("inf"), None, float("-inf")], "f": pa.array([0.1, float("inf"), None, 5.0], pa.float32()),
        "d": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("-0.01"), None], pa.decimal128(10, 2)), "b": [b"\x00\xff", b"", None, b"a"],
        "k": [True, None, False, None], "day": [dt.date(2026, 1, 1), None, None, None], "n": [dt.datetime(2026, 1, 1, 1, 2, 3), None, None, None]}))
    everything = "SELECT id, ts, s, v, f, d, b, k, day, n, event_date FROM public.t ORDER BY id"
    expected = lake.sql(everything)
    exports = {}
    for form, ending in [("csv", "csv"), ("json", "jsonl"), ("json", "json"), ("arrow", "arrow")]:
        out = tmp_path / f"export.{ending}"
        done = subprocess.run([BIN / "deltaplane", "sql", "SELECT * FROM public.t ORDER BY id", "--format", form],
                              env=os.environ | {"DELTAPLANE_URI": f"http://127.0.0.1:{lake.port}"}, capture_output=True, check=True)
        out.write_bytes(done.stdout)
        exports[ending] = out
    for ending, path in exports.items():
        fresh(lake, columns, properties)
        code, said = ingest(lake, path)
        assert code == 0 and "4 rows sent, 0 quarantined" in said, said
        assert "left out: _ingest_ts, _seq, _source, event_date" in said, said
        assert lake.sql(everything) == expected, ending


def test_an_arrow_stream_that_was_cut_is_refused(lake, tmp_path):
    fresh(lake, "id BIGINT")
    batch = pa.record_batch({"id": list(range(100))})
    with pa.ipc.new_stream(tmp_path / "a.arrows", batch.schema) as out:
        out.write_batch(batch)
        out.write_batch(batch)
    whole = (tmp_path / "a.arrows").read_bytes()
    for cut in (8, 200, len(whole) - 100):
        code, said = ingest(lake, tmp_path / "b.arrows", whole[:-cut])
        assert code == 1 and "no whole Arrow" in said, (cut, said)
    assert lake.one("SELECT count(*) FROM public.t") == 0
    assert ingest(lake, tmp_path / "a.arrows")[0] == 0
    assert lake.one("SELECT count(*) FROM public.t") == 200


def test_a_stem_keeps_its_dots(lake, tmp_path):
    fresh(lake, "id BIGINT, s STRING")
    for name in ["2024.01.05.csv", "2024.01.06.CSV"]:
        (tmp_path / name).write_text("id\n1\n")
        assert ingest(lake, tmp_path / name, None, "--set", "s={stem}")[0] == 0
    assert sorted(values(lake, "s")) == ["2024.01.05", "2024.01.06"]
