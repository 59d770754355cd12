"""Commands in README.md, docs/ and CONTRIBUTING.md: the verbs, options and make targets exist."""

import re
import shlex
from pathlib import Path

import click
import pytest
from portkit_cli.main import main

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_COMMAND = re.compile(r"^    (?:\$ )?(portkit .*(?:\\\n.*)*)$|`(portkit [^`]*)`", re.MULTILINE)
_MAKE = re.compile(r"^    make ([\w -]+?)(?:  .*)?$|`make ([^`]+)`", re.MULTILINE)
# Placeholders and lists of verbs, not commands.
_OTHER = ("portkit VERB", "portkit --debug VERB", "portkit moves, ", "portkit ps, ")


def commands(text: str) -> list[str]:
    found = ("".join(pair) for pair in _COMMAND.findall(text))
    return [each for each in found if not each.startswith(_OTHER) and "portkit/" not in each]


def unknown(line: str) -> list[str]:
    """What of a command line is no verb or no option of portkit."""
    line = re.split(r" {3,}", line.replace("\\\n", " "))[0]  # what follows says what it does
    words = shlex.split(line.replace("[", " ").replace("]", " "), comments=True)
    command: click.Command = main
    wrong = []
    for word in words[1:]:
        if word in ("--", ">", "|"):
            break
        if isinstance(command, click.Group) and not word.startswith("-"):
            if word not in command.commands:
                return [*wrong, word]
            command = command.commands[word]
        elif word.startswith("-"):
            options = {name for param in command.params for name in param.opts}
            wrong += [] if word in options | {"-h", "--help"} else [word]
    return wrong


def test_what_is_wrong_is_found() -> None:
    assert unknown("portkit mvoe ./shop --to web2") == ["mvoe"]
    assert unknown("portkit move ./shop --onto web2") == ["--onto"]
    assert unknown("portkit lab ssh alpha -- docker ps --all") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_exists(page: Path) -> None:
    assert {line: bad for line in commands(page.read_text()) if (bad := unknown(line))} == {}


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for pair in _MAKE.findall(page.read_text()):
            names = {word for word in "".join(pair).split() if "=" not in word}
            assert {name for name in names if not name.startswith("bench-")} <= targets, page
