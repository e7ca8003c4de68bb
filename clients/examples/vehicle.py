"""A vehicle in Berlin sends its local time without a zone; the table has the instant.

Needs a server with the dataset (`deltaplane demo`); DELTAPLANE_URI if it is elsewhere.
"""

import datetime as dt
import os
import zoneinfo

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
from deltaplane import Producer

URI = os.environ.get("DELTAPLANE_URI", "grpc://127.0.0.1:32010").replace("http://", "grpc://")
SCHEMA = pa.schema([("entity", pa.int64()), ("ts", pa.string()), ("temp", pa.float64()), ("humidity", pa.float64())])

local = dt.datetime.now(zoneinfo.ZoneInfo("Europe/Berlin"))
text = local.strftime("%Y-%m-%d %H:%M:%S.") + f"{local.microsecond // 1000:03d}"
with Producer(URI, "vehicle.raw", name="example-vehicle", schema=SCHEMA) as producer:
    producer.send([{"entity": 1000, "ts": text, "temp": 20.25, "humidity": 35.0}])
    producer.flush()
with adbc.connect(URI, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT max(ts) FROM vehicle.raw WHERE entity = 1000")
    print(f"sent {text}, stored {cursor.fetchone()[0]}")
    cursor.execute("SELECT date_bin(INTERVAL '1 minute', ts) AS window_start, count(DISTINCT entity) AS vehicles, count(*) AS n, round(avg(temp), 2) AS avg_temp, "
                   "last_value(humidity ORDER BY ts) AS last_humidity FROM vehicle.raw GROUP BY 1 ORDER BY 1 DESC LIMIT 3")
    for row in cursor.fetchall():
        print("{}: {} vehicles, {} readings, {} degC, last humidity {} %".format(*row))
