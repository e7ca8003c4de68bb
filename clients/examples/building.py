"""Opens a new room: readings of a room that nobody knows are kept and counted; entered by SQL, it has a name from then on.

Needs a server with the dataset (`deltaplane demo`); DELTAPLANE_URI if it is elsewhere. Can be run again and again.
"""

import datetime as dt
import os
import uuid

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
from deltaplane import Producer

URI = os.environ.get("DELTAPLANE_URI", "grpc://127.0.0.1:32010").replace("http://", "grpc://")
SCHEMA = pa.schema([("room_id", pa.string()), ("ts", pa.timestamp("us", "UTC")), ("temperature", pa.float64()), ("co2_ppm", pa.int64())])
room = f"annex_{uuid.uuid4().hex[:6]}"
now = dt.datetime.now(dt.timezone.utc)
reading = {"room_id": room, "ts": now, "temperature": 21.5, "co2_ppm": 600}

with Producer(URI, "building.raw", name=f"example-{room}", schema=SCHEMA) as producer, adbc.connect(URI, autocommit=True) as connection, connection.cursor() as cursor:

    def ask(sql):
        cursor.execute(sql)
        return cursor.fetchone()

    joined = f"SELECT m.room_name, count(*) FROM building.raw r LEFT JOIN building.rooms m ON r.room_id = m.room_id WHERE r.room_id = '{room}' GROUP BY 1"
    unknown = "SELECT violations FROM system.rules WHERE \"table\" = 'building.raw' AND rule = 'referential:room_id'"

    producer.send([reading])
    producer.flush()
    print(f"unknown: {ask(joined)}, {ask(unknown)[0]} readings of unknown rooms so far")

    cursor.execute(f"INSERT INTO building.rooms VALUES ('{room}', 'Annex', 0, 'office')")
    producer.send([reading | {"ts": now + dt.timedelta(seconds=1)}])
    producer.send([reading])  # once more: it is there already
    totals = producer.flush()
    print(f"known: {ask(joined)}; {totals.accepted} readings accepted, {totals.duplicates} duplicate")
