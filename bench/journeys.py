"""Two apps with data change hosts and forms eight times in a row, while a client writes to them.

Radicale, a container that a user has started, and Kinto with PostgreSQL, a compose project, run on
alpha. Each goes to another host and back until it has gone from each form to each form in both
directions, and is on alpha in containers again: image to image, image to disk, disk to disk, and
disk to image. The other host is beta (Debian 13), and in a second journey gamma (Debian testing,
whose Docker has the containerd image store).

A client uses the app's own protocol to write all the time, to whichever host answers, and notes
each acknowledgement: an event by CalDAV with its ETag, a record by HTTP with its id and revision.
After each leg, everything that was acknowledged since the journey began must be there, equal to
what was written and acknowledged, and nothing twice; the source must not have answered anything
since the target did; and, if the app is in containers, the owners and modes in a volume must be as
they were when the app was started. (In a VM, the app could not write otherwise.) `portkit forget
--delete` then removes what has stayed behind at the source, and nothing may be left there.

The bar is that this holds for each leg; a journey ends with the first leg that fails. The downtime
(longest time between two correct answers), the bytes sent and the duration of each leg are recorded
beside it: first those of the leg from alpha, then those of the leg to alpha. They decide nothing,
because the machine may do other work in the meantime, which an emulated processor shares. There is
no downtime where no answer of the source was seen before its stop (Kinto in a VM). By how many per
cent each leg was not as portkit had predicted it is recorded as well: the bytes, the seconds and
the downtime, as in bench/predictions.py. JOURNEYS is a
regular expression, such as `^kinto, gamma`, that selects the journeys to make.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import harness, hosts, predictions
from bench.projects import WRONG, Ground, told
from bench.stateful import APPS, UNANSWERED, Stateful, wrong
from bench.writer import Acknowledged, Address, Writer
from portkit import lab

NAME = "journeys"
HOME = hosts.SOURCE
OTHERS = ("beta", "gamma")
IMAGE, DISK = "image", "disk"
_FIRST = 100  # writes before the first leg
# All writes are read back after each leg, and Radicale looks at all events before it adds one: an
# emulated guest is to have time for it.
_PAUSE_S = 0.7
_PATIENCE_S = 300.0
_OWNERS = (
    "for v in $(docker volume ls -q | grep -v ^portkit-); do "
    "cd $(docker volume inspect -f '{{.Mountpoint}}' $v) && "
    "echo $v $(stat -c '%u:%g %a' .) && find . -printf '%y %U:%G %m\\n' | sort -u; done"
)
# All that an app could be in on a host.
_LEFT = (
    "docker ps -aq; docker volume ls -q; docker network ls -q --filter type=custom; "
    "virsh -q list --all --name"
)
_CLEAR = (
    "docker ps -aq | xargs -r docker rm -f; docker volume ls -q | xargs -r docker volume rm; "
    "for n in $(virsh -q list --all --name); do virsh destroy $n; virsh undefine --nvram $n; done; "
    "docker network prune -f; rm -rf /var/lib/portkit/moves /var/lib/portkit/instances"
)
_FORGET = "docker image prune -af; rm -rf /var/lib/portkit/store"


@dataclass(frozen=True)
class Leg:
    """From a form on a host to a form on another one."""

    source: str
    before: str
    target: str
    after: str

    def __str__(self) -> str:
        return f"{self.before} on {self.source} to {self.after} on {self.target}"

    @property
    def kind(self) -> str:
        """Whatever the hosts are."""
        return f"{self.before} to {self.after}"


def legs(other: str) -> list[Leg]:
    """Each form to each form in both directions, each leg from where the one before has ended."""
    forms = (IMAGE, IMAGE, DISK, DISK, IMAGE, DISK, DISK, IMAGE, IMAGE)
    places = itertools.cycle((HOME, other))
    stays = list(zip(places, forms, strict=False))
    return [Leg(*one, *two) for one, two in itertools.pairwise(stays)]


@dataclass(frozen=True)
class Journey:
    """An app, and the host that it goes to and fro."""

    app: str
    other: str

    def __str__(self) -> str:
        return f"{self.app}, {self.other}"


JOURNEYS = [Journey(app, other) for other in OTHERS for app in APPS]


@dataclass(frozen=True)
class Arrived:
    """What a leg has cost. down_s: by portkit's prober; None where the source did not answer it.
    compared: what portkit had predicted of it, with what came."""

    leg: Leg
    seconds: float
    down_s: float | None
    sent: int
    compared: Sequence[predictions.Json] = ()


@dataclass(frozen=True)
class Told:
    """What came of a journey so far. wrong: with the leg that was tried last; "" if nothing is."""

    journey: Journey
    arrived: tuple[Arrived, ...]
    writes: int
    wrong: str = ""

    def rows(self) -> list[harness.Row]:
        """As they stand in the results."""
        made, failed = float(len(self.arrived)), float(bool(self.wrong))
        rows = [
            harness.Row(f"{self.journey}: legs that went wrong", "", (failed,), limit=0),
            harness.Row(f"{self.journey}: legs that went well, of eight", "", (made,)),
            harness.Row(f"{self.journey}: writes acknowledged", "", (float(self.writes),)),
        ]
        for kind in dict.fromkeys(each.leg.kind for each in self.arrived):
            mine = [each for each in self.arrived if each.leg.kind == kind]
            mine.sort(key=lambda each: each.leg.source != HOME)
            figures = {
                ("downtime", "s"): [each.down_s for each in mine if each.down_s is not None],
                ("sent", "MB"): [each.sent / 1e6 for each in mine],
                ("duration", "s"): [each.seconds for each in mine],
            }
            rows += [
                harness.Row(f"{self.journey}, {kind}: {what}", unit, tuple(values))
                for (what, unit), values in figures.items()
                if values
            ]
        figures_of_all = (each.compared for each in self.arrived)
        return rows + predictions.errors(figures_of_all, f"a leg of {self.journey}", None)


def came_back(rows: Iterable[Acknowledged], leg: Leg) -> str:
    """Whether the source has answered after the target; of what ended since the leg began."""
    by_target = [row.ended for row in rows if row.host == leg.target]
    late = [row for row in rows if row.host == leg.source and row.began > min(by_target)]
    return f"the source answered after the target: {late[:3]}" if late else ""


def address(host: str, app: Stateful) -> Address:
    return lab.host(host).address, app.port


@dataclass
class Traveller:
    """An app on its way, with the client that writes to it."""

    ground: Ground
    app: Stateful
    other: str

    def go(self, journey: Journey) -> Iterator[Told]:
        """All legs, or those until one goes wrong; what is known after each."""
        arrived: list[Arrived] = []
        self.app.start(HOME)
        self._begin()
        addresses = {host: address(host, self.app) for host in (HOME, self.other)}
        writer = Writer(addresses, self.send, _PAUSE_S)
        for _ in range(_FIRST):
            writer.write(HOME, addresses[HOME])
        owners, found = hosts.on(HOME, _OWNERS), ""
        with writer:
            for leg in legs(self.other):
                try:
                    arrived.append(self._leg(leg, writer, owners))
                except (*WRONG, *UNANSWERED) as error:
                    found = f"{leg}: {told(error)}"
                yield Told(journey, tuple(arrived), len(writer.acknowledged()), found)
                if found:
                    return

    def send(self, where: Address, number: int) -> str:
        """One write; "" where nobody acknowledges it."""
        try:
            return self.app.write(where, number)
        except UNANSWERED:
            return ""

    def _begin(self) -> None:
        """Its collection is made as soon as it answers."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self.app.begin(address(HOME, self.app))
            except UNANSWERED:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _leg(self, leg: Leg, writer: Writer, owners: str) -> Arrived:
        """One Move, and what is to be seen after it."""
        if not writer.acknowledged_by(leg.source, _PATIENCE_S):
            raise AssertionError("nobody acknowledges a write at the source")
        what = self.app.running(leg.source) if leg.before == IMAGE else f"vm:{self.app.name}"
        words = ("--form", leg.after, "--from", f"lab:{leg.source}", "--to", f"lab:{leg.target}")
        began = time.monotonic()
        report = json.loads(self.ground.run("move", what, *words, "--output", "json"))
        ended = time.monotonic()
        if not writer.acknowledged_by(leg.target, _PATIENCE_S):
            raise AssertionError("nobody acknowledges a write on the target")
        since = [row for row in writer.acknowledged() if row.ended >= began]
        self._look(leg, writer, owners)
        if found := came_back(since, leg) or writer.both():
            raise AssertionError(found)
        self.ground.run("forget", report["move"], "--delete")
        if left := hosts.on(leg.source, _LEFT).split():
            raise AssertionError(f"at the source there is still {left}")
        return _arrived(report, leg, ended - began)

    def _look(self, leg: Leg, writer: Writer, owners: str) -> None:
        """The data on the target, by the app itself, and its owners, by the host."""
        known = writer.acknowledged()  # first: the client goes on
        if found := wrong(known, self.app.read(address(leg.target, self.app))):
            raise AssertionError(found)
        if leg.after == IMAGE and (now := hosts.on(leg.target, _OWNERS)) != owners:
            raise AssertionError(f"owners in the volumes: {now!r} instead of {owners!r}")


def _arrived(report: dict[str, Any], leg: Leg, seconds: float) -> Arrived:
    """Of the report. AssertionError if both sides answered the prober."""
    cutover = report["cutover"]
    if both := cutover["timeline"]["both_answered"]:
        raise AssertionError(f"both hosts answered portkit: {both}")
    sent = sum(each["transfer"]["sent_bytes"] for each in report["forms"])
    sent += sum(each["sent_bytes"] for each in cutover["volumes"])
    down_s = cutover["timeline"]["downtime_s"]
    return Arrived(leg, seconds, down_s, sent, predictions.compared(report))


def made(journey: Journey) -> Iterator[Told]:
    """A journey, to a host that has nothing of any app."""
    for host in (HOME, journey.other):
        hosts.on(host, _CLEAR)
    hosts.on(journey.other, _FORGET)
    with tempfile.TemporaryDirectory(prefix="portkit-journeys-") as folder:
        ground = Ground(Path(folder))
        yield from Traveller(ground, APPS[journey.app](), journey.other).go(journey)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the Move under way is ended, too
    wanted = os.environ.get("JOURNEYS", "")
    command = f"JOURNEYS='{wanted}' make bench-journeys" * bool(wanted)
    rows: dict[str, harness.Row] = {}
    with hosts.practice(HOME, *OTHERS):
        for journey in [each for each in JOURNEYS if re.search(wanted, str(each))]:
            for done in made(journey):
                last = done.wrong or done.arrived[-1]
                harness.tell(f"{journey}, {len(done.arrived)}, {done.writes} writes: {last}")
                rows |= {row.row: row for row in done.rows()}
                # A run that is cut keeps what it has.
                harness.save(NAME, list(rows.values()), command=command)
    return harness.finish(NAME, list(rows.values()), command=command)


if __name__ == "__main__":
    sys.exit(main())
