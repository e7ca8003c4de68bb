"""Asking one query in several ways."""

import dataclasses
import re

import adbc_driver_flightsql.dbapi as adbc
import duckdb
import pyarrow as pa
import pyarrow.flight as fl

from .answers import Rows
from .tree import Spelling, text_of

# Far longer than any generated query takes: an answer that does not come is a difference, too.
PATIENCE_SECONDS = 60
TIMEOUTS = {f"adbc.flight.sql.rpc.timeout_seconds.{call}": str(PATIENCE_SECONDS) for call in ("fetch", "query", "update")}
SCHEMAS = ("hot", "cold", "mixed")


@dataclasses.dataclass
class Failed:
    """An error in place of an answer."""
    text: str

    @property
    def what(self):
        """The error without the values in it."""
        return re.sub(r"\d+", "N", re.sub(r"'[^']*'|\"[^\"]*\"", "_", self.text.split("gRPC client debug")[0].split("\n")[0]))[:160]


class Ours:
    def __init__(self, server):
        self.client = server.flight()
        self.connection = adbc.connect(server.uri, autocommit=True, db_kwargs=TIMEOUTS)
        self.options = fl.FlightCallOptions(timeout=PATIENCE_SECONDS)

    def close(self):
        self.connection.close()

    def ask(self, tree, schema, bound):
        how = Spelling(schema=schema, bound=[] if bound else None)
        return self.ask_text(text_of(tree, how), how.bound)

    def ask_text(self, text, bound=None):
        try:
            if bound is not None:
                batch = pa.RecordBatch.from_arrays(bound, [str(i) for i in range(len(bound))]) if bound else None
                with self.connection.cursor() as cursor:
                    cursor.execute(text, batch)
                    return Rows(cursor.fetch_arrow_table())
            info = self.client.get_flight_info(fl.FlightDescriptor.for_command(text.encode()), self.options)
            return Rows(self.client.do_get(info.endpoints[0].ticket, self.options).read_all())
        except (pa.ArrowException, adbc.Error) as error:
            return Failed(str(error))


class Duck:
    def __init__(self):
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute("SET threads = 1")

    def ask(self, tree):
        return self.ask_text(text_of(tree, Spelling(duck=True)))

    def ask_text(self, text):
        try:
            return Rows(self.connection.sql(text).to_arrow_table())
        except duckdb.Error as error:
            return Failed(str(error))
