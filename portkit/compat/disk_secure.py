"""What secure boot makes of a disk: who signed what starts it, one program after the other."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.disk import DiskCase
from portkit.compat.rule import Found
from portkit.guest_files import pe
from portkit.model import Severity
from portkit.model.disk import Boot, EfiLoader, Inside

SHIM = "shim"  # what portkit.guest_files.pe calls it
_SPARE = ("rescue", "kdump")
_MICROSOFT = "Microsoft"


def signature(case: DiskCase) -> Iterator[Found]:
    """With secure boot, a firmware starts only what is signed with a key that it trusts; otherwise
    it prints "Access Denied". A shim that it starts demands the same of the boot loader and of the
    kernel, for the keys in the shim."""
    if case.firmware is not Boot.UEFI_SECURE:
        return
    for each in case.disk.inside.loaders:
        if not case.is_default(each):
            continue
        if not each.signed_by:
            yield Found(
                f"secure boot rejects this disk's loader with Access Denied: {each.path} is not "
                "signed",
                (each.path,),
            )
        elif each.signed_by != _MICROSOFT:
            yield Found(
                f"secure boot starts {each.path} only if the key of its signer is enrolled",
                (each.path,),
                "Enroll the key, or use --firmware uefi.",
                Severity.UNKNOWN,
            )
        elif each.kind == SHIM:
            yield from _verified(each, "boot loader", second_stages(each, case.disk.inside))
            yield from _verified(each, "kernel", _kernels(case.disk.inside))


def second_stages(shim: EfiLoader, inside: Inside) -> list[EfiLoader]:
    """The loaders that a shim may start: those beside it or, where the fallback is there, those
    beside the shims of other folders."""
    wanted = pe.second_stages(shim.starts)
    beside = [each for each in inside.loaders if each.folder == shim.folder]
    found = [each for each in inside.loaders if each.name in wanted]
    if any(pe.is_fallback(each.name) for each in beside):
        return [each for each in found if each.folder != shim.folder] or found
    return [each for each in found if each.folder == shim.folder]


def _kernels(inside: Inside) -> list[EfiLoader]:
    """Those that a boot loader verifies: a unified kernel is a program of its own."""
    return [
        each
        for each in inside.programs
        if "/efi/linux/" not in each.path.lower() and not any(w in each.name for w in _SPARE)
    ]


def _verified(shim: EfiLoader, what: str, programs: list[EfiLoader]) -> Iterator[Found]:
    """What a shim says to those of which one is started."""
    unsigned = [each.path for each in programs if not each.signed_by]
    strange = [each for each in programs if each.signed_by and not _trusted(shim, each)]
    if unsigned and len(unsigned) == len(programs):
        yield Found(
            f"secure boot starts {shim.path}, which then rejects the {what}: {unsigned[0]} is not "
            "signed",
            tuple(unsigned[:8]),
            f"Use --firmware uefi, or install a signed {what} on the disk.",
        )
    elif unsigned:
        yield Found(
            f"secure boot rejects some of what {shim.path} may start: {unsigned[0]} is not signed",
            tuple(unsigned[:8]),
            f"Use --firmware uefi, or install a signed {what} on the disk.",
            Severity.UNKNOWN,
        )
    if strange:
        yield Found(
            f"secure boot starts the {what} {strange[0].path} only if its signer's key is enrolled "
            f"in the firmware: {shim.path} does not contain it",
            tuple(f"{each.path}: signed by {', '.join(each.names[:3])}" for each in strange[:8]),
            "Enroll the key, or use --firmware uefi.",
            Severity.UNKNOWN,
        )


def _trusted(shim: EfiLoader, program: EfiLoader) -> bool:
    """A shim accepts its own keys, and those of the firmware. One whose certificates could not be
    found in it is not doubted."""
    own = not shim.trusts or bool(set(shim.trusts) & set(program.names))
    return own or program.signed_by == _MICROSOFT
