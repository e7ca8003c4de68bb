"""Alerts as their users meet them: a condition, a silence, a real receiver that answers badly, a server that is killed."""

import datetime as dt
import http.server
import json
import os
import subprocess
import threading
import time

import pyarrow as pa
import pytest
from conftest import BIN, Server

SILENT = pa.schema([("k", pa.string()), ("ts", pa.timestamp("us", "UTC")), ("x", pa.float64())])


class Receiver:
    """Takes what is posted; a path's `answers` are given in turn, the last one for ever."""

    def __init__(self):
        self.posts, self.answers, self.lock, self.release = [], {}, threading.Lock(), threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer.lock:
                    outer.posts.append((self.path, dict(self.headers.items()), body))
                    answers = outer.answers.setdefault(self.path, [200])
                    answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer == "hang":
                    outer.release.wait(60)
                    return
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "4")
                self.end_headers()
                self.wfile.write(b"why?")

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """A client that has gone away."""

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def of(self, path, alert=None):
        with self.lock:
            named = lambda body: body["groupLabels"]["alertname"] if isinstance(body, dict) else body[0]["labels"]["alertname"]
            return [(headers, body) for where, headers, body in self.posts if where == path and (alert is None or named(body) == alert)]

    def told(self, path, alert):
        """(room or key, status), in the order in which it was told."""
        return [(a["labels"].get("k"), a["status"]) for _, body in self.of(path, alert) for a in body["alerts"]]


class Alerting(Server):
    def __init__(self, directory, receiver, more="", **environment):
        super().__init__(directory, **environment)
        self.config = self.directory.parent / f"{self.directory.name}.toml"
        hooks = "".join(f'[alerts.webhooks.{name}]\nurl = "http://127.0.0.1:{receiver.port}/{name}"\n' for name in ["ops", "flaky", "later", "hang", "reject", "busy"])
        self.config.write_text('[alerts]\nwebhook_timeout = "1s"\nretry_max = "2s"\n' + hooks + more)

    def spawn(self):
        log = open(self.log_path, "ab")
        return subprocess.Popen(
            [BIN / "deltaplane", "serve", "--config", self.config, "--data-dir", self.directory, "--listen", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http}"],
            env=os.environ | self.environment, stdout=log, stderr=log)

    def states(self, alert):
        rows = self.sql(f"SELECT instance, state FROM system.alerts WHERE alert = '{alert}' ORDER BY instance")
        return {json.loads(r["instance"]).get("k") if r["instance"] else None: r["state"] for r in rows}

    def alert(self, alert, columns="*"):
        return self.sql(f"SELECT {columns} FROM system.alerts WHERE alert = '{alert}'")


def wait(what, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if got := what():
            return got
        time.sleep(0.05)
    raise AssertionError("did not happen in time")


def fails(server, statement):
    with pytest.raises(pa.ArrowException) as caught:
        server.sql(statement)
    return str(caught.value)


def temperatures(server, table):
    server.sql(f"CREATE TABLE t.{table} (k STRING, v DOUBLE)")
    server.sql(f"INSERT INTO t.{table} VALUES ('r1', 40.5), ('r2', 10.0)")


def readings(keys, when=None):
    now = time.time_ns() // 1000
    return pa.RecordBatch.from_pydict({"k": keys, "ts": pa.array([when or now] * len(keys), pa.timestamp("us", "UTC")), "x": [1.0] * len(keys)}, schema=SILENT)


def devices(server, table):
    server.sql(f"CREATE TABLE t.{table} (k STRING, ts TIMESTAMP, x DOUBLE) TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.systemColumns'='true')")


@pytest.fixture(scope="module")
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.release.set()


@pytest.fixture(scope="module")
def server(tmp_path_factory, receiver):
    server = Alerting(tmp_path_factory.mktemp("alerts") / "data", receiver).start()
    yield server
    server.stop()


def test_a_condition_fires_after_its_time_and_is_resolved(server, receiver):
    temperatures(server, "a")
    began = time.monotonic()
    server.sql("CREATE ALERT t.hot EVERY '1s' FOR '2s' BY (k) NOTIFY ops LABELS (severity = 'page') COMMENT '{k} is {v} degC' AS SELECT k, v FROM a WHERE v > 30")
    wait(lambda: server.states("hot") == {"r1": "pending"})
    assert not receiver.of("/ops", "hot")
    wait(lambda: server.states("hot") == {"r1": "firing"})
    assert time.monotonic() - began >= 2
    headers, body = wait(lambda: receiver.of("/ops", "hot"))[0]
    assert (body["version"], body["status"], body["receiver"], body["groupKey"]) == ("4", "firing", "ops", '{}:{alertname="hot", schema="t"}')
    (alert,) = body["alerts"]
    assert alert["labels"] == {"alertname": "hot", "schema": "t", "k": "r1", "severity": "page"}
    assert alert["annotations"] == {"v": "40.5", "summary": "r1 is 40.5 degC"}
    assert alert["endsAt"] == "0001-01-01T00:00:00Z" and headers["content-type"] == "application/json"
    began = dt.datetime.fromisoformat(alert["startsAt"])
    assert abs(dt.datetime.now(dt.timezone.utc) - began) < dt.timedelta(seconds=30)
    server.sql("UPDATE t.a SET v = 20 WHERE k = 'r1'")
    wait(lambda: server.states("hot") == {"r1": "resolved"})
    _, body = wait(lambda: receiver.of("/ops", "hot")[1:])[0]
    assert body["status"] == "resolved" and body["alerts"][0]["startsAt"] == alert["startsAt"] < body["alerts"][0]["endsAt"]
    assert body["alerts"][0]["fingerprint"] == alert["fingerprint"]
    row = wait(lambda: server.sql("SELECT * FROM system.alerts WHERE alert = 'hot' AND notifications_delivered = 2"))[0]
    assert row["resolved_at"] > row["fired_at"] and row["notifications_pending"] == row["notifications_failed"] == row["errors"] == 0
    assert json.loads(row["row_values"]) == {"v": 40.5} and row["last_error"] is None and row["evaluation_ms"] is not None
    # In condition for less than FOR: nothing is told.
    server.sql("UPDATE t.a SET v = 50 WHERE k = 'r2'")
    wait(lambda: server.states("hot").get("r2") == "pending")
    server.sql("UPDATE t.a SET v = 5 WHERE k = 'r2'")
    wait(lambda: server.states("hot") == {"r1": "resolved"})
    assert receiver.told("/ops", "hot") == [("r1", "firing"), ("r1", "resolved")]
    metrics = server.metrics()
    assert 'deltaplane_alert_notifications_total{webhook="ops",outcome="delivered"}' in metrics and "deltaplane_alerts_firing" in metrics


def metrics(self):
    import urllib.request
    return urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=5).read().decode()


Alerting.metrics = metrics


def test_one_silent_device_among_others_fires_and_comes_back(server, receiver):
    devices(server, "d")
    server.put("t.d", readings(["a", "b"]))
    # Its clock is 20 hours ahead: what it says of the time hides nothing.
    server.put("t.d", readings(["c"], when=(int(time.time()) + 72_000) * 1_000_000))
    server.sql("CREATE ALERT t.silent ON t.d BY (K) DEADMAN '3s' EVERY '1s' NOTIFY ops COMMENT '{k} is silent'")
    assert 'ON t.d BY ("k") DEADMAN \'3 seconds\'' in server.one("SHOW CREATE ALERT t.silent")

    def silent():
        server.put("t.d", readings(["a"]))
        return server.states("silent") == {"b": "firing", "c": "firing"}

    wait(silent)
    assert wait(lambda: receiver.told("/ops", "silent")) and {k for k, _ in receiver.told("/ops", "silent")} <= {"b", "c"}
    server.put("t.d", readings(["b"]))
    wait(lambda: server.put("t.d", readings(["a"])) and server.states("silent")["b"] == "resolved")
    wait(lambda: ("b", "resolved") in receiver.told("/ops", "silent"))
    assert server.states("silent") == {"b": "resolved", "c": "firing"}
    values = json.loads(server.alert("silent", "row_values")[0]["row_values"])
    assert values["last_row"].endswith("Z") and values["silent_seconds"] >= 0
    # What the alert reads is a table function of anyone's.
    seen = server.sql("SELECT k, _source, _seq, last_row FROM last_seen('t.d', 'k') WHERE k = 'c'")
    assert len(seen) == 1 and seen[0]["last_row"] < dt.datetime.now(dt.timezone.utc)
    # A gateway, by the name that it streams under.
    server.sql("CREATE ALERT t.gateway ON t.d BY (_source) DEADMAN '1h'")
    wait(lambda: server.alert("gateway", "last_evaluated")[0]["last_evaluated"])
    assert server.alert("gateway", "last_error")[0]["last_error"] is None
    server.sql("DROP ALERT t.silent")
    # What fires is over for receivers, too; then nothing is left.
    wait(lambda: ("c", "resolved") in receiver.told("/ops", "silent"))
    wait(lambda: server.alert("silent") == [])
    assert not (server.directory / "alerts/t.silent.alert").exists()


def test_receivers_that_answer_badly_disturb_nobody_and_get_it_in_the_end(server, receiver):
    temperatures(server, "b")
    receiver.answers |= {"/flaky": [500, 500, 200], "/hang": ["hang"], "/reject": [400], "/busy": [(429, {"retry-after": "2"}), 200]}
    condition = "AS SELECT k, v FROM b WHERE v > 30"
    server.sql(f"CREATE ALERT t.every EVERY '1s' BY (k) NOTIFY hang, flaky, reject, busy, ops {condition}")
    began = time.monotonic()
    wait(lambda: receiver.of("/ops", "every"))
    assert time.monotonic() - began < 3, "nobody waits for the one that hangs"
    wait(lambda: len(receiver.of("/busy")) == 2)
    assert time.monotonic() - began >= 2
    posts = wait(lambda: len(receiver.of("/flaky")) == 3 and receiver.of("/flaky"))
    assert len({h["idempotency-key"] for h, _ in posts}) == 1 and len({b["alerts"][0]["startsAt"] for _, b in posts}) == 1
    wait(lambda: len(receiver.of("/hang")) >= 2)
    row = wait(lambda: server.sql("SELECT * FROM system.alerts WHERE alert = 'every' AND notifications_delivered = 3"))[0]
    assert (row["state"], row["notifications_pending"], row["notifications_failed"]) == ("firing", 1, 1)
    assert "hang: tried again" in row["notify_error"] and "no answer in time" in row["notify_error"]
    assert "reject: not told again" in row["notify_error"] and "400 Bad Request: why?" in row["notify_error"]
    assert len(receiver.of("/reject")) == 1
    # What was not delivered before it was over is told as over, and the older news is not.
    server.sql("UPDATE t.b SET v = 0")
    wait(lambda: ("r1", "resolved") in receiver.told("/hang", "every"))
    # Each is told in its own time.
    wait(lambda: receiver.told("/flaky", "every")[-1] == ("r1", "resolved"))
    receiver.answers["/hang"] = [200]
    receiver.release.set()
    wait(lambda: server.alert("every", "notifications_pending")[0]["notifications_pending"] == 0)
    assert receiver.told("/hang", "every")[-1] == ("r1", "resolved")


def test_a_kill_forgets_nothing_and_fires_nothing_again(tmp_path, receiver):
    server = Alerting(tmp_path / "data", receiver).start()
    receiver.answers["/later"] = [503]
    try:
        temperatures(server, "c")
        devices(server, "e")
        server.put("t.e", readings(["a"]))
        server.sql("CREATE ALERT t.told EVERY '1s' BY (k) NOTIFY ops AS SELECT k, v FROM c WHERE v > 30")
        server.sql("CREATE ALERT t.untold EVERY '1s' BY (k) NOTIFY later AS SELECT k, v FROM c WHERE v > 30")
        server.sql("CREATE ALERT t.waits EVERY '1s' FOR '1h' BY (k) NOTIFY ops AS SELECT k, v FROM c WHERE v > 30")
        server.sql("CREATE ALERT t.dead ON t.e BY (k) DEADMAN '4s' EVERY '1s' NOTIFY ops")
        wait(lambda: server.alert("told", "notifications_delivered")[0]["notifications_delivered"] == 1)
        wait(lambda: receiver.of("/later", "untold") and server.states("waits") == {"r1": "pending"})
        before = {a: server.alert(a, "since, fired_at")[0] for a in ["told", "untold", "waits"]}
        for round in range(2):
            server.put("t.e", readings(["a"]))
            server.kill()
            # Longer than the deadman: the time for which the server was off is nobody's silence.
            time.sleep(4.5 if round else 0)
            server.start()
            assert {a: server.alert(a, "since, fired_at")[0] for a in before} == before
            wait(lambda: server.alert("told", "last_evaluated")[0]["last_evaluated"] is not None)
        tries = len(receiver.of("/later", "untold"))
        receiver.answers["/later"] = [200]
        wait(lambda: server.alert("untold", "notifications_delivered")[0]["notifications_delivered"] == 1)
        posts = receiver.of("/later", "untold")
        assert len(posts) == tries + 1 and len({h["idempotency-key"] for h, _ in posts}) == 1
        assert receiver.told("/ops", "told") == [("r1", "firing")] and not receiver.of("/ops", "waits")
        assert not receiver.of("/ops", "dead"), "it has sent nothing since the start, which is less than 4 seconds ago"
        wait(lambda: receiver.told("/ops", "dead") == [("a", "firing")])

        # A file that was damaged stops no server and no other alert.
        server.kill()
        path = server.directory / "alerts/t.waits.alert"
        path.write_bytes(path.read_bytes()[:-3])
        server.start()
        (row,) = server.alert("waits")
        assert row["state"] == "damaged" and "checksum mismatch" in row["last_error"] and "CREATE OR REPLACE ALERT t.waits" in row["last_error"]
        assert "t.waits.alert" in server.log() and "checksum mismatch" in fails(server, "CREATE ALERT t.waits AS SELECT 1")
        assert server.states("told") == {"r1": "firing"}
        server.sql("CREATE OR REPLACE ALERT t.waits EVERY '1s' FOR '1h' BY (k) AS SELECT k, v FROM c WHERE v > 30")
        wait(lambda: server.states("waits") == {"r1": "pending"})
        assert receiver.told("/ops", "told") == [("r1", "firing")]
        assert server.terminate() == 0
    finally:
        server.stop()


def test_what_cannot_be_evaluated_keeps_its_state_and_says_why(server, receiver):
    temperatures(server, "f")
    server.sql("CREATE ALERT t.kept EVERY '1s' BY (k) AS SELECT k, v FROM f WHERE v > 30")
    wait(lambda: server.states("kept") == {"r1": "firing"})
    # A table of the same name elsewhere is not it.
    server.sql("CREATE TABLE f (k STRING, v DOUBLE)")
    server.sql("DROP TABLE t.f")
    row = wait(lambda: server.sql("SELECT * FROM system.alerts WHERE alert = 'kept' AND errors >= 2"))[0]
    assert row["state"] == "firing" and "not there any more, table=t.f" in row["last_error"]
    assert "deltaplane_alerts_failing 1" in server.metrics()
    server.sql("CREATE TABLE t.f (k STRING, v DOUBLE)")
    wait(lambda: server.states("kept") == {"r1": "resolved"})
    assert server.alert("kept", "last_error")[0]["last_error"] is None
    # More than may be: an error, and again nothing is changed.
    many = "SELECT CAST(value AS VARCHAR) AS k FROM generate_series(1, 10001)"
    server.sql(f"CREATE ALERT t.many EVERY '1s' BY (k) AS {many}")
    row = wait(lambda: server.sql("SELECT * FROM system.alerts WHERE alert = 'many' AND errors > 0"))[0]
    assert row["state"] == "inactive" and "limit=10000" in row["last_error"] and "alerts.instances_max" in row["last_error"]
    server.sql("CREATE OR REPLACE ALERT t.many EVERY '1s' AS " + many + " ORDER BY value")
    wait(lambda: server.states("many") == {None: "firing"})
    assert json.loads(server.alert("many", "row_values")[0]["row_values"]) == {"k": "1"}
    server.sql("ALTER ALERT t.many PAUSE")
    assert server.alert("many", "state, paused") == [{"state": "resolved", "paused": True}]
    server.sql("ALTER ALERT t.many RESUME")
    wait(lambda: server.states("many") == {None: "firing"})
    assert "alert_exists" in fails(server, "CREATE ALERT T.Many AS SELECT 1")
    server.sql("CREATE ALERT IF NOT EXISTS t.many AS SELECT 1")
    server.sql("DROP ALERT t.many")
    server.sql("DROP ALERT IF EXISTS t.many")
    assert "no such alert, alert=t.many; alerts: t." in fails(server, "DROP ALERT t.many")


def test_bad_definitions_say_where_and_what_to_do(server):
    temperatures(server, "g")
    server.sql("CREATE TABLE t.plain (k STRING)")
    cases = {
        "CREATE ALERT t.x AS SELECT k, w FROM g WHERE v > 30": ["No field named w", "Line: 1, Column: 31"],
        "CREATE ALERT t.x\nAS SELECT k FROM nowhere": ["nowhere", "Line: 2, Column: 18"],
        "CREATE ALERT t.x BY (k, room)\nAS SELECT k FROM g": ["column=room at Line: 1, Column: 25", "it gives k", "select it too"],
        "CREATE ALERT t.x NOTIFY pagr AS SELECT k FROM g": ["webhook=pagr at Line: 1, Column: 25", "known: busy, flaky", "[alerts.webhooks.pagr]"],
        "CREATE ALERT t.x FOR 'soon' AS SELECT k FROM g": ["FOR 'soon'", "such as '5s'", "Line: 1, Column: 22"],
        "CREATE ALERT t.x EVERY '10ms' AS SELECT k FROM g": ["from 1 second to 1 day"],
        "CREATE ALERT t.x ON t.plain BY (k) DEADMAN '5s'": ["neither arrival nor event time", "deltaplane.systemColumns"],
        "CREATE ALERT t.x ON t.nowhere BY (k) DEADMAN '5s'": ["no such table", "t.plain"],
        "CREATE ALERT t.x ON t.g BY (room) DEADMAN '5s'": ["column=room", "columns: k, v", "Line: 1, Column: 29"],
        "CREATE ALERT t.x AS DELETE FROM g": ["is a SELECT, found DELETE"],
        "CREATE ALERT t.x AS INSERT INTO g SELECT * FROM g": ["is a SELECT, found INSERT"],
        "CREATE ALERT t.x AS SHOW TABLES": ["is a SELECT, found SHOW"],
        "CREATE ALERT t.x AS SELECT k FROM g WHERE v > ?": ["no parameters"],
        "CREATE ALERT t.x AS SELEC 1": ["Line: 1, Column: 21"],
        "CREATE ALERT t.x EVERY '5s'": ["AS and the alert's query"],
        "ALTER ALERT t.x SET DISABLED": ["PAUSE or RESUME"],
        "SHOW CREATE ALERT t.x": ["no such alert"],
    }
    for statement, words in cases.items():
        message = fails(server, statement)
        for word in words:
            assert word in message, f"{statement}: {message}"
    assert server.alert("x") == []


def test_alertmanager_hears_again_what_fires(tmp_path, receiver):
    more = f'''
[alerts.webhooks.am]
url = "http://127.0.0.1:{receiver.port}/api/v2/alerts?key=secret-in-the-url"
form = "alertmanager"
repeat = "1s"
bearer_token = "very-secret"
headers = {{ x-team = "also-secret" }}
'''
    server = Alerting(tmp_path / "data", receiver, more).start()
    path = "/api/v2/alerts?key=secret-in-the-url"
    try:
        shown = subprocess.run([BIN / "deltaplane", "config", "--config", server.config], capture_output=True, text=True, check=True).stdout
        assert "# [alerts.webhooks.am] url = http://127.0.0.1:" in shown and "repeat = 1s" in shown and "secret" not in shown
        temperatures(server, "i")
        server.sql("CREATE ALERT t.am EVERY '1s' BY (k) NOTIFY am AS SELECT k, v FROM i WHERE v > 30")
        posts = wait(lambda: len(receiver.of(path)) >= 3 and receiver.of(path))
        headers, ((alert),) = posts[0]
        assert headers["authorization"] == "Bearer very-secret" and headers["x-team"] == "also-secret"
        assert alert["labels"] == {"alertname": "am", "schema": "t", "k": "r1"} and set(alert) == {"labels", "annotations", "startsAt", "endsAt", "generatorURL"}
        assert dt.datetime.fromisoformat(alert["endsAt"]) > dt.datetime.now(dt.timezone.utc) - dt.timedelta(seconds=2)
        assert len({h["idempotency-key"] for h, _ in posts}) == len(posts)
        server.sql("UPDATE t.i SET v = 0")
        wait(lambda: receiver.of(path)[-1][1][0]["endsAt"] < dt.datetime.now(dt.timezone.utc).isoformat())
        receiver.answers[path] = [500]
        server.sql("UPDATE t.i SET v = 99")
        error = wait(lambda: server.sql("SELECT notify_error FROM system.alerts WHERE alert = 'am' AND notify_error IS NOT NULL"))[0]["notify_error"]
        assert "500" in error and "secret" not in error and "secret" not in server.log()
    finally:
        server.stop()


def test_a_datasets_alerts_are_planned_and_applied(server, receiver, tmp_path):
    toml = tmp_path / "dataset.toml"
    text = '''
dataset = "plant"
[[table]]
name = "raw"
event_time = "ts"
columns = [ { name = "k", type = "string" }, { name = "ts", type = "timestamp" }, { name = "x", type = "double" } ]
[[alert]]
name = "silent"
on = "raw"
by = ["k"]
deadman = "1h"
[[alert]]
name = "high"
for = "30s"
every = "5s"
by = ["k"]
notify = ["ops"]
labels = { severity = "page" }
comment = "it's high"
sql = """
SELECT k, x FROM raw
WHERE x > 5
"""
'''
    toml.write_text(text)
    plan = server.run("apply", str(toml), "--dry-run").stdout
    assert "CREATE ALERT plant.silent ON plant.raw BY (\"k\") DEADMAN '1 hour'" in plan and "COMMENT 'it''s high'\nAS SELECT k, x FROM raw" in plan
    done = server.run("apply", str(toml), "--yes").stdout
    assert "created plant.raw" in done and "created plant.silent" in done and "created plant.high" in done
    assert server.run("apply", str(toml), "--yes", check=False).returncode == 99
    toml.write_text(text.replace('for = "30s"', 'for = "1m"'))
    assert "replaced plant.high" in server.run("apply", str(toml), "--yes").stdout
    assert "FOR '1 minute'" in server.one("SHOW CREATE ALERT plant.high")
    for wrong, words in {'for = "soon"': "toml:12: alert=plant.high, for 'soon': not a span", 'deadman = "1h"': "either sql, or on"}.items():
        broken = text.replace('for = "30s"', wrong) if "for" in wrong else text.replace(wrong, "")
        toml.write_text(broken)
        assert words in server.run("apply", str(toml), "--yes", check=False).stderr
