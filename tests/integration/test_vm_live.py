"""A VM moves while it serves: what it has acknowledged is there, and one side runs, also after a
client that was killed."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.subjects import serving
from portkit import lab as lab_room
from portkit import process
from portkit.lab import Lab
from tests.integration import commands
from tests.integration.commands import PORTKIT, ROOT, ask, on, ours, portkit, told
from tests.integration.counter import PORT, SERVER

pytestmark = pytest.mark.lab

MOVES = ("moves", "--output", "json")
LIVE = ("move", "vm:tally", "--from", "lab:beta", "--to", "lab:epsilon", "--live")


@pytest.fixture(scope="module", autouse=True)
def _epsilon(lab: Lab) -> None:
    lab_room.up(["epsilon"], lab=lab)


@pytest.fixture
def machine(lab: Lab, store: Path, tmp_path: Path) -> Iterator[str]:
    """The VM on beta, by its id. Its processor is one that both hosts have."""
    service = serving(SERVER, PORT, {"volume": "64m", "cpu_model": "Nehalem"})
    with commands.machine("tally", service, "beta", folder=tmp_path, store=store) as move:
        yield move


def add(lab: Lab, name: str) -> int:
    """One more, written to the disk before it answers; the count."""
    return int(ask(f"http://{lab.address(name)}:{PORT}/", "POST", patience=5.0))


@contextmanager
def adding(lab: Lab) -> Iterator[list[int]]:
    """Counts that were acknowledged, by whichever host, until the block ends."""
    counts: list[int] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            for name in ("beta", "epsilon"):
                try:
                    counts.append(add(lab, name))
                except (OSError, ValueError):
                    continue
            time.sleep(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield counts
    finally:
        over.set()
        thread.join()


def state(lab: Lab, name: str, move: str) -> str:
    return on(lab, name, f"virsh domstate portkit-tally-{move[3:]}", check=False).strip()


def test_it_goes_on_counting_on_the_other_host(lab: Lab, store: Path, machine: str) -> None:
    before = ours(lab, "epsilon")
    add(lab, "beta")
    with adding(lab) as counts:
        report = json.loads(portkit(*LIVE, "--output", "json", store=store).text)
    move = report["move"]
    assert report["cutover"]["timeline"]["both_answered"] == []
    assert len(counts) > 1
    # An answer that was lost on its way counts, one that came is never counted again.
    assert counts == sorted(set(counts))
    assert add(lab, "epsilon") > counts[-1], "nothing that was acknowledged is lost"
    assert state(lab, "beta", machine) == "shut off"
    assert state(lab, "epsilon", move) == "running"
    said = portkit("logs", move, "--on", "lab:epsilon", store=store).text
    assert said.count("starting perl") <= 1, "it was not booted"
    for host in ("beta", "epsilon"):
        assert move not in on(lab, host, "ls /run/portkit/live")
    left = portkit("forget", move, store=store).text
    assert f"VM {machine} with its disks: stopped" in left
    portkit("rollback", move, "--discard-writes", store=store)
    assert state(lab, "beta", machine) == "running"
    assert ours(lab, "epsilon") == before


def test_an_older_emulator_is_refused(lab: Lab, store: Path, tmp_path: Path) -> None:
    """What it may lose of the guest's memory."""
    service = serving(SERVER, PORT, {"volume": "64m", "cpu_model": "Nehalem"})
    with commands.machine("tally", service, "alpha", folder=tmp_path, store=store) as move:
        words = ("move", "vm:tally", "--from", "lab:alpha", "--to", "lab:beta", "--live")
        refused = portkit(*words, store=store, check=False)
        assert refused.code == 9
        assert b"emulated by QEMU 7.2" in refused.stderr
        assert b"without --live" in refused.stderr
        assert state(lab, "alpha", move) == "running"


@pytest.mark.campaign
@pytest.mark.parametrize("wait_s", [0.0, 1.0, 2.0, 3.0])
def test_a_client_that_is_killed(lab: Lab, store: Path, machine: str, wait_s: float) -> None:
    """Wherever the kill comes, resume ends with the target running alone, and no count is lost."""
    add(lab, "beta")
    with adding(lab) as counts:
        killed = process.spawn(
            [PORTKIT, *LIVE, "--progress", "json"],
            env=told(store),
            stdout=process.PIPE,
            stderr=process.PIPE,
        )
        assert killed.stderr is not None
        while b'"move live"' not in (line := killed.stderr.readline()):
            assert line, "it has ended before"
        time.sleep(wait_s)
        killed.kill()
        process.wait(killed, 10.0)
        rows = json.loads(portkit("moves", "--output", "json", store=store).text)
        move = rows[0]["id"]
        if rows[0]["state"] != "done":
            portkit("resume", move, store=store)
    assert counts == sorted(set(counts))
    assert add(lab, "epsilon") > counts[-1]
    assert (state(lab, "beta", machine), state(lab, "epsilon", move)) == ("shut off", "running")
    portkit("rollback", move, "--discard-writes", store=store)
    assert state(lab, "beta", machine) == "running"
    assert state(lab, "epsilon", move) != "running"


@pytest.mark.parametrize("mode", ["answer", pytest.param("killed", marks=pytest.mark.campaign)])
def test_an_accident_at_the_end(lab: Lab, store: Path, machine: str, mode: str) -> None:
    """Never on both: the target's answer is lost, or portkit is killed before it runs there."""
    before, there = add(lab, "beta"), ours(lab, "epsilon")
    known = {each["id"] for each in json.loads(portkit(*MOVES, store=store).text)}
    done = process.run(
        [sys.executable, "-m", "tests.integration.losing", mode, *LIVE],
        env={**told(store), "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=300,
    )
    assert done.code != 0
    rows = json.loads(portkit(*MOVES, store=store).text)
    going = [each["id"] for each in rows if each["id"] not in known]
    if mode == "answer":
        assert b"lost the answer" in done.stderr
        assert going == [], "it was taken back"
        assert ours(lab, "epsilon") == there
        assert state(lab, "beta", machine) == "running"
        assert add(lab, "beta") > before
        return
    (move,) = going
    assert (state(lab, "beta", machine), state(lab, "epsilon", move)) == ("shut off", "paused")
    portkit("resume", move, store=store)
    assert add(lab, "epsilon") > before
    assert state(lab, "beta", machine) == "shut off"
    portkit("rollback", move, "--discard-writes", store=store)
    assert state(lab, "beta", machine) == "running"


@pytest.mark.campaign
def test_a_target_that_is_lost_at_the_end(lab: Lab, store: Path, machine: str) -> None:
    """All of it has arrived there, and the user vouches that it does not run; it goes on from its
    disks at its source."""
    before, there = add(lab, "beta"), ours(lab, "epsilon")
    process.run(
        [sys.executable, "-m", "tests.integration.losing", "killed", *LIVE],
        env={**told(store), "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=300,
    )
    move = json.loads(portkit(*MOVES, store=store).text)[0]["id"]
    lab_room.cut("epsilon")
    try:
        refused = portkit("rollback", move, "--without-target", store=store, check=False)
        assert b"may have written data there" in refused.stderr
        assert state(lab, "beta", machine) == "shut off"
        words = ("rollback", move, "--without-target", "--discard-writes")
        portkit(*words, store=store)
        assert state(lab, "beta", machine) == "running"
        commands.wait_for(f"http://{lab.address('beta')}:{PORT}/", 120)
        assert add(lab, "beta") > before
    finally:
        lab_room.mend("epsilon")
    portkit("rollback", move, "--on", "lab:epsilon", "--discard-writes", store=store)
    assert ours(lab, "epsilon") == there
