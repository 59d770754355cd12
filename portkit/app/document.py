"""YAML as compose reads it: 1.2's plain scalars, merge keys, every value with its line. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from portkit.errors import AppError

LIMIT = 1 << 20  # bytes of a compose file
_NODES = 50_000  # values after aliases are expanded: a file of nested aliases ends here
_DEPTH = 100
# `P: *x` names x in the error; it may be a password.
_NAMED = re.compile(r"((?:alias|anchor|tag handle)) (?:'.*'|\".*\")", re.DOTALL)
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAGS = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "value")
}
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Value:
    """A scalar, a list of Values, or a dict of Values by name; and where it stands.

    written: a plain number as it stands in the file, where 1.10 is not 1.1.
    """

    data: Any
    line: int
    written: str = ""

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data


def parse(text: bytes, name: str) -> Value:
    """The one document of a file; AppError with the line when it is no YAML or repeats a key."""
    import yaml

    if len(text) > LIMIT:
        raise AppError(
            f"{name} is too big",
            details=f"over {LIMIT} bytes",
            resolution="Check that it is a compose file.",
        )
    try:
        node = _compose(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise AppError(
            f"{name} is not UTF-8",
            details=f"{name}:{text.count(bytes([10]), 0, error.start) + 1}: {error.reason}",
            resolution="Save it as UTF-8.",
        ) from None
    except yaml.MarkedYAMLError as error:
        # Not its own text, and no chain: both quote the line, which may hold a password.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        said = ", ".join(part for part in (error.context, error.problem) if part)
        said = _NAMED.sub(r"\1", said)
        raise _invalid(name, f"{name}:{line}: {said}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # A character that YAML forbids, an escape beyond Unicode.
        raise _invalid(name, f"{name}: {getattr(error, 'reason', type(error).__name__)}") from None
    if node is None:
        raise AppError(f"{name} is empty", resolution="It needs at least `services:`.")
    return _Converter(name).convert(node, 0)


def _invalid(name: str, details: str) -> AppError:
    return AppError(
        f"{name} is not valid YAML",
        details=details[:2000],
        resolution="Mend the file at that line.",
    )


def _compose(text: str) -> Any:
    """The tree of nodes; it ends early where the nesting is too deep for anyone's recursion."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.depth > _DEPTH:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, "nested too deeply", mark)
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

    return yaml.compose(text, Loader=Loader)


class _Converter:
    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def _error(self, node: Any, why: str) -> AppError:
        return AppError(
            f"{self._name} cannot be read",
            details=f"{self._name}:{node.start_mark.line + 1}: {why}",
            resolution="Mend the file at that line.",
        )

    def convert(self, node: Any, depth: int) -> Value:
        import yaml

        self._count += 1
        if self._count > _NODES or depth > _DEPTH:
            raise self._error(node, "it expands to too many values")
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, line)
        if isinstance(node, yaml.SequenceNode):
            return Value([self.convert(each, depth + 1) for each in node.value], line)
        return Value(self._mapping(node, depth), line)

    def _scalar(self, node: Any, line: int) -> Value:
        text = node.value
        if "\0" in text or not _encodable(text):
            raise self._error(node, "a value holds a NUL byte or half a character")
        if node.tag not in _TAGS:
            # Not which: a password that begins with ! is one.
            raise self._error(
                node, "a tag is not understood; a text that begins with ! wants quotes"
            )
        if node.style is not None or node.tag == "tag:yaml.org,2002:str":
            return Value(text, line)
        if text.lower() in _CONSTANTS:
            return Value(_CONSTANTS[text.lower()], line)
        if _INT.fullmatch(text):
            if len(text) > 40:
                raise self._error(node, "a number is too long")
            base = {"0x": 16, "0o": 8}.get(text[:2], 10)
            return Value(int(text, base), line, written=text)
        if _FLOAT.fullmatch(text):
            return Value(float(text), line, written=text)
        return Value(text, line)

    def _mapping(self, node: Any, depth: int) -> dict[str, Value]:
        import yaml

        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for each in self._merged(value, depth):
                    merged = {**each, **merged}
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key is not a word")
            name = str(key.value)
            if not _encodable(name):
                raise self._error(key, "a key holds half a character")
            if name in own:
                raise self._error(key, f"the key {name[:80]!r} stands here twice")
            own[name] = self.convert(value, depth + 1)
        return {**merged, **own}

    def _merged(self, node: Any, depth: int) -> list[dict[str, Value]]:
        import yaml

        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found = [self.convert(each, depth + 1).data for each in nodes]
        if not all(isinstance(each, dict) for each in found):
            raise self._error(node, "<< wants mappings")
        return found


def _encodable(text: str) -> bool:
    """Whether it is without the lone surrogates that an escape such as \\ud800 makes."""
    return not any("\ud800" <= c <= "\udfff" for c in text)
