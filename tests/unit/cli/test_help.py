"""Every verb says what it does, with an example."""

import click
import pytest
from click.testing import CliRunner
from portkit_cli.main import main

VERBS = sorted(main.commands)


def test_the_verbs() -> None:
    wanted = (
        "check console doctor forget gc inventory lab logs measure move moves pack ps resume rm "
        "rollback show start stop"
    )
    assert " ".join(VERBS) == wanted


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb: str) -> None:
    done = CliRunner().invoke(main, [verb, "--help"])
    assert done.exit_code == 0
    if not isinstance(main.commands[verb], click.Group):
        assert f"  portkit {verb} " in done.output, "an example"
