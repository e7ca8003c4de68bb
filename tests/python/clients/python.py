"""Clients that run inside the tests: ADBC, plain pyarrow, pandas, polars, and SQLAlchemy over flightsql-dbapi."""

import importlib.metadata
import threading
import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import flightsql.dbapi
import flightsql.sqlalchemy  # registers datafusion+flightsql
import pandas
import polars
import polars.exceptions
import pyarrow as pa
import pyarrow.flight as fl
import pytest
import sqlalchemy as sa

from clients import COLUMNS, FULL, MISTAKE, NAMED, NULLS, OLDER, TYPES, Client, absent, from_information_schema

# The dialect needs SQLAlchemy 1.4, which warns of its successor.
sa.util.deprecations.SILENCE_UBER_WARNING = True

class AdbcPython(Client):
    name = f"ADBC Python {adbc_driver_flightsql.__version__}"

    def __init__(self, server, schema):
        super().__init__(server, schema)
        self.connection = adbc.connect(server.uri, autocommit=True)
        self.cursor = self.connection.cursor()

    def close(self):
        self.cursor.close()
        self.connection.close()

    def ask(self, sql, *values):
        self.cursor.execute(sql, values or None)
        return self.cursor.fetchall()

    def tree(self):
        (catalog,) = self.connection.adbc_get_objects(depth="all", db_schema_filter="lab").read_all().to_pylist()
        assert catalog["catalog_name"] == "deltaplane"
        (schema,) = (s for s in catalog["catalog_db_schemas"] if s["db_schema_tables"])
        tables = {t["table_name"]: t for t in schema["db_schema_tables"]}
        assert (tables["kinds"]["table_type"], tables["seen"]["table_type"]) == ("TABLE", "VIEW")
        assert [c["column_name"] for c in tables["kinds"]["table_columns"]] == COLUMNS
        assert self.connection.adbc_get_table_schema("kinds", db_schema_filter="lab").names == COLUMNS

    def types(self):
        assert self.ask(TYPES) == [FULL, NULLS]

    def parameters(self):
        for column, value in zip(COLUMNS[1:], FULL[1:]):
            assert self.ask(f"SELECT id FROM lab.kinds WHERE {column} = ?", value) == [(1,)], column

    def changes(self):
        self.cursor.execute(f"CREATE TABLE {self.schema}.c (a BIGINT, b STRING)")
        for sql, rows in [("INSERT INTO {} VALUES (1, 'x'), (2, 'y'), (3, 'z')", 3), ("UPDATE {} SET b = 'w' WHERE a > 1", 2), ("DELETE FROM {} WHERE a = 1", 1)]:
            self.cursor.adbc_statement.set_sql_query(sql.format(f"{self.schema}.c"))
            assert self.cursor.adbc_statement.execute_update() == rows
        assert self.ask(f"SELECT * FROM {self.schema}.c ORDER BY a") == [(2, "w"), (3, "w")]

    def rows(self):
        self.cursor.execute(f"CREATE TABLE {self.schema}.r (a BIGINT, b STRING)")
        self.cursor.executemany(f"INSERT INTO {self.schema}.r VALUES (?, ?)", [(n, f"r{n}") for n in range(1000)])
        assert self.cursor.rowcount == 1000 == self.count("r")

    def ingest(self):
        data = pa.table({name: [value, None] for name, value in zip(COLUMNS, FULL)})
        assert self.cursor.adbc_ingest("i", data, mode="create", db_schema_name=self.schema) == 2
        assert self.cursor.adbc_ingest("i", data, mode="append", db_schema_name=self.schema) == 2
        assert self.ask(f"SELECT * FROM {self.schema}.i WHERE id IS NOT NULL") == [FULL, FULL]

    def transactions(self):
        self.cursor.execute(f"CREATE TABLE {self.schema}.t (a BIGINT)")
        with adbc.connect(self.server.uri) as connection, connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {self.schema}.t VALUES (1)")
            assert self.count("t") == 0
            connection.rollback()
            cursor.execute(f"INSERT INTO {self.schema}.t VALUES (2)")
            connection.commit()
        assert self.ask(f"SELECT * FROM {self.schema}.t") == [(2,)]

    def cancel(self):
        caught = []

        def fetch():
            try:
                self.ask(self.endless_count)
            except adbc_driver_manager.Error as error:
                caught.append(error)

        thread = threading.Thread(target=fetch)
        thread.start()
        while not self.server.sql(f"SELECT 1 FROM system.queries WHERE state = 'running' AND sql LIKE '%cancel {self.schema}%' AND sql NOT LIKE '%system.queries%'"):
            time.sleep(0.02)
        self.cursor.adbc_cancel()
        thread.join(20)
        assert caught[0].status_code.name == "CANCELLED"

    def errors(self):
        with pytest.raises(adbc_driver_manager.Error, match=NAMED) as caught:
            self.ask(MISTAKE)
        assert caught.value.status_code.name == "INVALID_ARGUMENT"

    def versions(self):
        assert self.ask(OLDER) == [(1,)]


class PyArrow(Client):
    """Statements as the text of a FlightDescriptor, and rows by DoPut, as any Flight client can send them."""
    name = f"pyarrow.flight {pa.__version__}"

    def ask(self, sql):
        return [tuple(row.values()) for row in self.server.sql(sql)]

    def tree(self):
        from_information_schema(self.ask)

    def types(self):
        assert self.ask(TYPES) == [FULL, NULLS]

    @absent("pyarrow has no Flight SQL client, and the text of a statement carries no values")
    def parameters(self):
        assert not hasattr(fl.FlightClient, "prepare")

    def changes(self):
        for sql in ("CREATE TABLE {} (a BIGINT, b STRING)", "INSERT INTO {} VALUES (1, 'x'), (2, 'y'), (3, 'z')", "UPDATE {} SET b = 'w' WHERE a > 1", "DELETE FROM {} WHERE a = 1"):
            self.ask(sql.format(f"{self.schema}.c"))
        assert self.ask(f"SELECT * FROM {self.schema}.c ORDER BY a") == [(2, "w"), (3, "w")]

    @absent("pyarrow has no prepared statements; many rows go by DoPut")
    def rows(self):
        assert not hasattr(fl.FlightClient, "prepare")

    def ingest(self):
        data = pa.record_batch({"a": list(range(1000)), "b": ["x"] * 1000})
        self.ask(f"CREATE TABLE {self.schema}.i (a BIGINT, b STRING)")
        writer, acks = self.server.flight().do_put(fl.FlightDescriptor.for_path(self.schema, "i"), data.schema)
        writer.write_batch(data)
        writer.done_writing()
        assert b'"accepted":1000' in acks.read().to_pybytes()
        writer.close()
        assert self.count("i") == 1000

    @absent("pyarrow has no call for transactions")
    def transactions(self):
        assert not [name for name in dir(fl.FlightClient) if "transaction" in name or "commit" in name]

    def cancel(self):
        client = self.server.flight()
        info = client.get_flight_info(fl.FlightDescriptor.for_command(self.endless.encode()))
        reader = client.do_get(info.endpoints[0].ticket)
        assert reader.read_chunk().data.num_rows
        reader.cancel()

    def errors(self):
        with pytest.raises(pa.ArrowInvalid, match=NAMED):
            self.ask(MISTAKE)

    def versions(self):
        assert self.ask(OLDER) == [(1,)]


class Pandas(AdbcPython):
    """read_sql and to_sql over a connection of ADBC."""
    name = f"pandas {pandas.__version__} over ADBC"

    def ask(self, sql):
        return list(pandas.read_sql(sql, self.connection, dtype_backend="pyarrow").itertuples(index=False, name=None))

    def tree(self):
        from_information_schema(self.ask)

    def types(self):
        full, nulls = self.ask(TYPES)
        assert full == FULL and nulls[0] == 2 and all(pandas.isna(value) for value in nulls[1:])
        assert pandas.read_sql(TYPES, self.connection)["at"][0] == FULL[COLUMNS.index("at")], "without the types of pyarrow"

    @absent("`read_sql` refuses `params` over ADBC")
    def parameters(self):
        with pytest.raises(NotImplementedError, match="not implemented for ADBC"):
            pandas.read_sql("SELECT id FROM lab.kinds WHERE id = ?", self.connection, params=(1,))

    def changes(self):
        for sql in ("CREATE TABLE {} (a BIGINT, b STRING)", "INSERT INTO {} VALUES (1, 'x'), (2, 'y'), (3, 'z')", "UPDATE {} SET b = 'w' WHERE a > 1", "DELETE FROM {} WHERE a = 1"):
            assert pandas.read_sql(sql.format(f"{self.schema}.c"), self.connection).empty
        assert self.ask(f"SELECT * FROM {self.schema}.c ORDER BY a") == [(2, "w"), (3, "w")]

    @absent("pandas has no prepared statements; many rows go by `to_sql`")
    def rows(self):
        assert not hasattr(pandas, "executemany")

    def ingest(self):
        frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None], "at": pandas.to_datetime(["2026-01-01", "2026-01-02"], utc=True)})
        for mode, rows in [("fail", 2), ("append", 4), ("replace", 2), ("delete_rows", 2)]:
            assert frame.to_sql("i", self.connection, schema=self.schema, if_exists=mode, index=False) == 2
            assert self.count("i") == rows, mode
        with pytest.raises(ValueError, match="already exists"):
            frame.to_sql("i", self.connection, schema=self.schema, index=False)

    @absent("`to_sql` commits by itself")
    def transactions(self):
        with adbc.connect(self.server.uri) as connection:
            pandas.DataFrame({"a": [1]}).to_sql("t", connection, schema=self.schema, index=False)
            connection.rollback()
        assert self.count("t") == 1

    @absent("pandas has no call that ends a query")
    def cancel(self):
        assert not hasattr(pandas, "cancel") and not hasattr(pandas.io.sql.ADBCDatabase, "cancel")

    def errors(self):
        with pytest.raises(pandas.errors.DatabaseError, match=NAMED):
            self.ask(MISTAKE)


class Polars(AdbcPython):
    """read_database and write_database over a connection of ADBC."""
    name = f"polars {polars.__version__} over ADBC"

    def ask(self, sql, *values):
        return polars.read_database(sql, self.connection, execute_options={"parameters": values} if values else None).rows()

    def tree(self):
        from_information_schema(self.ask)

    def types(self):
        frame = polars.read_database(TYPES, self.connection)
        assert frame.rows() == [FULL, NULLS]
        assert frame.schema["at"] == polars.Datetime("us", "UTC") and frame.schema["price"] == polars.Decimal(20, 4)

    @absent("`read_database` refuses statements that are no query")
    def changes(self):
        with pytest.raises(polars.exceptions.UnsuitableSQLError):
            self.ask("INSERT INTO lab.kinds (id) VALUES (3)")

    @absent("polars has no prepared statements; many rows go by `write_database`")
    def rows(self):
        assert not hasattr(polars, "executemany")

    def ingest(self):
        frame = polars.DataFrame({"a": [1, 2], "b": ["x", None], "price": [FULL[-1], None], "at": [FULL[COLUMNS.index("at")], None]})
        for mode, rows in [("fail", 2), ("append", 4), ("replace", 2)]:
            assert frame.write_database(f"{self.schema}.i", self.connection, if_table_exists=mode, engine="adbc") == 2
            assert self.count("i") == rows, mode
        assert self.ask(f"SELECT * FROM {self.schema}.i ORDER BY a") == frame.rows()

    @absent("`write_database` commits by itself")
    def transactions(self):
        with adbc.connect(self.server.uri) as connection:
            polars.DataFrame({"a": [1]}).write_database(f"{self.schema}.t", connection, engine="adbc")
            connection.rollback()
        assert self.count("t") == 1

    @absent("polars has no call that ends a query")
    def cancel(self):
        assert not [name for name in dir(polars) if "cancel" in name]


class SqlAlchemy(Client):
    """The dialect datafusion+flightsql of flightsql-dbapi, with its prepared statements turned on."""
    name = f"SQLAlchemy {sa.__version__} over flightsql-dbapi {importlib.metadata.version('flightsql-dbapi')}"

    def __init__(self, server, schema):
        super().__init__(server, schema)
        self.url = f"datafusion+flightsql://127.0.0.1:{server.port}?insecure=true"
        self.engine = sa.create_engine(self.url + "&feature-sqlalchemy-prepared-statements=on&feature-sqlalchemy-primary-keys=on")
        self.connection = self.engine.connect()

    def close(self):
        self.connection.close()

    def ask(self, sql, **values):
        return [tuple(row) for row in self.connection.execute(sa.text(sql), values).fetchall()]

    def tree(self):
        inspector = sa.inspect(self.engine)
        assert "lab" in inspector.get_schema_names()
        assert {"kinds", "grown", "seen"} <= set(inspector.get_table_names("lab"))
        assert inspector.has_table("kinds", "lab") and not inspector.has_table("gone", "lab")
        assert inspector.get_view_names("lab") == [], "the dialect lists views among the tables"
        columns = inspector.get_columns("kinds", "lab")
        assert [c["name"] for c in columns] == COLUMNS and [c["nullable"] for c in columns] == [False] + [True] * 12
        assert {c["name"]: str(c["type"]) for c in columns}["at"] == "TIMESTAMP"
        assert sa.Table("kinds", sa.MetaData(), autoload_with=self.engine, schema="lab").c.price.type.as_generic().python_type is type(FULL[-1])

    def types(self):
        full, nulls = self.ask(TYPES)
        # The driver gives a day as a time at midnight.
        assert full[:9] + full[10:] == FULL[:9] + FULL[10:] and full[9].date() == FULL[9]
        assert nulls[0] == 2 and all(pandas.isna(value) for value in nulls[1:])

    def parameters(self):
        for column, value in zip(COLUMNS[:9], FULL[:9]):
            assert self.ask(f"SELECT id FROM lab.kinds WHERE {column} = :value", value=value) == [(1,)], column
        # Without the feature values are written into the text.
        literal = sa.create_engine(self.url)
        kinds = sa.Table("kinds", sa.MetaData(), autoload_with=literal, schema="lab")
        with literal.connect() as connection:
            chosen = sa.select(kinds.c.id).where(kinds.c.t == "ä'b", kinds.c.price > 5, kinds.c.x == 0.5, kinds.c.ok.is_(True)).order_by(kinds.c.id).limit(10)
            assert connection.execute(chosen).fetchall() == [(1,)]

    def changes(self):
        for sql in ("CREATE TABLE {} (a BIGINT, b STRING)", "INSERT INTO {} VALUES (1, 'x'), (2, 'y'), (3, 'z')", "UPDATE {} SET b = 'w' WHERE a > 1", "DELETE FROM {} WHERE a = 1"):
            self.connection.execute(sa.text(sql.format(f"{self.schema}.c")))
        table = sa.Table("c", sa.MetaData(), autoload_with=self.engine, schema=self.schema)
        self.connection.execute(sa.insert(table).values(a=4, b="new"))
        self.connection.execute(sa.update(table).where(table.c.a == 3).values(b="v"))
        assert self.ask(f"SELECT * FROM {self.schema}.c ORDER BY a") == [(2, "w"), (3, "v"), (4, "new")]

    def rows(self):
        self.connection.execute(sa.text(f"CREATE TABLE {self.schema}.r (a BIGINT, b STRING)"))
        self.connection.execute(sa.text(f"INSERT INTO {self.schema}.r VALUES (:a, :b)"), [{"a": n, "b": f"r{n}"} for n in range(20)])
        assert self.count("r") == 20

    @absent("flightsql-dbapi has no bulk ingest")
    def ingest(self):
        assert not [name for name in dir(flightsql.FlightSQLClient) if "ingest" in name]

    @absent("flightsql-dbapi begins none: `commit` and `rollback` do nothing")
    def transactions(self):
        self.connection.execute(sa.text(f"CREATE TABLE {self.schema}.t (a BIGINT)"))
        begun = self.connection.begin()
        self.connection.execute(sa.text(f"INSERT INTO {self.schema}.t VALUES (1)"))
        begun.rollback()
        assert self.count("t") == 1

    @absent("flightsql-dbapi has no call that ends a query")
    def cancel(self):
        assert not [name for name in [*dir(flightsql.FlightSQLClient), *dir(flightsql.dbapi.Cursor)] if "cancel" in name]

    def errors(self):
        with pytest.raises(pa.ArrowInvalid, match=NAMED):
            self.ask(MISTAKE)

    def versions(self):
        assert self.ask(OLDER) == [(1,)]
