"""A value of the App's environment or of a build argument is seen nowhere while Moves run: not in
the process list, logs, temporary files, domain XML, images or on the terminal (hostile input 59).
What is on disks is private under any umask (60)."""

import re
import secrets
import signal
import stat
import subprocess  # noqa: TID251 - the type of what process.popen returns
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from portkit import process
from portkit.lab import Lab
from tests.integration.commands import PORTKIT, on, told
from tests.integration.counter import counter, remove
from tests.integration.watched import Watched, watching

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
# Of this run alone: other files may have the words of this one.
SECRET, TOKEN = (f"hunter2-{secrets.token_hex(8)}" for _ in range(2))
COMPOSE = f"""\
services:
  web:
    build: {{context: ., args: {{TOKEN: {TOKEN}}}}}
    environment: {{PASSWORD: {SECRET}}}
    command: ["sh", "-c", "while :; do sleep 1; done"]
"""
DOCKERFILE = 'FROM debian:bookworm-slim\nARG TOKEN\nRUN echo "the token is $TOKEN"\n'
# Prints all that it sees, and fails until the Move is taken back.
HOOK = 'env; [ "$PORTKIT_EVENT" = rollback ]'
TEMPORARY = (Path("/tmp"), Path("/run/portkit"))
# A VM's configuration disk and the description beside it have the environment: it needs it to run.
MEANT = r"/var/lib/portkit/instances/pk-[0-9a-f]{12}/(config\.raw|about\.json)"
# A build argument is in the history of the image, as portkit warns (`build-arg-kept`).
ON_A_HOST = {
    "for name in $(virsh -q list --all --name); do virsh dumpxml --security-info $name; done": (
        SECRET,
        TOKEN,
    ),
    "for name in $(docker images -aq); do docker history --no-trunc $name; "
    "docker image inspect $name; done": (SECRET,),
}
# But for what engines keep of containers: /run/docker, /var/lib/docker.
FILES_OF_A_HOST = (
    f"grep -rl --binary-files=text -e {SECRET} -e {TOKEN} /tmp /var/tmp /run/portkit "
    " /run/libvirt /var/log /root /etc /var/lib/portkit /var/lib/libvirt"
)
# What others could read; x of a folder is for QEMU's user, who passes through.
OPEN_TO_OTHERS = (
    "find /var/lib/portkit -mindepth 1 \\( -type f -perm /0007 -o -type d -perm /0006 \\); "
    "find /var/lib/portkit/moves /var/lib/portkit/store -mindepth 1 -perm /0077 ! -type l"
)


@dataclass
class Begun:
    """A command that runs, and the file of what it prints."""

    process: subprocess.Popen[bytes]
    log: Path


@dataclass
class Person:
    """Types commands, with a lax umask and with everything on the terminal; each is watched."""

    folder: Path
    watched: Watched

    def portkit(self, *words: str, code: int = 0) -> bytes:
        """All that the command has printed; the watched words are not in it."""
        with self.begun(*words, code=code) as begun:
            pass
        return begun.log.read_bytes()

    @contextmanager
    def begun(self, *words: str, code: int = 0) -> Iterator[Begun]:
        """The command runs within, and is waited for at the end."""
        env = told(self.folder / "store") | {"PORTKIT_STATE": str(self.folder / "state")}
        argv = ["sh", "-c", 'umask 0; exec "$@"', "sh", str(PORTKIT), "--debug", *words]
        log = self.folder / f"log-{secrets.token_hex(4)}"
        with log.open("wb") as out, process.popen(argv, env=env, stdout=out, stderr=out) as running:
            yield Begun(running, log)
            while process.wait(running, 0.3) is None:
                self.watched.look()
        assert running.returncode == code, log.read_text()[-3000:]
        if self.watched.tells(log.read_bytes()):
            self.watched.found.add(f"what portkit {words[0]} printed")

    def heard(self, begun: Begun, words: bytes) -> None:
        """The command has printed these words."""
        deadline = time.monotonic() + 300
        while words not in begun.log.read_bytes():
            assert time.monotonic() < deadline, begun.log.read_text()[-3000:]
            self.watched.look()
            time.sleep(0.3)

    def newest(self) -> str:
        """The id of the Move that was made last."""
        return re.findall(rb'"id": "(pk-[0-9a-f]{12})"', self.portkit(*MOVES))[0].decode()


MOVES = ("moves", "--all", "--output", "json")


@pytest.fixture
def person(lab: Lab, tmp_path: Path) -> Iterator[Person]:
    person = Person(tmp_path, Watched((SECRET, TOKEN), TEMPORARY, tmp_path))
    with watching(person.watched):
        yield person
    # Not within: what looks for the words has them in its own command line.
    for name in ("alpha", "beta"):
        look_at_host(lab, name, person.watched)
    for root in ("state", "store"):
        look_at_folder(tmp_path / root, person.watched)
    assert not person.watched.found, "\n".join(sorted(person.watched.found))
    assert person.watched.executed > 0


def look_at_host(lab: Lab, name: str, watched: Watched) -> None:
    for command, words in ON_A_HOST.items():
        if any(word in on(lab, name, command, check=False) for word in words):
            watched.found.add(f"{name}: {command}")
    there = set(on(lab, name, FILES_OF_A_HOST, check=False).splitlines())
    watched.found |= {f"{name}:{path}" for path in there if not re.fullmatch(MEANT, path)}
    lax = on(lab, name, OPEN_TO_OTHERS, check=False).splitlines()
    watched.found |= {f"{name}:{path} is open to others" for path in lax}


def look_at_folder(root: Path, watched: Watched) -> None:
    for path in (root, *root.rglob("*")):
        if stat.S_IMODE(path.lstat().st_mode) & 0o077 and not path.is_symlink():
            watched.found.add(f"{path} is open to others")
        words = (SECRET,) if "blobs" in path.parts else (SECRET, TOKEN)
        if path.is_file() and any(word.encode() in path.read_bytes() for word in words):
            watched.found.add(f"the file {path}")


def test_nothing_shows_a_secret(person: Person) -> None:
    app = person.folder / "secrets"
    app.mkdir()
    (app / "compose.yaml").write_text(COMPOSE)
    (app / "Dockerfile").write_text(DOCKERFILE)
    printed = person.portkit("move", str(app), "--from", "lab:alpha", "--to", "lab:beta")
    assert b"the token is ***" in printed, "what the build printed was seen"
    assert b"TOKEN stays readable in the image's history" in printed
    person.portkit("ps", "--on", "lab:beta", "--output", "json")
    person.portkit("rm", "--yes", "secrets", "--on", "lab:beta")


@pytest.fixture
def runs(lab: Lab) -> Iterator[str]:
    """A container on alpha that has the secret, and ends where it is started on gamma."""
    name = "keeper"
    counter(lab, name, "-e", f"PASSWORD={SECRET}", "-e", "FAILS=gamma")
    yield name
    remove(lab, name)


@pytest.mark.parametrize("form", ["image", pytest.param("disk", marks=pytest.mark.campaign)])
def test_nothing_shows_a_secret_of_what_runs(
    lab: Lab, runs: str, person: Person, form: str
) -> None:
    """A Move that fails, one that is taken back, and all that is asked about them."""
    if form == "image":
        words = (f"container:{runs}", "--from", "lab:alpha", "--to", "lab:gamma")
        assert b"exited with code 3" in person.portkit("move", *words, code=8)
        person.portkit("cutover", person.newest(), code=8)
        person.portkit("rollback", person.newest())
    words = (f"container:{runs}", "--form", form, "--from", "lab:alpha", "--to", "lab:beta")
    person.portkit("move", *words, "--dry-run", "--output", "json")
    person.portkit("move", *words, "--output", "json")
    move = person.newest()
    if form == "disk":
        on_again = ("--from", "lab:beta", "--to", "lab:alpha", "--output", "json")
        person.portkit("move", f"vm:{move}", *on_again)
        person.portkit("rollback", person.newest(), "--discard-writes")
    person.portkit("show", move)
    person.portkit("ps", "--on", "lab:beta", "--output", "json")
    person.portkit("logs", move, "--on", "lab:beta")
    person.portkit("forget", move)
    person.portkit("check", f"container:{runs}", "--from", "lab:alpha", "--on", "lab:beta", code=9)
    person.portkit("rollback", move, "--discard-writes")
    person.portkit(*MOVES)
    person.portkit("gc", "--on", "lab:beta", "--dry-run")


@pytest.mark.campaign
@pytest.mark.parametrize("form", ["image", "disk"])
def test_nothing_shows_a_secret_while_a_move_waits(
    lab: Lab, runs: str, person: Person, form: str
) -> None:
    """A Move that waits before its cutover and before its commit, whose command fails after that,
    and the same one taken back on its hosts, by somebody who has no journal of it."""
    words = ["move", f"container:{runs}", "--form", form, "--from", "lab:alpha", "--to", "lab:beta"]
    words += ["--hold", "--confirm", "--forward", "--after-commit", HOOK]
    with person.begun(*words, code=15) as begun:
        person.heard(begun, b"a cutover now would cost")
        move = person.newest()
        person.portkit("show", move, "--output", "json")
        person.portkit("cutover", move)
        person.heard(begun, b"to keep it there: portkit commit")
        person.portkit("show", move)
        person.portkit("commit", move, code=15)
    person.portkit("resume", move, "--skip-hooks")
    person.portkit("forward", "--on", "lab:alpha")
    person.portkit("forward", move)
    person.portkit("rollback", move, "--discard-writes")
    with person.begun(*words[:8], "--confirm", code=130) as begun:
        person.heard(begun, b"to keep it there: portkit commit")
        move = person.newest()
        begun.process.send_signal(signal.SIGINT)
    person.portkit("rollback", move, "--on", "lab:beta", "--discard-writes")
    person.portkit("rollback", move, "--on", "lab:alpha")
