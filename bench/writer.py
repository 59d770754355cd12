"""A client that writes all the time to whichever host answers, and notes each acknowledgement."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Address = tuple[str, int]
_CONNECT_S, _ANSWER_S = 0.4, 2.0
_PAUSE_S = 0.04
# A change of the host stops a container and starts another, there and back again: that takes
# longer. A side that answers between two answers of the other within this time ran beside it.
_BESIDE_S = 0.6


@dataclass(frozen=True)
class Acknowledged:
    """A write that was acknowledged. began, ended: seconds by this machine's monotonic clock. told:
    what the server said of it, if that is to be the same later."""

    number: int
    host: str
    began: float
    ended: float
    told: str = ""


class Writer:
    """Writes from `__enter__` to `__exit__`, to each host on a thread of its own: so it is seen
    when both answer. Each number is sent once, to one host.

    send: what the server acknowledged a number with, "" when it did not.
    """

    def __init__(
        self,
        addresses: Mapping[str, Address],
        send: Callable[[Address, int], str] | None = None,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._send, self._pause_s = send or _acknowledged, pause_s
        # No two clients of one file use the same numbers.
        self._numbers = itertools.count(time.time_ns() // 1000)
        self._rows: list[Acknowledged] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._write_to, args=pair, daemon=True)
            for pair in addresses.items()
        ]

    def __enter__(self) -> Writer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def note(self, row: Acknowledged) -> None:
        """One more."""
        self._rows.append(row)

    def acknowledged(self) -> list[Acknowledged]:
        """All of them so far, in the order in which they ended."""
        return sorted(self._rows, key=lambda row: row.ended)

    def acknowledged_by(self, host: str, within_s: float) -> bool:
        """Whether the host acknowledges a write that begins from now on, in that time."""
        now = time.monotonic()
        while time.monotonic() < now + within_s:
            if any(row.host == host and row.began >= now for row in self.acknowledged()):
                return True
            time.sleep(_PAUSE_S)
        return False

    def both(self) -> str:
        """When both hosts answered; "" when they never did."""
        rows = self.acknowledged()
        for first, second in itertools.pairwise(rows):
            if first.host != second.host and first.ended > second.began:
                return f"both answered at the same time: {first}, {second}"
        changes = [
            (first, second)
            for first, second in itertools.pairwise(rows)
            if first.host != second.host
        ]
        for (first, _), (_, last) in itertools.pairwise(changes):
            if last.ended - first.began < _BESIDE_S:
                return f"both answered in turns: {first}, {last}"
        return ""

    def write(self, host: str, address: Address) -> None:
        """One write, noted if it is acknowledged."""
        number, began = next(self._numbers), time.monotonic()
        if told := self._send(address, number):
            self.note(Acknowledged(number, host, began, time.monotonic(), told))

    def _write_to(self, host: str, address: Address) -> None:
        while not self._over.wait(self._pause_s):
            self.write(host, address)


def _acknowledged(address: Address, number: int) -> str:
    try:
        with socket.create_connection(address, _CONNECT_S) as link:
            link.settimeout(_ANSWER_S)
            link.sendall(b"GET /write/%d HTTP/1.0\r\n\r\n" % number)
            said = b""
            while piece := link.recv(4096):
                said += piece
    except OSError:
        return ""
    return "here" if said.endswith(b"here %d\n" % number) else ""
