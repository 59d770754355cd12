"""The simple commands in a text for a shell, as far as they can be told without running it. Pure.

Sources: POSIX.1-2017, 2.2 (quoting), 2.6 (expansions), 2.7 (redirections) and 2.10 (grammar);
bash(1), "Invocation".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from portkit.needs import shells

_TOKEN = re.compile(
    r"(?P<space>[ \t]+)"
    r"|(?P<redirect>[0-9]*(?:<<<|<<-?|>>|[<>]&|&>>?|<>|>\||[<>])(?!\())"
    r"|(?P<end>[;&|()\n]+)"
    r"|'(?P<single>[^']*)'"
    r'|"(?P<double>(?:[^"\\]|\\.)*)"'
    r"|\\(?P<escaped>.)"
    r"|(?P<plain>(?:[^\s'\"\\$`;&|()<>*?\[~{}!#]|(?<=\S)[#~{}!]|\[{1,2}(?=\s))+)"
    r"|(?P<variable>\$(?:\{[^{}$`]*\}|[A-Za-z_][A-Za-z0-9_]*|[@*0-9]))"
    r"|(?P<other>.)",
    re.DOTALL,
)
_IN_QUOTES = re.compile(
    r"(?P<variable>\$(?:\{[^{}$`]*\}|[A-Za-z_][A-Za-z0-9_]*|[@*0-9]))|(?P<other>[$`])", re.DOTALL
)
_NAME = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*|[@*]|[0-9]+)(?:(:?[-=])(.*?))?\}?", re.DOTALL)
_ESCAPED = re.compile(r'\\([$`"\\\n])')
_ASSIGNS = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_MOVES = ("PATH=", "LD_")
_SET = re.compile(
    r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=([^\s;&|<>()]*)[ \t]*$", re.MULTILINE
)
# Options of shells whose value is the next word (dash(1), bash(1)).
_VALUED = frozenset(("--rcfile", "--init-file"))
# What stands before a command in a script.
_BEFORE = frozenset(("if", "elif", "while", "then", "else", "do", "time", "command"))
_ENDS = frozenset(('exec "$@"', 'exec "${@}"', "exec $@"))
# What may keep a script from its last line, or change what "$@" is there.
_OTHERWISE = re.compile(
    r"\bset[ \t][^\n]*--(?:\s|$)|\bshift\b|\bexit\b(?![ \t]+[1-9$])|\bPATH="
    r"|^[ \t]*(?:\.|source|eval|alias)[ \t]|<<|\bexec[ \t]+[^\s0-9<>&]",
    re.MULTILINE,
)
_CHANGES_FOLDER = re.compile(r"\b(?:cd|pushd)\b")
_HARMLESS = frozenset(
    ("cat", "chmod", "chown", "date", "env", "find", "grep", "hostname", "id", "ls", "mkdir")
) | frozenset(("nproc", "sleep", "stat", "touch", "uname", "whoami"))
_SETS_ARGUMENTS = re.compile(r"\bset[ \t][^\n]*--(?:\s|$)")
_CONTINUED = re.compile(r"\\\r?\n")
_LINE_CHARACTERS = 4096
_LOOKS = re.compile(r"\bexec\b|\$\{?@")


@dataclass(frozen=True)
class Told:
    """What the arguments of a shell tell it. text: of its option -c. script: the file that it
    reads; arguments: $1 and the following. login: it reads profiles first, which set PATH."""

    text: str = ""
    script: str = ""
    arguments: tuple[str, ...] = ()
    login: bool = False


@dataclass(frozen=True)
class Command:
    """One simple command, without assignments and redirections. A word that cannot be told is "".

    known: all its words are. passes: the arguments of the text ("$@") are among them. varies: it
    has variables that the text may have set. moves: it gets another PATH or other libraries.
    """

    words: tuple[str, ...]
    known: bool = True
    passes: bool = False
    varies: bool = False
    moves: bool = False


def told(words: Sequence[str]) -> Told:
    """What the arguments of a shell tell it."""
    left, takes_text, login = list(words), False, False
    while left and len(left[0]) > 1 and left[0][0] in "-+":
        option = left.pop(0)
        if option == "--":
            break
        short = "" if option.startswith("--") else option[1:]
        takes_text = takes_text or ("c" in short and option[0] == "-")
        login = login or option == "--login" or "l" in short
        # `-o pipefail` and `-O extglob`; in a cluster as well (-eo pipefail).
        if option in _VALUED or (short and short[-1] in "oO"):
            left = left[1:]
    if takes_text:
        return Told(text=left[0] if left else "", arguments=tuple(left[2:]), login=login)
    return Told(script=left[0] if left else "", arguments=tuple(left[1:]), login=login)


def lines(text: str) -> Iterator[str]:
    """The lines of a script; a backslash at the end of one joins it to the next."""
    return (line[:_LINE_CHARACTERS] for line in _CONTINUED.sub(" ", text).splitlines())


def variables(text: str) -> dict[str, str]:
    """What a script sets to a plain word, such as HOME=/srv. The first counts."""
    found: dict[str, str] = {}
    for name, value in _SET.findall(text):
        if not set(value) & set("$`\\*?[~{}"):
            found.setdefault(name, value.strip("\"'"))
    return found


def commands(
    text: str, variables: Mapping[str, str], arguments: Sequence[str] = ()
) -> list[Command]:
    """The simple commands of a text; nothing where its quotes do not end. arguments: "$@"."""
    reader = _Reader(variables, arguments)
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "other" and match[0] in "'\"":
            return []
        if kind == "other" and match[0] == "#" and not reader.in_word:
            kind = "comment"
        if kind == "comment":
            break
        reader.take(kind, match[kind])
    return reader.finished()


def of_a_script(
    text: str, variables_: Mapping[str, str], arguments: Sequence[str]
) -> Iterator[tuple[Command, bool]]:
    """What a script may become or end with: `exec`, a plain "$@" and its last command; and whether
    that is certain, as far as the script itself tells."""
    known, rows = {**variables(text), **variables_}, _code_lines(text)
    through = ends_with_its_arguments(text)
    for number, line in enumerate(rows):
        last = number == len(rows) - 1
        found = commands(line, known, arguments) if last or _LOOKS.search(line) else []
        for row in found:
            words = row.words
            while words and words[0] in _BEFORE:
                words = words[1:]
            begins = bool(arguments) and row.passes and words[: len(arguments)] == (*arguments,)
            plain = last and row is found[-1] and not line.startswith((" ", "\t"))
            if words[:1] == ("exec",):
                words = words[1:]
            elif not (begins or plain):
                continue
            if words and words[0] and not words[0].startswith("-"):
                yield replace(row, words=words), last and through


def ends_with_its_arguments(text: str) -> bool:
    """Whether a script does nothing in the end but become what its arguments name."""
    rows = _code_lines(text)
    before = "\n".join(rows[:-1])
    return bool(rows) and rows[-1].rstrip() in _ENDS and not _OTHERWISE.search(before)


def makes_no_file(text: str) -> bool:
    """Whether all commands of a script are known to put no file anywhere that has content. Others
    may install what it ends with, or what that needs."""
    rows = [row for line in _code_lines(text) for row in commands(line, {})]
    return ">" not in text.replace(">&", "") and all(
        word in _HARMLESS or shells.is_built_in(word)
        for row in rows
        for word in [next((each for each in row.words if each not in _BEFORE), "")]
    )


def changes_folder(text: str) -> bool:
    """Whether names that a script ends with may be relative to another folder than its own."""
    return _CHANGES_FOLDER.search(text) is not None


def sets_its_arguments(text: str) -> bool:
    """Whether a script may run something else than what its arguments name."""
    return _SETS_ARGUMENTS.search(text) is not None


def _code_lines(text: str) -> list[str]:
    return [line for line in lines(text) if line.strip() and not line.lstrip().startswith("#")]


class _Reader:
    def __init__(self, variables: Mapping[str, str], arguments: Sequence[str]) -> None:
        self._variables, self._arguments = variables, arguments
        self._found: list[Command] = []
        self._next()

    def _next(self) -> None:
        self._words: list[str] = []
        self._known, self._passes, self._varies, self._moves = True, False, False, False
        self._target = False  # the next word is where a redirection goes
        self._begin()

    def _begin(self) -> None:
        self.in_word, self._parts, self._clear = False, "", True
        self._more: list[str] | None = None  # several words that stand in place of this one

    def take(self, kind: str, text: str) -> None:
        if kind in ("space", "redirect", "end"):
            self._end_word()
            if kind == "redirect":
                self._target = True
            elif kind == "end":
                self._end_command()
            return
        self.in_word = True
        if kind == "variable":
            self._variable(text, quoted=False)
        elif kind == "double":
            self._double(text)
        elif kind == "other":
            self._clear = False
        else:
            self._parts += text

    def _double(self, text: str) -> None:
        at = 0
        for match in _IN_QUOTES.finditer(text):
            if match.start() and text[match.start() - 1] == "\\":
                continue
            self._parts += _ESCAPED.sub(r"\1", text[at : match.start()])
            at = match.end()
            if match["variable"]:
                self._variable(match["variable"], quoted=True)
            else:
                self._clear = False
        self._parts += _ESCAPED.sub(r"\1", text[at:])

    def _variable(self, text: str, *, quoted: bool) -> None:
        match = _NAME.fullmatch(text)
        name = match[1] if match else ""
        if name in ("@", "*"):
            self._more, self._passes = list(self._arguments), True
            return
        self._varies = True
        value = self._variables.get(name)
        if name.isdecimal():
            place = int(name) - 1
            value = self._arguments[place] if 0 <= place < len(self._arguments) else None
        elif match and match[2] and (value is None or (value == "" and match[2][0] == ":")):
            value = None if set(match[3]) & set("\\\"'") else match[3]
        if value is None:
            self._clear = False
        elif quoted or len(value.split()) == 1:
            self._parts += value if quoted else value.strip()
        else:
            self._more = value.split()

    def _end_word(self) -> None:
        if not self.in_word:
            return
        if self._target:
            self._target = False
        elif not self._words and self._clear and _ASSIGNS.match(self._parts):
            self._moves = self._moves or self._parts.startswith(_MOVES)
        elif not self._clear:
            self._words.append("")
            self._known = False
        elif self._more is not None:
            self._words += self._more
        else:
            self._words.append(self._parts)
        self._begin()

    def _end_command(self) -> None:
        if self._words:
            words = tuple(self._words)
            self._found.append(Command(words, self._known, self._passes, self._varies, self._moves))
        self._next()

    def finished(self) -> list[Command]:
        self._end_word()
        self._end_command()
        return self._found
