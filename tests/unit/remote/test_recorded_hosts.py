"""What is read from hosts, over everything that was recorded on some (fixtures/hosts)."""

import json
from pathlib import Path

import pytest

from portkit.remote import engine, engine_facts, linux

HOSTS = Path(__file__).parents[3] / "fixtures/hosts"
INFO = sorted(HOSTS.glob("*/docker-info*.json"))
VERSIONS = {"debian-12": "1.41", "debian-13": "1.45", "debian-testing": "1.51"}


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", INFO, ids=name)
def test_docker_info(path: Path) -> None:
    info = json.loads(path.read_text())
    found = engine_facts.of_info(info)
    assert (found["cgroup"], found["cgroup_driver"], found["rootless"]) == (1, "cgroupfs", False)
    assert any(option.startswith("seccomp,") for option in found["security"])
    assert "runc" in found["runtimes"]
    assert found["d_type"]
    wanted = path.name == "docker-info-containerd.json" or name(path) == (
        "debian-testing/docker-info.json"
    )
    assert engine.containerd_store(info) == wanted


@pytest.mark.parametrize("release", VERSIONS)
def test_docker_version_and_runc(release: str) -> None:
    told = json.loads((HOSTS / release / "docker-version.json").read_text())
    assert engine_facts.of_version(told["Server"])["api"] == VERSIONS[release]
    runc = engine_facts.of_runc((HOSTS / release / "runc-version").read_text())
    assert runc["runc"].startswith("1.")
    assert runc["libseccomp"].startswith("2.")


@pytest.mark.parametrize("release", VERSIONS)
def test_cpuinfo(release: str) -> None:
    assert linux.cpu((HOSTS / release / "cpuinfo").read_text()) == ("AMD EPYC", 4)
