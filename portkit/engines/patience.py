"""Calls of an engine's library that are given up when they take too long.

Neither Docker's SDK nor libvirt ends by itself where the other side sends a byte now and then, or
libvirt's nothing at all; libvirt's calls cannot even be interrupted. So each runs in a thread
that is left to itself when its time is over: it ends with the connection.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

CALL_S = 300.0  # starting a VM took 14 s on a slow host
_LAST_S = 5.0  # a call ends soon after its connection
_begun: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


class Late(Exception):
    """The call has not ended in time."""


def begin(act: Callable[[], None]) -> threading.Thread:
    """A thread that makes calls, and that may be left to itself."""
    # daemon: a thread that never returns must not keep the program from ending.
    thread = threading.Thread(target=act, daemon=True)
    _begun.add(thread)
    thread.start()
    return thread


@atexit.register
def _wait() -> None:
    """For calls that were left to themselves, some seconds at most: one that returns into Python
    while that takes itself apart may end the program with SIGABRT."""
    end = time.monotonic() + _LAST_S
    for thread in list(_begun):
        thread.join(max(0.0, end - time.monotonic()))


def within(seconds: float, act: Callable[[], T]) -> T:
    """What `act` returns or raises; Late when it does neither in so many seconds."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(act())
        except BaseException as error:  # noqa: BLE001 - it is raised where it belongs
            failure.append(error)

    thread = begin(run)
    thread.join(seconds)
    if thread.is_alive():
        raise Late
    if failure:
        raise failure[0]
    return result[0]


class Patient:
    """An object whose methods are called `within` a time, as are those of what they return.

    patient: the classes of such results, alone or in a list.
    """

    def __init__(self, inner: object, patient: tuple[type, ...] = ()) -> None:
        self._inner = inner
        self._patient = patient

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: object, **more: object) -> object:
            return self._wrapped(within(CALL_S, lambda: found(*args, **more)))

        return call

    def _wrapped(self, result: object) -> object:
        if isinstance(result, list):
            return [self._wrapped(each) for each in result]
        if isinstance(result, self._patient):
            return Patient(result, self._patient)
        return result
