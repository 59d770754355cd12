"""A running App changes its host, and portkit, the connection, an engine or a host fails at a step.

A small web server with a volume runs on alpha, restarted `always`, and a client writes to it all
the time: to whichever host answers, noting each acknowledgement. The Move to beta is killed
(SIGKILL) where a step's state is recorded: when it is begun, when its work is done and not recorded
yet, and when it is; or there the link of a host is cut, beta's dockerd is killed, or a host is
rebooted, with portkit killed or not. Then `portkit resume` or `portkit rollback` is run once. What
counts: one side serves and is restarted by itself, the other neither runs nor would start; every
acknowledged write is on the side that serves, but for those that portkit has said are lost; the two
sides never answered both; what else is on the hosts is untouched. A Move that ended well is then
taken back with `rollback --discard-writes`, which is checked too.

Ours is how many rounds ended otherwise; the bar is none. ROUNDS is a regular expression, such as
`boot image, worked, (kill|reboot)`, of the rounds to play.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import harness, hosts, kill
from bench.writer import Writer
from portkit import lab, process
from portkit.move.journal import Entry, Journal, MoveState, Steps
from portkit.move.walk import StepState

NAME = "cutover"
PORT = 8098
CONTAINER = "cut-web"
POINTS = ("begun", "worked", "recorded")
ENDINGS = ("resume", "rollback")
STEPS = (
    "create image",
    "presync",
    "fence",
    "stop",
    "last layer",
    "last sync",
    "boot image",
    "verify source",
    "commit",
    "release",
)
FAULTS = (
    "cut alpha",
    "cut beta",
    "dockerd beta",
    "reboot alpha",
    "reboot beta",
    "kill+reboot alpha",
    "kill+reboot beta",
)
# Each request for /write/N adds a line to the file, and is answered when that is written.
SERVER = r"""
use IO::Socket::INET; use IO::Handle;
$SIG{TERM} = sub { exit 0 };
open(my $log, '>>', '/data/log') or die; $log->autoflush(1);
my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die;
while (my $c = $l->accept) {
  my $r = <$c> // '';
  my ($n) = $r =~ m{/write/(\d+)};
  if (defined $n) { print $log "$n\n" or next }  # a full disk
  print $c "HTTP/1.0 200 OK\r\n\r\nhere " . ($n // '') . "\n";
  close $c;
}
"""
_RUN = (
    f"docker volume create data >/dev/null; docker run -d --name {CONTAINER} --restart always "
    f"-p {PORT}:80 -v data:/data debian:bookworm-slim perl -e {shlex.quote(SERVER)}"
)
# Of an image with nothing in it; `cut-web-2` and `data2` begin as what is moved does.
_DECOYS = (
    "tar -cf - -T /dev/null | docker import - cut-web:decoy >/dev/null; "
    "docker volume create data2 >/dev/null; "
    "echo mine > /var/lib/docker/volumes/data2/_data/log; echo mine > /root/decoy; "
    f"docker create --name {CONTAINER}-2 --restart always -v data2:/data cut-web:decoy /none"
)
_DECOYS_ARE = (
    f"docker inspect -f '{{{{.Id}}}} {{{{json .Config}}}} {{{{json .HostConfig}}}}' {CONTAINER}-2; "
    "docker image inspect -f '{{.Id}} {{.RepoTags}}' cut-web:decoy; docker volume inspect data2; "
    "cd /var/lib/docker/volumes/data2/_data && stat -c '%n %Y %a %u %s' . log /root/decoy && "
    "sha256sum log /root/decoy"
)
_SIDES = (
    "docker ps -aq | xargs -r docker inspect -f "
    "'{{.Name}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}' | sort"
)
# Run as a program: makes a Move; at a point it kills itself, or runs a command and goes on.
MAKER = """
import os, signal, subprocess, sys
from portkit.move.journal import Steps
from portkit_cli.main import main
step, point, command = sys.argv[1:4]
note, happened = Steps.note, []
def now():
    if not command:
        os.kill(os.getpid(), signal.SIGKILL)
    if not happened:
        happened.append(step)
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
def noting(self, name, state, result=None):
    if name == step and state == "done" and point == "worked":
        now()
    note(self, name, state, result)
    if name == step and (state, point) in (("doing", "begun"), ("done", "recorded")):
        now()
Steps.note = noting
main(sys.argv[4:], standalone_mode=True)
"""
_PORTKIT = [sys.executable, "-c", "from portkit_cli.main import main; main()"]


@dataclass(frozen=True)
class Round:
    """What happens at which point of a step, and the command that ends the Move. fault: "kill" of
    portkit, or WHAT HOST, where WHAT is cut, dockerd, reboot or kill+reboot."""

    step: str
    point: str
    ending: str
    fault: str = "kill"

    def __str__(self) -> str:
        return f"{self.step}, {self.point}, {self.fault}, then {self.ending}"

    def command(self) -> str:
        """What the process of the Move runs at the point; "" where it kills itself."""
        what, _, host = self.fault.partition(" ")
        match what:
            case "kill":
                return ""
            case "dockerd":
                return shlex.join([*hosts.ssh(host), "kill -9 $(cat /run/docker.pid)"])
            case "kill+reboot":  # the shell's parent is the process of the Move
                return f"{shlex.join([*_PORTKIT, 'lab', 'reboot', host])}; kill -9 $PPID"
            case _:
                return shlex.join([*_PORTKIT, "lab", what, host])


def kills() -> list[Round]:
    """portkit is killed at every point of every step, with both endings."""
    return [Round(n, point, end) for n in STEPS for point in POINTS for end in ENDINGS]


def faults() -> list[Round]:
    """Another thing fails at every point of every step, with both endings in turns."""
    places = [(what, step, point) for what in FAULTS for step in STEPS for point in POINTS]
    return [
        Round(step, point, ENDINGS[number % 2], what)
        for number, (what, step, point) in enumerate(places)
    ]


@dataclass
class Ground:
    """A folder of this campaign's own, with its journal."""

    folder: Path
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = {
            "PORTKIT_STATE": str(self.folder / "state"),
            "PORTKIT_STORE": os.environ.get("PORTKIT_STORE", str(self.folder / "store")),
            **{n: v for n, v in os.environ.items() if n.startswith(("PORTKIT_LAB", "PYTHONPATH"))},
        }
        self.journal = Journal(self.folder / "state")

    def run(self, *words: str) -> process.Completed:
        return process.run([*_PORTKIT, *words], env=self.env, check=False, timeout=600)

    def words(self, each: Round, *options: str) -> list[str]:
        """The program that makes the Move, in which something happens."""
        words = ["move", f"container:{CONTAINER}", "--from", f"lab:{hosts.SOURCE}", "--to"]
        words += [f"lab:{hosts.TARGET}", "--form", "image", "--progress", "plain", *options]
        return [sys.executable, "-c", MAKER, each.step, each.point, each.command(), *words]

    def move(self, each: Round) -> process.Completed:
        return process.run(self.words(each), env=self.env, check=False, timeout=600)

    def entry(self) -> Entry:
        """The Move that was made last."""
        return self.journal.moves()[0]


def ready() -> None:
    """The App runs at the source, with nothing on the target, and the decoys are on both."""
    hosts.on(hosts.SOURCE, f"docker inspect {CONTAINER} >/dev/null 2>&1 || {{ {_RUN}; }}")
    for name in (hosts.SOURCE, hosts.TARGET):
        have = f"docker inspect {CONTAINER}-2 >/dev/null 2>&1"
        hosts.on(name, f"{have} || {{ {_DECOYS}; }}")


def away() -> None:
    """What `ready` has put there goes again."""
    for name in (hosts.SOURCE, hosts.TARGET):
        hosts.on(
            name,
            f"docker rm -f {CONTAINER} {CONTAINER}-2; docker volume rm data data2; "
            "docker rmi cut-web:decoy; rm -f /root/decoy; true",
        )


def decoys() -> list[str]:
    """All that is to be seen of them."""
    return [hosts.on(name, _DECOYS_ARE) for name in (hosts.SOURCE, hosts.TARGET)]


def sides() -> dict[str, list[tuple[str, bool, str]]]:
    """(name, whether it runs, restart policy) of all containers but the decoys, by host."""
    found = {}
    for host in (hosts.SOURCE, hosts.TARGET):
        rows = [line.split() for line in hosts.on(host, _SIDES).splitlines()]
        found[host] = [
            (name, running == "true", policy)
            for name, running, policy in rows
            if name != f"/{CONTAINER}-2"
        ]
    return found


def serving() -> tuple[str, str]:
    """The host that serves, and what is wrong with who runs and who would start by himself."""
    found = sides()
    source, target = found[hosts.SOURCE], found[hosts.TARGET]
    if source == [(f"/{CONTAINER}", True, "always")]:
        # A Move that waits keeps a container there that never starts by itself.
        well = all(not running and policy == "no" for _, running, policy in target)
        return hosts.SOURCE, "" if well else f"beside the source: {target}"
    well = source == [(f"/{CONTAINER}", False, "no")] and len(target) == 1
    well = well and target[0][1:] == (True, "always")
    return hosts.TARGET, "" if well else f"source: {source}; target: {target}"


def written(host: str) -> set[int]:
    """The numbers in the file of the App on a host."""
    where = "'{{range .Mounts}}{{.Source}}{{end}}'"
    command = f"cat $(docker inspect -f {where} $(docker ps -q --filter publish={PORT}))/log"
    return set(map(int, hosts.on(host, command).split()))


def judge(writer: Writer, said: str) -> str:
    """What is wrong with who serves, and with what it has; "" when all is well."""
    host, wrong = serving()
    if wrong:
        return wrong
    if not writer.acknowledged_by(host, within_s=20):
        return f"{host} runs the App and acknowledges nothing"
    known = writer.acknowledged()  # first: the client goes on
    there = written(host)
    lost = [row for row in known if row.number not in there]
    told = f"what the App wrote on lab:{hosts.TARGET} since it was started there is lost" in said
    if any(row.host == host for row in lost) or (lost and not (host == hosts.SOURCE and told)):
        return f"{len(lost)} acknowledged writes are not on {host}: {lost[:3]}"
    return writer.both()


@contextmanager
def writing() -> Iterator[Writer]:
    """A client is at work within; the source has acknowledged something when this is entered."""
    addresses = {name: (lab.host(name).address, PORT) for name in (hosts.SOURCE, hosts.TARGET)}
    with Writer(addresses) as writer:
        if not writer.acknowledged_by(hosts.SOURCE, within_s=20):
            raise RuntimeError("the App at the source does not answer")
        yield writer


def play(ground: Ground, each: Round) -> str:
    """One round; "" when all is as it should be, else what is not."""
    ready()
    before, bystanders = kill.there(), decoys()
    with writing() as writer:
        made = ground.move(each)
        said = made.stderr.decode(errors="replace")
        if each.fault == "kill" and made.code != -signal.SIGKILL:
            return f"it ended with {made.code}: {said[-800:]}"
        repair(each)
        entry = ground.entry()
        found = _ended(ground, each, entry, said, writer)
    found = found or _taken_back(ground, entry.id, before)
    return found or ("" if decoys() == bystanders else "a decoy has changed")


def _ended(ground: Ground, each: Round, entry: Entry, said: str, writer: Writer) -> str:
    """One command ends what is open; then it is judged who serves."""
    if entry.unfinished:
        option = ["--discard-writes"] if each.ending == "rollback" else []
        ended = ground.run(each.ending, entry.id, *option, "--progress", "plain")
        said += ended.stderr.decode(errors="replace")
        state = ground.journal.get(entry.id).state
        wanted = MoveState.DONE if each.ending == "resume" else MoveState.ROLLED_BACK
        if state is not wanted or ended.code != 0:
            return f"{each.ending} ended with {ended.code}, it is {state}: {said[-1500:]}"
    elif each.fault == "kill":
        return f"the Move is {entry.state} and not unfinished"
    return judge(writer, said)


def _taken_back(ground: Ground, identity: str, before: str) -> str:
    """Nothing of it is on the target any more, and the App runs at its source."""
    state = ground.journal.get(identity).state
    if state is not MoveState.ROLLED_BACK:
        option = "--discard-writes"
        with writing_anywhere() as writer:
            back = ground.run("rollback", identity, option, "--progress", "plain")
            said = back.stderr.decode(errors="replace")
            if back.code != 0:
                return f"rollback of what was {state} ended with {back.code}: {said[-1500:]}"
            if wrong := judge(writer, said):
                return f"after the rollback: {wrong}"
    host, wrong = serving()
    if host != hosts.SOURCE or wrong:
        return f"after the rollback: {host} {wrong}"
    hosts.on(hosts.TARGET, f"rm -f {kill._PARTS}/*")
    return kill.same(before, kill.there())


@contextmanager
def writing_anywhere() -> Iterator[Writer]:
    """A client is at work within, whoever serves."""
    addresses = {name: (lab.host(name).address, PORT) for name in (hosts.SOURCE, hosts.TARGET)}
    with Writer(addresses) as writer:
        yield writer


def repair(each: Round) -> None:
    """What failed works again."""
    what, _, host = each.fault.partition(" ")
    if what == "cut":
        lab.mend(host)
    if what == "dockerd":
        lab.reboot(host)


def campaign(chosen: Sequence[Round], folder: Path) -> list[str]:
    """Play the rounds; what went wrong, a line for each that did."""
    ground, wrong = Ground(folder), []
    for number, each in enumerate(chosen, 1):
        begun = time.monotonic()
        try:
            found = play(ground, each)
        except Exception as error:  # noqa: BLE001 - the other rounds are played all the same
            found = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - begun
        harness.tell(f"{number}/{len(chosen)} {each}: {found or 'well'}, {seconds:.0f} s")
        if found:
            wrong.append(f"{each}: {found}")
            clean(ground)
    return wrong


def clean(ground: Ground) -> None:
    """After a round that went wrong, both hosts are made empty for the next."""
    for name in (hosts.SOURCE, hosts.TARGET):
        lab.mend(name)
        hosts.on(
            name,
            "docker ps -qa | xargs -r docker rm -f; docker volume ls -q | xargs -r docker volume "
            "rm; rm -rf /var/lib/portkit/moves",
        )
    hosts.on(
        hosts.TARGET,
        "docker images -qa | sort -u | xargs -r docker rmi -f; rm -rf /var/lib/portkit/store",
    )
    for path in (ground.folder / "state").glob("moves.sqlite3*"):
        path.unlink()


def paused(ground: Ground, option: str, *then: str) -> str:
    """A Move that waits is interrupted there (Ctrl-C), and goes on by `then`: a verb of portkit."""
    ready()
    before = kill.there()
    step = {"--hold": "wait", "--confirm": "confirm"}[option]
    words = ground.words(Round("none", "", ""), option)
    with writing() as writer:
        with process.popen(words, env=ground.env) as maker:
            _until_waits(ground, step)
            maker.send_signal(signal.SIGINT)
            said = maker.communicate(timeout=120)[1].decode(errors="replace")
        entry = ground.entry()
        if entry.state is not MoveState.WAITING:
            return f"after Ctrl-C it is {entry.state}: {said[-800:]}"
        done = ground.run(*then, entry.id, "--progress", "plain")
        said += done.stderr.decode(errors="replace")
        if done.code != 0:
            return f"{then} ended with {done.code}: {said[-1500:]}"
        if wrong := judge(writer, said):
            return wrong
    return _taken_back(ground, entry.id, before)


def elsewhere(ground: Ground) -> str:
    """A Move that was killed when the target served is ended by a machine without its journal."""
    ready()
    before, bystanders = kill.there(), decoys()
    with writing() as writer:
        made = ground.move(Round("boot image", "worked", ""))
        identity = ground.entry().id
        state = ground.folder / "state"
        state.rename(ground.folder / "hidden")
        said = made.stderr.decode(errors="replace")
        codes = []
        for host in (hosts.SOURCE, hosts.TARGET, hosts.SOURCE):
            words = ("--on", f"lab:{host}", "--discard-writes", "--progress", "plain")
            done = ground.run("rollback", identity, *words)
            codes.append(done.code)
            said += done.stderr.decode(errors="replace")
        shutil.rmtree(state, ignore_errors=True)
        (ground.folder / "hidden").rename(state)
        # The source is not started while the target has the App.
        if codes != [10, 0, 0]:
            return f"it ended with {codes}: {said[-1500:]}"
        if wrong := judge(writer, said):
            return wrong
    if decoys() != bystanders:
        return "a decoy has changed"
    return _taken_back(ground, identity, before)


def _until_waits(ground: Ground, step: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        moves = ground.journal.moves()
        if moves and moves[0].live:
            steps: Steps = ground.journal.record(moves[0].id)
            if steps.state(step) is StepState.DOING:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the Move did not come to {step}")


@contextmanager
def practice_hosts() -> Iterator[None]:
    """alpha and beta of the benchmark's lab; one that is up stays up."""
    os.environ.setdefault("PORTKIT_LAB_NUMBER", hosts.NUMBER)
    found = any(host.running for host in lab.status())
    try:
        lab.up((hosts.SOURCE, hosts.TARGET))
        lab.load_base(hosts.SOURCE)
        yield
    finally:
        if not found:
            lab.down()


def main() -> int:
    wanted = os.environ.get("ROUNDS", "")
    rows = []
    with practice_hosts(), tempfile.TemporaryDirectory(prefix="portkit-cutover-") as name:
        for what, every in (("kills of portkit", kills()), ("other faults", faults())):
            chosen = [each for each in every if re.search(wanted, str(each))]
            if not chosen:
                continue
            wrong = campaign(chosen, Path(name))
            for line in wrong:
                harness.tell(line)
            count = f"{len(chosen)} of {len(every)}" if wanted else f"all {len(every)}"
            row = f"{what}, {count} rounds: those that did not end as they should"
            rows.append(harness.Row(row, "rounds", (float(len(wrong)),), limit=0))
    return harness.finish(
        NAME, rows, command=f"ROUNDS='{wanted}' make bench-cutover" * bool(wanted)
    )


if __name__ == "__main__":
    sys.exit(main())
