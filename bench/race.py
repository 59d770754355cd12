"""Two Moves at once that compete for the App, the image, the port, or what the other rolls back.

Two processes start a random time apart. For each pair the permitted results are known: both end
well, or one ends well and the other with a typed refusal (exit code 10) that names the first.
Afterwards, the Apps whose Moves ended well must answer, and once they are removed, nothing of
either Move may be left on the target.

Ours is the number of rounds with another result; the bar is none.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import harness, hosts, kill
from bench.campaign import campaign
from bench.record import Record
from portkit import lab, process

NAME = "race"
ROUNDS = 30
SEED = 20261125
# What the second one is to the first, and the exit codes that a pair may have.
BOTH = {(0, 0)}
ONE = {(0, 10), (10, 0)}
KINDS = {
    "same app": ONE,
    "same image": BOTH,
    "same port": ONE,
    "one fails": {(0, 8)},
    "the first fails": {(8, 0)},
    "one is interrupted": {(0, 130), (0, 0)},
}


@dataclass(frozen=True)
class Pair:
    """One round: what kind, in which form, and how many seconds lie between the two."""

    number: int
    kind: str
    form: str
    apart: float
    interrupt: float = 2.0

    def __str__(self) -> str:
        return f"{self.number}: {self.kind}, {self.form}, {self.apart:.1f} s apart"


def pairs(count: int = ROUNDS) -> list[Pair]:
    """The rounds, the same each time: every kind in turn, one in three as a disk."""
    chance = random.Random(SEED)
    kinds = list(KINDS)
    return [
        Pair(
            number + 1,
            kinds[number % len(kinds)],
            "disk" if number % 3 == 2 else "image",
            round(chance.uniform(0.0, 4.0), 1),
            round(chance.uniform(0.5, 6.0), 1),
        )
        for number in range(count)
    ]


@dataclass
class Ground(kill.Ground):
    """Folders of two Apps on one image."""

    running: list[process.Process] = field(default_factory=list)

    def app(self, name: str, port: int, contains: str = "here") -> Path:
        document = json.loads(kill.COMPOSE)
        document["name"] = name
        web = document["services"]["web"]
        web["ports"] = [f"{port}:80"]
        timeout = "8s" if contains != "here" else "120s"
        web["x-portkit"]["health"] = {"contains": contains, "timeout": timeout, "settle": "0s"}
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "compose.yaml").write_text(json.dumps(document))
        return folder

    def start(self, folder: Path, form: str) -> process.Process:
        words = ["move", str(folder), "--from", f"lab:{hosts.SOURCE}", "--to"]
        words += [f"lab:{hosts.TARGET}", "--form", form, "--progress", "plain"]
        code = "from portkit_cli.main import main; main()"
        argv = ["env", "--default-signal=INT", sys.executable, "-c", code, *words]
        return process.spawn(argv, env=self.env)


def play(ground: Ground, pair: Pair) -> str:
    """One round; "" when it came out as it may, else what did not."""
    ground.decoys.put()
    return _played(ground, pair) or ground.decoys.changed()


def _played(ground: Ground, pair: Pair) -> str:
    before = kill.there()
    wanted = "never" if pair.kind == "the first fails" else "here"
    first = ground.app("killed", 8097, contains=wanted)
    second = {
        "same app": lambda: first,
        "same image": lambda: ground.app("killed-too", 8098),
        "same port": lambda: ground.app("killed-too", 8097),
        "one fails": lambda: ground.app("killed-too", 8098, contains="never"),
        "the first fails": lambda: ground.app("killed-too", 8098),
        "one is interrupted": lambda: ground.app("killed-too", 8098),
    }[pair.kind]()
    started = [ground.start(first, pair.form)]
    time.sleep(pair.apart)
    started.append(ground.start(second, pair.form))
    if pair.kind == "one is interrupted":
        time.sleep(pair.interrupt)
        os.kill(started[1].pid, signal.SIGINT)
    done = [child.communicate(timeout=900) for child in started]
    codes = (started[0].returncode, started[1].returncode)
    said = "\n".join(stderr.decode()[-1200:] for _, stderr in done)
    if codes not in KINDS[pair.kind] or "Traceback" in said:
        return f"it ended with {codes}: {said!r}"
    ports = (8097, 8097 if pair.kind in ("same app", "same port") else 8098)
    for code, port in zip(codes, ports, strict=True):
        if code == 0 and not _answers(port):
            return f"nothing answers at port {port}, though its Move ended well"
    return _cleared(ground, before)


def _answers(port: int) -> bool:
    url = f"http://{lab.host(hosts.TARGET).address}:{port}/"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _cleared(ground: Ground, before: str) -> str:
    shown = ground.run("ps", "--on", f"lab:{hosts.TARGET}", "--output", "json")
    # A decoy has the label of a Move, too, which is not one of these.
    mine = {row["id"] for row in json.loads(shown.text) if row["app"] in ("killed", "killed-too")}
    for identity in sorted(mine):
        gone = ground.run("rm", "--yes", identity, "--on", f"lab:{hosts.TARGET}")
        if gone.code != 0:
            return f"rm ended with {gone.code}: {gone.stderr[-800:]!r}"
    hosts.on(
        hosts.TARGET,
        "docker rmi -f debian:bookworm-slim >/dev/null 2>&1; rm -f /var/lib/portkit/store/parts/*",
    )
    return kill.same(before, kill.there())


def main() -> int:
    record = Record(NAME, {"pairs of Moves at once": pairs()})
    with hosts.ground(), tempfile.TemporaryDirectory(prefix="portkit-race-") as name:
        ground = Ground(Path(name))
        campaign(record, pairs(), partial(play, ground), partial(kill.clean, ground))
        ground.decoys.away()
    return harness.report(record.rows())


if __name__ == "__main__":
    sys.exit(main())
