"""Progress on standard error: one line that is redrawn on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from collections import defaultdict

from rich.filesize import decimal

from portkit.progress import JsonObserver, NullObserver, Observer
from portkit.text import printable
from portkit_cli.rate import Rate


class PlainObserver:
    """Lines with the time since the start; bytes every five seconds."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._begun = time.monotonic()
        self._open = False
        self._last = 0.0
        self._rates: dict[str, Rate] = defaultdict(Rate)

    def _line(self, text: str) -> None:
        if self._open:
            sys.stderr.write("\r\033[K")
            self._open = False
        sys.stderr.write(f"{time.monotonic() - self._begun:7.1f} s  {printable(text)}\n")
        sys.stderr.flush()

    def phase(self, name: str) -> None:
        self._line(name)

    def message(self, text: str) -> None:
        self._line("  " + text)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """Done, rate, and the time that is left as soon as the rate is steady."""
        now, rate = time.monotonic(), self._rates[name]
        rate.add(now, done)
        if now - self._last < (0.1 if self._live else 5.0):
            return
        self._last = now
        text = f"  {name}: {decimal(done)}" + (f" of {decimal(total)}" if total else "")
        if per_second := rate.per_second():
            text += f", {decimal(int(per_second))}/s"
        if total and (left := rate.left_s(total)) is not None:
            text += f", {left:.0f} s left"
        if not self._live:
            self._line(text)
            return
        sys.stderr.write(f"\r\033[K           {text}")
        sys.stderr.flush()
        self._open = True


def observer(kind: str) -> Observer:
    """The Observer for --progress."""
    if kind == "quiet":
        return NullObserver()
    if kind == "json":
        return JsonObserver(sys.stderr)
    return PlainObserver(live=kind == "auto" and sys.stderr.isatty())
