"""Write a man page for portkit and each of its verbs. Usage: python -m scripts.docs.man FOLDER"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from portkit_cli.main import main as command

import portkit
from scripts.docs.codes import exit_codes
from scripts.docs.verbs import Text, Verb, verbs


def page(verb: Verb) -> str:
    """A page in the `man` macros of roff (groff_man(7)). It holds no date: the same code gives the
    same page."""
    title = "-".join(verb.words)
    lines = [
        f'.TH "{title.upper()}" "1" "" "portkit {portkit.__version__}" "portkit"',
        ".SH NAME",
        f"{_escaped(title)} \\- {_escaped(verb.summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_escaped(verb.usage)}",
        ".SH DESCRIPTION",
        _escaped(verb.summary),
    ]
    for text in verb.text:
        lines += _paragraph(text)
    lines += [".SH OPTIONS", *_terms(verb.options)]
    if len(verb.words) == 1:
        lines += [".SH EXIT STATUS", *_terms(exit_codes())]
    related = [(*verb.words, name) for name in verb.inner] or [verb.words[:-1]]
    pages = ", ".join(f"{_escaped('-'.join(words))}(1)" for words in related)
    return "\n".join([*lines, ".SH SEE ALSO", pages]) + "\n"


def _terms(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [
        line for term, about in rows for line in (".TP", f".B {_escaped(term)}", _escaped(about))
    ]


def _paragraph(text: Text) -> list[str]:
    lines = [_escaped(line) for line in text.lines]
    if text.literal:
        return [".PP", ".RS 4", ".nf", *lines, ".fi", ".RE"]
    return [".PP", *lines]


def _escaped(text: str) -> str:
    """roff reads a backslash as an escape and a line that begins with . or ' as a macro."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + plain if plain.startswith((".", "'")) else plain


def write(folder: Path) -> list[Path]:
    """All pages, as FOLDER/portkit-VERB.1."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for verb in verbs(command, "portkit"):
        paths.append(folder / f"{'-'.join(verb.words)}.1")
        paths[-1].write_text(page(verb))
    return paths


if __name__ == "__main__":
    print(f"{len(write(Path(sys.argv[1])))} pages in {sys.argv[1]}")
