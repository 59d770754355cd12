"""Which files of an image the user of a service may run, search and read.

Sources: path_resolution(7), execve(2), capabilities(7); runc, libcontainer/init_linux.go: the
engine's last step has the service's capabilities also for a user who is not root, and the program
that it becomes does not have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from portkit.model import RunSpec
from portkit.needs.root import Entry, Root

READ, RUN = 4, 1
_SEARCH = 1
_WORDS = {READ: "read", RUN: "run"}
_TEXT_BYTES = 1 << 20
_ALL, _TO_READ = "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"
_SETUID, _SETGID = 0o4000, 0o2000
_FILE_CAPABILITIES = "security.capability"
_ACL = "system.posix_acl_access"


@dataclass(frozen=True)
class Person:
    """A user as the kernel knows one."""

    uid: int
    groups: frozenset[int]


@dataclass(frozen=True)
class Denied:
    """What keeps the user from a file. what: in words; place: the file or folder, with its mode."""

    what: str
    place: str


def person(root: Root, spec: RunSpec) -> Person | None:
    """Whom the service runs as; None where a name is not in the image's own files."""
    user, _, group = spec.user.partition(":")
    user = user or "0"
    people = [row.split(":") for row in root.text("/etc/passwd", _TEXT_BYTES).splitlines()]
    rows = [row for row in people if len(row) > 3 and user in (row[0], row[2])]
    uid = _number(user) if not rows else _number(rows[0][2])
    if uid is None:
        return None
    name = rows[0][0] if rows else ""
    teams = [row.split(":") for row in root.text("/etc/group", _TEXT_BYTES).splitlines()]
    teams = [row for row in teams if len(row) > 3]
    gids = {_number(row[2]) for row in teams if name and name in row[3].split(",")}
    gids |= {_number(row[2]) for row in teams if row[0] in (group, *spec.group_add)}
    gids |= {_number(each) for each in (group, *spec.group_add) if each}
    gids.add(_number(rows[0][3]) if rows else 0)
    return Person(uid, frozenset(each for each in gids if each is not None))


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 11 else None


class Rights:
    """What one service's user may do."""

    def __init__(self, root: Root, spec: RunSpec) -> None:
        self._root = root
        self._person = person(root, spec)
        self._capabilities = frozenset(spec.capabilities)
        self._all = spec.privileged
        self._no_new = spec.no_new_privileges

    def denied(self, entry: Entry, what: int, *, by_engine: bool = False) -> Denied | None:
        """What keeps the user from a file; None where nothing does. by_engine: the engine's last
        step does it."""
        who = self._person
        if who is None:
            return None
        strong = who.uid == 0 or by_engine
        if strong and (self._all or _ALL in self._capabilities):
            return None
        reads = strong and _TO_READ in self._capabilities
        for each, wanted in (*self._folders(entry), (entry, what)):
            if (reads and (wanted == READ or each is not entry)) or self._may(who, each, wanted):
                continue
            member = self._root.headers(each)
            mode, uid, gid = (member.mode, member.uid, member.gid) if member else (0o755, 0, 0)
            return Denied(
                f"user {who.uid} may not {_WORDS[what]} {entry.path}",
                f"{each.path}: mode {mode & 0o7777:04o}, owner {uid}:{gid}",
            )
        return None

    def gains(self, entry: Entry) -> bool:
        """Whether the kernel gives a program more rights than its user has. Loaders then leave out
        what the environment names (ld.so(8), secure-execution mode)."""
        who, member = self._person, self._root.member(entry)
        if who is None or self._no_new:
            return False
        other_user = bool(member.mode & _SETUID) and member.uid != who.uid
        other_group = bool(member.mode & _SETGID) and member.gid not in who.groups
        return other_user or other_group or (_FILE_CAPABILITIES in member.xattrs and who.uid != 0)

    def _folders(self, entry: Entry) -> Iterator[tuple[Entry, int]]:
        for folder in self._root.passed(entry.path):
            yield folder, _SEARCH

    def _may(self, who: Person, entry: Entry, wanted: int) -> bool:
        member = self._root.headers(entry)
        if member is None or _ACL in member.xattrs:
            return True  # a folder that no layer names has mode 0755
        if member.uid == who.uid:
            return bool(member.mode >> 6 & wanted)
        if member.gid in who.groups:
            return bool(member.mode >> 3 & wanted)
        return bool(member.mode & wanted)
