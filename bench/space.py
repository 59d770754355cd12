"""A running App changes its host, and a disk is full: the target's, the source's, or portkit's own.

The App, a container or a VM, its client and its decoys are those of bench-cutover. /var/lib/docker
and /var/lib/portkit of each host are on one file system in memory, and the journal and the Store of
the machine that makes the Move are on two more. When a step begins, one of them is left with a
given amount of free space and no more. The limit is lifted only when the Move, and `portkit
rollback` if the Move waits, have ended. (For the journal it is lifted before the rollback.) The
space that the App itself needs is left free: on the target after its start there; at the source its
data is on another file system.

A round ends as it should if the Move ended, either way, with one side serving, and the two sides
never both answered; if, after a Move that failed, no client waited for longer than the App takes to
start at its source plus five seconds, and the target has as much free space as before, within a
MiB; and if every acknowledged write is there. Ours is the number of rounds that did not; the bar is
none. ROUNDS is a regular expression that selects the rounds to play; without it, the rounds are
played that are not yet recorded for the current code.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import cutover, cutover_rounds, harness, hosts
from bench.campaign import campaign, wanted
from bench.record import Record
from bench.subjects import Container
from bench.writer import Writer
from portkit import lab, process
from portkit.move.journal import MoveState

NAME = "space"
_MIB = 1 << 20
_DOCKER, _OWN = "/var/lib/docker", "/var/lib/portkit"
# More than the image, its archive and the volume take; each is memory.
_SIZE_MIB = 1024
_MORE_S = 5.0  # than the App takes to start
_LEFT_BYTES = _MIB
_VOLUME_MIB = 8
# Bytes that are left of a file system, from when a step begins.
PLACES: dict[str, dict[str, dict[str, tuple[int, ...]]]] = {
    "container": {
        "beta": {
            "reserve": (0, 512 << 10),
            "transfer image": (0, 8 * _MIB, 64 * _MIB, 100 * _MIB),
            "create image": (0, 8192),
            "presync": (0, _MIB, 5 * _MIB),
            "last sync": (0, 65536),
            "boot image": (65536,),
            "verify source": (65536,),
            "commit": (65536,),
            "release": (65536,),
        },
        "alpha": {
            "reserve": (0, 65536),
            "transfer image": (0, _MIB),
            "create image": (0,),
            "presync": (0, 4096),
            "fence": (0, 4096),
            "stop": (0, 4096),
            "last layer": (0,),
            "last sync": (0,),
            "boot image": (0,),
            "verify source": (0,),
            "commit": (0,),
            "release": (0,),
        },
        "here state": dict.fromkeys(("reserve", "presync", "stop", "last sync", "commit"), (0,)),
        "here store": {"transfer image": (0,), "last layer": (0,)},
    },
    "vm": {
        "beta": {
            "reserve": (0,),
            "transfer disk": (0, 16 * _MIB),
            "create disk": (0, 8192),
            "presync": (0, _MIB),
            "last sync": (0,),
            "boot disk": (0, 65536),
            "commit": (4 * _MIB,),
        },
        "alpha": dict.fromkeys(("reserve", "presync", "fence", "stop", "boot disk"), (0,)),
    },
}


@dataclass(frozen=True)
class Round:
    """Which file system has how much room, from when a step begins. place: a host, or "here" and
    what of portkit's own. subject: as in bench-cutover."""

    subject: str
    place: str
    step: str
    room: int

    def __str__(self) -> str:
        return f"{self.subject}: {self.place}, {self.step}, {self.room} bytes left"


def rounds(subject: str) -> list[Round]:
    """All of them."""
    return [
        Round(subject, place, step, room)
        for place, steps in PLACES[subject].items()
        for step, rooms in steps.items()
        for room in rooms
    ]


CAMPAIGNS = {
    "no room on the target": [each for each in rounds("container") if each.place == "beta"],
    "no room at the source": [each for each in rounds("container") if each.place == "alpha"],
    "no room for portkit itself": [each for each in rounds("container") if "here" in each.place],
    "a VM: no room on a host": rounds("vm"),
}


class Ground(cutover.Ground):
    """The campaign's folder, in which the journal and the Store have file systems of their own."""

    def command(self, each: Round, size: str) -> list[str]:
        """A program that gives a place's file system another size."""
        host, _, path = each.place.partition(" ")
        if host == "here":
            return ["sh", "-c", _resize(str(self.folder / path), size)]
        return [*hosts.ssh(host), _resize(_DOCKER, size)]

    def move(self, each: Round) -> process.Completed:  # type: ignore[override]
        """The Move, in which the room ends."""
        limit = f"process.run({self.command(each, f'$((used + {each.room}))')})"
        words = self.words(cutover_rounds.Round(each.step, "begun", ""))
        words[words.index("begun") + 1] = limit
        return process.run(words, env=self.env, check=False, timeout=600)


def _resize(path: str, size: str) -> str:
    # What a daemon writes meanwhile makes the file system larger than it is to be: once more.
    used = f"used=$(df -B1 --output=used {path} | tail -1)"
    once = f"{used}; mount -o remount,size={size} {path}"
    return f"for n in 1 2 3 4; do {once} && exit 0; sleep 0.2; done; exit 1"


# ---------------------------------------------------------------- a round


def play(ground: Ground, each: Round, start_s: float) -> str:
    """One round; "" when all is as it should be, else what is not."""
    ground.subject.ready(ground.run)
    before = used()
    with cutover.writing(ground.subject) as writer:
        made = ground.move(each)
        said = made.stderr.decode(errors="replace")
        if cutover.HERE not in said:
            return f"it ended with {made.code} before {each.step}: {said[-800:]}"
        if each.place == "here state":  # it has to be written
            lift(ground, each)
        entries = ground.journal.moves()
        state = entries[0].state if entries else MoveState.ROLLED_BACK
        if state is not MoveState.DONE and state is not MoveState.ROLLED_BACK:
            # Kept for the next try, or taken back as far as that could be recorded.
            words = ("--discard-writes", "--progress", "plain")
            back = ground.run("rollback", entries[0].id, *words)
            said += back.stderr.decode(errors="replace")
            state = ground.journal.moves()[0].state
            if back.code != 0:
                lift(ground, each)
                return f"rollback ended with {back.code}: {said[-1500:]}"
        left = used() - before
        lift(ground, each)
        harness.tell(f"  it ended with {made.code}, {state}; {_last_line(said)}")
        found = cutover.judge(ground.subject, writer, said)
        waited = _waited(writer, start_s + _MORE_S)
    if state is MoveState.DONE:
        found = found or _taken_back(ground)
    elif made.code == 0:
        return f"it is {state}, and the Move said that it went well"
    elif left > _LEFT_BYTES:
        found = found or f"{left} bytes more are used on the target than before"
    else:
        found = found or waited
    return found or ground.subject.decoys.changed()


def _last_line(said: str) -> str:
    lines = [line for line in said.splitlines() if "rror" in line]
    return (lines or said.splitlines() or [""])[0][:300]


def _taken_back(ground: Ground) -> str:
    identity = ground.journal.moves()[0].id
    back = ground.run("rollback", identity, "--discard-writes", "--progress", "plain")
    return "" if back.code == 0 else f"taken back: {back.stderr.decode(errors='replace')[-800:]}"


def _waited(writer: Writer, most_s: float) -> str:
    """Whether no client waited for longer between two acknowledgements."""
    rows = sorted(writer.acknowledged(), key=lambda row: row.ended)
    gaps = [later.ended - row.ended for row, later in itertools.pairwise(rows)]
    longest = max(gaps, default=0.0)
    harness.tell(f"  the longest time without an acknowledgement: {longest:.1f} s")
    return "" if longest <= most_s else f"nothing was acknowledged for {longest:.1f} s"


def used() -> int:
    """Bytes on the target's file system."""
    return int(hosts.on(hosts.TARGET, f"df -B1 --output=used {_DOCKER} | tail -n 1"))


def lift(ground: Ground, each: Round) -> None:
    """There is room again."""
    process.run(ground.command(each, f"{_SIZE_MIB}m"), timeout=60)


# ---------------------------------------------------------------- the file systems


# One for the engine and for portkit's own, as on most hosts; at the source, one for data of Apps.
_SMALL = (
    f"mkdir -p {_OWN} /small; mount -t tmpfs -o size={_SIZE_MIB}m,mode=711 small /small; "
    f"mkdir -m 711 /small/docker /small/own; mount --bind /small/docker {_DOCKER}; "
    f"mount --bind /small/own {_OWN}"
)
_DATA = (
    f"mkdir -p /more {_DOCKER}/volumes {_OWN}/instances; mount -t tmpfs -o mode=711 more /more; "
    f"mkdir -m 711 /more/volumes /more/instances; mount --bind /more/volumes {_DOCKER}/volumes; "
    f"mount --bind /more/instances {_OWN}/instances"
)
_AGAIN = "kill $(cat /run/docker.pid)"  # the host's supervisor starts it again


@contextmanager
def small(ground: Ground) -> Iterator[None]:
    """Every place is a file system of its own, which is empty at first."""
    places = [ground.folder / name for name in ("state", "store")]
    for place in places:
        place.mkdir(mode=0o700)
        process.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m,mode=700", "small", place])
    try:
        for host in (hosts.SOURCE, hosts.TARGET):
            data = f"{_DATA}; " * (host == hosts.SOURCE)
            hosts.on(host, f"{_SMALL}; {data}{_AGAIN}; sleep 3")
            _until_answers(host)
        lab.load_base(hosts.SOURCE)
        yield
    finally:
        for host in (hosts.SOURCE, hosts.TARGET):
            gone = "".join(f"umount -l {path}; " for path in (_OWN, _DOCKER, "/small"))
            more = f"umount -l {_OWN}/instances {_DOCKER}/volumes /more; " * (host == hosts.SOURCE)
            hosts.on(host, f"{more}{gone}{_AGAIN}; sleep 3")
            _until_answers(host)
        process.run(["umount", *places])


def _until_answers(host: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.run([*hosts.ssh(host), "docker info >/dev/null 2>&1"], check=False).code == 0:
            return
        time.sleep(0.5)
    raise RuntimeError(f"{host}'s engine does not answer")


def _set_up(ground: Ground) -> float:
    """The App runs, with some content in its volume; the seconds that its start takes."""
    subject = ground.subject
    subject.ready(ground.run)
    if isinstance(subject, Container):
        where = "docker volume inspect -f '{{.Mountpoint}}' data"
        hosts.on(hosts.SOURCE, f"head -c {_VOLUME_MIB << 20} /dev/urandom > $({where})/content")
    began = time.monotonic()
    subject.restart()
    with cutover.writing(subject):
        return time.monotonic() - began


def main() -> int:
    record = Record(NAME, CAMPAIGNS)
    with (
        hosts.practice(),
        hosts.kept_connections(),
        tempfile.TemporaryDirectory(prefix="portkit-space-") as name,
    ):
        ground = Ground(Path(name))
        ground.env["PORTKIT_STORE"] = str(ground.folder / "store")
        with small(ground):
            for subject, kind in cutover.SUBJECTS.items():
                if not wanted(list(map(str, rounds(subject))), record):
                    continue
                ground.subject = kind()
                try:
                    start_s = _set_up(ground)
                    harness.tell(f"{subject}: the App starts within {start_s:.1f} s")
                    campaign(
                        record,
                        rounds(subject),
                        partial(play, ground, start_s=start_s),
                        partial(cutover.clean, ground),
                    )
                finally:
                    ground.subject.away()
    return harness.report(record.rows())


if __name__ == "__main__":
    sys.exit(main())
