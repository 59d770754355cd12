"""The rounds of bench-cutover: what fails, at which point of a step, and how the Move is ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench import hosts

POINTS = ("begun", "worked", "recorded")
ENDINGS = ("resume", "rollback")
_LAST = ("verify source", "commit", "release")
STEPS = {
    "container": (
        "create image",
        "presync",
        "fence",
        "stop",
        "last layer",
        "last sync",
        "boot image",
        *_LAST,
    ),
    # Of a Move that waits twice, replaces a volume, and runs commands of the user's.
    "asked": (
        "reserve",
        "volumes",
        "transfer image",
        "wait",
        "quiesce",
        "unquiesce",
        "confirm",
        "hook 1",
    ),
    "vm": ("create disk", "presync", "fence", "stop", "last sync", "boot disk", *_LAST),
}
ENGINES = {"container": "dockerd", "vm": "libvirtd"}
REBOOTS = ("reboot alpha", "reboot beta", "kill+reboot alpha", "kill+reboot beta")
# Where hosts are rebooted: when the work of these is done and not recorded yet.
REBOOTED = ("stop", "last sync", "boot image", "boot disk", "commit")
PORTKIT = [sys.executable, "-c", "from portkit_cli.main import main; main()"]


@dataclass(frozen=True)
class Round:
    """What happens at which point of a step, and the command that ends the Move. fault: "kill" of
    portkit, or WHAT HOST, where WHAT is cut, an engine that is killed, reboot or kill+reboot.
    subject: a key of SUBJECTS."""

    step: str
    point: str
    ending: str
    fault: str = "kill"
    subject: str = "container"

    def __str__(self) -> str:
        return f"{self.subject}: {self.step}, {self.point}, {self.fault}, then {self.ending}"

    def statement(self) -> str:
        """What the process of the Move does at the point, in Python."""
        what, _, host = self.fault.partition(" ")
        kill = "import os; os.kill(os.getpid(), 9)"
        match what:
            case "kill":
                return kill
            case "dockerd" | "libvirtd":
                return f"process.run({[*hosts.ssh(host), f'kill -9 $(pidof {what})']})"
            case "kill+reboot":
                return f"lab.reboot({host!r}); {kill}"
            case _:
                return f"lab.{what}({host!r})"


def kills(subject: str = "container") -> list[Round]:
    """portkit is killed at every point of every step, with both endings."""
    return [
        Round(step, point, ending, subject=subject)
        for step in STEPS[subject]
        for point in POINTS
        for ending in ENDINGS
    ]


def faults(subject: str = "container") -> list[Round]:
    """A link is cut, or the target's engine is killed, at every point; both endings in turns."""
    what = ("cut alpha", "cut beta", f"{ENGINES[subject]} beta")
    places = [(each, step, point) for each in what for step in STEPS[subject] for point in POINTS]
    return _in_turns(places, subject)


def reboots(subject: str = "container") -> list[Round]:
    """A host is rebooted at some points, with both endings in turns."""
    steps = [step for step in STEPS[subject] if step in REBOOTED]
    return _in_turns([(each, step, "worked") for step in steps for each in REBOOTS], subject)


def _in_turns(places: Sequence[tuple[str, str, str]], subject: str) -> list[Round]:
    return [
        Round(step, point, ENDINGS[number % 2], fault, subject)
        for number, (fault, step, point) in enumerate(places)
    ]


CAMPAIGNS = {
    "portkit killed": kills(),
    "a link cut, or dockerd killed": faults(),
    "a host rebooted": reboots(),
    "a Move with all that a user can ask for: portkit killed": kills("asked"),
    "a VM: portkit killed": kills("vm"),
    "a VM: a link cut, or libvirtd killed": faults("vm"),
    "a VM: a host rebooted": reboots("vm"),
}
