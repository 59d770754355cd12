"""The lab for tests with real engines, and what the machine looks like around it."""

import json
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from portkit import lab as lab_room
from portkit import process
from portkit.errors import PortkitError
from portkit.lab import Lab, cgroups
from tests.integration.commands import portkit

NAMES = ("alpha", "beta", "gamma")


def snapshot(lab: Lab) -> dict[str, set[str]]:
    """What this lab could leave on the machine: links, namespaces, mounts, rules, cgroups. Another
    lab may be up beside it, and may come and go."""
    netns = Path("/run/netns")
    rules = process.run(["iptables-save"]).text.splitlines()
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return {
        "links": {path.name for path in Path("/sys/class/net").glob(f"{lab.prefix}*")},
        "netns": {path.name for path in netns.glob(f"{lab.prefix}*")},
        "mounts": {" ".join(row.split()[:3]) for row in mounts if str(lab.folder) in row},
        "rules": {row for row in rules if lab.tag in row},
        "cgroups": {
            str(path)
            for hierarchy in cgroups.hierarchies()
            for path in hierarchy.folder.glob(f"portkit-lab{lab.number}-*")
        },
    }


@pytest.fixture(scope="session")
def _able() -> None:
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("the lab needs root and mmdebstrap")


@pytest.fixture(scope="session")
def lab(_able: None) -> Iterator[Lab]:
    """alpha, beta and gamma of the tests' own lab, new and running; in the end it is taken down and
    must have left nothing. With PORTKIT_LAB_KEEP=1 it stays up, and is used again as it is."""
    own, keep = lab_room.current(), os.environ.get("PORTKIT_LAB_KEEP") == "1"
    if not keep:
        lab_room.down()  # what a killed run left
    lab_room.up(NAMES)
    lab_room.load_base("alpha")  # what the fixtures are built on
    yield own
    if keep:
        return
    lab_room.down()
    assert lab_room.leftovers() == []
    left = {kind: sorted(found) for kind, found in snapshot(own).items() if found}
    assert left == {}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Store of this machine for all tests: an App's disk takes a minute to make."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def own_lab(_able: None) -> Iterator[Lab]:
    """A lab beside the other, for tests that break it; the same cached roots. Nothing runs yet."""
    own = Lab(lab_room.current().state, number=9)
    lab_room.down(own)
    yield own
    lab_room.down(own)
    assert lab_room.leftovers(own) == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails in the midst of a Move must not make the next ones fail: its Moves are
    rolled back before its own fixtures take away what they moved."""
    report = yield
    if report.failed and call.when == "call" and "store" in getattr(item, "fixturenames", ()):
        _roll_back(item.funcargs["store"])  # type: ignore[attr-defined]
    return report


def _roll_back(store: Path) -> None:
    try:
        rows = json.loads(portkit("moves", "--output", "json", store=store).text)
        for row in rows:
            if row["unfinished"]:
                done = portkit("rollback", row["id"], "--discard-writes", store=store, check=False)
                print(done.stderr.decode(), file=sys.stderr)
    except (PortkitError, ValueError) as error:
        # The test's own failure is what is to be read.
        print(f"what the failed test had begun was not rolled back: {error}", file=sys.stderr)
