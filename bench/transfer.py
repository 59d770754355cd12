"""What it costs to bring an app to another host: portkit compared with what is used today.

The app is radicale on a Python base of more than 300 MB (bench/context/Dockerfile). alpha (Debian
12, Docker 20.10) builds it, and beta (Debian 13, Docker 26.1) is the target; both are practice
hosts of a separate lab. beta's link is shaped to 100 Mbit in both directions unless a row says
otherwise. Bytes are those in both directions of beta's link, headers included. Both sides start
from content that is ready: ours from the artifacts in the Store of this machine, the peers from the
image in alpha's engine or the raw disk on this machine. The seconds of ours are from the start of
the connection until the engine has loaded and the Store has verified everything.
`make bench-transfer ROWS=ab` makes only some rows.

Row e is only the disk's own metadata: of its 420 kB, 160 are the inodes (70 of them checksums,
which cannot be compressed), 110 the names in directories, and the rest the recipe, which says where
in the image's layers each block of the disk is. zstd -19 would save a tenth.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from bench import cuts, harness, memory, peers
from bench.hosts import Cost, clear, cost, ground
from bench.sent import Pair, packed, pair, prepare, sending
from portkit.guest.kit import build_kit, cache_root
from portkit.model import Blob
from portkit.store import Store

NAME = "transfer"
REPEAT = 5
CUTS = 20
_MB, _MIB = 1_000_000, 1 << 20
SCRATCH = cache_root() / "bench"
_CHANGED = "[server]\n# One line more.\n"


class Apps:
    """The artifacts, each made when it is first asked for."""

    def __init__(self) -> None:
        self.store = Store(SCRATCH / "store")
        self._kit = build_kit()

    @cached_property
    def first(self) -> Pair:
        return pair(self.store, self._kit, "radicale", ROUND="1")

    @cached_property
    def line(self) -> Pair:
        """One changed line in the app."""

        def edit(context: Path) -> None:
            config = context / "radicale.config"
            config.write_text(config.read_text().replace("[server]\n", _CHANGED))

        return pair(self.store, self._kit, "radicale", edit, ROUND="1")

    @cached_property
    def rebuilt(self) -> Pair:
        """The same packages, installed once more."""
        return pair(self.store, self._kit, "radicale", ROUND="2")

    @cached_property
    def second(self) -> Pair:
        """Another app on the same base."""
        return pair(self.store, self._kit, "probe", ROUND="1")

    def raw(self, of: Pair) -> Path:
        return self.store.path(of.disk.digest)


Values = Sequence[Cost]


def _bytes(values: Values) -> tuple[float, ...]:
    return tuple(float(value.bytes) for value in values)


def _seconds(values: Values) -> tuple[float, ...]:
    return tuple(value.seconds for value in values)


def cold(apps: Apps) -> list[harness.Row]:
    first = apps.first

    def fresh(action: Callable[[], Cost]) -> Callable[[], Cost]:
        def run() -> Cost:
            clear()
            return action()

        return run

    found = harness.turns(
        {
            "image, ours": fresh(lambda: sending(apps.store, first.image)),
            "image, zstd": fresh(lambda: cost(lambda: peers.save_zstd_load(first.reference))),
            "both, ours": fresh(lambda: sending(apps.store, *first.both)),
        },
        REPEAT,
    )
    ours, peer, both = found.values()
    kit = packed(first.kit.blobs, apps.store)
    alone = [value + kit for value in _bytes(ours)]
    return [
        harness.Row("a: image, cold", "bytes", _bytes(ours), _bytes(peer), 0.90),
        harness.Row("b: image, cold", "s", _seconds(ours), _seconds(peer), 0.95),
        harness.more("d: image and disk, cold", _bytes(both), alone, 2 * _MB),
    ]


def unshaped(apps: Apps) -> list[harness.Row]:
    first = apps.first

    def ours() -> Cost:
        clear()
        return sending(apps.store, first.image, rate=None)

    def peer() -> Cost:
        clear()
        return cost(lambda: peers.save_load(first.reference), None)

    found = harness.turns({"unshaped, ours": ours, "unshaped, save | load": peer}, REPEAT)
    mine, theirs = map(_seconds, found.values())
    return [harness.Row("c: image, cold, unshaped link", "s", mine, theirs, 1.2)]


def disk(apps: Apps) -> list[harness.Row]:
    first = apps.first
    prepare(apps.store, first.image, first.kit)
    file = peers.convert(apps.raw(first))
    found = harness.turns(
        {
            "disk, ours": lambda: sending(apps.store, first.disk),
            "disk, scp": lambda: cost(lambda: peers.scp(file)),
        },
        REPEAT,
    )
    mine, theirs = map(_bytes, found.values())
    return [harness.Row("e: disk, image and kit there", "bytes", mine, theirs, 0.002)]


def line(apps: Apps) -> list[harness.Row]:
    prepare(apps.store, *apps.first.both)
    reference = apps.line.reference
    found = harness.turns(
        {
            "line, ours": lambda: sending(apps.store, *apps.line.both),
            "line, zstd": lambda: cost(lambda: peers.save_zstd_load(reference)),
        },
        REPEAT,
    )
    mine, theirs = map(_bytes, found.values())
    return [harness.Row("f: one changed line, both forms", "bytes", mine, theirs, 0.002)]


def rebuilt(apps: Apps) -> list[harness.Row]:
    first, again = apps.first, apps.rebuilt
    prepare(apps.store, *first.both)
    peers.place(apps.raw(first))
    folder = SCRATCH / "chunks"
    peers.chunked({"old": apps.raw(first), "new": apps.raw(again)}, folder)

    def push() -> Cost:
        peers.forget_push()
        return cost(lambda: peers.push(again.reference))

    def disk(action: Callable[[], None]) -> Callable[[], Cost]:
        def run() -> Cost:
            peers.renew()
            return cost(action)

        return run

    def load() -> Cost:
        found = cost(peers.load)
        peers.unload(again.reference)
        return found

    with peers.registry(first.reference), peers.web(folder) as url:
        peers.carry(again.reference)
        found = harness.turns(
            {
                "rebuilt, ours": lambda: sending(apps.store, *again.both),
                "rebuilt, disk, ours": lambda: sending(apps.store, again.disk),
                "rebuilt, push": push,
                "rebuilt, rsync": disk(lambda: peers.rsync(apps.raw(again))),
                "rebuilt, casync": disk(lambda: peers.casync(url, "new")),
                "rebuilt, docker load": load,
            },
            REPEAT,
        )
    ours, alone, pushed, rsynced, chunked, loaded = found.values()
    names = ("h: rebuilt, disk alone, rsync", "h: rebuilt, docker load of a file there, time")
    return [
        harness.Row("g: rebuilt, docker push", "bytes", _bytes(ours), _bytes(pushed), 0.005),
        harness.Row("h: rebuilt, rsync", "bytes", _bytes(ours), _bytes(rsynced), 0.5),
        harness.Row("h: rebuilt, rsync, time", "s", _seconds(ours), _seconds(rsynced), 1.0),
        harness.Row(names[0], "bytes", _bytes(alone), _bytes(rsynced), 0.5),
        harness.Row(f"{names[0]}, time", "s", _seconds(alone), _seconds(rsynced), 1.0),
        harness.Row(names[1], "s", _seconds(loaded), _seconds(rsynced)),
        harness.Row("i: rebuilt, casync", "bytes", _bytes(ours), _bytes(chunked), 0.7),
    ]


def second(apps: Apps) -> list[harness.Row]:
    prepare(apps.store, *apps.first.both)
    known = {blob.digest for blob in apps.first.image.blobs}
    own: list[Blob] = [blob for blob in apps.second.image.blobs if blob.digest not in known]
    size = float(packed(own, apps.store))
    found = harness.turns({"second, ours": lambda: sending(apps.store, *apps.second.both)}, REPEAT)
    (mine,) = map(_bytes, found.values())
    return [harness.more("j: second app, both forms", mine, [size], 2 * _MB)]


def cut(apps: Apps) -> list[harness.Row]:
    first = apps.first
    chance = cuts.chance()

    def whole() -> Cost:
        clear()
        return sending(apps.store, *first.both)

    clear()
    size = sending(apps.store, *first.both).bytes

    def broken() -> Cost:
        clear()
        with cuts.at(sorted(chance.randrange(size) for _ in range(CUTS))):
            return sending(apps.store, *first.both)

    found = harness.turns({"20 cuts": broken, "uncut": whole}, REPEAT)
    mine, theirs = map(_bytes, found.values())
    return [harness.more("k: both forms, 20 cuts", mine, theirs, CUTS * 4 * _MIB)]


GROUPS: dict[str, Callable[[Apps], list[harness.Row]]] = {
    "abd": cold,
    "c": unshaped,
    "e": disk,
    "f": line,
    "ghi": rebuilt,
    "j": second,
    "k": cut,
    "l": lambda apps: memory.rows(apps.store),
}


def main() -> int:
    wanted = os.environ.get("ROWS", "")
    rows: list[harness.Row] = []
    with ground():
        apps = Apps()
        for letters, group in GROUPS.items():
            if not wanted or set(letters) & set(wanted):
                rows += group(apps)
                # A long run that is stopped keeps what it has measured.
                command = f"make bench-{NAME}" + (f" ROWS={wanted}" if wanted else "")
                harness.save(NAME, rows, command=command)
    return harness.finish(NAME, rows, command=command)


if __name__ == "__main__":
    sys.exit(main())
