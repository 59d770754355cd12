"""A Debian VM made in the ordinary way, which portkit's disks are compared with.

Debian 12 with systemd, journald, logind, dbus, networkd (DHCP), timesyncd, cron and sshd; the
kernel package that the GuestKit uses, Debian's own initramfs, and GRUB without a menu timeout;
ext4; and what a Recipe adds, such as radicale as a service. It is booted once, so that the work of
a first boot is not measured, and shut down cleanly.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import vm
from bench.harness import tell
from portkit import process
from portkit.errors import BootError, VerifyError
from portkit.guest.kit import GuestKit, build_kit, cache_root
from portkit.lab import apt, roots
from portkit.needs import appliance

RELEASE = "bookworm"
FORWARDS = (":5232",)
CONFIG = Path(__file__).parents[1] / "fixtures/apps/radicale/config"

# Change it when this module or its worker makes something else of the same packages.
_VERSION = 2
_UUID = "5f0b7a52-6c1e-4f0e-9a55-0d1f4f1c7a01"
_APPLIANCE_MIB = 768
_DEADLINE_S = 1800.0

# What every Debian VM has, by default or as what its packages recommend, and nobody minds.
_PACKAGES = (
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "systemd-timesyncd",
    "udev",
    "kmod",
    "iproute2",
    "initramfs-tools",
    "logsave",
    "grub-pc",
    "openssh-server",
    "cron",
    "ca-certificates",
)
# Before the packages: the initramfs looks up how the root's file system is checked.
_FSTAB = {"etc/fstab": f"UUID={_UUID} / ext4 errors=remount-ro 0 1\n"}
_FILES = {
    "etc/hostname": "ordinary\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 ordinary\n::1 localhost ip6-localhost\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/network/20-wired.network": "[Match]\nName=en*\n\n[Network]\nDHCP=yes\n",
    "etc/default/grub": (
        "GRUB_DEFAULT=0\n"
        "GRUB_TIMEOUT=0\n"
        "GRUB_TIMEOUT_STYLE=hidden\n"
        "GRUB_DISTRIBUTOR=Debian\n"
        'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
        'GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"\n'
        # The graphical terminal reads fonts and video modules through the BIOS first.
        "GRUB_TERMINAL=console\n"
    ),
}


def _answers(machine: vm.Vm) -> None:
    seconds = machine.answer("/.web/", "Radicale").seconds
    tell(f"first boot answered after {seconds:.1f} s")


@dataclass(frozen=True)
class Recipe:
    """What makes one ordinary VM another than the next; it has all of this module's besides.

    name: of its disk in the cache. files, uploads: by their path in the root; an upload is a large
    file, made when it is needed, and counts as the same while the rest is. units: systemd's, that
    are enabled. first: called in the first boot, returns when all is as it shall be; for that boot
    forwards and memory_mib are.
    """

    name: str
    packages: tuple[str, ...]
    files: Mapping[str, str]
    units: tuple[str, ...]
    forwards: tuple[str, ...]
    first: Callable[[vm.Vm], object]
    uploads: Mapping[str, Callable[[Path], object]] = field(default_factory=dict)
    disk_bytes: int = 2 << 30
    memory_mib: int = 512

    def key(self, kit: GuestKit) -> str:
        """16 hex digits over everything that goes into the disk."""
        kernel = hashlib.sha256(kit.kernel.read_bytes()).hexdigest()
        sources = [source.line() for source in apt.read(RELEASE)]
        shared = [_VERSION, kit.release, kernel, _PACKAGES, _FSTAB, _FILES, _UUID, sources]
        own = [self.packages, dict(self.files), self.units, list(self.uploads), self.disk_bytes]
        return hashlib.sha256(json.dumps([*shared, *own]).encode()).hexdigest()[:16]


RADICALE = Recipe(
    name="ordinary",
    packages=("radicale",),
    files={"etc/radicale/config": CONFIG.read_text()},
    units=("radicale",),
    forwards=FORWARDS,
    first=_answers,
)


def ordinary_disk(recipe: Recipe = RADICALE) -> Path:
    """The VM's raw disk, from the cache where nothing changed.

    Raises LabError when its root cannot be made, VerifyError when its kernel is another one than
    the kit's, ToolError when libguestfs fails, BootError when it does not answer.
    """
    kit = build_kit()
    folder = cache_root() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recipe.name}-{recipe.key(kit)}.raw"
    with _locked(folder):
        if not path.exists():
            part = path.with_suffix(".part")
            try:
                _build(recipe, kit, part)
                _first_boot(recipe, part)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(recipe: Recipe, kit: GuestKit, disk: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ordinary-", dir=disk.parent) as name:
        folder = Path(name)
        root = folder / "root.tar"
        tell("making the ordinary VM's root (once)")
        _debian(recipe, kit, root)
        _same_kernel(kit, root)
        with disk.open("wb") as file:
            file.truncate(recipe.disk_bytes)
        tell("writing the ordinary VM's disk (once)")
        plan = {"disk": str(disk), "root_tar": str(root), "root_uuid": _UUID}
        process.run(
            [sys.executable, "-m", "bench._ordinary_worker"],
            input=json.dumps(plan | {"memory_mib": _APPLIANCE_MIB}).encode(),
            env=appliance.environment(kit, folder),
            cwd=Path(__file__).parents[1],
            timeout=_DEADLINE_S,
        )


def _debian(recipe: Recipe, kit: GuestKit, root: Path) -> None:
    """A tar of the root, by mmdebstrap with this machine's own package sources."""
    early, late = root.with_name("early.tar"), root.with_name("late.tar")
    _tar(early, _FSTAB)
    _tar(late, {**_FILES, **recipe.files})
    units = " ".join(["systemd-networkd", *recipe.units])
    options = [
        "--format=tar",
        f"--essential-hook=tar-in {early} /",
        f"--customize-hook=tar-in {late} /",
        f'--customize-hook=chroot "$1" systemctl enable {units}',
    ]
    for number, (path, write) in enumerate(recipe.uploads.items()):
        upload = root.with_name(f"upload-{number}")
        write(upload)
        options.append(f"--customize-hook=upload {upload} {path}")
    roots.mmdebstrap(
        RELEASE,
        root,
        apt.read(RELEASE),
        packages=[*_PACKAGES, *recipe.packages, f"linux-image-{kit.release}"],
        options=options,
    )


def _tar(path: Path, files: Mapping[str, str]) -> None:
    with tarfile.open(path, "w") as out:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(text.encode()), 0o644, int(time.time())
            out.addfile(info, io.BytesIO(text.encode()))


def _same_kernel(kit: GuestKit, root: Path) -> None:
    with tarfile.open(root) as archive:
        file = archive.extractfile(f"./boot/vmlinuz-{kit.release}")
        same = file is not None and file.read() == kit.kernel.read_bytes()
    if not same:
        raise VerifyError(
            "the ordinary VM's kernel is not the GuestKit's",
            details=f"both are called {kit.release}",
            resolution=f"Remove {kit.kernel.parents[1]} and run it again.",
        )


def _first_boot(recipe: Recipe, disk: Path) -> None:
    """Once through, on the disk itself: machine id, host keys, journal; then a clean stop."""
    tell("booting the ordinary VM for the first time")
    forwards, memory = recipe.forwards, recipe.memory_mib
    with vm.boot(disk, "raw", forwards=forwards, memory_mib=memory) as machine:
        recipe.first(machine)
        # The getty comes with the last units.
        deadline = time.monotonic() + 120
        while "login:" not in machine.console():
            machine.alive()
            if time.monotonic() > deadline:
                raise BootError("no login prompt came", details=machine.console()[-2000:])
            time.sleep(0.2)
        machine.power_off()


if __name__ == "__main__":
    tell(f"ready: {ordinary_disk()}")
