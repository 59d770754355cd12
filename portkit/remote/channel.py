"""The connection as a verb sees it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import BinaryIO, Iterator

from portkit.wire import frames
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

BEAT_S = 5.0  # the caller gives up after two minutes of silence


class Channel:
    """What a verb may do with the connection while it runs."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source = source
        self._sink = sink
        self._open = False
        self._writing = threading.Lock()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Send a sign of life now and then until the block's end."""
        done = threading.Event()
        # A verb may wait for an engine or a disk for minutes. Without these signs the near end
        # could not tell that from a host that hangs.
        beat = threading.Thread(target=self._beat, args=(done,), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join(1.0)  # it may be stuck in a connection that is stuck

    def _beat(self, done: threading.Event) -> None:
        while not done.wait(BEAT_S):
            try:
                self._say({"event": "alive"})
            except (OSError, ValueError):  # it broke: the verb itself meets that, too
                return

    def _say(self, row: JsonObject) -> None:
        with self._writing:
            frames.write_json(self._sink, row)

    def expect_data(self) -> None:
        """The call that is about to run brings data."""
        self._open = True

    def receive(self) -> Iterator[bytes]:
        """The data that the caller sends with this call, chunk by chunk, as it was encoded."""
        while self._open:
            frame = frames.read_frame(self._source)
            if frame is None:
                raise frames.FrameError("the connection ended")
            kind, payload = frame
            if kind == b"D":
                yield payload
            elif kind in (b"E", b"A"):
                self._open = False
                if kind == b"A":
                    raise RemoteError("TransferError", "the sender stopped")
            else:
                raise frames.FrameError("data was expected but did not come")

    def send(self, data: bytes) -> None:
        """Data for the caller, in frames."""
        # One lock for each frame and not for all of them: a sign of life has to get between them.
        for start in range(0, len(data), frames.DATA_LIMIT):
            with self._writing:
                frames.write_frame(self._sink, b"D", data[start : start + frames.DATA_LIMIT])

    def tell(self, text: str) -> None:
        """A line of progress for the user."""
        self._say({"event": "message", "text": text[:2000]})

    def answer(self, row: JsonObject) -> None:
        """What ends a call."""
        try:
            self._say(row)
        except frames.FrameError:
            self._say({"error": ["TransferError", "the host's response is too large", "", ""]})

    def drain(self) -> None:
        """What is still coming for a call that was answered is read and dropped."""
        try:
            for _ in self.receive():
                pass
        except RemoteError:
            pass
