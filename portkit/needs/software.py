"""Software whose needs of a kernel or an engine are known, found by its own files in an image.

Never by an image's name: what counts is what runs. Each has a function in `SOFTWARE`, whose
needs are rules in portkit/compat.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from portkit.model.needs import Software
from portkit.needs.root import Root
from portkit.needs.start import Start

_TEXT_BYTES = 1 << 16
_SHARED = re.compile(r"libsystemd-shared-([0-9]{1,5})")
_JAVA = re.compile(r'^JAVA_VERSION="([0-9._]{1,40})', re.MULTILINE)
_JAR = re.compile(r"(?:elasticsearch|opensearch)-([0-9]{1,3}\.[0-9.]{1,20})\.jar")
_JARS = ("lib", "/usr/share/elasticsearch/lib", "/usr/share/opensearch/lib")
_SBIN = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
# Software that closes or looks at every descriptor up to its limit before it starts a child
# (containerd#7566).
_LOOPS = ("/usr/sbin/mysqld", "/usr/bin/yum", "/usr/bin/rpm")

Found = Iterator[tuple[str, str]]  # version, path


def _systemd(root: Root, start: Start) -> Found:
    for path in start.binaries:
        if posixpath.basename(path) == "systemd":
            names = (_SHARED.match(posixpath.basename(each)) for each in start.binaries)
            # The library is there since 231.
            yield next((each[1] for each in names if each), "230"), path


def _java(root: Root, start: Start) -> Found:
    for path in start.binaries:
        if posixpath.basename(path) != "java":
            continue
        home = posixpath.dirname(posixpath.dirname(path))
        for folder in (home, posixpath.dirname(home)):  # in Java 8 the program is in jre/bin
            if match := _JAVA.search(root.text(f"{folder}/release", _TEXT_BYTES)):
                yield match[1], path
                return


def _library(prefix: str) -> Callable[[Root, Start], Found]:
    def found(root: Root, start: Start) -> Found:
        for path in start.binaries:
            if posixpath.basename(path).startswith(prefix):
                yield "", path
                return

    return found


def _io_uring(root: Root, start: Start) -> Found:
    yield from _library("liburing.so")(root, start)
    for path in start.io_uring[:1]:
        yield "", path


def _many_maps(root: Root, start: Start) -> Found:
    """A server that refuses to start with few memory maps (Elasticsearch's bootstrap checks)."""
    for folder in _JARS:
        for name in root.names(start.beside(folder)):
            if match := _JAR.fullmatch(name):
                yield match[1], f"{start.beside(folder)}/{name}"
                return


def _bubblewrap(root: Root, start: Start) -> Found:
    if entry := root.file("/usr/bin/bwrap"):
        yield "", entry.path


def _legacy_tables(root: Root, start: Start) -> Found:
    for folder in _SBIN:
        entry = root.file(f"{folder}/iptables")
        if entry is not None and "legacy" in posixpath.basename(entry.path):
            yield "", entry.path
            return


def _descriptors(root: Root, start: Start) -> Found:
    for path in _LOOPS:
        if entry := root.file(path):
            yield "", entry.path
            return


def _nvidia(root: Root, start: Start) -> Found:
    """The container runtime of NVIDIA puts the driver's libraries in where this variable asks."""
    if start.variable("NVIDIA_VISIBLE_DEVICES") not in ("", "void", "none"):
        yield "", "NVIDIA_VISIBLE_DEVICES"


SOFTWARE: Mapping[str, Callable[[Root, Start], Found]] = MappingProxyType(
    {
        "systemd": _systemd,
        "java": _java,
        "io_uring": _io_uring,
        "fuse": _library("libfuse"),
        "many-maps": _many_maps,
        "bubblewrap": _bubblewrap,
        "iptables-legacy": _legacy_tables,
        "all-descriptors": _descriptors,
        "nvidia": _nvidia,
    }
)


def software(root: Root, start: Start) -> tuple[Software, ...]:
    """What is known of in an image."""
    return tuple(
        Software(name, version, path)
        for name, look in SOFTWARE.items()
        for version, path in look(root, start)
    )
