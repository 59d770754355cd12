"""System calls that an engine's seccomp profile, or the kernel itself, refuses to a service."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from portkit.compat import calls
from portkit.compat.confined import is_filtered
from portkit.compat.namespaces import why_no_user_namespace
from portkit.compat.rule import Case, Found, UnknownFact, engine_name, engine_of, linux_of
from portkit.compat.stated import value_in_guest
from portkit.compat.versions import Version, dotted, version
from portkit.model import Form, Needs, Severity

# The first Docker whose profile answers ENOSYS to clone3 (release notes of 20.10.10).
_CLONE3 = (20, 10, 10)
_OF_DOCKER = "Docker Engine"  # what the platform of Docker's own packages begins with
# The first Docker whose profile has io_uring, and the first that leaves it out (moby#46762).
_IO_URING, _WITHOUT_IO_URING = (20, 10), (25,)
_IO_URING_KERNEL = (5, 1)
# The first Docker, and the first libseccomp, that know these calls.
_FACCESSAT2 = ((20, 10), (2, 4, 4))
_TIME64 = ((19, 3, 9), (2, 4, 2))
_IO_URING_LIBRARY = (2, 5)
# The first of each C library that makes them: musl 1.2.2 with Alpine 3.14, glibc 2.31 for 32 bits.
_BY_FACCESSAT2 = {"glibc": (2, 33), "musl": (1, 2, 2)}
_BY_TIME64 = {"glibc": (2, 31), "musl": (1, 2)}
_CANDIDATE = re.compile(r"[-~]rc\.?([0-9]{1,4})")  # "~" is Debian's
# What answers ENOSYS to calls that a profile does not name: runc by itself, or where the profile
# says so (defaultErrnoRet). Podman 3.3 is the first with such a profile, and with clone3 in it
# (containers/common#573).
_RUNC_ENOSYS, _RUNC_ERRNO, _CRUN_ERRNO, _PODMAN_ERRNO = 93, 95, (0, 19), (3, 3)
# The setting that decides on a call, the values with which everybody may make it, and the
# capabilities with which others do not matter. Of userfaultfd a part works with 0, too.
_SETTINGS = {
    "perf_event_open": ("kernel.perf_event_paranoid", range(-1, 3), ("CAP_PERFMON", calls.ADMIN)),
    "bpf": ("kernel.unprivileged_bpf_disabled", range(1), ("CAP_BPF", calls.ADMIN)),
    "userfaultfd": ("vm.unprivileged_userfaultfd", range(1, 2), ("CAP_SYS_PTRACE",)),
}
# Calls of Linux 6.10 and later, which none of these profiles knows.
_NEW = ("mseal",)


def clone3(case: Case) -> Iterator[Found]:
    """glibc 2.34 creates threads with clone3, which an old engine's seccomp profile denies with
    EPERM: a program with threads ends. There is no finding for a program that uses no function that
    creates any. A static program counts if its own code has the call."""
    needs = case.needs
    if needs is None or not (by := _by_clone3(needs)):
        return
    engine, own = version(case.facts.docker_version), engine_of(case.facts)
    first = _PODMAN_ERRNO if own.podman else _CLONE3
    if not () < engine < first or not is_filtered(case):
        return
    evidence = (by, f"{case.facts.host}: {engine_name(case.facts)}")
    perhaps = "" if needs.threads else ", if it starts any"
    if own.platform.startswith(_OF_DOCKER):
        yield Found(
            f"threads of this image fail with EPERM under the engine's seccomp profile{perhaps}",
            (*evidence, f"{case.facts.host}: {own.platform}"),
            severity=Severity.ERROR if needs.threads else None,
        )
    else:
        yield Found(
            f"threads of this image{perhaps} fail with EPERM under the engine's seccomp profile, "
            f"if its distribution has not put the fix of {dotted(first)} into it",
            evidence,
        )


def _by_clone3(needs: Needs) -> str:
    """What shows that threads of the start are made with clone3; "" where nothing does. A static
    program of such a glibc has the call in its own code."""
    if needs.libc == "glibc" and needs.libc_version >= (2, 34) and needs.threads is not False:
        return f"the image: glibc {dotted(needs.libc_version)}"
    own = next((each for each in needs.calls if each.name == "clone3"), None)
    return f"{own.path}: its code calls clone3" if own else ""


def faccessat2(case: Case) -> Iterator[Found]:
    """glibc 2.33 and musl 1.2.2 use faccessat2 to find out whether a file is executable. An old
    engine or libseccomp does not know it, and with a runc before 1.0.0-rc93 the result is EPERM, so
    `test -x` is wrong."""
    if _old(case, _BY_FACCESSAT2, *_FACCESSAT2):
        yield _old_seccomp(
            case,
            "programs get wrong answers when they ask whether a file may be executed (faccessat2)",
        )


def time64(case: Case) -> Iterator[Found]:
    """musl 1.2 and glibc 2.31 use 64-bit times even in 32-bit programs, with system calls that an
    old engine or libseccomp does not know. With a runc before 1.0.0-rc93 they are denied: dates are
    wrong. 64-bit programs do not use these calls."""
    binaries = case.needs.binaries if case.needs else ()
    if any(each.bits == 32 and each.sure for each in binaries) and _old(case, _BY_TIME64, *_TIME64):
        yield _old_seccomp(
            case, "dates are wrong, because 64-bit time calls of 32-bit programs are blocked"
        )


def _old(case: Case, makes: Mapping[str, Version], engine: Version, library: Version) -> bool:
    """Whether the image's C library makes calls that only these versions, or later ones, know, and
    the engine denies others with EPERM. makes: the first version of each C library that does."""
    needs = case.needs
    first = makes.get(needs.libc) if needs is not None else None
    if needs is None or first is None or needs.libc_version < first or not is_filtered(case):
        return False
    has, own = version(engine_of(case.facts).libseccomp), engine_of(case.facts)
    docker = () if own.podman else version(case.facts.docker_version)
    unknown = () < has < library or () < docker < engine
    return unknown and answers_enosys(case) is not True


def _old_seccomp(case: Case, what: str) -> Found:
    needs, own, host = case.needs, engine_of(case.facts), case.facts.host
    assert needs is not None
    runc = f", runc {own.runc}" if own.runc else ""
    return Found(
        what,
        (
            f"the image: {needs.libc} {dotted(needs.libc_version)}",
            f"{host}: {engine_name(case.facts)}, libseccomp {own.libseccomp or 'not known'}{runc}",
        ),
    )


def answers_enosys(case: Case) -> bool | None:
    """Whether a call that the engine's profile does not name ends with ENOSYS, as one that the
    kernel does not have, and not with EPERM; None where nobody knows."""
    own, engine = engine_of(case.facts), version(case.facts.docker_version)
    if not own.podman:
        return _is_from(own.runc, _RUNC_ENOSYS)
    if () < engine < _PODMAN_ERRNO:
        return False
    if crun := version(own.crun):
        return crun >= _CRUN_ERRNO
    return _is_from(own.runc, _RUNC_ERRNO)


def _is_from(runc: str, candidate: int) -> bool | None:
    """Whether a runc is this candidate of 1.0.0 or a later one; numbers alone do not tell
    candidates apart."""
    has, match = version(runc), _CANDIDATE.search(runc)
    if not has:
        return None
    if has != (1, 0, 0):
        return has > (1, 0, 0)
    return match is None or int(match[1]) >= candidate


def unknown_calls(case: Case) -> Iterator[Found]:
    """An old runc or crun returns EPERM, and not ENOSYS, for system calls that its libseccomp or
    the engine's profile does not know: programs that could do without a new call end."""
    if answers_enosys(case) is not False or not is_filtered(case):
        return
    own, host = engine_of(case.facts), case.facts.host
    runtime = f"crun {own.crun}" if own.crun else f"runc {own.runc}" if own.runc else ""
    evidence = f"{host}: {', '.join(filter(None, (engine_name(case.facts), runtime)))}"
    new = [each for each in (case.needs.calls if case.needs else ()) if each.name in _NEW]
    for each in new:
        yield Found(
            f"{each.path} has the new system call {each.name}, which fails with EPERM in "
            "containers there, where programs expect ENOSYS",
            (each.path, evidence),
            severity=Severity.UNKNOWN,
        )
    if not new:
        yield Found(
            "new system calls fail with EPERM in containers, where programs expect ENOSYS",
            (evidence,),
        )


def io_uring(case: Case) -> Iterator[Found]:
    """A program with liburing: the engine's seccomp profile, or the kernel, may not allow it."""
    needs = case.needs
    found = needs.software_named("io_uring") if needs else None
    paths = [found.path] if found else []
    paths += [each.path for each in (needs.calls if needs else ()) if each.name == "io_uring_setup"]
    if not paths or case.form is Form.DISK:
        return
    if why := _io_uring_off(case) or _io_uring_denied(case):
        told = (
            paths[0],
            f"{case.facts.host}: {engine_name(case.facts)}, Linux {case.facts.kernel}",
        )
        yield Found(why, told)


def _io_uring_off(case: Case) -> str:
    """Why the kernel has no io_uring for the service; "" where it may have."""
    linux = linux_of(case.facts)
    off = linux.number("kernel.io_uring_disabled")
    admin = case.spec.privileged or (case.spec.is_root and _any(case, (calls.ADMIN,)))
    if () < version(case.facts.kernel) < _IO_URING_KERNEL or linux.config.get("IO_URING") == "n":
        return "the host's kernel has no io_uring"
    if off == 2 or (off == 1 and not admin):
        who = "" if off == 2 else " for a service without CAP_SYS_ADMIN"
        return f"io_uring is switched off{who}: kernel.io_uring_disabled is {off}"
    return ""


def _io_uring_denied(case: Case) -> str:
    """How the engine's profile denies io_uring; "" where it does not."""
    engine, own = version(case.facts.docker_version), engine_of(case.facts)
    if not engine or not is_filtered(case):
        return ""
    allowed = _IO_URING <= engine < _WITHOUT_IO_URING and not own.podman
    if allowed and not () < version(own.libseccomp) < _IO_URING_LIBRARY:
        return ""
    # Docker's runc answers ENOSYS only to numbers above all that the profile has.
    with_ = "ENOSYS" if own.podman and answers_enosys(case) is not False else "EPERM"
    return f"the engine's seccomp profile blocks io_uring with {with_}"


def refused(case: Case) -> Iterator[Found]:
    """The engine's seccomp profile denies many system calls to a service without the capability for
    them, and some to every service; others the kernel denies. Of a small program that has such a
    call one may expect that it makes it."""
    found: dict[tuple[str, str, Severity], list[str]] = {}
    for each in case.needs.calls if case.needs else ():
        call = calls.TABLE.get(each.name)
        why = _why_refused(case, call) if call else ""
        if call is not None and why:
            much = Severity.WARNING if call.rare else Severity.INFO
            severity = Severity.UNKNOWN if each.sure else much
            found.setdefault((each.path, why, severity), []).append(each.name)
    for (path, why, severity), names in found.items():
        told = ", ".join(names)
        yield Found(f"{path} may call {told}: {why}", (f"{path}: {told}",), severity=severity)


def _why_refused(case: Case, call: calls.Call) -> str:
    """Why a service may not make this call; "" where it may."""
    if case.spec.privileged:
        return ""
    own = engine_of(case.facts)
    of_profile = call.podman if own.podman else call.docker
    if of_profile and version(case.facts.docker_version) < call.docker_since and not own.podman:
        of_profile = (calls.ADMIN,)
    if is_filtered(case) and of_profile is not None and not _any(case, of_profile):
        unlocks = f" without {' or '.join(of_profile)}" if of_profile else ""
        return f"the engine's seccomp profile denies it{unlocks}"
    if call.kernel and not (_any(case, call.kernel) and case.spec.is_root):
        return f"the kernel allows it only with {' or '.join(call.kernel)}, as root"
    if call.name == "unshare" and not (_any(case, (calls.ADMIN,)) and case.spec.is_root):
        return why_no_user_namespace(case)
    return _by_setting(case, call.name)


def _by_setting(case: Case, name: str) -> str:
    """Which setting of the kernel refuses a call to a service without its capability."""
    setting, allows, capabilities = _SETTINGS.get(name, ("", range(0), ()))
    if not setting or (_any(case, capabilities) and case.spec.is_root):
        return ""
    has = _number(case, setting)
    return f"{setting} is {has}" if has is not None and has not in allows else ""


def _number(case: Case, setting: str) -> int | None:
    if case.form is Form.IMAGE:
        return linux_of(case.facts).number(setting)
    try:
        return value_in_guest(case, setting)
    except UnknownFact:
        return None


def _any(case: Case, names: tuple[str, ...]) -> bool:
    return any(name in case.spec.capabilities for name in names)
