"""YAML as compose reads it: 1.2's plain scalars, merge keys, every value with its line. Pure."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from portkit.app.files import Origin
from portkit.errors import AppError, ToolError

if TYPE_CHECKING:
    import yaml  # slow to import

LIMIT = 1 << 20  # bytes of a compose file
_NODES = 50_000  # values after aliases are expanded: a file of nested aliases ends here
_COMPOSED = 2 * _NODES  # the file's own values and keys
_DEPTH = 100
# `P: *x` names x in the error; it may be a password.
_NAMED = re.compile(r"((?:alias|anchor|tag handle)) (?:'.*'|\".*\")", re.DOTALL)
# Plain scalars as go-yaml reads them: YAML 1.2, and of 1.1 the numbers 010, 0b11, 1_000.
_INT = re.compile(r"([-+]?)(0x[0-9a-f]+|0b[01]+|0o?[0-7]+|0|[1-9][0-9]*)", re.IGNORECASE)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ODD_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"([Tt ][0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}(\.[0-9]+)?(Z|[-+][0-9]{2}:[0-9]{2})?)?"
)
_HALF = re.compile("[\ud800-\udfff]")
_NUMBER_LIMIT = 40  # characters
_TAGS = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "timestamp", "value")
}
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# Tags of compose's own, for files that are merged: the first takes a key away, what has the second
# is not merged with what was there.
RESET, OVERRIDE = "!reset", "!override"


@dataclass(frozen=True)
class Date:
    """A plain scalar that YAML takes for a date. Compose takes none, wherever it wants text."""

    text: str


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar, a list of Values, or a dict of Values by name; and where it stands.

    written: a plain number as it stands in the file, where 1.10 is not 1.1. origin: None is the
    file that is read first. tag: RESET, OVERRIDE or "".
    """

    data: Any
    line: int
    written: str = ""
    origin: Origin | None = field(default=None, compare=False, repr=False)
    tag: str = ""

    def plain(self) -> object:
        """The value without lines."""
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        return self.data


def count(value: Value) -> int:
    """How many values it is made of, with itself."""
    data = value.data
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return 1 + sum(map(count, inner))


def parse(text: bytes, name: str, origin: Origin | None = None) -> Value:
    """The one document of a file; AppError with the line when it is no YAML or repeats a key.

    Tags stay in it for `merge.merged`; `settled` takes them away.
    """
    import yaml

    if len(text) > LIMIT:
        raise AppError(
            f"{name} is too large",
            details=f"it has more than {LIMIT} bytes",
            resolution="Check that this is a compose file.",
        )
    try:
        node = _compose(text.decode("utf-8-sig"))
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
    return _Converter(name, origin).convert(node, 0)


def settled(value: Value) -> Value:
    """The same without its tags, and without the keys that RESET takes away."""
    data = value.data
    if isinstance(data, dict):
        data = {key: settled(each) for key, each in data.items() if each.tag != RESET}
    elif isinstance(data, list):
        data = [settled(each) for each in data]
    elif not value.tag:
        return value
    return replace(value, data=data, tag="")


def _invalid(name: str, details: str) -> AppError:
    return AppError(
        f"{name} is not valid YAML",
        details=details[:2000],
        resolution="Correct the file at that line.",
    )


def _compose(text: str) -> yaml.Node | None:
    """The tree of nodes; it ends early where there are too many, or nested too deeply for anyone's
    recursion.

    libyaml reads the text: ten times faster than PyYAML's own reader, and what compose uses is
    libyaml in Go. PyYAML makes the tree, because a node has to know the tag that was written.
    """
    import yaml

    if not yaml.__with_libyaml__:
        raise ToolError(
            "PyYAML was built without libyaml",
            details=f"{yaml.__file__}, {yaml.__version__}",
            resolution="Install its wheel (pip install --only-binary PyYAML PyYAML) or Debian's "
            "python3-yaml.",
        )

    class Loader(yaml.composer.Composer, yaml.CSafeLoader):
        depth = 0
        nodes = 0

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            yaml.composer.Composer.__init__(self)

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            # PyYAML builds the tree by recursion in Python; without a limit, a file of brackets
            # ends in a RecursionError deep inside of it.
            self.depth += 1
            self.nodes += 1
            if self.depth > _DEPTH or self.nodes > _COMPOSED:
                why = "nested too deeply" if self.depth > _DEPTH else "too many values"
                event: Any = self.peek_event()
                raise yaml.composer.ComposerError(None, None, why, event.start_mark)
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def compose_scalar_node(self, anchor: Any) -> Any:
            event: Any = self.peek_event()
            node: Any = super().compose_scalar_node(anchor)
            node.told = event.tag  # the node's own tag is also what YAML 1.1 makes of a plain one
            return node

    return yaml.compose(text, Loader=Loader)


class _Converter:
    def __init__(self, name: str, origin: Origin | None) -> None:
        self._name = name
        self._origin = origin
        self._count = 0

    def _error(self, node: yaml.Node, why: str) -> AppError:
        return AppError(
            f"{self._name} cannot be read",
            details=f"{self._name}:{node.start_mark.line + 1}: {why}",
            resolution="Correct the file at that line.",
        )

    def convert(self, node: yaml.Node, depth: int) -> Value:
        import yaml

        self._count += 1
        # Aliases are expanded here, so a file of some lines can stand for millions of values
        # ("billion laughs").
        if self._count > _NODES or depth > _DEPTH:
            raise self._error(node, "its aliases expand to too many values")
        line = node.start_mark.line + 1
        tag = OVERRIDE if node.tag == OVERRIDE else ""
        if isinstance(node, yaml.ScalarNode):
            return replace(self._scalar(node, line), origin=self._origin, tag=tag)
        if isinstance(node, yaml.SequenceNode):
            kept = [each for each in node.value if each.tag != RESET]
            rows = [self.convert(each, depth + 1) for each in kept]
            return Value(rows, line, origin=self._origin, tag=tag)
        return Value(self._mapping(node, depth), line, origin=self._origin, tag=tag)

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Value:
        text = node.value
        if "\0" in text or not encodable(text):
            raise self._error(node, "a value contains a NUL byte or half of a surrogate pair")
        if node.tag not in _TAGS and node.tag != OVERRIDE:
            # Not which: a password that begins with ! is one.
            raise self._error(
                node, "a tag is not supported; put a text that begins with ! in quotes"
            )
        if node.style or getattr(node, "told", None) in ("!", "tag:yaml.org,2002:str"):
            return Value(text, line)
        if text in _CONSTANTS:
            return Value(_CONSTANTS[text], line)
        if _dated(text):
            return Value(Date(text), line)
        try:
            number = _number(text)
        except ValueError as error:
            raise self._error(node, str(error)) from None
        return Value(text, line) if number is None else Value(number, line, written=text)

    def _mapping(self, node: yaml.Node, depth: int) -> dict[str, Value]:
        import yaml

        own: dict[str, Value] = {}
        reset: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for each in self._merged(value, depth):
                    merged = {**each, **merged}
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "a key is not a single word")
            name = self._scalar(key, 0).data
            if not isinstance(name, str):
                raise self._error(key, "a key is not text: put it in quotes")
            if name in own or name in reset:
                raise self._error(key, f"the key {name[:80]!r} is defined twice")
            if value.tag == RESET:
                reset[name] = Value(None, key.start_mark.line + 1, origin=self._origin, tag=RESET)
            else:
                own[name] = self.convert(value, depth + 1)
        # A merge key gives the value back that !reset has taken from the files before.
        for name in reset.keys() & merged.keys():
            merged[name] = replace(merged[name], tag=OVERRIDE)
        return {**reset, **merged, **own}

    def _merged(self, node: yaml.Node, depth: int) -> list[dict[str, Value]]:
        import yaml

        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found = [self.convert(each, depth + 1).data for each in nodes]
        if not all(isinstance(each, dict) for each in found):
            raise self._error(node, "<< must be followed by a mapping or a list of mappings")
        return found


def _number(text: str) -> int | float | None:
    """The number that a plain scalar is; None for text. ValueError when it is too long."""
    if text[:1] not in "+-.0123456789":
        return None
    plain = text.replace("_", "")
    if _ODD_FLOAT.fullmatch(text):
        return float(text.replace(".", "", 1))
    whole, fraction = _INT.fullmatch(plain), _FLOAT.fullmatch(plain)
    if (whole or fraction) and len(text) > _NUMBER_LIMIT:
        raise ValueError("a number has too many digits")
    if whole:
        digits = whole[2].lower()
        base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2])
        digits = digits[2:] if base else digits
        number = int(whole[1] + digits, base or (8 if digits[0] == "0" else 10))
        if -(1 << 63) <= number < 1 << 64:
            return number
    return float(plain) if fraction else None


def _dated(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return False
    return True


def encodable(text: str) -> bool:
    """Whether it is without the lone surrogates that an escape such as \\ud800 makes."""
    return _HALF.search(text) is None
