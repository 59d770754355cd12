"""Which distribution it is, and what it is compiled for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portkit.needs import instructions
from portkit.needs.linked import numbers

# The x86-64 level that a distribution is compiled for, by the major version of its release. Red
# Hat's release notes of 9 ("x86-64-v2") and 10 ("x86-64-v3"), which those that are built of its
# sources follow; Amazon Linux 2023, "System requirements"; openSUSE Leap 16.0 and SLES 16.0,
# release notes ("x86-64-v2"). AlmaLinux 10 is there for both levels: its loader tells which.
_OF_RED_HAT = ("rhel", "centos", "rocky", "ol", "cloudlinux", "eurolinux")
_BUILT_FOR = {
    **{(name, 9): 2 for name in (*_OF_RED_HAT, "almalinux")},
    **{(name, 10): 3 for name in _OF_RED_HAT},
    ("almalinux", 10): 2,
    ("amzn", 2023): 2,
    ("opensuse-leap", 16): 2,
    ("sles", 16): 2,
    ("sles_sap", 16): 2,
}


def os_release(text: str) -> dict[str, str]:
    """os-release(5): values without their quotes; lines that are none are left out."""
    pairs = (line.partition("=") for line in text.splitlines()[:1000] if "=" in line)
    return {key.strip(): value.strip().strip("\"'")[:200] for key, _, value in pairs}


def name_of(release: Mapping[str, str]) -> str:
    """Such as "debian 12"."""
    return " ".join(filter(None, (release.get("ID"), release.get("VERSION_ID"))))


def level_of(release: Mapping[str, str]) -> tuple[int, str]:
    """The x86-64 level that all of it is compiled for, and what says so; 0 where that is not
    known, or is the baseline."""
    major = numbers(release.get("VERSION_ID", ""))[:1]
    known = _BUILT_FOR.get((release.get("ID", ""), major[0])) if major else None
    if not known:
        return 0, ""
    told = f"{release['ID']} {release['VERSION_ID']}"
    return known, f"/etc/os-release: {told} is built for x86-64-v{known}"


def checked_level(code: Sequence[bytes]) -> int:
    """The x86-64 level of a glibc whose loader checks the processor. code: of the loader: the text
    is the same for every level, and it is compiled for its own."""
    found = instructions.of(*code)
    return 2 if not found.through else 4 if "avx512f" in found.avx else 3
