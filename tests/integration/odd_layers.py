"""Images whose layers are odd but loadable, made by hand, and what an engine shows of them.

Every case is a list of layers, each a list of tar members. `seen` loads it into an engine, starts
a container of it and reads the tree through /proc/PID/root, with all attributes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import ziglang

from portkit import process
from portkit.errors import ToolError, VerifyError
from portkit.package.tarball import XATTR
from tests.trees import flatten

MTIME = 1_500_000_000  # of every member
_PAUSE = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n"
_ACL = "SCHILY.xattr.system.posix_acl_"
# Version 2: user_obj rwx, user 1000 r-x, group_obj r-x, mask rwx, other ---.
# Source: linux/posix_acl_xattr.h.
ACL = bytes.fromhex(
    "0200000001000700ffffffff02000500e803000004000500ffffffff10000700ffffffff20000000ffffffff"
)


def member(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    data: str = "",
    *,
    mode: int | None = None,
    owner: tuple[int, int] = (0, 0),
    device: tuple[int, int] = (0, 0),
    pax: dict[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One member; data: the content of a file, the target of a link."""
    info = tarfile.TarInfo(name)
    info.type, info.mtime = kind, MTIME
    info.mode = mode if mode is not None else 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.uid, info.gid = owner
    info.devmajor, info.devminor = device
    content = data.encode() if kind == tarfile.REGTYPE else b""
    info.size = len(content)
    info.linkname = data if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    info.pax_headers = dict(pax or {})
    return info, content


# name -> mode, owner, group, time, content or link, device, attributes, number of names
Tree = dict[str, list[object]]
Layer = list[tuple[tarfile.TarInfo, bytes]]
D, L, H, C = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE
_OPAQUE = {"SCHILY.xattr.trusted.overlay.opaque": "y"}
_ACLS = {
    _ACL + "access": ACL.decode("utf-8", "surrogateescape"),
    _ACL + "default": ACL.decode("utf-8", "surrogateescape"),
}

CASES: dict[str, list[Layer]] = {
    "root closed": [[member("./", D, mode=0o700), member("./a", data="1")]],
    "root owned": [[member("./", D, mode=0o1777, owner=(1000, 1001)), member("./a", data="1")]],
    "acl": [
        [
            member("a/", D, pax=_ACLS, mode=0o770),
            member("a/f", data="1", pax={_ACL + "access": _ACLS[_ACL + "access"]}, mode=0o670),
        ]
    ],
    "user attribute": [[member("a", data="1", pax={"SCHILY.xattr.user.note": "kept"})]],
    "trusted attribute": [[member("a", data="1", pax={"SCHILY.xattr.trusted.note": "kept"})]],
    "below a lower link": [
        [member("usr/lib/", D), member("lib", L, "usr/lib"), member("usr/lib/y", data="1")],
        [member("lib/x", data="2")],
    ],
    "below a lower link, folder named": [
        [member("usr/lib/", D), member("lib", L, "usr/lib"), member("usr/lib/y", data="1")],
        [member("lib/", D), member("lib/x", data="2")],
    ],
    "below a lower file": [[member("a", data="1")], [member("a/x", data="2")]],
    "below a link of its own": [
        [member("usr/lib/", D), member("lib", L, "usr/lib"), member("lib/x", data="2")]
    ],
    "below an absolute link of its own": [
        [member("usr/lib/", D), member("lib", L, "/usr/lib"), member("lib/x", data="2")]
    ],
    "below a link of its own into a lower folder": [
        [member("usr/lib/y", data="1")],
        [member("lib", L, "usr/lib"), member("lib/x", data="2")],
    ],
    "below a file of its own": [[member("a", data="1"), member("a/x", data="2")]],
    "links in a loop": [[member("a", L, "b"), member("b", L, "a"), member("a/x", data="1")]],
    "below lower links in a loop": [
        [member("a", L, "b"), member("b", L, "a")],
        [member("a/x", data="1")],
    ],
    "dots inside": [[member("usr/", D), member("usr/../x", data="1")]],
    "dots through nothing": [[member("no/../x", data="1")]],
    "dots through a link": [[member("d/e/", D), member("l", L, "d/e"), member("l/../x", data="1")]],
    "dots at the root": [[member("/../x", data="1")]],
    "dots that lead out": [[member("../x", data="1")]],
    "folder unnamed above": [
        [member("a/", D, mode=0o700, owner=(1000, 1001)), member("a/b", data="1")],
        [member("a/x", data="2")],
    ],
    "folder unnamed": [[member("a/b/x", data="2")]],
    "overlay's opaque": [
        [member("a/", D), member("a/old", data="1")],
        [member("a/", D, pax=_OPAQUE), member("a/new", data="2")],
    ],
    "overlay's opaque, nothing new": [
        [member("a/", D), member("a/old", data="1")],
        [member("a/", D, pax=_OPAQUE)],
    ],
    "overlay's redirect": [
        [member("a/", D), member("a/old", data="1"), member("b/", D), member("b/x", data="3")],
        [member("b/", D, pax={"SCHILY.xattr.trusted.overlay.redirect": "/a"})],
    ],
    "device 0:0 over a file": [
        [member("a", data="1"), member("b", data="1")],
        [member("a", C, device=(0, 0))],
    ],
    "device 0:0 alone": [[member("a", C, device=(0, 0)), member("b", data="1")]],
    "device 0:0, then a file": [
        [member("a", data="1")],
        [member("a", C, device=(0, 0))],
        [member("a", data="3")],
    ],
    "a whiteout and a file": [
        [member("a", data="1")],
        [member("a", data="2"), member(".wh.a")],
    ],
    "a whiteout, then a file": [
        [member("a", data="1")],
        [member(".wh.a"), member("a", data="2")],
    ],
    "a whiteout of a folder, then the folder": [
        [member("a/", D), member("a/old", data="1")],
        [member(".wh.a"), member("a/", D), member("a/new", data="2")],
    ],
    "a folder, a file, a folder again": [
        [member("a/", D), member("a/old", data="1")],
        [member("a", data="2"), member("a/", D, mode=0o711)],
    ],
    "opaque behind": [
        [member("a/", D), member("a/old", data="1")],
        [member("a/", D), member("a/new", data="2"), member("a/.wh..wh..opq")],
    ],
    "opaque in a folder unnamed": [
        [member("a/", D, mode=0o700), member("a/old", data="1")],
        [member("a/.wh..wh..opq"), member("a/new", data="2")],
    ],
    "opaque at the root": [
        [member("old", data="1")],
        [member(".wh..wh..opq"), member("new", data="2")],
    ],
    "whiteout below a lower link": [
        [member("usr/lib/y", data="1"), member("lib", L, "usr/lib")],
        [member("lib/.wh.y")],
    ],
    "hard link into a lower layer": [[member("a", data="1")], [member("b", H, "a")]],
    "hard link through a link": [
        [member("d/a", data="1"), member("l", L, "d"), member("b", H, "l/a")]
    ],
    "hard link to a link": [[member("t", data="1"), member("s", L, "t"), member("b", H, "s")]],
    "hard link with dots": [[member("a", data="1"), member("d/", D), member("b", H, "d/../a")]],
    "a link that leads out": [[member("up", L, "../../../.."), member("a", data="1")]],
    "a link on a link": [
        [member("real", data="1"), member("l", L, "real")],
        [member("l", data="2")],
    ],
    "a file over a folder": [[member("a/", D), member("a/x", data="1")], [member("a", data="2")]],
    "a folder over a file": [[member("a", data="1")], [member("a/", D), member("a/x", data="2")]],
    "a global header": [[member("a", data="1")]],
    "setuid on a link": [[member("t", data="1", mode=0o4755), member("l", L, "t", mode=0o777)]],
}


def layer(members: Layer, extra: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=extra or {}
    ) as bundle:
        for info, content in members:
            bundle.addfile(info, io.BytesIO(content))
    return out.getvalue()


def layers(name: str, pause: bytes) -> list[bytes]:
    """The layers of a case as tars; the program that keeps a container alive is the lowest."""
    extra = {"comment": "ignored", "uid": "77"} if name == "a global header" else None
    info, _ = member("pause", data="")
    info.mode, info.size = 0o755, len(pause)
    return [layer([(info, pause)]), *(layer(each, extra) for each in CASES[name])]


def pause(folder: Path) -> bytes:
    """A static program that waits."""
    source, out = folder / "pause.c", folder / "pause"
    source.write_text(_PAUSE)
    zig = Path(ziglang.__file__).parent / "zig"
    argv = [zig, "cc", "-target", "x86_64-linux-musl", "-static", "-Os", "-s", source, "-o", out]
    process.run(argv, env={"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig")}, timeout=600)
    return out.read_bytes()


def image(tag: str, tars: list[bytes]) -> bytes:
    """A docker-archive."""
    digests = [hashlib.sha256(data).hexdigest() for data in tars]
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/pause"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{each}" for each in digests]},
            "history": [{"created_by": tag} for _ in digests],
        }
    ).encode()
    name = hashlib.sha256(config).hexdigest()
    rows = [
        {
            "Config": f"{name}.json",
            "RepoTags": [tag],
            "Layers": [f"{each}/layer.tar" for each in digests],
        }
    ]
    files = {f"{name}.json": config, "manifest.json": json.dumps(rows).encode()}
    files |= {f"{each}/layer.tar": data for each, data in zip(digests, tars, strict=True)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as bundle:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return out.getvalue()


_WALK = r"""
import hashlib, json, os, stat, subprocess, sys
tag = sys.argv[1]
def run(*argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
made = run("docker", "run", "-d", "--network", "none", tag)
pid = run("docker", "inspect", "-f", "{{.State.Pid}}", made)
root = "/proc/%s/root" % pid
rows = {}
def row(path, name):
    st = os.lstat(path)
    data = ""
    if stat.S_ISREG(st.st_mode):
        data = hashlib.sha256(open(path, "rb").read()).hexdigest()
    if stat.S_ISLNK(st.st_mode):
        data = os.readlink(path)
    xattrs = {} if stat.S_ISLNK(st.st_mode) else {
        key: os.getxattr(path, key).hex() for key in sorted(os.listxattr(path))}
    device = [os.major(st.st_rdev), os.minor(st.st_rdev)]
    links = 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink
    rows[name] = [oct(st.st_mode), st.st_uid, st.st_gid, int(st.st_mtime), data, device, xattrs,
                  links]
row(root + "/", ".")
for folder, names, files in os.walk(root + "/"):
    below = folder[len(root) + 1:].lstrip("/")
    if not below:
        names[:] = [n for n in names if n not in ("proc", "sys", "dev", "etc")]
    for name in names + files:
        if not below and name in (".dockerenv", "pause"):
            continue
        try:
            row(os.path.join(folder, name), os.path.join(below, name))
        except FileNotFoundError:
            pass  # overlayfs lists a whiteout in a folder that no lower layer has; it is not there
print(json.dumps(rows))
run("docker", "rm", "-f", made)
run("docker", "rmi", "-f", tag)
"""


def seen(ssh: list[str], name: str, tars: list[bytes]) -> Tree | str:
    """The tree of a container of these layers; text: why the engine refuses them."""
    tag = f"odd-{hashlib.sha256(name.encode()).hexdigest()[:12]}:latest"
    try:
        process.run([*ssh, "docker load"], input=image(tag, tars), timeout=120)
        done = process.run([*ssh, f"python3 - {tag}"], input=_WALK.encode(), timeout=120)
    except ToolError as error:
        return error.details
    found: Tree = json.loads(done.stdout)
    return found


def made(folder: Path, tars: list[bytes]) -> Tree | str:
    """The same of what `flatten` makes of the layers; text: why it refuses them."""
    paths = []
    for data in tars:
        paths.append(folder / hashlib.sha256(data).hexdigest())
        paths[-1].write_bytes(data)
    out = io.BytesIO()
    try:
        flatten(paths, out)
    except VerifyError as error:
        return error.details
    out.seek(0)
    found: Tree = {}
    names: dict[str, list[str]] = {}
    with tarfile.open(fileobj=out) as bundle:
        for info in bundle:
            if info.islnk():
                names[info.linkname].append(info.name)
                continue
            names[info.name] = [info.name]
            found[info.name] = _row(info, bundle)
    for first, group in names.items():
        for name in group:
            links = 0 if str(found[first][0]).startswith("0o40") else len(group)
            found[name] = [*found[first][:-1], links]
    return found


def _row(info: tarfile.TarInfo, bundle: tarfile.TarFile) -> list[object]:
    file = bundle.extractfile(info) if info.isreg() else None
    data = info.linkname if info.issym() else ""
    kinds = {D: 0o40000, L: 0o120000, C: 0o20000}
    xattrs = {
        key.removeprefix(XATTR): value.encode("utf-8", "surrogateescape").hex()
        for key, value in info.pax_headers.items()
        if key.startswith(XATTR)
    }
    return [
        oct(kinds.get(info.type, 0o100000) | (0o777 if info.issym() else info.mode)),
        info.uid,
        info.gid,
        int(info.mtime),
        hashlib.sha256(file.read()).hexdigest() if file else data,
        [info.devmajor, info.devminor],
        xattrs,
        0,
    ]
