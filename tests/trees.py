"""The tree that layers make, as a tar: what the tests compare with an engine's own export."""

import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from portkit.package import acl, tarball
from portkit.package.flatten import flattened
from portkit.package.tarball import XATTR, Member
from portkit.package.tree import Node, changed_ns


def flatten(layers: Sequence[Path], out: BinaryIO) -> int:
    """Write the tree of the layers to `out`; its entries, the root included."""
    first: dict[Node, str] = {}
    count = 0
    with flattened(layers) as tree:
        for path, node in tree.walk():
            member = tree.member(node)
            info = _info(path or ".", member)
            if node in first:
                info.type, info.linkname, info.size = tarfile.LNKTYPE, first[node], 0
                info.pax_headers = {}
            first.setdefault(node, path)
            out.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
            if member is not None and info.isreg():
                assert member.size < 1 << 31, "a tar has no holes"
                for data in tarball.content(tree.layers[node.layer], member):
                    out.write(data)
                out.write(bytes(-info.size % tarfile.BLOCKSIZE))
            count += 1
    out.write(bytes(2 * tarfile.BLOCKSIZE))
    return count


def _info(path: str, member: Member | None) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    if member is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        return info
    info.type, info.mode, info.size = member.kind, member.mode, member.size
    info.uid, info.gid = member.uid, member.gid
    info.devmajor, info.devminor = member.device
    info.linkname = member.link if member.kind == tarball.SYMLINK else ""
    info.mtime = changed_ns(member) / 1e9
    for key, value in member.xattrs.items():
        if not key.startswith(f"{XATTR}trusted.overlay."):
            info.pax_headers[key] = _with_mode(key.removeprefix(XATTR), value, member.mode)
    return info


def _with_mode(name: str, value: str, mode: int) -> str:
    """An ACL as it is when the file has got its mode, others as they are."""
    if name not in acl.NAMES:
        return value
    rows = acl.entries(name, value.encode("utf-8", "surrogateescape"), mode)
    data = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    return data.decode("utf-8", "surrogateescape")
