"""A running App changes its host, and portkit, the connection, an engine or a host fails at a step.

A small web server with a volume runs on alpha, with the restart policy `always`. A client writes to
it all the time, to whichever host answers, and notes each acknowledgement. The Move to beta is
killed (SIGKILL) where a step's state is recorded: when it is begun, when its work is done but not
recorded yet, and when it is recorded. In other rounds a host's link is cut or beta's engine is
killed at such a point, or, at some points, a host is rebooted, with portkit killed or not. When
that has been repaired, `portkit resume` or `portkit rollback` is run once.

A round ends as it should if one side serves and is restarted automatically, and the other neither
runs nor would start; if every acknowledged write is on the side that serves, except those that
portkit has reported as lost; if the two sides never both answered; and if everything else on the
hosts is unchanged. A Move that ended well is then taken back with `rollback --discard-writes`,
which is checked, too.

The same is done with a VM that portkit made, with a volume, which moves from disk to disk. In the
rounds named "asked", the container's Move waits before its cutover and before its commit (and is
told to go on at once), replaces a volume of the target, and runs commands; there only portkit is
killed.

Ours is the number of rounds that ended otherwise; the bar is none. ROUNDS is a regular expression,
such as `^container: boot image, worked, (kill|reboot)`, that selects the rounds to play; without
it, the rounds are played that are not yet recorded for the current code. Two processes, each with
its own lab (PORTKIT_LAB_NUMBER), may share the campaign.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import harness, hosts, kill
from bench.campaign import campaign, wanted
from bench.cutover_rounds import CAMPAIGNS, PORTKIT, Round
from bench.record import Record
from bench.subjects import PORT, Asked, Container, Subject, Vm
from bench.writer import Writer
from portkit import lab, process
from portkit.move.journal import Entry, Journal, MoveState, Steps
from portkit.move.plan import Pause
from portkit.move.walk import StepState

NAME = "cutover"
SUBJECTS: dict[str, type[Container | Vm]] = {"container": Container, "asked": Asked, "vm": Vm}
# Run as a program: makes a Move; at a point it runs a statement of Python, once, and prints that.
# Such a Move waits for nobody.
HERE = "bench: here it fails"
MAKER = f"""
import sys
HERE = {HERE!r}
from portkit import lab, process
from portkit.move.journal import Steps
from portkit_cli.main import main
step, point, statement = sys.argv[1:4]
note, happened = Steps.note, []
def now():
    if not happened:
        happened.append(step)
        print(HERE, file=sys.stderr, flush=True)
        exec(statement)
def noting(self, name, state, result=None):
    if name == step and state == "done" and point == "worked":
        now()
    note(self, name, state, result)
    if name == step and (state, point) in (("doing", "begun"), ("done", "recorded")):
        now()
Steps.note = noting
if point:  # else it shall wait
    Steps.told = lambda self, word: word in ("cutover", "commit")
main(sys.argv[4:], standalone_mode=True)
"""


@dataclass
class Ground:
    """A folder of this campaign's own, with its journal, and what is moved."""

    folder: Path
    subject: Subject = field(default_factory=Container)
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.env = hosts.environment(self.folder)
        self.journal = Journal(self.folder / "state")

    def run(self, *words: str) -> process.Completed:
        return process.run([*PORTKIT, *words], env=self.env, check=False, timeout=600)

    def words(self, each: Round, *options: str) -> list[str]:
        """The program that makes the Move, in which something happens."""
        words = ["move", *self.subject.words, "--from", f"lab:{hosts.SOURCE}", "--to"]
        words += [f"lab:{hosts.TARGET}", "--progress", "plain", *options]
        return [sys.executable, "-c", MAKER, each.step, each.point, each.statement(), *words]

    def move(self, each: Round) -> process.Completed:
        return process.run(self.words(each), env=self.env, check=False, timeout=600)

    def entry(self) -> Entry:
        """The Move that was made last."""
        return self.journal.moves()[0]


def judge(subject: Subject, writer: Writer, said: str) -> str:
    """What is wrong with who serves, and with what it has; "" when all is well."""
    host, wrong = subject.serving()
    if wrong:
        return wrong
    if not writer.acknowledged_by(host, within_s=subject.patience_s):
        return f"{host} runs the App and acknowledges nothing"
    known = writer.acknowledged()  # first: the client goes on
    there = subject.written(host)
    lost = [row for row in known if row.number not in there]
    told = f"what the App wrote on lab:{hosts.TARGET} since it was started there is lost" in said
    if any(row.host == host for row in lost) or (lost and not (host == hosts.SOURCE and told)):
        return f"{len(lost)} acknowledged writes are not on {host}: {lost[:3]}"
    return writer.both()


@contextmanager
def writing(subject: Subject) -> Iterator[Writer]:
    """A client is at work within; the source has acknowledged something when this is entered."""
    with writing_anywhere() as writer:
        if not writer.acknowledged_by(hosts.SOURCE, within_s=subject.patience_s):
            raise RuntimeError("the App at the source does not answer")
        yield writer


def play(ground: Ground, each: Round) -> str:
    """One round; "" when all is as it should be, else what is not."""
    subject = ground.subject
    subject.ready(ground.run)
    before = kill.there()
    with writing(subject) as writer:
        made = ground.move(each)
        said = made.stderr.decode(errors="replace")
        if HERE not in said or (each.fault == "kill" and made.code != -signal.SIGKILL):
            return f"it ended with {made.code}: {said[-800:]}"
        repair(each)
        entry = ground.entry()
        found = _ended(ground, each, entry, said, writer)
    found = found or _taken_back(ground, entry.id, before)
    # Where an engine was started again, so was the decoy that runs.
    return found or subject.decoys.changed(
        restarted=each.fault not in ("kill", "cut alpha", "cut beta")
    )


def _ended(ground: Ground, each: Round, entry: Entry, said: str, writer: Writer) -> str:
    """One command ends what is open; then it is judged who serves."""
    if entry.unfinished:
        for pause in Pause:  # of a Move that would wait
            ground.journal.tell(entry.id, pause)
        option = ["--discard-writes"] if each.ending == "rollback" else []
        ended = ground.run(each.ending, entry.id, *option, "--progress", "plain")
        said += ended.stderr.decode(errors="replace")
        state = ground.journal.get(entry.id).state
        wanted = MoveState.DONE if each.ending == "resume" else MoveState.ROLLED_BACK
        if state is not wanted or ended.code != 0:
            return f"{each.ending} ended with {ended.code}, it is {state}: {said[-1500:]}"
    elif each.fault == "kill":
        return f"the Move is {entry.state} and not unfinished"
    return judge(ground.subject, writer, said)


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
            if wrong := judge(ground.subject, writer, said):
                return f"after the rollback: {wrong}"
    host, wrong = ground.subject.serving()
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
    if host:
        hosts.renew_connection(host)
        _until_answers(host)


def _until_answers(host: str) -> None:
    """The host can be reached, which takes a moment after its link is there again, and its
    supervisor has started its engines again."""
    command = "docker info && virsh list"
    deadline = time.monotonic() + 60
    while process.run([*hosts.ssh(host), command], check=False, timeout=60).code != 0:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{host}'s engines do not answer")
        time.sleep(0.5)


def clean(ground: Ground) -> None:
    """After a round that went wrong, both hosts are made fit for the next."""
    for name in (hosts.SOURCE, hosts.TARGET):
        lab.mend(name)
        hosts.renew_connection(name)
    ground.subject.clean()
    for path in (ground.folder / "state").glob("moves.sqlite3*"):
        path.unlink()


def paused(ground: Ground, option: str, *then: str) -> str:
    """A Move that waits is interrupted there (Ctrl-C), and goes on by `then`: a verb of portkit."""
    subject = ground.subject
    subject.ready(ground.run)
    before = kill.there()
    step = {"--hold": "wait", "--confirm": "confirm"}[option]
    words = ground.words(Round("none", "", ""), option)
    with writing(subject) as writer:
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
        if wrong := judge(subject, writer, said):
            return wrong
    return _taken_back(ground, entry.id, before) or subject.decoys.changed()


def elsewhere(ground: Ground) -> str:
    """A Move that was killed when the target served is ended by a machine without its journal."""
    subject = ground.subject
    subject.ready(ground.run)
    before = kill.there()
    with writing(subject) as writer:
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
        if wrong := judge(subject, writer, said):
            return wrong
    return _taken_back(ground, identity, before) or subject.decoys.changed()


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


def main() -> int:
    record = Record(NAME, CAMPAIGNS)
    with (
        hosts.practice(),
        hosts.kept_connections(),
        tempfile.TemporaryDirectory(prefix="portkit-cutover-") as name,
    ):
        for subject, kind in SUBJECTS.items():
            every = [each for of in CAMPAIGNS.values() for each in of if each.subject == subject]
            if wanted(list(map(str, every)), record):
                ground = Ground(Path(name), kind(content_there=True))
                try:
                    campaign(record, every, partial(play, ground), partial(clean, ground))
                finally:
                    ground.subject.away()
    return harness.report(record.rows())


if __name__ == "__main__":
    sys.exit(main())
