"""Looks into a disk with libguestfs and prints what is there as JSON; a program of its own.

libguestfs may hang, and is there for one Python alone, which need not be portkit's. So this uses
the standard library and guestfs, and judges nothing. argv: the disk, its format.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MOST = 200  # of anything, so that a hostile disk does not fill the memory
MOST_SYSTEMS, MOST_PLACES, MOST_LOADERS, MOST_INITRDS, MOST_BUILTIN = 8, 32, 20, 4, 32
SIGNATURE_BYTES, TEXT_BYTES, BUILTIN_BYTES = 64 << 10, 64 << 10, 1 << 20
SMALL_BYTES = 8 << 20  # a partition without a file system that holds a boot loader
# Where kernels are: Debian, Red Hat and Arch, kernel-install and unified images, OSTree, Alpine,
# live systems, NixOS, Flatcar, FreeBSD,
# Windows.
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
    "/Windows/System32/ntoskrnl.exe",
)
LOADERS = tuple(f"/{top}/*/*.{end}" for top in ("EFI", "efi") for end in ("efi", "EFI"))
SPARE = ("rescue", "kdump")  # in names of initrds
INITRDS = ("/initrd*", "/initramfs*", "/boot/initrd*", "/boot/initramfs*", "/ostree/*/initramfs*")
BUILTIN = ("/lib/modules/*/modules.builtin", "/usr/lib/modules/*/modules.builtin")
WINDOWS = ("/Windows/System32/drivers/viostor.sys", "/Windows/System32/drivers/vioscsi.sys")


def main(path: str, kind: str) -> dict[str, Any]:
    """What is on the disk: systems, and each file system with what is in it."""
    import guestfs

    g = guestfs.GuestFS(python_return_dict=True)
    g.set_memsize(512)
    g.add_drive_opts(path, format=kind, readonly=True)
    g.launch()
    try:
        found: dict[str, Any] = {"systems": [], "places": [], "unread": []}
        types = g.list_filesystems()
        notes = found["unread"]
        roots = first(g.inspect_os(), MOST_SYSTEMS, "systems", notes)
        found["systems"] = [system(g, root) for root in roots]
        for device, name in first(list(types.items()), MOST_PLACES, "file systems", notes):
            look(g, device, name, found)
        found["unread"] = first(notes, MOST, "that could not be read", [])
        return found
    finally:
        g.shutdown()


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


def look(g: Any, device: str, kind: str, found: dict[str, Any]) -> None:
    """One file system, which may be none."""
    if kind == "swap":
        return
    if kind in ("unknown", "crypto_LUKS", "BitLocker"):
        if kind != "unknown" or g.blockdev_getsize64(device) > SMALL_BYTES:
            found["unread"].append(f"{device}: {kind}")
        return
    try:
        if device.startswith("btrfsvol:"):
            g.mount_ro(device, "/")
        else:  # the type is forced: no other driver of the appliance's kernel tries
            g.mount_vfs("ro", kind, device, "/")
        notes: list[str] = []
        found["places"].append(place(g, notes))
        found["unread"] += [f"{device}: {note}" for note in notes]
    except RuntimeError as error:
        found["unread"].append(f"{device}: {kind}: {str(error)[:200]}")
    finally:
        g.umount_all()


def place(g: Any, notes: list[str]) -> dict[str, Any]:
    """What is in the file system that is mounted. notes: where not all of it was read."""
    loaders = first(matches(g, LOADERS, notes), MOST_LOADERS, "programs for UEFI", notes)
    built_in = first(matches(g, BUILTIN, notes), MOST_BUILTIN, "lists of built-in drivers", notes)
    # Links in / name some of them again. Those of no usual start come last: they are seldom asked
    # for, and large.
    initrds = list(dict.fromkeys(g.realpath(path) for path in matches(g, INITRDS, notes)))
    initrds.sort(key=lambda path: any(word in path for word in SPARE))
    return {
        "kernels": matches(g, KERNELS, notes),
        "loaders": [{"path": path, "signature": signature(g, path)} for path in loaders],
        "initrds": [initrd(g, path) for path in initrds[:MOST_INITRDS]],
        "more_initrds": initrds[MOST_INITRDS:],
        "built_in": [lines(g, path) for path in built_in],
        "windows_drivers": matches(g, WINDOWS, notes),
        "fstab": text(g, "/etc/fstab"),
        "os_release": text(g, "/etc/os-release") or text(g, "/usr/lib/os-release"),
    }


def matches(g: Any, patterns: tuple[str, ...], notes: list[str]) -> list[str]:
    """The regular files of these names, each once: FAT takes both cases for one."""
    found: dict[str, str] = {}
    for pattern in patterns:
        for name in first(g.glob_expand(pattern), MOST, pattern, notes):
            if len(name) < 300 and g.is_file(name, followsymlinks=True):
                found.setdefault(name.lower(), name)
    return first(list(found.values()), MOST, f"like {patterns[0]}", notes)


def text(g: Any, path: str) -> str:
    """The beginning of a file; "" where there is none."""
    if not g.is_file(path, followsymlinks=True):
        return ""
    return bytes(g.pread(path, TEXT_BYTES, 0)).decode("utf-8", "replace")


def signature(g: Any, path: str) -> str:
    """The certificates of a program for UEFI, in hex; "" where it has none (Microsoft, "PE
    Format": the fifth data directory)."""
    head = bytes(g.pread(path, 4096, 0))
    at = int.from_bytes(head[60:64], "little")
    row = at + 24 + (112 if head[at + 24 : at + 26] == b"\x0b\x02" else 96) + 4 * 8
    place, size = (int.from_bytes(head[row + i : row + i + 4], "little") for i in (0, 4))
    if head[:2] != b"MZ" or head[at : at + 4] != b"PE\0\0" or not place or not size:
        return ""
    return bytes(g.pread(path, min(size, SIGNATURE_BYTES), place)).hex()


def initrd(g: Any, path: str) -> dict[str, Any]:
    """What an initrd has of virtio. whole: it was read up to its init: with code for the processor
    in front of it, libguestfs lists that alone."""
    try:
        names = g.initrd_list(path)
    except RuntimeError as error:
        return {"path": path, "whole": False, "virtio": [str(error)[:200]]}
    virtio = [name[:300] for name in names if "virtio" in name][:MOST]
    return {"path": path, "whole": "init" in names, "virtio": virtio}


def lines(g: Any, path: str) -> dict[str, Any]:
    """What a kernel has of virtio built in."""
    data = bytes(g.pread(path, BUILTIN_BYTES, 0)).decode("utf-8", "replace")
    return {"path": path, "virtio": [row for row in data.splitlines() if "virtio" in row][:MOST]}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2]), sys.stdout)
