"""The description of a VM that moves without a stop: read, and rewritten for its target. Pure.

Source: libvirt.org/migration.html and formatdomain.html. The guest keeps what it can see (machine
type, processor, devices and their addresses); names, paths and the user are those of the target.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as etree

from portkit.engines.bounded_xml import tree_of
from portkit.engines.domain_xml import MARK, XML_LIMIT, malformed
from portkit.text import printable

ARRIVED = "arrived"  # in the mark of a VM that moved live, from right before it runs there
_WORD = 200  # characters of a name
_MAX_ELEMENTS = 10_000  # a VM of portkit's has about 120
_COMMANDLINE = "{http://libvirt.org/schemas/domain/qemu/1.0}commandline"
# What the source's description may hold. It is a host's word, and the target's QEMU is started by
# it: nothing in it may name anything of the target but what portkit has put there.
_PARTS = {"name", "uuid", "metadata", "memory", "currentMemory", "vcpu", "resource", "os"}
_PARTS |= {"features", "cpu", "clock", "on_poweroff", "on_reboot", "on_crash", "devices"}
_PARTS |= {"seclabel", "pm", _COMMANDLINE}
_OS = {"type", "kernel", "initrd", "cmdline", "boot"}
# Each device but disks and serial ports, with what is in it: nothing of its host.
_DEVICES: Mapping[str, tuple[str, ...]] = {
    "emulator": (),
    "disk": ("driver", "source", "backingStore", "target", "readonly", "serial", "address"),
    "controller": ("model", "target", "address"),
    "serial": ("log", "target", "address"),
    "console": ("log", "target"),
    "input": ("address",),
    "audio": (),
    "video": ("model", "address"),
    "memballoon": ("address",),
    "rng": ("backend", "address"),
}
_KINDS = {"serial": ("pty", "null"), "console": ("pty", "null"), "audio": ("none",)}
_KINDS |= {"disk": ("file",), "input": ("mouse", "keyboard")}


@dataclass(frozen=True)
class LiveGuest:
    """What a guest has that its next host must be able to give it as well.

    machine: the type with its version. virtual: "kvm", or "qemu" for an emulated processor.
    cpu: a model of libvirt's, or "" where it is whatever its host has (cpu_mode says how).
    """

    uuid: str
    architecture: str
    machine: str
    virtual: str
    cpu_mode: str
    cpu: str
    uefi: bool


def live_guest(xml: str) -> LiveGuest:
    """What the description says. EngineError where it is no XML that libvirt could have made."""
    root = _parsed(xml)
    kind, cpu = root.find("os/type"), root.find("cpu")
    firmware = root.find("os/loader") is not None or root.find("os").get("firmware") == "efi"  # type: ignore[union-attr]
    return LiveGuest(
        uuid=_word(root.findtext("uuid")),
        architecture=_word(None if kind is None else kind.get("arch")),
        machine=_word(None if kind is None else kind.get("machine")),
        virtual=_word(root.get("type")),
        cpu_mode=_word(None if cpu is None else cpu.get("mode")),
        cpu=_word(None if cpu is None else cpu.findtext("model")),
        uefi=firmware,
    )


def uuid_of(xml: str) -> str:
    """The domain's; EngineError as for `live_guest`."""
    return live_guest(xml).uuid


def disks_of_guest(xml: str) -> tuple[str, ...]:
    """The names (vda, ...) of the disks that the guest may write to."""
    disks = _parsed(xml).findall("devices/disk")
    return tuple(_target(each) for each in disks if each.find("readonly") is None)


@dataclass(frozen=True)
class LiveXml:
    """define: for the target before anything moves. moving: for the migration, which wants the
    source's name. kept: what the target has for good once the guest is there."""

    define: str
    moving: str
    kept: str


def for_target(source: str, target: str) -> LiveXml:
    """The source's guest at the target's places. target: the domain that portkit has defined there
    for this App. Its mark says nothing of a try that was before.

    EngineError where the two are not of one App.
    """
    mine, theirs = _parsed(source), _parsed(target)
    _require_plain(mine)
    for path in ("memory", "vcpu"):
        if mine.findtext(path) != theirs.findtext(path):
            raise malformed(f"the VM has another {path} than its Instance on the target")
    moving = copy.deepcopy(mine)
    for path in ("os/kernel", "os/initrd", "os/cmdline", "devices/emulator"):
        _retext(moving, theirs, path)
    _relocate(moving, theirs)
    for tag in ("metadata", _COMMANDLINE):
        _replace(moving, theirs, tag)
    for label in moving.findall("seclabel"):
        moving.remove(label)
    for label in theirs.findall("seclabel"):
        moving.append(copy.deepcopy(label))
    _set(moving, "resource", None)
    _mark_of(moving).attrib.pop(ARRIVED, None)
    define = copy.deepcopy(moving)
    _set(define, "name", _word(theirs.findtext("name")))
    kept = copy.deepcopy(moving)
    # What the guest has said since its boot comes first there; a boot on the target begins anew.
    for log in moving.iter("log"):
        log.set("append", "on")
    return LiveXml(*(etree.tostring(each, encoding="unicode") for each in (define, moving, kept)))


def _require_plain(root: etree.Element) -> None:
    """EngineError for a VM that has more than portkit has given it."""
    odd = {each.tag for each in root} - _PARTS
    odd |= {each.tag for each in root.iterfind("os/*")} - _OS
    for device in root.iterfind("devices/*"):
        inside = {each.tag for each in device}
        kinds = _KINDS.get(device.tag, (device.get("type", ""),))
        if device.tag not in _DEVICES or device.get("type", "") not in kinds:
            odd.add(f"{device.tag} {device.get('type', '')}".strip())
        elif device.tag == "rng" and device.findtext("backend") != "/dev/urandom":
            odd.add("rng backend")
        else:
            odd |= inside - {*_DEVICES[device.tag], "alias"}
    if odd:
        raise malformed(f"the VM has devices that portkit did not give it: {sorted(odd)[:8]}"[:500])


def _relocate(moving: etree.Element, theirs: etree.Element) -> None:
    there = {_target(each): each for each in theirs.findall("devices/disk")}
    here = moving.findall("devices/disk")
    if sorted(there) != sorted(map(_target, here)):
        raise malformed("the VM has other disks than its Instance on the target")
    for disk in here:
        its_disk = there[_target(disk)]
        if _formats(disk) != _formats(its_disk):
            raise malformed("a disk of the VM has another format than its Instance's on the target")
        pairs = _sources(disk), _sources(its_disk)
        for mine, its in zip(*map(list, pairs), strict=True):
            mine.attrib.clear()
            mine.attrib.update(its.attrib)
            mine[:] = [copy.deepcopy(each) for each in its]
    mine_logs, its_logs = moving.findall("devices/serial/log"), theirs.findall("devices/serial/log")
    if len(mine_logs) != len(its_logs):
        raise malformed("the VM has other serial ports than its Instance on the target")
    paths = {a.get("file"): b.get("file", "") for a, b in zip(mine_logs, its_logs, strict=True)}
    for log in (*mine_logs, *moving.findall("devices/console/log")):
        log.set("file", paths.get(log.get("file"), ""))


def _sources(disk: etree.Element) -> Iterator[etree.Element]:
    """Its own, and that of each file that it stands on."""
    found = disk.find("source")
    if found is None or found.get("file") is None:
        raise malformed("a disk of the VM is not a file")
    yield found
    below = disk.find("backingStore")
    if below is not None and below.find("source") is not None:
        yield from _sources(below)


def _formats(disk: etree.Element) -> list[str]:
    """How QEMU reads it, and each file that it stands on: a disk of zeros and ones that is read as
    qcow2 could name any file of the host."""
    driver, below = disk.find("driver"), disk.find("backingStore")
    found = ["" if driver is None else _word(driver.get("type"))]
    if driver is not None and len(driver):
        raise malformed("the driver of a disk of the VM has settings that portkit did not give it")
    while below is not None and len(below):
        if odd := {each.tag for each in below} - {"format", "source", "backingStore"}:
            raise malformed(f"the backing file of a disk of the VM has {sorted(odd)[:8]}"[:500])
        kind = below.find("format")
        if kind is None or len(kind):
            raise malformed("the backing file of a disk of the VM has no plain format")
        found.append(_word(kind.get("type")))
        below = below.find("backingStore")
    return found


def _target(disk: etree.Element) -> str:
    found = disk.find("target")
    return _word(None if found is None else found.get("dev"))


def _retext(moving: etree.Element, theirs: etree.Element, path: str) -> None:
    mine, its = moving.find(path), theirs.find(path)
    if (mine is None) != (its is None):
        raise malformed(f"only one of the two hosts has {path} for the VM")
    if mine is not None and its is not None:
        mine.text = its.text


def _replace(moving: etree.Element, theirs: etree.Element, tag: str) -> None:
    mine, its = moving.find(tag), theirs.find(tag)
    if mine is None or its is None:
        raise malformed(f"the VM has no {tag}")
    place = list(moving).index(mine)
    moving.remove(mine)
    moving.insert(place, copy.deepcopy(its))


def _set(root: etree.Element, tag: str, text: str | None) -> None:
    found = root.find(tag)
    if found is not None and text is None:
        root.remove(found)
    elif found is not None:
        found.text = text


def _mark_of(root: etree.Element) -> etree.Element:
    found = root.find(f"metadata/{{{MARK}}}instance")
    if found is None:
        raise malformed("the VM has no marker of portkit")
    return found


def _word(text: str | None) -> str:
    return printable(text or "", _WORD)


def _parsed(xml: str) -> etree.Element:
    root = _tree(xml)
    if root.tag != "domain" or root.find("os") is None:
        raise malformed("it does not describe a domain")
    return root


def _tree(xml: str) -> etree.Element:
    return tree_of(xml, malformed, characters=XML_LIMIT, elements=_MAX_ELEMENTS)
