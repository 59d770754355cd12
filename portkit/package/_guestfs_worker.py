"""Writes a disk with libguestfs, in a process of its own: `python -m ..., plan on standard input`.

A process, because libguestfs may hang (under KVM that opens and does nothing) and can then be
ended; nothing of the image is ever mounted on the host. The plan is the JSON of
`portkit.package.disk.plan`; progress goes to standard error as lines.
"""

from __future__ import annotations

import json
import sys
from typing import Any

_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"  # UEFI specification 2.10, table 5.7
_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"  # Linux filesystem data
_LEGACY_BOOTABLE = 1 << 2  # what gptmbr.bin looks for (UEFI specification 2.10, table 5.8)


def write(plan: dict[str, Any]) -> None:
    """Partition, format and fill the raw file that the plan names."""
    import guestfs

    g = guestfs.GuestFS(python_return_dict=True)
    g.add_drive_opts(plan["disk"], format="raw", cachemode="unsafe", discard="enable")
    g.set_memsize(plan["memory_mib"])
    _tell("starting libguestfs")
    g.launch()
    device = g.list_devices()[0]
    boot, root = f"{device}1", f"{device}2"
    _partition(g, device, plan)
    _tell("writing the boot partition")
    # Clusters of the size of a page: what is in them lies where a transfer looks for it.
    g.mkfs("vfat", boot, label="PORTKIT", blocksize=4096)
    g.syslinux(boot)
    g.mount(boot, "/")
    for source, target in plan["boot_files"]:
        g.mkdir_p(target.rpartition("/")[0] or "/")
        g.upload(source, target)
    g.umount("/")
    _tell("writing the root")
    g.mke2fs(
        root, fstype="ext4", blocksize=4096, label="portkit-root", uuid=plan["root_uuid"],
        reservedblockspercentage=0, numberofinodes=plan["inodes"],
    )  # fmt: skip
    # noinit_itable: nothing that writes zeros behind our back.
    g.mount_options("noatime,noinit_itable", root, "/")
    g.tar_in(plan["root_tar"], "/", xattrs=True, acls=True)
    g.rmdir("/lost+found")
    g.umount("/")
    with open(plan["mbr"], "rb") as file:  # noqa: PTH123
        g.pwrite_device(device, file.read(440), 0)
    g.shutdown()
    g.close()


def _partition(g: Any, device: str, plan: dict[str, Any]) -> None:
    g.part_init(device, "gpt")
    g.part_add(device, "primary", *plan["boot"])
    g.part_add(device, "primary", *plan["root"])
    g.part_set_name(device, 1, "portkit-boot")
    g.part_set_name(device, 2, "portkit-root")
    g.part_set_gpt_type(device, 1, _ESP)
    g.part_set_gpt_type(device, 2, _LINUX)
    g.part_set_gpt_attributes(device, 1, _LEGACY_BOOTABLE)
    g.part_set_disk_guid(device, plan["disk_uuid"])
    g.part_set_gpt_guid(device, 1, plan["boot_uuid"])
    g.part_set_gpt_guid(device, 2, plan["root_uuid"])


def _tell(text: str) -> None:
    sys.stderr.write(f"portkit: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    write(json.load(sys.stdin))
