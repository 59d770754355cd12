"""POSIX ACLs: from the attributes that engines keep in layers to what ext4 stores. Pure.

An engine sets the attribute `system.posix_acl_access` as it is in the layer, then the mode, which
has the last word on the rights of the owner, of the mask and of others (seen with Docker 20.10,
26.1 and 28.5).
Sources: linux/posix_acl_xattr.h; Linux, fs/ext4/acl.c (ext4_acl_to_disk), fs/posix_acl.c.
"""

from __future__ import annotations

import struct

from portkit.package.tarball import FOLDER, XATTR, Member

_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
NAMES = (_ACCESS, _DEFAULT)
_VERSION, _EXT4_VERSION = 2, 1
_OWNER, _USER, _GROUP_OWNER, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_TAGS = (_OWNER, _USER, _GROUP_OWNER, _GROUP, _MASK, _OTHER)
_MAX_BYTES = 4 + 8 * 4096


def check(member: Member) -> None:
    """ValueError when it has an ACL that no file can have."""
    for name in NAMES:
        if XATTR + name in member.xattrs:
            _entries(member.xattrs[XATTR + name].encode("utf-8", "surrogateescape"))
    if XATTR + _DEFAULT in member.xattrs and member.kind != FOLDER:
        raise ValueError(f"{member.name[:200]!a} has a default ACL and is no folder")


def entries(name: str, value: bytes, mode: int) -> list[tuple[int, int, int]]:
    """(tag, rights, user or group) of an attribute named in NAMES, when the file has got its mode.

    Empty where the ACL says no more than the mode, which then is all that the kernel keeps.
    """
    rows = _entries(value)
    if name == _DEFAULT:
        return rows
    group = _MASK if any(tag == _MASK for tag, _, _ in rows) else _GROUP_OWNER
    bits = {_OWNER: mode >> 6 & 7, group: mode >> 3 & 7, _OTHER: mode & 7}
    if not any(tag in (_USER, _GROUP, _MASK) for tag, _, _ in rows):
        return []
    return [(tag, bits.get(tag, rights), who) for tag, rights, who in rows]


def for_ext4(rows: list[tuple[int, int, int]]) -> bytes:
    """Such entries as ext4 stores them: only those of a user or a group name one."""
    return struct.pack("<I", _EXT4_VERSION) + b"".join(
        struct.pack("<HHI", tag, rights, who)
        if tag in (_USER, _GROUP)
        else struct.pack("<HH", tag, rights)
        for tag, rights, who in rows
    )


def _entries(value: bytes) -> list[tuple[int, int, int]]:
    """(tag, rights, user or group) of an attribute; ValueError when it is none."""
    if len(value) % 8 != 4 or len(value) > _MAX_BYTES:
        raise ValueError("an ACL is malformed")
    (version,) = struct.unpack_from("<I", value)
    entries = list(struct.iter_unpack("<HHI", value[4:]))
    if version != _VERSION or any(tag not in _TAGS or rights > 7 for tag, rights, _ in entries):
        raise ValueError("an ACL is malformed")
    return entries
