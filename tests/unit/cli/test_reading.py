"""The options that say how an App is read, on every verb that reads one."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from portkit_cli.main import main

from portkit import app as apps
from portkit.errors import AppError

CHOICES = ["-f", "a.yaml", "--file", "b.yaml", "--profile", "p", "--profile", "q", "-p", "mine"]
CHOICES += ["--carry", "data", "--health", "scheme=tcp", "--health", "expect=a=b"]
CHOICES += ["--same-path", "/run/x.sock"]
VERBS = [["move", "--to", "web2"], ["check", "--on", "web2"], ["pack"], ["measure", "--on", "web2"]]
# `portkit check --profile` names a kind of host; every verb knows the longer name.
LONGER = [word.replace("--profile", "--compose-profile") for word in CHOICES]


def portkit(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_they_reach_the_reader(verb: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    def load(source: str, **choices: Any) -> None:
        seen.append((source, choices))
        raise AppError("enough")

    monkeypatch.setattr(apps, "load", load)
    assert portkit(*verb, "./shop", *LONGER).exit_code == AppError.exit_code
    assert portkit(*verb, "./shop").exit_code == AppError.exit_code
    choices = {"files": ("a.yaml", "b.yaml"), "profiles": ("p", "q"), "name": "mine"}
    choices |= {"carry": ("data",), "health": {"scheme": "tcp", "expect": "a=b"}}
    choices |= {"same_paths": ("/run/x.sock",)}
    none = {"files": (), "profiles": (), "name": "", "carry": (), "health": {}}
    none |= {"same_paths": ()}
    assert seen == [("./shop", choices), ("./shop", none)]
    if verb[0] != "check":
        assert portkit(*verb, "./shop", *CHOICES).exit_code == AppError.exit_code
        assert seen[2] == seen[0]


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", "/a/"])
def test_a_path_of_whatever_host_is_absolute(path: str) -> None:
    assert "is not an absolute path" in portkit("pack", ".", "--same-path", path).output


def test_files_and_a_name_are_for_one_app() -> None:
    for option in (["-f", "a.yaml"], ["-p", "mine"], ["--health", "scheme=tcp"]):
        done = portkit("move", "./shop", "./blog", "--to", "web2", *option)
        assert done.exit_code == 2
        assert "with a single APP" in done.stderr


def test_a_bundle_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portkit_cli.sources.is_bundle", lambda _: True)
    done = portkit("move", str(tmp_path / "shop.portkit"), "--to", "web2", "--profile", "p")
    assert done.exit_code == 2
    assert "do not apply to a bundle" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(["tcp"], "is not KEY=VALUE"), (["path=/a", "path=/b"], "two different values for path")],
)
def test_a_health_check_is_said_by_keys(words: list[str], said: str) -> None:
    options = [each for word in words for each in ("--health", word)]
    done = portkit("move", "./shop", "--to", "web2", *options)
    assert done.exit_code == 2
    assert said in done.stderr
