"""How an App is found to be up without a published port, and what is none that stays up."""

import json
from pathlib import Path
from typing import Any

import pytest

from portkit.errors import BootError
from portkit.lab import Lab
from tests.integration.commands import ours, portkit

pytestmark = pytest.mark.lab
SERVE = (
    "use IO::Socket::INET; my $$s = IO::Socket::INET->new(LocalPort => 8088, Listen => 9,"
    " ReuseAddr => 1) or die; while (my $$c = $$s->accept) { <$$c>;"
    r" print $$c qq(HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok); close $$c; THEN }"
)
FLAPS = SERVE.replace("THEN", "select(undef, undef, undef, 0.2); exit 3;")
ENDS = SERVE.replace("THEN", "exit 0;")


def move(folder: Path, store: Path, form: str, **service: object) -> Any:
    """Move an App of that service from alpha to beta; nothing of it stays there."""
    row = {"image": "debian:bookworm-slim", "stop_grace_period": "1s", **service}
    (folder / "compose.yaml").write_text(json.dumps({"services": {"app": row}}))
    words = ("move", str(folder), "--from", "lab:alpha", "--to", "lab:beta", "--form", form)
    more = ("--keep", "none", "--output", "json", "--progress", "quiet")
    return portkit(*words, *more, store=store, check=False)


@pytest.mark.parametrize(
    ("service", "image", "disk"),
    [
        ({"command": ["sleep", "600"]}, "running", "running"),
        (
            {
                "command": ["sh", "-c", "sleep 1; touch /tmp/up; sleep 600"],
                "healthcheck": {"test": ["CMD", "test", "-e", "/tmp/up"], "interval": "1s"},
            },
            "healthcheck",
            "healthcheck",
        ),
        (
            {
                "command": ["perl", "-e", SERVE.replace("THEN", "")],
                "x-portkit": {"health": {"port": 8088}},
            },
            "host",
            "running",
        ),
    ],
    ids=["worker", "healthcheck", "unpublished port"],
)
def test_an_app_without_a_published_port(
    lab: Lab, store: Path, tmp_path: Path, service: dict[str, object], image: str, disk: str
) -> None:
    done = move(tmp_path, store, "both", **service)
    assert done.code == 0, done.stderr
    forms = json.loads(done.text)["forms"]
    assert [form["ttfr"]["method"] for form in forms] == [image, disk]
    assert all(form["ttfr"]["reason"] for form in forms)
    # A practice host has no KVM.
    assert [form["compat"]["verdict"] for form in forms] == ["native", "emulated"]
    assert forms[1]["ttfr"]["timeout_s"] >= 300
    assert "emulated" in forms[1]["ttfr"]["timeout_reason"]


@pytest.mark.parametrize(
    ("form", "serve", "code"),
    [
        pytest.param("image", FLAPS, 3, id="image-flaps"),
        pytest.param("image", ENDS, 0, id="image-ends", marks=pytest.mark.campaign),
        pytest.param("disk", FLAPS, 3, id="disk-flaps", marks=pytest.mark.campaign),
        pytest.param("disk", ENDS, 0, id="disk-ends"),
    ],
)
def test_one_that_answers_and_ends_is_not_moved(
    lab: Lab, store: Path, tmp_path: Path, form: str, serve: str, code: int
) -> None:
    before = ours(lab, "beta")
    command = ["perl", "-e", serve]
    done = move(tmp_path, store, form, command=command, ports=["8088:8088"], restart="always")
    assert done.code == BootError.exit_code
    assert f"app exited with code {code}".encode() in done.stderr
    assert ours(lab, "beta") == before
