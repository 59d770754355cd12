"""Namespaces and mounts that a program of a service makes for itself."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.calls import ADMIN
from portkit.compat.confined import is_filtered, under_apparmor
from portkit.compat.rule import Case, Found, UnknownFact, engine_of, linux_of
from portkit.compat.stated import value_in_guest
from portkit.model import Form, Severity
from portkit.model.run import security_option

_MOST = "user.max_user_namespaces"
_BY_USERS = "kernel.unprivileged_userns_clone"  # of Debian's kernels
_RESTRICTED = "kernel.apparmor_restrict_unprivileged_userns"  # of Ubuntu 23.10 and later
# Options of bwrap(1).
_OF_USERS = ("--unshare-user", "--unshare-all")
_OF_PROCESSES = ("--unshare-pid", "--unshare-all")
_PROC = "--proc"


def bubblewrap(case: Case) -> Iterator[Found]:
    """bubblewrap creates namespaces and mounts, which Docker's seccomp profile denies without
    CAP_SYS_ADMIN. As root it creates no user namespace unless it is told to, and then needs that
    capability everywhere; else it needs a kernel that lets users have one. In a process namespace
    of its own it cannot mount /proc where parts of the service's are masked."""
    found = case.needs.software_named("bubblewrap") if case.needs else None
    if found is None or case.spec.privileged:
        return
    argv = case.spec.argv if found.sure else ()
    for why, remedy, severity in _obstacles(case, argv):
        yield Found(
            f"the app cannot create its sandbox (bubblewrap): {why}",
            (found.path,),
            remedy,
            severity=severity if found.sure else None,
        )
        return


def _obstacles(case: Case, argv: tuple[str, ...]) -> Iterator[tuple[str, str, Severity]]:
    """What keeps it from its sandbox, how to change that, and how certain it is; the first counts.
    argv: of bubblewrap, where it is known."""
    admin = ADMIN in case.spec.capabilities
    as_root = case.spec.is_root and not set(argv) & set(_OF_USERS)
    if is_filtered(case) and not engine_of(case.facts).podman and not admin:
        why = "the engine's seccomp profile denies namespaces and mounts without CAP_SYS_ADMIN"
        yield why, "", Severity.ERROR
    if as_root and not admin:
        yield (
            "as root it needs CAP_SYS_ADMIN, which the service does not have",
            "Give the service the right to mount (cap_add: [SYS_ADMIN]), or run it as a user other "
            "than root.",
            Severity.ERROR,
        )
    if not as_root and (why := why_no_user_namespace(case)):
        remedy = "Allow user namespaces on the host, or in the compose file for a VM (sysctls)."
        yield why, remedy, Severity.ERROR
    if not as_root and _shows_proc(case, argv):
        yield (
            "parts of the service's /proc are masked, so no other one can be mounted",
            "Add security_opt: [systempaths=unconfined], or leave --unshare-pid out.",
            Severity.ERROR,
        )
    if not as_root and case.form is Form.IMAGE and linux_of(case.facts).number(_RESTRICTED) == 1:
        why = f"{_RESTRICTED} is 1, which takes the rights in a user namespace away"
        yield why, "Set it to 0 on the host, or set privileged: true.", Severity.UNKNOWN
    if under_apparmor(case):
        why = "the engine's profile of AppArmor denies mounts"
        yield why, "Add security_opt: [apparmor=unconfined].", Severity.UNKNOWN


def _shows_proc(case: Case, argv: tuple[str, ...]) -> bool:
    """Whether it mounts a /proc that shows more than the service's (Linux, fs/namespace.c,
    mount_too_revealing). In a process namespace that it shares, bubblewrap binds the old one. In a
    VM the guest's own /proc is there, in which nothing is masked."""
    told = dict(security_option(text) for text in case.spec.security_opt)
    masked = case.form is Form.IMAGE and told.get("systempaths") != "unconfined"
    return masked and _PROC in argv and bool(set(argv) & set(_OF_PROCESSES))


def why_no_user_namespace(case: Case) -> str:
    """Why no program of the service may make a user namespace; "" where nothing forbids it."""
    if case.form is Form.DISK:
        try:
            return f"{_MOST} is 0 in the VM" if value_in_guest(case, _MOST) == 0 else ""
        except UnknownFact:  # it is as large as the memory allows
            return ""
    linux = linux_of(case.facts)
    if linux.config.get("USER_NS") == "n":
        return "the host's kernel has no user namespaces"
    if linux.number(_MOST) == 0:
        return f"{_MOST} is 0 on the host"
    if linux.number(_BY_USERS) == 0 and not (case.spec.is_root and ADMIN in case.spec.capabilities):
        return f"{_BY_USERS} is 0 on the host"
    return ""
