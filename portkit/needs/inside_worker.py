"""Looks into a disk with libguestfs and prints what is there as JSON; a program of its own.

libguestfs may hang, and is there for one Python alone, which need not be portkit's. So this uses
the standard library, guestfs and what of portkit does the same, and judges nothing. argv: the disk,
its format, the bytes of its sectors.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))  # another Python does not know portkit
from portkit import boot_text
from portkit.guest_files import cpu, drivers, kernel, pe, registry

# A name that is not in UTF-8, or a text with a NUL, is a ValueError of Python's.
ERRORS = (RuntimeError, ValueError)
MOST = 200  # of anything, so that a hostile disk does not fill the memory
MOST_SYSTEMS, MOST_PLACES, MOST_LOADERS, MOST_INITRDS, MOST_BUILTIN = 8, 32, 20, 4, 32
MOST_CONFIGS, MOST_STRANGERS = 24, 24
TEXT_BYTES, CONFIG_TEXT = 64 << 10, 16 << 10
CONFIG_BYTES = 2 << 20  # of all configurations of boot loaders; one has some KiB
OUTPUT_BYTES = 16 << 20  # more is not read (portkit.wire.strict_json); a whole disk has some KiB
SMALL_BYTES = 8 << 20  # a partition without a file system that holds a boot loader
WINDOWS = "/[Ww][Ii][Nn][Dd][Oo][Ww][Ss]/[Ss]ystem32"
HIVE = (f"{WINDOWS}/[Cc]onfig/SYSTEM", f"{WINDOWS}/[Cc]onfig/system")
# The services that are drivers for disks and network cards.
SERVICES = (
    "viostor",
    "vioscsi",
    "storahci",
    "msahci",
    "intelide",
    "atapi",
    "netkvm",
    "e1000",
    "e1iexpress",
)
ENCRYPTED = ("crypto_LUKS", "BitLocker")
# Where kernels are: Debian, Red Hat and Arch, kernel-install and unified images, OSTree, Alpine,
# live systems, NixOS, Flatcar, FreeBSD, Windows.
KERNELS = (
    "/vmlinuz*",
    "/vmlinux*",
    "/boot/vmlinuz*",
    "/boot/vmlinux*",
    "/bzImage*",
    "/boot/bzImage*",
    "/boot/Image",
    "/boot/kernel/kernel*",
    "/EFI/Linux/*.efi",
    "/efi/Linux/*.efi",
    "/lib/modules/*/vmlinuz",
    "/usr/lib/modules/*/vmlinuz",
    "/ostree/*/vmlinuz*",
    "/boot/ostree/*/vmlinuz*",
    "/*/*/linux",
    "/live/vmlinuz*",
    "/EFI/nixos/*Image.efi",
    "/efi/nixos/*Image.efi",
    "/boot/kernels/*Image",
    "/kernels/*Image",
    "/flatcar/vmlinuz-*",
    f"{WINDOWS}/ntoskrnl.exe",
)
LOADERS = tuple(f"/{top}/*/*.{end}" for top in ("EFI", "efi") for end in ("efi", "EFI"))
SPARE = ("rescue", "kdump")  # in names of initrds
INITRDS = (
    "/initrd*",
    "/initramfs*",
    "/boot/initrd*",
    "/boot/initramfs*",
    "/ostree/*/initramfs*",
    "/*/*/initrd",
    "/EFI/nixos/*initrd*.efi",
    "/boot/kernels/*-initrd",
    "/kernels/*-initrd",
)
# Which card has which name, and what is configured for it.
NETWORK = (
    "/etc/udev/rules.d/*net*.rules",
    "/etc/sysconfig/network-scripts/ifcfg-*",
    "/etc/sysconfig/network/ifcfg-*",
    "/etc/netplan/*.yaml",
    "/etc/NetworkManager/system-connections/*",
    "/etc/systemd/network/*.link",
    "/etc/systemd/network/*.network",
    "/etc/network/interfaces",
    "/etc/network/interfaces.d/*",
)
MODULES = ("/lib/modules/*/modules.dep", "/usr/lib/modules/*/modules.dep")
LIBC_LOADER = "/lib64/ld-linux-x86-64.so.2"
BUILTIN = ("/lib/modules/*/modules.builtin", "/usr/lib/modules/*/modules.builtin")
LEAST_KERNEL = 256 << 10
# Where boot loaders have their configuration: that of SYSLINUX and EXTLINUX, GRUB, systemd-boot.
CONFIGS = {
    "SYSLINUX": tuple(
        f"{folder}/{name}"
        for folder in ("", "/syslinux", "/boot/syslinux", "/extlinux", "/boot/extlinux", "/boot")
        for name in ("syslinux.cfg", "extlinux.conf")
    ),
    "GRUB": (
        *(f"{folder}/grub.cfg" for folder in ("/grub", "/grub2", "/boot/grub", "/boot/grub2")),
        "/EFI/*/grub.cfg",
        "/efi/*/grub.cfg",
    ),
    "systemd-boot": ("/loader/entries/*.conf", "/boot/loader/entries/*.conf"),
}


def main(path: str, kind: str, sector_bytes: int) -> dict[str, Any]:
    """What is on the disk: systems, and each file system with what is in it."""
    import guestfs

    g = guestfs.GuestFS(python_return_dict=True)
    g.set_memsize(512)
    g.add_drive_opts(path, format=kind, readonly=True, blocksize=sector_bytes)
    g.launch()
    try:
        found: dict[str, Any] = {"systems": [], "places": [], "files": {}, "unread": []}
        notes = found["unread"]
        roots = first(g.inspect_os(), MOST_SYSTEMS, "systems", notes)
        found["systems"] = [system(g, root) for root in roots]
        places = first(list(g.list_filesystems().items()), MOST_PLACES, "file systems", notes)
        places += [row for row in encrypted(g) if row not in places]
        places = [(device, name) for device, name in places if look(g, device, name, found)]
        for device, name in places:
            look_for_grub(g, device, name, found)
        found["unread"] = first(notes, MOST, "that could not be read", [])
        return found
    finally:
        g.shutdown()


def encrypted(g: Any) -> list[tuple[str, str]]:
    """The encrypted file systems, which libguestfs leaves out of its list of file systems."""
    devices = [*g.list_devices(), *g.list_partitions(), *g.lvs()]
    kinds = [(device, g.vfs_type(device)) for device in devices]
    return [row for row in kinds if row[1] in ENCRYPTED][:MOST_PLACES]


def first(rows: list[Any], count: int, what: str, notes: list[str]) -> list[Any]:
    """The first of them; that there are more is noted."""
    if len(rows) > count:
        notes.append(f"and {len(rows) - count} more {what}")
    return rows[:count]


def system(g: Any, root: str) -> dict[str, Any]:
    """An installed system, as libguestfs knows it."""
    return {
        "type": g.inspect_get_type(root),
        "distribution": g.inspect_get_distro(root),
        "major": g.inspect_get_major_version(root),
        "minor": g.inspect_get_minor_version(root),
        "machine": g.inspect_get_arch(root),
    }


def look(g: Any, device: str, kind: str, found: dict[str, Any]) -> bool:
    """Whether one file system could be read, which may be none."""
    if kind == "swap":
        return False
    if kind in ("unknown", *ENCRYPTED):
        if kind != "unknown" or g.blockdev_getsize64(device) > SMALL_BYTES:
            found["unread"].append(f"{device}: {kind}")
        return False
    used = sum(len(row["text"]) for each in found["places"] for row in each["configs"])
    notes: list[str] = []
    try:
        with mounted(g, device, kind):
            found["places"].append(place(g, notes, device, CONFIG_BYTES - used))
    except ERRORS as error:
        notes.append(f"{kind}: {str(error)[:200]}")
        return False
    finally:
        found["unread"] += [f"{device}: {note}" for note in notes]
    return True


def look_for_grub(g: Any, device: str, kind: str, found: dict[str, Any]) -> None:
    """The files that GRUB is told of, which reads all file systems. Other loaders read their own;
    the entries for systemd-boot may be GRUB's, too."""
    told = [row for each in found["places"] for row in each["configs"]]
    if all(row["loader"] != "GRUB" for row in told):
        return
    told = [row for row in told if row["loader"] != "SYSLINUX"]
    notes: list[str] = []
    try:
        with mounted(g, device, kind):
            found["files"] = boot_text.merged((found["files"], named_files(g, told, notes, device)))
    except ERRORS as error:
        notes.append(f"{kind}: {str(error)[:200]}")
    rows = [f"{device}: {note}" for note in notes]
    found["unread"] += [row for row in rows if row not in found["unread"]]


@contextmanager
def mounted(g: Any, device: str, kind: str) -> Iterator[None]:
    """A file system at /, for reading. RuntimeError where it cannot be mounted."""
    try:
        if device.startswith("btrfsvol:"):
            g.mount_ro(device, "/")
        else:  # the type is forced: no other driver of the appliance's kernel tries
            g.mount_vfs("ro", kind, device, "/")
        yield
    finally:
        g.umount_all()


def place(
    g: Any, notes: list[str], device: str = "", config_bytes: int = CONFIG_BYTES
) -> dict[str, Any]:
    """What is in the file system that is mounted. notes: where not all of it was read."""
    loaders = first(matches(g, LOADERS, notes), MOST_LOADERS, "programs for UEFI", notes)
    built_in = first(
        once(g, matches(g, BUILTIN, notes)), MOST_BUILTIN, "lists of built-in drivers", notes
    )
    # Links in / name some of them again. Those of no usual start come last: they are seldom asked
    # for, and large.
    initrds = once(g, matches(g, INITRDS, notes))
    initrds.sort(key=lambda path: any(word in path for word in SPARE))
    modules = first(once(g, matches(g, MODULES, notes)), MOST_BUILTIN, "lists of modules", notes)
    network = first(matches(g, NETWORK, notes), MOST_CONFIGS, "files of the network", notes)
    named = matches(g, KERNELS, notes)
    kernels = [path for path in named if not kernel.flaw(g, path)]
    kernels += strangers(g, named, notes)
    told = configs(g, notes, config_bytes)
    return {
        "kernels": kernels,
        "releases": {path: found for path in kernels if (found := kernel.release(g, path))},
        "flaws": [f"{path} {why}" for path in named if (why := kernel.flaw(g, path))],
        "configs": told,
        "files": named_files(g, told, notes, device),
        "loaders": [loader(g, path) for path in loaders],
        "programs": [program(g, path) for path in kernels if not path.endswith("ntoskrnl.exe")],
        "initrds": [drivers.unpacked(g, path) for path in initrds[:MOST_INITRDS]],
        "more_initrds": initrds[MOST_INITRDS:],
        "built_in": [drivers.lines(g, path) for path in built_in],
        "modules": [drivers.lines(g, path) for path in modules],
        "network": {path: text(g, path, notes)[:CONFIG_TEXT] for path in network},
        "libc_loader": cpu.checking_loader(g, LIBC_LOADER) if is_file(g, LIBC_LOADER, []) else "",
        "windows": windows(g, notes),
        "fstab": text(g, "/etc/fstab", notes),
        "os_release": text(g, "/etc/os-release", notes) or text(g, "/usr/lib/os-release", notes),
    }


def matches(g: Any, patterns: tuple[str, ...], notes: list[str]) -> list[str]:
    """The regular files of these names, each once: FAT takes both cases for one."""
    found: dict[str, str] = {}
    for pattern in patterns:
        try:
            names = g.glob_expand(pattern)
        except UnicodeDecodeError:
            notes.append(f"{pattern}: a name is not in UTF-8")
            continue
        for name in first(names, MOST, pattern, notes):
            if len(name) < 300 and is_file(g, name, notes):
                found.setdefault(name.lower(), name)
    return first(list(found.values()), MOST, f"like {patterns[0]}", notes)


def once(g: Any, paths: list[str]) -> list[str]:
    """Each file by one name: links, such as /lib, name some of them again."""
    return list(dict.fromkeys(g.realpath(path) for path in paths))


def is_file(g: Any, path: str, notes: list[str]) -> bool:
    """Also through links: one that leads to itself, as a name that is too long, is no file."""
    try:
        return bool(g.is_file(path, followsymlinks=True))
    except RuntimeError as error:
        notes.append(f"{path[:100]}: {str(error)[-100:]}")
        return False


def text(g: Any, path: str, notes: list[str]) -> str:
    """The beginning of a file; "" where there is none."""
    if not is_file(g, path, notes):
        return ""
    return bytes(g.pread(path, TEXT_BYTES, 0)).decode("utf-8", "replace")


def program(g: Any, path: str) -> dict[str, Any]:
    """A program for UEFI, such as a kernel, and its certificates in hex."""
    return {"path": path, "signature": pe.signature(g, path).hex()}


def loader(g: Any, path: str) -> dict[str, Any]:
    """A program for UEFI that a firmware or a shim may start. kind: of a default loader alone."""
    if "/boot/" not in path.lower():
        return program(g, path)
    data = pe.body(g, path)
    kind = "Linux" if kernel.is_other(data[:4096]) else pe.kind(data)
    more = {"trusts": pe.names(data), "starts": pe.started(data)} if kind == "shim" else {}
    return {**program(g, path), "kind": kind, **more}


def windows(g: Any, notes: list[str]) -> dict[str, Any] | None:
    """How Windows starts its drivers; None where it is not there, or its registry cannot be
    read."""
    for hive in matches(g, HIVE, notes):
        try:
            return {"path": hive, "starts": registry.starts(g, hive, SERVICES)}
        except ERRORS as error:
            notes.append(f"{hive}: {str(error)[:200]}")
    return None


def strangers(g: Any, known: list[str], notes: list[str]) -> list[str]:
    """Kernels of other names, where kernels usually are: the content says so."""
    found = []
    for folder in ("/", "/boot"):
        if not g.is_dir(folder, followsymlinks=True):
            continue
        try:
            names = list(g.ls(folder))[:MOST]
        except UnicodeDecodeError:
            notes.append(f"{folder}: a name is not in UTF-8")
            continue
        for name, told in zip(names, g.lstatnslist(folder, names), strict=True):
            path = f"{folder.rstrip('/')}/{name}"
            regular = told["st_mode"] & 0o170000 == 0o100000
            if regular and told["st_size"] > LEAST_KERNEL and path not in known and len(path) < 300:
                found.append(path)
    heads = {path: kernel.head(g, path) for path in found[:MOST_STRANGERS]}
    return [
        path
        for path, head in heads.items()
        if kernel.is_other(head) or (kernel.is_bzimage(head) and not kernel.flaw(g, path))
    ]


# ---------------------------------------------------------------- what boot loaders are told


def configs(g: Any, notes: list[str], left: int) -> list[dict[str, Any]]:
    """What the boot loaders here are told, and in which file. left: how much of it is kept."""
    found = []
    for loader, patterns in CONFIGS.items():
        paths = first(matches(g, patterns, notes), MOST_CONFIGS, f"files of {loader}", notes)
        for path in paths:
            size, said = g.filesize(path), text(g, path, notes)
            kept = said if len(said) <= left else ""
            if kept != said:
                notes.append(f"{path}: the configurations of boot loaders are too large")
            left -= len(kept)
            whole = kept == said and size <= TEXT_BYTES
            found.append({"loader": loader, "path": path, "text": kept, "whole": whole})
    return found


def named_files(
    g: Any, found: list[dict[str, Any]], notes: list[str], device: str
) -> dict[str, str]:
    """The files that configurations name, each with what keeps it from being a kernel, if it is in
    this file system."""
    looked: dict[str, str] = {}
    for row in found:
        named = boot_text.names(boot_text.parse(boot_text.Text(**row)))
        for path in first(named, MOST, f"files that {row['path']} names", notes):
            if path not in looked:
                there = [name for name in (path, within(device, path)) if is_file(g, name, notes)]
                looked[path] = kernel.flaw(g, there[0]) if there else boot_text.ABSENT
    return looked


def within(device: str, path: str) -> str:
    """A path as it is in a subvolume of btrfs, which is mounted by itself: GRUB names files from
    the top. device: such as btrfsvol:/dev/sda2/root, and it names the file /root/boot/vmlinuz."""
    parts = device.split("/") if device.startswith("btrfsvol:") else []
    tops = ("/" + "/".join(parts[at:]) for at in range(1, len(parts)))
    return next((path[len(top) :] for top in tops if path.startswith(f"{top}/")), path)


def printed(found: dict[str, Any]) -> str:
    """As it goes to portkit, which keeps it in memory: not more than a disk can have in earnest."""
    if len(said := json.dumps(found)) > OUTPUT_BYTES:
        raise RuntimeError(f"what is on this disk takes more than {OUTPUT_BYTES >> 20} MiB to say")
    return said


if __name__ == "__main__":
    sys.stdout.write(printed(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
