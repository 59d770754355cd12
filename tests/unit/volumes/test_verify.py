"""What the last pass need not hash again, and the source that is hashed once more after it."""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from portkit import errors, process
from portkit.progress import NullObserver
from portkit.remote.volume_known import PROOF, Known, begin_proof, keeps_ctime
from portkit.volumes import Copy, Folder, Pass, verify_origin
from portkit.volumes.index import Index
from tests.unit.volumes.folders import Pair, seen

OLD_S = 0.3  # a ctime that is younger than a quarter of a second proves nothing


def provable(root: Path) -> bool:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        return keeps_ctime(descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture
def proving(pair: Pair) -> Pair:
    if not provable(pair.origin):
        pytest.skip("the file system of the temporary folder is none that keeps ctime")
    (pair.origin / "a").write_bytes(b"a" * 100_000)
    (pair.origin / "b").write_bytes(b"b" * 100_000)
    time.sleep(OLD_S)
    return pair


def warmed(pair: Pair) -> Copy:
    """Two passes: the first one sends, in the second one the target proves what it has."""
    copy = pair.copy()
    copy.run()
    time.sleep(OLD_S)
    copy.run()
    return copy


def test_what_is_proven_is_not_read_again(proving: Pair) -> None:
    copy = warmed(proving)
    path = proving.origin / "a"
    before = path.stat()
    path.write_bytes(b"c" * 100_000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync would not see it
    last = copy.run(last=True)
    assert (last.remembered, last.hashed, last.provable) == (100_000, 100_000, True)
    assert seen(proving.origin) == seen(proving.target)
    full = copy.run(last=True, full=True)
    assert (full.remembered, full.hashed, full.hashed_there) == (0, 200_000, 200_000)


def test_what_was_just_written_is_no_proof(proving: Pair) -> None:
    copy = proving.copy()
    (proving.origin / "a").write_bytes(b"c" * 100_000)
    copy.run()
    # On the target all was written just now, at the source one file.
    last = copy.run(last=True)
    assert (last.hashed, last.hashed_there) == (100_000, 200_000)


def test_a_store_through_a_map_changes_what_is_proven(proving: Pair) -> None:
    """Also where the page was dirty when the proof began."""
    path = proving.origin / "a"
    descriptor = os.open(path, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, 0) as area:
            area[0] = 1
            time.sleep(OLD_S)
            known = Known(b"/test", PROOF, begin_proof(descriptor, 250))
            known.keep(os.fstat(descriptor), b"x" * 32)
            assert known.recall(os.fstat(descriptor)) == b"x" * 32
            time.sleep(0.02)  # a tick of the kernel's clock
            area[1] = 1
            assert known.recall(os.fstat(descriptor)) is None
    finally:
        os.close(descriptor)


def test_a_file_system_without_ctime_is_hashed(pair: Pair) -> None:
    process.run(["mount", "-t", "tmpfs", "none", pair.origin])
    try:
        (pair.origin / "a").write_bytes(b"a" * 1000)
        time.sleep(OLD_S)
        assert not provable(pair.origin)
        copy = warmed(pair)
        last = copy.run(last=True)
        assert (last.remembered, last.hashed, last.provable) == (0, 1000, False)
    finally:
        process.run(["umount", pair.origin])


# ---------------------------------------------------------------- the source, once more


def verify(pair: Pair, last: Pass, sent: Index | None) -> int:
    folder = Folder(pair.hosts[0], str(pair.origin))
    return verify_origin(folder, last.digest, sent, NullObserver())


def test_the_source_is_what_was_sent(proving: Pair) -> None:
    os.mkfifo(proving.origin / "pipe")
    copy = warmed(proving)
    last = copy.run(last=True)
    proving.ends[0].process.kill()
    proving.ends[0].process.wait()
    assert verify(proving, last, copy.sent) == 200_000


def test_the_source_was_written_to_since(proving: Pair) -> None:
    copy = warmed(proving)
    last = copy.run(last=True)
    (proving.origin / "b").write_bytes(b"c" * 100_000)
    with pytest.raises(errors.VerifyError, match="differs from what was sent") as caught:
        verify(proving, last, copy.sent)
    assert "of b in" in caught.value.details
    assert "after the App was stopped" in caught.value.details
    with pytest.raises(errors.VerifyError, match="differs from what was sent") as caught:
        verify(proving, last, None)
    assert "another digest" in caught.value.details


def test_a_change_that_no_time_tells_of(proving: Pair) -> None:
    copy = warmed(proving)
    last = copy.run(last=True)
    assert copy.sent is not None
    rows = dict(copy.sent.rows)
    rows[b"b"] = rows[b"b"]._replace(hashes=rows[b"a"].hashes)
    sent = Index(rows)
    lied = replace(last, digest=sent.digest)
    with pytest.raises(errors.VerifyError) as caught:
        verify(proving, lied, sent)
    assert "content of b in" in caught.value.details
    assert "its times do not show when" in caught.value.details
    assert "hashes all content" in (caught.value.resolution or "")
