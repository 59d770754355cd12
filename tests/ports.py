"""Ports for tests."""

import itertools
import os
import socket

# The kernel gives whoever asks for any port one from 32768 on, to tests beside this one too.
_FIRST, _EACH, _PROCESSES = 20_000, 100, 100
_own = itertools.cycle(range(_EACH))


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens, and that nobody is given by chance."""
    first = _FIRST + os.getpid() % _PROCESSES * _EACH
    for number in itertools.islice(_own, _EACH):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", first + number)):
                return first + number
    raise AssertionError(f"no port from {first} on is free")
