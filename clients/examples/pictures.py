"""Draws a picture of each dataset from what a server has of it: reactor.png, satellite.png, building.png, energy.png, vehicle.png.

    python clients/examples/pictures.py DIR      (here if none is given)

Needs a server with the datasets and some rows (`deltaplane demo` for a minute); DELTAPLANE_URI if it is elsewhere.
"""

import math
import os
import pathlib
import sys

import adbc_driver_flightsql.dbapi as adbc
import matplotlib
import pyarrow as pa

matplotlib.use("Agg")
import matplotlib.dates as mdates  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402

URI = os.environ.get("DELTAPLANE_URI", "grpc://127.0.0.1:32010").replace("http://", "grpc://")
INK, GRID = "#22313f", "#e3e8ec"
COLOURS = ["#1f6f8b", "#e07a3f", "#5b8c5a", "#8d5a97", "#c9a227", "#b23a48", "#4b6cb7", "#7a7a7a"]

plt.rcParams.update({
    "figure.dpi": 110, "figure.facecolor": "white", "font.size": 10, "axes.edgecolor": GRID, "axes.labelcolor": INK, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.grid": True, "grid.color": GRID, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "text.color": INK, "xtick.color": INK, "ytick.color": INK, "legend.frameon": False, "axes.prop_cycle": plt.cycler(color=COLOURS)})


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    directory.mkdir(parents=True, exist_ok=True)
    with adbc.connect(URI, autocommit=True) as connection, connection.cursor() as cursor:

        def ask(sql):
            """The answer's columns by name, as lists; a null measure is a gap in its line."""
            cursor.execute(sql)
            table = cursor.fetch_arrow_table()
            gaps = lambda column: [math.nan if v is None else v for v in column.to_pylist()] if pa.types.is_floating(column.type) else column.to_pylist()
            return {name: gaps(table[name]) for name in table.schema.names}

        for draw in [reactor, satellite, building, energy, vehicle]:
            figure = draw(ask)
            path = directory / f"{draw.__name__}.png"
            figure.savefig(path)
            plt.close(figure)
            print(path)


def paper(title, rows, columns, **options):
    figure, axes = plt.subplots(rows, columns, figsize=(11, 6.2), layout="constrained", **options)
    figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
    return figure, axes


def clock(axis):
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axis.xaxis.get_major_locator()))


def reactor(ask):
    rows = ask("SELECT AT, V, RH, PE FROM reactor.raw ORDER BY ts DESC LIMIT 4000")
    fit = ask("SELECT regr_slope(PE, AT) AS slope, regr_intercept(PE, AT) AS start, regr_r2(PE, AT) AS r2, count(*) AS n FROM reactor.raw")
    broken = ask("SELECT rule, count(*) AS n FROM (SELECT unnest(rules) AS rule FROM reactor.raw_quarantine) GROUP BY 1 ORDER BY 2")
    figure, axes = paper(f"Reactor: what the weather does to the power ({fit['n'][0]:,} rows)", 1, 2, width_ratios=[2, 1])
    points = axes[0].scatter(rows["AT"], rows["PE"], c=rows["V"], s=6, cmap="viridis", alpha=0.7, linewidths=0)
    line = [0, 38]
    axes[0].plot(line, [fit["start"][0] + fit["slope"][0] * x for x in line], color=COLOURS[5], lw=1.5, label=f"{fit['slope'][0]:.2f} MW/degC, R2 {fit['r2'][0]:.2f}")
    axes[0].set(xlabel="ambient temperature AT (degC)", ylabel="electrical output PE (MW)", title="Output falls as the air warms", xlim=line)
    axes[0].legend(loc="upper right")
    figure.colorbar(points, ax=axes[0], label="exhaust vacuum V (cmHg)")
    axes[1].barh(broken["rule"], broken["n"], color=COLOURS[1])
    axes[1].set(xlabel="rows", title="Quarantined, by rule")
    axes[1].grid(axis="y", visible=False)
    return figure


def satellite(ask):
    names = ask("SELECT satellite_name, count(*) AS n FROM satellite.raw GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 4")["satellite_name"]
    figure, axes = paper("Satellites: four of the fleet, event by event", 4, 2, sharex="col", width_ratios=[3, 1])
    for row, name in enumerate(names):
        events = ask(f"SELECT temp_c, battery_charge_pct FROM satellite.raw WHERE satellite_name = '{name}' ORDER BY timestamp_ns")
        left, right = axes[row][0], axes[row][0].twinx()
        left.plot(events["temp_c"], color=COLOURS[1], lw=1)
        right.plot(events["battery_charge_pct"], color=COLOURS[0], lw=1)
        left.set(ylim=(-110, 130), ylabel="degC")
        right.set(ylim=(-5, 108), ylabel="%")
        right.grid(visible=False)
        left.set_title(name, fontsize=10)
        values = ask(f"SELECT altitude_km FROM satellite.raw WHERE satellite_name = '{name}'")["altitude_km"]
        axes[row][1].hist(values, bins=20, range=(160, 2000), color=COLOURS[2])
        axes[row][1].set_yticks([])
    axes[0][0].plot([], [], color=COLOURS[1], label="temperature (degC)")
    axes[0][0].plot([], [], color=COLOURS[0], label="battery (%)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper right", ncols=2)
    axes[0][1].set_title("altitudes", fontsize=10)
    axes[-1][0].set_xlabel("event")
    axes[-1][1].set_xlabel("km")
    return figure


def building(ask):
    rooms = ask("SELECT room_id, room_name FROM building.rooms WHERE room_id LIKE 'room_%' ORDER BY 1")
    names = dict(zip(rooms["room_id"], rooms["room_name"]))
    figure, axes = paper("Building: eight rooms", 2, 2, sharex=True)
    measures = [("temperature", "degC", "Temperature"), ("co2_ppm", "ppm", "CO2"), ("occupancy_count", "people", "People"), ("air_quality_index", "index", "Air quality, higher is better")]
    # As many windows as a picture shows, whatever the time that there is.
    span = ask("SELECT (max(arrow_cast(ts, 'Int64')) - min(arrow_cast(ts, 'Int64'))) / 1000000 AS s FROM building.raw")["s"][0]
    step = max(1, span // 240)
    windows = ask(f"SELECT room_id, date_bin(INTERVAL '{step} seconds', ts) AS at, " + ", ".join(f"avg({m}) AS {m}" for m, _, _ in measures) + " FROM building.raw GROUP BY 1, 2 ORDER BY 1, 2")
    for axis, (measure, unit, title) in zip(axes.flat, measures):
        for room, name in names.items():
            at = [i for i, r in enumerate(windows["room_id"]) if r == room]
            axis.plot([windows["at"][i] for i in at], [windows[measure][i] for i in at], lw=1.2, label=name)
        axis.set(title=title, ylabel=unit)
        clock(axis)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def energy(ask):
    day = ask("SELECT max(event_date) AS d FROM energy.raw")["d"][0]
    of_day = f"WHERE event_date = DATE '{day}'"
    power = ask(f"SELECT site_id, date_bin(INTERVAL '10 minutes', ts) AS at, sum(power_w) / 1000 / count(DISTINCT ts) AS kw FROM energy.raw {of_day} GROUP BY 1, 2 ORDER BY 1, 2")
    charge = ask(f"SELECT device_id, date_bin(INTERVAL '10 minutes', ts) AS at, avg(soc_percent) AS soc FROM energy.raw {of_day} GROUP BY 1, 2 ORDER BY 1, 2")
    sites = ask(f"SELECT site_id, sum(energy_wh) / 1e6 AS mwh, count(*) FILTER (WHERE status <> 'OK') AS faults FROM energy.raw {of_day} GROUP BY 1 ORDER BY 1")
    figure, axes = paper(f"Energy: {day}, five sites and ten batteries", 2, 2, width_ratios=[2, 1])
    for site in sites["site_id"]:
        at = [i for i, s in enumerate(power["site_id"]) if s == site]
        axes[0][0].plot([power["at"][i] for i in at], [power["kw"][i] for i in at], lw=1.4, label=site)
    axes[0][0].set(title="Power follows the sun", ylabel="kW", ylim=(0, 1.25 * max(power["kw"])))
    axes[0][0].legend(ncols=5, loc="upper left", fontsize=8)
    for device, colour in zip(sorted(set(charge["device_id"])), plt.get_cmap("tab10").colors * 9):
        at = [i for i, d in enumerate(charge["device_id"]) if d == device]
        axes[1][0].plot([charge["at"][i] for i in at], [charge["soc"][i] for i in at], lw=1, color=colour, label=device)
    axes[1][0].set(title="State of charge", ylabel="%", ylim=(0, 100))
    axes[1][0].legend(ncols=5, loc="lower left", fontsize=7)
    axes[0][1].bar(sites["site_id"], sites["mwh"], color=COLOURS[: len(sites["site_id"])])
    axes[0][1].set(title="Energy of the day", ylabel="MWh")
    axes[1][1].bar(sites["site_id"], sites["faults"], color=COLOURS[5])
    axes[1][1].set(title="Rows that are not OK", ylabel="rows")
    for axis in axes[:, 0]:
        clock(axis)
    return figure


def vehicle(ask):
    rows = ask("SELECT temp, humidity FROM vehicle.raw ORDER BY ts DESC LIMIT 20000")
    # As many windows as a picture shows; the last one is not over yet.
    span = ask("SELECT (max(arrow_cast(ts, 'Int64')) - min(arrow_cast(ts, 'Int64'))) / 1000000 AS s FROM vehicle.raw WHERE ts > now() - INTERVAL '1 day'")["s"][0] or 1
    step = next(s for s in [1, 5, 10, 30, 60, 300, 600, 3600] if span / s <= 60 or s == 3600)
    windows = ask(f"SELECT date_bin(INTERVAL '{step} seconds', ts) AS at, avg(temp) AS mean, stddev(temp) AS sd, count(DISTINCT entity) AS vehicles FROM vehicle.raw "
                  "WHERE ts > now() - INTERVAL '1 day' GROUP BY 1 ORDER BY 1")
    if len(windows["at"]) > 2:
        windows = {name: values[:-1] for name, values in windows.items()}
    figure, axes = paper(f"Vehicles: {max(windows['vehicles'])} on the road", 2, 2, width_ratios=[2, 1])
    low = [m - s for m, s in zip(windows["mean"], windows["sd"])]
    high = [m + s for m, s in zip(windows["mean"], windows["sd"])]
    axes[0][0].fill_between(windows["at"], low, high, color=COLOURS[1], alpha=0.2, lw=0, label="one standard deviation")
    axes[0][0].plot(windows["at"], windows["mean"], color=COLOURS[1], lw=1.5, label="mean")
    axes[0][0].set(title=f"Temperature, windows of {step} s (UTC)", ylabel="degC", ylim=(16, 24))
    axes[0][0].legend(loc="upper right", ncols=2)
    axes[1][0].plot(windows["at"], windows["vehicles"], color=COLOURS[0], lw=1.5, drawstyle="steps-post")
    axes[1][0].set(title="Vehicles heard from in a window", ylim=(0, None))
    for axis in axes[:, 0]:
        clock(axis)
    axes[0][1].hist(rows["temp"], bins=40, color=COLOURS[1])
    axes[0][1].set(title="Temperatures", xlabel="degC", yticks=[])
    axes[1][1].hist(rows["humidity"], bins=40, color=COLOURS[0])
    axes[1][1].set(title="Humidities", xlabel="%", yticks=[])
    return figure


if __name__ == "__main__":
    main()
