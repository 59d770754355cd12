"""A connection that breaks."""

from collections.abc import Iterable
from typing import Any

from tests.unit.transfer.far import Far


class Cutting:
    """Calls to a host whose connection breaks after so many bytes of data, again and again."""

    def __init__(self, far: Far, cuts: list[int]) -> None:
        self._far = far
        self._cuts = cuts
        self.data = 0

    @property
    def encodings(self) -> tuple[str, ...]:
        return self._far.remote.encodings

    @property
    def lost(self) -> bool:
        return self._far.remote.lost

    def call(
        self, verb: str, args: dict[str, Any], *, send: Any = None, receive: Any = None
    ) -> Any:
        if send is not None:
            send = self._cut(send)
        return self._far.remote.call(verb, args, send=send, receive=receive)

    def _cut(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        left = self._cuts.pop(0) if self._cuts else None
        for chunk in chunks:
            for start in range(0, len(chunk), 5000):
                piece = chunk[start : start + 5000]
                if left is not None and left < len(piece):
                    self._far.process.terminate()
                    self._far.process.wait()
                    left = 1 << 60
                left = left if left is None else left - len(piece)
                self.data += len(piece)
                yield piece
