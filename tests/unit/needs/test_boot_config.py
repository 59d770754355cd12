"""What the texts of boot loaders say that they start."""

from typing import Any

import pytest

from portkit import boot_text
from portkit.boot_text import ABSENT, GRUB, SYSLINUX, SYSTEMD_BOOT, Text
from portkit.guest import boot_partition
from portkit.model.disk import BootConfig
from portkit.needs import boot_config

HERE = {"/vmlinuz": "", "/boot/vmlinuz-1": "", "/boot/initrd-1": "is no kernel"}


def judged(*texts: Text, **files: str) -> list[BootConfig]:
    """With what was looked up: all that the texts name."""
    named = [name for each in texts for name in boot_text.names(boot_text.parse(each))]
    there = {name: why for name, why in (HERE | files).items() if name in named}
    return boot_config.read(texts, dict.fromkeys(named, ABSENT) | there)


def read(loader: str, text: str, path: str = "/a.cfg", **files: str) -> BootConfig:
    (found,) = judged(Text(loader, path, text), **files)
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
        "UI menu.c32\nMENU INCLUDE more.cfg\nLABEL a\nKERNEL x\n",
        "DEFAULT vesamenu.c32 /boot/menu.cfg\nLABEL a\nKERNEL x\n",
        "UI gfxboot bootlogo\nLABEL a\nKERNEL x\n",
        "DEFAULT a\nONTIMEOUT b\nLABEL a\nKERNEL x\n",
        "DEFAULT a\nLABEL a\nKERNEL ftp://10.0.2.2/x\n",
        "DEFAULT a\nLABEL a\nNEWER 1\nKERNEL x\n",
        "TIMEOUT 50\n# nothing yet\n",
    ],
)
def test_what_syslinux_may_start_besides(text: str) -> None:
    assert not read(SYSLINUX, text).sure


def test_a_menu_of_syslinux() -> None:
    text = (
        "UI vesamenu.c32\nPROMPT 0\nTIMEOUT 50\nMENU TITLE Start\n\n# the usual one\n"
        "LABEL Linux\n  MENU LABEL the system\n  MENU DEFAULT\n  TEXT HELP\n   kernel and more\n"
        "  ENDTEXT\n  KERNEL /boot/vmlinuz-1 root=/dev/sda1 ro\n  INITRD /boot/initrd-1\n"
        "LABEL other\n  KERNEL /gone\n"
    )
    found = read(SYSLINUX, text, "/boot/syslinux/syslinux.cfg")
    assert (found.entries, found.first, found.sure) == (((),), True, True)
    both = read(SYSLINUX, "DEFAULT other\n" + text)
    assert (both.first, len(both.entries)) == (False, 2), "a menu has its own default"
    own = read(SYSLINUX, "DEFAULT Kernel\nLABEL Kernel\n", **{"/Kernel": ""})
    assert own.entries == ((),), "a file's name is not that of its label in small letters"
    suffix = "DEFAULT menu\nLABEL a\nKERNEL /vmlinuz\n"
    assert read(SYSLINUX, suffix).sure
    assert not read(SYSLINUX, suffix, **{"/menu.c32": ""}).sure


def test_the_configurations_of_portkits_own_disks() -> None:
    files = {"/vmlinuz": "", "/initrd": "", "/default.img": ""}
    for loader, text in (
        (SYSLINUX, boot_partition._syslinux("root=x")),
        (SYSTEMD_BOOT, boot_partition._entry("root=x")),
    ):
        found = read(loader, text, "/a/b.conf", **files)
        assert (found.entries, found.sure) == (((),), True)
        lacking = read(loader, text.replace("/vmlinuz", "/gone"), "/a/b.conf", **files)
        assert (len(lacking.entries), bool(lacking.entries[0]), lacking.sure) == (1, True, True)


def test_a_text_of_which_the_end_is_not_known() -> None:
    for loader, text in ((GRUB, "linux /gone\n"), (SYSLINUX, "LABEL a\n"), (SYSTEMD_BOOT, "")):
        (found,) = judged(Text(loader, "/a", text, whole=False))
        assert not found.sure
    assert not boot_config.read([Text(GRUB, "/a", "linux /gone\n")], {})[0].sure, "not looked up"


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
    found = read(GRUB, DEBIAN, "/boot/grub/grub.cfg")
    assert (found.first, found.sure) == (True, True)
    assert lacks(GRUB, DEBIAN) == [[], ["/boot/vmlinuz-0", "/boot/initrd-0"]]
    flawed = read(GRUB, DEBIAN, **{"/boot/vmlinuz-1": "is no kernel"})
    assert flawed.entries[0] == ("/boot/vmlinuz-1, which is no kernel",)
    assert not read(GRUB, DEBIAN.replace('"0"', "saved")).first
    own = read(GRUB, DEBIAN, "/boot/grub/grub.cfg", **{"/boot/grub/custom.cfg": ""})
    assert not own.sure, "a file of the administrator has more entries"
    stub = "search.fs_uuid 1 root\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n"
    assert judged(Text(GRUB, "/EFI/debian/grub.cfg", stub)) == []
    listed = f"if [ -f x ]; then {stub.splitlines()[-1]}; fi"
    assert judged(Text(GRUB, "/EFI/debian/grub.cfg", listed)) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("older' {", "older' {\nlinux /vmlinuz\n}\nset default=1\nmenuentry 'third' {"),
        ("menuentry 'Deb", "set fallback=1\nmenuentry 'Deb"),
        ("menuentry 'Deb", "menuentry 'setup' {\n\tfwsetup\n}\nmenuentry 'Deb"),
        ("menuentry 'Deb", "submenu 'more' {\nmenuentry 'Deb"),
        ("\tlinux\t/boot/vmlinuz-1", "if [ $x = 1 ]; then\nlinux /gone\nfi\nlinux /boot/vmlinuz-1"),
        ("menuentry 'Deb", "if [ $x ]; then\nmenuentry 'a' {\nlinux /gone\n}\nfi\nmenuentry 'Deb"),
        ("menuentry 'Deb", "insmod blscfg\nblscfg\nmenuentry 'Deb"),
    ],
)
def test_where_the_first_entry_of_grub_is_not_known_to_be_started(old: str, new: str) -> None:
    assert old in DEBIAN
    found = read(GRUB, DEBIAN.replace(old, new))
    assert (found.first, found.sure) == (False, True)


@pytest.mark.parametrize(
    "text",
    [
        "menuentry 'x' { linux /boot/vmlinuz-1 ro; initrd /boot/initrd-1 }\n",
        'menuentry "x; {linux}" --id a {\n# linux /x\n linux "/boot/vmlinuz-1" a="b c"\n}\n',
        "menuentry x {\n set root='hd0,gpt2'\n linuxefi ($root)/boot/vmlinuz-1\n}\n",
        "menuentry x {\n linux \\\n /boot/vmlinuz-1\n}\n",
        "menuentry x {\n linux /boot/vmlinuz-1\n initrd newc:a:/vmlinuz $more (hd1)/vmlinuz\n}\n",
        "function go {\n linux (lvm/vg-root)/vmlinuz\n}\nmenuentry x {\n go\n}\n",
    ],
)
def test_an_entry_of_grub_however_it_is_written(text: str) -> None:
    found = read(GRUB, text)
    assert (found.entries, found.sure) == (((),), True)


@pytest.mark.parametrize(
    "text",
    [
        "linux $kernel root=x\n",
        "linux\n",
        "menuentry x {\n loopback loop0 /k3os/kernel.squashfs\n linux (loop0)/vmlinuz\n}\n",
        "loopback loop /a.snap\nset root=loop\nlinux /kernel.img\n",
        "set root='(http,10.0.2.2)'\nlinux /gone\n",
        "linux /gone\nif [ -f $prefix/a.cfg ]; then configfile $prefix/a.cfg; fi\n",
        "for f in a b; do source ${f}; done\n",
        "linux /gone\nmenuentry other { configfile (hd0,2)/boot/grub/grub.cfg }\n",
        "menuentry old { linux /gone }\nmenuentry other { configfile /vmlinuz }\n",
        *(f"menuentry x {{ {name} /x }}\n" for name in ("ntldr", "knetbsd", "kfreebsd")),
        *(f"menuentry x {{ {name} /x }}\n" for name in ("kopenbsd", "xnu_kernel64")),
        *(f"menuentry x {{ {name} /x }}\n" for name in ("xen_hypervisor", "exit", "$run")),
        "menuentry 'x {\n linux /gone\n}\n",
        "chainloader +1\n",
        "chainloader (fd0)/x\n",
        "menuentry x --source 'linux /vmlinuz'\nlinux /gone\n",
    ],
)
def test_what_grub_may_start_besides(text: str) -> None:
    (found,) = judged(Text(GRUB, "/a.cfg", text), **{"/boot/grub/grub.cfg": ""})
    assert not found.sure


def test_another_configuration_of_grub_that_is_not_there() -> None:
    """As that of openSUSE's snapshots, before the first of them."""
    text = (
        "menuentry 'openSUSE' {\n linux /gone\n}\n"
        'if [ -f "/.snapshots/grub-snapshot.cfg" ]; then\n'
        '  source "/.snapshots/grub-snapshot.cfg"\nfi\n'
    )
    assert read(GRUB, text).sure
    assert not read(GRUB, text, **{"/.snapshots/grub-snapshot.cfg": ""}).sure


def test_only_the_content_of_a_kernel_of_linux_is_judged() -> None:
    why = {"/boot/other": "is no kernel"}
    assert read(GRUB, "chainloader (hd0,1)/boot/other\n", **why).entries == ((),)
    assert read(GRUB, "multiboot2 /boot/other\n", **why).entries == ((),)
    assert read(GRUB, "linux /boot/other\n", **why).entries != ((),)
    assert read(SYSTEMD_BOOT, "efi /boot/other\n", **why).entries == ((),)


def test_entries_of_the_specification() -> None:
    def entries(*texts: str) -> Any:
        rows = [Text(SYSTEMD_BOOT, f"/loader/entries/{n}.conf", t) for n, t in enumerate(texts)]
        return [each.entries for each in judged(*rows)]

    good, bad = "title a\nlinux /vmlinuz\noptions x\n", "linux vmlinux\ninitrd /boot/initrd-1\n"
    assert entries(good, bad) == [((), ("/vmlinux, which is not on the disk",))]
    assert entries("title nothing\n") == []
    assert entries("linux /vmlinuz\ninitrd $tuned_initrd\n") == [((),)]
    assert entries("linux vmlinuz\n") == entries("efi \\boot\\vmlinuz-1\n") == [((),)]
    for text in ("linux $kernel\n", "uki-url http://10.0.2.2/a\n", "linux /a\nefi /b\n"):
        (found,) = judged(Text(SYSTEMD_BOOT, "/loader/entries/a.conf", text))
        assert not found.sure


@pytest.mark.parametrize("loader", [SYSLINUX, GRUB, SYSTEMD_BOOT])
@pytest.mark.parametrize(
    "text",
    [
        "\n" * 65536,
        "linux " * 9000,
        "label a\n" * 8000,
        "\0\x1b[2J",
        "linux /\0\n",
        "label a\nkernel /" + "\u00e9" * 200,
        '"\\\n' * 16000,
        "'\"\\" * 16000,
        "${" * 32000,
        "if " * 20000,
        "append initrd=" + "," * 65000,
    ],
)
def test_texts_of_a_hostile_guest(loader: str, text: str) -> None:
    told = Text(loader, "/a\x1b", text)
    assert not any(
        "\0" in name or len(name) > 300 for name in boot_text.names(boot_text.parse(told))
    )
    for found in boot_config.read([told], {}):
        assert "\x1b" not in found.path
        assert len(found.entries) <= 64
