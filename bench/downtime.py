"""How long an app with a volume of 1 GiB does not answer while it changes its host.

A small web server in a container on alpha (Debian 12, Docker 20.10) has a named volume of 1,024
files of 1 MiB of random bytes. A writer beside it replaces random pages of 4 KiB, 29 a second:
about 1 % of the volume in the 90 seconds that it takes to copy the volume over beta's link of 100
Mbit. beta (Debian 13, Docker 26.1) already has the image. The downtime is the longest time without
an answer on either host, measured by portkit's prober (portkit/measure/prober.py), which asks both
20 times a second:

- ours: `portkit move container:NAME`; the downtime in its report;
- a: stop, `tar | ssh`, start of a container that was created before;
- b: `rsync -aHAX`, stop, `rsync -aHAX --delete`, start of a container that was created before;
- c: `docker restart` on alpha.

The commands of a, b and c use an ssh connection that is already open. After each round everything
is restored. ours, b and c take turns three times; a runs only once, because it copies for so long
while the app is stopped. The rows of the phases show how the time of ours is spent; they are the
phases between the app's stop and its first answer. The rows of the errors have by how many per cent
each Move was not as portkit had predicted it (bench/predictions.py). `FILES=1 make bench-downtime`
makes the rows for a volume with one file of 1 GiB.

The decisive part is the last pass ("last sync"), which does not hash what is proven to be unchanged
(docs/volumes.md). The step `verify source` hashes it when the app answers again; it is not part of
the downtime.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import harness, hosts, predictions
from bench.servers import HERE, page_writer
from portkit import lab, process
from portkit.errors import PortkitError
from portkit.measure import SOURCE, TARGET, Prober, Side
from portkit.model import HealthProbe

NAME = "downtime"
APP, VOLUME, PORT = "downtime", "downtime-data", 8098
IMAGE = "debian:bookworm-slim"
REPEAT = 3
FILES = 1024
_TIMES, _MORE_S = 3, 1.0  # of what a restart takes
_MIB = 1 << 20
VOLUME_MIB = int(os.environ.get("MIB", "1024"))
PAGES_PER_S = 29  # 2,621 pages, 1 % of 1 GiB, in 90 s
_BEFORE_S = 0.5  # some answers of the source before anything is done to it
PHASES = ("stop the source", "package changes", "last layer", "last sync", "boot image")

Run = Callable[[], float]


@dataclass
class Ground:
    """The app on alpha, and a folder for what is of this machine. phases: of each Move of ours,
    the seconds of those between the stop and the first answer. compared: what was predicted of
    each, with what came."""

    folder: Path
    files: int
    phases: list[Mapping[str, float]] = field(default_factory=list)
    compared: list[Sequence[predictions.Json]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.env = hosts.environment(self.folder)

    # ------------------------------------------------------------ the hosts

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connections to both hosts, for `on`: opening one takes a third of a second, which would
        be part of each peer's downtime."""
        for name in (hosts.SOURCE, hosts.TARGET):
            # With a pipe, run() would wait for the ssh that stays behind.
            argv = self._ssh(name, "-f", "-N", "-M")
            process.run(argv, timeout=60, stdout=process.DEVNULL, stderr=process.DEVNULL)
        try:
            yield
        finally:
            for name in (hosts.SOURCE, hosts.TARGET):
                process.run(self._ssh(name, "-O", "exit"), timeout=60)

    def on(self, name: str, command: str) -> str:
        """Run a command on a host; its output. ToolError when it fails."""
        return process.run([*self._ssh(name), command], timeout=1800).text

    def _ssh(self, name: str, *options: str) -> list[str]:
        program, *rest = hosts.ssh(name)
        return [program, "-o", f"ControlPath={self.folder}/%n", *options, *rest]

    def set_up(self) -> None:
        """The app with its volume on alpha, the image on beta, rsync on both."""
        get = "apt-get update -qq && apt-get install -y -qq --no-install-recommends rsync"
        for name in (hosts.SOURCE, hosts.TARGET):
            self.on(name, f"command -v rsync || ({get} >/dev/null)")
            self.on(name, _GONE)
        self.on(hosts.SOURCE, f"docker save {IMAGE} | {hosts.to_target()} docker load")
        self.create(hosts.SOURCE)
        size = VOLUME_MIB * _MIB // self.files
        self.on(
            hosts.SOURCE,
            f"head -c {size * self.files} /dev/urandom | "
            f"split -b {size} -a 4 -d - {self.data(hosts.SOURCE)}/f",
        )
        self.on(hosts.SOURCE, f"docker start {APP}")

    def create(self, name: str) -> None:
        """The container, which does not run yet."""
        self.on(
            name,
            f"docker create --name {APP} -p {PORT}:80 -v {VOLUME}:/data {IMAGE} "
            f"perl -e {shlex.quote(HERE)}",
        )

    def data(self, name: str) -> str:
        """Where a host has the content of the volume."""
        return self.on(name, f"docker volume inspect -f '{{{{.Mountpoint}}}}' {VOLUME}").strip()

    @contextmanager
    def round(self) -> Iterator[None]:
        """The app runs on alpha with a writer beside it, and beta has nothing but the image. In
        the end it is so again."""
        writer = page_writer(PAGES_PER_S)
        self.on(hosts.SOURCE, f"docker exec -d {APP} perl -e {shlex.quote(writer)}")
        self.on(hosts.TARGET, f"docker image inspect {IMAGE} >/dev/null")
        # What others have written to the disk is written, so that no side waits for another's.
        os.sync()
        with hosts.shaped():
            yield
        self.on(hosts.TARGET, _GONE)
        self.on(hosts.SOURCE, f"docker restart {APP}")
        time.sleep(_BEFORE_S)

    # ------------------------------------------------------------ the sides

    def ours(self) -> float:
        """portkit; what its report says."""
        with self.round():
            words = ["move", f"container:{APP}", "--from", f"lab:{hosts.SOURCE}"]
            words += ["--to", f"lab:{hosts.TARGET}", "--form", "image", "--output", "json"]
            report = json.loads(self._portkit(*words))
            rows = [*report["phases"], *(row for each in report["forms"] for row in each["phases"])]
            self.phases.append(cut_phases(rows))
            self.compared.append(predictions.compared(report))
            harness.tell(f"phases: {self.phases[-1]}; volumes: {report['cutover']['volumes']}")
            self._portkit("rollback", report["move"], "--discard-writes")
            return float(report["cutover"]["timeline"]["downtime_s"])

    def _portkit(self, *words: str) -> str:
        argv = [sys.executable, "-c", "from portkit_cli.main import main; main()", *words]
        argv += ["--progress", "quiet"]
        return process.run(argv, env=self.env, timeout=900).text

    def tar(self) -> float:
        """Stop, tar | ssh, start."""
        with self.round():
            self.create(hosts.TARGET)
            here, there = self.data(hosts.SOURCE), self.data(hosts.TARGET)
            pipe = f"tar -C {here} --numeric-owner --xattrs --acls -cf - . | {hosts.to_target()}"
            with self._asking(hosts.SOURCE, hosts.TARGET) as prober:
                self.on(hosts.SOURCE, f"docker stop {APP}")
                self.on(hosts.SOURCE, f"{pipe} tar -C {there} --xattrs --acls -xpf -")
                return self._start(prober)

    def rsync(self) -> float:
        """rsync, stop, rsync, start."""
        with self.round():
            self.create(hosts.TARGET)
            shell, _, address = hosts.to_target().rpartition(" ")
            copy = f"rsync -aHAX --numeric-ids -e '{shell}' {self.data(hosts.SOURCE)}/ "
            copy += f"{address}:{self.data(hosts.TARGET)}/"
            self.on(hosts.SOURCE, copy)
            with self._asking(hosts.SOURCE, hosts.TARGET) as prober:
                self.on(hosts.SOURCE, f"docker stop {APP}")
                self.on(hosts.SOURCE, f"{copy} --delete")
                return self._start(prober)

    def restart(self) -> float:
        """docker restart on the source."""
        with self.round(), self._asking(hosts.SOURCE) as prober:
            with prober.quiet(SOURCE):
                self.on(hosts.SOURCE, f"docker restart {APP}")
            return downtime(prober)

    @contextmanager
    def _asking(self, *names: str) -> Iterator[Prober]:
        """The App is asked within, on the hosts where it is or will be."""
        sides = {hosts.SOURCE: SOURCE, hosts.TARGET: TARGET}
        with Prober({sides[name]: side(name) for name in names}) as prober:
            time.sleep(_BEFORE_S)
            yield prober

    def _start(self, prober: Prober) -> float:
        with prober.quiet(TARGET):
            self.on(hosts.TARGET, f"docker start {APP}")
        return downtime(prober)


_GONE = f"docker rm -f {APP} >/dev/null 2>&1; docker volume rm -f {VOLUME} >/dev/null"
_SEEN_S = 3.0  # for the app's first answer after the engine has started it, and for some more


def side(name: str) -> Side:
    """Where a host is asked."""
    return Side(HealthProbe(contains="here"), (lab.host(name).address, PORT))


def downtime(prober: Prober) -> float:
    """What the prober has seen, once the app has answered again."""
    time.sleep(_SEEN_S)
    seen = prober.stop()
    if seen.downtime_s is None or (seen.last_success_s or 0.0) < seen.ended_s - 1.0:
        raise PortkitError("the app does not answer after its start", details=str(seen.spans))
    if seen.both_answered:
        raise PortkitError("both hosts answered", details=str(seen.both_answered))
    return round(seen.downtime_s, 3)


def cut_phases(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The seconds of the phases between the stop and the first answer, of a report's phases.

    "package changes" is there twice: before the copy, and once more after the stop."""
    found = dict.fromkeys(PHASES, 0.0)
    stopped = False
    for row in rows:
        stopped |= row["name"] == "stop the source"
        if stopped and row["name"] in found:
            found[row["name"]] += row["seconds"]
    return {name: round(seconds, 3) for name, seconds in found.items()}


def rows(ground: Ground, what: str) -> list[harness.Row]:
    """All rows of one kind of volume."""
    sides: dict[str, Run] = {"ours": ground.ours, "b": ground.rsync, "c": ground.restart}
    first = harness.turns({**sides, "a": ground.tar})
    found = {name: first[name] + more for name, more in harness.turns(sides, REPEAT - 1).items()}
    ours, c = found["ours"], found["c"]
    most = round((_TIMES * statistics.median(c) + _MORE_S) / statistics.median(c), 4)
    made = [
        harness.Row(f"{what}, a: tar over ssh", "s", ours, first["a"], 0.05),
        harness.Row(f"{what}, b: rsync with a warm pass", "s", ours, found["b"], 0.25),
        harness.Row(f"{what}, c: docker restart, 3 x + 1 s", "s", ours, c, most),
    ]
    for name in PHASES:
        values = tuple(each[name] for each in ground.phases)
        made.append(harness.Row(f"{what}, of ours: {name}", "s", values))
    return made + predictions.errors(ground.compared, f"ours, {what}", None)


def main() -> int:
    files = int(os.environ.get("FILES", FILES))
    with (
        tempfile.TemporaryDirectory(prefix="portkit-downtime-") as name,
        hosts.ground(),
    ):
        ground = Ground(Path(name), files)
        with ground.connected():
            ground.set_up()
            try:
                made = rows(ground, f"{files:,} file{'s' * (files > 1)}")
            finally:
                for host in (hosts.SOURCE, hosts.TARGET):
                    ground.on(host, _GONE)
    command = f"make bench-{NAME}" if files == FILES else f"FILES={files} make bench-{NAME}"
    return harness.finish(NAME, made, command=command)


if __name__ == "__main__":
    sys.exit(main())
