"""Streams a few readings of a reactor, one of them impossible, and asks what became of them.

Needs a server with the dataset (`deltaplane demo`, or `deltaplane serve` and `deltaplane apply reactor`);
DELTAPLANE_URI if it is elsewhere. `pip install ./clients/python -r clients/examples/requirements.txt`.
"""

import datetime as dt
import os

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
from deltaplane import Producer

URI = os.environ.get("DELTAPLANE_URI", "grpc://127.0.0.1:32010").replace("http://", "grpc://")
SCHEMA = pa.schema([("reactor_id", pa.string()), ("ts", pa.timestamp("us", "UTC"))] + [(n, pa.float64()) for n in ["AT", "V", "AP", "RH", "PE"]])

now = dt.datetime.now(dt.timezone.utc)
readings = [{"reactor_id": "R2", "ts": now + dt.timedelta(milliseconds=i), "AT": 20.0 + i, "V": 54.0, "AP": 1013.0, "RH": 73.0, "PE": 454.0 - 2 * i} for i in range(5)]
readings[3]["AT"] = 400.0  # degC: the contract allows 1.81 to 37.11

with Producer(URI, "reactor.raw", name="example-reactor", schema=SCHEMA) as producer:
    producer.send(readings)
    totals = producer.flush()
    print(f"durable up to batch {totals.seq}; rejected in the last: {[(r.row, r.rule, r.value) for r in totals.rejects]}")

with adbc.connect(URI, autocommit=True) as connection, connection.cursor() as cursor:
    # An ack means that the rows can be read: they are in this answer.
    cursor.execute("SELECT r.reactor_id, d.site, count(*) AS readings, round(avg(r.PE), 2) AS avg_mw "
                   "FROM reactor.raw r LEFT JOIN reactor.reactors d ON r.reactor_id = d.reactor_id GROUP BY 1, 2 ORDER BY 1")
    for row in cursor.fetchall():
        print("reactor {}, site {}: {} readings, {} MW on average".format(*row))
    cursor.execute("SELECT reason, raw FROM reactor.raw_quarantine WHERE _source = 'example-reactor' ORDER BY _seq DESC LIMIT 1")
    print("quarantined: {}\n  {}".format(*cursor.fetchone()))
