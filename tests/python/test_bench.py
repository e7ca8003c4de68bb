"""`deltaplane bench ingest`: its JSON document has every figure, and each is one that a machine can have. No test says how fast."""

import json
import subprocess
import sys

import pytest
from conftest import BIN

PERCENTILES = ["p50", "p90", "p99", "p99.9", "max"]


def bench(directory, *options, code=0):
    """The JSON document and what was printed; what stands on standard error if it failed."""
    out = directory / "figures.json"
    done = subprocess.run([BIN / "deltaplane", "bench", "ingest", "--dir", directory / "work", "--json", out, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, (options, done.stdout, done.stderr)
    if code:
        return done.stderr
    assert list((directory / "work").iterdir()) == [], "what it wrote is removed"
    return json.loads(out.read_text()), done.stdout


def check(figures):
    """Keys and plausible values that every run has."""
    assert figures["benchmark"] == "ingest" and figures["version"] and figures["profile"] in ("debug", "release")
    assert figures["machine"]["cores"] >= 1 and figures["machine"]["os"] == sys.platform
    assert figures["rows"] == figures["batches"] * figures["options"]["batch_rows"] > 0
    assert 0 < figures["acked_seconds"] <= figures["committed_seconds"]
    for name, count, seconds in [("acked_rows", "rows", "acked"), ("acked_batches", "batches", "acked"), ("committed_rows", "rows", "committed")]:
        assert figures[f"{name}_per_second"] == pytest.approx(figures[count] / figures[f"{seconds}_seconds"])
    latency = figures["ack_latency_ns"]
    assert latency["count"] == figures["batches"] and latency["p50"] > 0
    times = [latency[p] for p in PERCENTILES]
    assert times == sorted(times) and times[-1] <= (figures["acked_seconds"] + 1) * 1e9
    row = figures["bytes_per_row"]
    assert row["log"] > 8 and row["parquet"] > 1 and row["delta_log"] > 0
    assert figures["log_groups"] * figures["log_group_bytes"] == pytest.approx(row["log"] * figures["rows"])
    assert 1 <= figures["log_groups"] and figures["commits"] >= 1 and figures["reconnects"] == 0
    raw = figures["raw"]
    assert raw["do_put"]["rows_per_second"] > 0 and raw["append_rows_per_second"] > 0
    for append in (raw["append"], raw["append_groups"]):
        assert append["bytes_per_second"] > 0 and append["group_bytes"] > 0
        assert 0 < append["fdatasync_ns"]["p50"] <= append["fdatasync_ns"]["p99"]
    assert raw["append_groups"]["group_bytes"] == int(figures["log_group_bytes"])
    if sys.platform == "linux":
        for side in ("server", "client"):
            assert figures[side]["cpu_seconds"] >= 0 and figures[side]["resident_bytes_max"] > 1_000_000
            assert figures[side]["cpu_ns_per_row"] == pytest.approx(figures[side]["cpu_seconds"] * 1e9 / figures["rows"])
        assert figures["server"]["resident_bytes"] <= figures["server"]["resident_bytes_max"]


def test_a_closed_loop_over_the_bundled_table(tmp_path):
    figures, printed = bench(tmp_path, "--rows", "20000")
    check(figures)
    options = figures["options"]
    assert (options["table"], options["columns"], options["rules"], options["loop"], options["ack"]) == ("reactor.raw", 7, None, "closed", "durable")
    assert figures["rows"] == 3 * 8192, "whole batches"
    assert figures["ack_latency_from"] == "sent" and figures["send_late_ns"] is None
    assert figures["acked_to_raw"] > 0
    for line in ["24576 rows of reactor.raw, batches of 8192, rules on", "raw DoPut, nothing done with it", "raw append + fdatasync, the same bytes", "deltaplane, acked durable",
                 "deltaplane, all of it in Delta", "durable / min(raw DoPut, raw disk)"]:
        assert line in printed, printed


def test_an_open_loop_counts_from_the_scheduled_time(tmp_path):
    figures, printed = bench(
        tmp_path, "--table", "doubles", "--doubles", "3", "--loop", "open", "--rate", "4000", "--batch-rows", "50", "--streams", "4", "--duration", "1500ms",
        "--warm-up", "300ms", "--unique", "--views", "5", "--rules", "6", "--set", "commit.interval=300ms", "--commit", "abc")
    check(figures)
    options = figures["options"]
    chosen = {"table": "bench.readings", "columns": 5, "doubles": 3, "rules": 6, "unique": True, "views": 5, "loop": "open", "rate_rows_per_second": 4000.0,
              "streams": 4, "window_batches": None, "duration_seconds": 1.5, "warm_up_seconds": 0.3, "rows": None, "settings": {"commit.interval": "300ms"}}
    assert {name: options[name] for name in chosen} == chosen and figures["commit"] == "abc"
    assert figures["rows"] == 6000, "what the schedule says, whatever the acks do"
    assert figures["ack_latency_from"] == "scheduled" and figures["acked_to_raw"] is None
    assert figures["send_late_ns"]["count"] == figures["batches"]
    assert all(figures["send_late_ns"][p] <= figures["ack_latency_ns"][p] for p in PERCENTILES), "a batch is sent before it is acked"
    # The last batch is due 12.5 ms before the end.
    assert figures["acked_seconds"] > 1.4
    assert figures["in_views_seconds"] >= figures["committed_seconds"]
    assert "ack latency, from the scheduled time" in printed and "sent behind its scheduled time" in printed


def test_streams_that_wait_for_commits(tmp_path):
    figures, _ = bench(tmp_path, "--table", "doubles", "--streams", "8", "--batch-rows", "8", "--ack", "committed", "--window", "2", "--duration", "700ms", "--rules", "0",
                       "--set", "commit.interval=100ms")
    check(figures)
    assert (figures["options"]["window_batches"], figures["options"]["ack"], figures["options"]["rules"]) == (2, "committed", 0)
    assert figures["batches"] >= 16, "each stream sends a window's batches"


@pytest.mark.parametrize("options, said", [
    (["--rate", "1000"], "--rate needs --loop open"),
    (["--streams", "0"], "'0' for '--streams"),
    (["--batch-rows", "400000"], "limits.batch_bytes_max = 16MiB"),
    (["--set", "commit.intervall=1s"], "no setting of this name"),
])
def test_bad_options_are_refused_before_anything_starts(tmp_path, options, said):
    code = 1 if "--set" in options else 2
    assert said in bench(tmp_path, *options, code=code)
    assert not (tmp_path / "work").exists() and not (tmp_path / "figures.json").exists()
