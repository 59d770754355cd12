"""The man pages, made from click."""

from pathlib import Path

import click
import pytest

from scripts.docs import man
from scripts.docs.verbs import Text, verbs


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def tool() -> None:
    """A tool."""


@tool.command()
@click.argument("thing")
@click.option("--loud", is_flag=True, help="Say it 'loudly'.")
def speak(thing: str, loud: bool) -> None:
    """Say THING.

    It is said
    once.

    \b
    Examples:
      tool speak hello \\
        --loud
      .tool
    """


def test_a_command_as_values() -> None:
    outer, inner = verbs(tool, "tool")
    assert (outer.inner, inner.words, inner.summary) == (
        ("speak",),
        ("tool", "speak"),
        "Say THING.",
    )
    assert inner.usage == "tool speak [OPTIONS] THING"
    assert inner.text == (
        Text(("It is said", "once."), literal=False),
        Text(("Examples:",), literal=False),
        Text(("tool speak hello \\", "  --loud", ".tool"), literal=True),
    )
    assert inner.options == (
        ("--loud", "Say it 'loudly'."),
        ("-h, --help", "Show this message and exit."),
    )


def test_what_roff_would_read_is_escaped() -> None:
    _, inner = verbs(tool, "tool")
    lines = man.page(inner).splitlines()
    assert "tool speak hello \\e" in lines
    assert "\\&.tool" in lines
    assert ".B \\-\\-loud" in lines


def test_a_page_for_each_verb_and_the_same_each_time(tmp_path: Path) -> None:
    from portkit_cli.main import main

    one, other = man.write(tmp_path / "one"), man.write(tmp_path / "other")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    names = {path.name for path in one}
    assert {f"portkit-{verb}.1" for verb in main.commands} <= names
    assert "portkit-lab-up.1" in names


@pytest.mark.parametrize("code", ["0", "2", "9", "130"])
def test_exit_codes_are_on_the_first_page(code: str, tmp_path: Path) -> None:
    assert f".B {code}\n" in man.write(tmp_path)[0].read_text()
