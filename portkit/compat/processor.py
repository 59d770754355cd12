"""What the programs of an image need of an x86-64 processor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portkit.compat.programs import PERHAPS_RUN
from portkit.compat.rule import Case, Found, UnknownFact, linux_of
from portkit.engines import cpu_models
from portkit.engines.virtual_cpu import x86_features, x86_level
from portkit.model import Binary, Form, Severity, virtualises

_OF_LEVELS = frozenset(name for level in cpu_models.LEVELS for name in level)
# Facts of before, and of documents, name no other flags.
_ALWAYS_TOLD = frozenset(("aes", "pclmulqdq", "sha_ni"))
_NAMES = {
    "abm": "LZCNT",
    "avx512f": "AVX-512",
    "fsgsbase": "RDFSBASE",
    "pni": "SSE3",
    "sha_ni": "SHA",
}
_HIGHER = (
    "Use a host or a processor model with that level, or an image that is built for a lower one."
)
_NO_KVM = (
    "Use a host with working KVM, move the image instead of the disk, or build it for a lower "
    "level."
)
_MOST = 10  # files that are named as evidence
# Of an image for amd64: the x86-64 level that whoever built it states (Go, GOAMD64).
_VARIANT = re.compile("v([2-4])")


def level(case: Case) -> Iterator[Found]:
    """Code for a later level of x86-64 than the processor has: the loader refuses it, or it ends
    with SIGILL. Of code whose level nothing states, the instructions count."""
    if case.image.architecture != "amd64":
        return
    if case.form is Form.DISK and _without_long_mode(case.app.machine.cpu_model):
        yield Found(
            "the VM's processor has no 64-bit mode, which the kernel of the disk needs",
            _processor(case),
            "Name a processor model for 64 bits (qemu64 or a later one), or leave cpu_model out.",
        )
        return
    asks, perhaps = _levels(case)
    has = _level(case) if asks or perhaps else 0
    if asks and not has:
        raise UnknownFact("the x86-64 level of its processor")
    if max(asks, default=0) > has:
        wanted = max(asks)
        yield Found(
            f"the image needs x86-64-v{wanted}, and {_where(case)} has v{has}",
            (asks[wanted], *_processor(case)),
            _remedy(case),
        )
        return
    found = list(_instructions(case, of_levels=True))
    yield from found
    if has and not found and max(perhaps, default=0) > has:
        wanted = max(perhaps)
        yield Found(
            f"the image may need x86-64-v{wanted}, and {_where(case)} has v{has}",
            (perhaps[wanted], *_processor(case)),
            "Ask whoever built the program, or try it there.",
            Severity.UNKNOWN,
        )


def features(case: Case) -> Iterator[Found]:
    """Code with instructions that no level includes, such as those for AES and SHA: where the
    processor lacks them, the program ends with SIGILL."""
    if case.image.architecture == "amd64":
        yield from _instructions(case, of_levels=False)


def _without_long_mode(model: str) -> bool:
    flags = cpu_models.of_model(model) if model else None
    return flags is not None and cpu_models.LONG_MODE not in flags


@dataclass(frozen=True)
class _Flags:
    """has: those that the processor has for certain. lacks: which of the others it lacks for
    certain; None is all of them."""

    has: frozenset[str]
    lacks: frozenset[str] | None

    def missing(self, wanted: frozenset[str]) -> frozenset[str]:
        """Those of the wanted flags that the processor does not have for certain."""
        left = wanted - self.has
        return left if self.lacks is None else left & self.lacks

    def unknown(self, wanted: frozenset[str]) -> frozenset[str]:
        return wanted - self.has - self.missing(wanted)


def _instructions(case: Case, *, of_levels: bool) -> Iterator[Found]:
    """What is missing of the instructions in programs and libraries: those of some level, or the
    others."""
    binaries = case.needs.binaries if case.needs else ()
    if not any(_of((*each.features, *each.perhaps_features), of_levels) for each in binaries):
        return
    flags = _flags(case)
    certain: dict[str, frozenset[str]] = {}
    perhaps: dict[str, frozenset[str]] = {}
    unknown = False
    for each in binaries:
        runs, chooses = _of(each.features, of_levels), _of(each.perhaps_features, of_levels)
        if each.sure and (missing := flags.missing(runs)):
            certain[each.path] = missing
        if missing := flags.missing(chooses if each.sure else runs | chooses):
            perhaps[each.path] = missing
        unknown = unknown or (each.sure and bool(flags.unknown(runs)))
    if certain:
        yield _lacking(case, certain, of_levels=of_levels)
    elif unknown:
        raise UnknownFact("the instructions that its processor has")
    elif perhaps:
        yield _lacking(case, perhaps, of_levels=of_levels, perhaps=True)


def _of(names: tuple[str, ...], of_levels: bool) -> frozenset[str]:
    return frozenset(name for name in names if (name in _OF_LEVELS) is of_levels)


def _lacking(
    case: Case, files: Mapping[str, frozenset[str]], *, of_levels: bool, perhaps: bool = False
) -> Found:
    flags = sorted({flag for missing in files.values() for flag in missing})
    first = next(iter(files))
    others = f" and {len(files) - 1} more" if len(files) > 1 else ""
    verb = "have" if others else "has"
    rows = [f"{path}: its code ({_named(missing)})" for path, missing in files.items()]
    doubt = ", and may not run them" if perhaps else ""
    return Found(
        f"{first}{others} {verb} instructions ({_named(flags)}) that {_where(case)} does not "
        f"have{doubt}",
        (*rows[:_MOST], *_processor(case)),
        "Ask whoever built the program, or try it there."
        if perhaps
        else (_remedy(case) if of_levels else ""),
        Severity.UNKNOWN if perhaps else None,
    )


def _named(flags: frozenset[str] | list[str]) -> str:
    names = (_NAMES.get(each, each.upper().replace("_", ".")) for each in sorted(flags))
    return ", ".join(names)


def _flags(case: Case) -> _Flags:
    """What is known of the processor that would run the programs."""
    linux = linux_of(case.facts)
    own = None if linux.cpu_features is None else frozenset(linux.cpu_features)
    whole = own is None or cpu_models.LONG_MODE in own
    host = own if whole else None
    if case.form is Form.DISK:
        kvm, model = virtualises(case.facts, case.image.architecture), case.app.machine.cpu_model
        got = x86_features(kvm=kvm, host=host, qemu=case.facts.qemu_version, model=model)
        if got is not None or not kvm or model:
            return _Flags(got or frozenset(), frozenset() if got is None else None)
    elif host is not None:
        return _Flags(host, None)
    # Only the level is known, and a few flags.
    implied = frozenset(
        name for names in cpu_models.LEVELS[: max(linux.cpu_level - 1, 0)] for name in names
    )
    return _Flags(implied | (own or frozenset()), frozenset() if own is None else _ALWAYS_TOLD)


def _levels(case: Case) -> tuple[dict[int, str], dict[int, str]]:
    """The levels that the image states to ask for, and those that only programs ask for that may
    not be run; each with what states it."""
    asks: dict[int, str] = {}
    perhaps: dict[int, str] = {}
    for each in case.needs.binaries if case.needs else ():
        if each.level:
            (asks if each.sure else perhaps).setdefault(each.level, _stated(each))
    if case.needs is not None and case.needs.built_level:
        asks.setdefault(case.needs.built_level, case.needs.built_by)
    image = case.image
    if image.architecture == "amd64" and (match := _VARIANT.fullmatch(image.variant)):
        asks.setdefault(int(match[1]), f"the image's configuration: variant {image.variant}")
    if stated := case.spec.stated.cpu_level:
        asks.setdefault(stated, f"x-portkit.needs.cpu: x86-64-v{stated}")
    return asks, perhaps


def _stated(file: Binary) -> str:
    why = f"{file.path}: it states that it is for x86-64-v{file.level}"
    return why if file.sure else f"{why}; {PERHAPS_RUN}"


def _level(case: Case) -> int:
    host = linux_of(case.facts).cpu_level
    if case.form is Form.IMAGE:
        return host
    kvm, model = virtualises(case.facts, case.image.architecture), case.app.machine.cpu_model
    most = x86_level(kvm=kvm, host_level=host, qemu=case.facts.qemu_version)
    named = cpu_models.of_model(model) if model else None
    # Of a model of which this machine has less, nothing is started: rule `cpu-model`.
    if named is not None:
        return min(most, cpu_models.level(named))
    return 0 if model else most


def _where(case: Case) -> str:
    return "the VM's processor" if case.form is Form.DISK else "the host's processor"


def _remedy(case: Case) -> str:
    able = case.form is Form.IMAGE or virtualises(case.facts, case.image.architecture)
    return _HIGHER if able else _NO_KVM


def _processor(case: Case) -> tuple[str, ...]:
    if case.form is Form.DISK and case.app.machine.cpu_model:
        return (f"x-portkit.cpu_model: {case.app.machine.cpu_model}",)
    if case.form is Form.DISK and not virtualises(case.facts, case.image.architecture):
        return (f"{case.facts.host}: QEMU {case.facts.qemu_version} emulates the processor",)
    return (f"{case.facts.host}: /proc/cpuinfo, {linux_of(case.facts).cpu_model}",)
