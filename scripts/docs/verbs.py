"""The command line as plain values, read from click, for the site and the man pages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

# click prints a paragraph behind this character with its own lines.
_AS_IT_IS = "\b"


@dataclass(frozen=True)
class Text:
    """A paragraph of a help text. literal: its lines stay as they are, as in examples."""

    lines: tuple[str, ...]
    literal: bool


@dataclass(frozen=True)
class Verb:
    """One command. words: as it is typed, such as ("portkit", "lab", "up")."""

    words: tuple[str, ...]
    usage: str
    summary: str
    text: tuple[Text, ...]
    options: tuple[tuple[str, str], ...]
    inner: tuple[str, ...]  # names of the commands in a group

    @property
    def name(self) -> str:
        return " ".join(self.words)


def verbs(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[Verb]:
    """A command and, when it is a group, every command in it."""
    context = command.context_class(
        command, parent=parent, info_name=name, **command.context_settings
    )
    inner = command.commands if isinstance(command, click.Group) else {}
    summary, text = _help(command.help or "")
    records = (param.get_help_record(context) for param in command.get_params(context))
    yield Verb(
        words=tuple(context.command_path.split()),
        usage=" ".join([context.command_path, *command.collect_usage_pieces(context)]),
        summary=summary,
        text=text,
        options=tuple(record for record in records if record is not None and record[1]),
        inner=tuple(inner),
    )
    for each in sorted(inner):
        yield from verbs(inner[each], each, context)


def _help(text: str) -> tuple[str, tuple[Text, ...]]:
    """A help text's first sentence, and the paragraphs behind it. A line that ends in a colon
    belongs to the text; indented lines behind it are literal."""
    first, *more = re.split(r"\n\s*\n", inspect.cleandoc(text))
    found: list[Text] = []
    for paragraph in more:
        lines = paragraph.splitlines()
        if lines[0].strip() != _AS_IT_IS:
            found.append(Text(tuple(map(str.strip, lines)), literal=False))
            continue
        for line in lines[1:]:
            literal = line.startswith(" ")
            if found and literal and found[-1].literal:
                found[-1] = Text((*found[-1].lines, line[2:]), literal=True)
            else:
                found.append(Text((line[2:] if literal else line,), literal))
    return " ".join(first.split()), tuple(found)
