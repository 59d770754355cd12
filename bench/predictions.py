"""How close the predicted cost of a Move is to its actual cost.

Moves between alpha (Debian 12) and beta (Debian 13), with a link of 100 and 20 Mbit in turn. The
journal is empty at first, so the first Move of each kind is predicted only from what is measured
right before it and from defaults; the second one of each kind and rate has the first one's figures.

- image: an image of debian:bookworm-slim and 20 MB of random bytes, with `move --dry-run` before;
- disk: the same as a disk, which boots on an emulated processor; once at each rate;
- container: `portkit move container:NAME`, whose volume has 64 files of 1 MiB, half of each random,
  and a writer that replaces 29 pages of 4 KiB a second. The target has its image.

For each Move, the predicted figure (ours) is shown beside the measured one (peer): the bytes sent,
the seconds of the transfer of a form or of the first pass over the data, and the downtime. For each
of these three, the rows of the errors have the error of every Move in per cent, without its sign,
and the median as the figure; the bar is 15 %. The bytes that a Move sends, and the seconds for
them, are those of its image and its data together.

Without earlier figures, the downtime of the first Move is predicted from defaults for its stop and
its start, and may be wrong by more than its own length. The bytes that are sent as a trial before a
Move of 64 MiB (0.9 MB) are not included; the report has them as `survey_bytes`.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import harness, hosts
from bench.servers import HERE, page_writer
from portkit import process

NAME = "predictions"
RATES = ("100mbit", "20mbit")
REPEAT = 2
LIMIT = 15.0  # per cent
APP, VOLUME, PORT, IMAGE = "predicted", "predicted-data", 8096, "debian:bookworm-slim"
_FILES, _HALF = 64, 512  # files of the volume; KiB that are random, and as many that are not
_PAGES_PER_S = 29
_GONE = f"docker rm -f {APP} >/dev/null 2>&1; docker volume rm -f {VOLUME} >/dev/null"
# Which of the figures of a Report count as what.
KINDS = {
    "image: sent": "bytes",
    "disk: sent": "bytes",
    "data: sent in the first pass": "bytes",
    "image: transfer": "seconds",
    "disk: transfer": "seconds",
    "data: the first pass": "seconds",
    "downtime": "downtime",
}

Json = dict[str, Any]


@dataclass
class Ground:
    """A folder for what is of this machine. moves: the figures of each, by what was moved."""

    folder: Path

    def __post_init__(self) -> None:
        self.moves: dict[str, list[list[Json]]] = defaultdict(list)
        self.env = hosts.environment(self.folder)
        app = self.folder / "app"
        app.mkdir()
        (app / "random").write_bytes(os.urandom(20_000_000))
        command = json.dumps(["perl", "-e", HERE])
        (app / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY random /random\nCMD {command}\n")
        (app / "compose.yaml").write_text(
            f"name: {APP}\nservices:\n  web:\n    build: .\n    ports: ['{PORT}:80']\n"
        )

    def portkit(self, *words: str) -> str:
        """Its standard output."""
        argv = [sys.executable, "-c", "from portkit_cli.main import main; main()", *words]
        return process.run(argv, env=self.env, timeout=1800).text

    def form(self, form: str, rate: str) -> None:
        """The app as an image or a disk, which the target has nothing of."""
        hosts.clear()
        words = ["move", str(self.folder / "app"), "--from", f"lab:{hosts.SOURCE}"]
        words += [
            "--to",
            f"lab:{hosts.TARGET}",
            "--form",
            form,
            "--output",
            "json",
            "--progress",
            "quiet",
        ]
        with hosts.shaped(rate):
            self.portkit(*words, "--dry-run")
            self._note(f"{form}, {rate}", json.loads(self.portkit(*words)))

    def container(self, rate: str) -> None:
        """What runs, with its data."""
        with self._running(), hosts.shaped(rate):
            words = ["move", f"container:{APP}", "--from", f"lab:{hosts.SOURCE}"]
            words += ["--to", f"lab:{hosts.TARGET}", "--output", "json", "--progress", "quiet"]
            self._note(f"container, {rate}", json.loads(self.portkit(*words)), "--data")

    def _note(self, what: str, report: Json, *more: str) -> None:
        found = compared(report)
        harness.tell(f"{what}: {json.dumps(found)}")
        self.moves[what].append(found)
        # Not rolled back: only Moves that ended well are what later ones are predicted by.
        self.portkit("rm", "--yes", *more, report["move"], "--on", f"lab:{hosts.TARGET}")

    @contextmanager
    def _running(self) -> Iterator[None]:
        hosts.on(hosts.SOURCE, _GONE)
        hosts.on(hosts.TARGET, _GONE)
        hosts.on(hosts.SOURCE, f"docker save {IMAGE} | {hosts.to_target()} docker load")
        server = f"{IMAGE} perl -e {shlex.quote(HERE)}"
        hosts.on(
            hosts.SOURCE, f"docker create --name {APP} -p {PORT}:80 -v {VOLUME}:/data {server}"
        )
        place = f"$(docker volume inspect -f '{{{{.Mountpoint}}}}' {VOLUME})"
        hosts.on(
            hosts.SOURCE,
            f"cd {place} && for n in $(seq {_FILES}); do (head -c {_HALF}K /dev/urandom; "
            f"yes $n | head -c {_HALF}K) > f$n; done; docker start {APP}; "
            f"docker exec -d {APP} perl -e {shlex.quote(page_writer(_PAGES_PER_S))}",
        )
        os.sync()
        yield
        hosts.on(hosts.SOURCE, _GONE)
        hosts.on(hosts.TARGET, _GONE)


def compared(report: Json) -> list[Json]:
    """The figures of a Report of which it has both: predicted and measured."""
    return [each for each in report["predictions"] if each["measured"]]


def errors(
    moves: Iterable[Sequence[Json]], of: str = "a Move", limit: float | None = LIMIT
) -> list[harness.Row]:
    """For bytes, seconds and downtime, by how many per cent each Move was not as predicted. moves:
    the figures of every Move (`compared`). What a Move sends is its image and its data together,
    and so is the time for it."""
    found: dict[str, list[float]] = defaultdict(list)
    for figures in moves:
        for kind in dict.fromkeys(KINDS.values()):
            rows = [row for row in figures if KINDS.get(row["what"]) == kind]
            predicted, measured = (sum(row[k] for row in rows) for k in ("predicted", "measured"))
            if measured > 0:
                found[kind].append(abs(100 * (predicted - measured) / measured))
    return [
        harness.Row(f"error of the {kind} of {of}", "%", tuple(values), limit=limit)
        for kind, values in found.items()
    ]


def beside(moves: Mapping[str, Sequence[Sequence[Json]]]) -> list[harness.Row]:
    """Every figure that was predicted (ours), with what was measured (peer)."""
    made = []
    for what, figures in moves.items():
        rows = [row for each in figures for row in each if row["what"] in KINDS]
        for name in dict.fromkeys(each["what"] for each in rows):
            some = [each for each in rows if each["what"] == name]
            ours = tuple(each["predicted"] for each in some)
            peer = tuple(each["measured"] for each in some)
            made.append(harness.Row(f"{what}: {name}", some[0]["unit"], ours, peer))
    return made


def main() -> int:
    with (
        tempfile.TemporaryDirectory(prefix="portkit-predictions-") as name,
        hosts.ground(),
    ):
        ground = Ground(Path(name))
        for turn in range(REPEAT):
            for rate in RATES:
                ground.form("image", rate)
                ground.container(rate)
                if turn == 0:
                    ground.form("disk", rate)
    return harness.finish(
        NAME, [*errors(itertools.chain(*ground.moves.values())), *beside(ground.moves)]
    )


if __name__ == "__main__":
    sys.exit(main())
