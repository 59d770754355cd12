"""Writes a disk with libguestfs, in a process of its own: `python -m ..., plan on standard input`.

A process, because libguestfs may hang (under KVM that opens and does nothing) and can then be
ended; nothing of the image is ever mounted on the host. The plan is the JSON of
`portkit.package.disk.plan`, in one line; progress goes to standard error as lines. Standard input
stays open as long as the process that asked for the disk lives: when it ends, so does this one.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"  # UEFI specification 2.10, table 5.7
_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"  # Linux filesystem data
_GRACE_S = 10.0  # for libguestfs to notice that its QEMU has ended, and to remove its sockets
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
        root,
        fstype="ext4",
        blocksize=4096,
        label="portkit-root",
        uuid=plan["root_uuid"],
        reservedblockspercentage=0,
        numberofinodes=plan["inodes"],
    )
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


def _stop(*_: object) -> None:
    """libguestfs waits in C, where no handler of Python's runs, until its QEMU has ended."""
    for path in Path("/proc/self/task").glob("*/children"):
        for pid in path.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
    sys.exit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    with contextlib.suppress(SystemExit):
        _stop()  # the handler itself may have to wait for that
    time.sleep(_GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    with os.fdopen(0, "rb", buffering=0, closefd=False) as told:  # unbuffered: the thread reads on
        row = json.loads(told.readline())
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    write(row)


if __name__ == "__main__":
    main()
