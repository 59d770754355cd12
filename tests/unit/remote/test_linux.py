"""Facts of a kernel and of an engine: each a parser of what a host printed."""

import json
import os
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.errors import HostError
from portkit.host.facts import parse_facts
from portkit.model import Binfmt, Engine, Linux
from portkit.remote import engine_facts, facts, linux, net_sysctls
from tests.factories import FACTS

V2 = "fpu sse sse2 cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = V2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = V3 + " avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "level"),
    [("fpu sse2", 1), (V2, 2), (V3, 3), (V4, 4), (V3.replace(" bmi2", ""), 2), ("", 1)],
)
def test_levels_of_x86_64(flags: str, level: int) -> None:
    text = f"processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
    assert linux.cpu(text) == ("AMD EPYC", level)


def test_the_least_of_several_processors_counts() -> None:
    assert linux.cpu(f"flags : {V3}\n\nflags : {V2}\n") == ("", 2)
    assert linux.cpu("Features : fp asimd\n") == ("", 0)


@pytest.mark.parametrize(
    ("mounts", "version"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", 2),
        ("tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", 1),
        (
            "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
            "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n",
            1,
        ),
        ("proc /proc proc rw 0 0\n", 0),
    ],
)
def test_cgroups(mounts: str, version: int) -> None:
    assert linux.cgroup(mounts) == version


def test_lists() -> None:
    assert linux.bounding("Name:\tx\nCapBnd:\t000001fffeffffff\n") == "000001fffeffffff"
    assert linux.bounding("CapBnd:\tx\n") == ""
    assert linux.config(None) == {}
    told = linux.config("CONFIG_USER_NS=y\nCONFIG_FUSE_FS=m\n# CONFIG_TUN is not set\n")
    assert (told["USER_NS"], told["FUSE_FS"], told["TUN"]) == ("y", "m", "n")
    assert linux.loaded(None) is None
    assert linux.loaded("tun 65536 2 - Live 0x0\nfuse 1 0 - Live 0x0\n") == ["fuse", "tun"]
    dep = "kernel/net/ipv4/netfilter/ip_tables.ko.xz: kernel/a.ko\nkernel/own.ko:\n"
    assert linux.loadable(dep, "kernel/drivers/net/tun.ko\nkernel/br-netfilter.ko") == [
        "br_netfilter",
        "ip_tables",
        "tun",
    ]
    paths = ["/dev/fuse", "/dev/tty7", "/dev/ttyUSB0", "/dev/pts/0", "/dev/net/tun", "/dev/loop1"]
    assert linux.devices(paths) == ["/dev/fuse", "/dev/net/tun"]


# Debian 12, qemu-user-static.
AARCH64 = """\
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


def test_handlers() -> None:
    assert linux.handler("qemu-aarch64", AARCH64) == {
        "name": "qemu-aarch64",
        "architecture": "arm64",
        "interpreter": "/usr/libexec/qemu-binfmt/aarch64-binfmt-P",
        "flags": "POCF",
    }
    big = AARCH64.replace("0201010000000000000000000200b700", "02020100000000000000000000020016")
    row = linux.handler("qemu-s390x", big)
    assert row is not None
    assert row["architecture"] == "s390x"
    assert linux.handler("off", AARCH64.replace("enabled", "disabled")) is None
    assert linux.handler("jar", "enabled\ninterpreter /x\nflags:\nextension .jar\n") is None
    assert linux.handler("short", AARCH64.replace("0200b700", "")) is None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="a program for it is run")
def test_a_trial_runs_its_program(tmp_path: Path) -> None:
    assert linux.trial("amd64") == "yes"
    (tmp_path / "amd64").write_bytes(linux.program("amd64"))
    (tmp_path / "amd64").chmod(0o700)
    assert process.run([tmp_path / "amd64"]).text == ""
    assert set(linux.gather()["runs"]) == set(linux._EXITS)


def test_what_a_trial_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: BaseException) -> str:
        def run(*words: object, **more: object) -> None:
            raise error

        monkeypatch.setattr(linux.subprocess, "run", run)
        return linux.trial("arm64")

    assert fails(OSError(8, "Exec format error")) == "no"
    assert fails(FileNotFoundError(2, "No such file or directory")) == "its emulator is not there"
    assert fails(PermissionError(13, "Permission denied")) == "unknown"
    assert fails(linux.subprocess.TimeoutExpired("x", 1)) == "it hangs"
    ended = linux.subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(linux.subprocess, "run", lambda *words, **more: ended)
    assert linux.trial("arm64") == "it ends with 1"


def test_processors_and_interfaces() -> None:
    status = "CapBnd:\t000001ffffffffff\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1,8\n"
    assert linux.processors(status) == "0-1,8"
    assert linux.processors("") == ""
    head = "Inter-|   Receive\n face |bytes    packets\n"
    assert linux.interfaces(head + "    lo:   1 2\n  eth0.10: 3 4\n") == ["eth0.10", "lo"]
    assert linux.interfaces(None) is None
    seen = linux.gather()
    assert "lo" in seen["interfaces"]
    assert seen["processors"]


def test_this_machine() -> None:
    found = linux.gather()
    assert found["page_bytes"] == os.sysconf("SC_PAGE_SIZE")
    assert int(found["sysctls"]["vm.max_map_count"]) > 0
    told = parse_facts(plain(linux=found))
    assert told.linux.number("vm.max_map_count") == int(found["sysctls"]["vm.max_map_count"])


INFO = {
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
    "Runtimes": {"runc": {}, "io.containerd.runc.v2": {}},
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
}


def test_an_engine() -> None:
    assert engine_facts.of_info(INFO) == {
        "cgroup": 2,
        "cgroup_driver": "systemd",
        "security": ["apparmor", "seccomp,profile=builtin", "cgroupns"],
        "rootless": False,
        "runtimes": ["io.containerd.runc.v2", "runc"],
        "d_type": True,
        "network_drivers": None,
        "swarm": False,
        "backing": "extfs",
        "unable": None,
    }
    rootless = {
        **INFO,
        "SecurityOptions": ["name=rootless"],
        "DriverStatus": [["Supports d_type", "false"]],
    }
    found = engine_facts.of_info(rootless)
    assert (found["rootless"], found["d_type"]) == (True, False)
    assert engine_facts.of_info({})["cgroup"] == 1
    limits = {"MemoryLimit": True, "CpuCfsQuota": False, "PidsLimit": False}
    assert engine_facts.of_info({**INFO, **limits})["unable"] == ["cpu", "pids"]


def test_the_program_before_the_others(tmp_path: Path) -> None:
    program = tmp_path / "docker-init"
    lacks = {"InitCommit": {"ID": "N/A"}}
    for name in (str(program), "docker-init"):
        assert engine_facts.init({"InitBinary": name, **lacks}, str(tmp_path)) is False
        found = engine_facts.init({"InitBinary": name}, str(tmp_path))
        assert found is None, "a daemon may have a PATH of its own"
    program.touch(mode=0o755)
    assert engine_facts.init({"InitBinary": str(program)}, "/nowhere")
    assert engine_facts.init({"InitBinary": "docker-init"}, str(tmp_path))


def test_what_an_engine_does_not_say() -> None:
    assert engine_facts.of_version({"ApiVersion": "1.45", "MinAPIVersion": "1.24"}) == {
        "name": "",
        "api": "1.45",
        "api_min": "1.24",
        "platform": "",
        "crun": "",
    }
    own = {"Platform": {"Name": "Docker Engine - Community"}}
    assert engine_facts.of_version(own)["platform"] == "Docker Engine - Community"
    text = "runc version 1.1.5+ds1\ncommit: 1\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n"
    assert engine_facts.of_runc(text) == {"runc": "1.1.5+ds1", "libseccomp": "2.5.4"}
    podman = {"Components": [{"Name": "Podman Engine", "Version": "4.3.1"}, {"Name": "Conmon"}]}
    assert engine_facts.of_version(podman)["name"] == "Podman Engine"
    assert engine_facts.of_version({"Components": []})["name"] == ""
    assert engine_facts.of_runc("runc version spec: 1.0.2-dev")["runc"] == ""
    assert engine_facts.of_runc("crun version 1.8") == {"runc": "", "libseccomp": ""}


def plain(**changes: Any) -> dict[str, Any]:
    """As JSON has them."""
    row: dict[str, Any] = json.loads(json.dumps(asdict(FACTS)))
    return {**row, **changes}


def test_a_sysctl_that_is_no_number() -> None:
    for text, wanted in (("--5", None), ("-5", -5), ("", None), ("4 8", 4), ("5x", None)):
        assert Linux(sysctls={"a": text}).number("a") == wanted


def test_machines_have_the_names_of_images() -> None:
    for machine, name in (
        ("x86_64", "amd64"),
        ("aarch64", "arm64"),
        ("armv6l", "arm"),
        ("armv7l", "arm"),
        ("i386", "386"),
        ("i686", "386"),
        ("loongarch64", "loong64"),
        ("riscv64", "riscv64"),
        ("ppc64le", "ppc64le"),
        ("s390x", "s390x"),
    ):
        assert facts.architecture(machine) == name


def test_facts_without_these_are_unknown() -> None:
    """Bundles and journals of before have none of them."""
    old = {key: value for key, value in plain().items() if key not in ("linux", "engine")}
    found = parse_facts(old)
    assert (found.linux, found.engine) == (Linux(), Engine())
    assert found.linux.number("vm.max_map_count") is None
    assert found.linux.binfmt is None


def test_facts_and_back() -> None:
    binfmt = (Binfmt("qemu-aarch64", "arm64", "/usr/bin/qemu", "POCF"), Binfmt("a", "arm", "/q"))
    system = Linux(binfmt=binfmt, devices=("/dev/fuse",), sysctls={"fs.nr_open": "1048576"})
    told = replace(FACTS, linux=system, engine=Engine(security=("rootless",), rootless=True))
    assert parse_facts(json.loads(json.dumps(asdict(told)))) == told
    assert [each.fixed for each in binfmt] == [True, False]


@pytest.mark.parametrize(
    "part",
    [
        {"linux": []},
        {"linux": {"cpu_level": 99}},
        {"linux": {"binfmt": [{}]}},
        {"linux": {"sysctls": {"a": 5}}},
        {"engine": {"security": [5]}},
        {"linux": {"modules": ["x"] * 5000}},
    ],
)
def test_facts_that_cannot_be_right(part: dict[str, Any]) -> None:
    with pytest.raises(HostError):
        parse_facts(plain(**part))


def test_instructions_that_every_processor_has() -> None:
    text = "".join(f"flags\t\t: fpu aes {more}\n" for more in ("sha_ni sse2", "pclmulqdq"))
    assert linux.features(text) == ["aes"]
    assert linux.features("Features\t: fp asimd aes") is None


def test_network_settings_of_a_namespace() -> None:
    found = net_sysctls.names(
        [
            "/proc/sys/net/core/somaxconn",
            "/proc/sys/net/ipv4/conf/lo/rp_filter",
            "/proc/sys/net/ipv4/conf/all/rp_filter",
        ]
    )
    assert found == ["net.core.somaxconn", "net.ipv4.conf.*.rp_filter"]
    seen = net_sysctls.gather()
    assert seen is None or "net.ipv4.ip_forward" in seen


def test_subnets_of_an_engine() -> None:
    rows = [
        {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
        {"Name": "host", "IPAM": {"Config": None}},
        {"Name": "odd", "IPAM": {"Config": ["x", {"Gateway": "1"}]}},
        {"Name": "none"},
    ]
    assert engine_facts.subnets(rows) == [["bridge", "172.17.0.0/16"]]
    kinds = [["back", "overlay", True], ["bridge", "bridge", False]]
    told_of = [{"Name": n, "Driver": d, "Internal": i} for n, d, i in reversed(kinds)]
    assert engine_facts.network_kinds([*told_of]) == kinds
    read = parse_facts({**json.loads(json.dumps(asdict(FACTS))), "network_kinds": kinds})
    assert read.network_kinds == (("back", "overlay", True), ("bridge", "bridge", False))
    told = {**asdict(FACTS), "subnets": [["bridge", "172.17.0.0/16"]]}
    assert parse_facts(json.loads(json.dumps(told))).subnets == (("bridge", "172.17.0.0/16"),)


def test_what_is_asked_for_by_name() -> None:
    hostile = ["/dev/../etc/shadow", "/etc/passwd", "/dev/null\n", 7, "/dev/null", "/dev/tty"]
    asked = {
        "sysctls": ["kernel.ostype", "../etc/passwd", "kernel.nothing", "net.ipv4.conf.all.x/y"],
        "modules": ["no-such", "a/b"],
        "devices": [*hostile, "/dev/no/such"],
    }
    found = linux.gather(asked)
    assert found["sysctls"]["kernel.ostype"] == "Linux"
    assert {"kernel.nothing", "no_such", "/dev/tty", "/dev/no/such"} <= set(found["sought"])
    assert "/dev/tty" in found["devices"]
    assert "/dev/no/such" not in found["devices"]
    assert not [name for name in found["sought"] if ".." in name or name.startswith("/etc")]
    for nothing in (None, [], {"sysctls": "x"}):
        assert linux.names(nothing, "sysctls", linux._SETTING) == []
    assert linux.loadable("kernel/net/batman-adv.ko.xz:\n", "", ["batman_adv"]) == ["batman_adv"]


def test_the_version_of_a_32_bit_arm() -> None:
    versions = [linux.arm_version(name) for name in ("armv6l", "armv7l", "aarch64", "x86_64")]
    assert versions == [6, 7, 0, 0]
