"""Writes the ordinary VM's disk with libguestfs, in a process of its own; plan on standard input.

A process, because libguestfs may hang and can then be ended. The plan: {"disk", "root_tar",
"root_uuid", "memory_mib"}.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# As Debian's installer does it: the first partition at 1 MiB, GRUB's core in the gap before it.
_FIRST_SECTOR = 2048


def write(plan: dict[str, Any]) -> None:
    """Partition, format, fill and make bootable the raw file that the plan names."""
    import guestfs

    g = guestfs.GuestFS(python_return_dict=True)
    g.add_drive_opts(plan["disk"], format="raw", cachemode="unsafe", discard="enable")
    g.set_memsize(plan["memory_mib"])
    g.launch()
    device = g.list_devices()[0]
    root = f"{device}1"
    g.part_init(device, "mbr")
    g.part_add(device, "primary", _FIRST_SECTOR, -1)
    g.part_set_bootable(device, 1, True)
    g.mke2fs(root, fstype="ext4", label="root", uuid=plan["root_uuid"])
    g.mount(root, "/")
    g.tar_in(plan["root_tar"], "/", xattrs=True, acls=True)
    # In the disk's own root: its GRUB, of its own release.
    g.command(["grub-install", "--target=i386-pc", device])
    g.command(["update-grub"])
    g.umount_all()
    g.shutdown()
    g.close()


if __name__ == "__main__":
    write(json.load(sys.stdin))
