"""One line for each capability of tests/python/clients, by Superset without its web server: "yes tree", "no cancel", or "broken types: why".

Arguments: the server's port, a schema that no other client has, and an empty folder for Superset's own database. It runs in an environment of
its own (requirements.txt), with tests/python on the path.
"""

import datetime
import logging
import os
import pathlib
import sys
import time

import flightsql.exceptions
import pandas

from clients import COLUMNS, FULL, MISTAKE, NAMED, OLDER

PORT, SCHEMA, HOME = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
# The caches are in memory, since those in Superset's database need its migrations.
CONFIG = f"""
import flightsql.sqlalchemy  # registers datafusion+flightsql
SECRET_KEY = "{'k' * 42}"
SQLALCHEMY_DATABASE_URI = "sqlite:///{HOME}/superset.db"
CACHE_CONFIG = DATA_CACHE_CONFIG = FILTER_STATE_CACHE_CONFIG = EXPLORE_FORM_DATA_CACHE_CONFIG = {{"CACHE_TYPE": "SimpleCache"}}
"""


def cell(answer, capability, check):
    try:
        check()
        print(answer, capability)
    except BaseException as error:
        print(f"broken {capability}: {type(error).__name__} {error}".replace("\n", " "))


def run(database, db):
    from superset.connectors.sqla.models import SqlaTable
    from superset.exceptions import SupersetException
    from superset.sql.parse import Table

    kinds = Table("kinds", "lab")

    def dataset(name, sql=None):
        made = SqlaTable(table_name=name, schema="lab", database=database, sql=sql)
        db.session.add(made)
        db.session.commit()
        return made

    def tree():
        assert "lab" in database.get_all_schema_names()
        tables = {name for name, *_ in database.get_all_table_names_in_schema(None, "lab")}
        assert {"kinds", "grown", "seen"} <= tables and not database.get_all_view_names_in_schema(None, "lab"), "views are among the tables"
        assert [c["name"] for c in database.get_columns(kinds)] == COLUMNS
        assert database.has_table(kinds) and not database.get_foreign_keys(kinds) and not database.get_indexes(kinds)
        table = dataset("kinds")
        table.fetch_metadata()
        assert {c.column_name for c in table.columns if c.is_dttm} == {"day", "at", "local"}

    def types():
        full, nulls = database.get_df(database.select_star(kinds, limit=100, cols=database.get_columns(kinds)), schema="lab").sort_values("id").to_dict("records")
        assert tuple(full.values())[:9] == FULL[:9] and full["price"] == FULL[-1]
        assert (full["day"], full["at"], full["local"]) == ("2026-01-02 00:00:00", "2026-01-02 03:04:05.678901+00:00", "2026-01-02 03:04:05.678901")
        assert all(pandas.isna(nulls[name]) for name in COLUMNS[1:])
        # A chart over a virtual dataset: SELECT .. FROM (..) AS virtual_table .. LIMIT.
        virtual = dataset("virtual", "SELECT id, t, x, at FROM lab.kinds WHERE id > 0")
        virtual.fetch_metadata()
        assert {c.column_name for c in virtual.columns} == {"id", "t", "x", "at"}
        level = {"expressionType": "SQL", "sqlExpression": "avg(x)", "label": "level"}
        asked = dict(granularity="at", from_dttm=datetime.datetime(2026, 1, 1), to_dttm=datetime.datetime(2026, 1, 3), columns=["t"], metrics=[level], orderby=[(level, False)],
                     is_timeseries=False, filter=[{"col": "t", "op": "IN", "val": ["ä'b"]}], extras={}, row_limit=100)
        assert "AS virtual_table" in virtual.get_query_str(dict(asked))
        chart = virtual.query(dict(asked))
        assert not chart.error_message and chart.df.to_dict("records") == [{"t": "ä'b", "level": 0.5}], chart.error_message or chart.df

    def literals():
        table = dataset(f"written {time.time_ns()}", "SELECT t FROM lab.kinds")
        table.fetch_metadata()
        assert "'ä''b'" in table.get_query_str(dict(columns=["t"], filter=[{"col": "t", "op": "==", "val": "ä'b"}], is_timeseries=False, extras={}, row_limit=10))

    def changes():
        for sql in ("CREATE TABLE {} (a BIGINT, b STRING)", "INSERT INTO {} VALUES (1, 'x'), (2, 'y')", "UPDATE {} SET b = 'w' WHERE a > 1", "DELETE FROM {} WHERE a = 1"):
            database.get_df(sql.format(f"{SCHEMA}.c"))
        assert database.get_df(f"SELECT * FROM {SCHEMA}.c").to_dict("records") == [{"a": 2, "b": "w"}]

    def no_upload():
        frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"], "x": [0.5, 1.5]})
        try:
            database.db_engine_spec.df_to_sql(database, Table("up", SCHEMA), frame, to_sql_kwargs={"index": False, "if_exists": "fail"})
        except flightsql.exceptions.Error as error:
            assert "Cursor already closed" in str(error)
        else:
            raise AssertionError("an upload works now")

    def no_transactions():
        database.get_df(f"CREATE TABLE {SCHEMA}.t (a BIGINT)")
        with database.get_raw_connection() as connection:
            connection.cursor().execute(f"INSERT INTO {SCHEMA}.t VALUES (1)")
            connection.rollback()
        assert len(database.get_df(f"SELECT * FROM {SCHEMA}.t")) == 1

    def no_cancel():
        assert not database.db_engine_spec.has_implicit_cancel() and database.db_engine_spec.get_cancel_query_id(None, None) is None

    def errors():
        try:
            database.get_df(MISTAKE)
        except Exception as error:
            assert NAMED in database.db_engine_spec.extract_error_message(error)
        else:
            raise AssertionError("no error")

    def versions():
        try:
            database.get_df(OLDER)
            raise AssertionError("Superset reads VERSION AS OF now")
        except SupersetException:
            pass
        assert database.get_df('SELECT count(*) AS n FROM lab."grown@v1"').to_dict("records") == [{"n": 1}]

    cell("yes", "tree", tree)
    cell("yes", "types", types)
    cell("no", "parameters", literals)
    cell("yes", "changes", changes)
    cell("no", "rows", literals)
    cell("no", "ingest", no_upload)
    cell("no", "transactions", no_transactions)
    cell("no", "cancel", no_cancel)
    cell("yes", "errors", errors)
    cell("yes", "versions", versions)


def main():
    (HOME / "superset_config.py").write_text(CONFIG)
    os.environ.update(SUPERSET_CONFIG_PATH=str(HOME / "superset_config.py"), SUPERSET_HOME=str(HOME))
    logging.disable(logging.CRITICAL)
    from superset.app import create_app
    with create_app().app_context():
        from flask_appbuilder import Model
        from superset import db
        from superset.models.core import Database
        Model.metadata.create_all(db.engine)
        database = Database(database_name="deltaplane", sqlalchemy_uri=f"datafusion+flightsql://127.0.0.1:{PORT}?insecure=true&feature-sqlalchemy-prepared-statements=on", allow_dml=True)
        db.session.add(database)
        db.session.commit()
        run(database, db)


if __name__ == "__main__":
    main()
