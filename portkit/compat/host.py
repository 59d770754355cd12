"""What the host must have: the right architecture, an engine, and tools."""

from __future__ import annotations

import re
from collections.abc import Iterator

from portkit.architecture import TABLE
from portkit.compat.rule import Case, Found, UnknownFact, linux_of
from portkit.model import AppSpec, Facts, Firmware, OnTaken, RunSpec, Severity

_USER = "user"
_ARM = re.compile("v([5-8])")  # OCI image-spec v1.1, image-index.md (variants)


def kit(case: Case) -> Iterator[Found]:
    """A disk needs a kernel, an init and a machine to boot on, which the table may not have."""
    known = TABLE.get(case.image.architecture)
    if known is None or not known.chipset:
        yield Found(f"portkit cannot make disks for {case.image.architecture}")
    elif len(case.machines) > 1:
        yield Found(
            f"the images are for {' and '.join(case.machines)}, and a VM has one kind of processor",
            remedy="Use images for one architecture, or move the images instead of the disk.",
        )


def arm_version(case: Case) -> Iterator[Found]:
    """An image for 32-bit ARM says for which version of it its programs are compiled: an older
    processor ends them with SIGILL."""
    wanted, has = _ARM.fullmatch(case.image.variant), linux_of(case.facts).arm_version
    if case.image.architecture == case.facts.architecture == "arm" and wanted:
        if has and int(wanted[1]) > has:
            yield Found(
                f"the image is for ARMv{wanted[1]}, and the host's processor is ARMv{has}",
                (
                    f"the image's configuration: variant {case.image.variant}",
                    f"{case.facts.host}: ARMv{has}",
                ),
            )
        elif not has:
            raise UnknownFact("the version of its ARM processor")


def emulator(case: Case) -> Iterator[Found]:
    """A guest of another architecture than the host's needs the QEMU program for it, and libvirt
    must have detected that program."""
    known, facts = TABLE.get(case.image.architecture), case.facts
    if known is None or not known.chipset or known.name == facts.architecture:
        return  # other rules say so
    if facts.emulators is None:
        raise UnknownFact("emulators")
    if known.name not in facts.emulators:
        yield Found(
            f"the disk is for {known.name}, and the host does not have QEMU's program for it, "
            f"{known.qemu}",
            (f"{facts.host}: QEMU for {', '.join(facts.emulators) or 'nothing'}",),
            f"Install {known.emulator} there (Debian's name), or build the image for "
            f"{facts.architecture}.",
        )
    elif facts.guests.architectures and known.name not in facts.guests.architectures:
        yield Found(
            f"{known.qemu} is on the host, but libvirt does not know about it",
            (f"libvirt's guests: {', '.join(facts.guests.architectures)}",),
            "Restart libvirt there: systemctl restart libvirtd.",
        )


def docker(case: Case) -> Iterator[Found]:
    """A container needs a Docker Engine that answers, or Podman on its socket."""
    if case.facts.docker_version is None:
        yield Found("no container engine answers on the host", (case.facts.host,))


def network(case: Case) -> Iterator[Found]:
    """An engine accepts a second network of the same name, and then cannot distinguish the two."""
    for name in taken_networks(case.app, case.spec, case.facts):
        own = [each for each in case.instances if each.app == case.app.app]
        yield Found(
            f"the host already has a network {name}",
            (name, *(f"portkit's {each.app}: {each.id}" for each in own[:1])),
            " ".join(f"portkit rm {each.id} --on {each.host}" for each in own[:1]),
        )


def taken_networks(app: AppSpec, service: RunSpec, facts: Facts) -> Iterator[str]:
    """Names of networks that the App would make for a service, and that the host has."""
    for row in app.joined(service):
        if not row.external and row.engine_name in facts.networks:
            yield row.engine_name


def volume(case: Case) -> Iterator[Found]:
    """An engine would use the existing volume, with its content: the user has to choose."""
    asked = {each.engine_name: each.on_taken for each in case.app.volumes}
    for name in case.app.volume_names:
        way = asked.get(name, OnTaken.REFUSE)
        if name and name in case.facts.volumes:
            yield _taken(name, way)
        elif name and way is OnTaken.KEEP:
            yield Found(
                f"the host has no volume {name} to keep, so the App's data is copied",
                (name,),
                remedy="You need to do nothing, unless you expected data there.",
                severity=Severity.WARNING,
            )


def _taken(name: str, way: OnTaken) -> Found:
    match way:
        case OnTaken.OVERRIDE:
            return Found(
                f"THE DATA OF THE TARGET'S VOLUME {name} WILL BE REPLACED. Its present data is "
                "set aside on that host, and a rollback puts it back",
                (name,),
                remedy="When you no longer need it, portkit forget ID --delete removes what was "
                "set aside.",
                severity=Severity.WARNING,
            )
        case OnTaken.KEEP:
            return Found(
                f"THE APP WILL START ON THE DATA OF THE TARGET'S VOLUME {name}. Its own data of "
                "that volume is not copied and stays at the source. What the App writes there "
                "stays there, also after a rollback",
                (name,),
                remedy="Make sure that the App can start on this data.",
                severity=Severity.WARNING,
            )
        case _:
            return Found(f"the host already has a volume {name}", (name,))


def libvirt(case: Case) -> Iterator[Found]:
    """A VM needs libvirt and QEMU."""
    if case.facts.libvirt_version is None or case.facts.qemu_version is None:
        yield Found("the host does not have libvirt with QEMU", (case.facts.host,))


def user_network(case: Case) -> Iterator[Found]:
    """The network of a portkit VM is QEMU's user network, which forwards ports without a rule on
    the host. QEMU may be built without it."""
    try:
        has = case.facts.netdevs
    except UnknownFact:  # nearly every distribution's QEMU has it; a rule must not refuse for it
        return
    if has is not None and _USER not in has and case.image.architecture == case.facts.architecture:
        yield Found(
            "QEMU on the host is built without the user network (libslirp), which portkit's VMs "
            "have",
            (f"{case.facts.host}: -netdev help lists {', '.join(has)}",),
        )


def machine_type(case: Case) -> Iterator[Found]:
    """QEMU drops machine types six years after their release, and distributions have their own."""
    known, has = TABLE.get(case.image.architecture), case.facts.guests.machines
    if known is None or known.name != case.facts.architecture:  # other rules say so
        return
    if known.chipset and has and known.chipset not in has:
        yield Found(f"QEMU on the host has no machine type {known.chipset}", has[:10])


def cpu_model(case: Case) -> Iterator[Found]:
    """The App asks for a processor model with features that the host, or QEMU's emulation, does not
    have: libvirt does not start the VM."""
    wanted, has = case.app.machine.cpu_model, case.facts.guests.cpu_models
    if not wanted:
        return
    if not has or case.image.architecture != case.facts.architecture:
        raise UnknownFact("which processor models its guests can have")
    if wanted not in has:
        yield Found(
            f"VMs on the host cannot have everything of the processor model {wanted}",
            (f"x-portkit.cpu_model: {wanted}", f"usable on the host: {', '.join(sorted(has))}"),
        )


def guests(case: Case) -> Iterator[Found]:
    """libvirt runs, but does not say which guests it supports, or this machine cannot ask it."""
    if case.facts.guests.note:
        note = (case.facts.guests.note,)
        yield Found("it is not known what libvirt on the host offers to VMs", note)


def accelerator(case: Case) -> Iterator[Found]:
    """Without KVM, QEMU emulates the processor of the guest."""
    if case.image.architecture != case.facts.architecture:  # rule `emulated` says so
        return
    if case.facts.accelerator != "kvm":
        note = case.facts.accelerator_note
        yield Found(
            "the VM's processor would be emulated, which is about ten times slower",
            (note,) if note else (),
        )


def tools(case: Case) -> Iterator[Found]:
    """The host makes the overlay, the configuration disk and the volumes with these programs."""
    missing = case.facts.missing_tools
    if missing:
        yield Found(f"the host lacks {' and '.join(missing)}", (case.facts.host,))


def firmware(case: Case) -> Iterator[Found]:
    """A UEFI guest needs firmware files on the host."""
    if case.app.machine.firmware is not Firmware.UEFI:
        return
    if case.image.architecture != case.facts.architecture:
        yield Found(
            f"it is not known whether the host has UEFI firmware for {case.image.architecture}",
            remedy="Leave x-portkit.firmware out; Debian has the firmware in qemu-efi-aarch64.",
            severity=Severity.UNKNOWN,
        )
        return
    told = case.facts.guests
    # Of an older portkit's Facts, or where libvirt was not asked, only the files are known.
    if "efi" not in told.firmware if told.machines else not case.facts.uefi:
        yield Found("the host has no UEFI firmware for guests", (case.facts.host,))
