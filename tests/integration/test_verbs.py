"""What one does with an Instance afterwards: follow its words, measure it again."""

import json
import os
import secrets
import select
import signal
import time
import urllib.error
from pathlib import Path

import pytest

from portkit import process
from portkit.lab import Lab
from tests.integration.commands import (
    PORTKIT,
    ROOT,
    ask,
    moved,
    portkit,
    statuses,
    told,
    wait_for,
)

pytestmark = pytest.mark.lab
APP = "registry"  # it logs every request
FORMS = ("image", "disk")


def say(address: str, word: str) -> None:
    """A request for what is not there: the registry writes the path down."""
    try:
        ask(f"http://{address}:5000/v2/{word}/tags/list")
    except urllib.error.HTTPError as error:
        assert error.code == 404
    else:
        raise AssertionError(f"{word} was found")


def follow(lab: Lab, store: Path, move: str, form: str) -> bytes:
    """What `portkit console` shows of an app that writes; it is left with Ctrl-C."""
    words = ("console", move, "--on", "lab:beta", "--form", form)
    word = f"seen-{secrets.token_hex(8)}"
    argv = [PORTKIT, *words]
    with process.popen(argv, env=told(store)) as child:
        assert child.stdout is not None
        shown = bytearray()
        with process.deadline(child, 60):
            # It follows from when it is connected: the app is made to write until it is heard.
            while word.encode() not in shown:
                assert child.poll() is None, "the console ended"
                say(lab.address("beta"), word)
                if select.select([child.stdout], [], [], 0.5)[0]:
                    shown += os.read(child.stdout.fileno(), 1 << 16)
        child.send_signal(signal.SIGINT)
        rest, errors = child.communicate(timeout=30)
        assert child.returncode == 130, errors.decode()
        assert b"Traceback" not in errors
    return bytes(shown) + rest


def measure(store: Path, form: str) -> None:
    folder = str(ROOT / "fixtures/apps" / APP)
    words = ("measure", folder, "--on", "lab:beta", "--form", form, "--repeat", "2")
    begun = time.monotonic()
    row = json.loads(portkit(*words, "--output", "json", store=store).text)
    spent = time.monotonic() - begun
    assert len(row["from_boot_s"]) == 2
    assert all(0 < seconds < spent for seconds in row["from_boot_s"])
    assert row["url"].endswith(":5000/v2/")
    assert (row["instance"]["form"], row["instance"]["status"]) == (form, "running")


def test_console_and_measure(lab: Lab, store: Path) -> None:
    with moved(APP, "beta", store) as report:
        move = report["move"]
        for form in FORMS:
            if form == "disk":
                portkit("stop", move, "--on", "lab:beta", store=store)
                portkit("start", move, "--on", "lab:beta", "--form", form, store=store)
            wait_for(f"http://{lab.address('beta')}:5000/v2/")
            follow(lab, store, move, form)
            assert statuses("beta", move, store)[form] == "running"
            measure(store, form)
            assert statuses("beta", move, store)[form] == "running"
            wait_for(f"http://{lab.address('beta')}:5000/v2/", 10)
