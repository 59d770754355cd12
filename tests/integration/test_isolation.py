"""`portkit check --isolation`: what a container sees of its host, with the App's own settings, and
nothing stays behind. The disk form takes a minute to boot; docs/how-to/check.md shows one."""

import json
from pathlib import Path

import jsonschema
import pytest

from portkit.lab import Lab
from tests.integration.commands import ROOT, on, ours, portkit

pytestmark = pytest.mark.lab
SCHEMA = json.loads((ROOT / "docs/check.schema.json").read_text())
COMPOSE = """
name: open
services:
  web:
    image: debian:bookworm-slim
    command: sleep infinity
    user: "1000"
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true", "seccomp=unconfined"]
    pid: host
    pids_limit: 50
    mem_limit: 64m
    depends_on: [db]
  db:
    image: debian:bookworm-slim
    command: sleep infinity
x-portkit: {health: {service: web, method: running}}
"""


def test_a_container_is_measured_with_the_settings_of_its_app(
    lab: Lab, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    words = ("check", str(tmp_path), "--from", "lab:alpha", "--on", "lab:beta", "--form", "image")
    done = portkit(*words, "--isolation", "--output", "json", store=store)
    found = json.loads(done.text)
    jsonschema.validate(found, SCHEMA)
    (cell,) = found["cells"]
    told = cell["isolation"]
    assert told["reason"] == "", told
    assert told["own_kernel"] is False
    assert "pid" in told["shared"], "as the compose file says"
    assert "mnt" not in told["shared"]
    seen = told["seen"]
    assert seen["status"]["Uid"] == "1000"
    assert int(seen["status"]["CapBnd"], 16) == 0
    assert seen["status"]["NoNewPrivs"] == "1"
    assert seen["status"]["Seccomp"] == "0"
    assert seen["processes"]["count"] > 2, "the host's"
    assert (seen["limits"]["pids"], seen["limits"]["memory"]) == ("50", str(64 << 20))
    assert seen["syscalls"]["mount"] == 14, "EFAULT: no filter stands before it"
    assert seen["syscalls"]["reboot"] == 1, "EPERM: without a right to it"
    assert all(seen["writes"].values()), "a user without rights can write none"
    assert ours(lab, "beta") == ""
    assert on(lab, "beta", "ls /var/lib/portkit/moves/*.json", check=False) == ""
