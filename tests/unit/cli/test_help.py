"""Every verb says what it does, with an example."""

import os
import sys

import click
import pytest
from click.testing import CliRunner
from portkit_cli.main import main

from portkit import process

VERBS = sorted(main.commands)


def test_the_verbs() -> None:
    wanted = (
        "check commit console cutover doctor forget forward gc inventory lab logs measure move "
        "moves pack ps resume rm rollback show start stop"
    )
    assert " ".join(VERBS) == wanted


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str) -> None:
    done = CliRunner().invoke(main, [verb, "--help"])
    assert done.exit_code == 0
    if not isinstance(main.commands[verb], click.Group):
        assert f"  portkit {verb} " in done.output, "an example"


def _groups(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every group of verbs, the outermost first."""
    inner = [
        found
        for name, command in group.commands.items()
        if isinstance(command, click.Group)
        for found in _groups(command, (*words, name))
    ]
    return [words, *inner]


@pytest.mark.parametrize("words", _groups(main), ids=" ".join)
def test_no_verb_is_cut_off_in_the_list(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, [*words, "--help"])
    assert "..." not in done.output.partition("Commands:")[2]


@pytest.mark.parametrize("verb", VERBS)
def test_help_wraps_at_one_width(verb: str) -> None:
    """Prose is wrapped by click; what keeps its lines is an example and is indented."""
    lines = CliRunner().invoke(main, [verb, "--help"]).output.splitlines()
    prose = [line for line in lines if not line.startswith("    ")]
    assert [line for line in prose if len(line) > 80] == []


def test_the_package_runs_as_a_module() -> None:
    done = process.run([sys.executable, "-m", "portkit_cli", "--version"], env=dict(os.environ))
    assert done.text.startswith("portkit, version ")
