"""What a boot loader is told to start, and what of that is not on the disk. Pure: a guest writes
these texts.

Sources: SYSLINUX, doc/syslinux.txt; GRUB's manual; the Boot Loader Specification (UAPI.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portkit.model.disk import BootConfig
from portkit.text import printable

SYSLINUX, GRUB, SYSTEMD_BOOT = "SYSLINUX", "GRUB", "systemd-boot"
TEXT_BYTES = 64 << 10  # what is read of each; of a longer one the rest is not known
_ENTRIES, _FILES, _WORD = 64, 16, 300
# What SYSLINUX starts that is no kernel (doc/syslinux.txt, KERNEL).
_OTHERS = (".c32", ".com", ".cbt", ".bin", ".bs", ".bss", ".img", ".0")
_ELSEWHERE = ("com32", "localboot", "boot", "bss", "pxe", "fdimage", "config", "include")
_LINUX = re.compile(r"linux(?:16|efi)?|multiboot2?|chainloader")
_INITRD = re.compile(r"initrd(?:16|efi)?")
_DEFAULT = re.compile(r"^[ \t]*set default=[\"']?0[\"']?[ \t]*$", re.MULTILINE)
_DEVICE = re.compile(r"^\([^)]*\)")


@dataclass(frozen=True)
class Text:
    """One file of a boot loader's configuration."""

    loader: str
    path: str
    text: str

    @property
    def folder(self) -> str:
        """That it is in."""
        return self.path.rpartition("/")[0]


def read(texts: Sequence[Text], files: Mapping[str, str]) -> list[BootConfig]:
    """Of the configurations in one file system, what each starts. files: those that are on the
    disk, of the ones that are named, each with what keeps it from being a kernel."""
    found = [
        made
        for each in texts
        for made in (
            [_syslinux(each, files)]
            if each.loader == SYSLINUX
            else _grub(each, files)
            if each.loader == GRUB
            else []
        )
    ]
    specified = [each for each in texts if each.loader == SYSTEMD_BOOT]
    entries = [files_of for each in specified if (files_of := _specified(each))]
    if entries:
        path = f"{specified[0].folder}/*.conf"
        found.append(_made(SYSTEMD_BOOT, path, entries, files))
    return found


def _made(
    loader: str,
    path: str,
    entries: Sequence[Sequence[str]],
    files: Mapping[str, str],
    *,
    first: bool = False,
    sure: bool = True,
    more: bool = False,
) -> BootConfig:
    return BootConfig(
        loader=loader,
        path=printable(path, _WORD),
        entries=tuple(_lacks(row, files) for row in entries[:_ENTRIES]),
        first=first,
        sure=sure and len(entries) <= _ENTRIES,
        more=more,
    )


def _lacks(entry: Sequence[str], files: Mapping[str, str]) -> tuple[str, ...]:
    """What an entry lacks; its first file is the kernel."""
    rows = []
    for number, path in enumerate(entry[:_FILES]):
        why = files.get(path, "is not on the disk")
        if why and (number == 0 or path not in files):
            rows.append(printable(f"{path}, which {why}", _WORD))
    return tuple(rows)


def _joined(folder: str, path: str) -> str:
    return path if path.startswith("/") else f"{folder}/{path}"


def _syslinux(told: Text, files: Mapping[str, str]) -> BootConfig:
    labels: dict[str, list[str]] = {}
    kernel_of: dict[str, str] = {}
    label, default, sure = "", "", len(told.text) < TEXT_BYTES
    for line in told.text.splitlines():
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        key, value = key.lower(), value.strip()
        if key == "label":
            label = value.lower()
            labels[label] = []
        elif key == "default":
            default = value
        elif key == "menu" and value.lower() == "default":
            default = label
        elif key in ("kernel", "linux") and label:
            kernel_of[label] = value
        elif key in ("initrd", "append") and label:
            words = [value] if key == "initrd" else re.findall(r"(?:^|\s)initrd=(\S+)", value)
            labels[label] += [name for word in words for name in word.split(",")]
        elif key in _ELSEWHERE:
            sure = False
    rows = {name: [kernel_of.get(name, name), *more] for name, more in labels.items()}
    chosen = default.partition(" ")[0]
    if chosen.lower() in rows:
        rows = {chosen: rows[chosen.lower()]}
    elif chosen and not chosen.lower().endswith(_OTHERS):
        rows = {chosen: [chosen]}
    else:
        chosen = ""
    sure = sure and not any(row[0].lower().endswith(_OTHERS) for row in rows.values())
    entries = [[_joined(told.folder, name) for name in row] for row in rows.values()]
    return _made(SYSLINUX, told.path, entries, files, first=bool(chosen), sure=sure)


def _grub(told: Text, files: Mapping[str, str]) -> list[BootConfig]:
    """Nothing for one that only names another one."""
    entries: list[list[str]] = []
    sure, more, elsewhere = len(told.text) < TEXT_BYTES, False, False
    for line in told.text.splitlines():
        words = [_DEVICE.sub("", word.strip("'\"")) for word in line.split()] or [""]
        paths = [word for word in words[1:] if word.startswith("/") and "$" not in word]
        if _LINUX.fullmatch(words[0]) and paths:
            entries.append(paths[:1])
        elif _LINUX.fullmatch(words[0]):
            sure = False
        elif _INITRD.fullmatch(words[0]) and entries:
            entries[-1] += paths
        elif words[0] == "blscfg":
            more = True
        elif words[0] in ("configfile", "source", ".", "normal") and "custom.cfg" not in line:
            elsewhere = True
    if elsewhere and not entries:
        return []
    first = bool(_DEFAULT.search(told.text))
    return [_made(GRUB, told.path, entries, files, first=first, sure=sure, more=more)]


def _specified(told: Text) -> list[str]:
    """The files of one entry of the Boot Loader Specification; none where it starts nothing."""
    rows: dict[str, list[str]] = {"linux": [], "initrd": []}
    for line in told.text.splitlines():
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        name = value.strip().partition(" ")[0]
        kind = "linux" if key in ("linux", "efi", "uki") else key
        if kind in rows and name and "$" not in name:
            rows[kind].append(_joined("", name))
    return [*rows["linux"][:1], *rows["initrd"]] if rows["linux"] else []
