"""Software whose needs of a kernel or an engine are known, found by its own files in an image.

Never by an image's name: what counts is what runs. Each has a function in `SOFTWARE`, whose
needs are rules in portkit/compat.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from portkit.model.needs import Role, Software
from portkit.needs.cgroup_files import only_v1
from portkit.needs.code import CODE_BYTES
from portkit.needs.root import Root
from portkit.needs.start import Start

_TEXT_BYTES = 1 << 16
_SHARED = re.compile(r"libsystemd-shared-([0-9]{1,5})")
_JAVA = re.compile(r'^JAVA_VERSION="([0-9._]{1,40})', re.MULTILINE)
_PACKAGE = re.compile(rb"systemd ([0-9]{1,5})(?: running in |\n[+-]PAM)")
_PROGRAM_BYTES = 4 << 20
_SERVERS = ("elasticsearch", "opensearch")
_JAR = re.compile(r"(?:elasticsearch|opensearch)-([0-9]{1,3}\.[0-9.]{1,20})\.jar")
# The image's own scripts, by which its command names the server.
_STARTS = frozenset((*_SERVERS, "eswrapper", "opensearch-docker-entrypoint.sh"))
# Settings with which the server does not check, in a file, in argv or in the environment.
_NO_CHECK = re.compile(
    r"""discovery\.type["']?\s*[=:]\s*["']?single-node|allow_mmap["']?\s*[=:]\s*["']?false"""
)
# It checks only where the nodes' own port (transport) listens to more than this host.
_LISTENS = re.compile(
    r"^[ \t]*network\.host[ \t]*:(?![ \t\"'\[]*(?:127\.|localhost|_local_|::1))", re.MULTILINE
)
_COMMENT = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_OTHER_HOST = re.compile(r"(?i)(?:network|transport)[._](?:tcp[._])?(?:bind_+|publish_+)?host")
_LEGACY = re.compile(r"(?:x|ip6?)tables-legacy")
# mov $0xffffffffff600000, %rax and the like: of gettimeofday, time or getcpu.
_VSYSCALL = re.compile(rb"[\x48\x49]\xc7[\xc0-\xc7]\x00[\x00\x04\x08]\x60\xff")
_PAGES = b"<jemalloc>: Unsupported system page size"
_NFT = re.compile(r"nft|(?:x|ip6?)tables-nft.*")
_SBIN = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
# Software that closes or looks at every descriptor up to its limit before it starts a child
# (containerd#7566).
_LOOPS = ("/usr/sbin/mysqld", "/usr/bin/yum", "/usr/bin/rpm")


@dataclass(frozen=True)
class Hit:
    """See `Software`."""

    version: str
    path: str
    sure: bool = True


Found = Iterator[Hit]


def _systemd(root: Root, start: Start) -> Found:
    for path in start.binaries:
        if posixpath.basename(path) == "systemd":
            names = (_SHARED.match(posixpath.basename(each)) for each in start.binaries)
            # The library is there since 231; those of before have it in the program itself.
            version = next((each[1] for each in names if each), "") or _in_text(root, path)
            yield Hit(version, path, start.binaries[path].sure)


def _in_text(root: Root, path: str) -> str:
    entry = root.file(path)
    match = _PACKAGE.search(root.read(entry, 0, _PROGRAM_BYTES)) if entry else None
    return match[1].decode() if match else ""


def _java(root: Root, start: Start) -> Found:
    for path in start.binaries:
        if posixpath.basename(path) != "java":
            continue
        home = posixpath.dirname(posixpath.dirname(path))
        for folder in (home, posixpath.dirname(home)):  # in Java 8 the program is in jre/bin
            if match := _JAVA.search(root.text(f"{folder}/release", _TEXT_BYTES)):
                yield Hit(match[1], path, start.binaries[path].sure)
                return


def _library(prefix: str) -> Callable[[Root, Start], Found]:
    def found(root: Root, start: Start) -> Found:
        for path in start.binaries:
            if posixpath.basename(path).startswith(prefix):
                yield Hit("", path, start.binaries[path].sure)
                return

    return found


def _io_uring(root: Root, start: Start) -> Found:
    yield from _library("liburing.so")(root, start)
    for path in start.io_uring[:1]:
        yield Hit("", path)


def _many_maps(root: Root, start: Start) -> Found:
    """A server that refuses to start with few memory maps (Elasticsearch's bootstrap checks): its
    launcher and its jar. The jar alone is the client's, too."""
    own = posixpath.dirname(posixpath.dirname(start.command)) if start.command else ""
    for server in _SERVERS:
        for home in dict.fromkeys((start.beside("."), own or "/", f"/usr/share/{server}")):
            if root.file(f"{home}/bin/{server}") is None:
                continue
            for name in root.names(f"{home}/lib"):
                if (match := _JAR.fullmatch(name)) and not _unchecked(start):
                    sure = _is_started(start) and _checks(
                        root, start, f"{home}/config/{server}.yml"
                    )
                    yield Hit(match[1], posixpath.normpath(f"{home}/lib/{name}"), sure)
                    return


def _is_started(start: Start) -> bool:
    return any(posixpath.basename(word) in _STARTS for word in start.argv)


def _unchecked(start: Start) -> bool:
    """Whether argv or the environment switch the check off. ES_SETTING_NODE_STORE_ALLOW__MMAP is
    how Elasticsearch's image writes node.store.allow_mmap."""
    rows = [f"{_setting(name)}={value}" for name, value in start.variables.items()]
    return any(_NO_CHECK.search(text) for text in (*start.argv, *rows))


def _setting(name: str) -> str:
    if not name.startswith("ES_SETTING_"):
        return name
    parts = name.removeprefix("ES_SETTING_").lower().split("__")
    return "_".join(part.replace("_", ".") for part in parts)


def _checks(root: Root, start: Start, config: str) -> bool:
    """Whether its settings, which no volume may change, make it check."""
    text = _COMMENT.sub("", root.text(config, _TEXT_BYTES))
    if start.covered(config) or _NO_CHECK.search(text) or not _LISTENS.search(text):
        return False
    told = (*start.argv, *start.variables, *_LISTENS.sub("", text).splitlines())
    return not any(_OTHER_HOST.search(row) for row in told)


def _vsyscall(root: Root, start: Start) -> Found:
    """A static program that calls the kernel at the fixed addresses of vsyscalls, as the C library
    of before 2.14 does where it asks for the time."""
    for path, each in start.binaries.items():
        entry, read = root.file(path), start.files[path]
        if each.role is Role.PROGRAM and each.machine == "amd64" and entry and not read.needed:
            parts = (root.read(entry, at, min(size, CODE_BYTES)) for at, size in read.code)
            if any(_VSYSCALL.search(part) for part in parts):
                yield Hit("", path, each.sure)
                return


def _jemalloc(root: Root, start: Start) -> Found:
    """A jemalloc has the size of pages for which it was built in it, and ends with this message
    where they are larger. Pages of x86 have one size."""
    for path, each in start.binaries.items():
        entry, read = root.file(path), start.files[path]
        if entry is None or each.machine in ("amd64", "386", "x32"):
            continue
        for at, size in (*read.data, *read.code):
            if _PAGES in root.read(entry, at, min(size, CODE_BYTES)):
                yield Hit("", path, each.sure)
                return


def _bubblewrap(root: Root, start: Start) -> Found:
    if entry := root.file("/usr/bin/bwrap"):
        # As the command itself there is nothing else that the service could do without it.
        yield Hit("", entry.path, entry.path == start.command)


def _legacy_tables(root: Root, start: Start) -> Found:
    """What is started, by whatever name, or what `iptables` is in the image."""
    return _tables(root, start, _LEGACY.match, lambda name: "legacy" in name)


def _nft(root: Root, start: Start) -> Found:
    """nft, or an iptables that writes to nf_tables: what is started, or `iptables` in the image."""
    return _tables(root, start, _NFT.fullmatch, _NFT.fullmatch, sure=False)


def _tables(
    root: Root,
    start: Start,
    starts: Callable[[str], object],
    stands_for: Callable[[str], object],
    *,
    sure: bool = True,
) -> Found:
    """The first program with such a name that is started; else the file that `iptables` stands for
    in the image. sure: of that one."""
    for path in start.binaries:
        if starts(posixpath.basename(path)):
            yield Hit("", path, start.binaries[path].sure)
            return
    for folder in _SBIN:
        entry = root.file(f"{folder}/iptables")
        if entry is not None and stands_for(posixpath.basename(entry.path)):
            yield Hit("", entry.path, sure=sure)
            return


def _cgroup_v1(root: Root, start: Start) -> Found:
    if hit := only_v1(root, start):
        yield Hit("", *hit)


def _descriptors(root: Root, start: Start) -> Found:
    for path in _LOOPS:
        if entry := root.file(path):
            yield Hit("", entry.path)
            return


def _nvidia(root: Root, start: Start) -> Found:
    """The container runtime of NVIDIA puts the driver's libraries in where this variable asks."""
    if start.variables.get("NVIDIA_VISIBLE_DEVICES", "") not in ("", "void", "none"):
        yield Hit("", "NVIDIA_VISIBLE_DEVICES")


SOFTWARE: Mapping[str, Callable[[Root, Start], Found]] = MappingProxyType(
    {
        "systemd": _systemd,
        "java": _java,
        "io_uring": _io_uring,
        "fuse": _library("libfuse"),
        "many-maps": _many_maps,
        "vsyscall": _vsyscall,
        "jemalloc": _jemalloc,
        "bubblewrap": _bubblewrap,
        "iptables-legacy": _legacy_tables,
        "nftables": _nft,
        "cgroup-v1": _cgroup_v1,
        "all-descriptors": _descriptors,
        "nvidia": _nvidia,
    }
)


def software(root: Root, start: Start) -> tuple[Software, ...]:
    """What is known of in an image."""
    return tuple(
        Software(name, hit.version, hit.path, hit.sure)
        for name, look in SOFTWARE.items()
        for hit in look(root, start)
    )
