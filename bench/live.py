"""How long a VM does not answer while it moves without a stop, compared with libvirt by hand.

A VM that portkit made runs on beta (Debian 13, libvirt 11.3, QEMU 10.0) with a small web server, a
volume of 64 MiB, and a writer that replaces 29 random pages of 4 KiB a second in a file of 32 MiB
on that volume. It goes to epsilon, which is like beta, over a link of 100 Mbit. (From QEMU 7.2 on
alpha, portkit refuses it: that may lose what an emulated processor writes.)

- ours: `portkit move vm:NAME --live`, with everything that belongs to it: it examines both hosts,
  creates the domain on epsilon, waits until the app has stayed up, and commits;
- peer: `virsh migrate --live --persistent --copy-storage-all`, started on beta, to
  `qemu+ssh://epsilon/system`. QEMU's own connections go from host to host, without encryption. What
  virsh needs on epsilon was put there by hand before and is not counted: the kernel, the initrd,
  the base of the disk, an empty overlay and an empty disk of the right sizes.

For ours, too, epsilon already has the base of the VM's disk, because another VM of that image is
there. Both move the same VM; after each run it is started anew on beta. The downtime is the
longest time without an answer on either host, measured by portkit's prober
(portkit/measure/prober.py), which asks both 20 times a second. The bar is 1.15 times that of virsh
plus 0.1 s. The row "stood still" is what libvirt reports about the guest's processors, plus, for
ours, the time until portkit has let them run. The bytes are those on epsilon's link, in both
directions, with headers. `RATE=none make bench-live` does not limit the link.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HOSTS", "beta epsilon")  # read when the others are imported

from bench import harness, hosts
from bench.downtime import downtime, side
from bench.servers import HERE, page_writer
from bench.subjects import PORT, Vm
from portkit import lab, process
from portkit.errors import PortkitError
from portkit.measure import SOURCE, TARGET, Prober
from portkit.move.journal import Journal

NAME = "live"
REPEAT = 5
_RATIO, _MORE_S = 1.15, 0.1
_PAGES_PER_S = 29
_FILE_MIB = 32
_BEFORE_S = 0.5  # some answers of the source before anything is done to it
_BOOTS_S = 180.0
RATE = os.environ.get("RATE", hosts.SHAPED)
# The file is made once, before the server is there, so that no run copies while it is written.
_FILL = (
    "if (!-e '/data/pages') { open my $u, '<', '/dev/urandom'; open my $f, '>', '/data/pages'; "
    f"for (1 .. {_FILE_MIB * 16}) {{ read $u, my $d, 65536; print $f $d }} close $f }} "
)
SERVER = f"{_FILL} if (!fork) {{ {page_writer(_PAGES_PER_S, '/data/pages')} }} {HERE}"
# Both hosts can give it this processor; without the setting, QEMU's versions have to be the same.
SUBJECT = Vm(SERVER, {"volume": "64m", "cpu_model": "Nehalem"}, content_there=True)
_INSTANCES = "/var/lib/portkit/instances"


@dataclass(frozen=True)
class Run:
    """One way to epsilon. stood_s: of the guest's processors, as libvirt says."""

    downtime_s: float
    stood_s: float
    seconds: float
    bytes: int


@dataclass
class Ground:
    """The VM on beta. folder: of this machine."""

    folder: Path
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = hosts.environment(self.folder)

    def run(self, *words: str) -> process.Completed:
        """portkit; ToolError when it fails."""
        argv = [sys.executable, "-c", "from portkit_cli.main import main; main()", *words]
        return process.run(argv, env=self.env, timeout=900)

    # ------------------------------------------------------------ the sides

    def ours(self) -> Run:
        """portkit; what its report says."""
        words = ["move", *SUBJECT.words, "--from", f"lab:{hosts.SOURCE}", "--live"]
        words += ["--to", f"lab:{hosts.TARGET}", "--output", "json", "--progress", "quiet"]
        reports: list[dict[str, Any]] = []
        _settle()
        cost = hosts.cost(lambda: reports.append(json.loads(self.run(*words).text)), _rate())
        (report,) = reports
        timeline = report["cutover"]["timeline"]
        if timeline["both_answered"]:
            raise PortkitError("both hosts answered", details=str(timeline["both_answered"]))
        steps = Journal(self.folder / "state").record(report["move"])
        moved = steps.result("boot disk")["live"]
        phases = [*report["phases"], *(row for form in report["forms"] for row in form["phases"])]
        harness.tell(", ".join(f"{row['name']} {row['seconds']}" for row in phases))
        self.run("rollback", report["move"], "--discard-writes", "--progress", "quiet")
        return Run(timeline["downtime_s"], moved["downtime_s"], cost.seconds, cost.bytes)

    def peer(self) -> Run:
        """libvirt by hand."""
        name = SUBJECT.domain()
        folder = f"{_INSTANCES}/pk-{name.rpartition('-')[2]}"
        self._prepare(folder)
        to = f"qemu+ssh://root@{lab.host(hosts.TARGET).address}/system?keyfile={hosts.KEY}"
        words = f"virsh migrate --live --persistent --copy-storage-all {name} '{to}'"
        sides = {SOURCE: side(hosts.SOURCE), TARGET: replace(side(hosts.TARGET), coming=True)}
        _settle()
        with Prober(sides) as prober:
            time.sleep(_BEFORE_S)
            cost = hosts.cost(lambda: hosts.on(hosts.SOURCE, words), _rate())
            _await_answer(hosts.TARGET)
            gone_s = downtime(prober)
        stood = _stood(hosts.on(hosts.TARGET, f"virsh domjobinfo {name} --completed"))
        hosts.on(hosts.TARGET, f"virsh destroy {name} && virsh undefine {name}; rm -rf {folder}")
        hosts.on(hosts.SOURCE, f"virsh start {name}")
        return Run(gone_s, stood, cost.seconds, cost.bytes)

    def _prepare(self, folder: str) -> None:
        """On epsilon: what the VM was booted from, and empty disks, QEMU's as at the source."""
        names = f"{_INSTANCES[1:]}/base {folder[1:]}"
        hosts.on(
            hosts.SOURCE,
            f"tar -C / --numeric-owner --exclude=disk.qcow2 --exclude='pkv*' -S -cf - {names} | "
            f"{hosts.to_target()} tar -C / --skip-old-files --numeric-owner -xpf -",
        )
        size = hosts.on(hosts.SOURCE, f"stat -c %s {folder}/pkv0.raw").strip()
        hosts.on(
            hosts.TARGET,
            f"cd {folder} && truncate -s {size} pkv0.raw && "
            f"qemu-img create -q -f qcow2 -F raw -b {_INSTANCES}/base/$(cat base) disk.qcow2 && "
            f"chown libvirt-qemu:libvirt-qemu *.raw *.qcow2 && "
            f"chown root:libvirt-qemu kernel initrd {_INSTANCES}/base/*",
        )


def _settle() -> None:
    """The VM answers on beta, and what others have written is written."""
    _await_answer(hosts.SOURCE)
    os.sync()


def _await_answer(name: str) -> None:
    """Until the VM answers on a host."""
    url, end = f"http://{lab.host(name).address}:{PORT}/", time.monotonic() + _BOOTS_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                answer.read()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(_BEFORE_S)


def _rate() -> str | None:
    return None if RATE == "none" else RATE


def _stood(said: str) -> float:
    """Seconds, by `virsh domjobinfo`; on the target, libvirt knows the whole of it."""
    found = re.search(r"^Total downtime:\s*(\d+)\s*ms", said, re.MULTILINE)
    if not found:
        raise PortkitError("libvirt does not say how long the guest stood still", details=said)
    return int(found[1]) / 1000


def rows(ours: Sequence[Run], peer: Sequence[Run]) -> list[harness.Row]:
    """All rows."""

    def row(name: str, unit: str, value: Callable[[Run], float], limit: bool) -> harness.Row:
        made = harness.Row(name, unit, tuple(map(value, ours)), tuple(map(value, peer)))
        median = statistics.median(made.peer)
        most = round((_RATIO * median + _MORE_S) / median, 4)
        return replace(made, limit=most if limit else None)

    return [
        row("downtime, 1.15 x virsh migrate + 0.1 s", "s", lambda run: run.downtime_s, True),
        row("stood still", "s", lambda run: run.stood_s, False),
        row("the whole command", "s", lambda run: run.seconds, False),
        row("on the wire", "bytes", lambda run: run.bytes, False),
    ]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="portkit-live-") as name, hosts.ground():
        ground = Ground(Path(name))
        try:
            SUBJECT.ready(ground.run)
            found = harness.turns({"ours": ground.ours, "peer": ground.peer}, REPEAT)
        finally:
            SUBJECT.away()
    command = f"make bench-{NAME}" if RATE == hosts.SHAPED else f"RATE={RATE} make bench-{NAME}"
    return harness.finish(NAME, rows(found["ours"], found["peer"]), command=command)


if __name__ == "__main__":
    sys.exit(main())
