"""x-portkit.quiesce, and labels that say what an x-portkit block says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from portkit import app as apps
from portkit.app import compose
from portkit.bundle.described import read, render
from portkit.engines.docker_spec import service_labels
from portkit.errors import AppError
from portkit.model import App, HealthProbe, Method, Quiesce, Service
from tests.factories import app_spec, spec

SHELL = ("/bin/sh", "-c")


def loaded(folder: Path, text: str) -> App:
    (folder / "compose.yaml").write_text("services:\n  a:\n    image: x\n" + text)
    return apps.load(folder)


def running(**labels: str) -> App:
    """As the App of a container that runs is read."""
    named = {key.replace("_", "."): text for key, text in labels.items()}
    given = {f"x-portkit.{key}": text for key, text in named.items()}
    return labelled(given)


def labelled(given: dict[str, str]) -> App:
    document = {"name": "one", "services": {"one": {"image": "x", "labels": given}}}
    return compose.read(json.dumps(document).encode(), "container:one")


def test_commands_of_a_file(tmp_path: Path) -> None:
    block = (
        "    x-portkit: {quiesce: {before: psql -c CHECKPOINT, after: [/go, on], timeout: 2m}}\n"
    )
    app = loaded(tmp_path, block)
    quiesce = Quiesce((*SHELL, "psql -c CHECKPOINT"), ("/go", "on"), 120.0)
    assert app.services[0].quiesce == quiesce
    assert read(render(app, ["sha256:" + "1" * 64]), "x").services[0].quiesce == quiesce
    assert not loaded(tmp_path, "").services[0].quiesce


@pytest.mark.parametrize(
    "text",
    [
        "{before: ' '}",
        "{before: []}",
        "{before: ['']}",
        "{before: {a: b}}",
        "{during: x}",
        "{timeout: 60}",
        "[x]",
    ],
)
def test_what_is_no_command(tmp_path: Path, text: str) -> None:
    with pytest.raises(AppError, match="cannot be used"):
        loaded(tmp_path, f"    x-portkit: {{quiesce: {text}}}\n")


def test_it_belongs_to_a_service(tmp_path: Path) -> None:
    top = "  b:\n    image: x\nx-portkit: {quiesce: {before: sync}}\n"
    with pytest.raises(AppError, match="is a setting of a service"):
        loaded(tmp_path, top)
    alone = loaded(tmp_path, "x-portkit: {quiesce: {before: sync}}\n")
    assert alone.services[0].quiesce.before == (*SHELL, "sync")


def test_a_running_container_says_it_by_labels() -> None:
    one = running(
        health_path="/ready",
        health_port="8080",
        health_contains="fine",
        health_expect="Server: it/*",
        health_settle="1s",
        quiesce_before="sync",
        quiesce_after='["/go", "on"]',
    ).services[0]
    assert one.health == HealthProbe(
        path="/ready", port=8080, contains="fine", expect="Server: it/*", settle_s=1.0
    )
    assert one.quiesce == Quiesce((*SHELL, "sync"), ("/go", "on"))


def test_a_label_names_no_file_of_this_machine() -> None:
    app = running(health_ca_file="/etc/shadow", carry="/root", quiesce_befor="sync")
    assert app.services[0].health.ca_file is None
    assert app.reading.carry == ()
    told = [note.message for note in app.findings if note.rule == "compose-not-carried"]
    assert len(told) == 3
    assert any("x-portkit.quiesce.befor" in text for text in told)


def test_a_label_that_is_malformed_is_refused() -> None:
    with pytest.raises(AppError, match="cannot be used"):
        running(health_port="eighty")


def test_the_block_counts_before_a_label(tmp_path: Path) -> None:
    service = loaded(
        tmp_path,
        "    labels: {x-portkit.health.path: /a, x-portkit.health.contains: b}\n"
        "    x-portkit: {health: {path: /c}}\n",
    ).services[0]
    assert (service.health.path, service.health.contains) == ("/c", "b")


def test_what_portkit_starts_says_it_by_labels_too(tmp_path: Path) -> None:
    """So that it is known when it moves on; what is as usual has none."""
    plain = app_spec(spec())
    assert not [key for key in service_labels(plain, plain.front, "pk-1") if key.startswith("x-")]
    health = HealthProbe("https", "/ready", 8443, "fine", None, 90.0, Method.HOST, 5.0, 1.5)
    quiesce = Quiesce((*SHELL, "echo 'a' \"$b\""), ("/go", "on"), 7.0)
    told = app_spec(spec(health=health, quiesce=quiesce))
    given = service_labels(told, told.front, "pk-1")
    # As `portkit show` prints them, where `$` is doubled.
    again: Service = labelled(
        {key: text.replace("$", "$$") for key, text in given.items()}
    ).services[0]
    assert again.health == health
    assert again.quiesce == quiesce
    changed = replace(told.front, labels={"x-portkit.health.path": "/own"})
    assert service_labels(told, changed, "pk-1")["x-portkit.health.path"] == "/own"
