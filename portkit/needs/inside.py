"""What is in the file systems of a disk, by libguestfs: they are opened nowhere else.

libguestfs runs in a process of its own with a deadline and a limit of memory. Where it is missing
or fails, nothing is known, and why is told.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portkit import boot_text, process, runtime
from portkit.boot_text import GRUB, SYSTEMD_BOOT
from portkit.errors import PortkitError
from portkit.guest_files import cpu, pe
from portkit.model.disk import (
    ENCRYPTED,
    BootConfig,
    Bus,
    BusDriver,
    Cards,
    DiskFormat,
    EfiLoader,
    Inside,
    Unlock,
)
from portkit.needs import appliance, boot_config, distribution, elf, encryption, network_config
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
# The driver of each bus: Linux's module, and the services of Windows.
_MODULE = {
    Bus.VIRTIO: "virtio_blk",
    Bus.SCSI: "virtio_scsi",
    Bus.SATA: "ahci",
    Bus.IDE: "ata_piix",
}
_WINDOWS = {
    Bus.VIRTIO: ("viostor",),
    Bus.SCSI: ("vioscsi",),
    Bus.SATA: ("storahci", "msahci"),  # the second up to Windows 7
    Bus.IDE: ("intelide", "atapi"),
}
# Drivers of network cards that QEMU has: Linux's modules, and the services of Windows.
_CARDS = frozenset({"virtio_net", "e1000e", "e1000", "8139cp", "vmxnet3"})
_WINDOWS_CARDS = {"netkvm": "virtio_net", "e1iexpress": "e1000e", "e1000": "e1000"}
_FIXED = ("/dev/sd", "/dev/hd", "/dev/xvd", "/dev/vd")

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
    kind: _Text = ""
    trusts: _Names = []
    starts: _Names = []


class _Config(_Strict):
    loader: _Text
    path: _Text
    text: _Text
    whole: bool


class _Drivers(_Strict):
    path: _Text
    drivers: _Names


class _Initrd(_Drivers):
    whole: bool = True
    built_in: list[_Drivers] = []
    why: _Text = ""
    crypttab: _Text = ""
    keys: _Names = []


class _Windows(_Strict):
    path: _Text
    starts: dict[_Text, int]


class _Place(_Strict):
    kernels: _Names
    flaws: _Names = []
    releases: dict[_Text, _Text] = {}
    configs: list[_Config] = []
    files: dict[_Text, _Text] = {}
    loaders: list[_Loader]
    programs: list[_Loader] = []
    initrds: list[_Initrd]
    more_initrds: _Names = []
    built_in: list[_Drivers]
    modules: list[_Drivers] = []
    network: dict[_Text, _Text] = {}
    libc_loader: _Text = ""
    windows: _Windows | None = None
    fstab: _Text
    os_release: _Text


class _Seen(_Strict):
    systems: list[_System]
    places: list[_Place]
    files: dict[_Text, _Text] = {}
    unread: _Names


def look(disk: Path, kind: DiskFormat, sector_bytes: int = 512) -> Inside:
    """What is inside a disk that stands on no other file."""
    try:
        env = appliance.environment(appliance.kernel(), runtime.subfolder())
        done = process.run(
            [python(), "-I", _WORKER, disk.resolve(), kind.value, str(sector_bytes)],
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
        return _nothing(f"the output of libguestfs cannot be read: {kind_of}")


def python() -> str:
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
    levels += [_libc_level(place.libc_loader) for place in seen.places]
    level, by = max(levels, default=(0, ""))
    configs = list(_configs(seen))
    left = len(configs) - _MOST
    more = [f"and {left} more configurations of boot loaders"] if left > 0 else []
    return Inside(
        looked=True,
        unread=_words([*more, *seen.unread]),
        systems=_words(f"{s.distribution} {s.major}.{s.minor}" for s in seen.systems),
        architectures=_words(
            _MACHINES.get(s.machine, s.machine) for s in seen.systems if s.machine != "unknown"
        ),
        kernels=_words(path for place in seen.places for path in place.kernels),
        releases=tuple(
            (printable(path, _WORD), printable(release, _WORD))
            for place in seen.places
            for path, release in list(place.releases.items())[:_MOST]
        ),
        encrypted=_words([each for each in seen.unread if each.endswith(ENCRYPTED)]),
        unlocks=_unlocks(seen),
        flaws=_words(why for place in seen.places for why in place.flaws),
        loaders=tuple(_program(each) for place in seen.places for each in place.loaders[:_MOST]),
        programs=tuple(_program(each) for place in seen.places for each in place.programs[:_MOST]),
        configs=tuple(configs[:_MOST]),
        built_level=level,
        built_by=printable(by, _WORD),
        buses=tuple(
            BusDriver(bus, found.there, printable(found.by, _WORD))
            for bus in Bus
            for found in [_bus(bus, seen)]
        ),
        cards=_cards(seen),
        card_pins=_words(
            line for place in seen.places for line in network_config.pinned(place.network)
        ),
        fixed_devices=_words(line for place in seen.places for line in _fixed(place.fstab)),
    )


def _words(texts: Iterator[str] | list[str]) -> tuple[str, ...]:
    """Each once, as they may be shown."""
    return tuple(dict.fromkeys(printable(text, _WORD) for text in texts))[:_MOST]


def _configs(seen: _Seen) -> Iterator[BootConfig]:
    """GRUB reads all file systems, other loaders the one that they are in. Where GRUB also has the
    entries of the Boot Loader Specification, these are twice here."""
    texts = {
        index: [
            boot_text.Text(each.loader, each.path, each.text, each.whole) for each in place.configs
        ]
        for index, place in enumerate(seen.places)
    }
    every = [each for rows in texts.values() for each in rows if each.loader == GRUB]
    more = any(boot_text.parse(each).more for each in every)
    for index, place in enumerate(seen.places):
        everywhere = boot_text.merged((place.files, seen.files))
        for loader in dict.fromkeys(each.loader for each in texts[index]):
            rows = [each for each in texts[index] if each.loader == loader]
            yield from boot_config.read(rows, everywhere if loader == GRUB else place.files)
            if more and loader == SYSTEMD_BOOT:
                found = boot_config.read(rows, everywhere)
                yield from (replace(each, loader=GRUB) for each in found)


def _unlocks(seen: _Seen) -> tuple[Unlock, ...]:
    """What opens an encrypted disk without a person: of each initrd that is started."""
    return tuple(
        Unlock(printable(each.path, _WORD), each.whole, *encryption.means(each.crypttab, each.keys))
        for place in seen.places
        for each in place.initrds
        if _usual(each.path)
    )[:_MOST]


def _program(told: _Loader) -> EfiLoader:
    signature = bytes.fromhex(told.signature)
    return EfiLoader(
        path=printable(told.path, _WORD),
        signed_by=_signer(signature),
        kind=printable(told.kind, _WORD),
        names=_words(pe.names(signature)),
        trusts=_words(told.trusts),
        starts=_words(told.starts),
    )


def _signer(signature: bytes) -> str:
    if not signature:
        return ""
    return "Microsoft" if any(name in signature for name in _MICROSOFT) else "others"


def _bus(bus: Bus, seen: _Seen) -> BusDriver:
    """Whether the start can read a disk on that bus. Known only where all that may be started
    agree, and each file that could hold the driver was read as a whole."""
    linux = _linux(seen, bus)
    for place in seen.places if linux.there is not True else ():
        windows = [path for path in place.kernels if path.endswith("ntoskrnl.exe")]
        if place.windows is not None:
            return _windows(place.windows, bus)
        if windows:
            return BusDriver(bus, None, f"{windows[0]}: its registry was not read")
    return linux


def _windows(told: _Windows, bus: Bus) -> BusDriver:
    """Whether Windows starts a driver of the bus at its boot, whatever files it has."""
    rows = [(name, told.starts[name]) for name in _WINDOWS[bus] if name in told.starts]
    there = any(start == 0 for _, start in rows)
    words = [f"{name} has Start {start}" for name, start in rows if (start == 0) is there]
    return BusDriver(bus, there, f"{told.path}: {', '.join(words) or 'no such service'}")


def _linux(seen: _Seen, bus: Bus) -> BusDriver:
    built_in = [
        each
        for place in seen.places
        for each in (*place.built_in, *(row for one in place.initrds for row in one.built_in))
    ]
    initrds = [each for place in seen.places for each in place.initrds if _usual(each.path)]
    more = [path for place in seen.places for path in place.more_initrds if _usual(path)]
    if not initrds:
        had = {_has(each, bus) for each in built_in}
        sure = had == {True} and not more
        return BusDriver(bus, True, built_in[0].path) if sure else BusDriver(bus, None)
    told = [(_start_has(each, built_in, bus), each.path) for each in initrds]
    told += [(None, f"{path}: not read") for path in more]
    whole = {each.path: f"{each.path}: {each.why}" for each in initrds if each.why}
    told = [(value, whole.get(path, path) if value is None else path) for value, path in told]
    values = {value for value, _ in told}
    if len(values) == 1:
        return BusDriver(bus, *told[0])
    return BusDriver(bus, None, next(path for value, path in told if value is not True))


def _cards(seen: _Seen) -> tuple[Cards, ...]:
    """What each kernel has for network cards: a list of its modules, with what is built in."""
    found = []
    for place in seen.places:
        for each in place.modules:
            same = each.path.rpartition("/")[0]
            more = [b for b in place.built_in if b.path.rpartition("/")[0].endswith(same)]
            names = {_module(name) for row in (each, *more) for name in row.drivers}
            found.append(Cards(printable(each.path, _WORD), tuple(sorted(names & _CARDS))))
        if place.windows is not None:
            told = place.windows
            names = {card for name, card in _WINDOWS_CARDS.items() if name in told.starts}
            found.append(Cards(printable(told.path, _WORD), tuple(sorted(names))))
    return tuple(found[:_MOST])


def _libc_level(packed: str) -> tuple[int, str]:
    if not packed:
        return 0, ""
    data = cpu.loader_of(packed)
    read = elf.parse(lambda at, count: data[at : at + count])
    level = distribution.checked_level([data[at : at + count] for at, count in read.code])
    return level, f"its loader of programs checks for x86-64-v{level}, as its code shows"


def _usual(path: str) -> bool:
    return not any(word in path.rpartition("/")[2] for word in _SPARE)


def _start_has(initrd: _Initrd, built_in: list[_Drivers], bus: Bus) -> bool | None:
    """Whether an initrd or its own kernel has the driver: of a kernel whose release is not known,
    what all kernels of the disk have or lack."""
    if initrd.whole and _has(initrd, bus):
        return True
    release = _OF_INITRD.search(initrd.path)
    own = [
        each
        for each in built_in
        if release and (of := _OF_MODULES.search(each.path)) and of[1] == release[1]
    ]
    has = {_has(each, bus) for each in own or built_in}
    if has == {True}:
        return True
    return False if has == {False} and initrd.whole else None


def _has(drivers: _Drivers, bus: Bus) -> bool:
    return any(_module(name) == _MODULE[bus] for name in drivers.drivers)


def _module(path: str) -> str:
    """The name of a module, which is written in two ways."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _fixed(fstab: str) -> Iterator[str]:
    for line in fstab.splitlines()[:1000]:
        words = line.split()
        if len(words) > 1 and words[0].startswith(_FIXED):
            yield f"{words[0]} {words[1]}"
