"""Env files, as compose reads them. Pure; no error quotes a value: it may be a password.

Source: compose-go, dotenv/parser.go (2.9), and docker/cli, pkg/kvfile for `format: raw`.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping

from portkit.app.environment import LIMIT, interpolate
from portkit.errors import AppError

_SPACE = " \t\v\f\r\x85\xa0"  # what compose skips inside of a line
_BLANK = re.compile(r"\s*")
_EXPORT = re.compile(rf"export[{_SPACE}]+")
_KEY = re.compile(rf"([\w.\[\]{_SPACE}-]*)([=:\n]|\Z)")
_QUOTED = {
    quote: re.compile(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}", re.DOTALL) for quote in "'\""
}
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0[0-9]{0,3})')
_ESCAPED = {
    **dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True)),
    "$": "$$",
    '"': '"',
    "\\": "\\",
}


def parse(
    data: bytes, name: str, environ: Mapping[str, str], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables of KEY=VALUE lines: comments, `export`, quotes, `${VAR}`.

    environ: wins over what the file itself sets; a key without a value takes its own from there.
    known: what earlier files set. AppError with the line for anything else.
    """
    text = _text(data, name)
    found = dict(known or {})
    # Looked up and not copied: lines see what the lines above them have set.
    seen = ChainMap(dict(environ), found)
    # Behind each statement the next one begins: a quoted value may have many lines.
    position, size = 0, 0
    while (start := _start(text, position)) < len(text):
        try:
            key, value, position = _statement(text, start, seen)
            size += len(value or "")
            if size > LIMIT:
                raise ValueError(f"the values expand to more than {LIMIT} characters")
        except ValueError as error:
            raise _bad(name, text.count("\n", 0, start) + 1, str(error)) from error
        if value is not None:
            found[key] = value
    return found


def parse_raw(
    data: bytes, name: str, environ: Mapping[str, str], known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables of lines whose values are taken as they stand (`format: raw`)."""
    found = dict(known or {})
    for line, row in enumerate(_text(data, name).split("\n"), 1):
        row = row.removesuffix("\r").lstrip()
        if not row or row.startswith("#"):
            continue
        key, equals, value = row.partition("=")
        if not key or len(key.split()) != 1 or key != key.strip():
            raise _bad(name, line, "this line is not KEY=VALUE")
        if equals:
            found[key] = value
        elif key in environ:
            found[key] = environ[key]
    return found


def _text(data: bytes, name: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _bad(name, line, "this line is not UTF-8") from None
    if "\0" in text:
        raise _bad(name, text.count("\n", 0, text.index("\0")) + 1, "this line contains a NUL byte")
    return text


def _bad(name: str, line: int, why: str) -> AppError:
    return AppError(
        f"{name[:200]} cannot be read",
        details=f"{name[:200]}:{line}: {why}",
        resolution="Correct the file at that line.",
    )


def _start(text: str, position: int) -> int:
    """Where the next line that is no comment begins; the text's end where none does."""
    while True:
        blank = _BLANK.match(text, position)
        position = blank.end() if blank else position
        if not text.startswith("#", position):
            return position
        line_end = text.find("\n", position)
        position = len(text) if line_end < 0 else line_end


def _statement(text: str, start: int, environ: Mapping[str, str]) -> tuple[str, str | None, int]:
    """(name, value, position behind it); the value is None where nobody has one."""
    exported = _EXPORT.match(text, start)
    match = _KEY.match(text, exported.end() if exported else start)
    key = match[1].strip() if match else ""
    if match is None or not key or len(key.split()) != 1:
        raise ValueError("this line is not KEY=VALUE")
    if match[2] not in ("=", ":"):
        return key, environ.get(key), match.end()
    value, end = _value(text, match.end(), environ)
    if "\0" in value:
        raise ValueError("an escape sequence produces a NUL byte")
    return key, value, end


def _value(text: str, start: int, environ: Mapping[str, str]) -> tuple[str, int]:
    """(value, position of the line's end)."""
    while start < len(text) and text[start] in _SPACE:
        start += 1
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    if start == len(text) or text[start] not in _QUOTED:
        plain = text[start:line_end].partition(" #")[0].rstrip()
        return interpolate(plain, environ), line_end
    quote = text[start]
    match = _QUOTED[quote].match(text, start)
    if match is None:
        raise ValueError("a quote is not closed")
    line_end = text.find("\n", match.end())
    line_end = len(text) if line_end < 0 else line_end
    behind = text[match.end() : line_end].strip()
    if behind and not behind.startswith("#"):
        # Compose takes it for the next variable, with an empty name if it has no =.
        raise ValueError("there is text after a closing quote")
    inner = match[1].replace("\\" + quote, quote) if "\\" in match[1] else match[1]
    return (inner if quote == "'" else interpolate(_unescaped(inner), environ)), line_end


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        word = match[0][1:]
        if word in _ESCAPED:
            return _ESCAPED[word]
        octal = word[1:]
        if len(octal) == 3 and set(octal) <= set("01234567") and int(octal, 8) < 256:
            return chr(int(octal, 8))
        return match[0] if word == "c" else "\\" + octal

    return _ESCAPE.sub(one, text)
