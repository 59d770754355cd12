"""Tests have a lab, a journal and a Store of their own, and judge nothing that is not theirs."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Timings never decide a test: a busy machine is no failure.
settings.register_profile("portkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("portkit")

# What a shell starts in the background inherits SIGINT ignored, and Python leaves it so: a test
# that waits for the end of something by Ctrl-C would then wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A user's own lab is 0, as the command has it; each process of pytest-xdist has one of its own.
LAB_NUMBER = str(7 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


@pytest.fixture(scope="session", autouse=True)
def _own_state() -> Iterator[None]:
    """Whatever this user has in lab, journal and Store stays as it is; commands that tests start
    inherit these variables."""
    with tempfile.TemporaryDirectory(prefix="portkit-tests-") as folder:
        own = {
            "PORTKIT_LAB_NUMBER": os.environ.get("PORTKIT_TEST_LAB_NUMBER", LAB_NUMBER),
            "PORTKIT_STATE": str(Path(folder) / "state"),
            "PORTKIT_STORE": str(Path(folder) / "store"),
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in own.items():
                patch.setenv(name, value)
            yield
