"""portkit is killed (SIGKILL) at every step of a Move, and one command ends what it left.

A small web server on a Debian base goes from alpha to beta in both forms. The process that makes
the Move kills itself where a step's state is recorded: before it is begun, when its work is done
but not recorded yet, and when it is recorded; and at random times inside the long steps. Then
`portkit rollback` or `portkit resume` is run once. Afterwards, either all of the Move must be on
the target or nothing: no byte, container, image, domain, volume or file more than before.

Before that, the walk over the steps is simulated with kills and faults in all orders, ten thousand
times for a Move of both forms (tests/unit/move/test_walk.py) and ten thousand times for a running
app that changes its host, whose hosts restart as well (tests/unit/move/test_cutover_walk.py). Ours
is the number of rounds that ended otherwise; the bar is none.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import harness, hosts
from bench.campaign import campaign
from bench.decoys import Decoys
from bench.record import Record
from portkit import process
from portkit.model import Form
from portkit.move.journal import Journal
from portkit.move.plan import step_names

NAME = "kill"
PORT = 8097
POINTS = ("begun", "worked", "recorded")
LONG = (
    "transfer image",
    "package disk",
    "transfer disk",
    "create disk",
    "boot image",
    "boot disk",
    "start image",
)
SEED = 20261125
SIMULATED = 10_000
SIMULATIONS = {"Moves": "test_walk.py", "Moves of a running app": "test_cutover_walk.py"}
# A server of one line, so that the base image is all it needs.
_SERVER = (
    "use IO::Socket::INET; my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, "
    "ReuseAddr => 1) or die; while (my $c = $l->accept) { my $r = <$c>; "
    'print $c "HTTP/1.0 200 OK\\r\\n\\r\\nhere\\n"; close $c }'
)
COMPOSE = json.dumps(
    {
        "name": "killed",
        "services": {
            "web": {
                "image": "debian:bookworm-slim",
                "command": ["perl", "-e", _SERVER.replace("$", "$$")],
                "ports": [f"{PORT}:80"],
                "volumes": ["data:/data"],
                "x-portkit": {"health": {"contains": "here", "timeout": "120s", "settle": "0s"}},
            }
        },
        "volumes": {"data": {}},
    }
)
# Run as a program: makes a Move, and kills itself where it was told to.
KILLER = """
import os, signal, sys, threading
from portkit.move.journal import Steps
from portkit_cli.main import main
step, point, after = sys.argv[1], sys.argv[2], float(sys.argv[3])
note = Steps.note
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def noting(self, name, state, result=None):
    if name == step and state == "done" and point == "worked":
        kill()
    note(self, name, state, result)
    if name != step:
        return
    if (state, point) in (("doing", "begun"), ("done", "recorded")):
        kill()
    if (state, point) == ("doing", "inside"):
        timer = threading.Timer(after, kill)
        timer.daemon = True
        timer.start()
Steps.note = noting
main(sys.argv[4:], standalone_mode=True)
"""


@dataclass(frozen=True)
class Round:
    """Where the process is killed, and the command that ends the Move. after: seconds into the
    step, where it is inside."""

    step: str
    point: str
    ending: str
    after: float = 0.0

    def __str__(self) -> str:
        when = f"{self.after:.1f} s inside" if self.point == "inside" else self.point
        return f"{self.step}, {when}, then {self.ending}"


def rounds(inside: int, forms: Sequence[str] = ("image", "disk")) -> list[Round]:
    """Every boundary with both endings, and so many random times in each long step."""
    names = step_names([Form(form) for form in forms], Form(forms[0]))
    chance = random.Random(SEED)  # the same rounds each time
    found = [Round(n, point, end) for n in names for point in POINTS for end in ENDINGS]
    for name in names:
        if name in LONG:
            for number in range(inside):
                seconds = round(chance.uniform(0.05, 3.0), 2)
                found.append(Round(name, "inside", ENDINGS[number % 2], seconds))
    return found


ENDINGS = ("rollback", "resume")


def there() -> str:
    """All that a Move could leave on the target, with the sizes of files."""
    return hosts.on(
        hosts.TARGET,
        "docker ps -a --no-trunc --format '{{.ID}} {{.Image}}' | sort; "
        "docker images -a --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}' | sort; "
        "docker volume ls -q | sort; virsh -q list --all --name | sort; "
        "cd /var/lib/portkit 2>/dev/null && find . -type f ! -path './moves/lock' "
        "-printf '%p %s\\n' | sort; find . -path './instances/pk-*' -o -path './store/tmp/*' "
        "-o -path './moves/locks/*' | sort; ls /tmp; pgrep -c qemu-system || true",
        timeout=120,
    )


@dataclass
class Ground:
    """A folder with the App, and what commands are told of this machine."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "compose.yaml").write_text(COMPOSE)
        self.env = hosts.environment(self.folder)
        self.journal = Journal(self.folder / "state")
        self.decoys = Decoys("killed")

    def run(self, *words: str) -> process.Completed:
        argv = [sys.executable, "-c", "from portkit_cli.main import main; main()", *words]
        return process.run(argv, env=self.env, check=False, timeout=900)

    def move(self, each: Round, forms: Sequence[str]) -> process.Completed:
        form = forms[0] if len(forms) == 1 else "both"
        words = ["move", str(self.folder), "--from", f"lab:{hosts.SOURCE}", "--to"]
        words += [f"lab:{hosts.TARGET}", "--form", form, "--progress", "plain"]
        argv = [sys.executable, "-c", KILLER, each.step, each.point, str(each.after), *words]
        return process.run(argv, env=self.env, check=False, timeout=900)


def play(ground: Ground, each: Round, forms: Sequence[str]) -> str:
    """One round; "" when all is as it should be, else what is not."""
    ground.decoys.put()
    return _played(ground, each, forms) or ground.decoys.changed()


def _played(ground: Ground, each: Round, forms: Sequence[str]) -> str:
    before = there()
    killed = ground.move(each, forms)
    if not ground.journal.moves():
        return f"it did not begin: {killed.code} {killed.stderr[-2000:]!r}"
    entry = ground.journal.moves()[0]
    if each.point == "inside" and entry.state == "done":  # the whole Move was over sooner
        return _removed(ground, entry.id, before)
    if killed.code != -9:
        return f"it ended with {killed.code}: {killed.stderr[-800:]!r}"
    if not entry.unfinished:
        return f"the Move is {entry.state} and not unfinished"
    again = ground.move(Round("none", "", ""), forms)
    if again.code != 10 or entry.id not in again.stderr.decode():
        return f"a second Move was not refused: {again.code} {again.stderr[-800:]!r}"
    # What was committed may have been written to since.
    option = ["--discard-writes"] if each.ending == "rollback" else []
    ended = ground.run(each.ending, entry.id, *option)
    if ended.code != 0:
        return f"{each.ending} ended with {ended.code}: {ended.stderr[-2000:]!r}"
    state = ground.journal.get(entry.id).state
    if each.ending == "rollback":
        return same(before, there()) if state == "rolled back" else f"it is {state}"
    if state != "done":
        return f"it is {state}"
    shown = ground.run("ps", "--on", f"lab:{hosts.TARGET}", "--output", "json")
    running = [row["form"] for row in json.loads(shown.text) if row["status"] == "running"]
    if running != [forms[0]]:
        return f"running: {running}"
    return _removed(ground, entry.id, before)


def _removed(ground: Ground, identity: str, before: str) -> str:
    gone = ground.run("rm", "--yes", identity, "--on", f"lab:{hosts.TARGET}")
    untagged = f"docker rmi -f debian:bookworm-slim >/dev/null 2>&1; rm -f {_PARTS}/*"
    hosts.on(hosts.TARGET, untagged)
    return same(before, there()) if gone.code == 0 else f"rm: {gone.stderr[-800:]!r}"


_PARTS = "/var/lib/portkit/store/parts"


def same(before: str, after: str) -> str:
    """What differs on the target; empty when it is as it was."""
    left = sorted(set(after.splitlines()) - set(before.splitlines()))
    gone = sorted(set(before.splitlines()) - set(after.splitlines()))
    return "" if not left and not gone else f"left: {left}; gone: {gone}"


def clean(ground: Ground) -> None:
    """After a round that went wrong, the target is made empty for the next."""
    hosts.clear()
    hosts.on(
        hosts.TARGET,
        "for d in $(virsh -q list --all --name); do virsh destroy $d; virsh undefine --nvram $d; "
        "done >/dev/null 2>&1; docker volume prune -af >/dev/null 2>&1; rm -rf /var/lib/portkit/*",
    )
    hosts.on(hosts.SOURCE, "rm -rf /var/lib/portkit/moves")
    for path in (ground.folder / "state").glob("moves.sqlite3*"):
        path.unlink()


def simulated(what: str, test: str) -> harness.Row:
    """The walk in all orders; 1 when some order ended otherwise than it may. what: is simulated."""
    path = Path(__file__).parents[1] / "tests/unit/move" / test
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    env = {"PORTKIT_WALK_RUNS": str(SIMULATED), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = process.run(argv, env=env, check=False, timeout=3600)
    harness.tell(f"{SIMULATED} simulated {what}: {done.text.splitlines()[-1]}")
    name = f"{SIMULATED} simulated {what}, that some order broke"
    return harness.Row(name, "orders", (float(done.code != 0),), limit=0)


def main() -> int:
    status = 0
    if "ROUNDS" not in os.environ:
        rows = [simulated(what, test) for what, test in SIMULATIONS.items()]
        status = harness.finish(NAME, rows, command=f"make bench-{NAME}")
    every = rounds(inside=4)
    record = Record(NAME, {"kills of portkit that moves both forms": every})
    with hosts.ground(), tempfile.TemporaryDirectory(prefix="portkit-kill-") as name:
        ground = Ground(Path(name))
        campaign(
            record,
            every,
            lambda each: play(ground, each, ("image", "disk")),
            partial(clean, ground),
        )
        ground.decoys.away()
    return max(status, harness.report(record.rows()))


if __name__ == "__main__":
    sys.exit(main())
