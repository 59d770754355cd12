"""Every case of fixtures/compose is read as compose reads it, but for the differences named here,
each of which docs/compose.md tells."""

import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from portkit import app as apps
from portkit.app import values
from portkit.errors import AppError
from portkit.model import (
    App,
    Build,
    GitUrl,
    Healthcheck,
    HealthProbe,
    Machine,
    Mount,
    Port,
    Service,
    Ulimit,
)
from tests.compose_cases import cases, recorded

ROOT = Path(__file__).parents[3]
ENVIRON = {"GIVEN": "given", "EMPTY": "", "HOME": "/home/me", "PORT": "8080"}
CASES = cases()
_, ANSWERS = recorded()

NUMBER = "a plain number would change here: put it in quotes"
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
    "tags other than `!reset`, `!override`": {"environment/tag-unknown": "a tag is not understood"},
    "a second document in the file": {"environment/two-documents": "a single document"},
    "a name of a variable that is empty or contains a control character": {
        "environment/name-newline": "a name is empty, or holds",
        "environment/name-empty": "a name is empty, or holds",
        "envfile/name-missing": "this is not KEY=VALUE",
    },
    "text after a closing quote in an env file": {
        "envfile/text-behind-a-quote": "text follows a closing quote",
        "envfile/word-behind-a-quote": "text follows a closing quote",
    },
    "a `name` that compose would change": {"variables/name-changed": "name is malformed"},
    "a `version` over 3": {"service/version-new": "does not know this version"},
    "port 0 and everything that is not a port": {
        "ports/host-zero": "not a port from 1 to 65535",
        "ports/long-published-word": "not a port from 1 to 65535",
        "ports/long-target-high": "not a port from 1 to 65535",
    },
    "two ports that cannot be published on one host": {
        "ports/taken": "port 80 is published twice",
        "ports/taken-on-all": "port 80 is published twice",
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
    "a mount over `/`, a folder of the system or an engine's socket": {
        "volumes/root": "cannot be mounted on /",
        "volumes/bind-socket": "/var/run/docker.sock is an engine's socket",
    },
    "volumes of the types `image`, `npipe` and `cluster`": {"volumes/long-image": "of type image"},
    "a build context that is neither a folder of this machine nor a git URL": {
        "service/build-archive": "ends in .git",
        "service/build-git-password": "a user or a password",
        "service/build-home": "/home/me/x is not a folder",
        "service/build-other-home": "/home/me/nosuchuser/x is not a folder",
    },
    "what the engine would refuse when it starts the container": {
        "service/capabilities-unknown": "'zork' is no capability",
        "service/cpus-negative": "not a number of processors",
        "service/grace-negative": "not a duration",
        "service/group-empty": "a group has no name",
        "service/healthcheck-retries-fraction": "not a whole number",
        "service/memory-minus-one": "from 6m on, or 0",
        "service/image-odd": "is not an image's name",
        "service/restart-unknown": "no restart policy",
        "service/stop-signal-unknown": "no signal of Linux",
        "service/ulimits-backwards": "higher than its hard one",
        "service/ulimits-unknown": "no limit of Linux",
    },
    "a file without a service, and one whose service is a `provider`": {
        "service/no-services": "there are no services",
        "service/provider": "starts something that is no container",
    },
}
REFUSED = {name: word for group in REFUSED_FOR.values() for name, word in group.items()}
# Compose refuses the file; portkit reads it.
ACCEPTED_FOR = {
    "a plain whole number where text is wanted": {
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
    "a group that is listed twice": {"service/groups-twice"},
    "a volume that the top level does not declare": {
        "volumes/undeclared",
        "volumes/undeclared-long",
    },
}
ACCEPTED = {name for group in ACCEPTED_FOR.values() for name in group}
# Both read it; these fields are other ones.
OTHERWISE_FOR: dict[str, dict[str, dict[str, Any]]] = {
    "A port of sctp is left out": {"ports/sctp": {"ports": (Port(81, 81),)}},
    "`USER:` means `USER`": {"service/user-open-group": {"user": "1000"}},
    "A volume with a name of one letter": {
        "volumes/letter": {"volumes": (Mount("volume", "/d", "v", read_only=True),)}
    },
    "A last line of an env file without a value": {
        "envfile/last-line-without-value": {"environment": {"GIVEN": "given"}}
    },
}
OTHERWISE = {name: row for group in OTHERWISE_FOR.values() for name, row in group.items()}


def plain(value: Any) -> Any:
    """An answer without what `config` escapes: it doubles every $ of a value."""
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.replace("$$", "$") if isinstance(value, str) else value


def words(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def seconds(value: str | None) -> float | None:
    return None if value is None else values.duration(value)


def build(row: dict[str, Any] | None) -> Build | None:
    if row is None:
        return None
    context = row.get("context", "/shop")
    return Build(
        GitUrl(context) if GitUrl.is_remote(context) else Path(context),
        row.get("dockerfile", "Dockerfile"),
        inline=row.get("dockerfile_inline"),
        args=row.get("args", {}),
        target=row.get("target"),
        network=row.get("network"),
    )


def port(row: dict[str, Any]) -> Port:
    published = row.get("published")
    address = row.get("host_ip", "")
    return Port(
        row["target"],
        None if published is None else int(published.partition("-")[0]),
        row.get("protocol", "tcp").lower(),
        "" if address == "0.0.0.0" else address,
    )


def mount(row: dict[str, Any]) -> Mount:
    told = row.get("tmpfs", {})
    return Mount(
        row["type"],
        row["target"],
        row.get("source", "") if row["type"] == "volume" else "",
        row.get("read_only", False),
        int(told["size"]) if "size" in told else None,
        told.get("mode"),
    )


def tmpfs(text: str) -> Mount:
    target, _, options = text.partition(":")
    target = os.path.normpath(target)  # the engine does, not compose
    told = dict(word.split("=") for word in options.split(",") if word)
    size, mode = told.get("size"), told.get("mode")
    return Mount(
        "tmpfs",
        target,
        tmpfs_bytes=None if size is None else values.size(size),
        tmpfs_mode=None if mode is None else int(mode, 8),
    )


def healthcheck(row: dict[str, Any] | None) -> Healthcheck | None:
    if row is None:
        return None
    if row.get("disable"):
        return Healthcheck(("NONE",))
    return Healthcheck(
        tuple(row.get("test", ())),
        *(seconds(row.get(key)) for key in ("interval", "timeout")),
        row.get("retries"),
        seconds(row.get("start_period")),
    )


def ulimit(row: int | dict[str, int]) -> Ulimit:
    return (
        Ulimit(row, row) if isinstance(row, int) else Ulimit(row.get("soft", 0), row.get("hard", 0))
    )


def service(row: dict[str, Any]) -> Service:
    """What portkit calls that what compose has written."""
    limits = row.get("deploy", {}).get("resources", {}).get("limits", {})
    memory = int(limits.get("memory", row.get("mem_limit", 0)))
    return Service(
        "a",
        image=row.get("image", None if "build" in row else "x"),
        build=build(row.get("build")),
        command=words(row.get("command")),
        entrypoint=words(row.get("entrypoint")),
        environment=row.get("environment", {}),
        user=row.get("user"),
        group_add=tuple(row.get("group_add", ())),
        working_dir=row.get("working_dir"),
        hostname=row.get("hostname"),
        ports=tuple(port(each) for each in row.get("ports", ())),
        volumes=(
            *(mount(each) for each in row.get("volumes", ())),
            *(tmpfs(each) for each in row.get("tmpfs", ())),
        ),
        healthcheck=healthcheck(row.get("healthcheck")),
        restart=row.get("restart", "no"),
        stop_signal=row.get("stop_signal"),
        stop_grace_period_s=values.duration(row.get("stop_grace_period", "10s")),
        ulimits={name: ulimit(each) for name, each in row.get("ulimits", {}).items()},
        cap_add=tuple(row.get("cap_add", ())),
        cap_drop=tuple(row.get("cap_drop", ())),
        privileged=row.get("privileged", False),
        read_only=row.get("read_only", False),
        init=row.get("init", False),
        cpus=limits.get("cpus", row.get("cpus")),
        mem_limit_bytes=memory if memory > 0 else None,
        labels=row.get("labels", {}),
    )


def load(folder: Path, files: dict[str, str]) -> App:
    shop = folder / "shop"
    shop.mkdir()
    for name, text in files.items():
        (shop / name).write_bytes(text.encode())
    return apps.load(shop, environ=ENVIRON)


def comparable(ours: Service, folder: Path) -> Service:
    """A reading with the folder that compose was asked in, without what is portkit's own and the
    sources of bind mounts, which it does not carry."""

    def at(path: str) -> str:
        return path.replace(str(folder), "")

    made = ours.build
    if made is not None and isinstance(made.context, Path):
        made = replace(made, context=Path(at(str(made.context))))
    volumes = tuple(
        replace(mount, source="") if mount.type == "bind" else mount for mount in ours.volumes
    )
    bare = replace(ours, name="a", build=made, volumes=volumes)
    return replace(bare, health=HealthProbe(), machine=Machine())


def differing(ours: Service, theirs: Service) -> dict[str, tuple[Any, Any]]:
    pairs = {
        field.name: (getattr(ours, field.name), getattr(theirs, field.name))
        for field in fields(Service)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("name", CASES)
def test_as_compose_reads_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    answer = plain(ANSWERS[name])
    if "refused" in answer and name not in ACCEPTED:
        with pytest.raises(AppError) as caught:
            load(tmp_path, CASES[name])
        assert re.search(r"(compose\.yaml|e|\.env)(:\d+)?: |name is malformed", str(caught.value))
        return
    if name in REFUSED:
        with pytest.raises(AppError) as caught:
            load(tmp_path, CASES[name])
        assert REFUSED[name] in str(caught.value)
        assert re.search(r":\d+: |name is malformed", str(caught.value))
        return
    app = load(tmp_path, CASES[name])
    if name in ACCEPTED:
        return
    assert app.name == answer.get("name", "shop")
    found = differing(comparable(app.service, tmp_path), service(answer))
    ours = {field: pair[0] for field, pair in found.items()}
    assert ours == OTHERWISE.get(name, {}), found


@pytest.mark.parametrize("sentence", [*REFUSED_FOR, *ACCEPTED_FOR, *OTHERWISE_FOR])
def test_the_documentation_tells_a_difference(sentence: str) -> None:
    assert sentence in " ".join((ROOT / "docs/compose.md").read_text().split())


def test_every_difference_is_one_of_a_case() -> None:
    assert {*REFUSED, *ACCEPTED, *OTHERWISE} <= set(CASES)
    assert set(CASES) == set(ANSWERS)
