"""The lab for tests with real engines, and what the machine looks like around it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit import lab as lab_room
from portkit import process
from portkit.lab import Lab, cgroups

NAMES = ("alpha", "beta", "gamma")


def snapshot() -> dict[str, set[str]]:
    """What a lab could leave on this machine: links, namespaces, mounts, rules, cgroups."""
    netns = Path("/run/netns")
    rules = process.run(["iptables-save"]).text.splitlines()
    return {
        "links": {path.name for path in Path("/sys/class/net").iterdir()},
        "netns": {path.name for path in netns.iterdir()} if netns.exists() else set(),
        "mounts": {
            " ".join(row.split()[:3]) for row in Path("/proc/self/mounts").read_text().splitlines()
        },
        "rules": {row for row in rules if row.startswith("-A")},
        "cgroups": {
            str(path)
            for hierarchy in cgroups.hierarchies()
            for path in hierarchy.folder.iterdir()
            if path.is_dir()
        },
        "forwarding": {Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()},
    }


@pytest.fixture(scope="session")
def _able() -> None:
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
        pytest.skip("the lab needs root and mmdebstrap")


@pytest.fixture(scope="session")
def lab(_able: None) -> Iterator[Lab]:
    """alpha, beta and gamma, running. A lab that was up before stays up, as with
    PORTKIT_LAB_KEEP=1; else it is taken down and must have left nothing."""
    found = any(host.running for host in lab_room.status())
    if not found:
        lab_room.down()  # what a killed lab left is no measure of how the machine was
    before = snapshot()
    lab_room.up(NAMES)
    lab_room.load_base("alpha")  # what the fixtures are built on
    yield lab_room.current()
    if found or os.environ.get("PORTKIT_LAB_KEEP") == "1":
        return
    lab_room.down()
    assert lab_room.leftovers() == []
    after = snapshot()
    new = {kind: sorted(after[kind] - before[kind]) for kind in after}
    assert not any(new.values()), new


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
