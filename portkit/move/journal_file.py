"""The sqlite file of the journal: its tables, and room for what has to be written when the disk is
full."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from portkit import files
from portkit.errors import PortkitError, SpaceError

_VERSION = 1
_BUSY_S = 60.0  # another portkit writes one row at a time; a slow disk may take seconds for it
# Of a full disk: a Move that is taken back changes some pages of 4 KiB, each of which sqlite copies
# before.
_RESERVE_BYTES = 512 << 10
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
# STRICT tables (sqlite 3.37) refuse a value of another type, which sqlite would otherwise keep as
# it is.
_SCHEMA = """
create table moves (
  id text primary key, app text not null, source text not null, target text not null,
  state text not null, started real not null, ended real, plan text not null,
  error text not null default ''
) strict;
create table steps (
  move text not null references moves (id) on delete cascade, name text not null,
  state text not null, result text not null, at real not null, primary key (move, name)
) strict;
"""

# What came after the first portkit with this version of the file; the older ones do not miss it.
_ADDED = (
    """
create table if not exists predictions (
  app text not null, target text not null, form text not null, content text not null,
  predicted text not null, primary key (app, target, form)
) strict
""",
    """
create table if not exists told (
  move text not null references moves (id) on delete cascade, pause text not null,
  primary key (move, pause)
) strict
""",
)


class JournalFile:
    """The file in a folder; made when it is first opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "moves.sqlite3"

    def reserve(self) -> None:
        """Set room aside for what a Move has to record when the disk is full; SpaceError where
        there is none."""
        files.private_folder(self.folder, setting="PORTKIT_STATE")
        try:
            with (self.folder / "reserve").open("ab") as file:
                os.fchmod(file.fileno(), 0o600)
                os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _no_room(self.folder, str(error)) from error

    def surely(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Make a change, in the room of the reserve where the disk is full: an App that was stopped
        is started again only when that can be recorded."""
        try:
            with self.opened() as database:
                change(database)
        except SpaceError:
            try:
                (self.folder / "reserve").unlink()
            except FileNotFoundError:
                raise _no_room(self.path, "the reserve is used up") from None
            with self.opened() as database:
                change(database)

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """A connection, with everything in one transaction that is on the disk afterwards."""
        files.private_folder(self.folder, setting="PORTKIT_STATE")
        try:
            with closing(sqlite3.connect(self.path, timeout=_BUSY_S)) as database:
                # sqlite makes the file with the umask's mode.
                self.path.chmod(0o600)
                database.row_factory = sqlite3.Row
                # Off by default in sqlite, for every connection anew.
                database.execute("pragma foreign_keys = on")
                # A step that is recorded as begun has to be on the disk before it begins, power
                # cuts included.
                database.execute("pragma synchronous = full")
                with database:
                    # The lock for writing at once: a transaction that begins as a reader and then
                    # writes can fail with SQLITE_BUSY whatever the timeout.
                    database.execute("begin immediate")
                    self._schema(database)
                    yield database
        except (sqlite3.Error, ValueError) as error:
            if isinstance(error, sqlite3.Error) and _full(self.folder, error):
                raise _no_room(self.path, str(error)) from error
            raise PortkitError(
                "the journal of Moves cannot be used",
                details=f"{self.path}: {error}",
                resolution="Move that file away. A Move that was recorded in it can then be "
                "ended with `portkit rollback ID --on HOST`.",
            ) from error

    def _schema(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("pragma user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
            database.execute(f"pragma user_version = {_VERSION}")
        elif version != _VERSION:
            raise ValueError(f"it has version {version}, this portkit writes {_VERSION}")
        for statement in _ADDED:
            database.execute(statement)


def _full(folder: Path, error: sqlite3.Error) -> bool:
    """Whether it is for lack of room: sqlite says that of its own file, and of the file beside it
    only that it could not be opened or written."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    found = os.statvfs(folder)
    return code == sqlite3.SQLITE_FULL or (
        code in _FULL and found.f_bavail * found.f_frsize < _RESERVE_BYTES
    )


def _no_room(path: Path, why: str) -> SpaceError:
    return SpaceError(
        "the disk with the journal of Moves is full",
        details=f"{path}: {why}",
        resolution="Free some space there. A Move that was begun can then be ended with `portkit "
        "resume ID` or `portkit rollback ID`.",
    )
