"""The files of a project -> one document: `include`, `extends`, and files that are merged.

In the order of compose: of each file the variables are carried out, what it includes comes in, its
services get what they extend, and then it is merged over the files before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portkit.app import envfile
from portkit.app.document import RESET, Value, count, parse, settled
from portkit.app.files import Folder, Origin, read_file
from portkit.app.keys import TOP_KNOWN
from portkit.app.merge import Merger
from portkit.app.reader import Reader
from portkit.errors import AppError

_FILES = 100  # of one project, with all that they include and extend
_VALUES = 100_000  # of all of them: two files of the greatest size
_CHAIN = 100  # services that extend each other, files that include each other
_REMOTE = re.compile(r"(https?|git|ssh|oci)://|git@|github\.com/", re.ASCII)
_IMPORTED = ("services", "volumes", "networks", "secrets", "configs", "models")
_CLONE = "Download the file, and name the local copy."
_EXTENDS = ("file", "service")
_INCLUDE = ("path", "project_directory", "env_file")


@dataclass(frozen=True)
class _Place:
    """A service in a file, where a circle of `extends` is noticed."""

    file: str
    service: str


class Assembler:
    """Reads the files of one project; each counts against the same limits."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._merger = Merger(reader.error)
        self._files = self._values = 0
        self._extended: dict[str, dict[str, Value]] = {}  # services by the file, without extends

    def parsed(self, texts: list[tuple[bytes, Origin]]) -> list[Value]:
        """The files as they stand, their variables not carried out."""
        return [self._parsed(text, origin) for text, origin in texts]

    def document(self, files: list[Value]) -> Value:
        """The one document that the parsed files make, without its tags."""
        return settled(self._model(files, ()))

    def _model(self, files: list[Value], including: tuple[str, ...]) -> Value:
        whole: Value | None = None
        for file in files:
            name = self._reader.origin_of(file).name
            value = self._file(file, (*including, name))
            whole = value if whole is None else self._merger.merged(whole, value)
        assert whole is not None  # the caller names at least one
        return whole

    def _file(self, file: Value, including: tuple[str, ...]) -> Value:
        value = self._reader.interpolated(file)
        origin = self._reader.origin_of(file)
        top = dict(self._reader.mapping(value))
        for key, each in top.items():
            if key not in TOP_KNOWN and not key.startswith("x-"):
                raise self._reader.error(each, f"compose has no top-level key {key[:80]!r}")
        if (asked := top.pop("include", None)) is not None and asked.data is not None:
            for entry in self._reader.items(asked, "include"):
                top = self._imported(top, self._included(entry, origin, including))
        value = replace(value, data=top)
        if "services" in top and top["services"].data is not None:
            services = self._services(top["services"], origin.name)
            top["services"] = replace(top["services"], data=services)
        return value

    def _parsed(self, text: bytes, origin: Origin) -> Value:
        """One file, counted."""
        value = parse(text, origin.name, origin)
        self._files += 1
        self._values += count(value)
        if self._files > _FILES or self._values > _VALUES:
            why = f"more than {_FILES} files or {_VALUES} values are included and extended"
            raise self._reader.error(value, why)
        return value

    # ------------------------------------------------------------ include

    def _included(self, entry: Value, origin: Origin, including: tuple[str, ...]) -> Value:
        row = entry.data if isinstance(entry.data, dict) else {"path": entry}
        self._known(row, _INCLUDE, "include")
        if "path" not in row:
            raise self._reader.error(entry, "an include needs a path")
        names = [self._reader.text(each, "include") for each in self._reader.list_of(row["path"])]
        if not names:
            raise self._reader.error(entry, "an include needs a path")
        if len(including) > _CHAIN:
            raise self._reader.error(
                entry, f"files include each other more than {_CHAIN} levels deep"
            )
        paths = [self._local(entry, name, origin) for name in names]
        if str(paths[0]) in including:
            chain = " -> ".join((*including, str(paths[0])))
            raise self._reader.error(entry, f"files include each other in a circle: {chain[:600]}")
        folder = paths[0].parent
        if "project_directory" in row:
            told = self._reader.text(row["project_directory"], "project_directory")
            folder = self._local(entry, told, origin)
        files = Folder(folder)
        environ = self._environ(row.get("env_file"), folder, origin)
        texts = [(self._read(entry, path), Origin(str(path), files, environ)) for path in paths]
        return self._model(self.parsed(texts), including)

    def _environ(self, told: Value | None, folder: Path, origin: Origin) -> Mapping[str, str]:
        """The variables of an included file: those of who includes it win over its own."""
        names = [folder / ".env"] if (folder / ".env").is_file() else []
        if told is not None:
            texts = [self._reader.text(each, "env_file") for each in self._reader.list_of(told)]
            names = [self._local(told, text, origin) for text in texts if text != "/dev/null"]
        found: dict[str, str] = {}
        for name in names:
            data = read_file(name) if told is None else self._read(told, name)
            found = envfile.parse(data, str(name), origin.environ, found)
        return {**found, **origin.environ}

    def _imported(self, top: dict[str, Value], included: Value) -> dict[str, Value]:
        """The file with what it includes; where both say something, its own counts."""
        found = dict(top)
        for key in _IMPORTED:
            value = included.data.get(key)
            if value is None or value.data is None:
                continue
            own = found.get(key)
            if own is None or own.data is None:
                found[key] = value
                continue
            rows = dict(self._reader.mapping(own))
            for name, each in self._reader.mapping(value).items():
                if name not in rows:
                    rows[name] = each
                elif rows[name].plain() != each.plain():
                    why = f"{key}.{name[:80]} is defined differently in an included file"
                    raise self._reader.error(rows[name], why)
            found[key] = replace(own, data=rows)
        return found

    # ------------------------------------------------------------ extends

    def _services(self, value: Value, file: str) -> dict[str, Value]:
        services = dict(self._reader.mapping(value))
        for name in services:
            services[name] = self._whole(name, services, file, ())
        return services

    def _whole(
        self, name: str, services: dict[str, Value], file: str, seen: tuple[_Place, ...]
    ) -> Value:
        """The service `name` with all that it extends, remembered in `services`."""
        value = services[name]
        if not isinstance(value.data, dict) or "extends" not in value.data:
            return value
        asked = value.data["extends"]
        if asked.tag == RESET or asked.data is None:
            return value
        here = _Place(file, name)
        if here in seen or len(seen) > _CHAIN:
            chain = " -> ".join(f"{place.service}" for place in (*seen, here))
            raise self._reader.error(
                asked, f"services extend each other in a circle: {chain[:600]}"
            )
        base = self._base(asked, services, file, (*seen, here))
        own = replace(value, data={k: v for k, v in value.data.items() if k != "extends"})
        made = self._merger.merged(base, own, ("services", name))
        services[name] = made
        return made

    def _base(
        self, asked: Value, services: dict[str, Value], file: str, seen: tuple[_Place, ...]
    ) -> Value:
        row = asked.data if isinstance(asked.data, dict) else {"service": asked}
        self._known(row, _EXTENDS, "extends")
        if "service" not in row:
            raise self._reader.error(asked, "extends must name a service")
        name = self._reader.text(row["service"], "extends.service")
        if "file" in row:
            origin = self._reader.origin_of(asked)
            path = self._local(row["file"], self._reader.text(row["file"], "extends.file"), origin)
            file, services = str(path), self._of_file(row["file"], path, origin)
        if name not in services:
            where = f" of {file[:200]}" if "file" in row else ""
            raise self._reader.error(asked, f"extends: there is no service {name[:80]!r}{where}")
        base = self._whole(name, services, file, seen)
        return replace(base, tag="")

    def _of_file(self, value: Value, path: Path, origin: Origin) -> dict[str, Value]:
        """The services of another file, with its paths in its own folder."""
        key = str(path)
        if key not in self._extended:
            own = Origin(key, Folder(path.parent), origin.environ)
            file = self._reader.interpolated(self._parsed(self._read(value, path), own))
            top = self._reader.mapping(file)
            services = top.get("services", Value({}, 1, origin=own))
            self._extended[key] = dict(self._reader.mapping(services))
        return self._extended[key]

    # ------------------------------------------------------------ both

    def _known(self, row: dict[str, Value], keys: tuple[str, ...], name: str) -> None:
        for key, each in row.items():
            if key not in keys and not key.startswith("x-"):
                raise self._reader.error(each, f"compose has no key '{name}.{key[:80]}'")

    def _read(self, value: Value, path: Path) -> bytes:
        """The content of a file that `value` names."""
        try:
            return read_file(path)
        except AppError as error:
            raise self._reader.error(value, error.details) from None

    def _local(self, value: Value, text: str, origin: Origin) -> Path:
        """The path of a file or folder that the project names."""
        if _REMOTE.match(text):
            raise self._reader.error(
                value, "portkit reads files from this machine only, not from a URL", _CLONE
            )
        found: Any = self._reader.use(value, lambda _: origin.files.named(text))
        return Path(found)
