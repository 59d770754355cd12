"""What ssh is told, and what becomes of its words. The ssh here is a script, or only asked -G."""

import os
import socket
import stat
from pathlib import Path

import pytest

from portkit import process
from portkit.errors import HostError, TransferError
from portkit.host import connect, ssh
from portkit.host.endpoint import Endpoint
from portkit.host.ssh import _OPTIONS, Counters, Session, failure, tcp_counters
from tests.unit.umasks import umask

# OpenSSH 9.2, word for word.
UNKNOWN = """\
No ED25519 host key is known for 10.77.0.11 and you have requested strict checking.
Host key verification failed."""
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key for 10.77.0.11 has changed and you have requested strict checking.
Host key verification failed."""

FAKE = """\
#!/bin/sh
umask 000
printf '%s\\n' "$@" >> "$HOME/argv"
for word; do
    [ "$word" = -G ] && { echo "hostname 192.0.2.1"; echo "user ops"; echo "port 22"; exit 0; }
done
while [ "$1" != -S ]; do shift; done
[ "$4" = forward ] && [ -e "$HOME/refuse" ] && exit 255
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$2"
head -c 100000 /dev/zero | tr '\\0' x >&2
printf '\\nthe end' >&2
exec cat
"""


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that writes its arguments, a line each, to the file that is returned."""
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "argv"


# hostile inputs 26, 29: whatever the user's own file says
@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ("StrictHostKeyChecking no", "stricthostkeychecking true"),
        ("StrictHostKeyChecking accept-new", "stricthostkeychecking true"),
        ("ForwardAgent yes", "forwardagent no"),
        ("ForwardX11 yes", "forwardx11 no"),
        ("PermitLocalCommand yes", "permitlocalcommand no"),
        ("BatchMode no", "batchmode yes"),
    ],
)
def test_our_options_win(tmp_path: Path, config: str, wanted: str) -> None:
    file = tmp_path / "config"
    file.write_text(f"Host *\n    {config}\n")
    endpoint = Endpoint("web1", config=file)
    said = process.run(["ssh", "-G", *_OPTIONS, *endpoint.arguments()]).text
    assert wanted in said.splitlines()


# hostile input 26
@pytest.mark.parametrize(
    ("said", "brief", "todo"),
    [
        (UNKNOWN, "the host's key is unknown", "ssh HOST"),
        (CHANGED, "the host's key has changed", "ssh-keygen -R HOST"),
    ],
)
def test_a_key_that_is_not_trusted(said: str, brief: str, todo: str) -> None:
    error = failure("web1", said)
    assert error.brief == f"{brief}: web1"
    assert todo in error.resolution
    assert "fingerprint" in error.resolution


def test_every_ssh_gets_the_options(fake_ssh: Path) -> None:  # hostile inputs 25, 26, 29
    session = Session("web1", Endpoint("web1", "ops"))
    try:
        session.start("exec sh -c 'echo hi'")
        session.forward("/tmp/a b", "/var/run/docker.sock")
    finally:
        session.close()
    calls = fake_ssh.read_text().split("--\nweb1\n")
    assert len(calls) == 5
    for call in calls[1:4]:
        words = call.splitlines()
        assert {"-oStrictHostKeyChecking=yes", "-oForwardAgent=no", "-oBatchMode=yes"} <= {*words}
        assert not {"-A", "-X", "-Y"} & {*words}


def test_modes_and_size_of_what_ssh_leaves(fake_ssh: Path) -> None:
    """hostile inputs 28, 60: private under umask 000; of endless words only the end is read."""
    with umask(0):
        session = Session("web1", Endpoint("web1"))
    try:
        assert stat.S_IMODE(session.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((session.folder / "stderr").stat().st_mode) == 0o600
        for _ in range(100):
            if session.said().endswith("the end"):
                break
            process.wait(session._master, 0.05)
        assert session.said().endswith("x\nthe end")
        assert len(session.said()) <= 4096
    finally:
        session.close()
    assert not session.folder.exists()


# hostile input 30
@pytest.mark.parametrize("name", ["tcp://10.0.0.1:2375", "http://h:2375", "qemu+tcp://h/system"])
def test_an_engine_over_tcp_is_no_host(name: str) -> None:
    with pytest.raises(HostError, match="only by ssh") as caught, connect(name):
        pass
    assert name in caught.value.details


# hostile input 30
@pytest.mark.parametrize(
    "told",
    [
        "tcp://10.0.0.1:2375",
        "http://10.0.0.1:2375",
        "10.0.0.1:2375",
        "unix:///run/user/1000/podman/podman.sock",
        "/run/podman/podman.sock",
    ],
)
def test_docker_host_over_tcp_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", told)
    with pytest.raises(HostError, match="unix socket or by ssh") as caught, connect("local"):
        pass
    assert told in caught.value.details


def test_a_master_that_ended_is_replaced(fake_ssh: Path) -> None:
    """`start` makes a new one, with the forwards that the old one had."""
    session = Session("h", Endpoint("h"))
    try:
        first = session._master
        session.start("one")
        session.forward("/tmp/local", "/run/remote")
        process.end(first)
        fake_ssh.write_text("")
        child = session.start("two")
        assert session._master is not first
        assert session._master.poll() is None
        assert child.poll() is None
        told = fake_ssh.read_text().splitlines()
        assert told.index("-oControlMaster=yes") < told.index("-L/tmp/local:/run/remote")
    finally:
        session.close()


def test_counters_go_on_behind_a_master_that_ended() -> None:
    assert ssh._added(Counters(1, 2, "tcp_info"), Counters(3, 4, "tcp_info")).received == 6


def test_a_forward_that_fails_ends_the_new_master(fake_ssh: Path) -> None:
    """The next `start` makes the master and every forward anew."""
    session = Session("h", Endpoint("h"))
    refuse = fake_ssh.parent / "refuse"
    try:
        session.start("one")
        session.forward("/tmp/first", "/run/first")
        session.forward("/tmp/second", "/run/second")
        process.end(session._master)
        refuse.touch()
        with pytest.raises(TransferError, match="could not forward"):
            session.start("two")
        assert session._master.poll() is not None
        refuse.unlink()
        fake_ssh.write_text("")
        session.start("three")
        told = fake_ssh.read_text().splitlines()
        assert {"-L/tmp/first:/run/first", "-L/tmp/second:/run/second"} <= {*told}
    finally:
        session.close()


def test_a_counter_that_is_gone_stays_where_it_was(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master that is dying shows no socket; its bytes were counted all the same."""
    found: list[Counters | None] = [Counters(5, 6, "tcp_info")]
    monkeypatch.setattr(ssh, "tcp_counters", lambda pid: found[0])
    session = Session("h", Endpoint("h"))
    try:
        session.start("one")
        assert session.counters() == Counters(5, 6, "tcp_info")
        found[0] = None
        assert session.counters() == Counters(5, 6, "tcp_info")
        process.end(session._master)
        assert session.counters() == Counters(5, 6, "tcp_info")
        session.start("two")
        assert session.counters() == Counters(5, 6, "tcp_info")
        found[0] = Counters(1, 2, "tcp_info")
        assert session.counters() == Counters(6, 8, "tcp_info")
    finally:
        session.close()


def test_what_was_never_seen_is_not_counted(
    fake_ssh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "tcp_counters", lambda pid: None)
    session = Session("h", Endpoint("h"))
    try:
        assert session.counters() is None
        process.end(session._master)
        assert session.counters() is None
    finally:
        session.close()


def test_descriptors_that_close_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone hides no other; when all are, nothing is told."""
    real, gone = Path.readlink, {"0"}

    def readlink(path: Path) -> Path:
        if not gone or path.name in gone:
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(Path, "readlink", readlink)
    with socket.create_server(("127.0.0.1", 0)):
        assert tcp_counters(os.getpid()) is not None
        gone.clear()
        assert tcp_counters(os.getpid()) is None
