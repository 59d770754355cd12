"""Who is in the lab, and every name, address and folder that follows from it. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portkit.errors import LabError

STATE = Path("/var/lib/portkit/lab")
MOST_LABS = 100
# What `Lab.prefix` is: the name of a lab's bridge and of its folder. Links have a dash behind it.
PREFIX = re.compile(r"pk[0-9]{1,2}")

_HOST = ("openssh-server", "python3", "zstd", "iproute2", "iptables", "ca-certificates")
_ENGINES = (
    "docker.io",
    "qemu-system-x86",
    "qemu-utils",
    "e2fsprogs",
    "ovmf",
    "libvirt-daemon-system",
    "libvirt-clients",
    "dnsmasq-base",
    "passt",
    *_HOST,
)
# Machines and programs of arm64, emulated. No handler is registered: all hosts share one kernel,
# and so the table of handlers.
_ARM64 = ("qemu-system-arm", "qemu-user")
# From Debian 13 the client is no part of docker.io, and BuildKit's client no part of either.
_CLIENTS = ("docker-cli", "docker-buildx")
# Podman needs all of these to run what Docker runs; Debian's package only recommends them.
_PODMAN = (
    "podman",
    "crun",
    "netavark",
    "aardvark-dns",
    "catatonit",
    "nftables",
    *_HOST,
)


@dataclass(frozen=True)
class Member:
    """One practice host: its Debian release, the packages of its root, its last address byte."""

    name: str
    release: str
    number: int
    packages: tuple[str, ...]
    containerd_store: bool = False
    left_out: tuple[str, ...] = ()  # of those packages: paths, as dpkg's path-exclude has them
    kept: tuple[str, ...] = ()  # of what is left out

    @property
    def podman(self) -> bool:
        """Whether Podman is its only engine."""
        return "podman" in self.packages


MEMBERS: Mapping[str, Member] = {
    "alpha": Member("alpha", "bookworm", 11, _ENGINES),
    "beta": Member("beta", "trixie", 12, _ENGINES + _CLIENTS),
    "gamma": Member(
        "gamma",
        "testing",
        13,
        _ENGINES + _CLIENTS + _ARM64,
        containerd_store=True,
        # qemu-user is an emulator for each of forty architectures, 470 MB.
        left_out=("/usr/bin/qemu-*",),
        kept=("/usr/bin/qemu-aarch64", "/usr/bin/qemu-img", "/usr/bin/qemu-system-*"),
    ),
    # Nothing but Podman: no docker command, no libvirt.
    "delta": Member("delta", "trixie", 14, _PODMAN),
    # Like beta, whose root it shares: a VM moves without a stop between these two.
    "epsilon": Member("epsilon", "trixie", 15, _ENGINES + _CLIENTS),
}
DEFAULT_NAMES = ("alpha", "beta")


def member(name: str) -> Member:
    """The member called `name`; LabError when there is none."""
    try:
        return MEMBERS[name]
    except KeyError:
        raise LabError(
            f"the lab has no host {name!r}",
            details=f"It knows {', '.join(MEMBERS)}.",
            resolution="Use one of these names.",
        ) from None


@dataclass(frozen=True)
class Lab:
    """One lab. `number` (0 to 99) sets its names and network apart; roots are shared by `state`."""

    state: Path = STATE
    # At most two digits: the names of links and the second byte of addresses are made from it.
    number: int = 0

    @property
    def prefix(self) -> str:
        """What the names of its links and namespaces begin with; an interface's name has at most 15
        characters."""
        return f"pk{self.number}"

    @property
    def bridge(self) -> str:
        """The bridge on this machine that every host of the lab is connected to."""
        return self.prefix

    @property
    def network(self) -> str:
        """The lab's addresses, one network for each number."""
        return f"10.{77 + self.number}.0.0/24"

    @property
    def gateway(self) -> str:
        """This machine's address in the lab."""
        return f"10.{77 + self.number}.0.1"

    @property
    def tag(self) -> str:
        """The comment on every firewall rule of this lab."""
        return f"portkit-lab-{self.prefix}"

    @property
    def folder(self) -> Path:
        """What is this lab's alone: its hosts, keys and ssh_config."""
        return self.state / self.prefix

    @property
    def roots(self) -> Path:
        """Root trees of the Debian releases, which all labs share."""
        return self.state / "roots"

    @property
    def identity(self) -> Path:
        """The private key by which this machine logs in; the public one is beside it."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The keys of the lab's hosts, as ssh wants them."""
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """Settings of ssh for the lab's hosts; the user's own are not touched."""
        return self.folder / "ssh_config"

    def address(self, name: str) -> str:
        """A host's address."""
        return f"10.{77 + self.number}.0.{member(name).number}"

    def mac(self, name: str) -> str:
        """A host's hardware address, from the range for local use (02:...)."""
        # Constant, so that nobody's neighbour table is wrong after a reboot.
        return f"02:70:6b:{self.number:02x}:00:{member(name).number:02x}"

    def link(self, name: str) -> str:
        """This machine's end of the host's veth; the other end is eth0 in the host."""
        return f"{self.prefix}-{name}"

    def netns(self, name: str) -> str:
        """The name of a host's network namespace."""
        return f"{self.prefix}-{name}"

    def cgroup(self, name: str) -> str:
        """Its cgroup, directly below the top of every hierarchy."""
        return f"portkit-lab{self.number}-{name}"

    def host_folder(self, name: str) -> Path:
        """Where a host's state is kept."""
        return self.folder / name


def current(environ: Mapping[str, str] = os.environ) -> Lab:
    """The lab that PORTKIT_LAB (its folder) and PORTKIT_LAB_NUMBER (0 to 99) ask for."""
    number = environ.get("PORTKIT_LAB_NUMBER", "0")
    # One spelling for each lab: its names are made from the number.
    if number not in map(str, range(MOST_LABS)):
        raise LabError(
            f"PORTKIT_LAB_NUMBER is not a number from 0 to {MOST_LABS - 1}",
            details=f"It is {number!r}.",
            resolution=f"Unset it, or set it to 0 to {MOST_LABS - 1}.",
        )
    state = Path(environ.get("PORTKIT_LAB") or STATE)
    if not state.is_absolute() or set(str(state)) & set(",:\\ \n"):
        # overlayfs takes its folders as mount options, where these characters separate.
        raise LabError(
            "PORTKIT_LAB is not a usable folder",
            details=f"It is {str(state)!r}.",
            resolution="Set it to an absolute path without commas, colons, backslashes or spaces.",
        )
    return Lab(state, int(number))
