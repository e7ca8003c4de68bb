"""Numbers and times: rows are found by the same conditions before and after they are committed (`docs/sql-values.md`)."""

import json
import math
import pathlib
import re
import time

import pyarrow as pa
import pytest

from conftest import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("numbers") / "data").start()
    yield server
    server.stop()


def committed(server, table):
    """Waits until no row of the table is hot."""
    schema, name = table.split(".")
    end = time.time() + 60
    while server.one(f"SELECT hot_bytes FROM system.tables WHERE table_schema = '{schema}' AND table_name = '{name}'"):
        assert time.time() < end
        time.sleep(0.1)


def actions(server, table):
    """What the entries of the table's Delta log say, in their order."""
    log = server.directory / "tables" / pathlib.Path(*table.split(".")) / "_delta_log"
    return [json.loads(line) for entry in sorted(log.glob("*.json")) for line in entry.read_text().splitlines()]


def row(server, sql):
    (only,) = server.sql(sql)
    return tuple(only.values())


def column(server, sql):
    return [next(iter(row.values())) for row in server.sql(sql)]


def test_a_local_time_is_the_instant_that_postgresql_takes(server):
    times = row(server, "SELECT TIMESTAMP '2026-03-29 02:30:00' AT TIME ZONE 'Europe/Berlin' AS a, TIMESTAMP '2026-10-25 02:30:00' AT TIME ZONE 'Europe/Berlin' AS b")
    assert [v.isoformat() for v in times] == ["2026-03-29T03:30:00+02:00", "2026-10-25T02:30:00+01:00"]


def test_extremes_are_found_in_files_with_and_without_an_added_column(server):
    """An aggregate's filter left out files: `min(b), max(b)` lost the files that it needed as soon as a file had no `b`."""
    server.sql("CREATE TABLE ext.t (id BIGINT, a DOUBLE)")
    for n in range(6):
        server.sql(f"INSERT INTO ext.t VALUES ({n}, {n}.5), ({n + 100}, {-n}.5)")
        committed(server, "ext.t")
    server.sql("ALTER TABLE ext.t ADD COLUMN b DOUBLE")
    server.sql("ALTER TABLE ext.t ADD COLUMN c BIGINT")
    for n in range(6):
        b, c = (f"{10 * n}.25", "NULL") if n % 2 else ("NULL", n)
        server.sql(f"INSERT INTO ext.t VALUES ({n + 200}, 0.0, {b}, {c})")
        committed(server, "ext.t")
    server.sql("INSERT INTO ext.t VALUES (300, 1.0, 3.0, -7)")
    expected = {
        "min(b), max(b)": (3.0, 50.25),
        "max(b), min(a)": (50.25, -5.5),
        "min(a), max(a + id)": (-5.5, 301.0),
        "min(c), max(c), min(b), max(id)": (-7, 4, 3.0, 300),
        "max(c), count(*)": (4, 19),
        "min(b) FILTER (WHERE id < 205), max(c)": (10.25, 4),
        "max(b)": (50.25,),
    }
    for _ in range(2):
        for extremes, values in expected.items():
            for _ in range(15):
                assert row(server, f"SELECT {extremes} FROM ext.t") == values, extremes
        # Hot rows beside the files, and then none.
        committed(server, "ext.t")


def test_nan_is_found_by_the_same_conditions_hot_and_committed(server):
    server.sql("CREATE TABLE nan.t (k STRING, v DOUBLE)")
    negative = -math.nan
    values = [1.0, math.nan, 9.0, -0.0, negative, None, math.inf, -math.inf]
    server.put("nan.t", pa.RecordBatch.from_pydict({"k": pa.array([str(i) for i in range(8)]), "v": pa.array(values, pa.float64())}))
    conditions = {
        "v > 5": "1246", "v > 1e300": "146", "v = 'NaN'": "14", "v >= 'NaN'": "14", "v < 'NaN'": "02367", "v <> 'NaN'": "02367", "v = 0": "3", "v < 0": "7", "v IN (0.0, 9.0)": "23",
        "NOT v > 5": "037", "v BETWEEN 5 AND 'NaN'": "1246", "v > (SELECT max(v) FROM nan.t WHERE v < 'inf')": "146", "v = (SELECT max(v) FROM nan.t)": "14",
    }
    for state in ["hot", "committed"]:
        for condition, keys in conditions.items():
            assert "".join(column(server, f"SELECT k FROM nan.t WHERE {condition} ORDER BY k")) == keys, (state, condition)
        order = "".join(column(server, "SELECT k FROM nan.t ORDER BY v DESC, k"))
        assert order.replace("5", "") == "1462037" and order[0] in "15", state
        assert "".join(sorted(column(server, "SELECT k FROM nan.t WHERE v IS NOT NULL ORDER BY v DESC LIMIT 2"))) == "14", state
        low, high = row(server, "SELECT min(v), max(v) FROM nan.t")
        assert low == -math.inf and math.isnan(high), state
        assert server.one("SELECT count(DISTINCT v) FROM nan.t") == 6, state
        assert server.one("SELECT count(*) FROM nan.t a JOIN nan.t b ON a.v = b.v") == 9, state
        committed(server, "nan.t")
    # A file without a NaN says so, and is left out; one with a NaN is not.
    server.sql("INSERT INTO nan.t VALUES ('x', 2.0), ('y', 3.0)")
    committed(server, "nan.t")
    assert "".join(column(server, "SELECT k FROM nan.t WHERE v > 5 ORDER BY k")) == "1246"
    # That file has its floats in one form and says so; the other one has them as they were sent. A scan reads both.
    server.sql("INSERT INTO nan.t VALUES ('z', 0.0)")
    committed(server, "nan.t")
    tags = [action["add"].get("tags") for action in actions(server, "nan.t") if "add" in action]
    assert sorted(bool(tag and tag.get("deltaplane.floatsInOneForm") == "true") for tag in tags) == [False, True, True], tags
    assert "".join(column(server, "SELECT k FROM nan.t WHERE v = 0 ORDER BY k")) == "3z"
    assert server.one("SELECT count(DISTINCT v) FROM nan.t") == 8
    assert server.one("SELECT count(*) FROM nan.t a JOIN nan.t b ON a.v = b.v") == 14
    server.sql("DELETE FROM nan.t WHERE v > 5 OR k = 'z'")
    assert "".join(column(server, "SELECT k FROM nan.t ORDER BY k")) == "0357xy"


def test_a_merge_takes_nan_and_zero_as_one_value(server):
    server.sql("CREATE TABLE nan.m (v DOUBLE, n BIGINT)")
    server.sql("INSERT INTO nan.m VALUES ('NaN', 1), (0.0, 2), (1.0, 3)")
    server.sql("MERGE INTO nan.m t USING (SELECT 0.0 / 0.0 AS v, 10 AS n UNION ALL SELECT -0.0, 20) s ON t.v = s.v WHEN MATCHED THEN UPDATE SET n = s.n WHEN NOT MATCHED THEN INSERT (v, n) VALUES (s.v, s.n)")
    assert column(server, "SELECT n FROM nan.m ORDER BY v DESC") == [10, 3, 20]


def test_an_overflow_changes_nothing(server):
    server.sql("CREATE TABLE over.t (i BIGINT, s SMALLINT, d DECIMAL(38, 0), at TIMESTAMP)")
    server.sql("INSERT INTO over.t VALUES (9223372036854775807, 32767, CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)), TIMESTAMP '9999-12-31 00:00:00'), (1, 1, 1, TIMESTAMP '2026-01-01 00:00:00')")
    before = server.sql("SELECT * FROM over.t ORDER BY i")
    for statement in [
        "UPDATE over.t SET i = i + 1", "UPDATE over.t SET s = s * 2", "UPDATE over.t SET d = d + 1", "UPDATE over.t SET s = i WHERE i > 5", "DELETE FROM over.t WHERE i * 2 > 5",
        "INSERT INTO over.t (i) SELECT i + 1 FROM over.t", "INSERT INTO over.t (i) SELECT sum(i) FROM over.t",
        "MERGE INTO over.t t USING (SELECT 1 AS i) s ON t.i = s.i WHEN MATCHED THEN UPDATE SET d = CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)) + t.d",
    ]:
        with pytest.raises(pa.ArrowInvalid) as failed:
            server.sql(statement)
        assert re.search("numeric_overflow|out of range|too large|type_mismatch|Can't cast|invalid", str(failed.value)), (statement, str(failed.value))
    assert server.sql("SELECT * FROM over.t ORDER BY i") == before
    assert column(server, "SELECT count(*) FROM over.t WHERE at > now()") == [1]


def test_first_and_last_do_not_depend_on_the_order_of_rows(server):
    server.sql("CREATE TABLE tie.t (k STRING, x DOUBLE, at TIMESTAMP)")
    for x in [3, 1, 2]:
        server.sql(f"INSERT INTO tie.t VALUES ('a', {x}, TIMESTAMP '2026-11-01 00:00:00'), ('a', NULL, TIMESTAMP '2026-11-01 00:00:00')")
        committed(server, "tie.t")
    for _ in range(10):
        assert row(server, "SELECT first(x, at), last(x, at) FROM tie.t") == (1.0, 3.0)
        assert row(server, "SELECT first(x, at), last(x, at) FROM tie.t GROUP BY k") == (1.0, 3.0)


def test_a_view_has_the_buckets_of_utc(server):
    server.sql("CREATE TABLE zone.t (at TIMESTAMP, x DOUBLE) TBLPROPERTIES ('deltaplane.eventTime'='at') PARTITIONED BY (event_date)")
    with pytest.raises(pa.ArrowInvalid, match="buckets of UTC"):
        server.sql("CREATE MATERIALIZED VIEW zone.days AS SELECT time_bucket('1 day', at, 'Europe/Berlin') AS day, count(*) AS n FROM zone.t GROUP BY 1")


def test_digits_beyond_the_fifteenth_reach_a_decimal_column(server):
    """A number with more digits than a double holds was read as one: ..456.7891 was stored as ..456.7168."""
    server.sql("CREATE TABLE long.t (id BIGINT, d DECIMAL(20, 4), x DOUBLE)")
    server.sql("INSERT INTO long.t VALUES (1, 1234567890123456.7891, 0.5)")
    # Beside a short number, a null and a double of another column.
    server.sql("INSERT INTO long.t VALUES (2, -1234567890123456.7891, 1.0), (3, 2.5, 1e300), (4, NULL, NULL)")
    server.sql("INSERT INTO long.t SELECT 5, 1234567890123456.7891, 1")
    server.sql("UPDATE long.t SET d = 9999999999999999.9999 WHERE id = 3")
    expected = ["1234567890123456.7891", "-1234567890123456.7891", "9999999999999999.9999", None, "1234567890123456.7891"]
    for _ in "hot", "cold":
        assert [v if v is None else str(v) for v in column(server, "SELECT d FROM long.t ORDER BY id")] == expected
        assert column(server, "SELECT id FROM long.t WHERE d = 1234567890123456.7891 ORDER BY 1") == [1, 5]
        assert column(server, "SELECT id FROM long.t WHERE d > 1234567890123456.7890 AND d <= 9999999999999999.9998 ORDER BY 1") == [1, 5]
        committed(server, "long.t")
    assert [str(v) for v in server.delta("t", "long").to_pyarrow_table(filters=[("id", "=", 2)])["d"].to_pylist()] == ["-1234567890123456.7891"]


def test_a_long_chain_of_operations_has_its_value(server):
    """It was planned for a time that goes with the square of its length."""
    for op, value, expected in [("+", 1, 3000), ("-", 1, -2998), ("*", 1, 1)]:
        assert server.one("SELECT " + f" {op} ".join([str(value)] * 3000)) == expected
    many = " + ".join(["x"] * 2000)
    assert row(server, f"SELECT {many} AS a, arrow_typeof({many}) AS b FROM (VALUES (0.5)) t(x)") == (1000.0, "Float64")
    assert server.one("SELECT count(*) FROM (VALUES (1999), (2000)) t(x) WHERE " + " OR ".join(f"x = {n}" for n in range(2000))) == 1
    with pytest.raises(pa.ArrowInvalid, match="numeric_overflow"):
        server.sql("SELECT " + " + ".join(["1000000000000000000"] * 20))
