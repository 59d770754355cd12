"""One practice host: its folders, its start, the wait for its daemons, its end."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

from portkit import process
from portkit.errors import LabError
from portkit.lab import cgroups, net, roots, texts
from portkit.lab.plan import Lab, Member
from portkit.progress import Observer

_SUPERVISOR = "usr/local/lib/portkit-lab/supervisor.py"
_STATE = ("docker", "containerd", "containers", "libvirt", "portkit")
# Seconds until all daemons answer, on a machine under load.
_READY_S = 90.0
_STOP_S = 60.0

# One question to all engines, asked on the host until it has an answer to each.
_ANSWERS = "for try in $(seq 300); do %s >/dev/null 2>&1 && exit 0; sleep 0.2; done; exit 1"
_DOCKER_AND_LIBVIRT = "{ docker version && virsh -q -c qemu:///system version; }"
_PODMAN = "podman --url unix:///run/podman/podman.sock version"


def running(lab: Lab, name: str) -> bool:
    """Whether the host's own PID 1 is there."""
    return cgroups.init_process(lab.cgroup(name)) is not None


def prepare(lab: Lab, member: Member, observer: Observer) -> Path:
    """The host's folder, made and configured if it is new. Returns the root below it."""
    folder = lab.host_folder(member.name)
    mark = folder / "root"
    if mark.exists() and (lab.roots / mark.read_text()).is_dir():
        # Its state belongs to the root it was made with, even if the recipe has changed.
        return lab.roots / mark.read_text()
    root = roots.root(lab, member, observer)
    roots.discard(folder)
    folder.mkdir(mode=0o700, parents=True)
    for part in ("upper", "work", "merged", *_STATE):
        (folder / part).mkdir()
        # The umask must not decide: these become / and folders that engines' users pass.
        (folder / part).chmod(0o755)
    (folder / "docker").chmod(0o710)
    if (root / "var/lib/libvirt").is_dir():
        shutil.rmtree(folder / "libvirt")
        # With owners, which shutil does not keep.
        process.run(["cp", "-a", root / "var/lib/libvirt", folder / "libvirt"], timeout=60)
    _configure(lab, member, folder)
    mark.write_text(root.name)
    return root


def _configure(lab: Lab, member: Member, folder: Path) -> None:
    key = folder / "ssh_host_ed25519_key"
    # A key of its own for each host, known to this machine before the first connection: the lab
    # needs no `accept-new`.
    _keygen(key, f"root@{member.name}")
    upper = folder / "upper"
    resolv = Path("/etc/resolv.conf")
    machine = resolv.read_text() if resolv.exists() else ""
    files = {
        "etc/hostname": f"{member.name}\n",
        "etc/hosts": texts.hosts(lab, member.name),
        "etc/resolv.conf": texts.resolv_conf(machine),
        "etc/docker/daemon.json": texts.daemon_json(member),
        "etc/libvirt/qemu.conf": texts.QEMU,
        "etc/ssh/sshd_config": texts.SSHD,
        "etc/ssh/ssh_host_ed25519_key": key.read_text(),
        "root/.ssh/authorized_keys": lab.identity.with_suffix(".pub").read_text(),
        _SUPERVISOR: (roots.INSIDE / "supervisor.py").read_text(),
    }
    for name, text in files.items():
        path = upper / name
        _make_folders(upper, path.parent)
        path.write_text(text)
        # sshd refuses a private key that others may read.
        path.chmod(0o600 if "key" in name or name.endswith("qemu.conf") else 0o644)


def _make_folders(upper: Path, folder: Path) -> None:
    # overlayfs takes a merged folder's mode from the upper one.
    if folder != upper and not folder.exists():
        _make_folders(upper, folder.parent)
        folder.mkdir()
        folder.chmod(0o700 if folder.relative_to(upper).parts[0] == "root" else 0o755)


def _keygen(path: Path, comment: str) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    process.run(argv, timeout=30)


def ensure_identity(lab: Lab) -> None:
    """The lab's own ssh key, made once; a half of a pair is thrown away."""
    public = lab.identity.with_suffix(".pub")
    if lab.identity.exists() and public.exists():
        return
    lab.identity.unlink(missing_ok=True)
    public.unlink(missing_ok=True)
    _keygen(lab.identity, lab.tag)


def start(lab: Lab, member: Member, observer: Observer, rate: str | None, linked: bool) -> None:
    """Start a host that is not running. Returns at once: see `wait`."""
    root = prepare(lab, member, observer)
    name, folder = member.name, lab.host_folder(member.name)
    cgroups.kill(lab.cgroup(name))
    cgroups.remove(lab.cgroup(name))
    net.attach(lab, name, rate, linked)
    cgroups.create(lab.cgroup(name))
    mounts = [
        word
        for hierarchy in cgroups.hierarchies()
        for word in (hierarchy.kind, str(hierarchy.folder), hierarchy.options)
    ]
    # setsid: its parent must be this machine's init, not us, who would have to reap it.
    join: list[str | Path] = ["setsid", "--fork", "sh", roots.JOIN, lab.cgroup(name)]
    # nsenter, not `ip netns exec`: that remounts /sys and hides the cgroups from dockerd.
    network = ["nsenter", f"--net=/run/netns/{lab.netns(name)}"]
    # No user namespace: engines need real root to mount and to make devices.
    apart = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup"]
    apart += ["--fork", "--kill-child", "--propagation", "private"]
    enter: list[str | Path] = ["sh", roots.INSIDE / "enter.sh", root, folder, name, *mounts]
    with (folder / "console.log").open("ab") as console:
        argv = [*join, *network, *apart, *enter]
        process.run(argv, stdout=console, stderr=console, timeout=30)


def wait(lab: Lab, member: Member) -> None:
    """Return when sshd and the engines answer; LabError with the logs if they do not."""
    name = member.name
    end = time.monotonic() + _READY_S
    while not net.answers(lab.address(name), 22, b"SSH-", 1.0):
        if time.monotonic() > end:
            raise _silent(lab, name, "sshd")
        time.sleep(0.1)
    question = _PODMAN if member.podman else _DOCKER_AND_LIBVIRT
    argv = ["ssh", "-F", str(lab.ssh_config), f"lab-{name}", _ANSWERS % question]
    if process.run(argv, check=False, timeout=_READY_S + 60).code != 0:
        raise _silent(lab, name, "an engine")


def _silent(lab: Lab, name: str, what: str) -> LabError:
    folder = lab.host_folder(name)
    tails = []
    for path in [folder / "console.log", *sorted((folder / "upper/var/log").glob("*.log"))]:
        if path.is_file():
            tail = path.read_bytes()[-1500:].decode("utf-8", "replace").strip()
            tails.append(f"{path.name}: {tail}")
    return LabError(
        f"{what} does not answer on lab host {name}",
        details="\n".join(tails),
        resolution=f"If its link is cut, restore it: portkit lab mend {name}. Otherwise run "
        "`portkit lab down` and `portkit lab up`; the logs of the host are above.",
    )


def stop(lab: Lab, name: str) -> None:
    """Shut a host down as its power button would; what does not go is killed. State is kept."""
    init = cgroups.init_process(lab.cgroup(name))
    if init is not None:
        cgroups.send(init, signal.SIGTERM)
        cgroups.wait_empty(lab.cgroup(name), _STOP_S)
    cgroups.kill(lab.cgroup(name))
    cgroups.remove(lab.cgroup(name))


def destroy(lab: Lab, name: str) -> None:
    """Kill a host and remove all of it, state too."""
    cgroups.kill(lab.cgroup(name))
    net.detach(lab, name)
    cgroups.remove(lab.cgroup(name))
    roots.discard(lab.host_folder(name))


def public_key(lab: Lab, name: str) -> str:
    """The host's ssh key, in a line, for known_hosts."""
    return (lab.host_folder(name) / "ssh_host_ed25519_key.pub").read_text()
