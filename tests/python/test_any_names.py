"""Names of schemas, tables, columns and fields may be any text in quotes: every statement, stream, file and reader takes them."""

import json
import urllib.parse
import urllib.request

import adbc_driver_flightsql.dbapi as adbc
import deltalake
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from conftest import Server, Stream


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "data").start()
    yield server
    server.stop()


def q(*names):
    """Names in SQL."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def text(value):
    return "'" + value.replace("'", "''") + "'"


def read(server, *name):
    """The rows of a table as an independent reader has them."""
    (detail,) = server.sql(f"DESCRIBE DETAIL {q(*name)}")
    table = deltalake.DeltaTable(urllib.parse.unquote(detail["location"].removeprefix("file://")).rstrip("/"))
    found = pa.table(deltalake.QueryBuilder().register("t", table).execute("SELECT * FROM t").read_all()).to_pylist()
    return sorted(found, key=lambda row: next(iter(row.values())))


def fails(server, statement):
    with pytest.raises(Exception) as caught:
        server.sql(statement)
    return str(caught.value)


def again(server):
    server.kill()
    server.start()


LONGEST = "\N{GRINNING FACE}" * 63
HOSTILE = [
    "Größe außen", "a\"b", "a'b", "a.b", "a/b", "..", ".", "100 %", "a%20b", "a-20b", "a~2", "東京", "\N{GRINNING FACE}", "order", "select", "1", "-", "_x y", "_delta_log",
    "a;b--c", "a\\b", "x=1", "$(id)", "<b>&amp;", "a`b", "{a}", "a,b", "[0]", "a:b", "e\u0301", "\u00e9", "İ", "CON", "max@example.org", "\N{GRINNING FACE}" * 52,
]
COLUMNS = ["Temperatur °C", "a b", "order", "a.b", "x\"y", "o'r", "100%", "東京", "\N{GRINNING FACE}", "k=v", "{c},d;(e)", "back`tick", "a\\b", "1", "from", LONGEST]


def folders(server):
    return sorted(str(path.parent.relative_to(server.directory / "tables")) for path in (server.directory / "tables").glob("*/*/_delta_log"))


def test_tables_of_hostile_names_have_a_folder_each_and_none_leads_out_of_the_lake(server):
    before = {path for path in server.directory.parent.iterdir()}
    for number, name in enumerate(HOSTILE):
        server.sql(f"CREATE TABLE {q(name, name)} (n BIGINT, {q(name)} STRING)")
        server.sql(f"INSERT INTO {q(name, name)} VALUES ({number}, {text(name)})")
    again(server)
    for number, name in enumerate(HOSTILE):
        assert server.sql(f"SELECT n, {q(name)} FROM {q(name, name)}") == [{"n": number, name: name}], name
    for name in HOSTILE:
        server.sql(f"OPTIMIZE {q(name, name)}")
    again(server)
    for number, name in enumerate(HOSTILE):
        assert server.sql(f"SELECT * FROM {q(name, name)} WHERE {q(name)} = {text(name)}") == [{"n": number, name: name}], name
        assert read(server, name, name) == [{"n": number, name: name}], name
    found = folders(server)
    # A table and its quarantine each.
    assert len(found) == len(set(found)) == 2 * len(HOSTILE)
    assert "Größe-20außen/Größe-20außen" in found and "order/order" in found and "-2E-2E/-2E-2E" in found
    assert {path for path in server.directory.parent.iterdir()} <= before | {server.log_path}
    listed = {(row["table_schema"], row["table_name"]) for row in server.sql("SELECT table_schema, table_name FROM system.tables")}
    assert {(name, name) for name in HOSTILE} <= listed
    assert json.loads(urlopen(server, "/status.json"))
    metrics = urlopen(server, "/metrics")
    assert 'table="\\"a\\"\\"b\\".\\"a\\"\\"b\\""' in metrics
    # Dropped and made again, a table has its next folder.
    for name in ["..", "a~2"]:
        server.sql(f"DROP TABLE {q(name, name)}")
        server.sql(f"CREATE TABLE {q(name, name)} (n BIGINT)")
        assert server.one(f"SELECT count(*) FROM {q(name, name)}") == 0
    assert server.terminate() == 0
    checked = server.run("check", "--data-dir", str(server.directory), check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def urlopen(server, path):
    return urllib.request.urlopen(f"http://127.0.0.1:{server.http}{path}", timeout=10).read().decode()


def test_what_cannot_be_a_name_is_refused_with_the_reason(server):
    for name, word in [("", "at least one"), (" a", "white space"), ("a ", "white space"), ("a\tb", "U+0009"), ("a\nb", "U+000A"), ("x" * 64, "64 characters")]:
        assert word in fails(server, f"CREATE TABLE {q('s', name)} (n BIGINT)"), name
        assert word in fails(server, f"CREATE TABLE {q(name, 't')} (n BIGINT)"), name
        assert word in fails(server, f"CREATE TABLE s.t ({q(name)} BIGINT)"), name
    assert "bytes" in fails(server, f"CREATE TABLE {q('s', 'a' + chr(0x3000) * 40 + 'b')} (n BIGINT)")
    assert "234 are allowed" in fails(server, f"CREATE TABLE {q('s', LONGEST)} (n BIGINT)")
    assert "characters" in fails(server, f"CREATE TABLE {q('s', 'x' * 53)} (n BIGINT)"), "its quarantine has no name"
    assert "partition" in fails(server, f"CREATE TABLE s.t (n BIGINT, {q(LONGEST)} STRING) PARTITIONED BY ({q(LONGEST)})")
    assert "version" in fails(server, f"CREATE TABLE {q('s', 't@v5')} (n BIGINT)")
    for name in ["a b_quarantine", "a b_QUARANTINE"]:
        assert "reserved" in fails(server, f"CREATE TABLE {q('s', name)} (n BIGINT)").lower()
    server.sql('CREATE TABLE s."Größe" (n BIGINT)')
    assert "there already" in fails(server, 'CREATE TABLE S."grÖßE" (n BIGINT)')
    assert "twice" in fails(server, 'CREATE TABLE s.u ("Öl" BIGINT, "öL" BIGINT)')


def test_names_in_every_script_need_no_quotes_and_no_case(server):
    server.sql("CREATE TABLE messung (größe DOUBLE, Länge DOUBLE, 温度 DOUBLE)")
    server.sql("INSERT INTO Messung (GRÖßE, länge, 温度) VALUES (1.5, 2.5, 3.5)")
    assert server.sql("SELECT Größe, LÄNGE + 1 AS Übermaß, m.温度 FROM MESSUNG m WHERE größe > 1 ORDER BY Länge") == [{"größe": 1.5, "Übermaß": 3.5, "温度": 3.5}]
    server.sql("UPDATE messung SET LÄNGE = 7 WHERE GRÖßE = 1.5")
    assert server.one("SELECT länge FROM messung") == 7
    server.put("public.messung", pa.RecordBatch.from_pydict({"GRÖßE": [2.0], "länge": [3.0]}))
    assert server.one("SELECT count(*) FROM messung WHERE größe = 2") == 1


SCHEMA, TABLE = "Werk \"1\".Süd", "Größe außen 東京 100%"
NAME = q(SCHEMA, TABLE)


def row(number, columns=COLUMNS):
    return {column: float(number * 100 + at) for at, column in enumerate(columns)}


def made(server):
    columns = ", ".join(f"{q(column)} DOUBLE" for column in COLUMNS)
    server.sql(f"CREATE TABLE {NAME} (\"id nr\" BIGINT NOT NULL, \"Ort, Halle\" STRING, {columns}, CHECK (\"a b\" >= 0), UNIQUE (\"id nr\")) PARTITIONED BY (\"Ort, Halle\")")


def rows(server, name=NAME, columns=COLUMNS, at=""):
    listed = ", ".join(q(column) for column in ["id nr", "Ort, Halle", *columns])
    return server.sql(f"SELECT {listed} FROM {name} {at} ORDER BY \"id nr\"")


def due(*numbers, columns=COLUMNS):
    return [{"id nr": n, "Ort, Halle": f"Halle {n % 2}"} | row(n, columns) for n in numbers]


def test_the_life_of_a_table_with_hostile_names(server):
    made(server)
    # INSERT, a stream, a bulk ingest.
    values = ", ".join(str(value) for value in row(1).values())
    server.sql(f"INSERT INTO {NAME} VALUES (1, 'Halle 1', {values})")
    batch = lambda *numbers: pa.RecordBatch.from_pylist(due(*numbers))
    stream = Stream(server, "a b", table=(SCHEMA, TABLE), schema=batch(2).schema)
    stream.send(1, batch(2))
    assert stream.ack(1)["accepted"] == 1
    stream.send(2, pa.RecordBatch.from_pylist([due(3)[0] | {"a b": -1.0}]))
    assert stream.ack(2)["quarantined"] == 1
    stream.close()
    again(server)
    assert rows(server) == due(1, 2)
    quarantine = q(SCHEMA, TABLE + "_quarantine")
    assert server.one(f"SELECT rules FROM {quarantine}") == ["range:a b"]
    assert server.sql(f"REPLAY QUARANTINE {NAME} SET \"a b\" = 301")[0]["replayed"] == 1
    # A known key with other values breaks the rule, also from files.
    server.sql(f"OPTIMIZE {NAME}")
    assert rows(server) == due(1, 2, 3)
    again(server)
    stream = Stream(server, "other", table=(SCHEMA, TABLE), schema=batch(2).schema)
    stream.send(1, pa.RecordBatch.from_pylist([due(2)[0] | {"order": 7.0}]))
    assert stream.ack(1)["quarantined"] == 1
    stream.close()
    # DML, over files and hot rows.
    server.sql(f"INSERT INTO {NAME} (\"id nr\", \"Ort, Halle\", \"k=v\") VALUES (9, 'x', 1)")
    server.sql(f"UPDATE {NAME} SET \"k=v\" = \"k=v\" + 1, \"東京\" = 5 WHERE \"id nr\" = 9")
    assert server.one(f"SELECT \"k=v\", \"東京\" FROM {NAME} WHERE \"id nr\" = 9") == (2.0, 5.0)
    server.sql(f"MERGE INTO {NAME} t USING (SELECT 9 AS \"n.r\", 4.0 AS \"x\"\"y\") s ON t.\"id nr\" = s.\"n.r\" WHEN MATCHED THEN UPDATE SET \"x\"\"y\" = s.\"x\"\"y\"")
    assert server.one(f"SELECT \"x\"\"y\" FROM {NAME} WHERE \"id nr\" = 9") == 4.0
    server.sql(f"DELETE FROM {NAME} WHERE \"id nr\" = 9 AND \"Ort, Halle\" = 'x'")
    server.sql(f"INSERT INTO {NAME} REPLACE WHERE \"Ort, Halle\" = 'Halle 1' SELECT * FROM {NAME} WHERE \"Ort, Halle\" = 'Halle 1'")
    assert rows(server) == due(1, 2, 3)
    # Filters, groups and orders over every column.
    for at, column in enumerate(COLUMNS):
        c = q(column)
        assert server.sql(f"SELECT max({c}) AS m, count({c}) AS n FROM {NAME} WHERE {c} > {150 + at}") == [{"m": 300.0 + at, "n": 2}], column
        assert server.sql(f"SELECT {c} FROM {NAME} GROUP BY {c} HAVING min({c}) < 150 ORDER BY {c}") == [{column: 100.0 + at}], column
        joined = server.sql(f"SELECT x.* EXCLUDE (\"id nr\") FROM {NAME} x JOIN {NAME} y USING ({c}) WHERE y.{c} < 150")
        assert joined[0][column] == 100.0 + at, column
        assert server.sql(f"SELECT d.{c} FROM (SELECT DISTINCT {c} FROM {NAME}) d WHERE d.{c} IN (SELECT {c} FROM {NAME} WHERE {c} < 150)") == [{column: 100.0 + at}], column
        assert server.one(f"SELECT {c} FROM {NAME} ORDER BY row_number() OVER (PARTITION BY {c} ORDER BY {c}), {c} LIMIT 1") == 100.0 + at
    # Upkeep and time travel.
    version = max(r["version"] for r in server.sql(f"DESCRIBE HISTORY {NAME}"))
    server.sql(f"OPTIMIZE {NAME} ZORDER BY (\"a.b\", \"x\"\"y\")")
    server.sql(f"DELETE FROM {NAME} WHERE \"id nr\" = 3")
    assert rows(server, at=f"VERSION AS OF {version}") == due(1, 2, 3)
    assert rows(server, name=q(SCHEMA, f"{TABLE}@v{version}")) == due(1, 2, 3)
    server.sql(f"RESTORE TABLE {NAME} TO VERSION AS OF {version}")
    server.sql(f"VACUUM {NAME} RETAIN 200 HOURS")
    assert rows(server) == due(1, 2, 3)
    assert [r["problems"] for r in server.sql(f"CHECK TABLE {NAME}")] == [0]
    told = server.sql(f"SELECT \"id nr\", \"{{c}},d;(e)\" FROM table_changes({text(NAME)}, 0) WHERE _change_type = 'insert' AND \"id nr\" = 1 LIMIT 1")
    assert told == [{"id nr": 1, "{c},d;(e)": due(1)[0]["{c},d;(e)"]}]
    # Other readers.
    assert read(server, SCHEMA, TABLE) == due(1, 2, 3)
    again(server)
    assert rows(server) == due(1, 2, 3)


def test_alterations_and_what_shows_a_table(server):
    made(server)
    values = ", ".join(str(value) for value in row(1).values())
    server.sql(f"INSERT INTO {NAME} VALUES (1, 'Halle 1', {values})")
    ddl = server.one(f"SHOW CREATE TABLE {NAME}")
    again_name = q(SCHEMA, "noch \"einmal\"")
    server.sql(ddl.replace(f"CREATE TABLE {NAME}", f"CREATE TABLE {again_name}", 1))
    assert server.one(f"SHOW CREATE TABLE {again_name}").replace(again_name, NAME, 1) == ddl
    server.sql(f"CREATE TABLE {q(SCHEMA, 'wie')} (LIKE {NAME})")
    server.sql(f"CREATE TABLE {q(SCHEMA, 'als')} AS SELECT *, 1 AS \"neu, neu\" FROM {NAME}")
    assert server.sql(f"SELECT * FROM {q(SCHEMA, 'als')}") == [due(1)[0] | {"neu, neu": 1}]
    assert "say AS name" in fails(server, f"CREATE TABLE {q(SCHEMA, 'x')} AS SELECT max(\"a b\") FROM {NAME}")
    # A table without a mapping gets one with the first name that needs it.
    server.sql("CREATE TABLE plain (id BIGINT, gps STRUCT<lat: DOUBLE>)")
    server.sql("INSERT INTO plain VALUES (1, {lat: 1.5})")
    server.sql("OPTIMIZE plain")
    server.sql("ALTER TABLE plain ADD COLUMN \"Temperatur °C\" DOUBLE")
    server.sql("INSERT INTO plain VALUES (2, {lat: 2.5}, 20.5)")
    server.sql("ALTER TABLE plain RENAME COLUMN id TO \"die, id\"")
    server.sql("ALTER TABLE plain RENAME COLUMN \"Temperatur °C\" TO \"Wärme (K)\"")
    again(server)
    server.sql("OPTIMIZE plain")
    found = server.sql("SELECT * FROM plain ORDER BY \"die, id\"")
    assert found == [{"die, id": 1, "gps": {"lat": 1.5}, "Wärme (K)": None}, {"die, id": 2, "gps": {"lat": 2.5}, "Wärme (K)": 20.5}]
    assert read(server, "public", "plain") == found
    server.sql("ALTER TABLE plain DROP COLUMN \"Wärme (K)\"")
    server.sql(f"ALTER TABLE plain RENAME TO {q('der Plan')}")
    assert server.sql(f"SELECT * FROM {q('der Plan')} WHERE gps.lat > 2") == [{"die, id": 2, "gps": {"lat": 2.5}}]
    # Metadata.
    columns = [r["column_name"] for r in server.sql(f"DESCRIBE {NAME}")]
    assert columns == ["id nr", "Ort, Halle", *COLUMNS]
    assert [r["column_name"] for r in server.sql(f"SHOW COLUMNS FROM {NAME}")] == columns
    listed = server.sql(f"SELECT column_name FROM information_schema.columns WHERE table_schema = {text(SCHEMA)} AND table_name = {text(TABLE)} ORDER BY ordinal_position")
    assert [r["column_name"] for r in listed] == columns
    assert TABLE in {r["table_name"] for r in server.sql(f"SHOW TABLES FROM {q(SCHEMA)}")}
    server.sql(f"ALTER TABLE {NAME} DROP CONSTRAINT \"range_a b\"")
    server.sql(f"ALTER TABLE {NAME} SET TBLPROPERTIES ('deltaplane.unit.Temperatur °C' = '°C', 'deltaplane.key' = '\"Ort, Halle\", id nr')")
    assert 'deltaplane.key\'=\'"Ort, Halle",id nr' in server.one(f"SHOW CREATE TABLE {NAME}")
    server.sql(f"DROP TABLE {NAME}")
    assert "table" in fails(server, f"SELECT 1 FROM {NAME}")


def test_fields_of_structs_have_any_names(server):
    server.sql("CREATE TABLE g (id BIGINT, \"wo, wann\" STRUCT<\"Breite °\": DOUBLE, \"a\"\"b\" ARRAY<STRUCT<\"x y\": BIGINT>>>)")
    ddl = server.one("SHOW CREATE TABLE g")
    assert '"Breite °": DOUBLE' in ddl and '"a""b"' in ddl
    value = {"Breite °": 52.5, "a\"b": [{"x y": 1}]}
    sent = pa.RecordBatch.from_pylist([{"id": 1, "wo, wann": value}])
    server.put("public.g", sent)
    again(server)
    server.sql("OPTIMIZE g")
    assert server.sql("SELECT * FROM g") == [{"id": 1, "wo, wann": value}]
    assert server.one("SELECT \"wo, wann\".\"Breite °\" FROM g") == 52.5
    server.sql("ALTER TABLE g RENAME COLUMN \"wo, wann\" TO \"wo = wann\"")
    server.put("public.g", pa.RecordBatch.from_pylist([{"id": 2, "wo = wann": value}]))
    again(server)
    server.sql("UPDATE g SET id = 3 WHERE id = 2")
    assert server.sql("SELECT * FROM g ORDER BY id") == [{"id": 1, "wo = wann": value}, {"id": 3, "wo = wann": value}]
    assert read(server, "public", "g") == server.sql("SELECT * FROM g ORDER BY id")


def test_views_and_alerts_over_hostile_names(server):
    server.sql("CREATE SCHEMA \"Werk 1.a\"")
    source = q("Werk 1.a", "roh \"daten\"")
    server.sql(f"CREATE TABLE {source} (\"Zeit, Punkt\" TIMESTAMP, \"Gerät \"\"Nr\"\"\" STRING, \"Wert %\" DOUBLE) TBLPROPERTIES ('deltaplane.eventTime' = 'Zeit, Punkt', 'deltaplane.systemColumns' = 'true')")
    server.sql(f"INSERT INTO {source} VALUES (TIMESTAMP '2026-01-01 00:00:10', 'a', 1), (TIMESTAMP '2026-01-01 00:00:50', 'a', 3), (TIMESTAMP '2026-01-01 00:05:00', 'b', 5)")
    view = q("Werk 1.a", "je Minute")
    query = f"SELECT tumble(\"Zeit, Punkt\", '1 minute') AS \"von, ab\", \"Gerät \"\"Nr\"\"\", avg(\"Wert %\") AS \"Ø\" FROM {source} GROUP BY 1, 2"
    server.sql(f"CREATE MATERIALIZED VIEW {view} AS {query}")
    server.sql(f"REFRESH MATERIALIZED VIEW {view}")
    asked = f"SELECT \"Gerät \"\"Nr\"\"\" AS g, \"Ø\" FROM {view} ORDER BY g"
    due = [{"g": "a", "Ø": 2.0}, {"g": "b", "Ø": 5.0}]
    assert server.sql(asked) == due
    again(server)
    server.sql(f"INSERT INTO {source} VALUES (TIMESTAMP '2026-01-01 00:00:20', 'a', 5)")
    server.sql(f"REFRESH MATERIALIZED VIEW {view}")
    assert server.sql(asked) == [{"g": "a", "Ø": 3.0}, {"g": "b", "Ø": 5.0}]
    ddl = server.one(f"SHOW CREATE TABLE {view}")
    server.sql(f"DROP MATERIALIZED VIEW {view}")
    server.sql(ddl)
    assert server.sql(asked) == [{"g": "a", "Ø": 3.0}, {"g": "b", "Ø": 5.0}]
    stored = q("Werk 1.a", "Sicht: 1")
    server.sql(f"CREATE VIEW {stored} (\"g.g\", \"w w\") AS SELECT \"Gerät \"\"Nr\"\"\", max(\"Wert %\") FROM {source} GROUP BY 1")
    server.sql(f"ALTER VIEW {stored} RENAME TO {q('Sicht/2')}")
    again(server)
    assert server.sql(f"SELECT \"g.g\", \"w w\" FROM {q('Werk 1.a', 'Sicht/2')} ORDER BY \"g.g\"") == [{"g.g": "a", "w w": 5.0}, {"g.g": "b", "w w": 5.0}]
    alert = q("Werk 1.a", "../Alarm \"1\".x")
    server.sql(f"CREATE ALERT {alert} ON {source} BY (\"Gerät \"\"Nr\"\"\") DEADMAN '1h' EVERY '1s'")
    shown = server.one(f"SHOW CREATE ALERT {alert}")
    again(server)
    assert server.one(f"SHOW CREATE ALERT {alert}") == shown
    (file,) = (server.directory / "alerts").glob("*.alert")
    assert file.name == "werk-201-2Ea.-2E-2E-2Falarm-20-221-22-2Ex.alert"
    server.sql(f"DROP ALERT {alert}")
    server.sql(shown)
    assert server.sql("SELECT schema, alert FROM system.alerts") == [{"schema": "Werk 1.a", "alert": "../Alarm \"1\".x"}]


def test_transactions_tools_and_a_dataset_file_take_the_names(server, tmp_path):
    file = tmp_path / "werk.toml"
    file.write_text("""
dataset = "Werk 2"

[[table]]
name = "Größe außen"
key = ["id, nr"]
event_time = "Zeit °"
columns = [
  { name = "id, nr", type = "long", required = true },
  { name = "Zeit °", type = "timestamp" },
  { name = "Wert [%]", type = "double", unit = "%" },
]
rules = [{ column = "Wert [%]", min = 0, max = 100 }]
""")
    server.run("apply", str(file), "--yes")
    name = '"Werk 2"."Größe außen"'
    assert server.run("apply", str(file), "--yes", check=False).returncode in (0, 99)
    csv = tmp_path / "rows.csv"
    csv.write_text('"id, nr",Zeit °,Wert [%]\n1,2026-01-01T00:00:00Z,5\n2,2026-01-01T00:00:00Z,500\n')
    server.run("ingest", name, str(csv), check=False)
    assert server.sql(f"SELECT \"id, nr\", \"Wert [%]\" FROM {name}") == [{"id, nr": 1, "Wert [%]": 5.0}]
    assert "range:Wert [%]" in server.run("quarantine", "list", name, check=False).stdout
    assert "CREATE" in server.run("table", "history", name).stdout.upper()


def test_drivers_load_rows_and_list_what_is_there(server):
    loaded = pa.table({"id, nr": [1, 2], "Wert °C": [1.5, 2.5], "a.b": ["x", "y"]})
    with adbc.connect(server.uri) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest('"ohne Schema.x"', loaded, mode="create")
        cursor.adbc_ingest("Größe außen.x", loaded, mode="create", db_schema_name="Werk 1")
        cursor.adbc_ingest("Größe außen.x", loaded, mode="append", db_schema_name="WERK 1")
        connection.commit()
        cursor.execute('SELECT count(*), max("a.b") FROM "Werk 1"."Größe außen.x" WHERE "Wert °C" > ?', parameters=(2,))
        assert cursor.fetchall() == [(2, "y")]
        cursor.execute('SELECT "id, nr" FROM "ohne Schema.x" ORDER BY 1')
        assert cursor.fetchall() == [(1,), (2,)]
        (schema,) = connection.adbc_get_objects(depth="all", db_schema_filter="Werk 1").read_all().to_pylist()[0]["catalog_db_schemas"]
        (table,) = [t for t in schema["db_schema_tables"] if t["table_name"] == "Größe außen.x"]
        assert [c["column_name"] for c in table["table_columns"]] == loaded.schema.names
        assert connection.adbc_get_table_schema("Größe außen.x", db_schema_filter="Werk 1").names == loaded.schema.names
    assert read(server, "Werk 1", "Größe außen.x") == sorted(loaded.to_pylist() * 2, key=lambda row: row["id, nr"])


def test_the_newest_rows_by_a_key_with_a_dot(server):
    name = q("Werk 1", "x.y")
    server.sql(f"CREATE TABLE {name} (\"a.b\" STRING, \"T.z\" TIMESTAMP, \"w w\" BIGINT, PRIMARY KEY (\"a.b\", \"T.z\")) TBLPROPERTIES ('deltaplane.eventTime' = 'T.z')")
    server.sql(f"INSERT INTO {name} VALUES ('k', TIMESTAMP '2026-01-01 00:00:00', 1), ('k', TIMESTAMP '2026-01-02 00:00:00', 2), ('l', TIMESTAMP '2026-01-01 00:00:00', 3)")
    asked = f"SELECT \"a.b\" AS k, \"w w\" AS w FROM latest({text(name)}) ORDER BY k"
    assert server.sql(asked) == [{"k": "k", "w": 2}, {"k": "l", "w": 3}]
    server.sql(f"OPTIMIZE {name}")
    server.sql(f"INSERT INTO {name} VALUES ('l', TIMESTAMP '2026-01-03 00:00:00', 4)")
    assert server.sql(asked) == [{"k": "k", "w": 2}, {"k": "l", "w": 4}]


def test_a_transaction_and_a_followed_table_take_the_names(server):
    name = q("Werk 1", "a \"b\".c")
    server.sql(f"CREATE TABLE {name} (\"id, nr\" BIGINT, \"Zeit °\" TIMESTAMP, \"o'r\" STRING) TBLPROPERTIES ('deltaplane.eventTime' = 'Zeit °')")
    with adbc.connect(server.uri, autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {name} VALUES (1, TIMESTAMP '2026-01-01 00:00:00', 'x'), (2, TIMESTAMP '2026-01-02 00:00:00', 'x')")
        cursor.execute(f"UPDATE {name} SET \"o'r\" = 'y' WHERE \"id, nr\" = 2")
        cursor.execute(f"SELECT \"o'r\" FROM {name} ORDER BY \"id, nr\"")
        assert cursor.fetchall() == [("x",), ("y",)]
        connection.commit()
    again(server)
    seen = server.sql(f"SELECT * FROM last_seen({text(name)}, 'o''r')")
    assert sorted(row["o'r"] for row in seen) == ["x", "y"]
    client = server.flight()
    info = client.get_flight_info(fl.FlightDescriptor.for_command(f"SUBSCRIBE TO {name} FROM START WHERE \"id, nr\" = 2".encode()))
    chunk = client.do_get(info.endpoints[0].ticket).read_chunk()
    assert chunk.data.column("o'r").to_pylist() == ["y"]
