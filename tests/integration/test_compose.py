"""What fixtures/compose/recorded.json says is still what a real compose answers."""

import json
import os
import shlex

import pytest

from portkit import process
from portkit.lab import Lab
from tests.compose_cases import FOLDER, cases, record, recorded
from tests.integration.commands import on

pytestmark = pytest.mark.lab
INSTALL = (
    "docker-compose version > /dev/null 2>&1 || "
    "{ apt-get -q update && apt-get -q -y install --no-install-recommends docker-compose; } >&2"
)


def test_what_compose_answers(lab: Lab) -> None:
    """gamma has the compose of Debian testing. Where that is a newer one and answers otherwise:
    PORTKIT_RECORD=1 writes its answers down, and the unit tests show what has changed."""
    on(lab, "gamma", INSTALL)
    has = on(lab, "gamma", "docker-compose version --short").strip().partition("-")[0]
    program = shlex.quote((FOLDER / "ask.py").read_text())
    argv = ["ssh", "-F", lab.ssh_config, "lab-gamma", f"python3 -c {program} docker-compose"]
    done = process.run(argv, input=json.dumps(cases()).encode(), timeout=300)
    answers = json.loads(done.text)
    if os.environ.get("PORTKIT_RECORD") == "1":
        record(has, answers)
    version, wanted = recorded()
    differing = {name for name in cases() if answers[name] != wanted[name]}
    assert not differing, f"recorded with {version}, gamma has {has}"
