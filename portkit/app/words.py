"""A command that is written as one string, split as compose does. Pure.

Source: mattn/go-shellwords 1.0.12, which compose uses: not a shell's rules in every corner.
"""

from __future__ import annotations

_INVALID = "a quote, bracket or backslash in it is not closed"
_ENDS = ";&|<>"  # compose drops what follows them


def split(text: str) -> tuple[tuple[str, ...], bool]:
    """The words, and whether the text went on behind a sign of a shell's that ends them.

    ValueError when a quote is not closed.
    """
    words: list[str] = []
    word: list[str] = []
    begun = escaped = command = False
    quote = ""  # ', " or `: inside of that
    for character in text:
        if escaped:
            word.append(character)
            escaped, begun = False, True
        elif character == "\\" and quote != "'":
            escaped = True
        elif character in " \t\r\n" and not (quote or command):
            if begun:
                words.append("".join(word))
            word, begun = [], False
        elif command:
            word.append(character)
            command = character != ")"
        elif character in "'\"" and quote in ("", character):
            quote = "" if quote else character
            begun = True
        elif character == "`" and quote in ("", "`"):
            quote = "" if quote else "`"
            word.append(character)
            begun = True
        elif character in "()" and not quote:
            if character == ")" or word[-1:] != ["$"]:
                raise ValueError(_INVALID)
            word.append(character)
            command = True
        elif character in _ENDS and not quote:
            number = character == ">" and word[:1] and word[0].isdigit()  # 2>file
            return tuple(words + (["".join(word)] if begun and not number else [])), True
        else:
            word.append(character)
            begun = True
    if escaped or quote or command:
        raise ValueError(_INVALID)
    return tuple(words + (["".join(word)] if begun else [])), False
