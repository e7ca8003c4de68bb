"""sqlline over the JDBC driver, in a terminal of its own: what a person types there, and what they read."""

import os
import pty
import re
import select
import signal
import subprocess
import time

from clients import COLUMNS, MISTAKE, NAMED, OLDER, TYPES, Client, absent
from clients.programs import CACHE, JAVA, JDBC_VERSIONS, ROOT

VERSION = (ROOT / "tests/java/sqlline-version").read_text().strip()
DRIVER = JDBC_VERSIONS[-1]
NO_VALUES = "SELECT id FROM lab.kinds WHERE id = ?;"


class SqlLine(Client):
    name = f"sqlline {VERSION} over JDBC {DRIVER}"

    def __init__(self, server, schema):
        super().__init__(server, schema)
        jars = f"{CACHE}/sqlline-{VERSION}-jar-with-dependencies.jar:{CACHE}/flight-sql-jdbc-driver-{DRIVER}.jar"
        self.terminal, child = pty.openpty()
        self.process = subprocess.Popen(
            [*JAVA, "-cp", jars, "sqlline.SqlLine", "-u", f"jdbc:arrow-flight-sql://127.0.0.1:{server.port}/?useEncryption=false",
             "-d", "org.apache.arrow.driver.jdbc.ArrowFlightJdbcDriver", "-n", "", "-p", "", "--outputformat=csv", f"--historyfile={server.directory.parent}/sqlline"],
            stdin=child, stdout=child, stderr=child, start_new_session=True, env=os.environ | {"TERM": "dumb", "LC_ALL": "C.UTF-8"})
        os.close(child)
        self.marks = 0

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def write(self, line):
        os.write(self.terminal, f"{line}\n".encode())

    def read_until(self, pattern):
        """What comes up to the line that `pattern` finds."""
        read, deadline = "", time.monotonic() + 60
        while not re.search(pattern, read, re.MULTILINE):
            assert time.monotonic() < deadline and self.process.poll() is None, read
            if select.select([self.terminal], [], [], 0.1)[0]:
                read += os.read(self.terminal, 100_000).decode(errors="replace").replace("\r", "")
        return read

    def type(self, *lines):
        """The lines of the answers, without prompts. What was typed may be among them."""
        self.marks += 1
        for line in (*lines, f"SELECT 'mark {self.marks}' AS mark;"):
            self.write(line)
        return [re.sub("^(0: jdbc:[^>]*> )+", "", line) for line in self.read_until(f"^'mark {self.marks}'$").splitlines()]

    def tree(self):
        answer = self.type("!schemas", "!tables", "!metadata getColumns deltaplane lab kinds %")
        assert "'lab','deltaplane'" in answer
        for table, kind in [("kinds", "TABLE"), ("seen", "VIEW")]:
            assert [line for line in answer if line.startswith(f"'deltaplane','lab','{table}','{kind}'")], answer
        columns = [line.split(",")[3].strip("'") for line in answer if re.match("'deltaplane','lab','kinds','[a-z]+',", line)]
        assert columns == COLUMNS

    def types(self):
        full, nulls = (line for line in self.type(f"{TYPES};") if line.startswith(("'1',", "'2',")))
        assert full.startswith("'1','-7','300','70000','true','0.5','0.25','ä''b',")
        assert full.endswith(",'2026-01-02','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','1234567890123456.7891'")
        assert set(nulls.split(",")[1:]) <= {"'null'", "''"}

    @absent("sqlline binds no values")
    def parameters(self):
        assert "parameter 1 has no value" in "\n".join(self.type(NO_VALUES))

    def changes(self):
        answer = self.type(f"CREATE TABLE {self.schema}.c (a BIGINT, b STRING);", f"INSERT INTO {self.schema}.c VALUES (1, 'x'), (2, 'y'), (3, 'z');",
                           f"UPDATE {self.schema}.c SET b = 'w' WHERE a > 1;", f"DELETE FROM {self.schema}.c WHERE a = 1;", f"SELECT * FROM {self.schema}.c ORDER BY a;")
        assert [line.split(" (")[0] for line in answer if "affected" in line] == ["No rows affected", "3 rows affected", "2 rows affected", "1 row affected"]
        assert "'2','w'" in answer and "'3','w'" in answer and "'1','x'" not in answer

    @absent("sqlline binds no values")
    def rows(self):
        assert "parameter 1 has no value" in "\n".join(self.type(NO_VALUES))

    @absent("sqlline has no command that loads data")
    def ingest(self):
        help = "\n".join(self.type("!help"))
        assert "!columns" in help.replace("\0", "") and not re.search("(?i)ingest|bulk|load data", help)

    @absent("the JDBC driver ignores `!autocommit off`, `!commit` and `!rollback`")
    def transactions(self):
        answer = self.type(f"CREATE TABLE {self.schema}.t (a BIGINT);", "!autocommit off", f"INSERT INTO {self.schema}.t VALUES (77);", "!rollback", f"SELECT a FROM {self.schema}.t;", "!autocommit on")
        assert [line for line in answer if line.startswith("Rollback complete")] and "'77'" in answer

    def cancel(self):
        self.write(f"{self.endless_count};")
        running = f"SELECT 1 FROM system.queries WHERE state = 'running' AND sql LIKE '%cancel {self.schema}%' AND sql NOT LIKE '%system.queries%'"
        deadline = time.monotonic() + 20
        while not self.server.sql(running):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.process.send_signal(signal.SIGINT)  # as Ctrl-C does
        self.read_until("Cancelling|ancell?ed")
        assert "'1'" in self.type("SELECT 1 AS one;"), "the session goes on"

    def errors(self):
        assert NAMED in "\n".join(self.type(f"{MISTAKE};"))

    def versions(self):
        assert "'1'" in self.type(f"{OLDER};")
