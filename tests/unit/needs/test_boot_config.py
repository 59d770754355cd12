"""What the texts of boot loaders say that they start."""

from typing import Any

import pytest

from portkit.model.disk import BootConfig
from portkit.needs import boot_config
from portkit.needs.boot_config import GRUB, SYSLINUX, SYSTEMD_BOOT, Text

HERE = {"/vmlinuz": "", "/boot/vmlinuz-1": "", "/boot/initrd-1": "is no kernel"}


def read(loader: str, text: str, path: str = "/a.cfg", **files: str) -> BootConfig:
    (found,) = boot_config.read([Text(loader, path, text)], HERE | files)
    assert (found.loader, found.path.rpartition("/")[0]) == (loader, path.rpartition("/")[0])
    return found


def lacks(loader: str, text: str, path: str = "/a.cfg") -> list[list[str]]:
    """The files that each entry lacks."""
    return [[row.partition(",")[0] for row in each] for each in read(loader, text, path).entries]


def test_the_default_of_syslinux() -> None:
    text = "DEFAULT b\nLABEL a\n KERNEL /vmlinuz\nLABEL B\n\tLINUX gone\n INITRD /boot/initrd-1\n"
    found = read(SYSLINUX, text, "/boot/extlinux/extlinux.conf")
    assert found.entries == (("/boot/extlinux/gone, which is not on the disk",),)
    assert (found.first, found.sure) == (True, True)
    assert lacks(SYSLINUX, text.replace("DEFAULT b", "DEFAULT a")) == [[]]
    assert lacks(SYSLINUX, text.replace("DEFAULT b", "DEFAULT menu.c32")) == [[], ["/gone"]]
    assert lacks(SYSLINUX, text.replace("DEFAULT b", "DEFAULT old root=/dev/sda1")) == [["/old"]]
    assert lacks(SYSLINUX, "LABEL linux\nAPPEND quiet initrd=/x,/vmlinuz\n") == [["/linux", "/x"]]
    assert lacks(SYSLINUX, text.replace("DEFAULT b", "UI menu.c32") + "MENU DEFAULT\n") == [
        ["/gone"]
    ]


@pytest.mark.parametrize(
    "text",
    [
        "INCLUDE more.cfg\nLABEL a\nKERNEL x\n",
        "DEFAULT a\nLABEL a\nKERNEL chain.c32\n",
        "DEFAULT a\nLABEL a\nLOCALBOOT 0\n",
        "DEFAULT a\n" + "# \n" * (boot_config.TEXT_BYTES // 3),
    ],
)
def test_what_syslinux_may_start_besides(text: str) -> None:
    assert not read(SYSLINUX, text).sure


DEBIAN = """\
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
menuentry 'Debian GNU/Linux' --class debian {
\tlinux\t/boot/vmlinuz-1 root=UUID=1 ro
\tinitrd\t/boot/initrd-1
}
menuentry 'older' {
\tlinux\t(hd0,gpt1)/boot/vmlinuz-0 root=UUID=1 ro
\tinitrd\t/boot/initrd-0
}
if [ -f  ${config_directory}/custom.cfg ]; then
  source ${config_directory}/custom.cfg
fi
"""


def test_grub() -> None:
    found = read(GRUB, DEBIAN)
    assert (found.first, found.sure, found.more) == (True, True, False)
    assert lacks(GRUB, DEBIAN) == [[], ["/boot/vmlinuz-0", "/boot/initrd-0"]]
    flawed = read(GRUB, DEBIAN, **{"/boot/vmlinuz-1": "is no kernel"})
    assert flawed.entries[0] == ("/boot/vmlinuz-1, which is no kernel",)
    assert not read(GRUB, DEBIAN.replace('"0"', "saved")).first
    assert not read(GRUB, "linux $kernel root=x\n").sure
    assert read(GRUB, "insmod blscfg\nblscfg\n").more
    stub = "search.fs_uuid 1 root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    assert boot_config.read([Text(GRUB, "/EFI/debian/grub.cfg", stub)], HERE) == []


def test_entries_of_the_specification() -> None:
    def entries(*texts: str) -> Any:
        rows = [Text(SYSTEMD_BOOT, f"/loader/entries/{n}.conf", t) for n, t in enumerate(texts)]
        return [each.entries for each in boot_config.read(rows, HERE)]

    good, bad = "title a\nlinux /vmlinuz\noptions x\n", "linux vmlinux\ninitrd /boot/initrd-1\n"
    assert entries(good, bad) == [((), ("/vmlinux, which is not on the disk",))]
    assert entries("title nothing\n") == []
    assert entries("linux /vmlinuz\ninitrd $tuned_initrd\n") == [((),)]


@pytest.mark.parametrize("loader", [SYSLINUX, GRUB, SYSTEMD_BOOT])
@pytest.mark.parametrize("text", ["\n" * 65536, "linux " * 9000, "label a\n" * 8000, "\0\x1b[2J"])
def test_texts_of_a_hostile_guest(loader: str, text: str) -> None:
    for found in boot_config.read([Text(loader, "/a\x1b", text)], {}):
        assert "\x1b" not in found.path
        assert len(found.entries) <= 64
