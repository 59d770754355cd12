"""Each blob of an Artifact has a row in what a transfer tells, also when it does not travel."""

import os

from portkit import transfer
from portkit.host import Host
from portkit.model import Artifact, Blob, Form, ImageConfig
from portkit.store import Store
from tests.unit.transfer.far import Far


def disk(*blobs: Blob) -> Artifact:
    config = ImageConfig(blobs[-1].digest, "amd64", "linux", ())
    size = sum(blob.size for blob in blobs)
    return Artifact(Form.DISK, blobs[-1].digest, (config,), blobs, size, size)


def test_a_row_for_each_blob(near: Store, far: Far) -> None:
    host = Host("far", None, far.remote)  # type: ignore[arg-type]
    data = os.urandom(100_000)
    kernel, made = near.put_bytes(data), near.put_bytes(data + os.urandom(50_000))
    far.store.put_bytes(data)
    artifact = disk(kernel, kernel, made)
    done = transfer.send(artifact, near, host, move="pk-0123456789ab")
    there, sent = done.blobs
    assert (there.digest, there.size, there.copied) == (kernel.digest, kernel.size, kernel.size)
    assert (there.sent, there.literal, there.zero, there.bases) == (0, 0, 0, ())
    assert there.reason == "already there"
    assert (sent.digest, sent.bases) == (made.digest, (kernel.digest,))
    assert 0 < sent.copied <= kernel.size
    assert done.reused_bytes == kernel.size + sent.copied

    again = transfer.send(artifact, near, host, move="pk-0123456789ab")
    assert [row.digest for row in again.blobs] == [kernel.digest, made.digest]
    assert {row.reason for row in again.blobs} == {"already there"}
    assert again.reused_bytes == kernel.size + made.size
