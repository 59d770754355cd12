"""Calls that are given up."""

import sys

from portkit import process

_GIVEN_UP = """
import contextlib, time
from portkit.engines import patience

def slow():
    time.sleep({seconds})
    print("came back")

patience._LAST_S = 1.0
with contextlib.suppress(patience.Late):
    patience.within(0.01, slow)
print("over")
"""


def test_the_program_ends_behind_a_call_that_ends_soon() -> None:
    """Else it would come back while Python takes itself apart."""
    done = process.run([sys.executable, "-c", _GIVEN_UP.format(seconds=0.3)])
    assert done.text.split("\n") == ["over", "came back", ""]


def test_the_program_does_not_wait_for_one_that_never_ends() -> None:
    done = process.run([sys.executable, "-c", _GIVEN_UP.format(seconds=600)], timeout=60)
    assert done.text == "over\n"
