"""What is read from hosts, over everything that was recorded on some (fixtures/hosts)."""

import json
from pathlib import Path

import pytest

from portkit.remote import engine, engine_facts, linux
from portkit.wire import labels

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
    assert {"bridge", "macvlan", "overlay"} <= set(found["network_drivers"])
    assert found["swarm"] is False
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


PODMAN = HOSTS / "debian-13-podman"


def test_podman() -> None:
    info = json.loads((PODMAN / "info.json").read_text())
    found = engine_facts.of_info(info)
    assert (found["cgroup"], found["rootless"], found["d_type"]) == (1, False, True)
    assert found["security"] == ["seccomp,profile=default"]
    assert found["runtimes"] == ["crun"], "not the names of all that it has heard of"
    assert engine.podman(info)
    assert not any(engine.podman(json.loads(path.read_text())) for path in INFO)
    version = engine_facts.of_version(json.loads((PODMAN / "version.json").read_text()))
    platform = {"platform": "linux/amd64/debian-13"}
    own = {"api": "1.41", "api_min": "1.24", "crun": "1.21", **platform}
    assert version == {"name": "Podman Engine", **own}
    rows = json.loads((PODMAN / "images.json").read_text())
    assert all(engine.Image({**row, "RootFS": {"Layers": []}}).id == row["Id"] for row in rows)


def test_what_podman_starts_with_the_host(tmp_path: Path) -> None:
    assert engine_facts.boots(PODMAN / "podman-restart.service") == ["always"]
    newer = tmp_path / "newer.service"
    newer.write_text("ExecStart=/usr/bin/podman start --all --filter should-start-on-boot=true\n")
    assert engine_facts.boots(newer) == ["always", "unless-stopped"]
    assert engine_facts.boots(tmp_path / "gone") == engine_facts.boots(None) == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("docker.io/library/debian:12", "debian:12"),
        ("docker.io/portkit/held:a-b", "portkit/held:a-b"),
        ("localhost/portkit/held:a-b", "portkit/held:a-b"),
        ("localhost/web:1", "localhost/web:1"),
        ("quay.io/a/b", "quay.io/a/b"),
        ("debian", "debian"),
    ],
)
def test_names_as_docker_has_them(name: str, wanted: str) -> None:
    assert labels.familiar(name) == wanted


def test_the_first_socket_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORTKIT_DOCKER_SOCKET", raising=False)
    docker, podman = tmp_path / "docker.sock", tmp_path / "podman.sock"
    monkeypatch.setattr(engine, "DOCKER_SOCKET", str(docker))
    monkeypatch.setattr(engine, "SOCKETS", (str(docker), str(podman)))
    assert engine.found() == str(docker)
    podman.touch()
    assert engine.found() == str(podman)
    docker.touch()
    assert engine.found() == str(docker)
