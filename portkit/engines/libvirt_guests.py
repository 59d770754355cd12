"""What libvirt says that its QEMU gives to guests: machine types, firmware, processors. Pure.

Source: libvirt.org/formatcaps.html and formatdomaincaps.html. What a host sends is input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree import ElementTree as etree

from portkit.architecture import TABLE
from portkit.engines.bounded_xml import tree_of
from portkit.errors import EngineError
from portkit.model import Guests
from portkit.text import printable

_LIMIT = 4 << 20  # characters; libvirt's own for a text (remote_protocol.x)
_MAX_ELEMENTS = 200_000  # a recorded one has 12,000
_WORD = 200  # characters of a name
_VERSION = re.compile(r"-v\d+$")

# The features that each x86-64 level asks for beyond the one below, as libvirt names them (System V
# ABI for x86-64, 1.0, table 3.1). OSXSAVE is left out: the kernel of the guest sets it.
_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4.1", "sse4.2", "ssse3"}),
    frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}),
    frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)
# The level of each model of QEMU, of whatever version (QEMU's docs/system/cpu-models-x86-abi.csv;
# models that came later by what their own documentation lists). 0: below the baseline.
_MODELS = {
    0: "486 athlon coreduo kvm32 n270 pentium pentium2 pentium3 qemu32",
    1: "Conroe Opteron_G1 Opteron_G2 Opteron_G3 Penryn core2duo kvm64 phenom qemu64",
    2: "Denverton IvyBridge Nehalem Opteron_G4 Opteron_G5 SandyBridge Snowridge Westmere",
    3: "Broadwell Dhyana EPYC EPYC-Milan EPYC-Rome Haswell KnightsMill SierraForest Skylake-Client",
    4: "Cascadelake-Server Cooperlake EPYC-Genoa EPYC-Turin GraniteRapids Icelake-Server "
    "SapphireRapids Skylake-Server",
}
_LEVEL_OF = {name: level for level, names in _MODELS.items() for name in names.split()}
# Variants that libvirt names by what they lack or were patched for.
_VARIANT = re.compile(r"(-noTSX)?(-IBRS|-IBPB|-MPK)?$")


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
        cpu_model=model,
        cpu_level=level,
        cpu_models={} if cpu is None else dict(_usable(cpu)),
        architectures=tuple(
            name for name, known in TABLE.items() if _machines(whole, known.machine)
        ),
    )


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
        if row.get("usable") == "yes" and not _VERSION.search(name):
            yield name, model_level(name)


def model_level(name: str) -> int:
    """The x86-64 level of a CPU model; 0 where it has none or is not known."""
    plain = _VERSION.sub("", name)
    return _LEVEL_OF.get(plain) or _LEVEL_OF.get(_VARIANT.sub("", plain), 0)


def _host_model(cpu: etree.Element) -> tuple[str, int]:
    """The model that is nearest to the most that a guest gets here, and its level with what is
    added to it and taken from it."""
    mode = cpu.find("mode[@name='host-model']")
    if mode is None or mode.get("supported") != "yes":
        return "", 0
    name = _word(mode.findtext("model"))
    level = model_level(name)
    has = {each for wanted in _LEVELS[: max(level - 1, 0)] for each in wanted}
    for row in mode.findall("feature"):
        feature = row.get("name", "")
        has = has - {feature} if row.get("policy") == "disable" else has | {feature}
    if level == 0:  # a model that is not known may lack anything
        return name, 0
    reached = 1
    for wanted in _LEVELS:
        if not wanted <= has:
            break
        reached += 1
    return name, reached


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
