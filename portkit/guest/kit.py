"""The GuestKit: what every disk of one architecture shares, kernel, initrd and boot partition."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path

from portkit import files, process
from portkit.architecture import TABLE
from portkit.errors import AppError, ToolError
from portkit.guest import boot_partition
from portkit.guest.initrd import cpio
from portkit.wire.sparse import hash_sparse

# Debian's kernel for virtual machines: ext4 and serial are built in, virtio is modules.
# virtio-rng: without it some programs wait a second for random numbers; evdev and button: stop.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "evdev", "button")
# Only several services need them: a root for each, laid over shared layers, and a network.
_OF_SEVERAL = ("overlay", "bridge", "veth")
LOADER_BYTES = 440  # in the first sector of a disk, before what DOS kept there
_PACKAGE = re.compile(r"linux-image-[0-9][a-z0-9.+-]*")


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


def build_kit(cache: Path | None = None, architecture: str = "amd64") -> GuestKit:
    """The kit, from the cache where nothing changed.

    The kernel comes from Debian's archive through apt, the init is compiled from src/ for musl.
    Raises AppError for an architecture that has none, ToolError when apt or the compiler fails.
    """
    cache = cache or cache_root()
    if architecture not in TABLE:
        raise AppError(
            "portkit makes no disks for this architecture",
            details=architecture,
            resolution="Use the image form.",
        )
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    tree = _kernel_tree(cache, architecture)
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    release = kernel.name.removeprefix("vmlinuz-")
    modules = tree / "lib/modules" / release
    initrd = _kept(cache, "initrd", _initrd(_init(cache, architecture), modules))
    made_of = _digest(kernel) + _digest(initrd)
    boot = _boot(cache, kernel, initrd, made_of)
    loader = _kept(cache, "loader", boot_partition.BIOS_LOADER.read_bytes()[:LOADER_BYTES])
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


def _boot(cache: Path, kernel: Path, initrd: Path, made_of: bytes) -> Path:
    """The boot partition; made again when one of its parts (whose digests are told), or what is
    written there, changed."""
    total = hashlib.sha256(boot_partition.recipe() + made_of)
    made = cache / f"boot-{total.hexdigest()[:16]}"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            boot_partition.make(kernel, initrd, Path(folder) / "boot")
            with (Path(folder) / "boot").open("rb") as file:
                os.fsync(file.fileno())  # it is trusted from now on, whatever happens
            (Path(folder) / "boot").replace(made)
    return made


def _kernel_tree(cache: Path, architecture: str) -> Path:
    """The unpacked kernel package, the newest that apt knows."""
    listed = process.run(
        ["apt-cache", "depends", "--important", TABLE[architecture].kernel], timeout=60
    )
    names = [word for word in listed.text.split() if _PACKAGE.fullmatch(word)]
    if not names:
        raise ToolError(
            "apt knows no kernel for the guest",
            details=f"{TABLE[architecture].kernel} has no dependency that is a kernel",
            resolution="Run apt-get update; for another architecture: dpkg --add-architecture.",
        )
    tree = cache / "kernels" / names[0]
    if tree.is_dir():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=tree.parent) as folder:
        # apt downloads as its own user where it can.
        Path(folder).chmod(0o755)
        process.run(["apt-get", "download", "-q", names[0]], cwd=Path(folder), timeout=600)
        (package,) = Path(folder).glob("*.deb")
        process.run(["dpkg-deb", "-x", package, Path(folder) / "tree"], timeout=300)
        if not tree.exists():
            (Path(folder) / "tree").replace(tree)
    return tree


def _init(cache: Path, architecture: str) -> Path:
    """The compiled init; again only when a source or the compiler changed."""
    import ziglang

    source = resources.files("portkit.guest") / "src"
    files = sorted(
        (f for f in source.iterdir() if f.name[-2:] in (".c", ".h")), key=lambda f: f.name
    )
    total = hashlib.sha256(metadata.version("ziglang").encode())
    for file in files:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    made = cache / f"init-{architecture}-{total.hexdigest()[:16]}"
    if made.exists():
        return made
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        out = Path(folder) / "init"
        zig = Path(ziglang.__file__).parent / "zig"
        argv: list[str | Path] = [
            zig,
            "cc",
            "-target",
            TABLE[architecture].init,
            "-static",
            "-Os",
            "-s",
        ]
        argv += ["-Wall", "-Wextra", "-Werror", "-o", out]
        argv += [str(file) for file in files if file.name.endswith(".c")]
        env = {"ZIG_GLOBAL_CACHE_DIR": str(cache / "zig"), "ZIG_LOCAL_CACHE_DIR": folder}
        process.run(argv, env=env, timeout=600)
        shutil.move(out, made)
    return made


def _initrd(init: Path, modules: Path) -> bytes:
    always = list(dict.fromkeys(_with_needs(_MODULES, modules)))
    needed = dict.fromkeys(_with_needs(_OF_SEVERAL, modules))
    several = [name for name in needed if name not in always]
    files = {
        f"modules/{name}.ko": (0o644, _module(name, modules).read_bytes())
        for name in (*always, *several)
    }
    for listed, names in (("order", always), ("several", several)):
        files[f"modules/{listed}"] = (0o644, "".join(f"{name}.ko\n" for name in names).encode())
    return cpio({"init": (0o755, init.read_bytes()), **files})


def _module(name: str, modules: Path) -> Path:
    for spelled in (name, name.replace("_", "-"), name.replace("-", "_")):
        for path in modules.rglob(f"{spelled}.ko"):
            return path
    raise ToolError(
        "the kernel lacks a module that a disk needs",
        details=f"{name} in {modules}",
        resolution="Update portkit: the kernel's layout has changed.",
    )


def _with_needs(names: tuple[str, ...], modules: Path) -> Iterator[str]:
    """The modules, each after the ones that it depends on."""
    for name in names:
        path = str(_module(name, modules))
        needs = process.run(["modinfo", "--field", "depends", path], timeout=30).text.strip()
        yield from _with_needs(tuple(n for n in needs.split(",") if n), modules)
        yield name
