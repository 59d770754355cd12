"""How long a stream is tried again: as long as more of it arrives, not as a host tells."""

import hashlib
import os
from typing import Any

import pytest

from portkit.errors import TransferError
from portkit.model import Blob
from portkit.progress import NullObserver
from portkit.store import Store
from portkit.transfer.price import Packing
from portkit.transfer.resume import Link, Sending, transmit
from portkit.transfer.stream import Stream

HOW = Packing("raw", 0)


class Telling:
    """A host that tells of more at each call and hangs up."""

    encodings = ("raw",)

    def __init__(self, stream: bytes | None) -> None:
        self.lost = False
        self.size = 0
        self.stream = stream  # what it has in fact

    def call(self, verb: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.lost = False
        if verb == "store.has":
            return {"have": {}}
        if verb == "store.apply":
            self.lost = True
            raise TransferError("the connection to the host broke")
        self.size += 1
        held = b"no" if self.stream is None else self.stream[: self.size]
        return {"size": self.size, "sha256": hashlib.sha256(held).hexdigest()}


def tries(near: Store, remote: Telling, content: bytes) -> int:
    waited: list[float] = []
    link = Link(remote, pause=waited.append, pauses=(1.0, 2.0))
    blob = Blob("sha256:" + "0" * 64, len(content))
    folder = near.temporary().parent
    with Stream(iter([content]), HOW, folder) as stream, pytest.raises(TransferError):
        transmit(Sending(blob, HOW, [], 0), stream, link, NullObserver(), lambda offset: iter(()))
    return len(waited)


def test_a_size_that_grows_is_not_enough(near: Store) -> None:
    assert tries(near, Telling(None), os.urandom(50)) == 2


def test_what_arrives_is(near: Store) -> None:
    content = os.urandom(50)
    whole = content + hashlib.sha256(content).digest()
    assert tries(near, Telling(whole), content) == len(whole) - 1 + 2
