"""--health: what the user says of how an App is asked."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from portkit import app as apps
from portkit.app import compose
from portkit.errors import AppError
from portkit.model import App, HealthProbe, Method

LABELS = {"x-portkit.health.path": "/own", "x-portkit.health.contains": "fine", "mine": "1"}


def labelled() -> App:
    """As a container that runs is read."""
    row = {"image": "x", "labels": LABELS}
    document = {"name": "one", "services": {"one": row}}
    return compose.read(json.dumps(document).encode(), "container:one")


def two(folder: Path) -> Path:
    (folder / "compose.yaml").write_text(
        "services: {web: {image: x, ports: ['80:80']}, db: {image: y}}\n"
    )
    return folder


def test_every_key_means_what_it_means_in_a_file(tmp_path: Path) -> None:
    """The twins: the same words in a compose file, and from the user."""
    (tmp_path / "ca.pem").write_text("")
    said = {
        "scheme": "https",
        "path": "/ready",
        "port": "8443",
        "contains": "fine",
        "expect": "Server: it/*",
        "ca_file": str(tmp_path / "ca.pem"),
        "timeout": "90s",
        "method": "published",
        "running": "5s",
        "settle": "1s",
    }
    assert set(said) == {key.removesuffix("_s") for key in asdict(HealthProbe())}
    (tmp_path / "compose.yaml").write_text(
        json.dumps({"services": {"a": {"image": "x", "x-portkit": {"health": said}}}})
    )
    of_file = apps.load(tmp_path).front_service.health
    assert apps.load("x:1", health=said).front_service.health == of_file
    assert of_file.port == 8443


def test_it_counts_before_what_the_app_says() -> None:
    app = labelled()
    asked = apps.with_health(app, {"path": "/ready", "method": "healthcheck"})
    probe = asked.front_service.health
    assert (probe.path, probe.contains, probe.method) == ("/ready", "fine", Method.HEALTHCHECK)
    assert asked.reading.health == {"path": "/ready", "method": "healthcheck"}
    # Where it is read from its container next, a label that stayed would count.
    kept = {key: text for key, text in LABELS.items() if key != "x-portkit.health.path"}
    assert asked.front_service.labels == kept
    assert apps.with_health(app, {}) is app


def test_it_is_about_the_service_that_answers(tmp_path: Path) -> None:
    app = apps.load(two(tmp_path), health={"scheme": "tcp"})
    assert {each.name: each.health.scheme for each in app.services} == {"web": "tcp", "db": "http"}
    app = apps.load(tmp_path, health={"scheme": "tcp", "service": "db"})
    assert {each.name: each.health.scheme for each in app.services} == {"web": "http", "db": "tcp"}
    assert app.front_service.name == "db"
    assert apps.load(tmp_path, **asdict(app.reading)) == app, "when it is read again"


def test_a_file_is_found_again_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ca.pem").write_text("")
    app = apps.load("x:1", health={"ca_file": "ca.pem"})
    monkeypatch.chdir("/")
    assert apps.load("x:1", **asdict(app.reading)) == app
    assert app.front_service.health.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("scheme", "ftp", "scheme: scheme must be http, https or tcp"),
        ("path", "ready", "path: path must begin with /"),
        ("port", "eighty", "port: "),
        ("timeout", "soon", "timeout: "),
        ("method", "guess", "method: "),
        ("service", "db", "service: the App has no service 'db'"),
        ("ca_file", "/nowhere/ca.pem", "does not exist"),
        ("shceme", "tcp", "x-portkit has no key 'shceme'"),
    ],
)
def test_what_does_not_fit_is_refused(key: str, text: str, why: str) -> None:
    with pytest.raises(AppError, match="--health") as caught:
        apps.load("x:1", health={key: text})
    assert why in caught.value.details
    assert "docs/compose.md" in caught.value.resolution
