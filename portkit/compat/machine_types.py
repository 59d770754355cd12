"""Which machine types a host's QEMU has, where its own list is not known, or only in part.

Sources: QEMU, include/hw/boards.h (MACHINE_VER_DELETION: after six years, from 10.1 on) and
docs/about/removed-features.rst; patches of distributions (pc-q35-rhel9.2.0, pc-i440fx-jammy).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from portkit.compat.rule import Found
from portkit.compat.versions import Version, dotted, version
from portkit.model import Severity

# The names of QEMU's own types, without the version, and their aliases for the newest one.
_ALIASES = {"pc-i440fx": "pc", "pc-q35": "q35", "virt": "virt"}
_OWN = re.compile(r"(pc-i440fx|pc-q35|virt)-([0-9]{1,3}\.[0-9]{1,3})(?:\.[0-9])?")
# The oldest versions that can be migrated to, which all QEMUs of today have or had.
_FIRST: dict[str, Version] = {"pc-i440fx": (1, 4), "pc-q35": (2, 4), "virt": (2, 6)}
_YEARS, _DELETES = 6, (10, 1)


def absent(wanted: str, has: Sequence[str], qemu: str | None) -> Iterator[Found]:
    """What there is to say of a machine type that is not in the list of a host.

    has: the list. One of aliases alone is not whole: of QEMU's own versions there are those up to
    its own. A name with a star stands for several, of which some are there.
    """
    kin = wanted.rstrip("0123456789.").rstrip("-")
    near = [name for name in has if kin and name.startswith(kin)]
    row = Found(
        f"QEMU {qemu or ''} on the host has no machine type {wanted}",
        (f"it has {', '.join((near or list(has))[:12])}",),
    )
    whole = any("-" in name for name in has)
    if any(fnmatchcase(wanted, name) for name in has if "*" in name):
        yield _unknown(
            f"QEMU on the host has types like {wanted}: which ones depends on its release"
        )
    elif whole:
        yield row
    elif (own := _OWN.fullmatch(wanted)) and _ALIASES[own[1]] in has:
        yield from _of_qemu(row, own[1], version(own[2]), version(qemu))
    elif any(wanted.startswith(f"{name}-") for name, alias in _ALIASES.items() if alias in has):
        yield _unknown(f"it is not known whether QEMU on the host has the machine type {wanted}")
    else:
        yield row


def _of_qemu(row: Found, name: str, wanted: Version, qemu: Version) -> Iterator[Found]:
    """A type with QEMU's own version: each release brings one, and keeps those of six years."""
    if not qemu:
        yield _unknown(
            f"the version of QEMU on the host is not known, which has {name} up to its own"
        )
    elif wanted > qemu[:2]:
        yield Found(row.message, (f"QEMU {dotted(qemu)} has {name} up to {dotted(qemu[:2])}",))
    elif wanted < _FIRST[name] or (wanted[0] + _YEARS, wanted[1]) <= qemu[:2]:
        why = f"QEMU drops machine types {_YEARS} years after their release"
        gone = qemu >= _DELETES
        yield (
            Found(row.message, (why,))
            if gone
            else _unknown(f"QEMU {dotted(qemu)} may have dropped {name}-{dotted(wanted)}", why)
        )


def _unknown(message: str, *evidence: str) -> Found:
    return Found(message, evidence, severity=Severity.UNKNOWN)
