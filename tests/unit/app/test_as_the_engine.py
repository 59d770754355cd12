"""What is empty or missing, a Service and its image merged: as Docker Engine 28.5 was seen to do,
with compose 2.40. The VM's configuration is made of the same RunSpec."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from portkit import app as apps
from portkit.errors import AppError
from portkit.guest.config import encode_config, signal_number
from portkit.model import Healthcheck, ImageConfig, RunSpec

HEAD = "services:\n  a:\n    image: x\n"
IMAGE = ImageConfig(
    "sha256:" + "0" * 64,
    "amd64",
    "linux",
    (),
    env=("PATH=/image/bin", "A=image", "B=image"),
    entrypoint=("/entry",),
    cmd=("cmd",),
    user="65532",
    working_dir="/work",
    stop_signal="SIGQUIT",
    healthcheck=Healthcheck(("CMD", "true"), 7.0, 3.0, 4, 2.0),
)


def resolved(folder: Path, *rows: str, image: ImageConfig = IMAGE, **environ: str) -> RunSpec:
    (folder / "compose.yaml").write_text(HEAD + "".join(f"    {row}\n" for row in rows))
    return apps.resolve(apps.load(folder, environ=environ), image)


@pytest.mark.parametrize(
    ("rows", "argv"),
    [
        ([], ("/entry", "cmd")),
        (["entrypoint:"], ("/entry", "cmd")),
        (["entrypoint: []"], ("cmd",)),
        (["entrypoint: ''"], ("cmd",)),
        (["entrypoint: []", "command: own x"], ("own", "x")),
        (["entrypoint: ['']", "command: [own]"], ("own",)),
        (["entrypoint: [e]"], ("e",)),
        (["entrypoint: e f", "command: []"], ("e", "f")),
        (["command:"], ("/entry", "cmd")),
        (["command: ''"], ("/entry", "cmd")),
        (["command: []"], ("/entry", "cmd")),
        (["command: ['']"], ("/entry", "")),
        (["command: own"], ("/entry", "own")),
    ],
)
def test_the_command(tmp_path: Path, rows: list[str], argv: tuple[str, ...]) -> None:
    assert resolved(tmp_path, *rows).argv == argv


def test_an_entrypoint_of_one_empty_word_drops_both(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="there is no command to run"):
        resolved(tmp_path, "entrypoint: ['']")


@pytest.mark.parametrize(
    "row",
    [
        "user: ''",
        "user: ${APP_USER:-}",
        "working_dir: ''",
        "stop_signal: ''",
        "hostname: ''",
        "restart: ''",
        "healthcheck: {}",
        "healthcheck: {test: []}",
        "healthcheck: {interval: 0s, retries: 0}",
        "mem_limit: 0",
        "cpus: 0",
        "labels: {}",
        "ports: []",
        "volumes: []",
        "environment: {}",
        "env_file: []",
    ],
)
def test_an_empty_value_is_as_none(tmp_path: Path, row: str) -> None:
    bare = resolved(tmp_path)
    assert (bare.user, bare.cwd, bare.stop_signal) == ("65532", "/work", "SIGQUIT")
    assert resolved(tmp_path, row) == bare
    assert encode_config(resolved(tmp_path, row)) == encode_config(bare)


def test_the_user_of_the_guest(tmp_path: Path) -> None:
    row = b"U\x05\0\0\0" + b"65532"
    assert row in encode_config(resolved(tmp_path, "user: '${APP_USER}'"))


@pytest.mark.parametrize(
    ("user", "wanted"),
    [("'1000:'", "1000"), ("0", "0"), ("'0'", "0"), ("':5'", "0:5"), ("a:b", "a:b")],
)
def test_users(tmp_path: Path, user: str, wanted: str) -> None:
    assert resolved(tmp_path, f"user: {user}").user == wanted
    image = replace(IMAGE, user=user.strip("'"))
    assert resolved(tmp_path, image=image).user == wanted


def test_a_healthcheck_is_merged_field_by_field(tmp_path: Path) -> None:
    check = IMAGE.healthcheck
    assert check is not None
    spec = resolved(tmp_path, "healthcheck: {interval: 5s, retries: 2}")
    assert spec.healthcheck == replace(check, interval_s=5.0, retries=2)
    spec = resolved(tmp_path, "healthcheck: {disable: true}")
    assert spec.healthcheck is not None
    assert spec.healthcheck.test == ("NONE",)


def test_a_variable_is_taken_away(tmp_path: Path) -> None:
    env = dict(resolved(tmp_path, "environment: [A, B=own, C]", C="c").env)
    assert env == {"PATH": "/image/bin", "HOSTNAME": env["HOSTNAME"], "B": "own", "C": "c"}


@pytest.mark.parametrize("name", ["HOSTNAME", "PATH"])
def test_a_variable_of_the_engine_is_taken_away(tmp_path: Path, name: str) -> None:
    assert name not in dict(resolved(tmp_path, f"environment: [{name}]").env)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("15", 15),
        ("SIGRTMIN", 34),
        ("RTMIN+30", 64),
        ("SIGRTMAX", 64),
        ("SIGRTMAX-2", 62),
        ("64", 64),
    ],
)
def test_signals(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0",
        "65",
        "٣",
        "SIGRTMIN+99999999999",
        "RTMIN+31",
        "RTMAX+1",
        "RTMIN-1",
        "RTMAX-64",
        "SIGBLOCK",
        "SIG_DFL",
        "9" * 5000,
        "RTMIN+" + "9" * 5000,
        "CTRL_C",
    ],
)
def test_no_signals(tmp_path: Path, name: str) -> None:
    with pytest.raises(AppError, match="signal"):
        signal_number(name)
    if name:
        with pytest.raises(AppError, match="signal"):
            resolved(tmp_path, image=replace(IMAGE, stop_signal=name))


@pytest.mark.parametrize("env", ["A=\ud800", "\udcff=x", "=x", "A=\0"])
def test_an_images_environment_that_no_process_can_get(tmp_path: Path, env: str) -> None:
    with pytest.raises(AppError, match="environment") as caught:
        resolved(tmp_path, image=replace(IMAGE, env=(env,)))
    str(caught.value).encode()


@pytest.mark.parametrize("row", ["environment: [BAD]", "environment: {A: $BAD}", "user: ${BAD}"])
def test_an_environment_that_is_not_utf8(tmp_path: Path, row: str) -> None:
    bad = os.fsdecode(b"hunter2\xff")
    with pytest.raises(AppError, match="not UTF-8") as caught:
        resolved(tmp_path, row, BAD=bad)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        "build: " + "x" * 300,
        "build: ~nosuchuser/x",
        "env_file: " + "x" * 300,
        "env_file: /proc/kmsg",
        "env_file: /proc/self/environ",
        "env_file: /sys/kernel/notes",
        "env_file: /dev/zero",
        "env_file: pipe",
        "env_file: link",
        "env_file: big",
        "env_file: .",
        "x-portkit: {health: {ca_file: " + "x" * 300 + "}}",
        "volumes: ['./" + "x" * 300 + ":/run/docker.sock']",
    ],
)
def test_paths_that_are_no_good(tmp_path: Path, row: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/proc/kmsg")
    (tmp_path / "big").write_bytes(b"A=" + b"x" * (1 << 20))
    with pytest.raises(AppError) as caught:
        resolved(tmp_path, row)
    assert "compose.yaml:4: " in str(caught.value)


@pytest.mark.parametrize("size", [0, 1])
def test_an_env_file_of_just_a_mebibyte(tmp_path: Path, size: int) -> None:
    (tmp_path / "e").write_bytes(b"A=" + b"x" * ((1 << 20) - 2 + size))
    if size:
        with pytest.raises(AppError, match="more than 1048576 bytes"):
            resolved(tmp_path, "env_file: e")
    else:
        assert len(dict(resolved(tmp_path, "env_file: e").env)["A"]) == (1 << 20) - 2


@pytest.mark.parametrize("row", ["mem_limit: -1", "mem_limit: 5m", "mem_limit: 1"])
def test_memory_that_the_engine_refuses(tmp_path: Path, row: str) -> None:
    with pytest.raises(AppError, match="6m"):
        resolved(tmp_path, row)


def test_findings_of_ports_and_commands(tmp_path: Path) -> None:
    rows = "    ports: [80, '81-82:83', '84:84/sctp']\n    command: a && b\n"
    (tmp_path / "compose.yaml").write_text(HEAD + rows)
    app = apps.load(tmp_path, environ={})
    assert {(found.rule, found.severity.value) for found in app.findings} == {
        ("port-chosen", "info"),
        ("compose-not-carried", "warning"),
        ("command-cut", "warning"),
    }


def test_a_folder_with_a_containerfile(tmp_path: Path) -> None:
    (tmp_path / "Containerfile").write_text("FROM x\n")
    build = apps.load(tmp_path, environ={}).services[0].build
    assert build is not None
    assert build.dockerfile == "Containerfile"


def test_a_url_as_context_shows_no_password(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="Clone the repository") as caught:
        resolved(tmp_path, "build: https://me:hunter2@example.org/x.git")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(AppError, match="a folder or a git repository") as caught:
        resolved(tmp_path, "build: s3://me:hunter2@example.org/x.git")
    assert "hunter2" not in str(caught.value)
