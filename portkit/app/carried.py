"""The files that travel with an App, read: they go with its configuration, not with its images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from portkit.errors import AppError
from portkit.model import App, Content, ContentFile, Service

# Bytes of all of an App together. They are in memory, and a VM reads them with its configuration.
LIMIT = 8 << 20
_ENTRY_BYTES = 256  # that an entry takes beside its content
_DATA_MODE = 0o444  # what the engine gives a config or secret (compose-spec, "configs")


def filled(app: App) -> App:
    """The App with the content of its files, as it is now; what was read before stays as it is.

    AppError where a file cannot be read or changes meanwhile, and where all are more than LIMIT.
    """
    if not any(service.contents for service in app.services):
        return app
    reader = _Reader(app)
    return replace(app, services=tuple(reader.service(service) for service in app.services))


class _Reader:
    def __init__(self, app: App) -> None:
        self._app = app
        self._left = LIMIT

    def service(self, service: Service) -> Service:
        contents = tuple(self._content(content) for content in service.contents)
        return replace(service, contents=contents)

    def _content(self, content: Content) -> Content:
        if content.files:
            self._take(content, sum(len(row.data) for row in content.files))
            return content
        try:
            return replace(content, files=tuple(self._files(content)))
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            raise self._error("a file of the App cannot be read", content, why) from None

    def _files(self, content: Content) -> Iterator[ContentFile]:
        if content.data is not None:
            self._take(content, len(content.data))
            yield ContentFile(
                mode=_DATA_MODE if content.mode is None else content.mode,
                uid=content.uid or 0,
                gid=content.gid or 0,
                data=content.data,
            )
        elif content.source is None:  # a folder that nobody has made yet
            yield ContentFile(kind="folder", mode=0o755)
        else:
            yield from self._walk(content, content.source, "")

    def _walk(self, content: Content, path: Path, name: str) -> Iterator[ContentFile]:
        found = path.lstat()
        self._take(content, _ENTRY_BYTES)
        row = ContentFile(
            path=name,
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            mtime_s=int(found.st_mtime),
        )
        if stat.S_ISREG(found.st_mode):
            yield replace(row, data=self._data(content, path))
        elif stat.S_ISLNK(found.st_mode):
            # As bytes: a Path would make x of ./x.
            yield replace(row, kind="link", data=os.readlink(os.fsencode(path)))  # noqa: PTH115
        elif stat.S_ISDIR(found.st_mode):
            yield replace(row, kind="folder")
            for each in sorted(path.iterdir()):
                below = f"{name}/{each.name}" if name else each.name
                yield from self._walk(content, each, below)
            if _mark(path.lstat()) != _mark(found):  # something came or went
                raise self._error(
                    "a folder of the App changed while it was read", content, str(path)
                )
        else:
            raise self._error("a file of this kind cannot be moved with an App", content, str(path))

    def _data(self, content: Content, path: Path) -> bytes:
        # Not through a link that was put in its place since it was looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            before = os.fstat(descriptor)
            self._take(content, before.st_size)
            data = file.read(before.st_size + 1)
            after = os.fstat(descriptor)
        if len(data) != before.st_size or _mark(before) != _mark(after):
            raise self._error("a file of the App changed while it was read", content, str(path))
        return data

    def _take(self, content: Content, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise AppError(
                "the files that the App brings beside its images are too large",
                details=f"{self._app.source}: with those on {content.target}, there are more than "
                f"{LIMIT} bytes",
                resolution="Put large files into an image or a volume.",
            )

    def _error(self, what: str, content: Content, why: str) -> AppError:
        return AppError(
            what,
            details=f"{self._app.source}: {content.target}: {why[:400]}",
            resolution="Make sure that this user can read it and that nothing writes to it "
            "meanwhile.",
        )


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino
