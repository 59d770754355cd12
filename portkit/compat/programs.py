"""The machine that the programs of an image are for: architecture, processor, kernel.

What a script or a wrapper may run is only said to be unknown, as nobody can tell without a trial.
"""

from __future__ import annotations

from collections.abc import Iterator

from portkit.architecture import TABLE
from portkit.compat.rule import Case, Found, linux_of
from portkit.compat.versions import dotted, version
from portkit.model import Binary, Facts, Form, Needs, Role, Severity
from portkit.model.needs import Release

# Machines whose programs a processor of another one runs by itself, if its kernel was built so.
_ALSO: dict[str, tuple[str, ...]] = {"amd64": ("386",), "arm64": ("arm",)}
_YES, _NO, _UNKNOWN = "yes", "no", "unknown"
_WITHOUT_CHECK = (2, 36)  # of glibc
_LEAST_PAGE_BYTES = 4096  # of any machine; nothing in a file says for which jemalloc was built
PERHAPS_RUN = "a script or another program may run it"


def windows(case: Case) -> Iterator[Found]:
    """An image for another operating system than Linux: its programs do not run on Linux."""
    if case.image.os != "linux":
        yield Found(
            f"the image is for {case.image.os}, and portkit runs only Linux images",
            (f"the image's configuration: os is {case.image.os}",),
        )


def architecture(case: Case) -> Iterator[Found]:
    """The image must be for the architecture of the host, or the host must be able to run it.
    Engines only warn of what the image says; the kernel looks at the programs."""
    wanted, has = case.image.architecture, case.facts.architecture
    helped = _helped(case.facts, wanted)
    sure = {each.machine for each in _programs(case) if each.sure}
    tried = linux_of(case.facts).runs.get(wanted, "")
    # Many processors for 64-bit ARM run no 32-bit programs any more (Arm, AArch32 at EL0).
    if (wanted, has, helped) == ("arm", "arm64", "native") and tried != _YES and sure != {has}:
        yield Found(
            "it is not known whether the host's processor runs programs for 32-bit ARM",
            (f"{case.facts.host}: {has}",),
            "Try it there with --prove, or use an image for arm64.",
            Severity.UNKNOWN,
        )
    if wanted == has or helped:
        return
    if sure == {has}:
        yield Found(
            f"the image says that it is for {wanted}, but its programs are for {has}",
            (f"the image's configuration: architecture is {wanted}",),
            f"Correct its platform: docker build --platform linux/{has}.",
            Severity.WARNING,
        )
        return
    own = [each for each in linux_of(case.facts).binfmt or () if each.architecture == wanted]
    install = (
        "apt-get install qemu-user-binfmt (qemu-user-static before Debian 13), or "
        f"docker run --privileged --rm tonistiigi/binfmt --install {wanted}"
    )
    why, remedy = "", f"Build the image for {has}, or let the host emulate it: {install}."
    if own and not any(each.fixed for each in own):
        why = (
            ", and its handler for such programs lacks flag F, so it does not work inside "
            "containers"
        )
        remedy = f"Register the handler with flag F: {install}."
    elif own:
        tried = linux_of(case.facts).runs.get(wanted, "")
        why = f", and its handler for such programs does not work: {tried}"
        remedy = f"Reinstall the emulator: {install}."
    yield Found(
        f"the image is for {wanted}, the host is {has}{why}",
        (f"{case.facts.host}: {has}", *_handlers(case.facts, wanted, case.form)),
        remedy,
    )


def emulated(case: Case) -> Iterator[Found]:
    """A handler of binfmt_misc runs the programs of another machine in software, as QEMU does with
    the whole VM of a disk."""
    if case.form is Form.DISK:
        yield from _emulated_guest(case)
        return
    machines = [each.machine for each in _programs(case)]
    for wanted in dict.fromkeys((case.image.architecture, *machines)):
        if wanted != case.facts.architecture and _helped(case.facts, wanted) == "emulated":
            yield Found(
                f"programs for {wanted} would be emulated, two to four times slower",
                _handlers(case.facts, wanted, case.form),
            )


def _emulated_guest(case: Case) -> Iterator[Found]:
    known, facts = TABLE.get(case.image.architecture), case.facts
    if known and known.name != facts.architecture and known.name in (facts.emulators or ()):
        yield Found(
            f"the VM's processor ({known.name}) would be emulated by {known.qemu}, which is about "
            "ten times slower",
            (f"{facts.host}: {facts.architecture}; KVM runs only guests of that architecture",),
        )


def machine(case: Case) -> Iterator[Found]:
    """A program in the image is for another machine than the image declares: "exec format
    error"."""
    for each in _programs(case):
        told = each.machine == case.image.architecture  # then `architecture` judges it
        if told or _runs_in(case, each.machine):
            continue
        where = case.image.architecture if case.form is Form.DISK else case.facts.architecture
        yield Found(
            f"{each.path} is a program for {each.machine}, which {where} cannot run: "
            '"exec format error"',
            (
                f"{each.path}: ELF, machine {each.machine}, {each.bits} bits",
                f"the image's configuration: architecture is {case.image.architecture}",
                *_handlers(case.facts, each.machine, case.form),
            ),
            "Rebuild the image with programs for its own architecture.",
            None if each.sure else Severity.UNKNOWN,
        )


def _runs_in(case: Case, machine_: str) -> bool:
    home = case.image.architecture if case.form is Form.DISK else case.facts.architecture
    if machine_ == home:
        return True
    # The guest's kernel is Debian's, which runs programs of 32 bits.
    if case.form is Form.DISK:
        return machine_ in _ALSO.get(home, ())
    return bool(_helped(case.facts, machine_))


def _helped(facts: Facts, wanted: str) -> str:
    """How a host runs a program for another machine in a container: "native", "emulated" or ""."""
    tried = linux_of(facts).runs.get(wanted, "")
    handlers = [each for each in linux_of(facts).binfmt or () if each.architecture == wanted]
    if handlers:  # the kernel asks them before the processor: fs/binfmt_misc.c, insert_binfmt
        # "unknown": the trial itself was not possible there.
        works = tried in ("", _YES, _UNKNOWN)
        return "emulated" if any(each.fixed for each in handlers) and works else ""
    # What was not tried is so on nearly every host; a rule must not refuse for it.
    return "native" if wanted in _ALSO.get(facts.architecture, ()) and tried != _NO else ""


def _handlers(facts: Facts, wanted: str, form: Form) -> tuple[str, ...]:
    if form is Form.DISK:
        return ()
    binfmt = linux_of(facts).binfmt
    own = [each for each in binfmt or () if each.architecture == wanted]
    if own:
        return tuple(
            f"binfmt_misc: {each.name} ({each.interpreter}), flags {each.flags or 'none'}"
            + ("" if each.fixed else ": without F it does not work inside a container")
            for each in own
        )
    tried = linux_of(facts).runs.get(wanted)
    rows = ["binfmt_misc: no handler"] if binfmt is not None else []
    rows += [f"a trial of a program for {wanted}: {tried}"] if tried else []
    return tuple(rows)


def _programs(case: Case) -> tuple[Binary, ...]:
    binaries = case.needs.binaries if case.needs else ()
    return tuple(each for each in binaries if each.role is Role.PROGRAM)


# ---------------------------------------------------------------- the processor and the kernel


def kernel(case: Case) -> Iterator[Found]:
    """An ABI note requires a later kernel: glibc before 2.36 ends with "kernel too old", or ignores
    the library."""
    told = case.spec.stated.kernel
    noted, perhaps = _noted(case.needs, sure=True), _noted(case.needs, sure=False)
    if not noted and not told and not perhaps:
        return
    if not (has := version(case.facts.kernel)):
        return
    if told and has < told:
        yield _old(case, told, f"x-portkit.needs.kernel: {dotted(told)}")
    elif noted and has < max(noted):
        yield _old(case, max(noted), noted[max(noted)], _is_certain(case.needs))
    elif perhaps and has < max(perhaps):
        why = f"{perhaps[max(perhaps)]}; {PERHAPS_RUN}"
        yield _old(case, max(perhaps), why, _is_certain(case.needs) or Severity.UNKNOWN)


def _noted(needs: Needs | None, *, sure: bool) -> dict[Release, str]:
    """The kernels that ABI notes ask for, and which say so. Loaders look at their own note and at
    those of libraries; a static program has its C library in it."""
    binaries = [each for each in (needs.binaries if needs else ()) if each.sure is sure]
    dynamic = any(each.role is Role.LOADER for each in binaries)
    return {
        each.kernel: f"{each.path}: ABI note {dotted(each.kernel)}"
        for each in binaries
        if each.kernel and not (dynamic and each.role is Role.PROGRAM)
    }


def _is_certain(needs: Needs | None) -> Severity | None:
    """glibc 2.36 took the comparison out (its commit b46d250656); another libc makes none."""
    if needs is not None and needs.libc == "glibc" and needs.libc_version:
        return None if needs.libc_version < _WITHOUT_CHECK else Severity.INFO
    return Severity.UNKNOWN


def _old(case: Case, wanted: Release, why: str, severity: Severity | None = None) -> Found:
    return Found(
        f"the image needs Linux {dotted(wanted)} or newer, and the host has {case.facts.kernel}",
        (why, f"{case.facts.host}: uname -r"),
        severity=severity,
    )


def page_size(case: Case) -> Iterator[Found]:
    """A file whose segments are aligned for smaller pages than the kernel's cannot be mapped; glibc
    refuses such libraries. A jemalloc ends where pages are larger than those it was built for."""
    has = linux_of(case.facts).page_bytes
    files = case.needs.binaries if case.needs else ()
    for each in sorted(files, key=lambda file: not file.sure):
        if has and 0 < each.align < has:
            yield Found(
                f"{each.path} is built for memory pages of {each.align} bytes, and the host has "
                f"pages of {has} bytes",
                (f"{each.path}: alignment of its segments", f"{case.facts.host}: page size"),
                "Rebuild it for larger pages, or use a kernel with pages of 4096 bytes.",
                None if each.sure else Severity.UNKNOWN,
            )
            return
    found = case.needs.software_named("jemalloc") if case.needs else None
    if found is not None and has > _LEAST_PAGE_BYTES:
        yield Found(
            f"{found.path} has jemalloc, which may be built for pages of {_LEAST_PAGE_BYTES} "
            f"bytes, and the host has pages of {has} bytes",
            (f"{found.path}: Unsupported system page size", f"{case.facts.host}: page size"),
            "Build it with --with-lg-page=16, or use a kernel with pages of 4096 bytes.",
            Severity.UNKNOWN,
        )
