"""What an image needs against what a host gives: each rule finds its cause, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit import app as apps
from portkit import compat
from portkit.compat import stated
from portkit.compat.table_of_needs import NEEDS as NEEDS_RULES
from portkit.compat.versions import version
from portkit.engines.domain_xml import Domain, domain_xml
from portkit.engines.virtual_cpu import x86_level
from portkit.model import (
    App,
    Attachment,
    Binary,
    Binfmt,
    Called,
    Device,
    Engine,
    Facts,
    Finding,
    Form,
    Guests,
    ImageConfig,
    Lack,
    Linux,
    Logging,
    Machine,
    Missing,
    Mount,
    Needs,
    Network,
    Port,
    Role,
    Service,
    Severity,
    Software,
    Sought,
    Stated,
    Subnet,
    Ulimit,
    Verdict,
)
from portkit.remote.linux_names import MODULES, OPTIONS
from tests.factories import FACTS, IMAGE

PROGRAM = Binary("/app", Role.PROGRAM, "amd64", 64)
NEEDS = Needs("linux", "amd64", command="/app", binaries=(PROGRAM,))
ELSEWHERE = {"health", "accelerator", "privileged", "capabilities", "port-low", "engine-only"}


def judged(
    facts: Facts = FACTS,
    form: Form = Form.IMAGE,
    image: ImageConfig = IMAGE,
    networks: tuple[Network, ...] = (),
    needs: Needs | None = None,
    attached: bool = False,
    **service: Any,
) -> tuple[Finding, ...]:
    places = tuple(Attachment(each.name) for each in networks) if attached else ()
    service = {**service, "networks": places} if attached else service
    app = App("a", (Service("a", **service),), "compose.yaml", networks=networks)
    spec = apps.resolve_all(app, [image])
    own = {"a": needs} if needs else {}
    found = compat.check(spec, {image.digest: image}, facts, form, needs=own)
    assert all(finding.remedy for finding in found if finding.severity is Severity.ERROR)
    return tuple(finding for finding in found if finding.rule not in ELSEWHERE)


def rules(facts: Facts = FACTS, form: Form = Form.IMAGE, **more: Any) -> set[str]:
    return {f"{row.severity}:{row.rule}" for row in judged(facts, form, **more)}


def verdict(facts: Facts = FACTS, form: Form = Form.IMAGE, **more: Any) -> Verdict:
    return compat.verdict(judged(facts, form, **more), facts, form)


def host(docker: str = "26.1", engine: Engine | None = None, **linux: Any) -> Facts:
    return replace(
        FACTS, docker_version=docker, linux=Linux(**linux), engine=engine or Engine(cgroup=1)
    )


def with_software(name: str, number: str = "") -> Needs:
    return replace(NEEDS, software=(Software(name, number, f"/usr/{name}"),))


def test_all_is_well() -> None:
    for form in Form:
        assert rules(host(cpu_level=2, page_bytes=4096), form, needs=NEEDS) == set()


# ---------------------------------------------------------------- machines

QEMU = "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"
FIXED = Binfmt("qemu-aarch64", "arm64", QEMU, "POCF")
ARM = replace(IMAGE, architecture="arm64")


@pytest.mark.parametrize(
    ("linux", "wanted"),
    [
        ({}, Verdict.INCOMPATIBLE),
        ({"binfmt": ()}, Verdict.INCOMPATIBLE),
        ({"binfmt": (FIXED,)}, Verdict.EMULATED),
        ({"binfmt": (FIXED,), "runs": {"arm64": "yes"}}, Verdict.EMULATED),
        ({"binfmt": (FIXED,), "runs": {"arm64": "unknown"}}, Verdict.EMULATED),
        ({"binfmt": (FIXED,), "runs": {"arm64": "it ends with 255"}}, Verdict.INCOMPATIBLE),
        ({"binfmt": (replace(FIXED, flags="PO"),)}, Verdict.INCOMPATIBLE),
        ({"binfmt": (replace(FIXED, architecture="riscv64"),)}, Verdict.INCOMPATIBLE),
    ],
)
def test_a_foreign_image(linux: dict[str, Any], wanted: Verdict) -> None:
    needs = replace(NEEDS, architecture="arm64", binaries=(replace(PROGRAM, machine="arm64"),))
    assert verdict(host(**linux), image=ARM, needs=needs) is wanted


def test_a_handler_that_containers_do_not_find_is_shown() -> None:
    (found,) = judged(host(binfmt=(replace(FIXED, flags="PO"),)), image=ARM)
    assert "without F" in found.evidence[1]


def test_a_program_for_another_machine_in_an_image_that_says_it_is_ours() -> None:
    foreign = replace(NEEDS, binaries=(replace(PROGRAM, machine="arm64"),))
    for form in Form:
        (found,) = judged(host(binfmt=(), runs={"arm64": "no"}), form, needs=foreign)
        assert (found.rule, found.severity) == ("program-machine", Severity.ERROR)
        assert "exec format error" in found.message
    assert rules(host(binfmt=(FIXED,)), needs=foreign) == {"warning:emulated"}
    assert rules(host(binfmt=(FIXED,)), Form.DISK, needs=foreign) == {"error:program-machine"}
    perhaps = replace(foreign, binaries=(PROGRAM, replace(foreign.binaries[0], sure=False)))
    assert verdict(needs=perhaps) is Verdict.UNKNOWN
    narrow = replace(NEEDS, binaries=(replace(PROGRAM, machine="386", bits=32),))
    assert rules(host(runs={"386": "yes"}), needs=narrow) == rules(needs=narrow) == set()
    assert rules(host(runs={"386": "no"}), needs=narrow) == {"error:program-machine"}


def test_a_program_for_this_machine_in_an_image_that_says_another() -> None:
    image, own = replace(IMAGE, architecture="arm64"), replace(NEEDS, binaries=(PROGRAM,))
    bare = host(binfmt=())
    assert rules(bare, image=image, needs=own) == {"warning:architecture"}
    assert rules(bare, image=image) == {"error:architecture"}, "nothing is known of its programs"
    other = replace(own, binaries=(PROGRAM, replace(PROGRAM, machine="arm64")))
    assert "error:architecture" in rules(bare, image=image, needs=other)
    perhaps = replace(own, binaries=(replace(PROGRAM, sure=False),))
    assert "error:architecture" in rules(bare, image=image, needs=perhaps)


def test_an_image_for_windows() -> None:
    image = replace(IMAGE, os="windows")
    assert rules(image=image) == rules(form=Form.DISK, image=image) == {"error:system"}
    other = replace(image, architecture="arm64")
    needs = replace(NEEDS, missing=(Missing(Lack.COMMAND, "cmd.exe", "argv[0]"),))
    assert rules(replace(FACTS, docker_version=None), image=other, needs=needs) == {"error:system"}


# ---------------------------------------------------------------- what is missing


@pytest.mark.parametrize(
    ("what", "name", "rule"),
    [
        (Lack.COMMAND, "/bin/bash", "missing-command"),
        (Lack.EXECUTABLE, "/app", "not-executable"),
        (Lack.LOADER, "/lib64/ld-linux-x86-64.so.2", "missing-loader"),
        (Lack.LOADER, "/lib/ld-musl-x86_64.so.1", "missing-loader"),
        (Lack.LIBRARY, "libpq.so.5", "missing-library"),
        (Lack.VERSION, "GLIBC_2.38", "symbol-version"),
        (Lack.SYMBOL, "__fprintf_chk", "missing-function"),
        (Lack.USER, "shop", "missing-user"),
    ],
)
def test_what_is_missing(what: Lack, name: str, rule: str) -> None:
    row = Missing(what, name, "/app", "looked everywhere")
    for form in Form:
        assert rules(form=form, needs=replace(NEEDS, missing=(row,))) == {f"error:{rule}"}
        unsure = replace(NEEDS, missing=(replace(row, sure=False),))
        assert rules(form=form, needs=unsure) == {f"unknown:{rule}"}
        assert verdict(form=form, needs=unsure) is Verdict.UNKNOWN


def test_messages_name_cause_and_cure() -> None:
    def one(what: Lack, name: str) -> Finding:
        (found,) = judged(needs=replace(NEEDS, missing=(Missing(what, name, "/run"),)))
        return found

    windows = one(Lack.COMMAND, "/bin/sh\r")
    assert "dos2unix" in windows.remedy
    assert "\\r" in windows.message
    assert "\r" not in windows.message
    loader = one(Lack.LOADER, "/lib64/ld-linux-x86-64.so.2")
    assert "no such file or directory" in loader.message
    assert "gcompat" in loader.remedy
    assert "libc6:i386" in one(Lack.LOADER, "/lib/ld-linux.so.2").remedy
    assert "libc6:armhf" in one(Lack.LOADER, "/lib/ld-linux-armhf.so.3").remedy
    for name in ("/lib/ld-uClibc.so.0", "/lib/ld64-uClibc.so.1"):
        assert "uClibc" in one(Lack.LOADER, name).remedy


def test_what_could_not_be_read_is_unknown() -> None:
    unread = replace(NEEDS, unread=("/app may be on a volume",))
    assert verdict(needs=unread) is Verdict.UNKNOWN


def test_the_driver_of_a_gpu_is_no_library_of_the_image() -> None:
    row = Missing(Lack.LIBRARY, "libcuda.so.1", "/app")
    needs = replace(with_software("nvidia"), missing=(row,))
    able = host(engine=Engine(cgroup=1, runtimes=("nvidia", "runc")))
    unable = host(engine=Engine(cgroup=1, runtimes=("runc",)))
    assert rules(able, needs=needs) == {"unknown:gpu"}
    assert rules(needs=needs) == {"unknown:gpu", "info:gpu"}
    assert rules(unable, needs=needs) == {"error:gpu", "warning:gpu"}
    assert rules(able, Form.DISK, needs=needs) == {"error:gpu", "warning:gpu"}
    assert rules(able, Form.DISK, needs=replace(NEEDS, missing=(row,))) == {"error:gpu"}
    perhaps = replace(needs, missing=(replace(row, sure=False),))
    assert rules(unable, needs=perhaps) == {"unknown:gpu", "warning:gpu"}


# ---------------------------------------------------------------- processor and kernel


def leveled(level: int, sure: bool = True) -> Needs:
    return replace(NEEDS, binaries=(replace(PROGRAM, level=level, sure=sure),))


@pytest.mark.parametrize("level", [2, 3, 4])
def test_levels_of_the_processor(level: int) -> None:
    for has in (1, 2, 3, 4):
        wanted = {"error:cpu-level"} if level > has else set()
        assert rules(host(cpu_level=has), needs=leveled(level)) == wanted
        kvm = replace(host(cpu_level=has), accelerator="kvm")
        assert rules(kvm, Form.DISK, needs=leveled(level)) == wanted
    assert rules(host(), needs=leveled(level)) == {"unknown:cpu-level"}
    unsure = leveled(level, sure=False)
    assert rules(host(cpu_level=1), needs=unsure) == {"unknown:cpu-level"}
    assert rules(host(cpu_level=level), needs=unsure) == set()
    built = replace(NEEDS, built_level=level, built_by="/etc/os-release: rhel 9")
    (found,) = judged(host(cpu_level=1), needs=built)
    assert found.evidence[0] == "/etc/os-release: rhel 9"


NEHALEM = ("lm", "sse2", "pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "lahf_lm")


def with_code(*flags: str, perhaps: tuple[str, ...] = (), sure: bool = True) -> Needs:
    one = replace(PROGRAM, features=flags, perhaps_features=perhaps, sure=sure)
    return replace(NEEDS, binaries=(PROGRAM, replace(one, path="/lib/libx.so")))


def test_code_that_a_program_may_choose() -> None:
    has, lacks = host(cpu_features=(*NEHALEM, "avx")), host(cpu_features=NEHALEM)
    for needs, wanted in (
        (with_code("avx"), "error:cpu-level"),
        (with_code(perhaps=("avx",)), "unknown:cpu-level"),
        (with_code("avx", sure=False), "unknown:cpu-level"),
    ):
        assert rules(lacks, needs=needs) == {wanted}
        assert rules(has, needs=needs) == set(), "an instruction counts, and not its level"
    (found,) = judged(lacks, needs=with_code("avx", "fma"))
    assert "/lib/libx.so has instructions (AVX, FMA)" in found.message
    noted = replace(PROGRAM, level=2, perhaps_features=("avx2",))
    needs = replace(NEEDS, binaries=(noted,))
    full = (*NEHALEM, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
    assert [
        rules(host(cpu_level=level, cpu_features=flags), needs=needs)
        for level, flags in ((1, ("lm", "sse2")), (2, NEHALEM), (3, full))
    ] == [{"error:cpu-level"}, {"unknown:cpu-level"}, set()]


def test_what_is_known_of_a_processor() -> None:
    """Facts of an older portkit have few flags, and documents at most the level."""
    assert rules(host(cpu_level=1), needs=with_code("avx")) == {"unknown:cpu-level"}
    assert rules(host(cpu_level=3), needs=with_code("avx")) == set()
    assert rules(host(cpu_level=2), needs=with_code(perhaps=("avx",))) == set()
    assert rules(host(cpu_features=()), needs=with_code("adx")) == {"unknown:cpu-features"}
    assert rules(host(cpu_features=("lm",)), needs=with_code("adx")) == {"error:cpu-features"}


@pytest.mark.parametrize(
    ("model", "flag", "rule"),
    [
        ("Conroe", "ssse3", ""),
        ("Conroe", "sse4_1", "error:cpu-level"),
        ("SandyBridge", "avx", ""),
        ("IvyBridge", "avx", ""),
        ("IvyBridge", "f16c", ""),
        ("SandyBridge", "avx2", "error:cpu-level"),
        ("Haswell", "adx", "error:cpu-features"),
        ("Haswell", "movbe", ""),
        ("Opteron_G4", "xop", "error:cpu-features"),  # the host has none
        ("qemu64", "rdrand", "error:cpu-features"),
        ("qemu64", "popcnt", ""),
        ("qemu32", "", "error:cpu-level"),
        ("pentium3", "", "error:cpu-level"),
        ("486", "", "error:cpu-level"),
        ("", "xop", "error:cpu-features"),
        ("", "adx", ""),
        ("Other-Model", "avx", "unknown:cpu-level"),
    ],
)
def test_instructions_of_a_processor_model(model: str, flag: str, rule: str) -> None:
    facts = replace(host(), accelerator="tcg", qemu_version="10.0.2")
    facts = replace(facts, guests=Guests(cpu_models={model: 1}))
    needs = with_code(flag) if flag else NEEDS
    found = rules(facts, Form.DISK, needs=needs, machine=Machine(cpu_model=model))
    assert found == ({rule} if rule else set())


def test_the_processor_of_a_vm_without_kvm() -> None:
    def disk(qemu: str | None, level: int) -> set[str]:
        facts = replace(host(cpu_level=4), qemu_version=qemu)
        return rules(facts, Form.DISK, needs=leveled(level)) - {"error:libvirt"}

    assert disk("7.2.13", 3) == disk("11.1", 3) == disk("6.2", 2) == set()
    assert disk("6.2", 3) == disk("10.0", 4) == {"error:cpu-level"}
    assert disk(None, 3) == {"unknown:cpu-level"}


def test_the_processor_model_of_a_vm_says_its_level() -> None:
    guests = Guests(cpu_models={"qemu64": 1, "Nehalem": 2})
    facts = replace(host(cpu_level=4), guests=guests, qemu_version="10.0")

    def disk(model: str, level: int) -> set[str]:
        asked = Machine(cpu_model=model)
        return rules(facts, Form.DISK, needs=leveled(level), machine=asked) - {"error:libvirt"}

    assert disk("Nehalem", 2) == disk("", 3) == set()
    assert disk("Haswell", 3) == {"error:cpu-model"}
    assert disk("Skylake-Server", 4) == {"error:cpu-model", "error:cpu-level"}, "not emulated"
    assert disk("qemu64", 2) == disk("Nehalem", 3) == {"error:cpu-level"}


def test_the_level_is_that_of_the_domain_that_is_defined() -> None:
    """`virtual_cpu` says what `domain_xml` asks QEMU for."""
    domain = Domain("pk-0123456789ab", "a", "/o", "/b", "/c", "/s", "/t", 1 << 29, 1, ())
    assert '<cpu mode="maximum">' in domain_xml(domain)
    assert '<cpu mode="host-passthrough"' in domain_xml(replace(domain, kvm=True))
    assert x86_level(kvm=True, host_level=2, qemu="9.0") == 2
    assert x86_level(kvm=False, host_level=2, qemu="9.0") == 3


def test_an_old_kernel() -> None:
    parts = (PROGRAM, replace(PROGRAM, role=Role.LOADER), replace(PROGRAM, role=Role.LIBRARY))
    needs = replace(glibc(2, 35), binaries=(*parts[:2], replace(parts[2], kernel=(3, 17, 0))))
    old, new = replace(FACTS, kernel="3.10.0-1160.el7.x86_64"), replace(FACTS, kernel="3.17")
    assert rules(old, needs=needs) == {"error:kernel-old"}
    assert rules(replace(new, kernel="6.1.0-18-amd64"), needs=needs) == set()
    assert rules(old, Form.DISK, needs=needs) == set(), "a disk has a kernel of its own"
    assert rules(old, needs=replace(needs, libc_version=(2, 36))) == {"info:kernel-old"}
    program = replace(needs, binaries=(replace(PROGRAM, kernel=(3, 17, 0)), *parts[1:]))
    assert rules(old, needs=program) == set(), "the kernel does not look at it"
    static = replace(NEEDS, binaries=program.binaries[:1])
    assert rules(old, needs=static) == {"unknown:kernel-old"}


def test_pages() -> None:
    needs = replace(NEEDS, binaries=(replace(PROGRAM, align=4096),))
    assert rules(host(page_bytes=65536), needs=needs) == {"error:page-size"}
    behind = replace(needs, binaries=(replace(needs.binaries[0], sure=False),))
    assert rules(host(page_bytes=65536), needs=behind) == {"unknown:page-size"}
    for size, wanted in ((16384, {"unknown:page-size"}), (4096, set()), (0, set())):
        assert rules(host(page_bytes=size), needs=with_software("jemalloc")) == wanted
    assert rules(host(page_bytes=4096), needs=needs) == rules(needs=needs) == set()


# ---------------------------------------------------------------- the engine


def glibc(*numbers: int) -> Needs:
    return replace(NEEDS, libc="glibc", libc_version=numbers)


def test_threads_of_a_static_program() -> None:
    """Of glibc nothing is seen but the call itself."""
    calls = replace(NEEDS, calls=(Called("clone3", "/app"),))
    old = Engine(cgroup=1, platform="Docker Engine - Community")
    assert rules(host("20.10.9", engine=old), needs=calls) == {"unknown:clone3-refused"}
    assert rules(host("20.10.10", engine=old), needs=calls) == set()
    assert rules(host("20.10.9", engine=old), needs=NEEDS) == set()


def test_threads_under_an_old_engine() -> None:
    assert rules(host("20.10.9"), needs=glibc(2, 34)) == {"unknown:clone3-refused"}
    assert rules(host("20.10.10+dfsg1"), needs=glibc(2, 34)) == set()
    assert rules(host("20.10.9"), needs=glibc(2, 33)) == set()
    assert rules(host("20.10.9"), Form.DISK, needs=glibc(2, 34)) == set()
    open_ = {"security_opt": ("seccomp=unconfined",)}
    assert rules(host("20.10.9"), needs=glibc(2, 34), **open_) == set()
    off = Engine(security=("apparmor",))
    assert rules(host("20.10.9", off), needs=glibc(2, 34)) == set()
    assert rules(podman("4.3.1"), needs=glibc(2, 34)) == set()
    found = rules(podman("3.2.3", crun="1.0"), needs=glibc(2, 34))
    assert found == {"unknown:clone3-refused", "warning:new-calls-refused"}
    for profile, wanted in (
        ("unconfined", set()),
        ("/etc/docker/own.json", set()),
        ("default", {"unknown:clone3-refused"}),
    ):
        own = Engine(security=(f"seccomp,profile={profile}",))
        assert rules(host("20.10.9", own), needs=glibc(2, 34)) == wanted


@pytest.mark.parametrize(
    ("threads", "platform", "wanted"),
    [
        (False, "Docker Engine - Community", set()),
        (False, "", set()),
        (None, "Docker Engine - Community", {"unknown:clone3-refused"}),
        (True, "", {"unknown:clone3-refused"}),
        (True, "Docker Engine - Community", {"error:clone3-refused"}),
    ],
)
def test_what_makes_no_threads_is_left_alone(
    threads: bool | None, platform: str, wanted: set[str]
) -> None:
    needs = replace(glibc(2, 34), threads=threads)
    assert rules(host("20.10.9", Engine(platform=platform)), needs=needs) == wanted
    assert rules(host("20.10.10", Engine(platform=platform)), needs=needs) == set()


def test_old_libseccomp_and_runc() -> None:
    def old(library: str = "", runc: str = "", docker: str = "26.1") -> Facts:
        return host(docker, Engine(cgroup=1, libseccomp=library, runc=runc))

    new_calls = {"warning:new-calls-refused"}
    for needs in (glibc(2, 33), musl(1, 2, 2)):
        assert rules(old("2.4.3"), needs=needs) == {"warning:faccessat2-refused"}
        both = {"warning:faccessat2-refused"} | new_calls
        assert rules(old("2.5.1", "1.0.0-rc10", "19.03.8"), needs=needs) == both
        assert rules(old("2.4.3", "1.0.0-rc92"), needs=needs) == both
        assert rules(old("2.4.3", "1.0.0-rc93"), needs=needs) == set(), "it answers ENOSYS"
        assert rules(old("2.5.1", "1.1.5", "19.03.8"), needs=needs) == set()
        assert rules(old("2.4.4"), needs=needs) == set()
    assert rules(old("2.4.3"), needs=musl(1, 2, 1)) == set()
    narrow = (replace(PROGRAM, machine="386", bits=32),)
    for needs in (musl(1, 2, 0), glibc(2, 31)):
        thirty_two = replace(needs, binaries=narrow)
        assert rules(old("2.4.1"), needs=thirty_two) == {"warning:time64-refused"}
        assert rules(old("2.4.1", "1.0.0-rc93"), needs=thirty_two) == set()
        assert "warning:time64-refused" in rules(old("2.5.1", "", "19.03.8"), needs=thirty_two)
        assert rules(old("2.4.1"), needs=needs) == set(), "it concerns code of 32 bits alone"
    assert rules(old("2.4.1"), needs=replace(glibc(2, 30), binaries=narrow)) == set()
    for runc, refuses in (
        ("1.0.0-rc92", True),
        ("1.0.0-rc93", False),
        ("1.0.0~rc10+ds1", True),
        ("1.0.0~rc93+ds1", False),
        ("1.0.0-rc.92", True),
        ("1.1.5+ds1", False),
        ("", False),
    ):
        assert rules(old(runc=runc), needs=NEEDS) == (new_calls if refuses else set()), runc


def musl(*numbers: int) -> Needs:
    return replace(NEEDS, libc="musl", libc_version=numbers)


def calling(*names: str, sure: bool = True) -> Needs:
    return replace(NEEDS, calls=tuple(Called(name, "/app", sure=sure) for name in names))


def podman(number: str = "5.4.2", **engine: Any) -> Facts:
    return host(number, Engine(name="Podman Engine", cgroup=1, **engine))


@pytest.mark.parametrize(
    ("number", "engine", "denies"),
    [
        ("3.4.4", {"crun": "0.17"}, True),
        ("3.4.4", {"crun": "1.4.5"}, False),
        ("3.4.4", {"runc": "1.0.0-rc94"}, True),
        ("3.4.4", {"runc": "1.1.0"}, False),
        ("3.0.1", {"crun": "1.8"}, True),
        ("3.4.4", {}, False),
    ],
)
def test_new_calls_under_podman(number: str, engine: dict[str, str], denies: bool) -> None:
    facts = podman(number, **engine)
    assert rules(facts, needs=NEEDS) == ({"warning:new-calls-refused"} if denies else set())
    wanted = {"unknown:new-calls-refused"} if denies else set()
    assert rules(facts, needs=calling("mseal")) == wanted
    assert rules(facts, Form.DISK, needs=calling("mseal")) == set()
    open_ = {"security_opt": ("seccomp=unconfined",)}
    assert rules(facts, needs=calling("mseal"), **open_) == set()


def test_io_uring() -> None:
    blocked = {"warning:io-uring-refused"}
    for needs in (with_software("io_uring"), calling("io_uring_setup")):
        assert rules(host("25.0.3"), needs=needs) == blocked
        assert rules(host("24.0.7"), needs=needs) == set()
        assert rules(host("19.03.8"), needs=needs) == blocked, "it is not in that profile yet"
        assert rules(host("24.0.7", Engine(libseccomp="2.4.4")), needs=needs) == blocked
        assert rules(host("24.0.7", config={"IO_URING": "n"}), needs=needs) == blocked
        assert rules(host("25.0.3"), Form.DISK, needs=needs) == set()
        (found,) = judged(podman(), needs=needs)
        assert (found.rule, "ENOSYS" in found.message) == ("io-uring-refused", True)
    old = replace(host("24.0.7"), kernel="4.18.0-553.el8")
    assert rules(old, needs=with_software("io_uring")) == blocked
    for value, more, wanted in (
        ("0", {}, set()),
        ("1", {}, blocked),
        ("1", {"cap_add": ("SYS_ADMIN",)}, set()),
        ("1", {"cap_add": ("SYS_ADMIN",), "user": "7"}, blocked),
        ("2", {"privileged": True}, blocked),
    ):
        facts = host("24.0.7", sysctls={"kernel.io_uring_disabled": value})
        assert rules(facts, needs=with_software("io_uring"), **more) == wanted, (value, more)


@pytest.mark.parametrize(
    ("name", "capability", "docker", "under_podman"),
    [
        ("userfaultfd", "", True, True),
        ("keyctl", "", True, False),
        ("add_key", "", True, True),
        ("perf_event_open", "PERFMON", True, True),
        ("bpf", "BPF", True, True),
        ("unshare", "SYS_ADMIN", True, False),
        ("setns", "SYS_ADMIN", True, True),
        ("mount", "SYS_ADMIN", True, True),
        ("quotactl", "SYS_ADMIN", True, True),
        ("mbind", "SYS_NICE", True, False),
    ],
)
def test_calls_that_a_profile_denies(
    name: str, capability: str, docker: bool, under_podman: bool
) -> None:
    """As seen with Docker 20.10 and Podman 5.4."""
    able = {"cap_add": (capability,)} if capability else {}
    for facts, denies in ((host("26.1"), docker), (podman(), under_podman)):
        found = rules(facts, needs=calling(name))
        assert found == ({"unknown:calls-refused"} if denies else set())
        assert rules(facts, needs=calling(name), privileged=True) == set()
        if able:
            assert rules(facts, needs=calling(name), **able) == set()
        if denies:
            large = rules(facts, needs=calling(name, sure=False))
            assert large in ({"info:calls-refused"}, {"warning:calls-refused"})
    assert rules(host(), needs=calling("nothing")) == set()


def test_capabilities_that_an_old_profile_does_not_know() -> None:
    for name, capability in (("bpf", "BPF"), ("perf_event_open", "PERFMON")):
        needs, able = calling(name), {"cap_add": (capability,)}
        assert rules(host("20.10.24"), needs=needs, **able) == {"unknown:calls-refused"}
        assert rules(host("23.0.1"), needs=needs, **able) == set()
        assert rules(host("20.10.24"), needs=needs, cap_add=("SYS_ADMIN",)) == set()


def test_calls_that_the_kernel_denies() -> None:
    open_ = {"security_opt": ("seccomp=unconfined",)}
    denied = {"unknown:calls-refused"}
    assert rules(needs=calling("mount"), **open_) == denied
    assert rules(needs=calling("mount"), user="7", cap_add=("SYS_ADMIN",), **open_) == denied
    for setting, value, name in (
        ("kernel.perf_event_paranoid", "3", "perf_event_open"),
        ("kernel.unprivileged_bpf_disabled", "2", "bpf"),
        ("user.max_user_namespaces", "0", "unshare"),
    ):
        facts = host(sysctls={setting: value})
        (found,) = judged(facts, needs=calling(name), **open_)
        assert setting in found.message
        assert rules(needs=calling(name), **open_) == set()
        assert rules(facts, needs=calling(name), cap_add=("SYS_ADMIN",), **open_) == set()
    assert rules(form=Form.DISK, needs=calling("perf_event_open")) == denied, "3 in Debian"
    assert rules(form=Form.DISK, needs=calling("keyctl", "add_key", "unshare")) == set()
    assert rules(form=Form.DISK, needs=calling("userfaultfd")) == denied, "0 in Debian"
    facts = host(sysctls={"vm.unprivileged_userfaultfd": "1"})
    assert rules(facts, needs=calling("userfaultfd"), **open_) == set()


def sandbox(*options: str, sure: bool = True) -> dict[str, Any]:
    found = Software("bubblewrap", "", "/usr/bin/bwrap", sure=sure)
    argv = ("/usr/bin/bwrap", "--ro-bind", "/", "/", *options, "true")
    return {"needs": replace(NEEDS, software=(found,)), "command": argv}


OPEN: dict[str, Any] = {"security_opt": ("seccomp=unconfined",)}
REFUSED, PERHAPS = {"error:sandbox-refused"}, {"unknown:sandbox-refused"}


def test_sandboxes() -> None:
    """As seen with bubblewrap 0.12, Docker 20.10 and Podman 5.4."""
    own_proc = ("--unshare-pid", "--proc", "/proc")
    assert rules(**sandbox()) == rules(user="7", **sandbox()) == REFUSED
    for facts, more in ((host(), OPEN), (podman(), {})):
        for user, options, wanted in (
            ("0", (), REFUSED),
            ("0", ("--unshare-all",), set()),
            ("0", ("--unshare-all", "--proc", "/proc"), REFUSED),
            ("7", (), set()),
            ("7", ("--proc", "/proc"), set()),
            ("7", own_proc, REFUSED),
        ):
            assert rules(facts, user=user, **more, **sandbox(*options)) == wanted, (user, options)
        assert rules(facts, privileged=True, **sandbox()) == set()
        assert rules(facts, cap_add=("SYS_ADMIN",), **more, **sandbox(*own_proc)) == set()
    assert rules(**sandbox(sure=False)) == {"warning:sandbox-refused"}
    assert rules(podman(), user="7", **sandbox(sure=False)) == set()


def test_sandboxes_and_the_kernel() -> None:
    for setting, value, wanted in (
        ("user.max_user_namespaces", "0", REFUSED),
        ("kernel.unprivileged_userns_clone", "0", REFUSED),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", PERHAPS),
    ):
        facts = host(sysctls={setting: value})
        (found,) = judged(facts, user="7", **OPEN, **sandbox())
        assert {f"{found.severity}:{found.rule}"} == wanted
        assert setting in found.message
        assert rules(facts, cap_add=("SYS_ADMIN",), **sandbox()) == set(), "as root it needs none"
    confined = host(engine=Engine(cgroup=1, security=("apparmor", "seccomp,profile=builtin")))
    able = {"cap_add": ("SYS_ADMIN",)}
    assert rules(confined, **able, **sandbox()) == PERHAPS
    off = {"security_opt": ("apparmor=unconfined",)}
    assert rules(confined, **able, **off, **sandbox()) == set()


def test_sandboxes_in_a_vm() -> None:
    assert rules(form=Form.DISK, **sandbox()) == REFUSED, "as root"
    assert rules(form=Form.DISK, user="1000", **sandbox()) == set()
    options = ("--unshare-all", "--proc", "/proc")
    assert rules(form=Form.DISK, user="1000", **sandbox(*options)) == set()


def test_tables() -> None:
    able = {"cap_add": ("NET_ADMIN",)}
    refused = {"error:iptables-legacy"}
    for name, option, path in (
        ("ip_tables", "IP_NF_IPTABLES", "/usr/sbin/xtables-legacy-multi"),
        ("ip6_tables", "IP6_NF_IPTABLES", "/usr/sbin/ip6tables-legacy"),
    ):
        needs = replace(NEEDS, software=(Software("iptables-legacy", "", path),))
        new = host(config={option: "m"}, loadable=("nf_tables",))
        assert rules(new, needs=needs, **able) == refused
        assert rules(new, needs=needs) == set(), "it may not change tables anyway"
        idle = host(config={option: "m"}, loadable=(name,), modules=())
        (found,) = judged(idle, needs=needs, **able)
        assert (found.severity, f"modprobe {name}" in found.remedy) == (Severity.ERROR, True)
        assert rules(host(modules=(name,)), needs=needs, **able) == set()
        for built in ({option: "y"}, {f"{option}_LEGACY": "y"}):
            assert rules(host(config=built), needs=needs, **able) == set()
        assert rules(host(), needs=needs, **able) == {"unknown:iptables-legacy"}
        assert rules(host(), Form.DISK, needs=needs, **able) == refused
        assert rules(host(), Form.DISK, needs=needs) == set()
        perhaps = replace(needs, software=(replace(needs.software[0], sure=False),))
        assert rules(new, needs=perhaps, **able) == {"warning:iptables-legacy"}
    argv = {"command": ("/usr/sbin/ip6tables", "-L")}
    only_four = host(config={"IP_NF_IPTABLES": "y", "IP6_NF_IPTABLES": "n"})
    assert rules(only_four, needs=with_software("iptables-legacy"), **able, **argv) == refused


def test_tables_of_nftables() -> None:
    needs, able = with_software("nftables"), {"cap_add": ("NET_ADMIN",)}
    for facts, wanted in (
        (host(config={"NF_TABLES": "n"}), {"error:iptables-nft"}),
        (host(config={"NF_TABLES": "m"}, loadable=("nf_tables",)), set()),
        (replace(host(), kernel="3.10.0-1160.el7"), {"error:iptables-nft"}),
        (host(loadable=("ip_tables",)), {"error:iptables-nft"}),
        (host(), {"unknown:iptables-nft"}),
    ):
        assert rules(facts, needs=needs, **able) == wanted
        assert rules(facts, Form.DISK, needs=needs, **able) == {"error:iptables-nft"}
        assert rules(facts, needs=needs) == set()


def test_limits_that_an_engine_does_not_have() -> None:
    memory = {"mem_limit_bytes": 64 << 20}
    for engine in (Engine(cgroup=2, unable=("memory", "cpu")), Engine(cgroup=1, rootless=True)):
        assert rules(host(engine=engine), **memory) == {"warning:limits-ignored"}
        assert rules(host(engine=engine), cpus=1.0) == {"error:limits-ignored"}
        called = replace(engine, name="Podman Engine")
        assert "warning:limits-ignored" in rules(host(engine=called), cpus=1.0)
        assert rules(host(engine=engine)) == set()
    able = Engine(cgroup=1, rootless=True, unable=())
    assert rules(host(engine=able), **memory) == rules(host(), **memory) == set()


def test_an_engine_with_a_user_namespace() -> None:
    facts = host(engine=Engine(cgroup=2, security=("seccomp,profile=builtin", "userns")))
    refused = {"error:engine-user-namespaces"}
    for asked in ({"privileged": True}, {"network_mode": "host"}, {"pid": "host"}):
        assert rules(facts, **asked) == refused
        assert rules(facts, userns_mode="host", **asked) == rules(host(), **asked) == set()
    assert rules(facts) == set()


def test_profiles_of_apparmor() -> None:
    asked = {"security_opt": ("apparmor=mine",)}
    without, has = Engine(cgroup=1, security=()), Engine(cgroup=1, security=("apparmor",))
    assert rules(host(engine=without), **asked) == {"warning:apparmor"}
    called = replace(without, name="Podman Engine")
    assert rules(host(engine=called), **asked) == {"error:apparmor"}
    assert rules(host(engine=has), **asked) == {"unknown:apparmor"}
    assert rules(host(), **asked) == {"info:apparmor"}
    for name in ("unconfined", "docker-default"):
        assert rules(host(engine=without), security_opt=(f"apparmor={name}",)) == set()


def test_the_program_that_is_started_first() -> None:
    for has, wanted in ((False, {"error:init-absent"}), (True, set()), (None, set())):
        facts = host(engine=Engine(cgroup=1, init=has))
        assert rules(facts, init=True) == wanted
        assert rules(facts) == rules(facts, Form.DISK, init=True) == set()


def test_what_a_kubelet_allows() -> None:
    nodes = replace(host(), os_id="kubernetes")
    assert rules(nodes, sysctls={"net.core.somaxconn": "1024"}) == {"unknown:sysctl"}
    assert rules(nodes, sysctls={"net.ipv4.tcp_syncookies": "1"}) == set()


@pytest.mark.parametrize(
    ("number", "cgroup", "wanted"),
    [
        ("219", 2, {"error:systemd-old"}),
        ("229", 2, {"error:systemd-old"}),
        ("230", 2, set()),
        ("219", 1, set()),
        ("252", 2, set()),
        ("252", 1, set()),
        ("258", 1, {"error:systemd-new"}),
        ("258", 2, set()),
        ("258", 0, {"unknown:systemd-new"}),
        ("", 1, set()),
        ("", 2, set()),
    ],
)
def test_systemd(number: str, cgroup: int, wanted: set[str]) -> None:
    needs, facts = with_software("systemd", number), host(engine=Engine(cgroup=cgroup))
    assert rules(facts, needs=needs, privileged=True) == wanted
    assert rules(facts, needs=needs) == {*wanted, "error:systemd-rights"}
    assert rules(facts, Form.DISK, needs=needs) == set()
    groups = Mount("bind", "/sys/fs/cgroup", "/sys/fs/cgroup")
    for able in ({"cap_add": ("SYS_ADMIN",)}, {"volumes": (groups,)}):
        found = {*rules(facts, needs=needs, **able)}
        assert {*wanted, "unknown:systemd-rights"} <= found
        assert "error:systemd-rights" not in found
    podman = replace(facts, engine=replace(facts.engine, name="Podman Engine"))
    assert rules(podman, needs=needs) == wanted
    perhaps = replace(needs, software=(replace(needs.software[0], sure=False),))
    unsure = {row.replace("error:", "unknown:") for row in wanted}
    assert rules(facts, needs=perhaps) == {*unsure, "unknown:systemd-rights"}


@pytest.mark.parametrize(
    ("number", "blind"),
    [
        ("1.8.0_362", True),
        ("1.8.0_372", False),
        ("11.0.15", True),
        ("11.0.16", False),
        ("14.0.2", True),
        ("15", False),
        ("21.0.1", False),
    ],
)
def test_java(number: str, blind: bool) -> None:
    needs, v2 = with_software("java", number), host(engine=Engine(cgroup=2))
    limit = {"mem_limit_bytes": 1 << 28}
    assert rules(v2, needs=needs, **limit) == ({"warning:java-memory"} if blind else set())
    assert rules(host(), needs=needs, **limit) == rules(v2, needs=needs) == set()


def test_files_of_the_first_cgroups() -> None:
    needs, v2 = with_software("cgroup-v1"), host(engine=Engine(cgroup=2))
    limit = {"mem_limit_bytes": 1 << 28}
    assert rules(v2, needs=needs, **limit) == {"warning:cgroup-files"}
    assert rules(host(), needs=needs, **limit) == rules(v2, needs=needs) == set()
    assert rules(v2, Form.DISK, needs=needs, **limit) == set()


def test_memory_maps() -> None:
    needs, files = with_software("many-maps", "8.1.0"), {"ulimits": {"nofile": Ulimit(1024, 65535)}}
    few, enough = (host(sysctls={"vm.max_map_count": each}) for each in ("65530", "262144"))
    assert rules(few, needs=needs, **files) == {"error:memory-maps"}
    assert rules(enough, needs=needs, **files) == set()
    assert rules(host(), needs=needs, **files) == {"unknown:memory-maps"}
    assert rules(enough, Form.DISK, needs=needs, **files) == {"error:memory-maps"}, "the guest's"
    raised = {"sysctls": {"vm.max_map_count": "262144"}, **files}
    assert rules(enough, Form.DISK, needs=needs, **raised) == set()
    perhaps = replace(needs, software=(replace(needs.software[0], sure=False),))
    assert rules(few, needs=perhaps, **files) == {"warning:memory-maps"}


def test_a_server_that_checks_how_many_files_it_may_open() -> None:
    """portkit's own limit, where the compose file has none, is 16384."""
    enough = host(sysctls={"vm.max_map_count": "262144"})
    able = {"sysctls": {"vm.max_map_count": "262144"}}
    needs = with_software("many-maps", "8.1.0")
    of_5 = replace(
        needs, software=(Software("many-maps", "5.6.0", "/lib/elasticsearch-5.6.0.jar"),)
    )
    perhaps = replace(needs, software=(replace(needs.software[0], sure=False),))
    for form, more in ((Form.IMAGE, {}), (Form.DISK, able)):
        for limit, each, wanted in (
            (None, needs, {"error:open-files-few"}),
            (Ulimit(65535, 65535), needs, set()),
            (Ulimit(1024, 65535), needs, set()),  # Java raises it
            (Ulimit(1 << 20, 1 << 20), needs, set()),
            (Ulimit(65534, 65534), needs, {"error:open-files-few"}),
            (Ulimit(65535, 65535), of_5, {"error:open-files-few"}),
            (None, perhaps, {"warning:open-files-few"}),
            (None, NEEDS, set()),
        ):
            limits = {"ulimits": {"nofile": limit}} if limit else {}
            assert rules(enough, form, needs=each, **limits, **more) == wanted


def test_other_software() -> None:
    needs = with_software("all-descriptors")
    many = {"ulimits": {"nofile": Ulimit(1 << 30, 1 << 30)}}
    roomy = host(sysctls={"fs.nr_open": "1073741824"})
    assert rules(roomy, needs=needs, **many) == {"warning:open-files-many"}
    assert rules(needs=needs) == set()
    assert rules(needs=with_software("fuse")) == {"info:fuse"}
    device = {"devices": (Device("/dev/fuse", "/dev/fuse"),)}
    assert rules(host(devices=("/dev/fuse",)), needs=with_software("fuse"), **device) == set()
    gpu = with_software("nvidia")
    assert rules(host(engine=Engine(runtimes=("runc",))), needs=gpu) == {"warning:gpu"}
    assert rules(host(engine=Engine(runtimes=("nvidia", "runc"))), needs=gpu) == set()
    assert rules(host(), Form.DISK, needs=gpu) == {"warning:gpu"}


def test_vsyscall_and_file_systems() -> None:
    assert rules(host(vsyscall=False), needs=glibc(2, 12)) == {"error:vsyscall"}
    assert rules(host(vsyscall=True), needs=glibc(2, 12)) == set()
    assert rules(host(vsyscall=False), needs=glibc(2, 36)) == set()
    for machine in ("386", "arm"):
        foreign = replace(glibc(2, 12), binaries=(replace(PROGRAM, machine=machine, bits=32),))
        assert rules(host(vsyscall=False, runs={"386": "yes"}), needs=foreign) in (
            set(),
            {"error:program-machine"},
        ), "only x86-64 has that page"
    static = with_software("vsyscall")
    assert rules(host(vsyscall=False), needs=static) == {"unknown:vsyscall"}
    assert rules(host(vsyscall=True), needs=static) == rules(host(), needs=static) == set()
    assert rules(host(engine=Engine(d_type=False))) == {"warning:engine-file-system"}


def test_attestations() -> None:
    image = replace(IMAGE, attestations=2)
    for store, why in (("overlay2", "web2 (overlay2) holds one"), ("containerd", "only the image")):
        (row,) = judged(replace(FACTS, docker_store=store), image=image)
        assert (row.rule, row.severity, why in row.message) == ("attestations", "warning", True)
        assert verdict(replace(FACTS, docker_store=store), image=image) is Verdict.NATIVE
    assert rules(form=Form.DISK, image=image) == rules(image=IMAGE) == set()


# ---------------------------------------------------------------- the compose file


def test_devices() -> None:
    def asks(path: str) -> dict[str, Any]:
        return {"devices": (Device(path, path),)}

    facts = host(devices=("/dev/dri/card0", "/dev/fuse", "/dev/net/tun"))
    assert rules(facts, **asks("/dev/kvm")) == {"error:device"}
    for path in ("/dev/fuse", "/dev/net/tun", "/dev/dri", "/dev/dri/", "/dev/null", "/dev/tty"):
        assert rules(facts, **asks(path)) == set(), path
    deep = ("/dev/ttyUSB0", "/dev/loop0", "/dev/serial/by-id/x", "/dev/bus/usb/001/002")
    asked = replace(facts, linux=replace(facts.linux, sought=deep))
    for path in deep:
        assert rules(facts, **asks(path)) == {"unknown:device"}, "nobody looked for it"
        assert rules(asked, **asks(path)) == {"error:device"}
        there = replace(asked, linux=replace(asked.linux, devices=(path,)))
        assert rules(there, **asks(path)) == set()
    assert rules(host(), **asks("/dev/kvm")) == {"unknown:device"}
    assert rules(facts, Form.DISK, **asks("/dev/kvm")) == {"unknown:device"}
    assert rules(facts, Form.DISK, **asks("/dev/null")) == set()
    stated = {"stated": Stated(devices=("/dev/kvm",))}
    assert rules(facts, Form.DISK, **stated, **asks("/dev/kvm")) == {"error:device"}
    assert rules(facts, Form.DISK, stated=Stated(devices=("/dev/urandom",))) == set()


def test_sysctls() -> None:
    def asks(name: str, **more: Any) -> set[str]:
        return rules(sysctls={name: "1"}, **more)

    assert asks("vm.max_map_count") == asks("kernel.pid_max") == {"error:sysctl"}
    assert asks("net.core.somaxconn") == asks("kernel.shmmax") == asks("fs.mqueue.msg_max") == set()
    assert asks("net.core.somaxconn", network_mode="host") == {"error:sysctl"}
    assert asks("vm.max_map_count", form=Form.DISK) == set()
    assert asks("vm.nothing", form=Form.DISK) == {"error:guest-sysctl"}


def test_ipv6() -> None:
    wants = {"ports": (Port(8080, host_ip="::1"),)}
    off = {"net.ipv6.conf.all.disable_ipv6": "1"}
    assert rules(host(ipv6=False), **wants) == {"error:ipv6"}
    assert rules(host(ipv6=True, sysctls=off), **wants) == {"error:ipv6"}
    assert rules(host(ipv6=True), **wants) == rules(host(ipv6=False)) == set()
    assert rules(host(), **wants) == {"unknown:ipv6"}
    assert rules(host(ipv6=False), networks=(Network("n", "a_n", enable_ipv6=True),)) == {
        "error:ipv6"
    }


def test_limits() -> None:
    assert rules(shm_bytes=8 << 30) == {"warning:shared-memory"}
    assert rules(shm_bytes=1 << 30) == set()
    assert rules(form=Form.DISK, shm_bytes=1 << 30) == {"warning:shared-memory"}
    kernel = host(sysctls={"fs.nr_open": "1048576"})
    for hard, wanted in (
        (1 << 21, {"error:open-files"}),
        (-1, {"error:open-files"}),
        (5000, set()),
    ):
        for form in Form:
            assert rules(kernel, form, ulimits={"nofile": Ulimit(1024, hard)}) == wanted
    many = {"ulimits": {"nofile": Ulimit(1 << 30, 1 << 30)}}
    assert rules(**many) == {"unknown:open-files"}
    raised = {"sysctls": {"fs.nr_open": str(1 << 30)}}
    assert rules(kernel, Form.DISK, **many, **raised) == set()


def test_settings_of_the_guest() -> None:
    def disk(image: ImageConfig = IMAGE, **wanted: int) -> set[str]:
        names = {name.replace("__", "."): value for name, value in wanted.items()}
        return states(form=Form.DISK, image=image, sysctls=names)

    for name, least in (("fs__aio-max-nr", 65536), ("vm__max_map_count", 65530)):
        assert disk(**{name: least}) == set()
        assert disk(**{name: least + 1}) == {"error:needs-sysctl"}
    assert disk(net__core__somaxconn=4096) == disk(kernel__shmmax=1 << 40) == set()
    assert disk(fs__inotify__max_user_instances=512) == {"error:needs-sysctl"}
    assert disk(vm__nothing=1) == {"error:needs-sysctl"}
    assert disk(fs__file___max=1) == {"error:needs-sysctl"}, "a name that is none"
    assert disk(**{"fs__file-max": 1}) == {"unknown:needs-sysctl"}, "it depends on the memory"
    assert disk(kernel__io_uring_disabled=0) == {"unknown:needs-sysctl"}, "6.12 has it"
    assert "unknown:needs-sysctl" in disk(ARM, vm__nothing=1)


def test_ports_of_users_without_rights() -> None:
    low = {"ports": (Port(80),), "user": "app"}
    assert rules(host("19.03.8"), **low) == {"warning:port-user"}
    assert rules(host("20.10.1"), **low) == set()
    assert rules(host(), network_mode="host", **low) == {"warning:port-user"}
    assert rules(host("19.03.8"), ports=(Port(80),), user="0:5") == set()
    app = apps.resolve_all(App("a", (Service("a", ports=(Port(80),)),), "compose.yaml"), [IMAGE])
    for root, wanted in ((False, []), (True, [Severity.UNKNOWN])):
        silent = host(engine=Engine(cgroup=1, rootless=root))
        found = compat.check(
            app,
            {IMAGE.digest: IMAGE},
            silent,
            Form.IMAGE,
            (),
            frozenset({"unprivileged_port_start"}),
        )
        assert [row.severity for row in found if row.rule == "port-rootless"] == wanted
    rootless = host(engine=Engine(rootless=True))
    assert rules(rootless, ports=(Port(80),)) == {"error:port-rootless"}
    assert rules(replace(rootless, unprivileged_port_start=80), ports=(Port(80),)) == set()
    assert rules(rootless, ports=(Port(8080),)) == set()


def test_capabilities_that_the_host_lacks() -> None:
    lacking = host(cap_bounding="000001fffeffffff")  # SYS_RESOURCE
    assert rules(lacking, cap_add=("SYS_RESOURCE",)) == {"error:capability-absent"}
    crun = replace(lacking, engine=Engine(name="Podman Engine", runtimes=("crun",)))
    assert rules(crun, cap_add=("SYS_RESOURCE",)) == {"warning:capability-absent"}
    assert rules(lacking, cap_add=("SYS_ADMIN",)) == rules(lacking) == set()
    assert rules(lacking, privileged=True) == {"unknown:capability-absent"}
    assert rules(lacking, Form.DISK, cap_add=("SYS_RESOURCE",)) == set()
    for mask in ("", "000001ffffffffff"):
        assert rules(host(cap_bounding=mask), cap_add=("ALL",)) == set()


def states(facts: Facts = FACTS, form: Form = Form.IMAGE, **more: Any) -> set[str]:
    fields = {key: more.pop(key) for key in tuple(more) if key in Stated.__dataclass_fields__}
    service = {key.removeprefix("service_"): value for key, value in more.items()}
    return rules(facts, form, stated=Stated(**fields), **service)


def test_stated_kernels_and_processors() -> None:
    assert states(kernel=(6, 5, 0)) == {"error:kernel-old"}
    assert states(kernel=(5, 15, 0)) == states(form=Form.DISK, kernel=(6, 1, 0)) == set()
    for wanted in ((6, 5, 0), (6, 15, 0)):
        assert states(form=Form.DISK, kernel=wanted) == {"unknown:guest-kernel"}
    assert states(host(cpu_level=2), cpu_level=3) == {"error:cpu-level"}
    assert states(host(cpu_level=3), cpu_level=3) == set()
    assert states(host(), cpu_level=3) == {"unknown:cpu-level"}


def test_stated_sysctls() -> None:
    wants = {"sysctls": {"vm.max_map_count": 262144}}
    low, high = (host(sysctls={"vm.max_map_count": text}) for text in ("65530", "262144"))
    assert states(low, **wants) == {"error:needs-sysctl"}
    assert states(high, **wants) == set()
    assert states(host(), **wants) == {"unknown:needs-sysctl"}
    assert states(high, Form.DISK, **wants) == {"error:needs-sysctl"}, "the guest's is its own"
    given = {"service_sysctls": {"vm.max_map_count": "262144"}}
    assert states(low, Form.DISK, **wants, **given) == set()
    assert states(low, **wants, **given) == {"error:needs-sysctl", "error:sysctl"}
    more = {"sysctls": {"net.core.somaxconn": 65535}}
    assert states(host(), **more, service_sysctls={"net.core.somaxconn": "65535"}) == set()
    tuned = {"net.core.somaxconn": "65535", "kernel.shmmni": "9000", "net.core.rmem_max": "9000000"}
    begins = host(sysctls=tuned)
    (found,) = judged(begins, stated=Stated(**more))
    assert found.message == "net.core.somaxconn is 4096, and the app needs 65535"
    assert "In the compose file" in found.remedy
    assert states(begins, **more, service_network_mode="host") == set()
    assert states(begins, sysctls={"kernel.shmmni": 9000}) == {"error:needs-sysctl"}
    assert states(begins, sysctls={"kernel.shmmni": 9000}, service_ipc="host") == set()
    assert states(begins, sysctls={"net.core.rmem_max": 9000000}) == set(), "it is the host's"
    assert states(begins, sysctls={"kernel.shmmax": 1 << 40, "kernel.msgmax": 8192}) == set()
    ancient = replace(begins, kernel="4.15")
    assert states(ancient, sysctls={"net.core.somaxconn": 128}) == {"unknown:needs-sysctl"}
    assert states(sysctls={"net.ipv4.tcp_rmem": 1}) == {"unknown:needs-sysctl"}
    low_ports = {"sysctls": {"net.ipv4.ip_unprivileged_port_start": 80}}
    assert states(host("20.10.1"), **low_ports) == states(podman(), **low_ports) == set()


def test_settings_that_restrict() -> None:
    for name in ("kernel.perf_event_paranoid", "kernel.yama.ptrace_scope"):
        facts = host(sysctls={name: "4"})
        assert states(facts, sysctls={name: 1}) == {"error:needs-sysctl"}
        assert states(facts, sysctls={name: 4}) == set()
    facts = host(sysctls={"vm.overcommit_memory": "1"})
    for least, most, wanted in ((None, 0, True), (None, 1, False), (2, 2, True), (1, 1, False)):
        bounds = {"sysctls": {"vm.overcommit_memory": least}} if least is not None else {}
        found = states(facts, **bounds, sysctls_most={"vm.overcommit_memory": most})
        assert found == ({"error:needs-sysctl"} if wanted else set())


def test_stated_modules_and_devices() -> None:
    def module(form: Form = Form.IMAGE, **linux: Any) -> set[str]:
        return states(host(**linux), form, modules=("wireguard",))

    assert module(modules=("wireguard",)) == module(loadable=("wireguard",)) == set()
    assert module(config={"WIREGUARD": "y"}) == set()
    assert module(config={"WIREGUARD": "n"}) == {"error:needs-module"}
    assert module(config={"WIREGUARD": "m"}, loadable=()) == {"error:needs-module"}
    assert module(config={"WIREGUARD": "m", "MODULES": "n"}) == {"error:needs-module"}
    for name in ("ip_vs", "nbd", "br-netfilter", "zfs"):
        assert states(host(loadable=("tun",)), modules=(name,)) == {"error:needs-module"}
        built = host(config={"MODULES": "n", "IP_VS": "n", "BLK_DEV_NBD": "n"})
        absent = "unknown" if name == "br-netfilter" else "error"
        assert states(built, modules=(name,)) == {f"{absent}:needs-module"}
    odd = host(loadable=("tun",), sought=("batman_adv",))
    assert states(odd, modules=("batman-adv",)) == {"error:needs-module"}
    assert states(odd, modules=("cifs",)) == {"unknown:needs-module"}, "nobody looked for it"
    assert module() == {"unknown:needs-module"}
    assert module(Form.DISK) == {"error:needs-module"}
    for name, wanted in (("ext4", set()), ("virtio-rng", set()), ("tun", {"error:needs-module"})):
        assert states(form=Form.DISK, modules=(name,)) == wanted
    assert states(form=Form.DISK, modules=("overlay",)) == {"error:needs-module"}, "one service"
    assert states(form=Form.DISK, modules=("fuse",)) == {"unknown:needs-module"}, "6.12 has it"
    assert states(form=Form.DISK, image=ARM, modules=("tun",)) >= {"unknown:needs-module"}
    assert states(host(devices=()), devices=("/dev/net/tun",)) == {"error:device"}
    assert states(host(devices=("/dev/net/tun",)), devices=("/dev/net/tun",)) == set()
    assert states(host(ipv6=False), ipv6=True) == {"error:ipv6"}
    assert states(host(ipv6=False), Form.DISK, ipv6=True) == {"warning:ipv6"}


def test_stated_memory_and_files() -> None:
    some = host(hugepages_free=10, hugepage_bytes=2 << 20)
    assert states(some, huge_page_bytes=20 << 20) == set()
    assert states(some, huge_page_bytes=21 << 20) == {"error:needs-huge-pages"}
    assert states(host(), huge_page_bytes=1) == {"unknown:needs-huge-pages"}
    assert states(some, Form.DISK, huge_page_bytes=1) == {"error:needs-huge-pages"}
    pages = {"service_sysctls": {"vm.nr_hugepages": "10"}}
    assert states(some, Form.DISK, huge_page_bytes=20 << 20, **pages) == set()
    for form in Form:
        assert states(form=form, shm_bytes=65 << 20) == {"error:needs-shared-memory"}
        assert states(form=form, shm_bytes=65 << 20, service_shm_bytes=65 << 20) == set()
        assert states(form=form, open_files=20_000) == {"error:needs-open-files"}
        assert states(form=form, open_files=16_384) == set()


def test_what_keeps_a_file_from_being_started() -> None:
    for what, rule in ((Lack.ACCESS, "permission-denied"), (Lack.FOLDER, "file-in-the-way")):
        needs = replace(NEEDS, missing=(Missing(what, "/app", "argv[0]", "a file"),))
        for form in Form:
            assert rules(form=form, needs=needs) == {f"error:{rule}"}
    for why, cure in (("its mode has no x", "chmod"), ("it is a folder", "in that folder")):
        needs = replace(NEEDS, missing=(Missing(Lack.EXECUTABLE, "/app", "argv[0]", why),))
        (found,) = judged(needs=needs)
        assert cure in found.remedy


def test_instructions_beside_the_levels() -> None:
    needs, perhaps = with_code("aes"), with_code(perhaps=("aes",))
    has, lacks = host(cpu_features=("aes",)), host(cpu_features=())
    assert rules(has, needs=needs) == rules(has, needs=perhaps) == set()
    assert rules(lacks, needs=needs) == {"error:cpu-features"}
    assert rules(lacks, needs=perhaps) == {"unknown:cpu-features"}
    assert rules(host(), needs=needs) == {"unknown:cpu-features"}
    assert rules(host(), needs=perhaps) == set()
    (found,) = judged(lacks, needs=needs)
    assert "AES" in found.message
    guests = Guests(cpu_models={"qemu64": 1})
    emulated = replace(has, accelerator="tcg", qemu_version="7.2.0", guests=guests)
    model = {"machine": Machine(cpu_model="qemu64")}
    assert rules(emulated, Form.DISK, needs=needs) == set()
    assert rules(emulated, Form.DISK, needs=needs, **model) == {"error:cpu-features"}
    sha = with_code("sha_ni")
    assert rules(emulated, Form.DISK, needs=sha) == {"error:cpu-features"}
    later = replace(emulated, qemu_version="10.0.13")
    assert rules(later, Form.DISK, needs=sha) == set()
    kvm = replace(lacks, accelerator="kvm")
    assert rules(kvm, Form.DISK, needs=needs) == {"error:cpu-features"}


def test_network_settings_that_a_container_has() -> None:
    own = ("net.core.somaxconn", "net.ipv4.conf.*.rp_filter")
    for name, wanted in (
        ("net.core.somaxconn", set()),
        ("net.ipv4.conf.eth0.rp_filter", set()),
        ("net.core.rmem_max", {"error:sysctl"}),
        ("net.ipv4.nothing", {"error:sysctl"}),
    ):
        assert rules(host(net_sysctls=own), sysctls={name: "1"}) == wanted, name
    assert rules(host(), sysctls={"net.core.rmem_max": "1"}) == {"error:sysctl"}
    assert rules(host(), sysctls={"net.ipv4.nothing": "1"}) == set(), "nobody looked"


def test_limits_that_an_engine_checks() -> None:
    few = replace(host(), cpus=2)
    assert rules(few, cpus=2.0) == set()
    (found,) = judged(few, cpus=2.5)
    assert (found.rule, found.severity) == ("processors", Severity.ERROR)
    assert rules(few, Form.DISK, machine=Machine(cpus=3)) == {"warning:processors"}
    assert rules(few, Form.DISK, machine=Machine(cpus=65)) == {"unknown:processors"}
    fast = replace(few, accelerator="kvm")
    assert rules(fast, Form.DISK, machine=Machine(cpus=65)) == {"warning:processors"}
    limited = replace(fast, guests=Guests(max_cpus=64))
    assert rules(limited, Form.DISK, machine=Machine(cpus=65)) == {"error:processors"}
    for release, wanted in (("9.0.0", "error"), ("10.0.0", "unknown"), ("11.3.0", "warning")):
        many = replace(fast, libvirt_version=release)
        assert rules(many, Form.DISK, machine=Machine(cpus=256)) == {f"{wanted}:processors"}
    podman = replace(few, engine=Engine(name="Podman Engine"))
    assert "error:processors" not in rules(podman, cpus=3.0)
    contradiction = {"error:memory-limits"}
    assert rules(mem_limit_bytes=64 << 20, mem_reservation_bytes=65 << 20) == contradiction
    assert rules(mem_limit_bytes=64 << 20, memswap_bytes=63 << 20) == contradiction
    assert rules(memswap_bytes=64 << 20) == contradiction
    assert rules(mem_limit_bytes=64 << 20, memswap_bytes=-1) == set()
    assert rules(mem_limit_bytes=64 << 20, mem_reservation_bytes=64 << 20) == set()


def test_limits_that_only_a_whole_host_can_raise() -> None:
    whole, part = host(cap_bounding="000001ffffffffff"), host(cap_bounding="00000000a80425fb")
    endless = {"ulimits": {"memlock": Ulimit(-1, -1)}}
    assert rules(whole, **endless) == rules(whole, oom_score_adj=-5) == set()
    assert rules(part, **endless) == {"unknown:limits-raised"}
    assert rules(part, ulimits={"memlock": Ulimit(0, 65536)}) == set()
    assert rules(part, oom_score_adj=-5) == {"error:limits-raised"}
    assert rules(part, oom_score_adj=5) == set()


def test_networks_and_logs_that_a_host_does_not_have() -> None:
    subnets = (Subnet("10.8.0.0/24"),)
    for address, wanted in (("10.8.0.9", set()), ("10.9.0.9", {"error:address-outside"})):
        app = App(
            "a",
            (Service("a", networks=(Attachment("n", ipv4=address),)),),
            "compose.yaml",
            networks=(Network("n", "a_n", subnets=subnets),),
        )
        spec = apps.resolve_all(app, [IMAGE])
        found = compat.check(spec, {IMAGE.digest: IMAGE}, host(), Form.IMAGE)
        assert {
            f"{row.severity}:{row.rule}" for row in found if row.rule not in ELSEWHERE
        } == wanted
    two = replace(host(), subnets=(("bridge", "172.17.0.0/16"), ("a_n", "10.8.0.0/24")))
    for subnet, wanted in (
        ("172.17.4.0/24", {"error:subnet-taken"}),
        ("10.8.0.0/24", set()),  # its own, as an earlier Move left it
        ("fd00::/64", set()),
    ):
        row = Network("n", "a_n", subnets=(Subnet(subnet),))
        more = {"networks": (row,), "attached": True}
        assert rules(two, **more) == wanted, subnet
    journal = {"logging": Logging("journald")}
    assert rules(host(devices=()), **journal) == {"error:log-driver"}
    assert rules(host(devices=("/dev/log",)), **journal) == rules(host(), **journal) == set()
    assert rules(logging=Logging("splunk")) == {"error:log-driver"}
    assert rules(logging=Logging("gelf", {"gelf-address": "udp://10.0.0.1:1"})) == set()
    away = {"logging": Logging("syslog", {"syslog-address": "udp://10.0.0.1:514"})}
    assert rules(host(devices=()), **away) == set()


def test_networks_that_a_host_cannot_make() -> None:
    def made(driver: str, facts: Facts, parent: str = "") -> set[str]:
        row = Network("n", "a_n", driver=driver, driver_opts={"parent": parent} if parent else {})
        return rules(facts, networks=(row,), attached=True)

    def told(**engine: Any) -> Facts:
        return host(engine=Engine(cgroup=1, **engine))

    for driver in ("host", "none"):
        assert made(driver, host()) == {"error:network-driver"}
    for swarm, wanted in ((None, "unknown"), (True, "unknown"), (False, "error")):
        assert made("overlay", told(swarm=swarm)) == {f"{wanted}:network-driver"}
    assert made("weave", told(network_drivers=("bridge",))) == {"error:network-driver"}
    assert made("weave", host()) == made("bridge", told(network_drivers=("bridge",))) == set()

    bad = {"error:network-parent"}
    has = {"interfaces": ("eth0", "eth0.5", "lo")}
    plain = host(**has)
    assert made("macvlan", plain, "eth0") == made("ipvlan", plain, "eth0.5") == set()
    for name in ("eth9", "eth9.10", "eth0.5000", "eth0.x", "lo"):
        assert made("macvlan", plain, name) == bad, name
    assert made("macvlan", plain, "eth0.10") == made("macvlan", plain) == set()
    bare = host(config={"VLAN_8021Q": "n", "DUMMY": "n", "IPVLAN": "n"}, **has)
    assert made("macvlan", bare, "eth0.10") == made("macvlan", bare) == bad
    assert made("ipvlan", bare, "eth0") == bad
    assert made("macvlan", host(), "eth0") == {"unknown:network-parent"}
    podman = host(engine=Engine(name="Podman Engine", dhcp=True), config={"DUMMY": "n"}, **has)
    assert made("macvlan", podman) == set()
    assert made("macvlan", podman, "eth0.10") == bad, "Podman makes no interface of a VLAN"


def test_what_an_engine_is_told_of_its_host() -> None:
    two = host(processors="0-1,8")
    for text, wanted in (
        ("0-1", set()),
        ("8,0", set()),
        ("0,7", {"error:cpuset"}),
        ("1-9", {"error:cpuset"}),
        ("1-0", {"error:cpuset"}),
        ("0,,1", {"error:cpuset"}),
        (" 0 , 1", {"error:cpuset"}),
    ):
        assert rules(two, cpuset=text) == wanted, text
    assert rules(host(), cpuset="0") == {"unknown:cpuset"}
    assert rules(two, Form.DISK, cpuset="7") == set()
    known = host(engine=Engine(cgroup=1, runtimes=("io.containerd.runc.v2", "runc")))
    assert rules(known, runtime="runc") == set()
    assert rules(known, runtime="nvidia") == {"error:runtime"}
    assert rules(known, runtime="io.containerd.kata.v2") == {"unknown:runtime"}
    assert rules(host(), runtime="runsc") == {"unknown:runtime"}
    podman = host(engine=Engine(name="Podman Engine", runtimes=("crun",)))
    assert rules(podman, runtime="runsc") == {"warning:runtime"}


def test_the_size_of_a_containers_layer() -> None:
    def asks(store: str, backing: str, **options: str) -> set[str]:
        facts = replace(host(engine=Engine(cgroup=1, backing=backing)), docker_store=store)
        return rules(facts, storage_opt=options)

    assert asks("overlay2", "extfs", size="10G") == {"error:storage-opt"}
    assert asks("overlay2", "xfs", foo="1") == {"error:storage-opt"}
    assert asks("overlay2", "xfs", size="10G") == {"unknown:storage-opt"}
    assert asks("overlay2", "", size="10G") == asks("btrfs", "btrfs", size="10G")
    assert asks("btrfs", "btrfs", size="10G") == {"unknown:storage-opt"}
    assert asks("containerd", "", size="10G") == {"warning:storage-opt"}
    assert asks("overlay2", "extfs") == set()


def test_versions() -> None:
    assert version("20.10.24+dfsg1") == (20, 10, 24)
    assert version("6.1.0-18-amd64") == (6, 1, 0)
    assert version("") == version(None) == version("unknown") == ()


def test_a_network_that_is_not_the_apps_alone() -> None:
    """One service that only uses the `default` network joins it, too."""
    for name in ("default", "front"):
        proxy = Network(name, "proxy", external=True, driver="bridge")
        place = Attachment(name, ipv4="10.9.0.5")
        alone = App("wiki", (Service("wiki", networks=(place,)),), "-", networks=(proxy,))

        def found(facts: Facts, form: Form = Form.IMAGE, app: App = alone) -> list[str]:
            spec = apps.resolve_all(app, [IMAGE])
            rows = compat.check(spec, {IMAGE.digest: IMAGE}, facts, form)
            return [f"{each.severity}:{each.rule}" for each in rows if "network-" in each.rule]

        there = replace(
            host(),
            networks=("bridge", "proxy"),
            network_kinds=(("bridge", "bridge", False), ("proxy", "bridge", False)),
            subnets=(("proxy", "10.9.0.0/16"), ("proxy", "odd")),
        )
        assert found(there) == []
        assert found(host()) == ["warning:network-external"]
        assert found(replace(there, subnets=())) == ["error:network-differs"]
        for kind in (("proxy", "macvlan", False), ("proxy", "bridge", True)):
            assert found(replace(there, network_kinds=(kind,))) == ["error:network-differs"]
        assert found(there, Form.DISK) == ["warning:network-outside"]
    untold = replace(alone, networks=(replace(proxy, driver=""),))  # as of a compose file
    assert found(replace(there, network_kinds=(kind,)), app=untold) == []


def test_every_rule_of_the_table_is_tried_here() -> None:
    text = Path(__file__).read_text()
    tried = [rule.id for rule in NEEDS_RULES if f":{rule.id}" in text or f'"{rule.id}"' in text]
    assert set(tried) | {"needs-unread"} == {rule.id for rule in NEEDS_RULES}


def test_what_a_host_is_asked_for_by_name() -> None:
    needs = Stated(
        sysctls={"vm.x": 1}, sysctls_most={"vm.y": 2}, modules=("ip_vs",), devices=("/dev/a",)
    )
    service = Service("a", devices=(Device("/dev/b", "/dev/c"),), stated=needs)
    spec = apps.resolve_all(App("a", (service,), "compose.yaml"), [IMAGE])
    found = compat.sought(spec.services)
    assert found == Sought(("vm.x", "vm.y"), ("ip_vs",), ("/dev/a", "/dev/b"))
    plain = apps.resolve_all(App("a", (Service("a"),), "compose.yaml"), [IMAGE])
    assert compat.sought(plain.services) is None


def test_the_modules_are_those_that_are_looked_for() -> None:
    assert set(stated._OPTIONS) == MODULES
    assert set(filter(None, stated._OPTIONS.values())) <= set(OPTIONS)


def test_what_is_not_known_hides_nothing() -> None:
    facts = host(sysctls={"vm.max_map_count": "1"}, loadable=("tun",), devices=())
    both = {"error:needs-sysctl", "unknown:needs-sysctl"}
    assert states(facts, sysctls={"vm.nothing": 1, "vm.max_map_count": 2}) == both
    both = {"error:needs-module", "unknown:needs-module"}
    assert states(facts, modules=("cifs", "ip_vs")) == both
    assert states(facts, devices=("/dev/a/b/c", "/dev/kvm")) == {"error:device", "unknown:device"}
    found = rules(host(), Form.DISK, sysctls={"kernel.io_uring_disabled": "0", "vm.nothing": "1"})
    assert found == {"error:guest-sysctl", "unknown:guest-sysctl"}
