from pathlib import Path

from portkit.lab import cgroups

MOUNTS = """\
proc /proc proc rw,relatime 0 0
tmpfs /sys/fs/cgroup tmpfs rw,relatime,mode=755 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup /sys/fs/cgroup/net cgroup rw,nosuid,nodev,noexec,relatime,net_cls,net_prio 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime,nsdelegate 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
"""


def test_hierarchies_with_the_options_that_mount_them_again() -> None:
    found = [(one.kind, str(one.folder), one.options) for one in cgroups.parse_mounts(MOUNTS)]
    assert found == [
        ("cgroup", "/sys/fs/cgroup/cpu", "cpu"),
        ("cgroup", "/sys/fs/cgroup/net", "net_cls,net_prio"),
        ("cgroup", "/sys/fs/cgroup/systemd", "none,name=systemd"),
        ("cgroup2", "/sys/fs/cgroup/unified", "rw"),
    ]


def test_version_2_alone() -> None:
    found = cgroups.parse_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
    assert found == [cgroups.Hierarchy("cgroup2", Path("/sys/fs/cgroup"), "rw")]


def test_nspid() -> None:
    assert cgroups.parse_nspid("Name:\tx\nNSpid:\t812\t1\nNSpgid:\t812\t1\n") == [812, 1]
    assert cgroups.parse_nspid("Name:\tx\n") == []
