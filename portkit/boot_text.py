"""Which files the configurations of boot loaders name, and what they start. Pure: a guest writes
these texts.

A configuration is `sure` only where every line of it was understood. Standard library only:
`portkit.needs.inside_worker`, which looks the files up, runs in the Python that has libguestfs.

Sources: SYSLINUX, doc/syslinux.txt; GRUB's manual; the Boot Loader Specification (UAPI.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import NamedTuple

SYSLINUX, GRUB, SYSTEMD_BOOT = "SYSLINUX", "GRUB", "systemd-boot"
ABSENT = "is not on the disk"
_ENTRIES, _FILES, _OTHERS = 64, 16, 150
_PATH, _COMPONENT_BYTES = 300, 255  # the second is NAME_MAX of Linux


class Text(NamedTuple):
    """One file of a boot loader's configuration. whole: no more of it is in the file."""

    loader: str
    path: str
    text: str
    whole: bool = True

    @property
    def folder(self) -> str:
        """The folder that contains it."""
        return self.path.rpartition("/")[0]


class Entry(NamedTuple):
    """What is started together, the kernel first. linux: that is a kernel of Linux."""

    files: tuple[str, ...]
    linux: bool = True


class Told(NamedTuple):
    """What one text says. first: the first entry is started, else all are offered. sure: nothing
    else is started, unless one of `others` is on the disk. more: it also has the entries of the
    Boot Loader Specification. stub: it only refers to another grub.cfg."""

    entries: tuple[Entry, ...] = ()
    first: bool = False
    sure: bool = True
    others: tuple[str, ...] = ()
    more: bool = False
    stub: bool = False


def parse(told: Text) -> Told:
    """What a configuration starts."""
    read = {SYSLINUX: _syslinux, GRUB: _grub, SYSTEMD_BOOT: _specified}[told.loader](told)
    entries = tuple(Entry(each.files[:_FILES], each.linux) for each in read.entries[:_ENTRIES])
    whole = told.whole and len(read.entries) <= _ENTRIES and len(read.others) <= _OTHERS
    return read._replace(entries=entries, others=read.others[:_OTHERS], sure=read.sure and whole)


def names(told: Told) -> list[str]:
    """The files to look up, each once. Those that no file system can have are left out."""
    every = [path for each in told.entries for path in each.files]
    return list(dict.fromkeys(filter(_possible, (*every, *told.others))))


def merged(maps: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What is known of each file, from several file systems: one that can be started counts more
    than one that cannot, and that more than none."""
    found: dict[str, str] = {}
    for each in maps:
        for path, why in each.items():
            if found.get(path, ABSENT) == ABSENT or not why:
                found[path] = why
    return found


def _possible(path: str) -> bool:
    parts = path.split("/")
    short = all(len(part.encode("utf-8", "replace")) <= _COMPONENT_BYTES for part in parts)
    return short and len(path) <= _PATH and "\0" not in path


# ---------------------------------------------------------------- SYSLINUX

# What it starts that is no kernel, by the end of the name (doc/syslinux.txt, KERNEL).
_NO_KERNEL = (".c32", ".com", ".cbt", ".bin", ".bs", ".bss", ".img", ".0")
_SYSLINUX_HARMLESS = re.compile(
    r"allowoptions|console|devicetree(dir)?|display|endtext|f[0-9]{1,2}|fdt(dir)?|font|implicit"
    r"|ipappend|kbdmap|menu|nocomplete|noescape|nohalt|path|prompt|say|serial|sysappend"
    r"|(total)?timeout|#.*|"
)


class _Label(NamedTuple):
    name: str
    kernel: str
    initrds: tuple[str, ...] = ()


def _syslinux(told: Text) -> Told:
    labels: dict[str, _Label] = {}  # a label is the same in both cases, the file of its name is not
    defaults: dict[str, str] = {}
    label, sure, help_text = "", True, False
    for line in told.text.splitlines():
        key, value = _pair(line)
        word, _, behind = value.partition(" ")
        if help_text:
            help_text = key != "endtext"
        elif key == "label":
            label = value.lower()
            labels[label] = _Label(value, value)
        elif key in ("default", "ui"):
            module = word.lower().endswith(".c32") or key == "ui"
            sure = sure and not (module and behind)  # a menu reads its own file
            if not module:
                defaults[word.lower()] = word
        elif key == "menu" and value.lower() == "default" and label:
            defaults[label] = labels[label].name
        elif key in ("kernel", "linux") and label:
            labels[label] = labels[label]._replace(kernel=word)
        elif key in ("initrd", "append"):
            every = [word] if key == "initrd" else re.findall(r"(?:^|\s)initrd=(\S+)", value)
            more = tuple(name for each in every for name in each.split(","))
            if label:
                labels[label] = labels[label]._replace(initrds=labels[label].initrds + more)
        elif key == "text":
            help_text = True
        elif (key == "menu" and word.lower() == "include") or not _SYSLINUX_HARMLESS.fullmatch(key):
            sure = False
    return _of_syslinux(told, labels, list(defaults.values()), sure)


def _of_syslinux(told: Text, labels: Mapping[str, _Label], defaults: list[str], sure: bool) -> Told:
    rows = list(labels.values())
    if len(defaults) == 1:
        rows = [labels.get(defaults[0].lower(), _Label(defaults[0], defaults[0]))]
    kernels = [row.kernel for row in rows]
    sure = sure and bool(rows) and not any(_elsewhere(kernel) for kernel in kernels)
    entries = [
        Entry(tuple(_joined(told.folder, name) for name in (row.kernel, *row.initrds) if name))
        for row in rows
    ]
    # The folder that relative names start from depends on its version, and it tries suffixes.
    others = [f"/{name}" for name in kernels if not name.startswith("/") and told.folder]
    bare = [each.files[0] for each in entries if each.files and "." not in each.files[0]]
    others += [path + end for path in bare for end in _NO_KERNEL if end not in (".img", ".0")]
    return Told(tuple(entries), len(defaults) == 1, sure, tuple(others))


def _elsewhere(kernel: str) -> bool:
    """Whether what a label starts is no kernel, or on no file system of the disk."""
    return not kernel or kernel.lower().endswith(_NO_KERNEL) or ":" in kernel or "\\" in kernel


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.strip().replace("\t", " ").partition(" ")
    return key.lower(), value.strip()


def _joined(folder: str, path: str) -> str:
    return path if path.startswith("/") else f"{folder}/{path}"


# ---------------------------------------------------------------- entries of the specification


def _specified(told: Text) -> Told:
    """One entry; none where it starts nothing. Names start from the top of the file system, and
    systemd-boot takes both kinds of slashes."""
    kernels: list[Entry] = []
    initrds: list[str] = []
    sure = True
    for line in told.text.splitlines():
        key, value = _pair(line)
        path = _joined("", value.partition(" ")[0].replace("\\", "/"))
        if key in ("linux", "efi", "uki", "uki-url"):
            sure = sure and "$" not in path and key != "uki-url"
            kernels.append(Entry((path,), linux=key == "linux"))
        elif key == "initrd" and value and "$" not in path:
            initrds.append(path)
    entries = [Entry((*each.files, *initrds), each.linux) for each in kernels[:1]]
    return Told(tuple(entries), sure=sure and len(kernels) <= 1)


# ---------------------------------------------------------------- GRUB

# What is between two statements; a comment; a word, with what quotes and hides in it.
_TOKEN = re.compile(
    r"(?P<end>[\n;{}&|])|(?P<comment>\#[^\n]*)|\\\n"
    r"|(?P<word>(?:'[^']*'|\"(?:[^\"\\]|\\.)*\"|\\.|\$\{[^}\n]{0,80}\}|[^\s;{}&|'\"\\])+)"
    r"|(?P<odd>['\"\\])"
)
_QUOTED = re.compile(r"'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|\\(.)")
_KEYWORDS = frozenset(("if", "elif", "else", "then", "while", "until", "do", "!"))
_KERNEL = re.compile(r"linux(?:16|efi)?|multiboot2?|chainloader")
_INITRD = re.compile(r"initrd(?:16|efi)?")
_READ = ("source", ".", "configfile", "normal")
# Files of the administrator beside the generated grub.cfg, which need not be there.
_BESIDE = ("custom.cfg", "user.cfg")
_DEVICE = re.compile(r"\(([^)]*)\)(.*)", re.DOTALL)
# On the disks of the machine: neither a file as a disk, nor the network, nor GRUB's own memory.
_DISK = re.compile(r"\$|hd\d|lvm/|lvmid/|md/|md\d|mduuid/|cryptouuid/|crypto\d|ahci\d|ata\d|$")
# Commands that start nothing and read no other configuration (GRUB's manual, "Commands").
_GRUB_HARMLESS = re.compile(
    r"\[|background_(color|image)|badram|boot|break|cat|clear|continue|cpuid|cryptomount|cutmem"
    r"|devicetree|done|echo|export|false|fi|for|fwsetup|gettext|halt|hwmatch|increment|insmod"
    r"|keymap|keystatus|list_env|load_env|loadfont|ls\w*|menuentry|module2?|nativedisk"
    r"|password(_pbkdf2)?|play|poweroff|probe|rdmsr|read|reboot|regexp|return|rmmod|save_env"
    r"|search(\.\w+)?|serial|setparams|shift|sleep|smbios|submenu|terminal_(in|out)put|terminfo"
    r"|test|tpm|true|unset|videoinfo"
)


def _grub(told: Text) -> Told:
    menu = _Menu(told.folder)
    for words in _statements(told.text):
        menu.take(words)
    return menu.told()


def _statements(text: str) -> list[list[str]]:
    """The words of each command. A quote that is not closed makes a command of its own."""
    found: list[list[str]] = [[]]
    for token in _TOKEN.finditer(text):
        if token["end"]:
            found.append([])
        elif token["odd"]:
            found += [[token["odd"]], []]
        elif token["word"]:
            found[-1].append(_QUOTED.sub(_unquoted, token["word"]))
    return found


def _unquoted(match: re.Match[str]) -> str:
    return match[1] or match[2] or match[3] or ""


def _path(word: str) -> str:
    """Of a file on the disk; "" where it is elsewhere, or depends on a variable."""
    device = _DEVICE.fullmatch(word)
    path = device[2] if device else word
    if device and not _DISK.match(device[1]):
        return ""
    return path if path.startswith("/") and "$" not in path else ""


class _Menu:
    """What the commands of a grub.cfg start, taken one after the other."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.rows: list[tuple[int, list[str], bool]] = []  # in which menu entry, files, linux
        self.files: list[str] = []  # of the last command that starts something
        self.functions: set[str] = set()
        self.others: list[str] = []
        self.defaults: set[str] = set()
        self.entries = self.depth = 0
        self.sure = self.plain = True
        self.more = self.refers = False

    def told(self) -> Told:
        """All of it. The first is started only where nothing could change the order."""
        rows = [(number, tuple(files), linux) for number, files, linux in self.rows]
        single = [number for number, _, _ in rows].count(1) == 1 and rows[0][0] == 1
        first = single and self.plain and self.defaults == {"0"} and not self.more
        stub = self.refers and self.sure and not rows and not self.more
        return Told(
            tuple(Entry(files, linux) for _, files, linux in rows),
            first=first,
            sure=self.sure and (stub or not self.refers),
            others=tuple(self.others),
            more=self.more,
            stub=stub,
        )

    def take(self, words: list[str]) -> None:
        """One command."""
        keywords = list(takewhile(_KEYWORDS.__contains__, words))
        self.depth += keywords.count("if")
        if len(keywords) == len(words):
            return
        command, *rest = words[len(keywords) :]
        name = command.partition("=")[0]
        if _KERNEL.fullmatch(command):
            self.start(command, rest)
        elif _INITRD.fullmatch(command):
            named = (re.sub(r"^newc:[^:]*:", "", word) for word in rest)
            self.files += [path for word in named if (path := _path(word))]
        elif command in _READ:
            self.read(rest)
        elif command == "set" or (name != command and name.isidentifier()):
            self.assign((rest or [""])[0] if command == "set" else command)
        elif command == "blscfg":
            self.more = True
        elif command == "function":
            self.functions |= set(rest[:1])
        elif command not in self.functions and not _GRUB_HARMLESS.fullmatch(command):
            self.sure = False
        self.depth -= command == "fi"
        if command in ("menuentry", "submenu"):
            self.entries += 1
            self.sure = self.sure and "--source" not in rest
            sole = command == "menuentry" and self.depth == 0
            self.plain = self.plain and (sole or self.entries > 1)

    def start(self, command: str, rest: list[str]) -> None:
        """A kernel, or another boot loader."""
        args = [word for word in rest if not word.startswith("--")]
        path = _path(args[0]) if args else ""
        self.files = [path]
        if path:
            self.rows.append((self.entries, self.files, command.startswith("linux")))
        else:
            self.sure = False

    def read(self, rest: list[str]) -> None:
        """Another configuration: one that is not on the disk changes nothing."""
        word = rest[0] if rest else ""
        name = word.rpartition("/")[2]
        if name in _BESIDE and "$" in word:
            self.others.append(f"{self.folder}/{name}")
        elif name == "grub.cfg":  # that is read, too
            self.refers = True
        elif path := _path(word):
            self.others.append(path)
        else:
            self.sure = False

    def assign(self, word: str) -> None:
        """A variable."""
        name, _, value = word.partition("=")
        if name == "default" and "$" not in value:
            self.defaults.add(value)
        elif name == "fallback" and value:
            self.plain = False
        elif name in ("root", "prefix"):
            device = _DEVICE.match(value)
            on = device[1] if device else value if name == "root" else ""
            self.sure = self.sure and bool(_DISK.match(on))
