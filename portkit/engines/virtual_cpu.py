"""What processor a VM of portkit's has, as `domain_xml` asks for it. Pure."""

from __future__ import annotations

import re

# QEMU 7.2 is the first whose emulation has AVX2, BMI2 and FMA ("TCG: x86", changelog of 7.2);
# none has AVX-512. Without the version, what every QEMU that libvirt still takes can do.
_WITH_AVX2 = (7, 2)
# QEMU's emulation has AES and PCLMULQDQ since 1.3, and SHA since 8.2 (its changelogs).
_WITH_SHA = (8, 2)
_AES = frozenset(("aes", "pclmulqdq"))
# Models of QEMU without AES, and those with SHA (target/i386/cpu.c); others have AES alone.
_WITHOUT_AES = frozenset(
    (
        "Conroe",
        "Nehalem",
        "Opteron_G1",
        "Opteron_G2",
        "Opteron_G3",
        "Penryn",
        "core2duo",
        "kvm64",
        "phenom",
        "qemu64",
    )
)
_SHA_MODELS = ("Denverton", "EPYC", "GraniteRapids", "SapphireRapids", "SierraForest", "Snowridge")


def x86_level(*, kvm: bool, host_level: int, qemu: str | None) -> int:
    """The x86-64 level inside a VM; 0 where it is not known.

    kvm: the VM has the host's own processor (host-passthrough), else all that QEMU's emulation can
    do (maximum).
    """
    if kvm:
        return host_level
    version = _version(qemu)
    if version is None:
        return 0
    return 3 if version >= _WITH_AVX2 else 2


def x86_features(
    *, kvm: bool, host: frozenset[str] | None, qemu: str | None, model: str
) -> frozenset[str] | None:
    """Which of the instructions that no level includes (portkit.remote.linux, FEATURES) the
    processor of a VM has; None where it is not known. host: those of the host's processor. model:
    of libvirt's names; "" is the most that the host can give."""
    version = _version(qemu)
    emulated = None if version is None else _AES | ({"sha_ni"} if version >= _WITH_SHA else set())
    most = host if kvm else emulated
    if not model:
        return most
    if model in _WITHOUT_AES:
        return frozenset()
    named = _AES | ({"sha_ni"} if model.startswith(_SHA_MODELS) else set())
    return None if most is None else most & named


def _version(qemu: str | None) -> tuple[int, int] | None:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", qemu or "")
    return (int(found[1]), int(found[2])) if found else None
