"""The instructions of QEMU's processor models for x86, as flags of /proc/cpuinfo. Pure.

Sources: libvirt 9.0, src/cpu_map; QEMU 7.2, `query-cpu-model-expansion`; for later models and for
what QEMU emulates, its target/i386/cpu.c (builtin_x86_defs, TCG_..._FEATURES) and its changelogs.
Of a model that both describe differently, what either of them gives it.
"""

from __future__ import annotations

import re

# The flags that each x86-64 level asks for beyond the one below (System V ABI for x86-64, 1.0,
# table 3.1). OSXSAVE is left out: the kernel of the guest sets it.
LEVELS: tuple[frozenset[str], ...] = (
    frozenset(("cx16", "lahf_lm", "pni", "popcnt", "sse4_1", "sse4_2", "ssse3")),
    frozenset(("abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")),
    frozenset(("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl")),
)
LONG_MODE = "lm"  # without it no program and no kernel for x86-64 runs
_V2, _V3, _V4 = LEVELS


def _flags(*parts: frozenset[str] | str) -> frozenset[str]:
    return frozenset(
        name for part in parts for name in (part.split() if isinstance(part, str) else part)
    )


_BASE = _flags("lm sse2")
_WESTMERE = _flags(_BASE, _V2, "aes pclmulqdq")
_SANDY_BRIDGE = _flags(_WESTMERE, "avx")
_IVY_BRIDGE = _flags(_SANDY_BRIDGE, "f16c rdrand fsgsbase")
_HASWELL = _flags(_IVY_BRIDGE, _V3)
_BROADWELL = _flags(_HASWELL, "adx rdseed")
_SKYLAKE_SERVER = _flags(_BROADWELL, _V4)
_CASCADE_LAKE = _flags(_SKYLAKE_SERVER, "avx512_vnni")
_VECTORS = _flags("gfni vaes vpclmulqdq")
_ICE_LAKE = _flags(_CASCADE_LAKE, _VECTORS)
_SAPPHIRE_RAPIDS = _flags(_ICE_LAKE, "avx_vnni sha_ni")
_DENVERTON = _flags(_WESTMERE, "movbe rdrand rdseed fsgsbase sha_ni")
_EPYC = _flags(_BROADWELL, "sha_ni sse4a")
_GENOA = _flags(_EPYC, _V4, _VECTORS, "avx512_vnni")
_BULLDOZER = _flags(_SANDY_BRIDGE, "abm sse4a xop fma4")
_K10 = _flags(_BASE, "pni cx16 lahf_lm popcnt abm sse4a")

_OLD = "486 athlon coreduo kvm32 n270 pentium pentium2 pentium3 pentiumpro qemu32"
_MODELS: dict[str, frozenset[str]] = {
    **dict.fromkeys(_OLD.split(), frozenset()),
    "Broadwell": _BROADWELL,
    "Cascadelake-Server": _CASCADE_LAKE,
    "Conroe": _flags(_BASE, "pni ssse3 lahf_lm"),
    "Cooperlake": _CASCADE_LAKE,
    "Denverton": _DENVERTON,
    "Dhyana": _EPYC - {"aes", "pclmulqdq", "sha_ni"},
    "EPYC": _EPYC,
    "EPYC-Genoa": _GENOA,
    "EPYC-Milan": _EPYC,
    "EPYC-Rome": _EPYC,
    "EPYC-Turin": _flags(_GENOA, "avx_vnni"),
    "GraniteRapids": _SAPPHIRE_RAPIDS,
    "Haswell": _HASWELL,
    "Icelake-Client": _flags(_BROADWELL, _VECTORS),
    "Icelake-Server": _ICE_LAKE,
    "IvyBridge": _IVY_BRIDGE,
    "KnightsMill": _flags(_BROADWELL, "avx512f avx512cd"),
    "Nehalem": _flags(_BASE, _V2),
    "Opteron_G1": _flags(_BASE, "pni"),
    "Opteron_G2": _flags(_BASE, "pni cx16 lahf_lm"),
    "Opteron_G3": _K10,
    "Opteron_G4": _BULLDOZER,
    "Opteron_G5": _flags(_BULLDOZER, "f16c fma tbm"),
    "Penryn": _flags(_BASE, "pni ssse3 cx16 lahf_lm sse4_1"),
    "SandyBridge": _SANDY_BRIDGE,
    "SapphireRapids": _SAPPHIRE_RAPIDS,
    "SierraForest": _flags(_BROADWELL, _VECTORS, "avx_vnni sha_ni"),
    "Skylake-Client": _BROADWELL,
    "Skylake-Server": _SKYLAKE_SERVER,
    "Snowridge": _flags(_DENVERTON, "gfni"),
    "Westmere": _WESTMERE,
    "core2duo": _flags(_BASE, "pni ssse3 cx16 lahf_lm"),
    "cpu64-rhel5": _flags(_BASE, "pni"),
    "cpu64-rhel6": _flags(_BASE, "pni cx16 lahf_lm"),
    "kvm64": _flags(_BASE, "pni cx16"),
    "phenom": _K10,
    # Machine types of old have given it these; under libvirt it was seen to run popcnt.
    "qemu64": _flags(_BASE, "pni cx16 lahf_lm popcnt abm sse4a"),
}
_VERSION = re.compile(r"-v\d+$")
# Variants that libvirt names by what they lack or were patched for.
_VARIANT = re.compile(r"(-noTSX)?(-IBRS|-IBPB|-MPK)?$")
_OTHER_NAMES = {"pclmuldq": "pclmulqdq", "avx512vnni": "avx512_vnni"}  # libvirt's

# What QEMU emulates at most, from a version on. Without the version, what every QEMU that libvirt
# still takes can do.
_EMULATED: tuple[tuple[tuple[int, int], frozenset[str]], ...] = (
    (
        (0, 0),
        _flags(_BASE, _V2, "movbe aes pclmulqdq bmi1 bmi2 adx abm sse4a fsgsbase rdrand"),
    ),
    ((7, 2), _flags(_V3, "vaes")),
    ((8, 0), _flags("rdseed")),
    ((8, 2), _flags("sha_ni")),
)


def of_model(name: str) -> frozenset[str] | None:
    """The flags of a model, of whatever version; None where it is not known."""
    plain = _VERSION.sub("", name)
    found = _MODELS.get(plain)
    return found if found is not None else _MODELS.get(_VARIANT.sub("", plain))


def emulated(version: tuple[int, int]) -> frozenset[str]:
    """What that QEMU's own emulation can do at most (the model `max`)."""
    return _flags(*(flags for since, flags in _EMULATED if version >= since))


def level(flags: frozenset[str]) -> int:
    """The x86-64 level of a processor with these flags; 0 where it runs no x86-64 code."""
    if LONG_MODE not in flags:
        return 0
    reached = 1
    for wanted in LEVELS:
        if not wanted <= flags:
            break
        reached += 1
    return reached


def flag(feature: str) -> str:
    """The flag in /proc/cpuinfo of a feature as libvirt names it."""
    return _OTHER_NAMES.get(feature, feature).replace(".", "_").replace("-", "_")


def without_version(name: str) -> bool:
    """Whether a model is named without one of its versions."""
    return _VERSION.search(name) is None
