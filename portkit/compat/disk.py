"""What a disk that portkit did not make needs of the machine that is to start it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from portkit.architecture import AMD64, TABLE
from portkit.compat import machine_types
from portkit.compat.room import beyond_memory, of_memory
from portkit.compat.rule import Found, UnknownFact
from portkit.compat.versions import dotted, version
from portkit.model import Facts, Severity
from portkit.model.disk import Boot, DiskFile, DiskMachine, EfiLoader

_DIRTY, _CORRUPT, _KNOWN_BITS = 0, 1, 5
# The release of QEMU that brought each incompatible feature of qcow2 (its ChangeLog).
_SINCE = {2: ((4, 0), "its data in another file"), 3: ((5, 1), ""), 4: ((5, 2), "subclusters")}
_SECTOR_BYTES = 512  # QEMU's, unless it is told otherwise (logical_block_size)
_COMPRESSIONS = frozenset({"zlib", "zstd"})


@dataclass(frozen=True)
class DiskCase:
    """One disk, the machine that is to start it, and the host that is to have that machine."""

    disk: DiskFile
    machine: DiskMachine
    facts: Facts

    @property
    def uefi(self) -> bool:
        """Whether the machine starts by UEFI."""
        return self.firmware is not Boot.BIOS

    @property
    def firmware(self) -> Boot:
        """What was asked for, else what is usual."""
        if self.machine.firmware is not None:
            return self.machine.firmware
        known = TABLE.get(self.facts.architecture)
        return Boot.BIOS if known is None or known.bios else Boot.UEFI

    @property
    def chipset(self) -> str:
        """What was asked for, else what is usual."""
        known = TABLE.get(self.facts.architecture)
        return self.machine.chipset or (known.chipset if known else "")

    @property
    def default_loader(self) -> str:
        """What a firmware that was told nothing starts (UEFI 2.10, 3.5.1.1)."""
        known = TABLE.get(self.facts.architecture)
        return f"/EFI/BOOT/{known.loader if known else AMD64.loader}"

    def is_default(self, loader: EfiLoader) -> bool:
        """Whether it is that one."""
        return loader.path.upper() == self.default_loader.upper()


def hypervisor(case: DiskCase) -> Iterator[Found]:
    """libvirt and QEMU start a disk, and must be on the host."""
    if case.facts.libvirt_version is None or case.facts.qemu_version is None:
        yield Found("libvirt with QEMU is not on the host", (case.facts.host,))


def features(case: DiskCase) -> Iterator[Found]:
    """A qcow2 states the features that its reader must know; an older QEMU refuses the file."""
    told = case.disk.qcow2
    if told is None:
        return
    name = case.disk.name
    strange = [f"feature bit {bit}" for bit in told.incompatible if bit >= _KNOWN_BITS]
    strange += [] if told.compression in _COMPRESSIONS else [f"compression {told.compression}"]
    if strange:
        yield Found(
            f"the qcow2 has features that portkit does not know: {', '.join(strange)}",
            (f"{name}: header",),
            severity=Severity.UNKNOWN,
        )
    for bit in told.incompatible:
        since, what = _SINCE.get(bit, ((), ""))
        has = version(case.facts.qemu_version) if since else ()
        if has and has < since:
            what = what or f"clusters compressed with {told.compression}"
            yield Found(
                f"the qcow2 has {what}, which QEMU reads from {dotted(since)} on, and the host "
                f"has {case.facts.qemu_version}",
                (f"{name}: incompatible feature bit {bit}",),
            )


def damaged(case: DiskCase) -> Iterator[Found]:
    """QEMU opens a qcow2 that is marked as corrupt only for reading."""
    told = case.disk.qcow2
    if told is None:
        return
    if _CORRUPT in told.incompatible:
        yield Found("the qcow2 is marked as corrupt", ("incompatible feature bit 1",))
    elif _DIRTY in told.incompatible:
        yield Found(
            "the qcow2 was not closed properly: QEMU repairs it when it opens it",
            ("incompatible feature bit 0",),
            "Repair a copy first: qemu-img check -r all.",
            Severity.WARNING,
        )


def elsewhere(case: DiskCase) -> Iterator[Found]:
    """A part of the disk's content is in another file: this one has only changes, or tables."""
    told = case.disk.qcow2
    if told is not None and told.backing:
        yield Found(
            "the qcow2 needs another file, its backing file", (f"backing file: {told.backing}",)
        )
    elif told is not None and told.data_file:
        yield Found("the qcow2 stores its data in another file", ("external data file",))


def encrypted(case: DiskCase) -> Iterator[Found]:
    """An encrypted qcow2 starts only with its key, which a plain VM does not have; QEMU runs no
    guest from the old kind."""
    told = case.disk.qcow2
    if told is None or not told.encryption:
        return
    old = told.encryption != "luks"
    yield Found(
        "the qcow2 is encrypted "
        + (
            "in a way from which QEMU cannot run a guest"
            if old
            else ("and starts only with its key")
        ),
        (f"encryption: {told.encryption}",),
        "Decrypt a copy of it with qemu-img convert." if old else "",
    )


def room(case: DiskCase) -> Iterator[Found]:
    """The file without its holes must fit on the host; a guest may make it as large as its disk."""
    free, disk = case.facts.store_free_bytes, case.disk
    most = max(disk.file_bytes, disk.virtual_bytes)
    if disk.stored_bytes > free:
        yield Found(
            f"the disk file has {disk.stored_bytes} bytes, and the host has {free} bytes free"
        )
    elif most > free:
        yield Found(
            f"the disk can grow to {most} bytes, and the host has {free} bytes free",
            severity=Severity.WARNING,
        )


def chipset(case: DiskCase) -> Iterator[Found]:
    """QEMU has machine types for each of its releases and drops them six years later; distributions
    have their own."""
    has = case.facts.guests.machines
    if not has and case.machine.chipset:
        raise UnknownFact("the machine types of its QEMU")
    if has and case.chipset not in has:
        yield from machine_types.absent(case.chipset, has, _qemu(case.facts))


def _qemu(facts: Facts) -> str | None:
    """Its version; None where nobody knows it."""
    try:
        return facts.qemu_version
    except UnknownFact:
        return None


def firmware(case: DiskCase) -> Iterator[Found]:
    """The host must have the firmware. Secure boot needs one made for it and, on amd64, a machine
    with SMM, which only q35 has."""
    facts = case.facts
    if case.uefi and not ("efi" in facts.guests.firmware or facts.uefi):
        yield Found("the host has no UEFI firmware for guests", (facts.host,))
    known = TABLE.get(facts.architecture)
    if known is not None and not known.bios and not case.uefi:
        yield Found(f"there is no BIOS for {facts.architecture}", remedy="Use --firmware uefi.")
    amd64 = facts.architecture == AMD64.name
    if case.firmware is Boot.UEFI_SECURE and amd64 and "q35" not in case.chipset:
        yield Found(
            f"secure boot needs a machine type with SMM, which {case.chipset} does not have",
            remedy="Use --machine q35.",
        )
    elif case.firmware is Boot.UEFI_SECURE and not facts.guests.secure:
        raise UnknownFact("whether it has a firmware for secure boot")
    elif case.firmware is Boot.UEFI_SECURE and "yes" not in facts.guests.secure:
        yield Found(
            "the host has no firmware for secure boot",
            (f"{facts.host}: libvirt's loader/enum[@name='secure'] has no 'yes'",),
            "Install one on the host (Debian: ovmf), or use --firmware uefi.",
        )


def memory(case: DiskCase) -> Iterator[Found]:
    """A VM cannot have more memory than its host has with its swap, and swaps where it has more
    than the host has without."""
    wanted, has = case.machine.memory_bytes, case.facts.memory_bytes
    severity = beyond_memory(wanted, case.facts) if wanted and has else None
    if severity is not None:
        yield Found(
            f"the VM is to have {wanted} bytes of memory, and the host has {has}",
            of_memory(case.facts),
            severity=severity,
        )
    elif wanted and not has:
        raise UnknownFact("its memory")


def table(case: DiskCase) -> Iterator[Found]:
    """A damaged partition table: a UEFI firmware finds no partition, or repairs the table. One for
    sectors of another size than the VM's disk has is found by nobody."""
    layout = case.disk.layout
    if layout is not None and layout.sector_bytes != _SECTOR_BYTES:
        yield Found(
            f"the disk's partition table counts sectors of {layout.sector_bytes} bytes, and the "
            f"disk of a VM has sectors of {_SECTOR_BYTES}",
            (f"the GPT is at byte {layout.sector_bytes}",),
            f"Give the disk these in the domain's XML (blockio logical_block_size="
            f"'{layout.sector_bytes}'), with UEFI: a BIOS starts no such disk.",
            Severity.ERROR,
        )
    if layout is None or not layout.faults:
        return
    fatal = layout.damaged and case.uefi
    yield Found(
        "the disk's partition table is damaged",
        layout.faults[:8],
        severity=Severity.ERROR if fatal else Severity.WARNING,
    )


def cpu_level(case: DiskCase) -> Iterator[Found]:
    """The distribution on the disk is compiled for a later x86-64 level than a VM gets on the host:
    the first program ends with SIGILL, or the loader refuses it."""
    inside, guests = case.disk.inside, case.facts.guests
    if not inside.built_level or case.facts.architecture != AMD64.name:
        return
    if not guests.cpu_level:
        raise UnknownFact("the x86-64 level of its guests")
    if inside.built_level > guests.cpu_level:
        yield Found(
            f"the system on the disk is built for x86-64-v{inside.built_level}, and a VM on the "
            f"host has at most v{guests.cpu_level}",
            (inside.built_by, f"{case.facts.host}: {guests.cpu_model}"),
        )


def architecture(case: DiskCase) -> Iterator[Found]:
    """The system on the disk is for another architecture than the host's machines."""
    has = case.disk.inside.architectures
    runs = {case.facts.architecture} | ({"386"} if case.facts.architecture == AMD64.name else set())
    if has and not runs & set(has):
        yield Found(f"the disk is for {', '.join(has)}, and the host is {case.facts.architecture}")


def unread(case: DiskCase) -> Iterator[Found]:
    """Not all file systems of the disk could be examined: whether it has a kernel, a loader and
    drivers is not known."""
    inside = case.disk.inside
    if not inside.looked:
        yield Found("portkit did not look inside the disk", inside.unread[:4])
    elif inside.unread:
        known = bool(inside.kernels)
        yield Found(
            "some of the disk's file systems could not be read",
            inside.unread[:8],
            severity=Severity.INFO if known else Severity.UNKNOWN,
        )
