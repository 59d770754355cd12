"""SIGINT and SIGTERM reach the program, whatever Python is doing when they arrive."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from functools import cache


class Terminated(BaseException):
    """Raised by SIGTERM: the program cleans up and ends, as with Ctrl-C."""


# Until then the finalizer in which the interrupt was lost has returned.
_AGAIN_S = 0.02
# Python notes a signal and looks at its notes between two instructions. A signal that comes after
# such a look and before a system call that blocks does not interrupt the call: `portkit console` of
# a silent app went on for ever.
_NUDGES_S = (0.1, 0.4)
_NUDGE = signal.SIGURG  # nobody else here uses it, and it does nothing by itself


def install() -> None:
    """Make SIGTERM an exception, and let neither it nor Ctrl-C get lost; for the main thread."""
    # Python's default for SIGTERM ends the process at once, without rolling anything back.
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(_NUDGE, lambda *_: None)
    signal.set_wakeup_fd(_watched(), warn_on_full_buffer=False)
    sys.unraisablehook = _again


def _terminate(*_: object) -> None:
    raise Terminated


@cache
def _watched() -> int:
    """A descriptor to which Python writes the number of each signal as it comes."""
    near, far = socket.socketpair()
    far.setblocking(False)
    threading.Thread(target=_nudge, args=(near,), daemon=True).start()
    return far.detach()


def _nudge(near: socket.socket) -> None:
    """Interrupt what the main thread may have begun since a signal came."""
    main = threading.main_thread().ident
    while number := near.recv(1):
        if number[0] not in (signal.SIGINT, signal.SIGTERM) or main is None:
            continue
        for seconds in _NUDGES_S:
            time.sleep(seconds)
            signal.pthread_kill(main, _NUDGE)


def _again(lost: sys.UnraisableHookArgs) -> None:
    """Send an interrupt again that Python would forget.

    When a signal arrives while Python frees an object (a generator, for example), the exception is
    reported and dropped. It is sent again from a thread, because here it would be dropped as well.
    """
    numbers = {KeyboardInterrupt: signal.SIGINT, Terminated: signal.SIGTERM}
    number = numbers.get(lost.exc_type)
    if number is None:
        sys.__unraisablehook__(lost)
        return
    # Sent to the process and not raised here: an exception that leaves this hook is dropped as
    # well.
    timer = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
