"""What `portkit check` costs, and that it leaves a host unchanged.

The app is radicale on a Python base, an image of 400 MB, built on alpha (Debian 12) and checked for
beta (Debian 13) in both forms. Its image is already in the Store of this machine, as after any
`pack` or `move`; the first check is one with --fresh, which uses nothing that an earlier check
kept. The seconds are those of the whole command, from its start to its end: loading portkit, both
connections, reading the image's needs, and everything that is read from the host.

The needs are read in the same way as `check` reads them, in a separate process: the rows show the
seconds of the reading alone, and the highest resident memory of the whole process (VmHWM), Python
and portkit included.

Changes on the host are entries that exist after all the checks and did not exist before, or the
other way round: each file with its size, mode and time of change, each folder with its mode, each
image, container, volume and network of Docker and libvirt, and each domain. To find out what
changes when somebody logs in and does nothing (journals, login sessions), the benchmark does that
first, and leaves these entries out; a separate row says how many they are.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import harness, hosts, sent
from portkit import process
from portkit.store import Store

NAME = "check"
REPEAT = 5
SECONDS, READING_S, READING_MIB = 3.0, 5.0, 256.0
LINES = 5000  # of the state of a host: a small Debian with engines has some ten thousand files
# Its image is named by its id, so that no check builds anything.
_COMPOSE = """\
services:
  radicale:
    image: "{image}"
    ports: ["8097:5232"]
    x-portkit: {{memory: 384m, health: {{path: /.web/}}}}
"""
_READ = """\
import json, sys, time
from pathlib import Path
from portkit import app, image_config, needs
from portkit.store import Store

store, digest = Store(Path(sys.argv[1])), sys.argv[2]
image = image_config.parse_image_config(store.read_bytes(digest, 1 << 20))
begun = time.monotonic()
(found,) = needs.of_services(store, [image], [app.defaults(image)]).values()
seconds = time.monotonic() - begun
status = Path("/proc/self/status").read_text()
print(json.dumps({"seconds": seconds, "binaries": len(found.binaries), "status": status}))
"""
_STATE = """\
find / \\( -path /proc -o -path /sys \\) -prune -o -type d -printf 'folder %p %m\\n' \\
  -o -printf '%y %p %m %s %C@\\n'
docker image ls -a --no-trunc --format 'image {{.ID}} {{.Repository}} {{.Tag}}'
docker ps -a --no-trunc --format 'container {{.ID}} {{.State}}'
docker volume ls --format 'volume {{.Name}}'
docker network ls --no-trunc --format 'network {{.ID}} {{.Name}}'
virsh -q list --all; virsh -q net-list --all; virsh -q pool-list --all
"""
_NUMBER = re.compile(r"\d+")


def state(name: str) -> frozenset[str]:
    """What is on a host, a line for each thing."""
    # A process or a session may end while find looks at its files: its exit code is no news.
    lines = frozenset(hosts.on(name, f"{{ {_STATE} }} 2>/dev/null || true").splitlines())
    assert len(lines) >= LINES, f"{len(lines)} lines are not the state of a host"
    return lines


def changed(before: frozenset[str], after: frozenset[str]) -> set[str]:
    """The names of what is there once only, or otherwise; numbers in them are of no account."""
    return {_NUMBER.sub("0", " ".join(line.split()[:2])) for line in before ^ after}


def check(folder: Path, env: dict[str, str], *more: str) -> float:
    """Seconds of one `portkit check`, which has to judge both forms."""
    words = ["check", str(folder), "--from", f"lab:{hosts.SOURCE}", "--on", f"lab:{hosts.TARGET}"]
    begin = "from portkit_cli.main import main; main()"
    argv = [sys.executable, "-c", begin, *words, *more, "--output", "json"]
    argv += ["--progress", "quiet"]
    begun = time.monotonic()
    done = process.run(argv, env=env, timeout=600)
    seconds = time.monotonic() - begun
    verdicts = {cell["form"]: cell["verdict"] for cell in json.loads(done.stdout)["cells"]}
    assert verdicts["image"] == "native" and verdicts["disk"] in ("native", "emulated"), verdicts
    return seconds


def reading(store: Store, digest: str) -> dict[str, float]:
    """Seconds and MiB of one reading of the image's needs."""
    argv = [sys.executable, "-c", _READ, str(store.root), digest]
    told: dict[str, Any] = json.loads(process.run(argv, timeout=600).stdout)
    assert told["binaries"] > 1, "the program and its libraries"
    peak = harness.kib(told["status"], "VmHWM")
    assert peak, f"no peak memory in {told['status']!r}"
    return {"s": told["seconds"], "MiB": peak / 1024}


def checks(folder: Path, env: dict[str, str]) -> list[harness.Row]:
    """The rows of the commands, and of what they leave behind."""
    start = state(hosts.TARGET)
    for _ in range(3):
        hosts.on(hosts.TARGET, "true")
        time.sleep(5)
    before = state(hosts.TARGET)
    usual = changed(start, before)
    first = check(folder, env, "--fresh")
    after = harness.turns({"check, after the first": lambda: check(folder, env)}, REPEAT)
    left = changed(before, state(hosts.TARGET)) - usual
    harness.tell(f"changed: {sorted(left)}; by a login: {sorted(usual)}")
    return [
        harness.Row("portkit check, the first of a host", "s", (first,)),
        harness.Row("portkit check, after it", "s", *after.values(), limit=SECONDS),
        harness.Row("changes on the host", "entries", (float(len(left)),), limit=0.0),
        harness.Row("changes on the host by a login", "entries", (float(len(usual)),)),
    ]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="portkit-check-") as name, hosts.practice():
        folder = Path(name)
        store = Store(Path(os.environ.get("PORTKIT_STORE", folder / "store")))
        reference, image = sent.picture(store, "radicale")
        size = image.logical_bytes / 1e6
        harness.tell(f"the image has {size:.0f} MB")
        (folder / "app").mkdir()
        (folder / "app/compose.yaml").write_text(_COMPOSE.format(image=reference))
        env = {
            "PORTKIT_STATE": str(folder / "state"),
            "PORTKIT_STORE": str(store.root),
            **{n: v for n, v in os.environ.items() if n.startswith(("PORTKIT_LAB", "PYTHONPATH"))},
        }
        rows = checks(folder / "app", env)
        runs = harness.turns({"needs": lambda: reading(store, image.images[0].digest)}, REPEAT)
    for unit, limit in (("s", READING_S), ("MiB", READING_MIB)):
        values = tuple(each[unit] for each in runs["needs"])
        what = "time" if unit == "s" else "peak memory"
        title = f"reading the needs of an image of 400 MB, {what}"
        rows.append(harness.Row(title, unit, values, limit=limit))
    return harness.finish(NAME, rows)


if __name__ == "__main__":
    sys.exit(main())
