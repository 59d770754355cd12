"""The portkit command as a user types it, and what it did on the hosts of the lab."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.decoys import beside
from bench.subjects import project
from portkit import lab as lab_room
from portkit import process
from portkit.lab import Lab

ROOT = Path(__file__).parents[2]
PORTKIT = ROOT / ".venv/bin/portkit"
# On a host of the lab: a real compose.
HAVE_COMPOSE = (
    "docker-compose version > /dev/null 2>&1 || "
    "{ apt-get -q update && apt-get -q -y install --no-install-recommends docker-compose; } >&2"
)
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())


def on(lab: Lab, name: str, command: str, *, check: bool = True) -> str:
    argv = ["ssh", "-F", lab.ssh_config, f"lab-{name}", command]
    return process.run(argv, check=check).text


def told(store: Path) -> dict[str, str]:
    """What the command is to know of our environment: the Store, the journal, and which lab."""
    own = {name: value for name, value in os.environ.items() if name.startswith("PORTKIT_")}
    # Where Python itself is ended by a signal, every thread's place is printed.
    return {**own, "PORTKIT_STORE": str(store), "PYTHONFAULTHANDLER": "1"}


def portkit(*words: str, store: Path, check: bool = True) -> process.Completed:
    return process.run([PORTKIT, *words], env=told(store), check=check, timeout=1200)


def ours(lab: Lab, name: str) -> str:
    """Everything on a host that carries portkit's name."""
    return on(
        lab,
        name,
        "for what in 'ps -a' 'volume ls'; do docker $what -q --filter label=portkit.move; done;"
        " docker images -q portkit/held; virsh -q list --all --name | grep portkit;"
        " ls /var/lib/portkit/store/tmp /var/lib/portkit/store/blobs/sha256"
        " /var/lib/portkit/instances/* | grep -v :",
        check=False,
    ).strip()


@contextmanager
def moved(app: str | Path, target: str, store: Path, *more: str) -> Iterator[dict[str, Any]]:
    """The report of a Move from alpha; what it left running is removed at the end."""
    folder = app if isinstance(app, Path) else ROOT / "fixtures/apps" / app
    words = ("move", str(folder), "--from", "lab:alpha", "--to", f"lab:{target}")
    report = json.loads(portkit(*words, "--output", "json", *more, store=store).text)
    try:
        yield report
    finally:
        portkit("rm", "--yes", report["move"], "--on", f"lab:{target}", store=store)


@contextmanager
def machine(
    name: str,
    service: Mapping[str, object],
    host: str,
    *,
    folder: Path,
    store: Path,
    restarted: bool = False,
) -> Iterator[str]:
    """The id of a VM that portkit made on a host, with decoys beside it. service: as of
    `bench.subjects.project`. restarted: whether a host is restarted meanwhile."""
    (folder / "compose.yaml").write_text(project(name, service))
    words = ("--form", "disk", "--from", "lab:alpha", "--to", f"lab:{host}", "--output", "json")
    move = json.loads(portkit("move", str(folder), *words, store=store).text)["move"]
    try:
        with beside(name, restarted=restarted):
            yield move
    finally:
        portkit("rm", "--yes", "--data", move, "--on", f"lab:{host}", store=store)


def ask(
    url: str,
    method: str = "GET",
    data: bytes | None = None,
    *,
    patience: float = 10.0,
    **headers: str,
) -> bytes:
    asked = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=patience) as answer:
        return bytes(answer.read())


def statuses(target: str, move: str, store: Path) -> dict[str, str]:
    rows = json.loads(portkit("ps", "--on", f"lab:{target}", "--output", "json", store=store).text)
    return {row["form"]: row["status"] for row in rows if row["id"] == move}


def wait_for(url: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            ask(url)
            return
        except OSError:
            assert time.monotonic() < deadline, f"{url} did not answer"
            time.sleep(0.2)


def services(target: str, move: str, form: str, store: Path) -> dict[str, str]:
    """What portkit ps says of each service: its status, and its health or exit code."""
    rows = json.loads(portkit("ps", "--on", f"lab:{target}", "--output", "json", store=store).text)
    (row,) = (row for row in rows if (row["id"], row["form"]) == (move, form))
    return {
        each["name"]: f"{each['status']} {each['health'] or each['exit_code'] or ''}".strip()
        for each in row["services"]
    }


SLEEP = "    command: [sleep, '99']\n"
PUBLISHED = "    ports: ['8099:80']\n"


def write_app(folder: Path, lines: str) -> Path:
    """The folder of an App with one service, of these lines of its compose file."""
    folder.mkdir()
    (folder / "compose.yaml").write_text(
        f"services:\n  bad:\n    image: debian:bookworm-slim\n{lines}"
    )
    return folder


def without_base(lab: Lab, name: str) -> None:
    """A host has no Debian image: a Move gives it the name that its App knows it by, which stays
    when the App is removed."""
    on(lab, name, "docker rmi debian:bookworm-slim", check=False)


# They are started with their host: when they run, all that would start by itself does. A host
# without a Debian image has no container among them.
_WITNESSES = """
image=$(docker images -q debian:bookworm-slim)
if [ "$image" ]; then docker run -d --restart always --name witness $image sleep infinity; fi
printf "<domain type='qemu'><name>witness</name><memory unit='MiB'>32</memory><os>\
<type arch='x86_64' machine='q35'>hvm</type></os></domain>" | virsh define /dev/stdin
virsh autostart witness
"""


def restarted(lab: Lab, name: str) -> None:
    """A host of the lab has been rebooted, and its engines have started all that they would."""
    on(lab, name, _WITNESSES)
    lab_room.reboot(name)
    try:
        containers = "docker ps -a --filter name=^witness$ --format '{{.State}}'"
        wanted = ["running"] * (1 + len(on(lab, name, containers).split()))
        deadline = time.monotonic() + 120
        while on(lab, name, f"{containers}; virsh domstate witness", check=False).split() != wanted:
            assert time.monotonic() < deadline, "the engines did not start what they were to"
            time.sleep(0.5)
    finally:
        gone = "docker rm -f witness; virsh destroy witness; virsh undefine witness"
        on(lab, name, gone, check=False)
