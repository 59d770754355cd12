"""What is read from hosts that public reports show (fixtures/hosts/documented)."""

import json
from pathlib import Path
from typing import Any

import pytest

from portkit.engines.libvirt_guests import guests
from portkit.needs import distribution
from portkit.remote import engine, engine_facts, facts, linux

HOSTS = Path(__file__).parents[3] / "fixtures/hosts/documented"


def test_each_has_its_source() -> None:
    told = (HOSTS / "README.md").read_text()
    folders = [path.name for path in HOSTS.iterdir() if path.is_dir()]
    assert len(folders) >= 20
    assert all(f"`{name}`" in told for name in folders)


@pytest.mark.parametrize(
    ("name", "cgroup", "driver", "security", "runtimes", "backing"),
    [
        ("ubuntu-14.04-docker-1.12", 1, "cgroupfs", ["apparmor"], ["runc"], "extfs"),
        (
            "centos-7-docker-1.13",
            1,
            "cgroupfs",
            ["seccomp,profile=/etc/docker/seccomp.json", "selinux"],
            ["docker-kata", "docker-runc", "runc"],
            "xfs",
        ),
        (
            "centos-7-docker-18.06",
            1,
            "systemd",
            ["seccomp,profile=default", "selinux"],
            ["kata-runtime", "railcar", "runc", "runnc"],
            "xfs",
        ),
        (
            "centos-8-docker-18.06",
            1,
            "cgroupfs",
            ["seccomp,profile=default"],
            ["kata-runtime", "runc"],
            "xfs",
        ),
        (
            "ubuntu-18.04-docker-20.10",
            1,
            "cgroupfs",
            ["apparmor", "seccomp,profile=default"],
            ["io.containerd.runc.v2", "io.containerd.runtime.v1.linux", "runc"],
            "extfs",
        ),
        (
            "ubuntu-20.04-docker-20.10",
            2,
            "systemd",
            ["apparmor", "seccomp,profile=default", "cgroupns"],
            ["io.containerd.runc.v2", "io.containerd.runtime.v1.linux", "runc"],
            "extfs",
        ),
        ("docker-desktop-arm64", 2, "cgroupfs", [], [], "extfs"),
    ],
)
def test_docker_info(
    name: str, cgroup: int, driver: str, security: list[str], runtimes: list[str], backing: str
) -> None:
    info = json.loads((HOSTS / name / "docker-info.json").read_text())
    found = engine_facts.of_info(info)
    assert (found["cgroup"], found["cgroup_driver"]) == (cgroup, driver)
    assert (found["security"], found["runtimes"]) == (security, runtimes)
    assert (found["rootless"], found["backing"], found["d_type"]) == (False, backing, True)
    assert {"bridge", "overlay"} <= set(found["network_drivers"])
    assert not engine.podman(info)
    assert not engine.containerd_store(info)


@pytest.mark.parametrize(
    ("name", "platform", "api"),
    [
        ("centos-7-docker-18.06", "", "1.38"),
        ("fedora-37-docker-20.10", "Docker Engine - Community", "1.41"),
    ],
)
def test_docker_version(name: str, platform: str, api: str) -> None:
    told = json.loads((HOSTS / name / "docker-version.json").read_text())
    found = engine_facts.of_version(told["Server"])
    wanted = {"name": "Engine", "platform": platform, "api": api, "api_min": "1.12", "crun": ""}
    assert found == wanted


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("ubuntu-22.04-podman-3.4", ""),  # "UNKNOWN": built without its version
        ("fedora-35-podman-3.4", "1.3"),
        ("fedora-43-podman", "1.27.1"),
    ],
)
def test_crun(name: str, version: str) -> None:
    told = (HOSTS / name / "crun-version").read_text()
    answer: dict[str, Any] = {"Components": [{"Name": "OCI Runtime (crun)", "Version": told}]}
    assert engine_facts.of_version(answer)["crun"] == version


def test_runc() -> None:
    found = engine_facts.of_runc((HOSTS / "runc-1.0.0-rc91/runc-version").read_text())
    assert found == {"runc": "1.0.0-rc91+dev", "libseccomp": "2.4.3"}


def test_cgroups() -> None:
    assert linux.cgroup((HOSTS / "alpine-edge/mounts").read_text()) == 2


@pytest.mark.parametrize(
    ("name", "identity", "version", "title"),
    [
        ("alpine-3.20", "alpine", "3.20.7", "Alpine Linux v3.20"),
        ("fedora-37-docker-20.10", "fedora", "37", "Fedora Linux 37 (Workstation Edition)"),
        ("opensuse-tumbleweed", "opensuse-tumbleweed", "20240823", "openSUSE Tumbleweed"),
        ("rhel-8", "rhel", "8.0", "Red Hat Enterprise Linux 8.0 Beta (Ootpa)"),
        ("rocky-8", "rocky", "8", "Rocky Linux 8"),
        ("sles-15", "sles", "15.7", "SUSE Linux Enterprise Server 15 SP7"),
        ("ubuntu-24.04", "ubuntu", "24.04", "Ubuntu 24.04 LTS"),
    ],
)
def test_os_release(name: str, identity: str, version: str, title: str) -> None:
    text = (HOSTS / name / "os-release").read_text()
    for found in (distribution.os_release(text), facts.os_release(text)):
        assert (found["ID"], found["VERSION_ID"]) == (identity, version)
        assert found["PRETTY_NAME"] == title


def test_libvirt() -> None:
    """Each document with that of another host: both are read by themselves."""
    whole = (HOSTS / "fedora-38/capabilities.xml").read_text()
    one = (HOSTS / "qemu-4.2-kvm/domcapabilities.xml").read_text()
    found = guests(whole, one, machine="x86_64")
    assert {"pc", "pc-q35-2.7", "pc-q35-7.1"} <= set(found.machines)
    assert (found.firmware, found.secure, found.max_cpus) == (("efi",), ("no",), 255)
    assert (found.cpu_model, found.cpu_level) == ("EPYC-IBPB", 3)
    assert found.architectures == ("amd64",)
    other = guests(whole, (HOSTS / "power11/domcapabilities.xml").read_text(), machine="ppc64le")
    assert (other.machines, other.firmware, other.max_cpus) == ((), (), 4096)
    assert (other.cpu_model, other.cpu_level) == ("POWER11", 0)
