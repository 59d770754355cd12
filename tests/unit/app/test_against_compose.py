"""Every case of fixtures/compose is read as compose reads it, but for the differences named here,
each of which docs/compose.md tells."""

import re
from pathlib import Path
from typing import Any

import pytest

from portkit import app as apps
from portkit.errors import AppError
from portkit.model import App, Mount, Port
from tests.compose_answers import comparable, differing, plain, service, sorted_mounts, whole
from tests.compose_cases import cases, recorded

ROOT = Path(__file__).parents[3]
ENVIRON = {"GIVEN": "given", "EMPTY": "", "HOME": "/home/me", "PORT": "8080"}
CASES = cases()
_, ANSWERS = recorded()

NUMBER = "an unquoted number would be changed here: put it in quotes"
# What portkit reads otherwise, by the sentence of docs/compose.md that tells it.
REFUSED_FOR = {
    "a plain number that compose would print differently than it is written": {
        **{
            f"environment/number-{kind}": f"environment.A: {NUMBER}"
            for kind in (
                "trailing-zero",
                "octal",
                "octal-new",
                "hex",
                "binary",
                "underscore",
                "plus",
                "exponent",
                "whole-float",
                "large-float",
                "small-float",
                "huge",
                "infinite",
                "nan",
                "short-float",
            )
        },
        "environment/labels-float": f"labels.A: {NUMBER}",
        "service/build-args-float": f"build.args.A: {NUMBER}",
    },
    "a size without a unit that is not a whole number": {
        "service/memory-fraction": "needs its unit",
    },
    "tags other than `!reset`, `!override`": {"environment/tag-unknown": "a tag is not supported"},
    "a second document in the file": {"environment/two-documents": "a single document"},
    "a variable name that is empty or contains a control character": {
        "environment/name-newline": "a name is empty, or holds",
        "environment/name-empty": "a name is empty, or holds",
        "envfile/name-missing": "this line is not KEY=VALUE",
    },
    "text after a closing quote in an env file": {
        "envfile/text-behind-a-quote": "there is text after a closing quote",
        "envfile/word-behind-a-quote": "there is text after a closing quote",
    },
    "a `name` that compose would change": {"variables/name-changed": "name is not valid"},
    "a `version` above 3": {"service/version-new": "does not support this version"},
    "port 0 and everything else that is not a port": {
        "ports/host-zero": "not a port from 1 to 65535",
        "ports/long-published-word": "not a port from 1 to 65535",
        "ports/long-target-high": "not a port from 1 to 65535",
    },
    "two ports that cannot be published on one host": {
        "ports/taken": "port 80 is published twice",
        "ports/taken-on-all": "port 80 is published twice",
        "projects/ports-of-two-services": "port 80 is published twice: by a and by b",
    },
    "a port's `mode` other than `host` and `ingress`": {
        "ports/long-mode-unknown": "host or ingress"
    },
    "a mount's target that is not absolute": {
        "volumes/long-relative-target": "is not an absolute path",
        "volumes/relative-dot": "is not an absolute path",
        "volumes/relative-target": "is not an absolute path",
        "volumes/relative-target-alone": "is not an absolute path",
        "volumes/tmpfs-empty": "is not an absolute path",
        "volumes/tmpfs-relative": "is not an absolute path",
    },
    "a mount over `/`, a system folder or an engine's socket": {
        "volumes/root": "cannot be mounted on /",
        "volumes/bind-socket": "/var/run/docker.sock is an engine's socket",
    },
    "a bind mount of a path that does not exist, if `create_host_path` is false": {
        "volumes/bind-long": "does not exist, and create_host_path is false",
    },
    "a config or secret whose file does not exist or which is external": {
        "projects/configs-missing-file": "nowhere does not exist",
        "projects/secrets-external": "secrets.one is external",
    },
    "volumes of the types `image`, `npipe` and `cluster`": {"volumes/long-image": "of type image"},
    "a build context that is neither a folder of this machine nor a git URL": {
        "service/build-archive": "ending in .git",
        "service/build-git-password": "a user or password",
        "service/build-home": "/home/me/x is not a folder",
        "service/build-other-home": "/home/me/nosuchuser/x is not a folder",
    },
    "whatever the engine would refuse when it starts the container": {
        "service/capabilities-unknown": "'zork' is not a capability",
        "service/cpus-negative": "not a number of processors",
        "service/grace-negative": "not a duration",
        "service/group-empty": "a group has no name",
        "service/healthcheck-retries-fraction": "not a whole number",
        "service/memory-minus-one": "use 6m or more, or 0",
        "service/image-odd": "is not an image's name",
        "service/restart-unknown": "not a restart policy",
        "service/stop-signal-unknown": "not a signal of Linux",
        "service/ulimits-backwards": "higher than its hard limit",
        "service/ulimits-unknown": "not a resource limit of Linux",
    },
    "a file without any service, and a service that is a `provider`": {
        "service/no-services": "it contains no services",
        "service/provider": "starts something that is not a container",
    },
}
REFUSED = {name: word for group in REFUSED_FOR.values() for name, word in group.items()}
# Compose refuses the file; portkit reads it.
ACCEPTED_FOR = {
    "a plain whole number where a string is expected": {
        "environment/list-of-numbers",
        "service/command-number",
        "service/command-list-number",
        "service/hostname-number",
        "service/image-number",
        "service/stop-signal-plain-number",
        "service/user-number",
        "service/version-number",
        "service/deploy-memory-number",
    },
    "a service that extends a service of an included file": {"projects/include-and-extends"},
    "a group that is listed twice": {"service/groups-twice"},
    "a volume that is not declared at the top level": {
        "volumes/undeclared",
        "volumes/undeclared-long",
    },
}
ACCEPTED = {name for group in ACCEPTED_FOR.values() for name in group}
# Both read it; these fields are other ones.
OTHERWISE_FOR: dict[str, dict[str, dict[str, Any]]] = {
    "An sctp port is left out": {"ports/sctp": {"ports": (Port(81, 81),)}},
    "`USER:` means `USER`": {"service/user-open-group": {"user": "1000"}},
    "A volume with a name of one letter": {
        "volumes/letter": {"volumes": (Mount("volume", "/d", "v", read_only=True),)}
    },
    "If the last line of an env file has no value": {
        "envfile/last-line-without-value": {"environment": {"GIVEN": "given"}}
    },
}
OTHERWISE = {name: row for group in OTHERWISE_FOR.values() for name, row in group.items()}


def load(folder: Path, files: dict[str, str]) -> App:
    shop = folder / "shop"
    shop.mkdir()
    for name, text in files.items():
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).write_bytes(text.encode())
    return apps.load(shop, environ=ENVIRON, **options(files.get("args", "")))


def options(text: str) -> dict[str, Any]:
    """The arguments of `load` that say the same as compose's command line."""
    found: dict[str, Any] = {"files": [], "profiles": []}
    words = iter(text.split())
    for word in words:
        match word:
            case "-f":
                found["files"].append(next(words))
            case "--profile":
                found["profiles"].append(next(words))
            case "-p":
                found["name"] = next(words)
    return found


@pytest.mark.parametrize("name", CASES)
def test_as_compose_reads_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    answer = plain(ANSWERS[name])
    if "refused" in answer and name not in ACCEPTED:
        with pytest.raises(AppError) as caught:
            load(tmp_path, CASES[name])
        said = str(caught.value)
        assert re.search(r"(\.yaml|e|\.env)(:\d+)?: |name is not valid", said)
        return
    if name in REFUSED:
        with pytest.raises(AppError) as caught:
            load(tmp_path, CASES[name])
        assert REFUSED[name] in str(caught.value)
        assert re.search(r":\d+: |name is not valid", str(caught.value))
        return
    app = load(tmp_path, CASES[name])
    if name in ACCEPTED:
        return
    if "args" in CASES[name]:
        assert whole(app, answer, tmp_path) == OTHERWISE.get(name, {})
        return
    if "network_mode" not in answer:
        answer.setdefault("networks", {"default": None})
    assert app.name == answer.get("name", "shop")
    found = differing(comparable(app.services[0], tmp_path), sorted_mounts(service(answer)))
    ours = {field: pair[0] for field, pair in found.items()}
    assert ours == OTHERWISE.get(name, {}), found


@pytest.mark.parametrize("sentence", [*REFUSED_FOR, *ACCEPTED_FOR, *OTHERWISE_FOR])
def test_the_documentation_tells_a_difference(sentence: str) -> None:
    assert sentence in " ".join((ROOT / "docs/compose.md").read_text().split())


def test_every_difference_is_one_of_a_case() -> None:
    assert {*REFUSED, *ACCEPTED, *OTHERWISE} <= set(CASES)
    assert set(CASES) == set(ANSWERS)
