"""Importing portkit is quick: what is heavy is imported where it is used."""

import sys

from portkit import process
from tests.factories import words

HEAVY = words("docker libvirt guestfs requests rich yaml ziglang pydantic zstandard")


def test_nothing_heavy_comes_with_the_library() -> None:
    code = "import sys, portkit.move, portkit.app, portkit.host, portkit.lab; print(*sys.modules)"
    done = process.run([sys.executable, "-c", code])
    assert not HEAVY & set(done.text.split())
