"""portkit show of what runs on a host: what is printed, and how it ends."""

import json
from contextlib import nullcontext

import pytest
import yaml
from click.testing import CliRunner
from portkit_cli.commands import show as command
from portkit_cli.main import main

from portkit.errors import IncompatibleError
from portkit.model import Finding, Severity
from portkit.source.running import Shown

DOCUMENT = {"name": "web", "services": {"web": {"image": "web:1", "environment": {"A": "1e3"}}}}


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize(("severity", "code"), [("warning", 0), ("error", 9)])
def test_what_is_lost_is_named_and_an_error_is_one(
    monkeypatch: pytest.MonkeyPatch, output: str, severity: str, code: int
) -> None:
    lost = Finding("container-not-described", Severity(severity), "web: a\nb", ("Config.X",))
    monkeypatch.setattr(command, "connect", lambda *_: nullcontext())
    monkeypatch.setattr(command, "show_running", lambda *_: Shown(DOCUMENT, (lost,)))
    done = CliRunner().invoke(main, ["show", "container:web", "--on", "web2", "--output", output])
    assert IncompatibleError.exit_code == 9
    assert done.exit_code == code
    if output == "json":
        found = json.loads(done.stdout)
        assert (found["document"], found["findings"][0]["severity"]) == (DOCUMENT, severity)
    else:
        assert yaml.safe_load(done.stdout) == DOCUMENT
        assert done.stderr == f"{severity} container-not-described: web: a b (Config.X)\n"
