"""Two lanes in an order that a test decides: of both threads, one runs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from portkit.halt import Halt


class Baton:
    """Whoever has it runs. At each point the next of `turns` says whether the other one goes on."""

    def __init__(self, turns: Iterable[bool] = ()) -> None:
        self._turns = iter(turns)
        self._news = threading.Condition()
        self._aside: threading.Thread | None = None
        self._main_has_it = True

    def point(self) -> None:
        """Here the other thread may go on."""
        if next(self._turns, False):
            self.pass_on()

    def pass_on(self) -> bool:
        """Let the other one go on, until it passes the baton back; False when there is none."""
        with self._news:
            if self._aside is None:
                return False
            main = threading.current_thread() is not self._aside
            self._main_has_it = not main
            self._news.notify_all()
            self._news.wait_for(lambda: self._main_has_it == main)
            return True

    def thread(self, **about: Any) -> threading.Thread:
        """In place of threading.Thread."""
        baton = self

        class Lane(threading.Thread):
            def start(self) -> None:
                baton._aside = self
                super().start()

            def run(self) -> None:
                with baton._news:
                    baton._news.wait_for(lambda: not baton._main_has_it)
                super().run()
                with baton._news:
                    baton._aside, baton._main_has_it = None, True
                    baton._news.notify_all()

            def join(self, timeout: float | None = None) -> None:
                while baton.pass_on():
                    pass
                super().join(timeout)

        return Lane(**about)


class Turns(Halt):
    """A Halt that waits by passing the baton on."""

    def __init__(self, baton: Baton) -> None:
        super().__init__()
        self._baton = baton

    def until(self, ready: Callable[[], bool]) -> None:
        """As Halt's; a wait that nobody could end is an error of the walk."""
        while self.error is None and not ready():
            assert self._baton.pass_on(), "it waits for nobody"
        self.check()
