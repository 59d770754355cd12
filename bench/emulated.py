"""How much slower an app for arm64 is on a host for amd64, as a container and in a VM.

The app is a static program of some KB, built for both architectures. It listens, does 200 million
steps of arithmetic and memory, has the kernel give and take pages 20,000 times, and prints how
long each took. It moves from beta to gamma, in turns as an image and as a disk for each
architecture. gamma has a handler of binfmt_misc (qemu-user) for the container for arm64. Without
KVM, QEMU emulates both VMs (qemu-system-aarch64 and qemu-system-x86_64), so their rows are compared
with the container for amd64 as well, whose program is not emulated. The first answer is that of a
TCP connection, as the report has it: from the call that starts the form.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench import binfmt, compat_apps, harness, hosts
from portkit import process
from portkit.model import Form

NAME = "emulated"
REPEAT = 3
STEPS, PORT = 200, 8098
SOURCE, TARGET = "beta", binfmt.HOST
PROGRAMS = {"amd64": "static", "arm64": "arm"}
_WORK = re.compile(r"work (\d+) us, kernel (\d+) us")
WHAT = ("the first answer", "arithmetic and memory", "the kernel's pages")
_PATIENCE_S = 120.0


def imported(architecture: str, folder: Path) -> Path:
    """The folder of the app for an architecture, whose image is in the source's engine."""
    image, where = f"emulated-{architecture}:1", folder / architecture
    data = compat_apps.tarred({"/app": compat_apps.program(PROGRAMS[architecture], folder)}, 0o755)
    command = f'CMD ["/app", "work", "{STEPS}"]'
    words = ["docker", "import", "--platform", f"linux/{architecture}", "--change", command]
    process.run([*hosts.ssh(SOURCE), shlex.join([*words, "-", image])], input=data, timeout=300)
    where.mkdir()
    (where / "compose.yaml").write_text(
        f"services:\n  work:\n    image: {image}\n    ports: ['{PORT}:80']\n"
        "    x-portkit: {memory: 256m, health: {scheme: tcp}}\n"
    )
    return where


def moved(app: Path, form: Form, env: Mapping[str, str]) -> tuple[float, ...]:
    """Seconds until the first answer, of the work, and of what the kernel did."""

    def portkit(*words: str) -> str:
        argv = [sys.executable, "-c", "from portkit_cli.main import main; main()", *words]
        return process.run(argv, env=env, timeout=1800).text

    on = ("--on", f"lab:{TARGET}")
    words = ("--from", f"lab:{SOURCE}", "--to", f"lab:{TARGET}", "--form", form.value)
    report: Any = json.loads(portkit("move", str(app), *words, "--output", "json"))
    try:
        end = time.monotonic() + _PATIENCE_S
        while not (said := _WORK.search(portkit("logs", report["move"], *on))):
            assert time.monotonic() < end, "the work has no end"
            time.sleep(1)
        worked = (int(text) / 1e6 for text in said.groups())
        return report["forms"][0]["ttfr"]["from_boot_s"][0], *worked
    finally:
        portkit("rm", "--yes", report["move"], *on)


def rows(found: Mapping[tuple[str, Form], tuple[tuple[float, ...], ...]]) -> list[harness.Row]:
    """Of each architecture and form, the seconds of each run."""
    named = {Form.IMAGE: "container", Form.DISK: "VM"}

    def row(name: str, ours: tuple[str, Form], peer: tuple[str, Form], at: int) -> harness.Row:
        mine, theirs = ([run[at] for run in found[each]] for each in (ours, peer))
        return harness.Row(name, "s", tuple(mine), tuple(theirs))

    same = [
        row(f"{named[form]}, arm64 against amd64: {what}", ("arm64", form), ("amd64", form), at)
        for form in Form
        for at, what in enumerate(WHAT)
    ]
    native = ("amd64", Form.IMAGE)
    return same + [
        row(f"VM, {each}, against container, amd64: {WHAT[at]}", (each, Form.DISK), native, at)
        for each in PROGRAMS
        for at in (1, 2)
    ]


def main() -> int:
    with ExitStack() as stack:
        stack.enter_context(hosts.practice(hosts.SOURCE, SOURCE, TARGET))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        stack.enter_context(compat_apps.handler("F")(TARGET))
        apps = {name: imported(name, folder) for name in PROGRAMS}
        env = hosts.environment(folder)
        names = {f"{name}, {form}": (name, form) for name in PROGRAMS for form in Form}
        done = harness.turns(
            {label: partial(moved, apps[name], form, env) for label, (name, form) in names.items()},
            REPEAT,
        )
        return harness.finish(NAME, rows({names[label]: runs for label, runs in done.items()}))


if __name__ == "__main__":
    sys.exit(main())
