"""Clients of other languages: a program that prints a line for each capability, started once for each client."""

import os
import pathlib
import re
import subprocess

import pytest

from clients import CAPABILITIES, Client, absent

ROOT = pathlib.Path(__file__).resolve().parents[3]
CACHE = pathlib.Path(os.environ.get("DELTAPLANE_JDBC_DIR", pathlib.Path.home() / ".cache/deltaplane-tests"))
JDBC_VERSIONS = (ROOT / "tests/java/driver-versions").read_text().split()
# The JDBC driver shifts times in any other zone, as docs/clients.md says.
JAVA = ["java", "-Duser.timezone=UTC", "-XX:TieredStopAtLevel=1", "--add-opens=java.base/java.nio=ALL-UNNAMED"]


def jdbc_program(version, program, *arguments):
    """The command that runs a program of tests/java with the driver of that version."""
    return [*JAVA, "-cp", CACHE / f"flight-sql-jdbc-driver-{version}.jar", ROOT / f"tests/java/{program}.java", *arguments]


def pinned(file, before):
    """The version that stands in the file behind `before`."""
    return re.search(re.escape(before) + r"([\d.]+)", (ROOT / file).read_text())[1]


class Program(Client):
    """`command` prints for each capability "yes NAME", "no NAME" where the client was shown not to have it, or "broken NAME: why"."""

    def __init__(self, server, schema):
        super().__init__(server, schema)
        done = subprocess.run(self.command(), capture_output=True, text=True, timeout=300)
        self.output = done.stdout + done.stderr
        self.lines = {line.split()[1].rstrip(":"): line for line in done.stdout.splitlines() if line.split(" ")[0] in ("yes", "no", "broken")}

    def command(self):
        raise NotImplementedError

    def says(self, answer, capability):
        assert self.lines.get(capability) == f"{answer} {capability}", self.lines.get(capability, self.output)


def cells(**absences):
    """Gives a class of Program its methods. `absences`: why the client lacks which capability."""
    def fill(kind):
        for capability in CAPABILITIES:
            def method(self, capability=capability, answer="no" if capability in absences else "yes"):
                self.says(answer, capability)
            setattr(kind, capability, absent(absences[capability])(method) if capability in absences else method)
        return kind
    return fill


def jdbc(version):
    @cells(ingest="JDBC has no bulk ingest; `addBatch` sends many rows at once", transactions="the driver ignores `setAutoCommit`, `commit` and `rollback`")
    class Jdbc(Program):
        extra = ["zones"]

        def command(self):
            url = f"jdbc:arrow-flight-sql://127.0.0.1:{self.server.port}/?useEncryption=false"
            return jdbc_program(version, "JdbcTable", url, self.schema)

        def zones(self):
            self.says("yes", "zones")

    Jdbc.name = f"JDBC {version}"
    Jdbc.__name__ = "Jdbc" + version.replace(".", "")
    return Jdbc


ADBC_JAVA = pinned("tests/java/adbc/pom.xml", "<artifactId>adbc-driver-flight-sql</artifactId>\n      <version>")


@cells(transactions="the driver refuses `setAutoCommit(false)`", cancel="the driver has no `cancel`")
class AdbcJava(Program):
    name = f"ADBC Java {ADBC_JAVA}"

    def command(self):
        return [*JAVA, "-cp", f"{CACHE}/adbc-java-{ADBC_JAVA}/*", ROOT / "tests/java/AdbcTable.java", f"grpc+tcp://127.0.0.1:{self.server.port}", self.schema]


@cells()
class ArrowGo(Program):
    """Built by tests/run, where Go is installed."""
    name = f"arrow-go {pinned('tests/go/go.mod', 'arrow-go/v18 v')}, with Grafana's calls"
    extra = ["grafana"]

    def command(self):
        if not (program := os.environ.get("DELTAPLANE_GO_CLIENT")):
            pytest.skip("DELTAPLANE_GO_CLIENT names no program; tests/run builds it where Go 1.25 is installed")
        return [program, f"127.0.0.1:{self.server.port}", self.schema]

    def grafana(self):
        self.says("yes", "grafana")


@cells(parameters="Superset writes values into the text", rows="Superset prepares no statements", transactions="flightsql-dbapi begins none",
       ingest="an upload fails in flightsql-dbapi, which closes a cursor that pandas still reads", cancel="flightsql-dbapi has no call that ends a query")
class Superset(Program):
    """Without its web server. In an environment of its own, since it needs older packages."""
    name = f"Superset {pinned('tests/superset/requirements.txt', 'apache_superset==')} over flightsql-dbapi"

    def command(self):
        if not (python := os.environ.get("DELTAPLANE_SUPERSET_PYTHON")):
            pytest.skip("DELTAPLANE_SUPERSET_PYTHON names no interpreter; tests/run makes it where DELTAPLANE_TEST_SUPERSET=1 is set")
        home = self.server.directory.parent / "superset"
        home.mkdir()
        return ["env", f"PYTHONPATH={ROOT}/tests/python", python, "-W", "ignore", ROOT / "tests/superset/check.py", str(self.server.port), self.schema, home]


JDBC = [jdbc(version) for version in JDBC_VERSIONS]
