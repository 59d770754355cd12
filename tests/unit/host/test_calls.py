"""The remote half over plain pipes: the same program, the same frames, no engine."""

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import process
from portkit.errors import HostError, TransferError, VerifyError
from portkit.halt import Halt, Halted
from portkit.host import calls
from portkit.host.calls import Remote
from portkit.host.facts import parse_facts
from portkit.host.ssh import failure
from portkit.progress import NullObserver
from portkit.remote.facts import loop_s
from portkit.wire import codec, frames
from portkit.wire import recipe as ops
from tests import remote_half
from tests.factories import FACTS


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    env = {"PORTKIT_REMOTE_STORE": str(tmp_path / "store")}
    with ExitStack() as stack:

        def start() -> process.Process:
            return stack.enter_context(remote_half.started(env))

        yield Remote(start, NullObserver(), lambda: "")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def order(digest: object, size: object, encoding: str = "raw") -> dict[str, Any]:
    """What asks for a blob that is made from no others."""
    row = {"digest": digest, "size": size, "encoding": encoding}
    return {**row, "key": "0" * 32, "offset": 0, "bases": []}


def recipe_of(data: bytes) -> bytes:
    writer = ops.Writer()
    return writer.literal(len(data)) + data + writer.end()


def sealed(stream: bytes) -> bytes:
    """A stream with the trailer that belongs to it."""
    return stream + hashlib.sha256(stream).digest()


def packed(data: bytes, encoding: str) -> bytes:
    packer = codec.Compressor(encoding)
    return packer.feed(data) + packer.finish()


@pytest.mark.parametrize("encoding", codec.encodings())
def test_a_blob_arrives(remote: Remote, tmp_path: Path, encoding: str) -> None:
    data = b"x" * 100_000 + bytes(3 << 20) + os.urandom(70_000)
    args = order(digest_of(data), len(data), encoding)
    remote.call("store.apply", args, send=[sealed(packed(recipe_of(data), encoding))])
    path = tmp_path / "store/blobs/sha256" / args["digest"][7:]
    assert path.read_bytes() == data
    assert path.stat().st_blocks * 512 < 1 << 20, "zeros are holes"
    assert path.stat().st_mode & 0o777 == 0o600
    here = remote.call("store.has", {"digests": [args["digest"], "sha256:" + "0" * 64]})
    assert here == {"have": {args["digest"]: len(data)}}


# hostile input 17
@pytest.mark.parametrize("change", ["flip", "short", "long", "cut", "damaged"])
def test_nothing_false_gets_a_name(remote: Remote, tmp_path: Path, change: str) -> None:
    data = os.urandom(300_000)
    content = packed(recipe_of(data), "zstd")
    stream = sealed(content)
    args = order(digest_of(data), len(data), "zstd")
    if change == "flip":
        args["digest"] = digest_of(data + b"!")
    elif change == "short":
        args["size"] = len(data) + 1
    elif change == "long":
        args["size"] = len(data) - 1
    elif change == "cut":
        stream = stream[:1000]
    else:
        stream = sealed(content[:1000])
    with pytest.raises(VerifyError):
        remote.call("store.apply", args, send=[stream])
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert remote.call("store.has", {"digests": []}) == {"have": {}}, "the next call works"


@pytest.mark.parametrize(
    ("encoding", "begin"), [("zstd", b""), ("raw", b""), ("raw", ops.Writer().literal(1 << 40))]
)
def test_a_refusal_comes_before_all_was_sent(remote: Remote, encoding: str, begin: bytes) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield begin
        for _ in range(100_000):
            sent += 1
            yield bytes(1 << 16)

    args = order("sha256:" + "0" * 64, 10, encoding)
    with pytest.raises(VerifyError):
        remote.call("store.apply", args, send=endless())
    assert sent < 100_000


# hostile input 18
@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd",
        "md5:" + "0" * 32,
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "0" * 64 + "\n",
        "sha256:" + "A" * 64,
        "0" * 64,
        5,
    ],
)
def test_a_hostile_digest_is_no_path(remote: Remote, tmp_path: Path, digest: object) -> None:
    with pytest.raises(VerifyError):
        remote.call("store.apply", order(digest, 1), send=[sealed(recipe_of(b"x"))])
    with pytest.raises(VerifyError):
        remote.call("store.part", {**order(digest, 1), "room": 1})
    for verb in ("store.has", "store.remove"):
        with pytest.raises(VerifyError):
            remote.call(verb, {"digests": [digest]})
    assert not [p for p in (tmp_path / "store").rglob("*") if p.is_file()]


def test_the_size_is_told_before_the_digest(remote: Remote) -> None:  # hostile input 17
    args = order("sha256:" + "0" * 64, 4)
    for data, word in ((b"abc", "3 bytes of 4"), (b"abcde", "more than was announced")):
        with pytest.raises(VerifyError, match=word):
            remote.call("store.apply", args, send=[sealed(recipe_of(data))])
    with pytest.raises(VerifyError, match="should be sha256:0000"):
        remote.call("store.apply", args, send=[sealed(recipe_of(b"abcd"))])


def test_the_hosts_store_is_private_under_any_umask(tmp_path: Path) -> None:  # hostile input 60
    env = {"PORTKIT_REMOTE_STORE": str(tmp_path / "a/store")}
    before = os.umask(0)
    try:
        with remote_half.started(env) as child:
            remote = Remote(lambda: child, NullObserver(), lambda: "")
            args = order(digest_of(b"x"), 1)
            remote.call("store.apply", args, send=[sealed(recipe_of(b"x"))])
            found = list((tmp_path / "a").rglob("*"))
            assert found
            for path in [tmp_path / "a", *found]:
                assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    finally:
        os.umask(before)


def test_unknown_verb(remote: Remote) -> None:
    with pytest.raises(TransferError):
        remote.call("store.nonsense", {})


@pytest.mark.parametrize(
    "script", ["print('hello')", "import sys; sys.stdin.readline(); print('x' * 100000)"]
)
def test_a_host_that_answers_nonsense(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_GREETING_S", 2.0)
    with (
        process.popen([sys.executable, "-c", script], stdin=process.PIPE) as child,
        pytest.raises(TransferError),
    ):
        Remote(lambda: child, NullObserver(), lambda: "")


@given(st.binary(max_size=64))
def test_frames_from_noise(data: bytes) -> None:
    import io

    try:
        frame = frames.read_frame(io.BytesIO(data))
    except frames.FrameError:
        return
    assert frame is None or data.startswith(frame[0])


@given(st.binary(max_size=5000), st.sampled_from(codec.encodings()), st.integers(1, 700))
def test_codec_round_trip(data: bytes, encoding: str, step: int) -> None:
    packer, unpacker = codec.Compressor(encoding), codec.Decompressor(encoding)
    stream = packer.feed(data) + packer.finish()
    parts = [unpacker.feed(stream[i : i + step]) for i in range(0, len(stream), step)]
    assert b"".join(piece for part in parts for piece in part) == data
    unpacker.finish()


# hostile input 15
@pytest.mark.parametrize("encoding", ["zstd", "zlib"])
def test_a_bomb_comes_out_in_small_pieces(encoding: str) -> None:
    packer = codec.Compressor(encoding)
    stream = b"".join(packer.feed(bytes(1 << 20)) for _ in range(64)) + packer.finish()
    assert len(stream) < 1 << 20
    unpacker = codec.Decompressor(encoding)
    pieces = unpacker.feed(stream)
    assert len(next(pieces)) <= 1 << 17, "made as it is taken"
    assert max(map(len, pieces)) <= 1 << 17


@pytest.mark.parametrize("encoding", ["zstd", "zlib"])
def test_nothing_may_follow_the_end(encoding: str) -> None:
    packer = codec.Compressor(encoding)
    stream = packer.feed(b"x" * 1000) + packer.finish()
    for parts in ([stream + b"more"], [stream, b"more"]):
        unpacker = codec.Decompressor(encoding)
        with pytest.raises(ValueError):
            for part in parts:
                list(unpacker.feed(part))
            unpacker.finish()


def test_a_window_over_the_limit_is_refused() -> None:
    import zstandard

    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=28)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    data = stream.compress(bytes(1000)) + stream.flush()
    with pytest.raises(ValueError):
        list(codec.Decompressor("zstd").feed(data))
    assert b"".join(codec.Decompressor("zstd", 28).feed(data)) == bytes(1000)


def test_ssh_words_become_errors() -> None:
    assert "refused the login" in failure("h", "root@h: Permission denied (publickey).").brief
    assert "could not connect" in failure("h", "something new").brief


def test_facts_are_checked() -> None:
    with pytest.raises(HostError):
        parse_facts({"host": "h", "endpoint": "e", "cpus": "many"})


def test_how_fast_a_host_computes_is_measured_and_checked() -> None:
    row = json.loads(json.dumps(asdict(FACTS)))
    assert parse_facts(row).loop_s is None  # an older bundle does not tell it
    measured = loop_s()
    assert measured > 0
    assert parse_facts({**row, "loop_s": measured}).loop_s == measured
    for odd in (-1.0, float("nan"), float("inf"), 1e9, "0.1"):
        with pytest.raises(HostError, match="loop_s"):
            parse_facts({**row, "loop_s": odd})


def test_the_next_call_works_after_one_was_broken_off(remote: Remote, tmp_path: Path) -> None:
    def interrupted() -> Iterator[bytes]:
        yield recipe_of(b"x" * 10_000)[:1000]
        raise KeyboardInterrupt

    args = order("sha256:" + "0" * 64, 10_000)
    with pytest.raises(KeyboardInterrupt):
        remote.call("store.apply", args, send=interrupted())
    assert remote.call("store.has", {"digests": []}) == {"have": {}}


def test_a_lane_that_gives_up_ends_the_call_of_the_other(remote: Remote, tmp_path: Path) -> None:
    """In the middle of a transfer; the next call finds a whole connection and what it stands on."""
    data, halt = bytes(1000), Halt()
    remote.standing.append(("store.has", {"digests": []}))
    remote.halt = halt
    before = remote.written

    def endless() -> Iterator[bytes]:
        yield ops.Writer().literal(1 << 40)
        while True:
            halt.give_up(RuntimeError("full")) if remote.written > before + (1 << 20) else None
            yield bytes(1 << 16)

    with pytest.raises(Halted):
        remote.call("store.apply", order(digest_of(data), 1 << 40), send=endless())
    with pytest.raises(Halted):
        remote.call("store.has", {"digests": []})
    remote.halt = Halt()
    assert remote.call("store.has", {"digests": []}) == {"have": {}}
    assert not list((tmp_path / "store/blobs").rglob(digest_of(data)[7:]))


def test_a_host_that_is_silent_does_not_hold_up_the_end(remote: Remote) -> None:
    """It takes nothing more, and says nothing."""
    os.kill(remote._process.pid, 19)  # SIGSTOP
    timer = threading.Timer(0.2, lambda: remote.halt.give_up(RuntimeError("full")))
    timer.start()
    try:
        with pytest.raises(Halted):
            remote.call("store.has", {"digests": []})
    finally:
        os.kill(remote._process.pid, 18)  # SIGCONT


def test_two_threads_get_each_its_own_answer(remote: Remote) -> None:
    answers: list[set[str]] = []

    def ask(data: bytes) -> None:
        digest = digest_of(data)
        remote.call("store.apply", order(digest, 3), send=[sealed(recipe_of(data))])
        for _ in range(20):
            answers.append(set(remote.call("store.has", {"digests": [digest]})["have"]) ^ {digest})

    threads = [threading.Thread(target=ask, args=(data,)) for data in (b"one", b"two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [set()] * 40
