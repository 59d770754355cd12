"""What the two lanes of a Move have in common: one waits for the other, and ends with it.

An exception can only be raised where a thread is looking. So the lane that has failed says so here,
and the other one looks: whenever it reports progress, and while it waits for a host.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from portkit.progress import Observer


class Halted(BaseException):
    """The other lane has failed, and its error is the one that counts.

    Like KeyboardInterrupt no Exception: nothing may take it for a failure of its own and try again.
    """


class Halt:
    """Where a lane says that it has failed. error: of the lane that was the first."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self.error: BaseException | None = None

    def give_up(self, error: BaseException) -> None:
        """From now on `check` raises, in whatever thread."""
        with self._news:
            self.error = self.error or error
            self._news.notify_all()

    def check(self) -> None:
        """Raise Halted when a lane has given up."""
        if self.error is not None:
            raise Halted

    def tell(self, change: Callable[[], object]) -> None:
        """Make a change that `until` waits for."""
        with self._news:
            change()
            self._news.notify_all()

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait for a change of the other lane; Halted when it gives up."""
        with self._news:
            self._news.wait_for(lambda: self.error is not None or ready())
        self.check()

    def pause(self, seconds: float) -> None:
        """Sleep; Halted, and at once, when a lane gives up."""
        with self._news:
            self._news.wait_for(lambda: self.error is not None, seconds)
        self.check()


class Heeding:
    """An Observer through which a lane reports, and is halted when it does."""

    def __init__(self, observer: Observer, halt: Halt) -> None:
        self._observer, self._halt = observer, halt

    def phase(self, name: str) -> None:
        """Pass it on, or raise Halted."""
        self._halt.check()
        self._observer.phase(name)

    def message(self, text: str) -> None:
        """Pass it on, or raise Halted."""
        self._halt.check()
        self._observer.message(text)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """Pass it on, or raise Halted."""
        self._halt.check()
        self._observer.bytes(name, done, total)
