"""A document from elsewhere: it reads, looks for and names no file of this machine."""

import re
from pathlib import Path

import pytest

from portkit.app import compose
from portkit.errors import AppError

HEAD = "services:\n  a:\n    image: x\n"


@pytest.mark.parametrize(
    "text",
    [
        "    env_file: {file}\n",
        "    env_file: [../../..{file}]\n",
        "    env_file: [{{path: {file}, format: raw}}]\n",
        "    env_file: [{{path: {file}, required: false}}]\n",
        "    env_file: /nowhere\n",
        "    build: {folder}\n",
        "    build: {{context: /nowhere}}\n",
        "    build: https://example.org/x.git\n",
        "    volumes: ['{folder}:/d']\n",
        "    volumes: ['~/x:/d']\n",
        "    volumes: [{{type: bind, source: ./x, target: /d}}]\n",
        "    extends: {{file: {file}, service: a}}\n",
        "    label_file: {file}\n",
        "include: [{file}]\n",
        "x-portkit: {{carry: [{file}]}}\n",
        "    volumes: ['/etc/localtime:/etc/localtime']\n",
        "    secrets: [s]\nsecrets: {{s: {{file: {file}}}}}\n",
        "    x-portkit: {{health: {{ca_file: {file}}}}}\n",
        "    x-portkit: {{health: {{ca_file: ./ca.pem}}}}\n",
    ],
)
def test_a_sealed_document_names_no_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "secret"
    file.write_text("A=hunter2\n")
    document = HEAD + text.format(file=file, folder=tmp_path)
    with pytest.raises(AppError) as caught:
        compose.read(document.encode(), "shop.portkit", ["ca.pem"])
    assert re.search("shop.portkit:[45]", caught.value.details)
    assert "outside of the compose file" in caught.value.details
    assert "hunter2" not in str(caught.value)


def test_a_sealed_document_sees_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SECRET=hunter2\n")
    (tmp_path / "compose.override.yaml").write_text("{}")
    text = HEAD + "    environment: [SECRET]\n    command: 'x $SECRET'\n"
    service = compose.read(text.encode(), "compose.yaml").services[0]
    assert (service.environment, service.command) == ({"SECRET": None}, ("x",))


def test_a_ca_file_that_came_with_the_document(tmp_path: Path) -> None:
    text = HEAD + "    x-portkit: {health: {scheme: https, ca_file: ca.pem}}\n"
    assert compose.read(text.encode(), "b", ["ca.pem"]).services[0].health.ca_file == Path("ca.pem")
