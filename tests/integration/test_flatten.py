"""The flattened tree against the one that the engine itself shows for the image."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from portkit import process
from portkit.host import connect
from portkit.lab import Lab
from portkit.package import image
from portkit.package.flatten import flatten
from portkit.store import Store

pytestmark = pytest.mark.lab
DOCKERFILE = r"""
FROM debian:bookworm-slim
RUN mkdir -p /odd/opaque/sub && cd /odd && echo 1 > file && ln file hard && ln -s file soft \
 && echo old > opaque/sub/old && echo gone > gone && mkfifo pipe && mknod null c 1 3 \
 && chown 1234:5678 file && chmod 6751 file && printf x > "$(printf 'n\377 \n y')" \
 && truncate -s 5M sparse && printf end >> sparse && touch -d @1000000000.5 dated
RUN cd /odd && rm -r opaque && mkdir opaque && echo new > opaque/new && rm gone \
 && rm hard && ln soft hardsoft && chmod 700 . && mv /usr/share/doc /usr/share/moved
COPY --chown=7:8 Dockerfile /odd/sub/dir/copied
"""
# What an engine puts into a container that it makes of the image.
_ENGINES = ("dev", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", ".dockerenv")


def content(bundle: tarfile.TarFile) -> dict[str, tuple[object, ...]]:
    """name -> everything that a tar says of it; hard links as the set of their names' inode."""
    rows: dict[str, tuple[object, ...]] = {}
    inode: dict[str, str] = {}
    for info in bundle:
        name = info.name.removeprefix("./").rstrip("/")
        if name in (".", "") or name.split("/")[0] in _ENGINES or name in _ENGINES:
            continue
        if info.islnk():
            inode[name] = inode.get(info.linkname, info.linkname)
            continue
        file = bundle.extractfile(info) if info.isreg() else None
        digest = hashlib.file_digest(file, "sha256").hexdigest() if file else ""  # type: ignore[arg-type]
        xattrs = tuple(sorted(p for p in info.pax_headers.items() if "xattr" in p[0]))
        device = (info.devmajor, info.devminor) if info.isdev() else ()
        link = info.linkname if info.issym() else ""
        rows[name] = (
            *(info.type, oct(info.mode & 0o7777), info.uid, info.gid, info.size, int(info.mtime)),
            *(digest, link, device, xattrs),
        )
    # Which of an inode's names comes first is the writer's choice.
    groups: dict[str, list[str]] = {}
    for name, first in inode.items():
        groups.setdefault(first, [first]).append(name)
    for names in groups.values():
        row = rows.pop(names[0])
        for name in names:
            rows[name] = (*row, tuple(sorted(names)))
    return rows


def test_the_same_tree_as_the_engine(lab: Lab, tmp_path: Path) -> None:
    ssh = ["ssh", "-F", lab.ssh_config, "lab-alpha"]
    build = "d=$(mktemp -d) && cat > $d/Dockerfile && docker build -q -t flatten-test $d"
    process.run([*ssh, build], input=DOCKERFILE.encode(), timeout=300)
    export = "c=$(docker create flatten-test x) && docker export $c && docker rm $c >&2"
    exported = tmp_path / "exported.tar"
    exported.write_bytes(process.run([*ssh, export], timeout=300).stdout)
    store = Store(tmp_path / "store")
    with connect("lab:alpha") as host:
        artifact = image.fetch(host, "flatten-test", store)
    out = io.BytesIO()
    flatten([store.path(digest) for digest in artifact.config.diff_ids], out)
    out.seek(0)
    with tarfile.open(fileobj=out) as ours, tarfile.open(exported) as theirs:
        mine, wanted = content(ours), content(theirs)
    assert len(wanted) > 3000
    assert "odd/gone" not in mine
    assert set(mine) == set(wanted)
    # Making a container, the engine writes into /etc. A folder that no layer names has no time
    # of its own: the engine takes the time at which it unpacked, we take 0.
    unnamed = [name for name, row in mine.items() if row[5] == 0]
    assert set(unnamed) <= {"etc/ssl", "etc/ssl/certs"}
    for name in ("etc", *unnamed):
        mine[name], wanted[name] = mine[name][:5], wanted[name][:5]
    differ = [(name, row, wanted[name]) for name, row in mine.items() if row != wanted[name]]
    assert not differ, repr(differ[:3])
