"""What a compose file may read from the machine that opens it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from portkit.errors import AppError
from portkit.files import content
from portkit.model import ContentFile, GitUrl

LIMIT = 1 << 20  # bytes of a compose file, an env file or .env


@dataclass(frozen=True)
class Folder:
    """The files beside a compose file that the user gave."""

    path: Path

    def read(self, name: str) -> bytes | None:
        """The content of a regular file, None where there is none.

        ValueError when it cannot be read, is a device, or has over LIMIT bytes.
        """
        try:
            return content(self._at(name).resolve(), LIMIT)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:  # a name too long, no permission, no such user
            raise ValueError(f"{name[:200]!r} cannot be read: {_reason(error)}") from None

    def context(self, name: str) -> Path:
        """The folder of a build; ValueError where there is none."""
        try:
            path = self._at(name).resolve()
            there = path.is_dir()
        except (OSError, RuntimeError) as error:
            raise ValueError(f"the build context {name[:200]!r}: {_reason(error)}") from None
        if not there:
            raise ValueError(f"the build context {str(path)[:200]} is not a folder")
        return path

    def repository(self, url: str) -> GitUrl:
        """The git repository of a build; ValueError for another URL."""
        return GitUrl(url)

    def certificate(self, name: str) -> Path:
        """The path of a CA's file; ValueError where there is none."""
        try:
            path = self.path / name
            there = path.is_file()
        except OSError as error:
            raise ValueError(f"the file {name[:200]!r}: {_reason(error)}") from None
        if not there:
            raise ValueError(f"the file {str(path)[:200]} does not exist")
        return path

    def named(self, name: str) -> Path:
        """The absolute path of another file of the project; whoever reads it finds whether it is
        there."""
        try:
            return Path(os.path.normpath(self._at(name)))
        except RuntimeError as error:
            raise ValueError(f"{name[:200]!r}: {_reason(error)}") from None

    def bind(self, source: str) -> str:
        """The absolute path of a folder to bind, with links and `..` left in it."""
        try:
            return str(self._at(source))
        except RuntimeError as error:
            raise ValueError(f"{source[:200]!r}: {_reason(error)}") from None

    def carried(self, source: str) -> tuple[ContentFile, ...]:
        """Nothing: what is bound is read from this machine."""
        return ()

    def _at(self, name: str) -> Path:
        """As compose: every ~ is the caller's own home, ~other too."""
        if not name.startswith("~"):
            return self.path / name
        return Path.home() / name[1:].lstrip("/")


@dataclass(frozen=True)
class Sealed:
    """For a document that came from elsewhere: nothing on this machine is read or named by it.

    attached: names of files that came with the document and may be its `ca_file`. contents: what it
    may bind, by the name under which it does.
    """

    attached: frozenset[str] = frozenset()
    contents: Mapping[str, tuple[ContentFile, ...]] = field(default_factory=dict, repr=False)

    def read(self, name: str) -> bytes | None:
        raise _refused("env_file", name)

    def context(self, name: str) -> Path:
        raise _refused("build", name)

    def repository(self, url: str) -> GitUrl:
        raise ValueError("build: it names a repository outside of the compose file")

    def certificate(self, name: str) -> Path:
        """`name` as it stands, if it is one of those that came with the document."""
        if name not in self.attached:
            raise _refused("ca_file", name)
        return Path(name)

    def named(self, name: str) -> Path:
        raise _refused("a path", name)

    def bind(self, source: str) -> str:
        raise _refused("a bind mount", source)

    def carried(self, source: str) -> tuple[ContentFile, ...]:
        """The files of that name which came with the document; () where none did."""
        return self.contents.get(source, ())


Files = Folder | Sealed


@dataclass(frozen=True)
class Origin:
    """Where a value stands. name: of the file, for messages. files: what the paths in it may
    name, relative to its project's folder. environ: the variables that it sees."""

    name: str
    files: Files
    environ: Mapping[str, str] = field(repr=False)


def _refused(key: str, name: str) -> ValueError:
    return ValueError(f"{key}: {name[:200]!r} is a file outside of the compose file")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def read_file(path: Path) -> bytes:
    """The content of a compose file; AppError when it cannot be read or is too big."""
    try:
        return content(path.resolve(), LIMIT)
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error) if isinstance(error, ValueError) else _reason(error)
        raise AppError(
            "the file cannot be read",
            details=f"{str(path)[:300]}: {why}",
            resolution="Check the path and its permissions.",
        ) from None
