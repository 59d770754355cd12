"""What libguestfs itself shows of a disk that portkit did not make, beside what fakes show."""

import gzip
from pathlib import Path

import pytest

from portkit import process
from portkit.model.disk import Bus
from portkit.needs import appliance, disk, inside
from tests.unit.needs.guest_files import bzimage, cpio

pytestmark = pytest.mark.lab
# A disk with sectors of 4096 bytes: /boot, and a root that is encrypted.
MAKE = """\
import sys, guestfs
disk, kernel, initrd = sys.argv[1:]
g = guestfs.GuestFS(python_return_dict=True)
g.set_memsize(1024)  # for the key of LUKS
g.add_drive_opts(disk, format="raw", blocksize=4096)
g.launch()
g.part_init("/dev/sda", "gpt")
g.part_add("/dev/sda", "p", 256, 8191)
g.part_add("/dev/sda", "p", 8192, -256)
g.mkfs("ext4", "/dev/sda1")
g.mount("/dev/sda1", "/")
g.upload(kernel, "/vmlinuz")
g.upload(initrd, "/initrd.img-2.6.32")
g.umount_all()
g.luks_format("/dev/sda2", "secret", 0)
g.shutdown()
"""


def test_an_encrypted_disk_whose_initrd_has_code_for_the_processor_in_front(
    tmp_path: Path,
) -> None:
    kernel, initrd, raw = tmp_path / "vmlinuz", tmp_path / "initrd", tmp_path / "a.raw"
    kernel.write_bytes(bzimage(release=b"2.6.32-754.el6.x86_64").ljust(70_000, b"\0"))
    code = cpio({"kernel/x86/microcode/GenuineIntel.bin": bytes(5000)})
    modules = "lib/modules/2.6.32/modules.builtin"
    main = cpio({"init": b"", modules: b"kernel/fs/ext4/ext4.ko\n", "lib/ahci.ko": bytes(4 << 20)})
    initrd.write_bytes(code + gzip.compress(main, 1))
    with raw.open("wb") as file:
        file.truncate(96 << 20)
    env = appliance.environment(appliance.kernel(), tmp_path)
    argv = [inside.python(), "-c", MAKE, raw, kernel, initrd]
    process.run(argv, env=env, timeout=240)

    found = disk.read(raw)
    assert found.layout
    assert found.layout.sector_bytes == 4096
    told = found.inside
    assert told.encrypted == ("/dev/sda2: crypto_LUKS",)
    assert told.releases == (("/vmlinuz", "2.6.32-754.el6.x86_64"),)
    assert [(each.whole, each.keys) for each in told.unlocks] == [(True, ())]
    buses = {each.bus: each.there for each in told.buses}
    assert (buses[Bus.VIRTIO], buses[Bus.SATA]) == (False, True)
