"""Flight SQL as messages, and ADBC connections, for the tests of what no driver sends."""

import datetime
import decimal
import struct

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as fl
import pytest

Error = adbc_driver_manager.Error


def connect(server, **options):
    return adbc.connect(server.uri, **({"autocommit": True} | options))


@pytest.fixture
def cursor(server):
    with connect(server) as connection, connection.cursor() as cursor:
        yield cursor


def rows_of(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchall()


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def any_of(name, body):
    return field(1, f"type.googleapis.com/arrow.flight.protocol.sql.{name}") + field(2, body)


def fields(data):
    """The fields of a message as (number, value), bytes or int."""
    out, at = [], 0

    def number():
        nonlocal at
        shift = value = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            out.append((key >> 3, number()))
        elif key & 7 == 1:
            out.append((key >> 3, struct.unpack_from("<q", data, at)[0]))
            at += 8
        else:
            size = number()
            out.append((key >> 3, data[at:at + size]))
            at += size
    return out


def ingest_command(table, create, exists, schema=None, transaction=None, temporary=False, **options):
    body = field(1, field(1, create) + field(2, exists)) + field(2, table)
    body += field(3, schema) if schema else b""
    body += field(5, 1) if temporary else b""
    body += field(6, transaction) if transaction else b""
    for key, value in options.items():
        body += field(1000, field(1, "deltaplane." + key) + field(2, str(value)))
    return any_of("CommandStatementIngest", body)


CREATE, FAIL_MISSING, FAIL, APPEND, REPLACE = 1, 2, 1, 2, 3


def ingest(server, table, data, create, exists, **options):
    """A bulk ingest by hand; returns its count."""
    writer, reader = server.flight().do_put(fl.FlightDescriptor.for_command(ingest_command(table, create, exists, **options)), data.schema)
    with writer:
        writer.write_table(pa.table(data) if not isinstance(data, pa.Table) else data)
        writer.done_writing()
        answer = reader.read()
        return dict(fields(answer.to_pybytes())).get(1, 0) if answer is not None else None


def action(server, name, body=b"", wrap=None, headers=()):
    options = fl.FlightCallOptions(headers=list(headers))
    results = server.flight().do_action((name, any_of(wrap, body) if wrap else body), options=options)
    return [r.body.to_pybytes() for r in results]


TYPES = "(i BIGINT, n INT, d DOUBLE, f FLOAT, t STRING, b BOOLEAN, day DATE, at TIMESTAMP, dec DECIMAL(10,2), bin BINARY)"
ROW = (1, 2, 0.5, 0.25, "ä'b", True, datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.UTC), decimal.Decimal("12.34"), b"\x00\xff")
MARKS = ", ".join("?" * len(ROW))


def people(n, first=0):
    return pa.table({"id": pa.array(range(first, first + n), pa.int64()), "name": [f"p{i}" for i in range(n)],
                     "at": pa.array([datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * n, pa.timestamp("us", "UTC"))})
