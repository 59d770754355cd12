"""A build on a host whose docker is a script: what it is told, and how."""

import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from portkit.errors import AppError, EngineError
from portkit.host import Host
from portkit.host.calls import Remote
from portkit.model import Build, GitUrl
from portkit.package import build as build_room
from portkit.package.build import _INLINE, _names, _write, build
from portkit.progress import NullObserver
from tests import remote_half

# Writes its arguments and environment down; the image's id goes where --iidfile says.
DOCKER = """\
#!{python} -IS
import json, os, sys
with open({log!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
if sys.argv[1:3] == ["buildx", "version"]:
    sys.exit(int(os.environ.get("NO_BUILDX", "0")))
if sys.argv[1:2] == ["version"]:
    print("20.10.24")
if "build" in sys.argv:
    with open({log!r} + ".stdin", "wb") as file:
        file.write(sys.stdin.buffer.read())
    if os.environ.get("FAIL"):
        print("step 1 failed:", os.environ.get("FAIL"))
        sys.exit(1)
    with open(sys.argv[sys.argv.index("--iidfile") + 1], "w") as file:
        file.write("sha256:" + "a" * 64)
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


@pytest.fixture
def calls(tmp_path: Path) -> Any:
    """Builds with a fake docker; every [argv, environment] that it was started with."""
    log = tmp_path / "calls"
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text(DOCKER.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)

    def run(what: Build, **more: str) -> list[tuple[list[str], dict[str, str]]]:
        env = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PORTKIT_REMOTE_STORE": str(tmp_path / "store"),
            "DOCKER_HOST": "tcp://192.0.2.1:2375",
            **more,
        }
        with remote_half.started(env) as child:
            build(Host("local", None, Remote(lambda: child, NullObserver(), str)), what)
        return [json.loads(row) for row in log.read_text().splitlines()]

    return run


def test_values_of_arguments_are_no_words_of_the_command(context: Path, calls: Any) -> None:
    """hostile input 59: the process list shows the names of build arguments alone."""
    rows = calls(Build(context, args={"TOKEN": "hunter2"}))
    argv, env = rows[-1]
    assert env["TOKEN"] == "hunter2"
    assert argv[argv.index("--build-arg") + 1] == "TOKEN"
    assert not any("hunter2" in word for row in rows for word in row[0])


def test_docker_is_bound_to_the_hosts_own_socket(context: Path, calls: Any) -> None:
    """hostile input 30: whatever the environment or a context says."""
    for _, env in calls(Build(context)):
        assert env["DOCKER_HOST"].startswith("unix://")


# hostile input 25
@pytest.mark.parametrize(
    "hostile", ["-rf", "--push", "a b; touch /x", "$(id)", "--output=type=local"]
)
def test_every_word_stays_one(context: Path, calls: Any, hostile: str) -> None:
    (context / hostile.replace("/", "_")).write_text("FROM scratch\n")
    what = Build(context, hostile.replace("/", "_"), target=hostile, network=hostile)
    argv, _ = calls(what)[-1]
    for option in ("--target", "--network"):
        assert argv[argv.index(option) + 1] == hostile
    assert argv[argv.index("--file") + 1] == what.dockerfile
    assert argv[0] == "build"
    assert argv[-1] == "-"


# hostile input 25: a build argument is a variable of the client's environment, too
@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "LD_PRELOAD",
        "DOCKER_HOST",
        "DOCKER_CONFIG",
        "BUILDX_BUILDER",
        "HOME",
        "",
        "a b",
        "-x",
        "A=B",
        "A\0",
        "n" * 200,
    ],
)
def test_arguments_that_would_steer_the_client(context: Path, calls: Any, name: str) -> None:
    with pytest.raises(AppError, match="build argument"):
        calls(Build(context, args={name: "/tmp/evil"}))


@pytest.mark.parametrize("name", ["GO_VERSION", "DOCKER_VERSION", "http_proxy", "BUILDKIT_SYNTAX"])
def test_usual_arguments(context: Path, calls: Any, name: str) -> None:
    assert calls(Build(context, args={name: "1"}))[-1][1][name] == "1"


def test_a_failed_build_tells_no_value(context: Path, calls: Any) -> None:  # hostile input 59
    with pytest.raises(EngineError, match="could not be built") as caught:
        calls(Build(context, args={"TOKEN": "hunter2"}), FAIL="hunter2")
    assert "step 1 failed" in caught.value.details
    assert "hunter2" not in str(caught.value)


REPOSITORY = GitUrl("https://example.org/a.git#main:sub")


def test_a_git_repository_is_named_to_the_engine(calls: Any, tmp_path: Path) -> None:
    argv, env = calls(Build(REPOSITORY, "other/D"))[-1]
    assert argv[-1] == REPOSITORY.text
    assert argv[argv.index("--file") + 1] == "other/D"
    assert (env["DOCKER_BUILDKIT"], env["GIT_TERMINAL_PROMPT"]) == ("1", "0")
    assert (tmp_path / "calls.stdin").read_bytes() == b""


def test_a_dockerfile_for_a_git_repository(calls: Any, tmp_path: Path) -> None:
    argv, _ = calls(Build(REPOSITORY, inline="FROM x\n"))[-1]
    assert argv[argv.index("--file") + 1] == "-"
    assert (tmp_path / "calls.stdin").read_bytes() == b"FROM x\n"


def test_which_builder_fetches_a_git_repository(context: Path, calls: Any) -> None:
    """BuildKit inside docker 20.10 knows no folder of one; an agent is what BuildKit wants."""
    ssh = Build(GitUrl("git@example.org:a.git"))

    def buildkit(what: Build, **env: str) -> str:
        return str(calls(what, **env)[-1][1]["DOCKER_BUILDKIT"])

    assert buildkit(Build(REPOSITORY), NO_BUILDX="1") == "0"
    assert buildkit(Build(context), NO_BUILDX="1") == "1"
    assert buildkit(ssh) == "0"
    assert buildkit(ssh, SSH_AUTH_SOCK="/run/agent") == "1"


# buildx would read these from the host
@pytest.mark.parametrize("name", ["/etc/shadow", "-", "../x", "a/../../x", "-x"])
def test_a_dockerfile_outside_of_the_repository(calls: Any, name: str) -> None:
    with pytest.raises(AppError, match="not in the repository"):
        calls(Build(REPOSITORY, name))


# hostile input 25
@pytest.mark.parametrize("name", ["GIT_SSH_COMMAND", "GIT_TRACE", "SSH_ASKPASS", "PATH"])
def test_arguments_that_would_steer_git(context: Path, calls: Any, name: str) -> None:
    with pytest.raises(AppError, match="build argument"):
        calls(Build(REPOSITORY, args={name: "/tmp/evil"}))
    if name != "PATH":
        assert calls(Build(context, args={name: "1"}))[-1][1][name] == "1"


@pytest.mark.parametrize(
    ("url", "said", "word"),
    [
        ("https://example.org/a.git", "unknown scheme git", "Install git there and restart"),
        ("https://example.org/a.git", "no remote ref master", "#BRANCH"),
        ("ssh://git@example.org/a.git", "set SSH_AUTH_SOCK", "git@HOST:PATH"),
    ],
)
def test_why_a_git_repository_was_not_built(
    calls: Any, tmp_path: Path, url: str, said: str, word: str
) -> None:
    (tmp_path / "bin/git").write_text("")
    (tmp_path / "bin/git").chmod(0o755)
    with pytest.raises(EngineError) as caught:
        calls(Build(GitUrl(url)), FAIL=said)
    assert said in caught.value.details
    assert word in (caught.value.resolution or "")


def test_a_host_without_git(calls: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has no git"):
        calls(Build(REPOSITORY), FAIL="x", PATH=str(tmp_path / "bin"))


def test_a_dockerfile_in_the_compose_file(context: Path, calls: Any, tmp_path: Path) -> None:
    """It is the first member of the context, and no file of the folder stands in for it."""
    (context / ".portkit.Dockerfile").write_text("FROM other\n")
    argv, _ = calls(Build(context, inline="FROM scratch\nRUN x\n"))[-1]
    assert argv[argv.index("--file") + 1] == ".portkit.Dockerfile"
    out = tmp_path / "context.tar"
    with out.open("wb") as file:
        _write(file, context, _names(context, _INLINE), _INLINE, "FROM scratch\n")
    with tarfile.open(out) as found:
        members = found.getmembers()
        first = found.extractfile(members[0])
        assert first is not None
        assert first.read() == b"FROM scratch\n"
    assert [member.name for member in members].count(_INLINE) == 1


@pytest.mark.parametrize("text", [b"[z-a]\n", b"\xff\xfe\n", b"a[\n!b\n"])
def test_a_malformed_dockerignore(context: Path, calls: Any, text: bytes) -> None:
    (context / ".dockerignore").write_bytes(text)
    try:
        calls(Build(context))
    except AppError as error:
        assert ".dockerignore" in error.details


def test_a_long_dockerfile_is_searched_in_linear_time(context: Path, calls: Any) -> None:
    """That it ends is what this shows: a search that tries every blank line anew takes hours."""
    (context / "Dockerfile").write_text("\n" * 1_000_000)
    calls(Build(context))


@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile"])
@pytest.mark.parametrize("kind", ["kernel", "fifo", "big"])
def test_only_regular_files_of_a_usual_size(
    context: Path, calls: Any, name: str, kind: str
) -> None:
    (context / name).unlink(missing_ok=True)
    if kind == "kernel":  # such as /proc/kmsg, which blocks for ever
        (context / name).symlink_to("/proc/self/mounts")
    elif kind == "fifo":
        os.mkfifo(context / name)
    else:
        with (context / name).open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises(AppError, match="cannot be read"):
        calls(Build(context))


@pytest.mark.parametrize("name", ["x" * 300, "nope", "a\0b"])
def test_a_dockerfile_that_cannot_be_read(context: Path, calls: Any, name: str) -> None:
    with pytest.raises(AppError, match="Dockerfile cannot be read"):
        calls(Build(context, name))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_that_became_a_link_is_not_followed(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list of the context and the reading of a file somebody swaps it."""
    context = tmp_path / "context"
    (context / "sub").mkdir(parents=True)
    (context / "sub/file").write_text("mine")
    (tmp_path / "file").write_text("hunter2")
    real = tarfile.TarFile.gettarinfo

    def swap(self: Any, name: str, *more: Any) -> Any:
        info = real(self, name, *more)
        if name.endswith("sub/file") and what == "file":
            (context / "sub/file").unlink()
            (context / "sub/file").symlink_to(tmp_path / "file")
        elif name.endswith("sub/file"):
            (context / "sub").rename(tmp_path / "away")
            (context / "sub").symlink_to(tmp_path)
        return info

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", swap)
    with io.BytesIO() as out, pytest.raises(AppError, match="changed while it was read"):
        build_room._write(out, context, ["sub", "sub/file"], "Dockerfile", None)


def test_a_file_that_became_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    real = build_room._opened

    def opened(context: Path, name: str) -> Any:
        file = real(context, name)
        file.read(5_000)  # as if so much had been cut off
        return file

    monkeypatch.setattr(build_room, "_opened", opened)
    with io.BytesIO() as out, pytest.raises(AppError, match="changed while it was read"):
        build_room._write(out, tmp_path, ["file"], "Dockerfile", None)
