"""The coldest satellites, and one satellite's events as an Arrow table, read with pyarrow alone: no SQL driver.

Needs a server with the dataset (`deltaplane demo`); DELTAPLANE_URI if it is elsewhere.
"""

import os

import pyarrow.compute as pc
import pyarrow.flight as fl

URI = os.environ.get("DELTAPLANE_URI", "grpc://127.0.0.1:32010").replace("http://", "grpc://")
client = fl.connect(URI)


def query(sql):
    """A query's whole answer; the reader below takes it batch by batch instead."""
    info = client.get_flight_info(fl.FlightDescriptor.for_command(sql.encode()))
    return client.do_get(info.endpoints[0].ticket).read_all()


coldest = query("SELECT r.satellite_name, d.operator, d.orbit, min(r.temp_c) AS coldest, count(*) AS events "
                "FROM satellite.raw r LEFT JOIN satellite.satellites d ON r.satellite_name = d.satellite_name GROUP BY 1, 2, 3 ORDER BY 4, 1 LIMIT 3")
for row in coldest.to_pylist():
    print("{satellite_name} ({operator}, {orbit}): {coldest} degC in {events} events".format(**row))

name = coldest["satellite_name"][0].as_py()
info = client.get_flight_info(fl.FlightDescriptor.for_command(f"SELECT ts, timestamp_ns, temp_c, battery_charge_pct FROM satellite.raw WHERE satellite_name = '{name}' ORDER BY timestamp_ns".encode()))
events = low = 0
for chunk in client.do_get(info.endpoints[0].ticket):  # one record batch at a time: a year of events needs no more memory
    events += chunk.data.num_rows
    low += pc.sum(pc.less(chunk.data["battery_charge_pct"], 20.0)).as_py() or 0
print(f"{name}: {events} events, battery below 20 % in {low} of them; units: {[(f.name, (f.metadata or {}).get(b'unit', b'-').decode()) for f in info.schema]}")
