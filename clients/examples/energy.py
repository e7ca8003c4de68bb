"""The batteries' day: what each site made, and the three checks that its operators run first.

Needs a server with the dataset and a day of rows (`deltaplane demo`); DELTAPLANE_URI if it is elsewhere. The day's own batch is
`deltaplane process energy --date D`; clients/airflow/energy_dag.py runs it nightly.
"""

import os

import adbc_driver_flightsql.dbapi as adbc

URI = os.environ.get("DELTAPLANE_URI", "grpc://127.0.0.1:32010").replace("http://", "grpc://")

with adbc.connect(URI, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT max(event_date) FROM energy.raw")
    (day,) = cursor.fetchone()
    cursor.execute("SELECT r.site_id, round(sum(r.energy_wh) / 1000, 1) AS kwh, round(max(r.power_w) / 1000, 1) AS peak_kw, "
                   "round(100.0 * count(*) FILTER (WHERE r.status = 'OK') / count(*), 2) AS uptime, sum(DISTINCT d.capacity_kwh) AS capacity "
                   "FROM energy.raw r LEFT JOIN energy.devices d ON r.device_id = d.device_id WHERE r.event_date = ? GROUP BY 1 ORDER BY 1", (day,))
    for row in cursor.fetchall():
        print(f"{day} " + "{}: {} kWh, peak {} kW, up {} %, capacity {} kWh".format(*row))
    cursor.execute("SELECT count(*) - count(power_w), count(*) - count(temperature_c), count(*) - count(soc_percent) FROM energy.raw WHERE event_date = ?", (day,))
    print("nulls of power, temperature, charge: {}, {}, {}".format(*cursor.fetchone()))
    cursor.execute("SELECT count(*) FROM energy.raw WHERE event_date = ? AND soc_percent NOT BETWEEN 0 AND 100", (day,))
    print("charge out of bounds: {}".format(*cursor.fetchone()))
    cursor.execute("SELECT device_id, ts, count(*) AS copies FROM energy.raw WHERE event_date = ? GROUP BY 1, 2 HAVING count(*) > 1 ORDER BY 3 DESC, 1, 2 LIMIT 50", (day,))
    copies = cursor.fetchall()
    print(f"readings that came more than once: {len(copies)}" + (f", as {copies[0][0]} at {copies[0][1]}" if copies else ""))
