"""Disks in the formats of other hypervisors, with the drivers and the network that fit there.

qemu-img writes them; what it wrote is checked, and compared with the raw disk in the Store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from portkit import app as apps
from portkit import files
from portkit.architecture import AMD64
from portkit.errors import AppError, VerifyError
from portkit.guest.kit import build_kit
from portkit.model import App, Artifact, Finding, ImageConfig, RunSpec, Severity
from portkit.package import disk
from portkit.package.save import qcow2, qemu_img
from portkit.progress import Observer
from portkit.store import Store
from portkit.wire.sparse import copy_sparse

# Disks and network cards by which hypervisors are known to a guest, as modules of Debian's cloud
# kernel, which has NVMe built in and knows neither AHCI nor e1000.
_IDE = ("ata_piix", "sd_mod")  # PIIX4: VirtualBox, VMware
_VMWARE = ("vmw_pvscsi", "vmxnet3", *_IDE)
_HYPER_V = ("hv_vmbus", "hv_storvsc", "hv_netvsc", "sd_mod")


@dataclass(frozen=True)
class DiskFormat:
    """One format. suffix: of its files. words: of qemu-img for its variant. drivers: modules for
    the machines that read it. dhcp: their networks give addresses; else it is QEMU's user-mode
    network. hosts: who reads it."""

    name: str
    suffix: str
    hosts: str
    words: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    dhcp: bool = True


# streamOptimized is the only variant that VMware takes from an OVA; its programs for desktops, and
# VirtualBox, attach the other one, which is sparse and can be written.
STREAM = DiskFormat("vmdk", ".vmdk", "VMware by OVA", ("-o", "subformat=streamOptimized"), _VMWARE)
FORMATS = {
    each.name: each
    for each in (
        DiskFormat("qcow2", ".qcow2", "QEMU", dhcp=False),
        DiskFormat("raw", ".raw", "QEMU", dhcp=False),
        DiskFormat(
            "vmdk",
            ".vmdk",
            "VMware Workstation, VirtualBox",
            ("-o", "subformat=monolithicSparse"),
            _VMWARE,
        ),
        DiskFormat("vhdx", ".vhdx", "Hyper-V", ("-o", "subformat=dynamic"), _HYPER_V),
        DiskFormat("vdi", ".vdi", "VirtualBox", (), _IDE),
    )
}
_HEAD = 64 << 10  # bytes of a file, with all that is changed in it
_CID = re.compile(rb"(?<=\nCID=)[0-9a-f]{1,8}(?=\n)")
_EXTENT = re.compile(rb'(?<=SPARSE ")[^"\n]*(?="\n)')


def disk_for(
    app: App, image: Artifact, kind: DiskFormat, store: Store, observer: Observer
) -> Artifact:
    """The disk of an App's one image, in the Store, with the kit for the hosts of a format.

    Raises what `portkit.package.disk.build` raises, AppError for another processor than theirs.
    """
    architecture = image.config.architecture
    if kind.dhcp and architecture != AMD64.name:
        raise AppError(
            f"portkit makes disks for {kind.hosts} only for {AMD64.name}",
            details=f"{app.name}: the image is for {architecture}",
            resolution="Use --disk-format raw or qcow2.",
        )
    kit = build_kit(architecture=architecture, drivers=kind.drivers, dhcp=kind.dhcp)
    size = app.services[0].machine.disk_bytes
    defaults = apps.defaults(image.config)
    return disk.build(image, defaults, kit, store, disk_bytes=size, observer=observer)


def convert(raw: Path, kind: DiskFormat, path: Path, *, name: str, digest: str) -> None:
    """Write a raw disk to a new file. The same disk makes the same file, but for VHDX, which holds
    random identifiers under checksums of its own.

    name: that the file will have. digest: of the raw disk. Raises ToolError when it does not read
    back equal, VerifyError for a layout that is not known.
    """
    if kind.name == "qcow2":
        qcow2(raw, path)
        return
    if kind.name == "raw":
        copy_sparse(raw, path)
    else:
        files.write(path, b"")  # so that its mode is 0600 before qemu-img opens it
        qemu_img("convert", "-f", "raw", "-O", kind.name, *kind.words, raw, path)
        identity = bytes.fromhex(digest.removeprefix("sha256:"))
        if kind.name in _IDENTIFIED:
            _identify(path, kind, name, identity)
        qemu_img("check", "-q", "-f", kind.name, path)
    qemu_img("compare", "-q", "-f", "raw", "-F", kind.name, raw, path)


def _identify(path: Path, kind: DiskFormat, name: str, digest: bytes) -> None:
    """Give a file identifiers that follow from its content, in place of qemu-img's random ones."""
    with path.open("r+b") as file:
        head = file.read(_HEAD)
        try:
            made = _IDENTIFIED[kind.name](head, name, digest)
        except ValueError as error:
            raise VerifyError(
                f"the {kind.name} file was not written as requested",
                details=str(error),
                resolution="Choose another --disk-format, and report the version of qemu-utils.",
            ) from None
        file.seek(0)
        file.write(made)


def _vmdk(head: bytes, name: str, digest: bytes) -> bytes:
    """Its descriptor is a text of 20 sectors behind the first one (QEMU block/vmdk.c); beside the
    CID it names the file, which had another name when it was written."""
    begin, end = 512, 512 * 21
    text = head[begin:end].rstrip(b"\0")
    text, ids = _CID.subn(digest[:4].hex().encode(), text)
    text, names = _EXTENT.subn(name.encode().replace(b"\\", b"\\\\"), text)
    if (ids, names) != (1, 1) or len(text) > end - begin:
        raise ValueError(f"its descriptor has {ids} identifiers and {names} names of files")
    return head[:begin] + text.ljust(end - begin, b"\0") + head[end:]


def _vdi(head: bytes, name: str, digest: bytes) -> bytes:
    """Of the image and of its last snapshot, 16 bytes each (QEMU block/vdi.c, VdiHeader)."""
    if head[64:68] != b"\x7f\x10\xda\xbe" or len(head) < 392 + 32:
        raise ValueError("it has no VDI header")
    return head[:392] + digest[:32] + head[392 + 32 :]


_IDENTIFIED = {"vmdk": _vmdk, "vdi": _vdi}


# What a Service or its App can say, and a disk that boots on its own does not know, in compose's
# words: it runs what the image says.
_TOLD = {
    "argv": "command",
    "env": "environment",
    "cwd": "working_dir",
    "user": "user",
    "group_add": "group_add",
    "ulimits": "ulimits",
    "capabilities": "cap_add, cap_drop",
    "stop_signal": "stop_signal",
    "stop_grace_period_s": "stop_grace_period",
    "read_only": "read_only",
    "privileged": "privileged",
    "init": "init",
    "shm_bytes": "shm_size",
    "cpus": "cpus",
    "mem_limit_bytes": "mem_limit",
    "memswap_bytes": "memswap_limit",
    "devices": "devices",
    "sysctls": "sysctls",
    "cpuset": "cpuset",
    "runtime": "runtime",
    "storage_opt": "storage_opt",
    "security_opt": "security_opt",
    "restart": "restart",
    "healthcheck": "healthcheck",
    "extra_hosts": "extra_hosts",
    "dns": "dns",
    "dns_search": "dns_search",
    "dns_opt": "dns_opt",
    "domainname": "domainname",
    "oom_score_adj": "oom_score_adj",
}


def findings(app: App, image: ImageConfig) -> Iterator[Finding]:
    """What of an App a disk that boots on its own does not have, field by field."""
    alone = apps.defaults(image)
    if alone is None:
        message = "the image defines no command, so the disk does not start on its own"
        yield Finding("disk-alone", Severity.ERROR, message, remedy="Add a CMD to the image.")
        return
    own = apps.resolve(app, image)
    alone, named = _nameless(alone), _nameless(own)
    different = [word for key, word in _TOLD.items() if getattr(named, key) != getattr(alone, key)]
    if app.services[0].hostname:
        different.append("hostname")
    for word in different:
        message = f"{word}: the disk boots with what its image defines"
        yield Finding("disk-alone", Severity.WARNING, message)
    places = tuple(mount.target for mount in own.mounts if mount.type == "volume")
    if places:
        message = "volumes: their data is kept on the root disk and not shared with anything"
        yield Finding("disk-alone", Severity.WARNING, message, places)
    places = tuple(mount.target for mount in own.mounts if mount.type == "tmpfs")
    if places:
        message = "tmpfs: what is written there is stored on the root disk and stays"
        yield Finding("disk-alone", Severity.WARNING, message, places)
    if own.ports:
        ports = tuple(f"{port.target}/{port.protocol}" for port in own.ports)
        message = "ports: nothing publishes them, because the machine has an address of its own"
        yield Finding("disk-alone", Severity.INFO, message, ports)


def _nameless(spec: RunSpec) -> RunSpec:
    """Without the hostname, which follows from the App's name where it does not say one."""
    return replace(spec, env=tuple(row for row in spec.env if row[0] != "HOSTNAME"))
