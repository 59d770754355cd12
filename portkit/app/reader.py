"""Typed values out of a compose file: every error names its line, what is not carried out is a
Finding. What the keys mean is compose.py's and the fields' own modules'."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from portkit.app import environment, words
from portkit.app.document import Date, Value, encodable
from portkit.app.files import Files, Origin
from portkit.app.keys import LEVELS
from portkit.errors import AppError
from portkit.model import Finding, Severity

T = TypeVar("T")
_GROWN_LIMIT = 8 << 20  # characters of all values that hold variables
_CORRECT = "Correct the file at that line. docs/compose.md lists what portkit supports."
_BOOLEANS = {  # text, as a variable gives it: compose-go, loader/interpolate.go
    **dict.fromkeys(("true", "y", "yes", "on"), True),
    **dict.fromkeys(("false", "n", "no", "off"), False),
}
# From here on, and below, Go prints a float with an exponent: 1234567.5 would be 1.2345675e+06.
_PLAIN_FLOATS = (1e-4, 1e6)


class Reader:
    """The files of one project, and what was noticed in them. environ: for variables, what `name:`
    gives included."""

    def __init__(self, path: Path, files: Files, environ: Mapping[str, str]) -> None:
        self.path = path
        self.environ = dict(environ)
        self.origin = Origin(str(path), files, self.environ)
        self.findings: list[Finding] = []
        self._grown = 0

    def origin_of(self, value: Value) -> Origin:
        """The file that a value stands in."""
        return value.origin or self.origin

    def files(self, value: Value) -> Files:
        """What a path that stands there may name."""
        return self.origin_of(value).files

    # ------------------------------------------------------------ errors and findings

    def error(self, value: Value | None, why: str, resolution: str = _CORRECT) -> AppError:
        """An AppError that names the value's line."""
        where = f"{self.origin_of(value).name}:{value.line}" if value else str(self.path)
        return AppError(
            "the compose file cannot be used",
            details=f"{where}: {why}",
            resolution=resolution,
        )

    def note(
        self,
        rule: str,
        value: Value,
        message: str,
        severity: Severity,
        remedy: str = "See docs/compose.md.",
    ) -> None:
        """A Finding that names the value's line."""
        where = f"{Path(self.origin_of(value).name).name}:{value.line}"
        self.findings.append(Finding(rule, severity, message, (where,), remedy))

    @contextmanager
    def about(self, service: str) -> Iterator[None]:
        """What is noticed in the block concerns that service."""
        before = len(self.findings)
        yield
        noticed = self.findings[before:]
        self.findings[before:] = [replace(each, services=(service,)) for each in noticed]

    def use(self, value: Value, read: Callable[[Any], T]) -> T:
        """`read` of the plain value; its ValueError gets the line."""
        try:
            return read(value.plain())
        except (ValueError, TypeError) as error:
            raise self.error(value, str(error)) from error

    # ------------------------------------------------------------ variables

    def interpolated(self, value: Value) -> Value:
        """The same with the variables in its texts, not in its keys, carried out."""
        data = value.data
        if isinstance(data, dict):
            return replace(value, data={k: self.interpolated(v) for k, v in data.items()})
        if isinstance(data, list):
            return replace(value, data=[self.interpolated(each) for each in data])
        if not isinstance(data, str) or "$" not in data:
            return value

        def unset(name: str) -> None:
            message = f"the variable {name} is not set; portkit used an empty value"
            self.note("variable-unset", value, message, Severity.WARNING)

        try:
            text = environment.interpolate(data, self.origin_of(value).environ, unset)
        except ValueError as error:
            raise self.error(value, str(error)) from error
        self._grown += len(text)
        if self._grown > _GROWN_LIMIT:
            raise self.error(value, "the file becomes too large when its variables are inserted")
        if not encodable(text) or "\0" in text:
            raise self.error(value, "a variable that it uses is not UTF-8")
        return replace(value, data=text)

    def inherited(self, value: Value, what: str) -> dict[str, str | None]:
        """The pairs of `value`; a name without a value has that of the environment of the file
        that it stands in, where there is one."""
        found: dict[str, str | None] = {}
        for key, each, told in self._checked_rows(value, what):
            text = self.origin_of(each).environ.get(key) if told is None else told
            if text is not None and (not encodable(text) or "\0" in text):
                raise self.error(each, f"the variable {key[:80]} of the environment is not UTF-8")
            found[key] = text
        return found

    # ------------------------------------------------------------ shapes

    def mapping(self, value: Value) -> dict[str, Value]:
        """A mapping's values by name."""
        if not isinstance(value.data, dict):
            raise self.error(value, "this must be a mapping")
        return value.data

    def block(self, extra: Value, name: str, known: Collection[str]) -> dict[str, Value] | None:
        """A block of `x-portkit`, in which an unknown key is an error; None where there is none."""
        told = self.mapping(extra).get(name)
        if told is None:
            return None
        row = self.mapping(told)
        for key, value in row.items():
            if key not in known:
                raise self.error(value, f"x-portkit.{name} has no key {key[:80]!r}")
        return row

    def level(self, value: Value, name: str, shown: str = "") -> dict[str, Value]:
        """A mapping inside a service or volume: an unknown key is an error, a known one that is
        not carried out a Finding. `name`: of keys.LEVELS; `shown`: what to call it."""
        row = self.mapping(value)
        level = LEVELS[name]
        for key, each in row.items():
            full = f"{shown or name}.{key[:80]}"
            if key in level.noted | level.harmless:
                weight = Severity.INFO if key in level.harmless else Severity.WARNING
                self.note("compose-not-carried", each, f"portkit ignores {full!r}", weight)
            elif key not in level.carried and not key.startswith("x-"):
                raise self.error(each, f"compose has no key {full!r}")
        return row

    def items(self, value: Value, key: str) -> list[Value]:
        """A list's values."""
        if not isinstance(value.data, list):
            raise self.error(value, f"{key} must not be a list")
        return value.data

    def list_of(self, value: Value) -> list[Value]:
        """The values of a list, or the value alone."""
        return value.data if isinstance(value.data, list) else [value]

    # ------------------------------------------------------------ single values

    def text(self, value: Value, key: str = "") -> str:
        """A string; a plain number only where it is the same as its text. No error quotes it:
        it may be a secret. `key`: what to call it."""
        what = f"{key[:120]}: " if key else ""
        data = value.data
        if isinstance(data, Date):
            raise self.error(value, f"{what}an unquoted date is not text: put it in quotes")
        # bool first: Python takes True for a number.
        if isinstance(data, bool) or not isinstance(data, str | int | float):
            raise self.error(value, f"{what}this must be a string")
        if (value.written and value.written != str(data)) or _printed_otherwise(data):
            raise self.error(
                value, f"{what}an unquoted number would be changed here: put it in quotes"
            )
        return str(data)

    def optional(self, value: Value) -> str | None:
        """A string; None for an empty one, which means the same as none."""
        return self.text(value) or None

    def flag(self, value: Value) -> bool:
        """true or false, also as text."""
        data = value.data
        found = _BOOLEANS.get(data.lower()) if isinstance(data, str) else data
        if not isinstance(found, bool):
            raise self.error(value, "this must be true or false")
        return found

    def pairs(self, value: Value, what: str) -> dict[str, str | None]:
        """A mapping, or a list of KEY=VALUE where the last of a name counts; None where there is
        no value."""
        return {key: text for key, _, text in self._checked_rows(value, what)}

    def _checked_rows(self, value: Value, what: str) -> Iterator[tuple[str, Value, str | None]]:
        for key, each, text in self._rows(value, what):
            if not key or "=" in key or not key.isprintable() or key != key.rstrip():
                told_name = key.partition("=")[0]  # what follows may be a secret
                raise self.error(
                    each, f"{what}: a name is empty, or holds = or odd signs: {told_name[:40]!r}"
                )
            yield key, each, text

    def _rows(self, value: Value, what: str) -> Iterator[tuple[str, Value, str | None]]:
        if isinstance(value.data, list):
            for each in value.data:
                key, equals, text = self.text(each, what).partition("=")
                yield key, each, text if equals else None
            return
        for key, each in self.mapping(value).items():
            data = each.data
            if data is None or isinstance(data, bool):
                yield key, each, None if data is None else "true" if data else "false"
            else:
                yield key, each, self.text(each, f"{what}.{key}".partition("=")[0])

    def words(self, value: Value) -> tuple[str, ...]:
        """A command: a list as it is, a string split as compose splits one."""
        if isinstance(value.data, list):
            return tuple(self.text(each) for each in value.data)
        text = self.text(value)
        found, cut = self.use(value, lambda _: words.split(text))
        if cut:
            message = (
                "no shell runs this command: compose drops it from the first ;, &, |, < or > on"
            )
            self.note("command-cut", value, message, Severity.WARNING)
        return found


def _printed_otherwise(data: str | float) -> bool:
    low, high = _PLAIN_FLOATS
    return isinstance(data, float) and (data.is_integer() or not low <= abs(data) < high)
