"""Progress on standard error: one line that is redrawn on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time

from portkit.progress import JsonObserver, NullObserver, Observer
from portkit_cli.render import clean


def size(count: float) -> str:
    """Bytes as people read them: 34.3 MB (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class PlainObserver:
    """Lines with the time since the start; bytes every five seconds."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._begun = time.monotonic()
        self._open = False
        self._last = 0.0
        self._first: dict[str, tuple[float, int]] = {}

    def _line(self, text: str) -> None:
        if self._open:
            sys.stderr.write("\r\033[K")
            self._open = False
        sys.stderr.write(f"{time.monotonic() - self._begun:7.1f} s  {clean(text)}\n")
        sys.stderr.flush()

    def phase(self, name: str) -> None:
        self._line(name)

    def message(self, text: str) -> None:
        self._line("  " + text)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """Done, rate, and the time that is left at that rate."""
        now = time.monotonic()
        if name not in self._first or done < self._first[name][1]:
            self._first[name] = (now, done)
        if now - self._last < (0.1 if self._live else 5.0):
            return
        self._last = now
        begun, before = self._first[name]
        rate = (done - before) / (now - begun) if now > begun else 0.0
        text = f"  {name}: {size(done)}" + (f" of {size(total)}" if total else "")
        if rate:
            text += f", {size(rate)}/s"
            text += f", {max(0, total - done) / rate:.0f} s left" if total else ""
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
