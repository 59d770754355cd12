"""A KubeVirt containerDisk, an image that holds a disk, and its VirtualMachine.

Source: KubeVirt user guide, "Disks and Volumes" (the disk is in /disk, readable by 107, the user of
QEMU there) and API reference, kubevirt.io/v1.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from portkit import files
from portkit.export import kubernetes_ports
from portkit.export.disks import DiskFormat
from portkit.export.kubernetes import ImageName
from portkit.export.kubernetes_names import label, labels, selector
from portkit.model import AppSpec, Finding, Firmware, Severity
from portkit.package.save import qcow2
from portkit.wire import image_archive
from portkit.wire.content import Plain, pieces
from portkit.wire.json_types import JsonObject

# Its QEMU has virtio, as ours; its network gives the address by DHCP.
CONTAINER_DISK = DiskFormat("containerdisk", ".containerdisk.tar", "KubeVirt")
_QEMU_USER = 107


def write_image(raw: Path, architecture: str, name: str, tag: str, out: Path) -> str:
    """Write the containerDisk of a raw disk as a new tar for `docker load`; the image's digest.

    tag: its name in an engine. ToolError when the qcow2 in it is not equal to the disk.
    """
    with TemporaryDirectory(dir=out.parent, prefix=".portkit-") as place:
        folder = Path(place)
        qcow2(raw, folder / "disk.qcow2")
        layer = "sha256:" + _layer(folder / "disk.qcow2", name, folder / "layer")
        (folder / "disk.qcow2").unlink()
        config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [layer]},
            },
            sort_keys=True,
        ).encode()
        described = folder / hashlib.sha256(config).hexdigest()
        files.write(described, config)
        content = Plain(folder / "layer")
        try:
            stream, digest = image_archive.docker_archive(described, [layer], {layer: content}, tag)
            with files.create(out) as file:
                for data in stream:
                    file.write(data)
        finally:
            content.close()
    return digest


def _layer(disk: Path, name: str, out: Path) -> str:
    """The tar of the one layer as a new file; its sha256 in hex digits."""
    total = hashlib.sha256()
    folder, file = tarfile.TarInfo("disk"), tarfile.TarInfo(f"disk/{name}.qcow2")
    folder.type, folder.mode, file.mode = tarfile.DIRTYPE, 0o555, 0o440
    file.size = disk.stat().st_size
    for info in (folder, file):
        info.uid = info.gid = _QEMU_USER
    content = Plain(disk)
    try:
        with files.create(out) as tar:
            heads = folder.tobuf(tarfile.PAX_FORMAT) + file.tobuf(tarfile.PAX_FORMAT)
            end = bytes(-file.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE)
            for data in (heads, *pieces(content), end):
                total.update(data)
                tar.write(data)
    finally:
        content.close()
    return total.hexdigest()


def machine(app: AppSpec, image: ImageName, architecture: str) -> tuple[JsonObject, ...]:
    """The VirtualMachine of an App of one service, and the Service for what it publishes."""
    (service,) = app.services
    about = {"name": label(app.app), "labels": labels(app, service)}
    published = kubernetes_ports.published(service)
    wanted: JsonObject = {"name": "default", "model": "virtio", "masquerade": {}}
    if published:
        # Without a list every port is led to the machine; with one these alone.
        rows = dict.fromkeys((row["targetPort"], row["protocol"]) for row in published)
        wanted["ports"] = [{"port": port, "protocol": kind} for port, kind in rows]
    made: JsonObject = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": about,
        "spec": {
            "runStrategy": _strategy(service.restart),
            "template": {
                "metadata": {"labels": labels(app, service)},
                "spec": {
                    "architecture": architecture,
                    "terminationGracePeriodSeconds": int(service.stop_grace_period_s) + 10,
                    "domain": _domain(app, wanted),
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [
                        {
                            "name": "root",
                            "containerDisk": {
                                "image": image.reference,
                                "imagePullPolicy": image.pull_policy,
                                "path": f"/disk/{app.app}.qcow2",
                            },
                        }
                    ],
                },
            },
        },
    }
    if not published:
        return (made,)
    reached: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**about, "name": label(f"{app.app}-published")},
        "spec": {"type": "LoadBalancer", "selector": selector(app, service), "ports": published},
    }
    return made, reached


def _strategy(restart: str) -> str:
    """The VM is off when its App has ended."""
    kind = restart.partition(":")[0]
    return {"always": "Always", "unless-stopped": "Always", "on-failure": "RerunOnFailure"}.get(
        kind, "Once"
    )


def _domain(app: AppSpec, interface: JsonObject) -> JsonObject:
    # EFI switches secure boot on unless it is told not to; that needs SMM, and a signed loader.
    uefi = {"efi": {"secureBoot": False}}
    loader = uefi if app.machine.firmware is Firmware.UEFI else {"bios": {}}
    return {
        "cpu": {"cores": app.machine.cpus},
        "memory": {"guest": str(app.machine.memory_bytes)},
        "machine": {"type": "q35"},
        "firmware": {"bootloader": loader},
        "devices": {
            "disks": [{"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1}],
            "interfaces": [interface],
            "rng": {},
            "autoattachGraphicsDevice": False,
            "autoattachMemBalloon": False,
        },
    }


def findings(app: AppSpec) -> tuple[Finding, ...]:
    """What the VirtualMachine lacks beyond what its disk does."""
    message = "what the machine writes is lost when it is stopped: a containerDisk is read only"
    remedy = "Import the raw disk into a volume of the cluster, where its data has to stay."
    (service,) = app.services
    rows = [Finding("kubevirt", Severity.WARNING, message, (), remedy)]
    for severity, text in kubernetes_ports.lacks(service):
        rows.append(Finding("kubevirt", severity, f"ports: {text}"))
    return tuple(rows)
