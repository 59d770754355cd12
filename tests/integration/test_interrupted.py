"""A Move that is interrupted leaves nothing, wherever it was."""

import json
import os
import signal
from pathlib import Path

import pytest

from portkit import process
from portkit.lab import Lab
from tests.integration.commands import PORTKIT, PUBLISHED, SLEEP, on, ours, told, write_app

pytestmark = pytest.mark.lab

BOTH = (signal.SIGINT, signal.SIGTERM)
PLACES = [
    ("image", "transfer"),
    ("image", "load"),
    ("image", "create"),
    ("image", "boot image"),
    ("disk", "package disk"),
    ("disk", "transfer"),
    ("disk", "create"),
    ("disk", "boot disk"),
    ("both", "package disk"),  # while the image travels
    ("both", "boot image"),  # while the disk travels
]


# Each place with each signal; every second one is left to the campaign.
CASES = [
    pytest.param(
        form,
        phase,
        number,
        marks=[pytest.mark.campaign] if (index + turn) % 2 else [],
        id=f"{form}-{phase}-{number.name}",
    )
    for index, (form, phase) in enumerate(PLACES)
    for turn, number in enumerate(BOTH)
]


@pytest.mark.parametrize(("form", "phase", "number"), CASES)
def test_interrupted_anywhere_leaves_nothing(
    lab: Lab, tmp_path: Path, store: Path, form: str, phase: str, number: signal.Signals
) -> None:
    before = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    folder = write_app(tmp_path / "slow", SLEEP + PUBLISHED)
    words = ("move", str(folder), "--from", "lab:alpha", "--to", "lab:beta", "--form", form)
    argv = [PORTKIT, *words, "--progress", "json"]
    with process.popen(argv, env=told(store)) as child:
        assert child.stderr is not None
        for row in child.stderr:
            if json.loads(row).get("name") == phase:
                break
        os.kill(child.pid, number)
        rest = child.stderr.read()
        assert child.wait(60) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number], rest.decode()
        assert b"Traceback" not in rest
    after = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    assert after == before
