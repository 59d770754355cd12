"""What boot loaders are configured to start, and what of it is on the disk: the worker looks up the
files that the rules judge."""

from typing import Any

import pytest

from portkit.boot_text import ABSENT
from portkit.needs import inside, inside_worker
from portkit.wire import strict_json
from tests.unit.needs.guest_files import PARTITION, Disk, bzimage, configured


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/boot/grub/grub.cfg", "linux (hd0,1)/boot/vmlinuz\n"),
        ("/boot/grub/grub.cfg", "menuentry x { linux '/boot/vmlinuz' ro; initrd /initrd }\n"),
        ("/loader/entries/a.conf", "linux boot/vmlinuz\n"),
        ("/loader/entries/a.conf", "efi \\boot\\vmlinuz\n"),
        ("/extlinux/extlinux.conf", "LABEL a\nKERNEL /boot/vmlinuz root=/dev/sda1\n"),
        ("/boot/extlinux.conf", "LABEL a\nLINUX vmlinuz\nAPPEND initrd=/initrd,/initrd a=b\n"),
        ("/boot/syslinux.cfg", "DEFAULT vmlinuz initrd=/gone\n"),
    ],
)
def test_the_worker_looks_up_what_a_configuration_starts(path: str, text: str) -> None:
    files = {path: text.encode(), "/boot/vmlinuz": bzimage(), "/initrd": b"x"}
    (found,) = configured((PARTITION, Disk(**files))).configs
    assert (found.entries, found.sure) == (((),), True)
    del files["/boot/vmlinuz"]
    (found,) = configured((PARTITION, Disk(**files))).configs
    assert (len(found.entries[0]), found.sure) == (1, True)


FEDORA = """\
set pager=1
if [ -f ${config_directory}/user.cfg ]; then
  source ${prefix}/user.cfg
fi
load_env -f grubenv
set default="${saved_entry}"
menuentry_id_option=""
insmod increment
increment boot_counter
insmod blscfg
blscfg
if [ -f $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""
FEDORA_ENTRY = (
    "title Fedora\nlinux /root/boot/vmlinuz-6\ninitrd /root/boot/initramfs-6.img $tuned\n"
)


def test_grub_with_the_entries_of_the_specification() -> None:
    """GRUB finds their files in all file systems, and names those of a subvolume from the top."""
    boot = {"/grub2/grub.cfg": FEDORA.encode(), "/loader/entries/a.conf": FEDORA_ENTRY.encode()}
    files = {"/boot/vmlinuz-6": bzimage(), "/boot/initramfs-6.img": b"x"}

    def of(root: str) -> list[tuple[str, tuple[tuple[str, ...], ...], bool]]:
        found = configured((PARTITION, Disk(**boot)), (root, Disk(**files)))
        return [(each.loader, each.entries, each.sure) for each in found.configs]

    lacks = tuple(f"/root/boot/{name}, which {ABSENT}" for name in ("vmlinuz-6", "initramfs-6.img"))
    own = [("GRUB", (), True), ("systemd-boot", (lacks,), True)]
    assert of("btrfsvol:/dev/sda3/root") == [*own, ("GRUB", ((),), True)]
    assert of("btrfsvol:/dev/sda3/home") == [*own, ("GRUB", (lacks,), True)]
    assert inside_worker.within("btrfsvol:/dev/sda2/@/.snapshots/1", "/@/.snapshots/1/a") == "/a"
    assert inside_worker.within(PARTITION, "/sda2/a") == "/sda2/a"


def test_of_two_files_of_one_name_one_that_can_be_started_counts() -> None:
    grub = {"/boot/grub/grub.cfg": b"linux /boot/vmlinuz\n"}
    bad, good = Disk(**grub, **{"/boot/vmlinuz": b"#"}), Disk(**{"/boot/vmlinuz": bzimage()})
    for order in ((bad, good), (good, bad)):
        (found,) = configured(*zip(("/dev/sda1", PARTITION), order, strict=True)).configs
        assert found.entries == ((),)
    (found,) = configured((PARTITION, bad)).configs
    assert found.entries == (("/boot/vmlinuz, which is no kernel",),)


class Odd(Disk):
    """A name in / that is not in UTF-8, and a link that leads to itself."""

    def ls(self, path: str) -> list[str]:
        if path == "/":
            return [b"\xe9".decode()]
        return super().ls(path)

    def is_file(self, path: str, **_: bool) -> bool:
        if path == "/boot/vmlinuz-2":
            raise RuntimeError("is_file: stat: Too many levels of symbolic links")
        assert len(path) <= 300
        return super().is_file(path)


def test_odd_names_lose_nothing_else() -> None:
    long = "/" + "a" * 280
    text = f"linux /boot/vmlinuz-2\nlinux {long}\nlinux /\0\nlinux /boot/vmlinuz-1\n"
    disk = Odd("/boot/vmlinuz-2", **{"/boot/vmlinuz-1": bzimage(), "/grub/grub.cfg": text.encode()})
    found = configured((PARTITION, disk))
    assert found.kernels == ("/boot/vmlinuz-1",)
    assert not found.configs[0].sure
    assert f"{PARTITION}: /: a name is not in UTF-8" in found.unread
    assert any("Too many levels" in row for row in found.unread)


def test_a_file_system_with_a_name_that_python_refuses() -> None:
    class Refused(Disk):
        def realpath(self, path: str) -> str:
            raise ValueError("embedded null character")

    found: dict[str, Any] = {"systems": [], "places": [], "files": {}, "unread": []}
    assert not inside_worker.look(Refused("/initrd"), PARTITION, "ext4", found)
    assert found["unread"] == [f"{PARTITION}: ext4: embedded null character"]


def test_texts_of_boot_loaders_fill_no_memory() -> None:
    large = {f"/loader/entries/{number:02}.conf": b"\0" * 65536 for number in range(24)}
    found: dict[str, Any] = {"systems": [], "places": [], "files": {}, "unread": []}
    for number in range(8):
        assert inside_worker.look(Disk(**large), f"/dev/sda{number}", "ext4", found)
    assert inside_worker.OUTPUT_BYTES == strict_json.LIMIT >= len(inside_worker.printed(found))
    assert any("are too large" in row for row in found["unread"])
    assert not all(each.sure for each in inside.inside(found).configs)
    with pytest.raises(RuntimeError, match="more than 16 MiB"):
        inside_worker.printed({**found, "unread": ["x" * inside_worker.OUTPUT_BYTES]})
