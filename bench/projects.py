"""Twelve compose projects of the usual shapes, each moved in both forms and used by a client.

A web application with its database; with a database and a cache; a worker with its queue, with and
without a web server and a migration; a proxy before two applications, with its configuration; a
proxy and a server in one network namespace; networks of which one is internal; a job whose volume
another service serves; a broker that does not use HTTP; profiles, env files, a common base and an
override; a service that does not run as root. The programs in them are PostgreSQL, MariaDB, Redis,
Memcached, WordPress, Kinto, Radicale, Mosquitto, nginx, Apache, HAProxy, gunicorn, RQ and
docker-registry.

Each goes from alpha to beta, which has no content of any app before, and a client uses each form.
The times are from the call that starts the App to its first correct answer; the VM's processor is
emulated, and a database creates its tables in that time. Each time is from a single run, whatever
else the machine did: the purpose is to show whether the projects work.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import sys
import tempfile
import time
import xmlrpc.client
from dataclasses import dataclass, field
from pathlib import Path

from bench import harness, hosts
from portkit import lab, process
from portkit.errors import PortkitError
from tests.integration import clients

NAME = "projects"
ROOT = Path(__file__).parents[1] / "fixtures"
FOLDERS = {
    **{name: ROOT / "apps" / name for name in clients.FIXTURES},
    **{name: ROOT / "projects" / name for name in (*clients.PROJECTS, "worker")},
}
_DONE = re.compile(r"did one, [1-9]\d* in all")
FORMS = ("disk", "image")  # in this order: the VM runs on after the Move
# What a client meets where an App is not as it should be.
WRONG = (
    AssertionError,
    OSError,
    ValueError,
    LookupError,
    http.client.HTTPException,
    xmlrpc.client.Error,
    PortkitError,
)


@dataclass(frozen=True)
class Outcome:
    """What came of one project. wrong: what a client, or portkit, found, by form."""

    project: str
    seconds: dict[str, float]
    sent: dict[str, int]
    wrong: dict[str, str] = field(default_factory=dict)

    def rows(self) -> list[harness.Row]:
        """As they stand in the results."""
        timed = [
            harness.Row(f"{self.project}, {form}: to the first answer", "s", (value,))
            for form, value in self.seconds.items()
        ]
        sent = [
            harness.Row(f"{self.project}, {form}: sent", "MB", (value / 1e6,))
            for form, value in self.sent.items()
        ]
        failed = harness.Row(
            f"{self.project}: forms it cannot be used in", "", (float(len(self.wrong)),), limit=0
        )
        return [*timed, *sent, failed]


@dataclass(frozen=True)
class Ground:
    """portkit as a program, with a Store and a journal of its own."""

    folder: Path

    def run(self, *words: str) -> str:
        argv = [sys.executable, "-c", "from portkit_cli.main import main; main()", *words]
        own = {name: value for name, value in os.environ.items() if name.startswith("PORTKIT_")}
        own |= {"PORTKIT_STORE": f"{self.folder}/store", "PORTKIT_STATE": f"{self.folder}/state"}
        own |= {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        return process.run(argv, env=own, timeout=1800).text


def play(ground: Ground, project: str) -> Outcome:
    """Move a project, use it in both forms, and remove it again."""
    hosts.clear()
    folder = str(FOLDERS[project])
    begun = ["move", folder, "--from", f"lab:{hosts.SOURCE}", "--to", f"lab:{hosts.TARGET}"]
    try:
        report = json.loads(ground.run(*begun, "--keep", "disk", "--output", "json"))
    except PortkitError as error:
        return Outcome(project, {}, {}, dict.fromkeys(FORMS, told(error)))
    found = {form: used(ground, project, form) for form in FORMS}
    ground.run("rm", "--yes", report["move"], "--on", f"lab:{hosts.TARGET}")
    return Outcome(
        project,
        {form["form"]: form["ttfr"]["from_boot_s"][0] for form in report["forms"]},
        {form["form"]: form["transfer"]["sent_bytes"] for form in report["forms"]},
        {form: said for form, said in found.items() if said},
    )


def used(ground: Ground, project: str, form: str) -> str:
    """What a client finds wrong with one form; "" if nothing."""
    there = ("--form", form, "--on", f"lab:{hosts.TARGET}")
    try:
        if form == "image":
            ground.run("measure", str(FOLDERS[project]), *there, "--repeat", "1")
        if project == "worker":  # it has no client; its log says what it does
            assert _DONE.search(ground.run("logs", project, project, *there)), "it does nothing"
        else:
            known = {**clients.FIXTURES, **clients.PROJECTS}
            known[project](lab.host(hosts.TARGET).address)()
    except WRONG as error:
        return told(error)
    finally:
        ground.run("stop", project, *there)
    return ""


def told(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:1500]


def main() -> int:
    wanted = os.environ.get("PROJECTS", "").split()
    command = f"PROJECTS='{' '.join(wanted)}' make bench-projects" * bool(wanted)
    outcomes, rows = [], list[harness.Row]()
    with hosts.ground(), tempfile.TemporaryDirectory(prefix="portkit-projects-") as name:
        ground = Ground(Path(name))
        for project in wanted or FOLDERS:
            begun = time.monotonic()
            outcomes.append(play(ground, project))
            seconds = time.monotonic() - begun
            harness.tell(f"{project}: {outcomes[-1].wrong or 'well'}, {seconds:.0f} s")
            rows = [row for each in outcomes for row in each.rows()]
            harness.save(NAME, rows, command=command)  # a run that is cut keeps what it has
    return harness.finish(NAME, rows, command=command)


if __name__ == "__main__":
    sys.exit(main())
