"""What is in an image against the engine and the kernel that would run it as a container, and
against the guest's kernel."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.lacks import OF_A_DRIVER
from portkit.compat.rule import Case, Found, UnknownFact, engine_of, linux_of
from portkit.compat.versions import Version, dotted, version
from portkit.model import Form, Lack, Severity, Software

_MAPS = 262144  # vm.max_map_count that the servers check for
_GUEST_MAPS = 65530  # DEFAULT_MAX_MAP_COUNT of Linux: nothing in the guest raises it
_MANY_FILES = 1 << 20  # a limit above which a loop over all descriptors is felt
# The first of each release of Java that reads cgroup v2: 15, and what it was taken back to.
_JAVA_V2 = {8: (8, 0, 372), 11: (11, 0, 16)}
_JAVA_ALL = 15


def cgroup_of(case: Case) -> int:
    """The version of the host's cgroups."""
    has = engine_of(case.facts).cgroup or linux_of(case.facts).cgroup
    if not has:
        raise UnknownFact("the version of its cgroups")
    return has


def java(case: Case) -> Iterator[Found]:
    """A Java that reads only cgroup v1 assumes that it has all of the host's memory: it is killed
    at its limit."""
    found = _software(case, "java")
    if found is None or (has := _java_version(found.version)) >= (_JAVA_ALL,):
        return
    knows = has >= _JAVA_V2.get(has[0] if has else 0, (_JAVA_ALL,))
    if knows or case.form is Form.DISK or case.spec.mem_limit_bytes is None:
        return
    if cgroup_of(case) == 2:
        yield Found(
            f"Java {found.version} does not see the memory limit of a cgroup v2",
            (f"{found.path}: Java {found.version}", f"{case.facts.host}: cgroup v2"),
        )


def cgroup_files(case: Case) -> Iterator[Found]:
    """A program that reads its memory limit from the files of cgroup v1 alone does not see it with
    v2: it assumes that it has all of the host's memory."""
    found = _software(case, "cgroup-v1")
    java_ = _software(case, "java")  # that has a rule of its own
    if found is None or java_ or case.spec.mem_limit_bytes is None:
        return
    if cgroup_of(case) == 2:
        yield Found(
            f"{found.path} looks for its memory limit only in files of cgroup v1",
            (f"{found.path}: memory.limit_in_bytes", f"{case.facts.host}: cgroup v2"),
        )


def _java_version(text: str) -> Version:
    """(8, 0, 372) of 1.8.0_372, (11, 0, 16) of 11.0.16."""
    numbers = version(text.replace("_", "."))
    return numbers[1:] if numbers[:1] == (1,) else numbers


def maps(case: Case) -> Iterator[Found]:
    """A server that checks vm.max_map_count before it starts, as Elasticsearch does."""
    found = _software(case, "many-maps")
    if found is None:
        return
    has = _GUEST_MAPS if case.form is Form.DISK else linux_of(case.facts).number("vm.max_map_count")
    has = _asked(case, "vm.max_map_count", has)
    if has is None:
        raise UnknownFact("vm.max_map_count")
    if has < _MAPS:
        perhaps = "" if found.sure else "unless it runs as a single node, "
        yield Found(
            f"{perhaps}the app refuses to start, because vm.max_map_count is {has} and it needs "
            f"{_MAPS}",
            (found.path, f"vm.max_map_count = {has}"),
            ""
            if case.form is Form.IMAGE
            else (
                "If the app needs this, say so in the compose "
                f"file: sysctls: {{vm.max_map_count: {_MAPS}}}."
            ),
            None if found.sure else Severity.WARNING,
        )


def _asked(case: Case, name: str, otherwise: int | None) -> int | None:
    """In a VM a sysctl of the compose file is the machine's own."""
    told = case.spec.sysctls.get(name, "")
    return int(told) if case.form is Form.DISK and told.isdecimal() else otherwise


def descriptors(case: Case) -> Iterator[Found]:
    """Programs that loop over every descriptor up to the limit need gigabytes, or an hour, if the
    limit is a billion."""
    found, limit = _software(case, "all-descriptors"), case.spec.ulimits.get("nofile")
    if found is None or limit is None:
        return
    if limit.soft < 0 or limit.soft >= _MANY_FILES:
        yield Found(
            f"the app may open {limit.soft} files, and it contains software that loops over all "
            "of them",
            (found.path, f"ulimits.nofile: {limit.soft}"),
        )


def fuse(case: Case) -> Iterator[Found]:
    """A program with libfuse opens /dev/fuse and mounts file systems."""
    found = _software(case, "fuse")
    given = any(each.source == "/dev/fuse" for each in case.spec.devices)
    if found is not None and not given and not case.spec.privileged:
        yield Found("the app may need /dev/fuse, which it is not given", (found.path,))


def gpu(case: Case) -> Iterator[Found]:
    """An image for NVIDIA's container runtime: without it the driver's libraries are missing, and a
    program that is linked to one of them does not start."""
    found = _software(case, "nvidia")
    runtimes = engine_of(case.facts).runtimes
    absent = case.form is Form.DISK or (runtimes is not None and "nvidia" not in runtimes)
    for row in case.needs.missing if case.needs else ():
        if row.what is Lack.LIBRARY and row.name.startswith(OF_A_DRIVER):
            yield Found(
                f"{row.by} needs {row.name}, which is not in the image: NVIDIA's container "
                "runtime adds it on hosts that have one",
                (f"{row.by}: {row.name}",),
                severity=Severity.ERROR if absent and row.sure else Severity.UNKNOWN,
            )
    if found is None:
        return
    if case.form is Form.DISK:
        yield Found("the VM has no GPU", (found.path,))
    elif runtimes is None or engine_of(case.facts).podman:  # which has such devices by CDI
        raise UnknownFact("whether it has NVIDIA's container runtime")
    elif "nvidia" not in runtimes:
        yield Found(
            "the engine does not have NVIDIA's container runtime",
            (f"runtimes: {', '.join(runtimes)}",),
        )


def vsyscall(case: Case) -> Iterator[Found]:
    """Programs for x86-64 of a glibc before 2.14 call the kernel at a fixed address; if it is not
    mapped, they end with SIGSEGV, exit code 139."""
    needs = case.needs
    if needs is None or linux_of(case.facts).vsyscall is not False:
        return
    for_x86 = any(each.machine == "amd64" for each in needs.binaries)
    old = for_x86 and needs.libc == "glibc" and () < needs.libc_version < (2, 14)
    static = needs.software_named("vsyscall")
    if old or static:
        why = f"the image: glibc {dotted(needs.libc_version)}" if old else ""
        why = why or f"{static.path if static else ''}: its code calls the fixed address"
        yield Found(
            "programs of this image crash with SIGSEGV, because the kernel does not map a "
            "vsyscall page" + ("" if old else ", where they ask for the time"),
            (why, "/proc/self/maps: no [vsyscall]"),
            severity=None if old else Severity.UNKNOWN,
        )


def attestations(case: Case) -> Iterator[Found]:
    """The index of an image has attestations (provenance, SBOM). portkit sends the image that runs,
    and no index; Docker's classic image store (overlay2) could not keep one, because it has one
    manifest for each image."""
    count, has = case.image.attestations, case.facts.docker_store
    if count:
        why = "portkit sends only the image"
        if has and has != "containerd":
            why = f"the image store of {case.facts.host} ({has}) holds one manifest for each image"
        evidence = f"the image's index: {count} of type attestation-manifest"
        yield Found(f"the image's attestations are not moved: {why}", (evidence,))


def d_type(case: Case) -> Iterator[Found]:
    """overlay2 does not work correctly on a file system without d_type, such as XFS with ftype=0.
    An engine that answers runs nevertheless: with another driver, or an old one that only warns."""
    if engine_of(case.facts).d_type is False:
        yield Found(
            "the engine's file system does not support d_type", (f"{case.facts.host}: docker info",)
        )


def _software(case: Case, name: str) -> Software | None:
    return case.needs.software_named(name) if case.needs else None
