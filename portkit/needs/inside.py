"""What is in the file systems of a disk, by libguestfs: they are opened nowhere else.

libguestfs runs in a process of its own with a deadline and a limit of memory. Where it is missing
or fails, nothing is known, and why is told.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portkit import process, runtime
from portkit.errors import PortkitError
from portkit.model.disk import DiskFormat, EfiLoader, Inside
from portkit.needs import appliance, distribution
from portkit.text import printable
from portkit.wire import strict_json

# An appliance that is built anew and started by emulation on a busy machine took 42 s.
DEADLINE_S = 240.0
_MEMORY_BYTES = 6 << 30  # of address space, QEMU's own included
_WORKER = Path(__file__).with_name("inside_worker.py")
_MOST = 64
_WORD = 300
# The authorities in the variables that firmware comes with (Microsoft, "Secure Boot objects").
_MICROSOFT = (
    b"Microsoft Corporation UEFI CA 2011",
    b"Microsoft UEFI CA 2023",
    b"Microsoft Windows Production PCA 2011",
    b"Windows UEFI CA 2023",
)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "arm": "arm"}
# Initrds of no usual start, in their names: the first has every driver (dracut), the second starts
# after a crash.
_SPARE = ("rescue", "kdump")
# The release of a kernel: in the names of its initrd (Debian, Red Hat, SUSE) and of its modules.
_OF_INITRD = re.compile(r"/(?:initrd|initramfs)(?:\.img)?-([^/]+?)(?:\.img)?$")
_OF_MODULES = re.compile(r"/lib/modules/([^/]+)/modules\.builtin$")
_FIXED = ("/dev/sd", "/dev/hd", "/dev/xvd")

_Text = Annotated[str, Field(max_length=256 << 10)]
_Names = Annotated[list[_Text], Field(max_length=400)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _System(_Strict):
    type: _Text
    distribution: _Text
    major: int
    minor: int
    machine: _Text


class _Loader(_Strict):
    path: _Text
    signature: _Text


class _Drivers(_Strict):
    path: _Text
    virtio: _Names
    whole: bool = True


class _Place(_Strict):
    kernels: _Names
    loaders: list[_Loader]
    initrds: list[_Drivers]
    more_initrds: _Names = []
    built_in: list[_Drivers]
    windows_drivers: _Names
    fstab: _Text
    os_release: _Text


class _Seen(_Strict):
    systems: list[_System]
    places: list[_Place]
    unread: _Names


def look(disk: Path, kind: DiskFormat) -> Inside:
    """What is inside a disk that stands on no other file."""
    try:
        env = appliance.environment(appliance.kernel(), runtime.subfolder())
        done = process.run(
            [_python(), "-I", _WORKER, disk.resolve(), kind.value],
            env=env,
            timeout=DEADLINE_S,
            memory_bytes=_MEMORY_BYTES,
            check=False,
        )
    except PortkitError as error:
        return _nothing(f"{error.brief}: {error.details}")
    if done.code:
        return _nothing(_reason(done.stderr))
    try:
        return inside(strict_json.loads(done.stdout))
    except ValueError as error:  # pydantic's is one, too
        kind_of = type(error).__name__
        return _nothing(f"what libguestfs said of it cannot be read: {kind_of}")


def _python() -> str:
    """The Python that has libguestfs: this one, or Debian's own."""
    return sys.executable if find_spec("guestfs") else "/usr/bin/python3"


def _nothing(why: str) -> Inside:
    return Inside(unread=(printable(" ".join(why.split()), _WORD),))


def _reason(stderr: bytes) -> str:
    """The last line of a traceback, in words."""
    said = stderr.decode("utf-8", "replace").strip().splitlines()
    last = said[-1] if said else "it printed nothing"
    if "No module named 'guestfs'" in last:
        return "python3-guestfs is not installed on this machine"
    return f"libguestfs failed: {last}"


def inside(told: object) -> Inside:
    """What the worker saw, in our words. ValueError for what it never says."""
    try:
        seen = _Seen.model_validate(told)
    except ValidationError as error:
        raise ValueError(str(error)) from None
    releases = [distribution.os_release(place.os_release) for place in seen.places]
    levels = [distribution.level_of(each) for each in releases]
    level, by = max(levels, default=(0, ""))
    virtio, virtio_by = _virtio(seen)
    return Inside(
        looked=True,
        unread=_words(seen.unread),
        systems=_words(f"{s.distribution} {s.major}.{s.minor}" for s in seen.systems),
        architectures=_words(
            _MACHINES.get(s.machine, s.machine) for s in seen.systems if s.machine != "unknown"
        ),
        kernels=_words(path for place in seen.places for path in place.kernels),
        loaders=tuple(
            EfiLoader(printable(each.path, _WORD), _signer(bytes.fromhex(each.signature)))
            for place in seen.places
            for each in place.loaders[:_MOST]
        ),
        built_level=level,
        built_by=printable(by, _WORD),
        virtio=virtio,
        virtio_by=printable(virtio_by, _WORD),
        fixed_devices=_words(line for place in seen.places for line in _fixed(place.fstab)),
    )


def _words(texts: Iterator[str] | list[str]) -> tuple[str, ...]:
    """Each once, as they may be shown."""
    return tuple(dict.fromkeys(printable(text, _WORD) for text in texts))[:_MOST]


def _signer(signature: bytes) -> str:
    if not signature:
        return ""
    return "Microsoft" if any(name in signature for name in _MICROSOFT) else "others"


def _virtio(seen: _Seen) -> tuple[bool | None, str]:
    """Whether the start can read a virtio disk, and the file that says so. Known only where all
    that may be started agree, and each file that could hold the driver was read as a whole."""
    linux = _linux(seen)
    for place in seen.places if linux[0] is not True else ():
        windows = [path for path in place.kernels if path.endswith("ntoskrnl.exe")]
        if windows:
            has = place.windows_drivers
            return bool(has), (has or windows)[0]
    return linux


def _linux(seen: _Seen) -> tuple[bool | None, str]:
    built_in = [each for place in seen.places for each in place.built_in]
    initrds = [each for place in seen.places for each in place.initrds if _usual(each.path)]
    more = [path for place in seen.places for path in place.more_initrds if _usual(path)]
    if not initrds:
        had = {_has_block(each) for each in built_in}
        return (True, built_in[0].path) if had == {True} and not more else (None, "")
    told = [(_start_has(each, built_in), each.path) for each in initrds]
    told += [(None, f"{path}: not read") for path in more]
    values = {value for value, _ in told}
    if len(values) == 1:
        return told[0]
    return None, next(path for value, path in told if value is not True)


def _usual(path: str) -> bool:
    return not any(word in path.rpartition("/")[2] for word in _SPARE)


def _start_has(initrd: _Drivers, built_in: list[_Drivers]) -> bool | None:
    """Whether an initrd or its own kernel has the driver: of a kernel whose release is not known,
    what all kernels of the disk have or lack."""
    if initrd.whole and _has_block(initrd):
        return True
    release = _OF_INITRD.search(initrd.path)
    own = [
        each
        for each in built_in
        if release and (of := _OF_MODULES.search(each.path)) and of[1] == release[1]
    ]
    has = {_has_block(each) for each in own or built_in}
    if has == {True}:
        return True
    return False if has == {False} and initrd.whole else None


def _has_block(drivers: _Drivers) -> bool:
    return any(_is_block(name) for name in drivers.virtio)


def _is_block(name: str) -> bool:
    return "virtio_blk" in name.replace("-", "_")


def _fixed(fstab: str) -> Iterator[str]:
    for line in fstab.splitlines()[:1000]:
        words = line.split()
        if len(words) > 1 and words[0].startswith(_FIXED):
            yield f"{words[0]} {words[1]}"
