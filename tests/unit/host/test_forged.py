"""A host that lies: banners, other shells, forged, huge and coloured answers."""

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import host as host_room
from portkit import process
from portkit.errors import HostError, PortkitError, TransferError
from portkit.host import answers, calls, pipes
from portkit.host.calls import Remote
from portkit.host.program import BOOT
from portkit.progress import NullObserver
from portkit.remote import serve
from portkit.wire import frames
from tests import remote_half

# Greets as the remote half does; then says FRAMES after each call, whatever it was.
FORGER = """
import re, sys, zlib
read = sys.stdin.buffer
code = zlib.decompress(read.read(int(read.readline())))
nonce = re.findall(rb"serve.main\\('([0-9a-f]{32})', ", code)[0]
out = sys.stdout.buffer
frame = lambda kind, data: kind + len(data).to_bytes(4, "big") + data
out.write(b"\\n" + b"PORTKIT-REMOTE/1 " + nonce + b"\\n" + frame(b"J", HELLO))
out.flush()
while kind := read.read(1):
    read.read(int.from_bytes(read.read(4), "big"))
    for row in FRAMES:
        out.write(frame(*row))
    out.flush()
    THEN
"""
HELLO = b'{"encodings": ["raw"]}'


SHELLS = ("sh", "dash", "bash", "zsh", "ksh", "fish", "csh")


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar goes on running; nobody waits for its last words here."""
    monkeypatch.setattr(calls, "wait", lambda *_: None)


class Listener(NullObserver):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def message(self, text: str) -> None:
        self.heard.append(text)


@contextmanager
def started(argv: list[str], observer: Listener | None = None, name: str = "") -> Iterator[Remote]:
    with process.popen(argv, stdin=process.PIPE) as child:
        yield Remote(lambda: child, observer or Listener(), lambda: "", name=name)


@contextmanager
def forger(
    *rows: tuple[bytes, bytes],
    hello: bytes = HELLO,
    observer: Listener | None = None,
    then: str = "pass",
    name: str = "",
) -> Iterator[Remote]:
    with tempfile.NamedTemporaryFile("w") as file:
        code = FORGER.replace("HELLO", repr(hello)).replace("FRAMES", repr(rows))
        file.write(code.replace("THEN", then))
        file.flush()
        with started([sys.executable, file.name], observer, name) as remote:
            yield remote


def ok(value: Any) -> tuple[bytes, bytes]:
    return b"J", json.dumps({"ok": value}).encode()


# hostile input 27
@pytest.mark.parametrize("shell", [name for name in SHELLS if shutil.which(name)])
def test_any_shell_and_its_banner(shell: str) -> None:
    command = "exec " + shlex.join(["sh", "-c", 'exec python3 -I -c "$1"', "sh", BOOT])
    noisy = f"printf 'Welcome!\\nPORTKIT-REMOTE/1 0\\n\\033[2J'; {command}"
    with started([shell, "-c", noisy]) as remote:
        assert remote.call("store.has", {"digests": []}) == {"have": {}}


def test_the_command_means_the_same_to_every_shell() -> None:
    """hostile inputs 25, 27: nothing that csh or fish reads inside quotes, and one word each."""
    words = ["sh", "-c", host_room._AS_ROOT, "sh", BOOT]
    assert shlex.split(shlex.join(words)) == words
    for word in words:
        assert not set(word) & set("!\\'\n\r\0")


# hostile input 27: a login that waits for an answer, one that talks for ever, one that ends
@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("echo 'Press a key'; sleep 30", "did not start within"),
        ("while :; do echo Welcome; done", "did not start"),
        ("echo 'This account is currently not available.'; exit 1", "not available"),
        ("echo 'sudo: a password is required'; exit 1", "sudo asks for a password"),
        ("echo 'exec: python3: not found'; exit 127", "no python3"),
    ],
)
def test_a_login_that_never_gets_there(
    monkeypatch: pytest.MonkeyPatch, script: str, word: str
) -> None:
    monkeypatch.setattr(calls, "_GREETING_S", 0.3)
    with pytest.raises(PortkitError) as caught, started(["sh", "-c", script], name="web1"):
        pass
    assert word in str(caught.value)
    assert caught.value.details.startswith("web1: "), "which of two hosts it is"


# hostile input 28
@pytest.mark.parametrize(
    "hello",
    [b"no json", b"[]", b"[" * 200_000, b"{}", b'{"encodings": 5}', b'{"encodings": ["rot13"]}'],
)
def test_a_forged_hello(hello: bytes) -> None:
    with pytest.raises(TransferError), forger(hello=hello):
        pass


# hostile input 28
@pytest.mark.parametrize(
    "row",
    [
        ok([]),
        ok({"images": 5, "containerd": True}),
        ok({"images": [{"id": "../x"}], "containerd": False}),
        ok({"images": [], "containerd": "yes"}),
        (b"J", b"{}"),
        (b"J", b'{"error": ["x"]}'),
        (b"J", b"[" * 200_000),
        (b"D", b"data"),
        (b"X", b""),
    ],
)
def test_a_forged_answer(row: tuple[bytes, bytes]) -> None:
    with forger(row) as remote, pytest.raises(TransferError):
        remote.call("image.list", {})


def test_a_frame_over_the_limit() -> None:  # hostile input 28
    with forger((b"J", b"x" * (frames.JSON_LIMIT + 1))) as remote:
        with pytest.raises(TransferError, match="over the limit"):
            remote.call("image.list", {})
        assert remote.read_bytes < 1000


ALIVE = b'{"event": "alive"}'
ENDLESS = "while True: out.write(frame(*FRAMES[-1]))"
TRICKLE = "import time\n    while True: out.write(b'x'); out.flush(); time.sleep(0.05)"


@pytest.mark.parametrize(
    ("rows", "then", "word"),
    [
        ([], "pass", "stopped responding"),
        ([(b"J", ALIVE)], "pass", "stopped responding"),
        ([], "out.write(b'J' + bytes([0, 16, 0, 0])); out.flush()", "stopped responding"),
        ([], "out.write(b'J' + bytes([0, 16, 0, 0])); " + TRICKLE, "stopped responding"),
        ([(b"J", ALIVE)], ENDLESS, "endless progress"),
        ([(b"J", b'{"event": "message", "text": "x"}')], ENDLESS, "endless progress"),
        ([(b"J", b'{"event": "other"}')], ENDLESS, "endless progress"),
        ([(b"D", bytes(1 << 20))], ENDLESS, "more data than it announced"),
    ],
)
def test_a_host_that_never_answers(
    rows: list[tuple[bytes, bytes]], then: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipes, "SILENCE_S", 1.0)
    monkeypatch.setattr(calls, "_TALK_BYTES", 1 << 20)
    then = then.replace("FRAMES", repr(rows))
    took = 0

    def receive(data: bytes) -> None:
        nonlocal took
        took += len(data)

    with forger(*rows, then=then) as remote, pytest.raises(TransferError, match=word):
        remote.call("image.save", {}, receive=receive, most=3 << 20)
    assert took <= 3 << 20


def test_signs_of_life_do_not_last_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_LIMIT_S", 0.5)
    then = f"import time\n    while True: out.write(frame(b'J', {ALIVE!r})); out.flush(); "
    late = pytest.raises(TransferError, match=r"did not finish store\.has in time")
    with forger(then=then + "time.sleep(0.05)") as remote, late:
        remote.call("store.has", {"digests": []})


def test_a_host_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "SILENCE_S", 1.0)
    deaf = forger(then="import time; time.sleep(60)")
    with deaf as remote, pytest.raises(TransferError, match="stopped responding"):
        remote.call("store.apply", {}, send=iter(lambda: bytes(1 << 20), b""))


def test_text_that_no_encoding_can_write() -> None:
    row = (b"J", b'{"ok": {"running": ["\\ud800"]}}')
    with forger(row) as remote, pytest.raises(TransferError, match="no JSON"):
        remote.call("image.containers", {})
    with forger((b"J", b'{"ok": {"running": ["\\ud83d\\ude00"]}}')) as remote:
        assert remote.call("image.containers", {}) == {"running": ["\U0001f600"]}


def test_words_are_stripped_and_cut() -> None:  # hostile input 28
    observer = Listener()
    message = {"event": "message", "text": "\x1b[31mred\x9b2J\u202e" + "x" * 100_000}
    error = {"error": ["nonsense", "\x1b]0;title\x07b", "d\r" * 50_000, "r\x00"]}
    rows = [(b"J", json.dumps(row).encode()) for row in (message, error)]
    with forger(*rows, observer=observer) as remote, pytest.raises(HostError) as caught:
        remote.call("image.list", {})
    assert observer.heard[0].startswith("[31mred2J")
    assert len(observer.heard[0]) <= 2000
    assert caught.value.brief == "]0;titleb"
    assert caught.value.resolution == "r"
    assert set(caught.value.details) == {"d"}
    assert len(caught.value.details) <= 16_000


def test_an_error_names_no_class_but_ours() -> None:  # hostile input 28
    for kind in ("PortkitError", "ClassVar", "__builtins__", "annotations"):
        row = b"J", json.dumps({"error": [kind, "b", "", ""]}).encode()
        with (
            forger(row, name="web1") as remote,
            pytest.raises(PortkitError, match="b") as caught,
        ):
            remote.call("store.has", {"digests": []})
        assert caught.value.details == "web1", "which of two hosts it is"


# hostile inputs 25, 28, 30: it becomes a part of ssh's -L and of a URI
@pytest.mark.parametrize(
    "path", ["10.0.0.1:2375", "/run/x", "/var/run/libvirt/libvirt-sock:x", "-x", "a b", 5, [], ""]
)
def test_a_forged_socket(path: object) -> None:
    with forger(ok({"libvirt_socket": path})) as remote:
        host = host_room.Host("web1", None, remote)
        for ask in (host.facts, host.libvirt_uri):
            with pytest.raises(HostError, match="invalid description"):
                ask()


def test_every_verb_has_a_schema() -> None:
    """hostile input 28: a verb without one would let through whatever a host says."""
    assert set(serve.VERBS) <= set(answers._SCHEMAS)


DISK = ["/i/disk.qcow2"]
LIVE = "/run/portkit/live/pk-"
MADE = {"base": "", "overlay": "", "config": "", "serial": "", "state": "", "dir": ""}


@pytest.mark.parametrize(
    ("verb", "args", "told", "asked"),
    [
        (
            "process.ignored",
            {"processes": [{"pid": 1, "signal": 15}, {"pid": 2, "signal": 15}]},
            {"ignored": [True]},
            {"ignored": [True, False]},
        ),
        ("instance.stage", {"id": "x", "disks": True}, {"folders": []}, {"folders": DISK}),
        ("instance.expose", {"id": "x"}, {"folders": [*DISK, *DISK]}, {"folders": DISK}),
        (
            "live.begin",
            {"id": "pk-000000000001"},
            {"folder": LIVE + "000000000002"},
            {"folder": LIVE + "000000000001"},
        ),
        (
            "instance.described",
            {"id": "x"},
            {"text": "", "blobs": "", "disks": DISK, "resting": []},
            {"text": "", "blobs": "", "disks": [*DISK, "/i/config.raw"], "resting": []},
        ),
        (
            "instance.create",
            {"volumes": [{"name": "pkv0", "bytes": 1}]},
            {**MADE, "boot": [], "volumes": {}},
            {**MADE, "boot": [], "volumes": {"pkv0": "/i/pkv0.raw"}},
        ),
        (
            "instance.create",
            {"volumes": [], "boot": ["sha256:1", "sha256:2"]},
            {**MADE, "boot": ["/i/kernel"], "volumes": {}},
            {**MADE, "boot": ["/i/kernel", "/i/initrd"], "volumes": {}},
        ),
        ("volume.survey", {"folders": [{"path": "/v"}]}, {"folders": []}, None),
    ],
)
def test_an_answer_is_about_what_was_asked(
    verb: str, args: dict[str, Any], told: dict[str, Any], asked: dict[str, Any] | None
) -> None:
    """hostile input 28: whoever pairs the rows with what was asked would end with a bare
    StopIteration, KeyError or ValueError."""
    with (
        forger(ok(told)) as remote,
        pytest.raises(TransferError, match="unexpected response from the host"),
    ):
        remote.call(verb, args)
    if asked is not None:
        with forger(ok(asked)) as remote:
            assert remote.call(verb, args) == asked


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.sampled_from(sorted(answers._SCHEMAS)), st.dictionaries(st.text(max_size=8), JSON))
def test_any_answer_is_judged(verb: str, row: dict[str, Any]) -> None:  # hostile input 28
    assert len(answers.wrong(verb, row)) <= 500


@given(st.binary(max_size=300))
def test_any_frame_is_json_or_refused(payload: bytes) -> None:  # hostile input 28
    try:
        assert isinstance(frames.parse_json(payload), dict)
    except frames.FrameError:
        return


def test_a_bad_call_does_not_end_the_remote_half() -> None:
    """hostile input 59: the error tells the kind of exception, never the call's values."""
    with remote_half.started({"PORTKIT_REMOTE_STORE": "/nonexistent"}) as child:
        remote = Remote(lambda: child, NullObserver(), lambda: "")
        with pytest.raises(TransferError) as caught:
            remote.call("store.apply", {"digest": "sha256:" + "0" * 64, "size": "hunter2"})
        assert "hunter2" not in str(caught.value)
        assert remote.call("store.has", {"digests": []}) == {"have": {}}
