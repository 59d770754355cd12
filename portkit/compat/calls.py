"""System calls that engines keep from containers, or kernels from programs without a capability.

Read in the profiles themselves (moby/profiles, seccomp/default.json; containers/common,
pkg/seccomp/seccomp.json) and tried with Docker 20.10 and Podman 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from portkit.compat.versions import Version

ADMIN = "CAP_SYS_ADMIN"


@dataclass(frozen=True)
class Call:
    """One system call.

    docker: the capabilities of which one makes Docker's profile allow it; None where the profile
    allows it to all, () to none. podman: as docker, of Podman's. kernel: those of which the kernel
    itself wants one, in what programs mostly do with it. docker_since: the Docker from which on a
    capability beside CAP_SYS_ADMIN counts. rare: hardly a server has it beside its own work, so
    that a program that has it most likely makes it.
    """

    name: str
    docker: tuple[str, ...] | None
    podman: tuple[str, ...] | None
    kernel: tuple[str, ...] = ()
    docker_since: Version = ()
    rare: bool = False


_NICE = ("CAP_SYS_NICE",)
TABLE = {
    call.name: call
    for call in (
        Call("userfaultfd", docker=(), podman=(), rare=True),
        Call(
            "perf_event_open",
            docker=(ADMIN, "CAP_PERFMON"),
            podman=("CAP_PERFMON",),
            docker_since=(23,),
            rare=True,
        ),
        Call(
            "bpf",
            docker=(ADMIN, "CAP_BPF"),
            podman=(ADMIN, "CAP_BPF"),
            docker_since=(23,),
        ),
        Call("keyctl", docker=(), podman=None, rare=True),
        Call("add_key", docker=(), podman=(), rare=True),
        Call("request_key", docker=(), podman=(), rare=True),
        Call("unshare", docker=(ADMIN,), podman=None),
        Call("setns", docker=(ADMIN,), podman=None, kernel=(ADMIN,)),
        Call("mount", docker=(ADMIN,), podman=None, kernel=(ADMIN,)),
        Call("pivot_root", docker=(), podman=None, kernel=(ADMIN,), rare=True),
        Call("quotactl", docker=(ADMIN,), podman=(ADMIN,)),
        Call("fanotify_init", docker=(ADMIN,), podman=None, kernel=(ADMIN,), rare=True),
        Call(
            "open_by_handle_at",
            docker=("CAP_DAC_READ_SEARCH",),
            podman=("CAP_DAC_READ_SEARCH",),
            kernel=("CAP_DAC_READ_SEARCH",),
        ),
        Call("mbind", docker=_NICE, podman=None),
        Call("set_mempolicy", docker=_NICE, podman=None),
        Call("get_mempolicy", docker=_NICE, podman=None),
        Call("move_pages", docker=(), podman=()),
        Call("migrate_pages", docker=(), podman=()),
    )
}
