"""The cells of the truth table for disks that portkit did not make.

Each disk is judged by its file alone, as `portkit check NAME.qcow2` does it. Then libvirt starts it
on a lab host, in the machine for which it was judged, and its serial port shows what happened.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import compat_apps, compat_page, harness, hosts, ordinary
from bench.apps import Teller
from bench.compat_disk_files import DISKS, plain
from bench.compat_rows import Json, by_profile, kind, now, predicted, record
from portkit import app as apps
from portkit import process
from portkit.guest.kit import build_kit
from portkit.host import connect
from portkit.model import Form
from portkit.model.disk import Boot, Bus, DiskFile, DiskFormat, DiskMachine
from portkit.move import foreign
from portkit.move.observed import Outcome
from portkit.needs import disk as needs
from portkit.package import disk
from portkit.source import OnHost
from portkit.store import Store

_FOLDER = "/var/lib/libvirt/images"
# A BIOS reads an IDE disk word by word, and each word is emulated: GRUB took four minutes.
_DEADLINE_S = 900.0
_LOOK_S = 2.0
# What a system that has started says: portkit's init, or a getty.
_RUNS = ("portkit: starting", "login:")
# After one of these nothing else comes: OVMF, SeaBIOS, SYSLINUX, systemd-boot, Linux.
_FAILS = (
    "No bootable option",
    "No bootable device",
    "startup.nsh",  # the shell in a firmware that has nothing else to start
    "Loading /vmlinuz failed",
    "Kernel panic",
    "No such file or directory",  # SYSLINUX
    "Could not find ramdisk",
    "Invalid or corrupt kernel",
    "Error loading",  # systemd-boot
    "Unable to mount root",
    "Dropping to a shell",  # Debian's initrd
    "Reboot Into Firmware Interface",  # systemd-boot's menu where it has nothing else
)


@dataclass(frozen=True)
class DiskCell:
    """A disk in a machine on a host; the other fields are as those of bench.compat_kinds.Cell."""

    artifact: str
    host: str
    firmware: Boot = Boot.BIOS
    chipset: str = ""
    bus: Bus = Bus.VIRTIO
    source: str = ""
    says: str = ""
    rule: str = ""
    shows: tuple[str, ...] = ()
    symptom: str = ""
    form: Form = Form.DISK
    kind: str = "disk file"

    @property
    def machine(self) -> DiskMachine:
        """What it is judged for."""
        return DiskMachine(self.firmware, self.chipset, self.bus)

    @property
    def ground(self) -> str:
        """The machine in words."""
        bus = "" if self.bus is Bus.VIRTIO else self.bus.value
        return ", ".join(filter(None, (self.firmware.value, self.chipset, bus)))

    @property
    def name(self) -> str:
        """Its id."""
        return f"disk file {self.artifact}, {self.host} ({self.ground})"


_UEFI, _SECURE = Boot.UEFI, Boot.UEFI_SECURE
_NONE = ("No bootable option", "startup.nsh")
CELLS = (
    DiskCell("own", "beta"),
    DiskCell("own", "gamma", _UEFI),
    DiskCell(
        "own", "beta", _SECURE, source="k3os#792", rule="disk-signature", shows=("Access Denied",)
    ),
    DiskCell("own", "alpha", chipset="pc-i440fx-4.2"),
    DiskCell(
        "own",
        "gamma",
        chipset="pc-i440fx-4.2",
        source="QEMU's machine list",
        rule="disk-chipset",
        shows=("machine type",),
    ),
    DiskCell(
        "own",
        "rhel-8",
        chipset="pc-q35-3.0",
        source="kubevirt#2308",
        says="does not run",
        rule="disk-chipset",
    ),
    DiskCell("own", "alpha", chipset="pc-q35-3.0"),
    DiskCell(
        "own",
        "gamma",
        chipset="pc-q35-3.0",
        source="QEMU's machine list",
        rule="disk-chipset",
        shows=("machine type",),
    ),
    DiskCell("no-kernel", "alpha", rule="disk-kernel", shows=("Loading /vmlinuz failed",)),
    DiskCell(
        "no-kernel",
        "beta",
        _UEFI,
        rule="disk-kernel",
        shows=("Reboot Into Firmware Interface",),
    ),
    *(
        DiskCell(artifact, host, firmware, rule="disk-kernel")
        for artifact in ("no-initrd", "other-told", "cut-kernel")
        for host, firmware in (("alpha", Boot.BIOS), ("gamma", _UEFI))
    ),
    DiskCell("other-name", "beta"),
    DiskCell("other-name", "alpha", _UEFI),
    DiskCell("debian", "beta", bus=Bus.SATA),
    DiskCell("debian", "gamma", chipset="pc", bus=Bus.IDE),
    DiskCell("debian", "gamma", bus=Bus.IDE, rule="disk-bus", shows=("IDE",)),
    DiskCell("subclusters", "beta"),
    DiskCell("uefi-alone", "beta", rule="disk-bios"),
    DiskCell("uefi-alone", "alpha", _UEFI),
    DiskCell("bios-alone", "alpha"),
    DiskCell("bios-alone", "gamma", _UEFI, rule="disk-loader", shows=_NONE),
    DiskCell("own-loader", "beta", _UEFI, rule="disk-loader", shows=_NONE),
    DiskCell("broken-table", "gamma", _UEFI, rule="disk-table", shows=_NONE),
    DiskCell("backing", "beta", rule="disk-elsewhere", shows=("No such file",)),
    DiskCell(
        "debian",
        "beta",
        _SECURE,
        source="common-instancetypes#101",
        rule="disk-esp",
        shows=_NONE,
    ),
    DiskCell("debian", "gamma", _UEFI, rule="disk-esp", shows=_NONE),
    DiskCell("debian", "alpha"),
    DiskCell("zstd", "old-qemu", source="qemu-devel", says="does not run", rule="disk-features"),
)


# ---------------------------------------------------------------- disks


def made(name: str, base: Path, folder: Path) -> Path:
    """One of DISKS as a qcow2. base: the raw disk that portkit packed."""
    told, raw, path = DISKS[name], folder / f"{name}.raw", folder / f"{name}.qcow2"
    if told.backing:
        process.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path], timeout=60
        )
        return path
    source = base
    if told.change is None:
        source = ordinary.ordinary_disk()
    elif told.change is not plain:
        process.run(["cp", "--sparse=always", base, raw], timeout=300)
        told.change(raw)
        source = raw
    compressed = () if "extended_l2=on" in told.words else ("-c",)
    convert = ["qemu-img", "convert", *compressed, "-f", "raw", "-O", "qcow2"]
    process.run([*convert, *told.words, source, path], timeout=900)
    raw.unlink(missing_ok=True)
    return path


# ---------------------------------------------------------------- machines


def domain(cell: DiskCell, name: str) -> str:
    """The XML of libvirt for a cell's machine. name: of the domain and of its files."""
    secure = "yes" if cell.firmware is _SECURE else "no"
    firmware = features = ""
    if cell.firmware is not Boot.BIOS:
        firmware = (
            f"<firmware><feature enabled='{secure}' name='secure-boot'/>"
            f"<feature enabled='{secure}' name='enrolled-keys'/></firmware>"
        )
    if cell.firmware is _SECURE:
        features = "<smm state='on'/>"
    efi = " firmware='efi'" if firmware else ""
    # libvirt's own choice of a controller is another one, which the bus of that name does not mean.
    scsi = cell.bus is Bus.SCSI
    controller = "<controller type='scsi' model='virtio-scsi'/>" if scsi else ""
    log = f"{_FOLDER}/{name}"
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>{name}</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>
<os{efi}><type arch='x86_64' machine='{cell.chipset or "q35"}'>hvm</type>{firmware}</os>
<features><acpi/><apic/>{features}</features><cpu mode='maximum'/>
<on_crash>destroy</on_crash>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='{log}.qcow2'/>{_target(cell.bus)}</disk>{controller}
<serial type='file'><source path='{log}.serial'/></serial>
</devices>
<qemu:commandline><qemu:arg value='-chardev'/>
<qemu:arg value='file,id=bioslog,path={log}.bios'/>
<qemu:arg value='-device'/><qemu:arg value='isa-debugcon,iobase=0x402,chardev=bioslog'/>
</qemu:commandline>
</domain>
"""


def _target(bus: Bus) -> str:
    name = {Bus.VIRTIO: "vda", Bus.IDE: "hda"}.get(bus, "sda")
    return f"<target dev='{name}' bus='{bus}'/>"


def tried(cell: DiskCell, path: Path) -> Json:
    """What happened to it there, with the time."""
    begun, name = time.monotonic(), f"truth-{cell.artifact}"
    there = f"{_FOLDER}/{name}"
    put = f"cat > {there}.qcow2 && touch {there}.bios && chown libvirt-qemu: {there}.*"
    with path.open("rb") as file:
        process.run([*hosts.ssh(cell.host), put], input=file.read(), timeout=600)
    xml = domain(cell, name)
    start = f"cat > {there}.xml && virsh -q create {there}.xml"
    try:
        done = process.run(
            [*hosts.ssh(cell.host), start], input=xml.encode(), timeout=300, check=False
        )
        outcome, reason = _watched(cell, name)
        if done.code:
            outcome, reason = Outcome.FAILS, done.stderr.decode("utf-8", "replace")
    finally:
        hosts.on(cell.host, f"virsh -q destroy {name}", check=False)
        nvram = f"/var/lib/libvirt/qemu/nvram/{name}_VARS.fd"
        hosts.on(cell.host, f"rm -f {there}.* {nvram}")
    return {
        "at": now(),
        "outcome": outcome.value,
        "reason": "" if outcome is Outcome.RUNS else _short(reason),
        "said": "",
        "seconds": round(time.monotonic() - begun, 1),
    }


def _watched(cell: DiskCell, name: str) -> tuple[Outcome, str]:
    """What its serial port, or its firmware's log, says in the end."""
    end = time.monotonic() + _DEADLINE_S
    # A console ends without a line's end: then the state would be a part of its last line.
    show = f"cat {_FOLDER}/{name}.bios {_FOLDER}/{name}.serial; echo; virsh -q domstate {name}"
    while True:
        said = hosts.on(cell.host, show, check=False).strip()
        if any(words in said for words in _RUNS):
            return Outcome.RUNS, ""
        if any(words in said for words in _FAILS) or said.splitlines()[-1:] != ["running"]:
            return Outcome.FAILS, said.removesuffix("running")
        if time.monotonic() > end:
            return Outcome.FAILS, f"nothing came in {_DEADLINE_S:.0f} s: {said[:-7]}"
        time.sleep(_LOOK_S)


def _short(text: str) -> str:
    """Its last line that says why, or its end."""
    words = "".join(c if c.isprintable() else " " for c in text)
    for mark in ("Access Denied", *_FAILS):
        if mark in words:
            at = words.index(mark)
            return " ".join(words[max(at - 60, 0) : at + 50].split())
    return " ".join(words[-200:].split())


# ---------------------------------------------------------------- cells


def predict(cells: Sequence[DiskCell], disks: dict[str, DiskFile]) -> dict[str, Json]:
    """What portkit says of each cell, with the time."""
    found: dict[str, Json] = {}
    for cell in cells:
        given = [disks[cell.artifact]]
        if by_profile(cell):
            kinds = [kind(cell.host)]
            matrix = foreign.check_disks(given, {}, kinds, machine=cell.machine)
        else:
            ends = {cell.host: connect(f"lab:{cell.host}", Teller(), keep=True)}
            matrix = foreign.check_disks(given, ends, machine=cell.machine)
        found[cell.name] = predicted(matrix.cells[0])
    return found


def packed(folder: Path, source: OnHost) -> Path:
    """The raw disk of a static program, as `portkit pack` makes it."""
    folder.mkdir()
    (package,) = compat_apps.packaged(("static",), folder, source).values()
    image, store = package.image, Store(folder / "store")
    made_of = image, apps.defaults(image.config), build_kit(), store
    return store.content(disk.build(*made_of, observer=Teller()).digest)


def play(
    cells: Sequence[DiskCell], folder: Path, results: compat_page.Results, source: OnHost
) -> None:
    """Make and read all disks, predict all, write that down, and only then try."""
    folder.mkdir()
    paths, disks = {}, {}
    names = tuple(dict.fromkeys(cell.artifact for cell in cells))
    ours = any(DISKS[name].change is not None for name in names)
    base = packed(folder / "packed", source) if ours else folder
    for name in names:
        paths[name] = made(name, base, folder)
        disks[name] = needs.read(paths[name], DiskFormat.QCOW2)
        harness.tell(f"{name}: {disks[name].inside.kernels[:2]} {disks[name].inside.unread[:2]}")

    def seen(cell: DiskCell, said: Json) -> Json:
        return tried(cell, paths[cell.artifact])

    record(
        cells,
        predict(cells, disks),
        results,
        about={name: DISKS[name].about for name in names},
        seen=seen,
    )
