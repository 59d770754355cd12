"""The GuestKit: what every disk of one architecture shares, kernel, initrd and boot partition."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portkit import files, process
from portkit.architecture import TABLE, Architecture
from portkit.errors import AppError, ToolError
from portkit.guest import boot_partition, foreign
from portkit.guest.compiler import compiled
from portkit.guest.initrd import cpio
from portkit.wire.sparse import hash_sparse

# Debian's kernel for virtual machines: ext4 and serial are built in, virtio is modules.
# virtio-rng: without it some programs wait a second for random numbers; evdev and button: stop.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "evdev", "button")
# Only several services need them: a root for each, laid over shared layers, and a network.
_OF_SEVERAL = ("overlay", "bridge", "veth")
LOADER_BYTES = 440  # in the first sector of a disk, before what DOS kept there
_PACKAGE = re.compile(r"(linux-image-[0-9][a-z0-9.+-]*)(:[a-z0-9]+)?")


@dataclass(frozen=True)
class GuestKit:
    """What a disk is made of beside its image.

    digest: sha256 over kernel, initrd, boot partition and the loader in front of it, the kit's
    identity. release: of the kernel. boot: the partition, a file of `boot_partition.BYTES`.
    """

    digest: str
    architecture: str
    release: str
    kernel: Path
    initrd: Path
    boot: Path
    loader: Path
    modules: Path


def cache_root() -> Path:
    """Where kernels and compiled inits are kept: $PORTKIT_CACHE, else root's or the user's."""
    if told := os.environ.get("PORTKIT_CACHE"):
        return Path(told)
    if os.geteuid() == 0:
        return Path("/var/cache/portkit")
    from platformdirs import user_cache_path

    return user_cache_path("portkit")


def build_kit(
    cache: Path | None = None,
    architecture: str = "amd64",
    *,
    drivers: tuple[str, ...] = (),
    dhcp: bool = False,
) -> GuestKit:
    """The kit, from the cache where nothing changed.

    drivers: modules beside those for virtio. dhcp: it asks a server for its address, where it would
    take the one that it has in QEMU's user-mode network.
    The kernel comes from Debian's archive through apt, the init is compiled from src/ for musl. Of
    an architecture that is not this machine's, the UEFI boot loader comes from there, too.
    Raises AppError for an architecture that has none, ToolError when apt or the compiler fails.
    """
    cache = cache or cache_root()
    if architecture not in TABLE:
        raise AppError(
            "portkit cannot make disks for this architecture",
            details=architecture,
            resolution="Move the image instead: --form image.",
        )
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    known = TABLE[architecture]
    apt = foreign.options(cache, architecture)
    tree = _kernel_tree(cache, known, apt)
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    release = kernel.name.removeprefix("vmlinuz-")
    # Debian 13 has them in /usr/lib alone.
    (modules,) = (each for each in _places(tree, release) if each.is_dir())
    init = compiled("portkit.guest", "init", architecture, cache)
    initrd = _kept(cache, "initrd", _initrd(init, modules, drivers, dhcp))
    made_of = _digest(kernel) + _digest(initrd)
    boot = _boot(cache, known, _uefi_loader(cache, apt), kernel, initrd, made_of)
    first = boot_partition.BIOS_LOADER.read_bytes()[:LOADER_BYTES] if known.bios else b""
    loader = _kept(cache, "loader", first)
    total = hashlib.sha256(made_of + _digest(boot) + _digest(loader))
    digest = "sha256:" + total.hexdigest()
    return GuestKit(digest, architecture, release, kernel, initrd, boot, loader, modules)


def _kept(cache: Path, name: str, data: bytes) -> Path:
    """A file of the cache with that content."""
    path = cache / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    if not path.exists() or path.read_bytes() != data:
        with files.whole(path) as file:
            file.write(data)
    return path


def _digest(path: Path) -> bytes:
    return bytes.fromhex(hash_sparse(path))


def _boot(
    cache: Path,
    architecture: Architecture,
    loader: Path,
    kernel: Path,
    initrd: Path,
    made_of: bytes,
) -> Path:
    """The boot partition; made again when one of its parts (whose digests are told), or what is
    written there, changed."""
    total = hashlib.sha256(boot_partition.recipe(architecture, loader) + made_of)
    made = cache / f"boot-{total.hexdigest()[:16]}"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            boot_partition.make(architecture, loader, kernel, initrd, Path(folder) / "boot")
            with (Path(folder) / "boot").open("rb") as file:
                os.fsync(file.fileno())  # it is trusted from now on, whatever happens
            (Path(folder) / "boot").replace(made)
    return made


def _kernel_tree(cache: Path, architecture: Architecture, apt: list[str]) -> Path:
    """The unpacked kernel package, the newest that apt knows."""
    argv = ["apt-cache", *apt, "depends", "--important", architecture.kernel]
    matches = map(_PACKAGE.fullmatch, process.run(argv, timeout=60).text.split())
    names = [match[1] for match in matches if match]
    if not names:
        raise ToolError(
            "apt finds no kernel for the guest",
            details=f"{architecture.kernel} has no dependency that is a kernel",
            resolution="Run apt-get update, and check that apt's sources are Debian's.",
        )
    return _unpacked(cache / "kernels" / names[0], names[0], apt)


def _uefi_loader(cache: Path, apt: list[str]) -> Path:
    """The boot loader that a UEFI firmware starts: this machine's own, where it has such a one."""
    installed = boot_partition.UEFI_LOADER
    if not apt:
        return installed
    name = boot_partition.UEFI_PACKAGE
    shown = process.run(["apt-cache", *apt, "show", "--no-all-versions", name], timeout=60).text
    fields = dict(row.partition(": ")[::2] for row in shown.splitlines())
    known = f"{name}-{fields.get('Version', '')}-{fields.get('Architecture', '')}"
    tree = _unpacked(cache / "loaders" / known.replace(":", "-"), name, apt)
    (found,) = (tree / installed.parent.relative_to("/")).glob("systemd-boot*.efi")
    return found


def _unpacked(tree: Path, package_name: str, apt: list[str]) -> Path:
    """A package of Debian's as a folder, downloaded if that is not there."""
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        # apt downloads as its own user where it can.
        Path(folder).chmod(0o755)
        argv = ["apt-get", *apt, "download", "-q", package_name]
        process.run(argv, cwd=Path(folder), timeout=600)
        (package,) = Path(folder).glob("*.deb")
        process.run(["dpkg-deb", "-x", package, Path(folder) / "tree"], timeout=300)
        if not tree.exists():
            (Path(folder) / "tree").replace(tree)
    return tree


def _initrd(init: Path, modules: Path, drivers: tuple[str, ...], dhcp: bool) -> bytes:
    built_in = _built_in(modules)
    loaded, more = (
        tuple(name for name in names if name.replace("-", "_") not in built_in)
        for names in ((*_MODULES, *drivers), _OF_SEVERAL)
    )
    always = list(dict.fromkeys(_with_needs(loaded, modules)))
    needed = dict.fromkeys(_with_needs(more, modules))
    several = [name for name in needed if name not in always]
    files = {
        f"modules/{name}.ko": (0o644, _content(_module(name, modules)))
        for name in (*always, *several)
    }
    for listed, names in (("order", always), ("several", several)):
        files[f"modules/{listed}"] = (0o644, "".join(f"{name}.ko\n" for name in names).encode())
    if dhcp:
        files["dhcp"] = (0o644, b"")  # src/network.c looks for it
    return cpio({"init": (0o755, init.read_bytes()), **files})


def _built_in(modules: Path) -> frozenset[str]:
    """The modules that are a part of the kernel itself, which differ between architectures."""
    rows = (modules / "modules.builtin").read_text().splitlines()
    return frozenset(Path(row).stem.replace("-", "_") for row in rows)


def _places(tree: Path, release: str) -> tuple[Path, ...]:
    return tuple(tree / each / "modules" / release for each in ("lib", "usr/lib"))


def _content(path: Path) -> bytes:
    """A module as the guest's init loads it; Debian 13 has them packed."""
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def _module(name: str, modules: Path) -> Path:
    for spelled in (name, name.replace("_", "-"), name.replace("-", "_")):
        for ending in (".ko", ".ko.xz"):
            for path in modules.rglob(f"{spelled}{ending}"):
                return path
    raise ToolError(
        "the kernel lacks a module that a disk needs",
        details=f"{name} in {modules}",
        resolution="Update portkit, because the layout of the kernel package has changed.",
    )


def _with_needs(names: tuple[str, ...], modules: Path) -> Iterator[str]:
    """The modules, each after the ones that it depends on."""
    for name in names:
        path = str(_module(name, modules))
        needs = process.run(["modinfo", "--field", "depends", path], timeout=30).text.strip()
        yield from _with_needs(tuple(n for n in needs.split(",") if n), modules)
        yield name
