"""Compose's `${VAR}` interpolation. Pure.

No error quotes what stands in a value: it may be a password.

Source: compose-spec, 12-interpolation.md; compose-go, template/template.go (2.9).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# A $ that begins none of these stands for itself: $(date), p$1, 5$.
_TOKEN = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{)")
_OPERATOR = re.compile(r":?[-?+]")
_BRACE = re.compile(r"[{}]")
LIMIT = 1 << 20  # characters of a value: A=$B$B, B=$C$C, ... would grow without end
_NESTED = 20

Unset = Callable[[str], None]


def interpolate(
    text: str, environ: Mapping[str, str], unset: Unset = lambda _: None, depth: int = 0
) -> str:
    """`text` with $VAR, ${VAR}, ${VAR:-x}, ${VAR-x}, ${VAR:?x}, ${VAR?x}, ${VAR:+x}, ${VAR+x}
    and $$ carried out. `unset` hears of names that had no value. ValueError when it is malformed.
    """
    # Each level is a call of this function: Python's own limit would end in a RecursionError.
    if depth > _NESTED:
        raise ValueError(f"${{...}} is nested more than {_NESTED} levels deep")
    out: list[str] = []
    position, size = 0, len(text)
    while match := _TOKEN.search(text, position):
        out.append(text[position : match.start()])
        position = match.end()
        if match[1]:
            out.append("$")
        elif match[2]:
            out.append(_value(match[2], environ, unset))
        else:
            end = _end(text, match.start())
            out.append(_braced(text[position:end], environ, unset, depth))
            position = end + 1
        size += len(out[-1])
        if size > LIMIT:
            raise ValueError(f"a value expands to more than {LIMIT} characters")
    out.append(text[position:])
    return "".join(out)


def _end(text: str, dollar: int) -> int:
    """Where the } of the ${ at `dollar` stands; ValueError when what it opens is malformed."""
    name = _NAME.match(text, dollar + 2)
    if name is None:
        raise ValueError("a ${...} does not name a variable; to write ${ literally, use $${")
    after = name.end()
    if text.startswith("}", after):
        return after
    if not _OPERATOR.match(text, after):
        if after == len(text):
            raise ValueError("a ${ is not closed with }")
        raise ValueError("what follows the name in a ${...} is not valid")
    line_end = text.find("\n", after)
    last = text.rfind("}", after, len(text) if line_end < 0 else line_end)
    if last < 0:
        raise ValueError("a ${ is not closed with } on the same line")
    return _closing(text, dollar, last + 1)


def _closing(text: str, dollar: int, stop: int) -> int:
    """The } that closes, every { counted, as compose does: the character behind a { is skipped.
    The last } where none closes."""
    depth, skipped = 0, -1
    for brace in _BRACE.finditer(text, dollar, stop):
        if brace.start() == skipped:
            continue
        if brace[0] == "{":
            depth, skipped = depth + 1, brace.end()
            continue
        depth -= 1
        if depth == 0:
            return brace.start()
    return stop - 1


def _value(name: str, environ: Mapping[str, str], unset: Unset) -> str:
    if name not in environ:
        unset(name)
    return environ.get(name, "")


def _braced(text: str, environ: Mapping[str, str], unset: Unset, depth: int) -> str:
    match = _NAME.match(text)
    assert match is not None  # _end has seen it
    name, rest = match[0], text[match.end() :]
    operator = _OPERATOR.match(rest)
    if operator is None:
        return _value(name, environ, unset)
    word = rest[operator.end() :]
    empty_counts = operator[0].startswith(":")
    present = bool(environ.get(name)) if empty_counts else name in environ
    kind = operator[0][-1]
    if kind == "+":
        return interpolate(word, environ, unset, depth + 1) if present else environ.get(name, "")
    if present:
        return environ[name]
    if kind == "?":
        raise ValueError(f"{name} is required: {_names(word) or 'not set'}")
    return interpolate(word, environ, unset, depth + 1)


def _names(text: str) -> str:
    """A message as it stands in the file; of a variable in it the name alone, of no default."""
    out, position = "", 0
    while match := _TOKEN.search(text, position):
        out += text[position : match.start()]
        position = match.end()
        if match[1] or match[2]:
            out += "$" + (match[2] or "")
            continue
        name = _NAME.match(text, position)
        try:
            position = _end(text, match.start()) + 1
        except ValueError:
            return out + "..."
        out += "$" + (name[0] if name else "")
    return out + text[position:]


def escaped(value: object) -> object:
    """The same with every `$` doubled: whoever reads the file would put variables there."""
    if isinstance(value, dict):
        return {key: escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [escaped(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
