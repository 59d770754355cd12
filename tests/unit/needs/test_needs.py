"""The needs of images that are made here: what a start reaches, and what is missing for it."""

import io
import struct
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit.model import Mount
from portkit.model.needs import Binary, Lack, Missing, Needs, Role
from portkit.needs import distribution, loader, read
from tests.elves import LOADER, elf, glibc, layer
from tests.factories import IMAGE, spec

PATH = (("PATH", "/usr/local/bin:/usr/bin:/bin"),)


class Image:
    """Files on top of each other, each given layer by layer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *layers: dict[str, Any], **changes: Any) -> Needs:
        paths = [layer(self._folder / f"{number}", files) for number, files in enumerate(layers)]
        changes = {"env": PATH, "cwd": "/", "argv": ("/app",), **changes}
        (found,) = read(paths, IMAGE, [spec(**changes)])
        return found


@pytest.fixture
def needs(tmp_path: Path) -> Image:
    return Image(tmp_path)


def missing(found: Needs) -> list[tuple[str, str]]:
    return [(row.what.value, row.name) for row in found.missing]


def paths(found: Needs) -> list[str]:
    return [each.path for each in found.binaries]


PROGRAM = elf(interpreter=LOADER, needed=("libc.so.6",), wanted={"libc.so.6": ("GLIBC_2.34",)})


def test_all_that_a_program_needs_is_there(needs: Image) -> None:
    found = needs({"/app": PROGRAM, **glibc("GLIBC_2.2.5", "GLIBC_2.36", "GLIBC_2.34")})
    assert (found.missing, found.unread) == ((), ())
    assert (found.command, found.libc, found.libc_version) == ("/app", "glibc", (2, 36))
    assert found.binaries[0] == Binary("/app", Role.PROGRAM, "amd64", 64)
    assert [each.align for each in found.binaries] == [0, 0, 4096], "glibc looks at what is stated"
    assert [each.role for each in found.binaries[1:]] == [Role.LOADER, Role.LIBRARY]
    assert found.binaries[2].kernel == (3, 2, 0)


def test_what_is_not_there(needs: Image) -> None:
    assert missing(needs({"/other": PROGRAM})) == [("command", "/app")]
    assert missing(needs({"/app": PROGRAM})) == [("loader", LOADER)]
    assert missing(needs({"/app": b"#!/bin/bash\n"})) == [("command", "/bin/bash")]
    windows = {"/app": b"#!/bin/sh\r\n", "/bin/sh": elf()}
    assert missing(needs(windows)) == [("command", "/bin/sh\r")]
    windows = {"/app": b"#!/usr/bin/env sh\r\n", "/bin/sh": elf(), "/usr/bin/env": elf()}
    assert missing(needs(windows)) == [("command", "sh\r")]
    assert missing(needs({"/app": b"text"})) == missing(needs({"/app": b""}))
    assert missing(needs({"/app": b"text"})) == [("executable", "/app")]
    known = glibc("GLIBC_2.2.5", "GLIBC_2.31")
    (row,) = needs({"/app": PROGRAM, **known}).missing
    assert row == Missing(Lack.VERSION, "GLIBC_2.34", "/app", "libc.so.6 has GLIBC_2.31")
    del known["/lib/libc.so.6"]
    assert missing(needs({"/app": PROGRAM, **known})) == [("library", "libc.so.6")]


def test_a_library_for_another_machine_is_passed_over(needs: Image) -> None:
    program = elf(interpreter=LOADER, needed=("libz.so.1",))
    files = {"/app": program, **glibc(), "/lib64/libz.so.1": elf(183)}
    (row,) = needs(files).missing
    assert row.details == "/lib64/libz.so.1 is for arm64"
    assert missing(needs({**files, "/usr/lib/libz.so.1": elf()})) == []


def test_a_file_that_is_no_program(needs: Image, tmp_path: Path) -> None:
    path = layer(tmp_path / "plain", {"/app": PROGRAM}, mode=0o644)
    (found,) = read([path], IMAGE, [spec(argv=("/app",), env=PATH)])
    (row,) = found.missing
    assert (row.what, row.details) == (Lack.EXECUTABLE, "its mode has no x")


def test_a_command_is_looked_for_as_the_engine_does(needs: Image) -> None:
    files = {"/usr/bin/app": elf(), "/bin": "usr/bin", "/srv/run": elf(), "/srv/loop": "loop"}
    assert needs(files, argv=("app",)).command == "/usr/bin/app"
    assert needs(files, argv=("/bin/app",)).command == "/usr/bin/app"
    assert needs(files, argv=("./run",), cwd="/srv").command == "/srv/run"
    assert needs(files, argv=("../srv/run",), cwd="/srv").command == "/srv/run"
    assert missing(needs(files, argv=("run",), cwd="/srv")) == [("command", "run")]
    assert missing(needs(files, argv=("/srv/loop",))) == [("command", "/srv/loop")]


def test_layers_hide_each_other(needs: Image) -> None:
    assert missing(needs({"/app": PROGRAM}, {"/.wh.app": b""})) == [("command", "/app")]
    assert needs({"/app": PROGRAM}, {"/app": elf()}).missing == ()


def test_scripts(needs: Image) -> None:
    shell = {"/bin/sh": elf(), "/usr/bin/env": elf(), "/usr/bin/python3": elf(183)}
    found = needs({"/app": b"#!/usr/bin/env python3\nprint()\n", **shell})
    assert [each.path for each in found.binaries] == ["/usr/bin/env", "/usr/bin/python3"]
    assert found.command == "/app"
    assert missing(needs({"/app": b"#!/usr/bin/env ruby\n", **shell})) == [("command", "ruby")]
    assert missing(needs({"/app": b"#!/app\n"})) == [("executable", "/app")]
    found = needs({"/app": b"#! /bin/sh -e\nexec /bin/serve x\n", "/bin/serve": PROGRAM, **shell})
    assert [(each.path, each.sure) for each in found.binaries] == [
        ("/bin/sh", True),
        ("/bin/serve", False),
    ]
    assert [row.sure for row in found.missing] == [False], "its loader: but who knows the script"


def test_scripts_that_name_each_other_end(needs: Image) -> None:
    """In 32 ways each, and five deep."""
    text = b"#!/bin/sh\n" + b"exec /a\nexec /b\nexec /c\n" * 20
    files = {"/a": text, "/b": text, "/c": text, "/bin/sh": elf()}
    assert paths(needs(files, argv=("/a",))) == ["/bin/sh"]


def test_shells_and_wrappers(needs: Image) -> None:
    files = {"/bin/sh": elf(), "/usr/bin/serve": elf(183), "/bin/tini": elf(), "/other": elf()}

    def reached(*argv: str) -> list[tuple[str, bool]]:
        return [(each.path, each.sure) for each in needs(files, argv=argv).binaries]

    assert reached("/bin/sh", "-c", "exec serve -p 80") == [
        ("/bin/sh", True),
        ("/usr/bin/serve", True),
    ]
    assert reached("/bin/sh", "-c", "cd / && /usr/bin/serve") == [
        ("/bin/sh", True),
        ("/usr/bin/serve", False),
    ]
    assert reached("tini", "--", "serve") == [("/bin/tini", True), ("/usr/bin/serve", True)]
    assert reached("/other", "serve") == [("/other", True), ("/usr/bin/serve", False)]
    assert missing(needs(files, argv=("sh", "-c", "true"))) == []
    assert missing(needs(files, argv=("sh", "-c", "/gone x"))) == [("command", "/gone")]
    assert needs(files, argv=("sh", "-c", "'unbalanced")).missing == ()


def test_a_file_without_a_first_line(needs: Image) -> None:
    """execve(2) refuses it; a shell, and execvp(3), give it to a shell."""
    files = {"/bin/sh": elf(), "/tini": elf(), "/usr/bin/env": elf(), "/run": b"exec /app\n"}
    files["/app"] = b"MZqFpD='\n"

    def lacks(*argv: str, **changes: Any) -> list[tuple[str, bool]]:
        return [(row.name, row.sure) for row in needs(files, argv=argv, **changes).missing]

    assert lacks("/run") == [("/run", True)]
    assert lacks("/app") == [("/app", False)], "the host may have a handler for it"
    assert lacks("/run", init=True) == []
    for argv in (
        ("sh", "-c", "/run"),
        ("sh", "-c", "cd /; /run"),
        ("sh", "/run"),
        ("/tini", "/run"),
    ):
        assert lacks(*argv) == [], argv
    files["/other"] = b"#!/usr/bin/env run\n"
    files["/usr/bin/run"] = b"exec /app\n"
    assert lacks("/other") == []


def test_what_a_link_leads_to_on_a_volume_is_not_missing(needs: Image) -> None:
    volume = {"mounts": (Mount("volume", "/data"),)}
    files = {"/app": "/data/current/app", "/srv": "data/srv", "/bin/x": elf(), "/run": "var"}
    assert needs(files, **volume).unread == ("/app may be on a volume",)
    assert missing(needs(files, **volume)) == []
    assert missing(needs(files, argv=("/srv/app",), **volume)) == []
    env = (("PATH", "/srv/bin"),)
    assert missing(needs(files, argv=("app",), env=env, **volume)) == []
    over = (Mount("volume", "/run/x"),)
    assert missing(needs(files, argv=("/var/x/app",), mounts=over)) == []
    library = {"/app": elf(interpreter=LOADER, needed=("liba",)), **glibc()}
    library["/usr/lib/liba"] = "/data/liba"
    assert missing(needs(library, **volume)) == []
    assert missing(needs(library)) == [("library", "liba")]
    assert missing(needs({"/app": b"#!/data/sh\n"}, **volume)) == []


def test_a_loader_elsewhere_has_default_folders_of_its_own(needs: Image) -> None:
    own, program = (
        "/opt/glibc/lib/ld-linux-x86-64.so.2",
        elf(interpreter=LOADER, needed=("libc.so.6",)),
    )
    here = glibc()
    files = {"/app": program, LOADER: own, own: here[LOADER]}
    assert missing(needs({**files, "/opt/glibc/lib/libc.so.6": here["/lib/libc.so.6"]})) == []
    (row,) = needs(files).missing
    assert (row.name, row.sure) == ("libc.so.6", False)
    cached = {"/opt/glibc/etc/ld.so.cache": cache(**{"libc.so.6": "/x/libc"}), "/x/libc": elf()}
    assert missing(needs({**files, **cached})) == []
    two = {"/app": b"#!/one\nexec /two\n", "/one": program, **here, own: here[LOADER]}
    two["/two"] = elf(interpreter=own, needed=("liba",))
    two |= {"/sh": "one", "/bin/sh": elf(), "/opt/glibc/lib/liba": elf()}
    assert missing(needs(two, argv=("sh", "-c", "/one; /two"))) == []


def test_folders_from_the_working_directory(needs: Image) -> None:
    made = {"cwd": "/srv", "argv": ("/srv/app",)}
    files = {"/srv/lib/liba": elf(), **glibc()}

    def lacks(needed: str, env: str = "", **program: Any) -> list[tuple[str, str]]:
        app = {"/srv/app": elf(interpreter=LOADER, needed=(needed,), **program)}
        return missing(needs({**files, **app}, env=(*PATH, ("LD_LIBRARY_PATH", env)), **made))

    assert lacks("liba") == [("library", "liba")]
    assert (
        lacks("liba", "lib") == lacks("liba", runpath="lib") == lacks("liba", rpath="./lib") == []
    )
    assert lacks("lib/liba") == lacks("./lib/liba") == []
    files["/srv/liba"] = elf()
    assert lacks("liba") == [("library", "liba")]
    assert lacks("liba", "/nowhere:") == lacks("liba", runpath=":/x") == []


def test_paths_that_no_kernel_takes_are_left_out(needs: Image) -> None:
    folder = "/d" * 1000
    many = ":".join(["$ORIGIN" * 8] * 64)
    names = tuple(f"lib{number}" for number in range(300))
    program = elf(interpreter=LOADER, needed=names, runpath=many)
    found = needs({f"{folder}/app": program, **glibc()}, argv=(f"{folder}/app",))
    assert len(found.missing) == 300
    same = struct.pack("<iIIIQ", 0x303, 48 + 24 * 40_000, 49 + 24 * 40_000, 0, 0)
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II20x", 40_000, 5000)
    found_ = loader.read_cache(head + same * 40_000 + b"a/" + b"b" * 4000 + b"\0")
    assert sum(len(path) for rows in found_.values() for path in rows) <= 8 << 20


def test_what_a_volume_may_bring_is_not_missing(needs: Image) -> None:
    found = needs({"/bin/x": elf()}, mounts=(Mount("volume", "/srv"),), argv=("/srv/app",))
    assert (found.missing, found.unread) == ((), ("/srv/app may be on a volume",))
    hidden = needs({"/srv/app": elf()}, mounts=(Mount("volume", "/srv"),), argv=("/srv/app",))
    assert hidden.unread == ("/srv/app may be covered by a volume",)
    assert missing(needs({}, mounts=(Mount("volume", "/data"),))) == [("command", "/app")]


def test_where_glibc_looks(needs: Image) -> None:
    library = {"/opt/lib/liba.so": elf(soname="liba.so", needed=("libb.so",))}
    own = {**glibc(), **library}

    def lacks(other: str, **program: Any) -> list[tuple[str, str]]:
        made = elf(interpreter=LOADER, needed=("liba.so",), **program)
        return missing(needs({"/opt/bin/app": made, other: elf(), **own}, argv=("/opt/bin/app",)))

    assert lacks("/x") == [("library", "liba.so")]
    assert lacks("/opt/lib/libb.so", rpath="$ORIGIN/../lib") == [], "an RPATH is for libraries too"
    assert lacks("/opt/lib/libb.so", runpath="${ORIGIN}/../lib") == [("library", "libb.so")]
    assert lacks("/usr/lib/libb.so", runpath="/opt/lib") == []
    assert lacks("/usr/lib/x86_64-linux-gnu/libb.so", runpath="/opt/lib") == []
    assert lacks("/usr/lib/libb.so", runpath="/opt/lib", flags=0x800) == [], "of the program alone"
    env = (*PATH, ("LD_LIBRARY_PATH", "/nowhere:/opt/lib"))
    program = elf(interpreter=LOADER, needed=("liba.so",))
    assert missing(needs({"/app": program, **own, "/opt/lib/libb.so": elf()}, env=env)) == []


def cache(**paths: str) -> bytes:
    """As ldconfig writes it."""
    strings, rows, begin = b"", b"", 48 + 24 * len(paths)
    for name, path in paths.items():
        key = begin + len(strings)
        strings += name.encode() + b"\0" + path.encode() + b"\0"
        rows += struct.pack("<iIIIQ", 0x303, key, key + len(name) + 1, 0, 0)
    return (
        b"glibc-ld.so.cache1.1" + struct.pack("<II20x", len(paths), len(strings)) + rows + strings
    )


def test_the_cache_counts_and_not_its_configuration(needs: Image) -> None:
    files = {"/app": elf(interpreter=LOADER, needed=("liba",)), "/opt/liba": elf(), **glibc()}
    conf = {"/etc/ld.so.conf": b"/opt\n"}
    assert missing(needs({**files, **conf})) == [("library", "liba")]
    assert missing(needs({**files, "/etc/ld.so.cache": cache(liba="/opt/liba")})) == []
    assert loader.read_cache(cache(a="/b", c="/d")) == {"a": ["/b"], "c": ["/d"]}
    old = b"ld.so-1.7.0" + bytes(53)
    assert loader.read_cache(old + cache(a="/b")) == {"a": ["/b"]}
    assert loader.read_cache(cache(a="/b")[:60]) == loader.read_cache(b"x") == {}


MUSL = "/lib/ld-musl-x86_64.so.1"


def test_musl(needs: Image) -> None:
    own = {MUSL: elf(soname="libc.musl-x86_64.so.1")}
    database = {"/lib/apk/db/installed": b"P:zlib\nV:1.3\n\nC:x\nP:musl\nV:1.2.4-r2\n"}
    program = elf(interpreter=MUSL, needed=("libc.so.6", "libz.so.1"), runpath="/a")
    found = needs({"/app": program, "/usr/local/lib/libz.so.1": elf(), **own, **database})
    assert (found.missing, found.libc, found.libc_version) == ((), "musl", (1, 2, 4))
    assert missing(needs({"/app": program, **own})) == [("library", "libz.so.1")]
    other = {"/etc/ld-musl-x86_64.path": b"/x\n/y", "/y/libz.so.1": elf()}
    assert missing(needs({"/app": program, **own, **other})) == []
    glib = {"/app": PROGRAM, LOADER: f"..{MUSL}"}
    assert missing(needs({**glib, **own})) == [], "versions are glibc's, and musl has libc itself"


def test_gcompat_and_uclibc(needs: Image) -> None:
    musl = {MUSL: elf(soname="libc.musl-x86_64.so.1")}
    stub = elf(more=b"--preload\0/lib/libgcompat.so.0\0" + MUSL.encode() + b"\0")
    program = {"/app": elf(interpreter=LOADER, needed=("libc.so.6", "libz.so.1"))}
    found = needs({**program, **musl, LOADER: stub, "/usr/lib/libz.so.1": elf()})
    assert (found.missing, found.unread, found.libc) == ((), (), "musl")
    assert missing(needs({**program, **musl, LOADER: stub})) == [("library", "libz.so.1")]
    uclibc = "/lib/ld64-uClibc.so.1"
    own = {"/app": elf(interpreter=uclibc, needed=("libc.so.1",)), uclibc: elf()}
    found = needs({**own, "/lib/libc.so.1": elf()})
    assert (found.missing, found.unread, found.libc) == ((), (), "")
    (row,) = needs(own).missing
    assert (row.name, row.sure) == ("libc.so.1", False)


def test_a_loader_for_another_machine(needs: Image) -> None:
    files = {"/app": PROGRAM, **glibc("GLIBC_2.34")}
    files[LOADER] = elf(183, soname="ld-linux-x86-64.so.2", defined=("GLIBC_PRIVATE",))
    (row,) = needs(files).missing
    assert (row.what, row.sure) == (Lack.EXECUTABLE, True)
    assert row.details == f"its loader {LOADER} is for arm64, and it is for amd64"


def test_a_loader_that_is_not_known(needs: Image) -> None:
    found = needs(
        {"/app": elf(interpreter="/lib/ld-own.so", needed=("x",)), "/lib/ld-own.so": elf()}
    )
    assert found.missing == ()
    assert found.unread == ("/lib/ld-own.so is a loader whose rules are not known",)


def test_levels(needs: Image) -> None:
    files = {"/app": elf(interpreter=LOADER, level=3), **glibc(level=2)}
    assert [each.level for each in needs(files).binaries] == [3, 0]
    release = b'ID="rhel"\nVERSION_ID="9.4"\n'
    found = needs({**files, "/etc/os-release": release})
    assert (found.built_level, found.distribution) == (2, "rhel 9.4")
    assert "/etc/os-release" in found.built_by
    static = needs({"/app": elf(), "/etc/os-release": release})
    assert static.built_level == 0, "it does not use what the distribution compiled"
    text = b"CPU does not support x86-64-v%d"
    sse = bytes.fromhex("0f10450c f30f58c1") * 50
    alma = {"/etc/os-release": b'ID="almalinux"\nVERSION_ID="10.1"\n'}
    for code, level in ((sse, 2), (bytes.fromhex("c5fc1000 c5f877") * 50, 3)):
        checks = elf(
            soname="ld-linux-x86-64.so.2", defined=("GLIBC_PRIVATE",), code=code, more=text
        )
        assert needs({**files, LOADER: checks}).built_level == level
        assert needs({**files, LOADER: checks, **alma}).built_level == level


@pytest.mark.parametrize(
    ("name", "version", "level"),
    [
        ("amzn", "2023", 2),
        ("amzn", "2", 0),
        ("opensuse-leap", "16.0", 2),
        ("opensuse-leap", "15.6", 0),
        ("cloudlinux", "9.4", 2),
        ("cloudlinux", "10.0", 3),
        ("rhel", "10.1", 3),
        ("sles", "16.0", 2),
        ("debian", "13", 0),
    ],
)
def test_what_distributions_are_built_for(name: str, version: str, level: int) -> None:
    assert distribution.level_of({"ID": name, "VERSION_ID": version})[0] == level


def test_known_software(needs: Image) -> None:
    def known(files: dict[str, Any], **changes: Any) -> dict[str, str]:
        return {row.name: row.version for row in needs(files, **changes).software}

    shared = "libsystemd-shared-252.so"
    systemd = elf(interpreter=LOADER, needed=(shared,), runpath="/usr/lib/systemd")
    files = {"/usr/lib/systemd/systemd": systemd, f"/usr/lib/systemd/{shared}": elf(), **glibc()}
    files["/sbin/init"] = "/usr/lib/systemd/systemd"
    assert known(files, argv=("/sbin/init",)) == {"systemd": "252"}
    assert known(files, argv=("/sbin/other",)) == {}
    java = {"/opt/java/bin/java": elf(), "/opt/java/release": b'A=1\nJAVA_VERSION="11.0.15"\n'}
    assert known(java, argv=("/opt/java/bin/java",)) == {"java": "11.0.15"}
    rings = {"/app": elf(interpreter=LOADER, needed=("liburing.so.2",)), **glibc()}
    assert known({**rings, "/lib/liburing.so.2": elf()}) == {"io_uring": ""}
    legacy = {"/usr/sbin/iptables": "/etc/alternatives/iptables", "/usr/sbin/legacy": b""}
    legacy["/etc/alternatives/iptables"] = "/usr/sbin/xtables-legacy-multi"
    assert known({**legacy, "/usr/sbin/xtables-legacy-multi": b""}) == {"iptables-legacy": ""}
    own = {"/usr/sbin/iptables-legacy": "xtables-legacy-multi"}
    own |= {"/usr/sbin/xtables-legacy-multi": elf(), "/usr/sbin/iptables": b""}
    assert known(own, argv=("/usr/sbin/iptables-legacy", "-L")) == {"iptables-legacy": ""}
    old, both = b"memory.limit_in_bytes", b"memory.limit_in_bytes memory.max"
    assert known({"/app": elf(code=old)}, argv=("/app",)) == {"cgroup-v1": ""}
    assert known({"/app": elf(code=both)}, argv=("/app",)) == {}
    new = {"/usr/sbin/iptables": "xtables-nft-multi", "/usr/sbin/xtables-nft-multi": elf()}
    assert known(new) == {"nftables": ""}
    assert known({"/usr/sbin/nft": elf()}, argv=("/usr/sbin/nft", "-f", "/x")) == {"nftables": ""}
    assert known(own, argv=("/usr/sbin/iptables",)) == {}
    assert known({"/usr/bin/bwrap": b"", "/usr/bin/rpm": b""}) == {
        "bubblewrap": "",
        "all-descriptors": "",
    }
    gpu = (*PATH, ("NVIDIA_VISIBLE_DEVICES", "all"))
    assert known({}, env=gpu) == {"nvidia": ""}


HOME = "/usr/share/elasticsearch"


@pytest.mark.parametrize(
    ("user", "lacks"),
    [
        ("", []),
        ("shop", []),
        ("1000:1000", []),
        ("shop:web", []),
        ("nobody", ["nobody"]),
        ("nobody:web", ["nobody"]),
        ("shop:shop", ["shop"]),
    ],
)
def test_the_user_of_a_service(needs: Image, user: str, lacks: list[str]) -> None:
    files = {"/app": elf(), "/etc/passwd": b"root:x:0:0::/:\nshop:x:5:5::/:\n"}
    found = needs({**files, "/etc/group": b"web:x:7:\n"}, argv=("/app",), user=user)
    assert missing(found) == [("user", name) for name in lacks]


def test_a_row_of_users_that_is_indented(needs: Image) -> None:
    """Engines trim the rows before they read them (moby/sys/user, ParsePasswdFilter)."""
    files = {"/app": elf(), "/etc/passwd": b" \tshop:x:5:5::/:\n"}
    assert missing(needs(files, argv=("/app",), user="shop")) == []


def test_a_program_that_is_cut_off(needs: Image) -> None:
    whole = elf(code=bytes(4096))
    assert missing(needs({"/app": whole}, argv=("/app",))) == []
    end = len(whole) // 4096 * 4096  # of the last page that is whole
    assert missing(needs({"/app": whole[: end + 1]}, argv=("/app",))) == [], "its rest is zeros"
    empty = bytearray(elf(codes=(b"",)))
    empty[64 + 56 + 8 : 64 + 56 + 16] = (1 << 20).to_bytes(8, "little")  # p_offset of the second
    assert missing(needs({"/app": bytes(empty)}, argv=("/app",))) == [], "nothing is mapped of it"
    found = needs({"/app": whole[:end]}, argv=("/app",))
    assert missing(found) == [("executable", "/app")]
    assert "it is cut off" in found.missing[0].details


def test_a_server_that_checks_memory_maps(needs: Image) -> None:
    jar, tini = f"{HOME}/lib/elasticsearch-8.1.0.jar", ("/tini", "--", "/entry.sh", "eswrapper")
    settings = f"{HOME}/config/elasticsearch.yml"
    server = {jar: b"", f"{HOME}/bin/elasticsearch": b"#!/tini\n", "/tini": elf()}
    listens = {**server, settings: b'cluster.name: "x"\nnetwork.host: 0.0.0.0\n'}

    def sure(files: dict[str, Any], *env: tuple[str, str], **changes: Any) -> list[bool]:
        changes = {"cwd": HOME, "argv": tini, **changes}
        return [row.sure for row in needs(files, env=(*PATH, *env), **changes).software]

    assert sure({jar: b"", "/app": elf()}) == [], "a client has the jar too"
    assert sure(server) == [False], "it may listen to itself alone"
    assert sure(listens) == [True]
    assert sure(listens, cwd="/") == [True]
    assert sure(listens, argv=("/tini",)) == [False], "nobody knows what is started"
    assert sure(listens, mounts=(Mount("volume", f"{HOME}/config"),)) == [False]
    assert sure(listens, ("transport.host", "127.0.0.1")) == [False]
    assert sure(listens, ("ES_SETTING_TRANSPORT_HOST", "127.0.0.1")) == [False]
    remark = b"# Setting network.host needs\n# discovery.type: single-node\n"
    assert sure({**listens, settings: remark + listens[settings]}) == [True]
    assert sure({**server, settings: b"# network.host: 0.0.0.0\n"}) == [False]
    own = listens[settings] + b"transport.host: localhost\n"
    assert sure({**listens, settings: own}) == [False]
    for row in (
        ("discovery.type", "single-node"),
        ("ES_SETTING_DISCOVERY_TYPE", "single-node"),
        ("ES_SETTING_NODE_STORE_ALLOW__MMAP", "false"),
        ("node.store.allow_mmap", "false"),
    ):
        assert sure(listens, row) == [], row
    assert sure(listens, argv=(*tini, "-Ediscovery.type=single-node")) == []
    single = listens[settings] + b"discovery.type: single-node\n"
    assert sure({**listens, settings: single}) == [False]


def test_a_systemd_without_a_library_of_its_own(needs: Image) -> None:
    text = b"systemd 219 running in %ssystem mode\0"
    old = {"/lib/systemd/systemd": elf(more=text)}
    assert needs(old, argv=("/lib/systemd/systemd",)).software[0].version == "219"
    script = {**old, "/entry": b"#!/sh\nexec /lib/systemd/systemd\n", "/sh": elf()}
    (row,) = needs({**script, "/bin/sh": elf()}, argv=("/bin/sh", "/entry")).software
    assert not row.sure


def test_layers_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"x" * 700)
    (found,) = read([tmp_path / "bad"], replace(IMAGE, variant="v8"), [spec()])
    assert (found.variant, found.binaries) == ("v8", ())
    assert "malformed" in found.unread[0]
    whole = elf(interpreter=LOADER)
    path = layer(tmp_path / "cut", {"/app": whole[:100], **glibc()})
    (found,) = read([path], IMAGE, [spec(argv=("/app",))])
    assert (found.missing[0].name, found.missing[0].details) == (
        "/app",
        "it is cut off within its program headers",
    )


def test_libraries_that_need_each_other_end(needs: Image) -> None:
    count = 300
    files = {
        f"/lib/l{number}.so": elf(needed=(f"l{number + 1}.so",), rpath="/x:/y:/z")
        for number in range(count)
    }
    files[f"/lib/l{count}.so"] = elf(needed=("l0.so",))
    found = needs({"/app": elf(interpreter=LOADER, needed=("l0.so",)), **files, **glibc()})
    assert len(paths(found)) == count + 3 or found.unread


@pytest.mark.slow
def test_a_large_image_takes_little_memory(tmp_path: Path) -> None:
    """Bar: 400 MB under 256 MiB."""
    data = b"x" * 20_000
    files: dict[str, Any] = {f"/usr/share/{number}": data for number in range(20_000)}
    path = layer(tmp_path / "large", {**files, "/app": PROGRAM, **glibc("GLIBC_2.34")})
    assert path.stat().st_size > 400_000_000
    tracemalloc.start()
    try:
        (found,) = read([path], IMAGE, [spec(argv=("/app",))])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.missing == ()
    assert peak < 256 << 20


def test_a_working_folder_that_is_a_file(needs: Image) -> None:
    files = {"/app": elf(), "/srv": "opt", "/opt/conf": b"x"}
    for cwd in ("/app", "/app/below", "/srv/conf"):
        (row,) = needs(files, cwd=cwd).missing
        assert (row.what, row.name) == (Lack.FOLDER, cwd)
    assert needs(files, cwd="/app/below").missing[0].details == "/app is a file"
    for cwd in ("/", "/srv", "/opt/new/folder"):
        assert needs(files, cwd=cwd).missing == ()
    for kind in ("volume", "tmpfs"):
        (row,) = needs(files, mounts=(Mount(kind, "/srv/conf"),)).missing
        assert (row.name, row.by, row.details) == ("/srv/conf", kind, "/opt/conf is a file")
        assert needs(files, mounts=(Mount(kind, "/srv/new"),)).missing == ()


def test_what_is_there_in_the_place_of_a_command(needs: Image) -> None:
    files = {"/srv/bin/x": elf(), "/app": "/opt/java/bin/java", "/usr/bin/sub/x": elf()}
    assert needs(files, argv=("/srv/bin",)).missing[0].details == "it is a folder"
    assert missing(needs(files, argv=("/srv/bin",))) == [("executable", "/srv/bin")]
    (row,) = needs(files).missing
    assert row.details == "it leads to /opt/java/bin/java, which is not there"
    assert missing(needs(files, argv=("sub",))) == [("command", "sub")]
    bom = needs({"/app": b"\xef\xbb\xbf#!/bin/sh\n", "/bin/sh": elf()}).missing[0]
    assert "byte order mark" in bom.details


def test_a_command_without_the_mode_x_in_path(needs: Image, tmp_path: Path) -> None:
    path = layer(tmp_path / "plain", {"/usr/bin/serve": elf()}, mode=0o644)
    (found,) = read([path], IMAGE, [spec(argv=("serve",), env=PATH, cwd="/")])
    assert found.missing[0].details == "/usr/bin/serve is there, but its mode has no x"


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        ("-S serve --flag", []),
        ("-S gone --flag", ["gone"]),
        ("-vS gone", ["gone"]),
        ("--split-string=-u C A=b gone", ["gone"]),
        ("-S A=b 'gone away'", ["gone away"]),
        ("-S ${NAME}", []),
        ("-i gone", []),  # env takes it for one option, and says so
    ],
)
def test_env_splits_its_words(needs: Image, line: str, lacks: list[str]) -> None:
    files = {
        "/usr/bin/env": elf(),
        "/usr/bin/serve": elf(),
        "/app": f"#!/usr/bin/env {line}\n".encode(),
    }
    assert [name for _, name in missing(needs(files))] == lacks


def test_env_of_busybox_does_not_split(needs: Image) -> None:
    files = {"/bin/busybox": elf(), "/usr/bin/env": "/bin/busybox", "/bin/serve": elf()}
    (row,) = needs({**files, "/app": b"#!/usr/bin/env -S serve x\n"}).missing
    assert (row.what, "BusyBox" in row.details) == (Lack.EXECUTABLE, True)


@pytest.mark.parametrize(
    "argv",
    [
        ("tini", "-s", "-e", "143", "--", "gone"),
        ("tini", "gone", "x"),
        ("env", "-i", "A=b", "gone"),
        ("env", "-u", "A", "-S", "B=c gone x"),
        ("nice", "-n", "5", "timeout", "-k", "1", "10", "gone"),
        ("gosu", "nobody", "gone"),
        ("sh", "-c", "gone --serve"),
        ("sh", "-c", "exec gone"),
        ("busy", "-c", "gone"),
    ],
)
def test_what_a_wrapper_or_a_shell_starts(needs: Image, argv: tuple[str, ...]) -> None:
    names = ("tini", "env", "nice", "timeout", "gosu", "dash", "serve")
    files: dict[str, Any] = {f"/bin/{name}": elf() for name in names}
    files |= {
        "/bin/sh": "dash",
        "/bin/busybox": elf(more=b"\0true\0serve\0"),
        "/bin/busy": "busybox",
    }
    files["/bin/ash"] = "busybox"
    argv = ("/bin/ash", *argv[1:]) if argv[0] == "busy" else argv
    (row,) = needs(files, argv=argv).missing
    assert (row.what, row.name, row.sure) == (Lack.COMMAND, "gone", True)
    there = tuple(word.replace("gone", "serve") for word in argv)
    assert needs(files, argv=there).missing == ()


def test_what_a_shell_knows_without_a_file(needs: Image) -> None:
    files: dict[str, Any] = {"/bin/bash": elf(), "/bin/mksh": elf(), "/bin/sh": "mksh"}
    assert missing(needs(files, argv=("bash", "-c", "wait"))) == []
    (row,) = needs(files, argv=("sh", "-c", "gone")).missing
    assert not row.sure, "a shell that is not known may have it"
    env = (*PATH, ("BASH_FUNC_gone%%", "() { :; }"))
    (row,) = needs(files, argv=("bash", "-c", "gone"), env=env).missing
    assert not row.sure
    assert missing(needs(files, argv=("bash", "-c", "gone; wait"))) == []


def test_files_that_the_kernel_does_not_start(needs: Image) -> None:
    kind = bytearray(elf())
    kind[16] = 1
    nowhere = bytearray(elf())
    nowhere[24:32] = bytes(8)
    empty = bytearray(elf())
    empty[56:58] = bytes(2)
    for data, why in (
        (bytes(kind), "an object file"),
        (bytes(nowhere), "no entry point"),
        (bytes(empty), "no program headers"),
        (elf()[:40], "cut off"),
        (elf(needed=("libc.so.6",)), "shared library"),
    ):
        (row,) = needs({"/app": data}).missing
        assert (row.what, why in row.details) == (Lack.EXECUTABLE, True), why


def test_a_loader_that_is_the_command(needs: Image) -> None:
    files = {"/prog": PROGRAM, **glibc("GLIBC_2.34")}
    argv = (LOADER, "/prog")
    assert needs(files, argv=argv).missing == ()
    assert missing(needs(files, argv=(LOADER, "/gone"))) == [("command", "/gone")]
    del files["/lib/libc.so.6"]
    assert missing(needs(files, argv=argv)) == [("library", "libc.so.6")]


Owned = tuple[bytes | str, int, int]


def denied(
    folder: Path, files: dict[str, Owned], what: Lack = Lack.ACCESS, **changes: Any
) -> list[tuple[str, str]]:
    """files: content (None: a folder), mode, owner."""
    path = folder / "owned"
    with tarfile.open(path, "w") as made:
        for name, (data, mode, owner) in files.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.mode, info.uid, info.gid = mode, owner, owner
            if isinstance(data, str):
                info.type = tarfile.DIRTYPE
                made.addfile(info)
            else:
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
    more = {"env": PATH, "cwd": "/", "argv": ("/app",), **changes}
    (found,) = read([path], IMAGE, [spec(**more)])
    return [(row.name, row.details) for row in found.missing if row.what is what]


def test_who_may_run_a_program(tmp_path: Path) -> None:
    own: dict[str, Owned] = {"/app": (elf(), 0o700, 7)}
    row = [("user 8 may not run /app", "/app: mode 0700, owner 7:7")]
    caps = ("CAP_DAC_OVERRIDE",)
    assert denied(tmp_path, own, user="8", capabilities=caps) == []
    assert denied(tmp_path, own, Lack.ACCESS_BY_RIGHTS, user="8", capabilities=caps) == row
    assert denied(tmp_path, own, Lack.ACCESS_BY_RIGHTS, user="7", capabilities=caps) == []
    assert denied(tmp_path, own, user="8", capabilities=()) == row
    assert denied(tmp_path, own, user="8", capabilities=caps, init=True) == row
    assert denied(tmp_path, own, user="7", capabilities=()) == []
    assert denied(tmp_path, own, capabilities=caps) == []
    assert denied(tmp_path, own, capabilities=())[0][0] == "user 0 may not run /app"
    odd: dict[str, Owned] = {**own, "/etc/passwd": (b"::::\nroot:x:0:0::/:\n", 0o644, 0)}
    assert denied(tmp_path, odd, capabilities=())[0][0] == "user 0 may not run /app"
    own["/app"] = (elf(), 0o710, 7)
    assert denied(tmp_path, own, user="8:7", capabilities=()) == []
    assert denied(tmp_path, own, user="8", group_add=("7",), capabilities=()) == []


def test_who_may_read_a_script_and_search_a_folder(tmp_path: Path) -> None:
    caps = {"capabilities": ("CAP_DAC_OVERRIDE",), "user": "8"}
    script: dict[str, Owned] = {"/app": (b"#!/bin/sh\n", 0o711, 0), "/bin/sh": (elf(), 0o755, 0)}
    assert denied(tmp_path, script, **caps) == [
        ("user 8 may not read /app", "/app: mode 0711, owner 0:0")
    ]
    assert denied(tmp_path, {**script, "/app": (b"#!/bin/sh\n", 0o755, 0)}, **caps) == []
    hidden: dict[str, Owned] = {"/root": ("", 0o700, 0), "/root/app": (elf(), 0o755, 0)}
    hidden["/bin/tini"] = (elf(), 0o755, 0)
    assert denied(tmp_path, hidden, argv=("/root/app",), **caps) == []
    assert denied(tmp_path, hidden, argv=("tini", "/root/app"), **caps) == [
        ("user 8 may not run /root/app", "/root: mode 0700, owner 0:0")
    ]
    setuid = {**hidden, "/bin/tini": (elf(), 0o4755, 0)}
    assert denied(tmp_path, setuid, argv=("tini", "/root/app"), **caps) == []


def test_a_library_that_the_user_may_not_read(tmp_path: Path) -> None:
    files: dict[str, Owned] = {name: (data, 0o755, 0) for name, data in glibc("GLIBC_2.34").items()}
    files["/app"] = (PROGRAM, 0o755, 0)
    path = "/lib/libc.so.6"
    files[path] = (files[path][0], 0o600, 0)
    assert denied(tmp_path, files, user="8") == []
    (found,) = read([tmp_path / "owned"], IMAGE, [spec(argv=("/app",), user="8", env=PATH)])
    assert [(row.name, "may not read" in row.details) for row in found.missing] == [
        ("libc.so.6", True)
    ]


def test_the_environment_does_not_count_for_a_setuid_program(tmp_path: Path) -> None:
    program = elf(interpreter=LOADER, needed=("liba",))
    files: dict[str, Owned] = {name: (data, 0o755, 0) for name, data in glibc().items()}
    files |= {"/app": (program, 0o4755, 0), "/x/liba": (elf(), 0o755, 0)}
    env = (*PATH, ("LD_LIBRARY_PATH", "/x"))

    def lacks(**changes: Any) -> list[str]:
        denied(tmp_path, files)
        (found,) = read([tmp_path / "owned"], IMAGE, [spec(argv=("/app",), env=env, **changes)])
        return [f"{row.name}: {row.details}" for row in found.missing]

    (row,) = lacks(user="8")
    assert "liba: LD_LIBRARY_PATH does not count" in row
    assert lacks() == lacks(user="8", security_opt=("no-new-privileges",)) == []
    files["/app"] = (program, 0o755, 0)
    assert lacks(user="8") == []


def test_a_library_that_is_cut_off(needs: Image) -> None:
    files = {"/app": PROGRAM, **glibc("GLIBC_2.34")}
    whole = elf(soname="libc.so.6")
    long = bytearray(whole.ljust(20000, b"\0"))
    at = long.index(struct.pack("<II", 1, 5))  # its segment that is loaded
    long[at + 32 : at + 40] = (20000).to_bytes(8, "little")
    files["/lib/libc.so.6"] = bytes(long[:200])
    (row,) = needs(files).missing
    assert (row.what, row.sure) == (Lack.EXECUTABLE, True)
    assert row.details == "it is cut off: it has 200 bytes, and its segments end at 20000"
