"""The flattened tree, and the one inside a disk, against what the engine shows for the image."""

import hashlib
import sys
import tarfile
from pathlib import Path

import pytest

from portkit import process
from portkit.guest.kit import build_kit
from portkit.host import connect
from portkit.lab import Lab
from portkit.model import Artifact
from portkit.needs import appliance
from portkit.package import disk, image
from portkit.store import Store
from tests.trees import flatten

pytestmark = pytest.mark.lab
DOCKERFILE = r"""
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libcap2-bin attr
RUN mkdir -p /odd/opaque/sub && cd /odd && echo 1 > file && ln file hard && ln -s file soft \
 && echo old > opaque/sub/old && echo gone > gone && mkfifo pipe && mknod null c 1 3 \
 && chown 1234:5678 file && chmod 6751 file && printf x > "$(printf 'n\377 \n y')" \
 && truncate -s 5M sparse && printf end >> sparse && touch -d @1000000000.5 dated
RUN cd /odd && rm -r opaque && mkdir opaque && echo new > opaque/new && rm gone \
 && rm hard && ln soft hardsoft && chmod 700 . && mv /usr/share/doc /usr/share/moved
RUN cd /odd && cp /bin/true able && setcap cap_net_raw,cap_net_bind_service+ep able \
 && ln able capable && setfattr -n user.note -v kept able && mknod disk b 253 17 \
 && mkdir -p "$(printf 'n%.0s' $(seq 255))/sticky" && chmod 1777 n*n/sticky \
 && touch "n$(printf '\303\251%.0s' $(seq 120))" nothing old && chmod 0 nothing \
 && chown 3000000000:4000000000 nothing && touch -d @-5 old && ln -s "$(seq -s/ 900)" long
COPY --chown=7:8 Dockerfile /odd/sub/dir/copied
"""
Built = tuple[Artifact, dict[str, tuple[object, ...]]]
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
            first = info.linkname.removeprefix("./")
            inode[name] = inode.get(first, first)
            continue
        file = bundle.extractfile(info) if info.isreg() else None
        digest = hashlib.file_digest(file, "sha256").hexdigest() if file else ""  # type: ignore[arg-type]
        xattrs = tuple(sorted(p for p in info.pax_headers.items() if "xattr" in p[0]))
        device = (info.devmajor, info.devminor) if info.isdev() else ()
        link = info.linkname if info.issym() else ""
        mode, mtime = oct(info.mode & 0o7777), int(info.mtime)
        inode_of = (info.type, mode, info.uid, info.gid, info.size, mtime)
        rows[name] = (*inode_of, digest, link, device, xattrs)
    # Which of an inode's names comes first is the writer's choice.
    groups: dict[str, list[str]] = {}
    for name, first in inode.items():
        groups.setdefault(first, [first]).append(name)
    for names in groups.values():
        row = rows.pop(names[0])
        for name in names:
            rows[name] = (*row, tuple(sorted(names)))
    return rows


READ = """
import guestfs, sys
g = guestfs.GuestFS(python_return_dict=True)
g.add_drive_opts(sys.argv[1], format="raw", readonly=True)
g.set_memsize(512)
g.launch()
g.mount_ro(g.list_devices()[0] + "2", "/")
g.tar_out("/", sys.argv[2], numericowner=True, xattrs=True)
g.shutdown()
"""


@pytest.fixture(scope="module")
def built(lab: Lab, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An image in the Store, and the tree that the engine which built it shows for it."""
    ssh = ["ssh", "-F", lab.ssh_config, "lab-alpha"]
    build = "d=$(mktemp -d) && cat > $d/Dockerfile && "
    build += "docker build -q --network host -t flatten-test $d && rm -r $d"
    process.run([*ssh, build], input=DOCKERFILE.encode(), timeout=300)
    export = "c=$(docker create flatten-test x) && docker export $c && docker rm $c >&2"
    exported = tmp_path_factory.mktemp("exported") / "exported.tar"
    with exported.open("xb") as out:
        process.run([*ssh, export], timeout=300, stdout=out)
    with connect("lab:alpha") as host:
        artifact = image.fetch(host, "flatten-test", Store(store))
    with tarfile.open(exported) as bundle:
        wanted = content(bundle)
    assert len(wanted) > 3000
    assert "odd/gone" not in wanted
    assert any("security.capability" in key for key, _ in wanted["odd/able"][-2])  # type: ignore[attr-defined]
    return artifact, wanted


# Where the lab's base image has this machine's own authorities, if it has any.
UNNAMED = {"etc/ssl", "etc/ssl/certs", "usr/local/share/ca-certificates"}


def compare(mine: dict[str, tuple[object, ...]], wanted: dict[str, tuple[object, ...]]) -> None:
    assert set(mine) == set(wanted)
    # Making a container, the engine writes into /etc. A folder that no layer names has no time
    # of its own: the engine takes the time at which it unpacked, we take 0. odd/old is of 1969.
    unnamed = [name for name, row in mine.items() if row[5] == 0 and name != "odd/old"]
    assert set(unnamed) <= UNNAMED
    loose = {"etc", *unnamed}
    differ = [
        (name, row, wanted[name])
        for name, row in mine.items()
        if (row[:5] != wanted[name][:5] if name in loose else row != wanted[name])
    ]
    assert not differ, repr(differ[:3])


def test_the_flattened_tree(built: Built, store: Path, tmp_path: Path) -> None:
    artifact, wanted = built
    layers = [Store(store).path(digest) for digest in artifact.config.diff_ids]
    with (tmp_path / "flat.tar").open("xb") as out:
        flatten(layers, out)
    with tarfile.open(tmp_path / "flat.tar") as ours:
        compare(content(ours), wanted)


def test_the_tree_inside_the_disk(built: Built, store: Path, tmp_path: Path) -> None:
    artifact, wanted = built
    kit, kept = build_kit(), Store(store)
    made = disk.build(artifact, None, kit, kept)
    found = tmp_path / "found.tar"
    argv = [sys.executable, "-c", READ, kept.path(made.digest), found]
    process.run(argv, env=appliance.environment(kit, tmp_path), timeout=300)
    with tarfile.open(found) as ours:
        compare(content(ours), wanted)
