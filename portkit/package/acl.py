"""POSIX ACLs: from the bytes that engines keep in layers to the text that GNU tar reads. Pure.

An engine sets the attribute `system.posix_acl_access` as it is in the layer, then the mode, which
has the last word on the rights of the owner, of the mask and of others (seen with Docker 20.10,
26.1 and 28.5). GNU tar, which fills a disk, resets the ACL of every file that has none in its own
notation (1.34, src/xattrs.c).
Sources: linux/posix_acl_xattr.h; acl(5), "ACL TEXT FORMS".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from portkit.package.tarball import FOLDER, XATTR, Member

_KINDS = {
    XATTR + "system.posix_acl_access": "SCHILY.acl.access",
    XATTR + "system.posix_acl_default": "SCHILY.acl.default",
}
_DEFAULT = XATTR + "system.posix_acl_default"
_VERSION = 2
_TAGS = {1: "user:", 2: "user:{}", 4: "group:", 8: "group:{}", 16: "mask:", 32: "other:"}
_LETTERS = (("r", 4), ("w", 2), ("x", 1))
_MAX_BYTES = 4 + 8 * 4096


def check(member: Member) -> None:
    """ValueError when it has an ACL that no file can have."""
    for key in _KINDS:
        if key in member.xattrs:
            _text(member.xattrs[key], None)
    if _DEFAULT in member.xattrs and member.kind != FOLDER:
        raise ValueError(f"{member.name[:200]!a} has a default ACL and is no folder")


def records(xattrs: Mapping[str, str], mode: int) -> dict[str, str]:
    """The same attributes with ACLs as records of GNU tar's; mode: of the file."""
    found = {}
    for key, value in xattrs.items():
        kept = key not in _KINDS
        found[_KINDS.get(key, key)] = (
            value if kept else _text(value, None if key == _DEFAULT else mode)
        )
    return found


def _text(value: str, mode: int | None) -> str:
    data = value.encode("utf-8", "surrogateescape")
    # Four bytes of version, then eight for each entry: tag, rights, id (linux/posix_acl_xattr.h).
    if len(data) % 8 != 4 or len(data) > _MAX_BYTES:
        raise ValueError("an ACL is malformed")
    (version,) = struct.unpack_from("<I", data)
    entries = list(struct.iter_unpack("<HHI", data[4:]))
    if version != _VERSION or any(tag not in _TAGS or rights > 7 for tag, rights, _ in entries):
        raise ValueError("an ACL is malformed")
    # With a mask, the group bits of a mode are the mask's, not the owning group's (acl(5)).
    group = 16 if any(tag == 16 for tag, _, _ in entries) else 4
    bits = {} if mode is None else {1: mode >> 6 & 7, group: mode >> 3 & 7, 32: mode & 7}
    rows = (
        f"{_TAGS[tag].format(identity)}:{_letters(bits.get(tag, rights))}\n"
        for tag, rights, identity in entries
    )
    return "".join(rows)


def _letters(rights: int) -> str:
    return "".join(letter if rights & bit else "-" for letter, bit in _LETTERS)
