"""What one can ask of the lab. Every change is made under one lock, so that two never race."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portkit.errors import LabError
from portkit.lab import cgroups, hosts, net, roots, texts
from portkit.lab.plan import DEFAULT_NAMES, MEMBERS, Lab, current, member
from portkit.progress import NullObserver, Observer, phase

_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "tc": "iproute2",
    "iptables": "iptables",
    "iptables-save": "iptables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}


@dataclass(frozen=True)
class LabHost:
    """A practice host. rate: how its link is shaped. linked: False while it is cut."""

    name: str
    address: str
    ssh_config: Path
    running: bool
    release: str = ""
    rate: str | None = None
    linked: bool = True


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """Hold the lab's lock; waits for whoever has it. The kernel drops it with its holder."""
    if os.geteuid() != 0:
        raise LabError(
            "the lab needs root",
            details="It creates network namespaces, mounts and cgroups.",
            resolution="Run it as root.",
        )
    # Private: the hosts' root trees have set-user-ID programs, which nobody else should reach.
    lab.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One for all labs of the folder: they share the roots.
    with (lab.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_tools() -> None:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        packages = " ".join(sorted({_TOOLS[tool] for tool in missing}))
        raise LabError(
            "programs that the lab needs are missing",
            details=", ".join(missing),
            resolution=f"Install them: apt-get install {packages}",
        )


def up(
    names: Sequence[str] = DEFAULT_NAMES,
    observer: Observer | None = None,
    *,
    lab: Lab | None = None,
) -> tuple[LabHost, ...]:
    """Start these hosts, those that run stay as they are; returns when their engines answer."""
    lab, observer = lab or current(), observer or NullObserver()
    members = [member(name) for name in dict.fromkeys(names)]
    _check_tools()
    with locked(lab):
        lab.folder.mkdir(mode=0o700, exist_ok=True)
        lab.roots.mkdir(mode=0o700, exist_ok=True)
        hosts.ensure_identity(lab)
        net.ensure(lab)
        for one in members:
            # All are started before any is waited for: their daemons come up at the same time.
            if not hosts.running(lab, one.name):
                with phase(observer, f"lab:{one.name}"):
                    rate, linked = net.rate_of(lab, one.name), net.linked(lab, one.name)
                    hosts.start(lab, one, observer, rate, linked)
        _write_ssh(lab)
        for one in members:
            if net.linked(lab, one.name):
                hosts.wait(lab, one)
    return tuple(host(one.name, lab=lab) for one in members)


def _write_ssh(lab: Lab) -> None:
    known = [(name, hosts.public_key(lab, name)) for name in _with_state(lab)]
    for path, text in (
        (lab.known_hosts, texts.known_hosts(lab, known)),
        (lab.ssh_config, texts.ssh_config(lab)),
    ):
        # Others read them at any time.
        new = path.with_name(f".{path.name}.new")
        new.write_text(text)
        new.rename(path)


def _with_state(lab: Lab) -> list[str]:
    return [name for name in MEMBERS if (lab.host_folder(name) / "root").exists()]


def down(lab: Lab | None = None, *, purge: bool = False) -> None:
    """Remove the whole lab: processes, cgroups, links, rules, state. Cached roots stay.

    What there is to remove is read from the system, so this works after any accident.
    purge: the cached roots too.
    """
    lab = lab or current()
    with locked(lab):
        for name in MEMBERS:
            cgroups.kill(lab.cgroup(name))
        for name in MEMBERS:
            hosts.destroy(lab, name)
        # After the hosts: a link in use would keep its bridge.
        net.remove(lab)
        roots.discard(lab.folder)
        roots.sweep(lab)
        if purge:
            roots.purge(lab)


def leftovers(lab: Lab | None = None) -> list[str]:
    """What of the lab is on this machine now, cached roots aside; empty after `down`."""
    lab = lab or current()
    # Read from the system and not from files of the lab: those may be gone.
    seen = [f"cgroup {name}" for name in sorted(cgroups.named(f"portkit-lab{lab.number}-"))]
    for name in MEMBERS:
        seen += [f"process {pid} of {name}" for pid in sorted(cgroups.processes(lab.cgroup(name)))]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    seen += [f"mount {row.split()[1]}" for row in mounts if str(lab.folder) in row]
    seen += [f"folder {lab.folder}"] if lab.folder.exists() else []
    return seen + net.found(lab)


def status(lab: Lab | None = None) -> tuple[LabHost, ...]:
    """Every host that the lab can have, running or not."""
    lab = lab or current()
    return tuple(host(name, lab=lab) for name in MEMBERS)


def host(name: str, *, lab: Lab | None = None) -> LabHost:
    """One host; LabError when the lab knows no such name."""
    lab = lab or current()
    one = member(name)
    return LabHost(
        name=name,
        address=lab.address(name),
        ssh_config=lab.ssh_config,
        running=hosts.running(lab, name),
        release=one.release,
        rate=net.rate_of(lab, name),
        linked=net.linked(lab, name),
    )


def ssh_config(lab: Lab | None = None) -> Path:
    """The file for `ssh -F`; its entries are lab-NAME."""
    return (lab or current()).ssh_config


def counters(name: str, *, lab: Lab | None = None) -> tuple[int, int]:
    """(received, sent) bytes of the host's link since it started, as the host sees them."""
    member(name)
    return net.counters(lab or current(), name)


def shape(name: str, rate: str | None, *, lab: Lab | None = None) -> None:
    """Limit both directions of a host's link to e.g. "100mbit"; None takes the limit away."""
    lab = lab or current()
    if rate is not None:
        net.parse_rate(rate)
    with locked(lab):
        _running(lab, name)
        net.shape(lab, name, rate)


def cut(name: str, *, lab: Lab | None = None) -> None:
    """Pull the host's cable. Nothing on it stops."""
    _set_link(lab or current(), name, up=False)


def mend(name: str, *, lab: Lab | None = None) -> None:
    """Plug the host's cable in again."""
    _set_link(lab or current(), name, up=True)


def _set_link(lab: Lab, name: str, *, up: bool) -> None:
    with locked(lab):
        _running(lab, name)
        net.set_link(lab, name, up)


def reboot(name: str, *, lab: Lab | None = None, observer: Observer | None = None) -> LabHost:
    """Stop everything on a host and start it again with its files; shape and cut stay."""
    lab, observer = lab or current(), observer or NullObserver()
    with locked(lab), phase(observer, f"lab:reboot:{name}"):
        _running(lab, name)
        rate, linked = net.rate_of(lab, name), net.linked(lab, name)
        hosts.stop(lab, name)
        hosts.start(lab, member(name), observer, rate, linked)
        if linked:
            hosts.wait(lab, member(name))
    return host(name, lab=lab)


def _running(lab: Lab, name: str) -> None:
    member(name)
    if not hosts.running(lab, name):
        raise LabError(
            f"lab host {name} is not running",
            details=f"There is no process in the cgroup {lab.cgroup(name)}.",
            resolution=f"Start it: portkit lab up {name}",
        )
