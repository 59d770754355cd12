"""The process's umask, which every file that it makes depends on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def umask(value: int) -> Iterator[None]:
    """Within, files are made with this one."""
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)
