"""Compose's `${VAR}` interpolation and its env files. Pure.

No error quotes what stands in a value: it may be a password.

Source: compose-spec, 12-interpolation.md and 05-services.md (env_file format).
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, Mapping

from portkit.errors import AppError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_LIMIT = 1 << 20  # characters of a value: A=$B$B, B=$C$C, ... would grow without end
_NESTED = 20


def interpolate(
    text: str, environ: Mapping[str, str], unset: Callable[[str], None] = lambda _: None
) -> str:
    """`text` with $VAR, ${VAR}, ${VAR:-x}, ${VAR-x}, ${VAR:?x}, ${VAR?x}, ${VAR:+x}, ${VAR+x}
    and $$ carried out. `unset` hears of names that had no value. ValueError when it is malformed.
    """
    out: list[str] = []
    position, size = 0, len(text)
    while (dollar := text.find("$", position)) >= 0:
        out.append(text[position:dollar])
        after = dollar + 1
        if text.startswith("$", after):
            out.append("$")
            position = after + 1
        elif text.startswith("{", after):
            end = _closing(text, after + 1)
            out.append(_braced(text[after + 1 : end], environ, unset))
            position = end + 1
        elif match := _NAME.match(text, after):
            out.append(_value(match[0], environ, unset))
            position = match.end()
        else:
            raise ValueError(f"a lone $ at character {after}; write $$ for the sign itself")
        size += len(out[-1])
        if size > _LIMIT:
            raise ValueError(f"a value grows over {_LIMIT} characters")
    out.append(text[position:])
    return "".join(out)


def _closing(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        if text.startswith("${", position):
            depth += 1
            if depth > _NESTED:
                raise ValueError(f"${{...}} nested more than {_NESTED} deep")
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
    raise ValueError(f"a ${{ without its }} at character {start - 1}")


def _value(name: str, environ: Mapping[str, str], unset: Callable[[str], None]) -> str:
    if name not in environ:
        unset(name)
    return environ.get(name, "")


def _braced(text: str, environ: Mapping[str, str], unset: Callable[[str], None]) -> str:
    match = _NAME.match(text)
    if match is None:
        raise ValueError("a ${...} names no variable")
    name, rest = match[0], text[match.end() :]
    if not rest:
        return _value(name, environ, unset)
    operator = _OPERATOR.match(rest)
    if operator is None:
        raise ValueError("what follows the name in a ${...} is not understood")
    word = rest[operator.end() :]
    empty_counts = operator[0].startswith(":")
    present = bool(environ.get(name)) if empty_counts else name in environ
    kind = operator[0][-1]
    if kind == "+":
        return interpolate(word, environ, unset) if present else ""
    if present:
        return environ[name]
    if kind == "?":
        raise ValueError(f"{name} is required: {_names(word) or 'not set'}")
    return interpolate(word, environ, unset)


def _names(text: str) -> str:
    """A message as it stands in the file; of a variable in it the name alone, of no default."""
    out, position = "", 0
    while (dollar := text.find("$", position)) >= 0:
        out += text[position:dollar] + "$"
        position = dollar + 1
        if text.startswith("$", position):
            position += 1
        elif text.startswith("{", position):
            name = _NAME.match(text, position + 1)
            out += name[0] if name else ""
            position = _closing(text, position + 1) + 1
    return out + text[position:]


def parse_env_file(text: str, name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """KEY=VALUE lines: comments, `export`, single quotes (as they are), double quotes (escapes).

    A key without `=` takes its value from `environ`. AppError with the line for anything else.
    """
    found: dict[str, str] = {}
    told = dict(environ)
    position, line, size = 0, 1, 0
    pattern = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(=|(?=\n|$))")
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        row = text[position:end].strip()
        if not row or row.startswith("#"):
            position, line = end + 1, line + 1
            continue
        match = pattern.match(text, position)
        if match is None or "\0" in row:
            raise AppError(
                f"{name} cannot be read",
                details=f"{name}:{line}: this is not KEY=VALUE",
                resolution="Mend the file at that line.",
            )
        if match[2] != "=":
            if match[1] in environ:
                found[match[1]] = environ[match[1]]
            position, line = end + 1, line + 1
            continue
        try:
            value, after = _env_value(text, match.end(), ChainMap(found, told))
            size += len(value)
            if size > _LIMIT:
                raise ValueError(f"the values grow over {_LIMIT} characters")
        except ValueError as error:
            raise AppError(
                f"{name} cannot be read",
                details=f"{name}:{line}: {error}",
                resolution="Mend the file at that line.",
            ) from error
        found[match[1]] = value
        line += text.count("\n", position, after) + 1
        position = after + 1
    return found


def parse_raw(text: str, name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """KEY=VALUE lines whose values are taken as they stand (`format: raw` of env_file)."""
    found: dict[str, str] = {}
    for line, row in enumerate(text.split("\n"), 1):
        row = row.removesuffix("\r").lstrip()
        if not row or row.startswith("#"):
            continue
        key, equals, value = row.partition("=")
        if not key or len(key.split()) != 1 or key != key.strip() or "\0" in row:
            raise AppError(
                f"{name} cannot be read",
                details=f"{name}:{line}: this is not KEY=VALUE",
                resolution="Mend the file at that line.",
            )
        if equals:
            found[key] = value
        elif key in environ:
            found[key] = environ[key]
    return found


def _env_value(text: str, start: int, environ: Mapping[str, str]) -> tuple[str, int]:
    """(value, position of the line's end)."""
    while start < len(text) and text[start] in " \t":
        start += 1
    mark = text[start : start + 1]
    if mark in ("'", '"') and mark:
        end = start + 1
        while end < len(text) and text[end] != mark:
            end += 2 if mark == '"' and text[end] == "\\" else 1
        if end >= len(text):
            raise ValueError("a quote is not closed")
        line_end = text.find("\n", end)
        inner = text[start + 1 : end]
        value = inner if mark == "'" else interpolate(_unescape(inner), environ)
        return value, len(text) if line_end < 0 else line_end
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    raw = re.split(r"(?:^|[ \t]+)#", text[start:line_end], maxsplit=1)[0].strip()
    return interpolate(raw, environ), line_end


def _unescape(text: str) -> str:
    letters = {"n": "\n", "r": "\r", "t": "\t", "$": "$$"}
    return re.sub(r"\\(.)", lambda m: letters.get(m[1], m[1]), text, flags=re.DOTALL)
