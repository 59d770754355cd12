"""What an image needs of the host that runs it, as far as its own files tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Release = tuple[int, int, int]  # of Linux


class Role(StrEnum):
    """How a file takes part in the start: the kernel runs a `program`, which names its `loader`,
    which maps each `library`."""

    PROGRAM = "program"
    LOADER = "loader"
    LIBRARY = "library"


class Lack(StrEnum):
    """What is not in an image that its start needs."""

    COMMAND = "command"  # what argv[0], or the first line of a script, names
    EXECUTABLE = "executable"  # it is there, and is no program: no mode x, or neither ELF nor #!
    LOADER = "loader"  # the ELF interpreter
    LIBRARY = "library"
    VERSION = "version"  # a symbol version that a library has not
    SYMBOL = "symbol"  # a function or variable that no library has
    FOLDER = "folder"  # the working directory, or a place for a volume: a file is there
    ACCESS = "access"  # it is there, and the user may not run or read it
    # The user may run it only with the service's capabilities, which not every engine leaves to
    # a user who is not root until the program runs.
    ACCESS_BY_RIGHTS = "access-by-rights"
    USER = "user"  # whom the service is to run as, or that group


@dataclass(frozen=True)
class Binary:
    """One ELF file that the start of an image reaches.

    path: in the image, symlinks followed. machine: in Go's words, as an image's architecture;
    "elf-N" for a number that has none. level: of x86-64 that it states to ask for; 0 where it does
    not state more than the baseline, which proves nothing. kernel: the oldest Linux that its note
    allows. align: the largest page of memory with which it can be mapped; 0 is any. features: what
    its code needs of the processor beyond the baseline of x86-64, as flags in /proc/cpuinfo.
    perhaps_features: what it may choose other code for, as a library may tell it to. sure: the
    start runs it for certain; else it is named where a script or a wrapper may run it.
    """

    path: str
    role: Role
    machine: str
    bits: int
    level: int = 0
    kernel: Release | None = None
    align: int = 0
    features: tuple[str, ...] = ()
    perhaps_features: tuple[str, ...] = ()
    sure: bool = True


@dataclass(frozen=True)
class Missing:
    """Something that is not in the image. name: what is asked for. by: the file that asks.
    details: where it was looked for, or what is there in its place."""

    what: Lack
    name: str
    by: str
    details: str = ""
    sure: bool = True


@dataclass(frozen=True)
class Software:
    """Software in an image whose needs of a kernel or an engine are known. name: of `SOFTWARE` in
    portkit.needs.software. path: the file that shows it. sure: the start runs it for certain, as it
    is set up here."""

    name: str
    version: str
    path: str
    sure: bool = True


@dataclass(frozen=True)
class Called:
    """A system call that a program of the start has, and that may be refused to it. name: as in
    section 2 of the manual. sure: the program is so small that it most likely makes the call."""

    name: str
    path: str
    sure: bool = False


@dataclass(frozen=True)
class Stated:
    """What the App's file states in x-portkit.needs, as no file of an image tells it. sysctls: at
    least so much; sysctls_most: at most; a value that is wanted exactly is in both. 0, None, False
    and nothing are no need."""

    kernel: Release | None = None
    cpu_level: int = 0
    sysctls: Mapping[str, int] = field(default_factory=dict)
    sysctls_most: Mapping[str, int] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    huge_page_bytes: int = 0
    shm_bytes: int = 0
    open_files: int = 0
    ipv6: bool = False


@dataclass(frozen=True)
class Needs:
    """What one service's image needs, read from its layers.

    command: the file that argv[0] leads to, "" where that is not known. binaries: each once, in the
    order in which they were reached. libc: "glibc", "musl" or "", and its version, of the dynamic
    programs. built_level: the least x86-64 level that the image's own loader or its distribution
    is built for; built_by: the file that says so. distribution: of os-release. threads: whether its
    start makes any; None is not known. calls: that may be refused. unread: what could not be looked
    at, and why: there may be more than is told here.
    """

    os: str
    architecture: str
    variant: str = ""
    command: str = ""
    binaries: tuple[Binary, ...] = ()
    missing: tuple[Missing, ...] = ()
    libc: str = ""
    libc_version: tuple[int, ...] = ()
    built_level: int = 0
    built_by: str = ""
    distribution: str = ""
    software: tuple[Software, ...] = ()
    threads: bool | None = None
    calls: tuple[Called, ...] = ()
    unread: tuple[str, ...] = field(default=())

    def software_named(self, name: str) -> Software | None:
        """What it has of that software."""
        return next((each for each in self.software if each.name == name), None)
