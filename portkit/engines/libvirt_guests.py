"""What libvirt says that its QEMU gives to guests: machine types, firmware, processors. Pure.

Source: libvirt.org/formatcaps.html and formatdomaincaps.html. What a host sends is input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree as etree

from portkit.architecture import TABLE
from portkit.engines import cpu_models
from portkit.engines.bounded_xml import tree_of
from portkit.errors import EngineError
from portkit.model import Guests
from portkit.text import printable

_LIMIT = 4 << 20  # characters; libvirt's own for a text (remote_protocol.x)
_MAX_ELEMENTS = 200_000  # a recorded one has 12,000
_CONFINING = ("apparmor", "selinux")  # security drivers of libvirt
_WORD = 200  # characters of a name


def guests(capabilities: str, domain: str, *, machine: str) -> Guests:
    """What both documents say of guests for one machine, in the words of uname(2): x86_64.

    capabilities: of the connection, domain: of the emulator with one machine type. EngineError when
    one of them is no document of libvirt's.
    """
    whole, one = _parsed(capabilities), _parsed(domain)
    cpu = one.find("cpu")
    model, level = ("", 0) if cpu is None else _host_model(cpu)
    return Guests(
        machines=tuple(sorted(_machines(whole, machine))),
        firmware=tuple(_values(one.find("os/enum[@name='firmware']"))),
        secure=tuple(_values(one.find("os/loader/enum[@name='secure']"))),
        max_cpus=_most(one),
        interfaces=tuple(_values(one.find("devices/interface/enum[@name='backendType']"))),
        confined_by=_confined(whole),
        cpu_model=model,
        cpu_level=level,
        cpu_models={} if cpu is None else dict(_usable(cpu)),
        architectures=tuple(
            name for name, known in TABLE.items() if _machines(whole, known.machine)
        ),
    )


def confined_by(capabilities: str) -> tuple[str, ...]:
    """What of the host's kernel keeps each guest to its own files, by libvirt's capabilities:
    "apparmor", "selinux". libvirt's "dac", owners and modes, is not meant."""
    return _confined(_parsed(capabilities))


def _confined(root: etree.Element) -> tuple[str, ...]:
    models = [_word(each.text) for each in root.iterfind("host/secmodel/model")]
    return tuple(each for each in models if each in _CONFINING)


def _machines(root: etree.Element, machine: str) -> set[str]:
    """The machine types for guests with an operating system of their own, aliases included."""
    found = set()
    for guest in root.findall("guest"):
        arch = guest.find("arch")
        if guest.findtext("os_type") == "hvm" and arch is not None and arch.get("name") == machine:
            rows = [*arch.findall("machine"), *arch.findall("domain/machine")]
            found |= {_word(row.text) for row in rows} | {_word(r.get("canonical")) for r in rows}
    return found - {""}


def _most(domain: etree.Element) -> int:
    """The processors that a guest of this machine type can have; 0 where it does not say."""
    row = domain.find("vcpu")
    text = "" if row is None else row.get("max", "")
    return int(text) if re.fullmatch("[0-9]{1,5}", text) and int(text) <= 1 << 16 else 0


def _values(enum: etree.Element | None) -> Iterable[str]:
    return () if enum is None else [_word(row.text) for row in enum.findall("value")]


def _usable(cpu: etree.Element) -> Iterable[tuple[str, int]]:
    """The models that work on the host, with their levels; versions of one model are left out."""
    for row in cpu.findall("mode[@name='custom']/model"):
        name = _word(row.text)
        if row.get("usable") == "yes" and cpu_models.without_version(name):
            yield name, model_level(name)


def model_level(name: str) -> int:
    """The x86-64 level of a CPU model; 0 where it has none or is not known."""
    return cpu_models.level(cpu_models.of_model(name) or frozenset())


def _host_model(cpu: etree.Element) -> tuple[str, int]:
    """The model that is nearest to the most that a guest gets here, and its level with what is
    added to it and taken from it."""
    mode = cpu.find("mode[@name='host-model']")
    if mode is None or mode.get("supported") != "yes":
        return "", 0
    name = _word(mode.findtext("model"))
    has = cpu_models.of_model(name)
    if has is None:  # it may lack anything
        return name, 0
    for row in mode.findall("feature"):
        feature = cpu_models.flag(row.get("name", ""))
        has = has - {feature} if row.get("policy") == "disable" else has | {feature}
    return name, cpu_models.level(has)


def _word(text: str | None) -> str:
    return printable((text or "").strip(), _WORD)


def _parsed(xml: str) -> etree.Element:
    return tree_of(xml, _malformed, characters=_LIMIT, elements=_MAX_ELEMENTS)


def _malformed(why: str) -> EngineError:
    return EngineError(
        "libvirt's description of what it offers to guests is malformed",
        details=why,
        resolution="Check which program answers there: virsh -c qemu:///system domcapabilities.",
    )
