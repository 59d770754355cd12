"""What a cell of the truth table is, and the kinds of hosts that the lab cannot provide."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from portkit.model import Form


@dataclass(frozen=True)
class Program:
    """How a program is made of bench/truth/probe.c. flags: of the compiler. dynamic: by gcc, for
    this machine's glibc; else by zig, for that target; with musl it is static."""

    flags: tuple[str, ...] = ()
    dynamic: bool = False
    target: str = "x86_64-linux-musl"


@dataclass(frozen=True)
class Artifact:
    """One App. program: a key of PROGRAMS, or the text of a file; None for a Dockerfile of the
    folder's. own: files of this machine in its image. service: of its compose file. bulk: bytes of
    noise that its image holds. system, architecture: what its image is for. attested: its image is
    built with provenance, on a host whose image store keeps that. others: further services of its
    compose file, of the same image. files: of its image, instead of a program."""

    about: str
    program: str | None = "static"
    service: Mapping[str, Any] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    files: Callable[[], Mapping[str, bytes]] | None = None
    portkit: Mapping[str, Any] = field(default_factory=dict)
    bulk: int = 0
    mode: int = 0o755
    system: str = "linux"
    architecture: str = "amd64"
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    dockerfile: str = "Dockerfile"
    attested: bool = False
    network: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """An artifact in a form on a host. host: of the lab, or a key of PROFILES. ground: a key of
    bench.compat_apps.GROUNDS, what is done to the host while the cell is judged and tried. source:
    of a row that it stands for. says: of a profile's, what the source reports: "runs", "does not
    run", or "degraded". rule: that has to be the reason. shows: what the reason that is seen has to
    have in it, in one of these words. symptom: what an app that runs says where that rule is right,
    and does not say where it is not found."""

    artifact: str
    form: Form
    host: str
    ground: str = ""
    source: str = ""
    says: str = ""
    rule: str = ""
    shows: tuple[str, ...] = ()
    symptom: str = ""

    @property
    def kind(self) -> str:
        """Of what is started."""
        return self.form.value

    @property
    def name(self) -> str:
        """Its id."""
        place = f"{self.host} ({self.ground})" if self.ground else self.host
        return f"{self.artifact}, {self.form}, {place}"


PROFILES = {
    "rootless": (
        "Docker, rootless",
        'docker_version = "26.1"\nunprivileged_port_start = 1024',
        "[facts.engine]\nrootless = true",
    ),
    "linux-3.10": ("Linux 3.10", 'docker_version = "20.10.24"\nkernel = "3.10.0"', ""),
    "old-docker": (
        "Docker's own 20.10.9",
        'docker_version = "20.10.9"\nkernel = "5.4"',
        '[facts.engine]\nplatform = "Docker Engine - Community"',
    ),
    # The runners of GitHub in January 2021 (runner-images#2531 and #2658), as their runc was, and
    # the same with a runc that answers ENOSYS by itself.
    "old-libseccomp": (
        "libseccomp 2.4.3, runc 1.0.0-rc92",
        'docker_version = "20.10.2"\nkernel = "5.4"',
        '[facts.engine]\nlibseccomp = "2.4.3"\nrunc = "1.0.0-rc92"',
    ),
    "new-runc": (
        "libseccomp 2.4.3, runc 1.1.4",
        'docker_version = "20.10.24"\nkernel = "5.4"',
        '[facts.engine]\nlibseccomp = "2.4.3"\nrunc = "1.1.4"',
    ),
    "old-podman": (
        "Podman 3.4.4, crun 0.17",
        'docker_version = "3.4.4"\nkernel = "5.15"',
        '[facts.engine]\nname = "Podman Engine"\ncrun = "0.17"',
    ),
    "no-ip-tables": (
        "RHEL 10: nf_tables alone",
        'docker_version = "29.2.1"\nkernel = "6.12"',
        '[facts.linux.config]\nIP_NF_IPTABLES = "n"\nIP_NF_IPTABLES_LEGACY = "n"',
    ),
    "few-maps": (
        "vm.max_map_count of the kernel",
        'docker_version = "26.1"\nkernel = "6.1"',
        '[facts.linux.sysctls]\n"vm.max_map_count" = "65530"',
    ),
    "v1": (
        "a processor of the baseline",
        'docker_version = "26.1"\nkernel = "6.1"',
        "[facts.linux]\ncpu_level = 1",
    ),
    "many-files": (
        "fs.nr_open of 2^30",
        'docker_version = "26.1"\nkernel = "6.1"',
        '[facts.linux.sysctls]\n"fs.nr_open" = "1073741824"',
    ),
    "old-qemu": (
        "QEMU 5.0",
        'libvirt_version = "6.0"\nqemu_version = "5.0.0"\naccelerator = "kvm"\nkernel = "5.4"',
        '[facts.guests]\nmachines = ["q35"]\nfirmware = ["bios", "efi"]',
    ),
}


# Profiles of portkit's own, by their names.
KINDS = ("kubernetes-kubevirt", "rhel-8")


def each(artifact: str, form: Form, *hosts: str, **more: Any) -> list[Cell]:
    """The same artifact on several hosts."""
    return [Cell(artifact, form, host, **more) for host in hosts]
