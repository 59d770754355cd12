"""What the host's own docker command does: builds images, and pulls them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO, Callable, Dict, List, Optional, Tuple

from portkit.remote import engine, store
from portkit.remote.channel import Channel
from portkit.remote.images import checked, inspect
from portkit.remote.mask import masker
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject


def build(args: JsonObject, channel: Channel) -> JsonObject:
    """Build with BuildKit where this host has it.

    args: context ("-": it comes as a tar; else the URL of a git repository, and what comes is the
    Dockerfile if `dockerfile` is "-"), dockerfile, args, target, network, needs_buildkit.
    """
    folder = store.temporary_folder()
    context = store.temporary()
    with context.open("wb") as file:
        for chunk in store.decoded(channel, args["encoding"], args["size"]):
            file.write(chunk)
    identity = folder / "iid"
    # One connection may build several Apps: the id of the one before must not be taken for this
    # one.
    if identity.exists():
        identity.unlink()
    buildkit = _buildkit(args["context"], args["needs_buildkit"])
    if args["needs_buildkit"] and not buildkit:
        raise RemoteError(
            "EngineError",
            "this Dockerfile needs BuildKit, which the source host does not have",
            args["needs_buildkit"],
            "Install docker-buildx on the source host.",
        )
    argv = ["docker", "build", "--iidfile", str(identity), "--file", args["dockerfile"]]
    if buildkit:
        argv += ["--progress", "plain"]
    for option in ("network", "target"):
        if args.get(option):
            argv += ["--%s" % option, args[option]]
    # By name only: values would be seen in the process list. Ours come last and stay.
    env = dict(os.environ, **args["args"])
    for name in args["args"]:
        argv += ["--build-arg", name]
    env.update(_client(), DOCKER_BUILDKIT="1" if buildkit else "0")
    env["BUILDX_NO_DEFAULT_ATTESTATIONS"] = "1"  # else the containerd store makes an index of two
    env["GIT_TERMINAL_PROMPT"] = "0"  # nobody is there to answer
    try:
        _run_build([*argv, args["context"]], env, context, channel, masker(args["args"]))
        return {"id": identity.read_text().strip()}
    finally:
        context.unlink()


def pull(args: JsonObject, channel: Channel) -> JsonObject:
    """Pull an image from its registry, as the user whose ~/.docker is on this host may.

    args: reference, platform ("" is this host's), always (also where the engine has one of that
    name).
    """
    reference = checked(args["reference"])
    if not args["always"] and _has(reference, args["platform"]):
        return {}
    argv = ["docker", "pull"]
    if args["platform"]:
        argv += ["--platform", args["platform"]]
    code, tail = _run([*argv, reference], dict(os.environ, **_client()), None, channel, str)
    if code != 0:
        raise RemoteError(
            "EngineError",
            "the source host could not pull the image",
            "%s: %s" % (reference, "\n".join(tail)),
            "Read the engine's message above. If the registry asks for a password, run `docker "
            "login` on that host first.",
        )
    return {}


def _has(reference: str, platform: str) -> bool:
    """Whether the engine has it, for that OS/ARCHITECTURE[/VARIANT]; "" is any."""
    try:
        found = inspect(reference)
    except RemoteError as error:
        if error.kind != "AppError":
            raise
        return False
    return not platform or found.architecture in platform.split("/")


def _client() -> Dict[str, str]:
    """What binds the docker command to this host's engine, whatever its user's contexts say."""
    return {"DOCKER_HOST": "unix://" + engine.SOCKET}


def _buildkit(context: str, needed: str) -> bool:
    """buildx, or a docker.io 20.10, whose client drives BuildKit by itself.

    That one knows neither a folder of a git repository nor a Dockerfile beside it: the old builder
    does. Over ssh, BuildKit wants an agent, and the old builder uses the keys of this user.
    """
    git = context != "-"
    agent = "SSH_AUTH_SOCK" in os.environ
    if context.startswith("git@") and not agent and not needed:
        return False
    env = dict(os.environ, **_client())
    asked = ["docker", "version", "-f", "{{.Client.Version}}"]
    try:
        buildx = subprocess.run(
            ["docker", "buildx", "version"], capture_output=True, timeout=60, env=env
        )
        version = subprocess.run(asked, capture_output=True, timeout=60, env=env)
    except FileNotFoundError as error:
        raise RemoteError(
            "EngineError",
            "the docker command is not on the source host",
            "portkit runs docker build there",
            "Install docker-cli on the source host. Or build the image there by hand (podman "
            "build) and name it as the image.",
        ) from error
    major = version.stdout.split(b".")[0]
    return buildx.returncode == 0 or (not git and major.isdigit() and 19 <= int(major) < 23)


def _run_build(
    argv: List[str],
    env: Dict[str, str],
    context: Path,
    channel: Channel,
    masked: Callable[[str], str],
) -> None:
    with tempfile.TemporaryDirectory(dir=str(store.temporary_folder())) as config:
        # What the host's user has in ~/.docker (proxies, credential helpers, another builder) is no
        # part of this build, unless DOCKER_CONFIG names it.
        env.setdefault("DOCKER_CONFIG", config)
        with context.open("rb") as file:
            code, tail = _run(argv, env, file, channel, masked)
    if code != 0 and argv[-1] != "-":
        raise _not_from_git(argv[-1], tail)
    if code != 0:
        raise RemoteError(
            "EngineError",
            "the image could not be built",
            "\n".join(tail),
            "Fix the Dockerfile; its output is above.",
        )


def _run(
    argv: List[str],
    env: Dict[str, str],
    given: Optional[BinaryIO],
    channel: Channel,
    masked: Callable[[str], str],
) -> Tuple[int, List[str]]:
    """Run the docker command and tell what it prints; its exit code and its last lines.

    given: what it reads. EngineError when there is no such command or the engine does not answer.
    """
    tail: List[str] = []
    try:
        with subprocess.Popen(
            argv,
            env=env,
            stdin=given or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                for raw in process.stdout or ():
                    line = masked(raw.decode("utf-8", "replace").rstrip())
                    if line:
                        # It may print without end; what went wrong stands last.
                        tail = [*tail, line][-30:]
                        channel.tell(line)
            except BaseException:
                process.kill()
                raise
    except FileNotFoundError as error:
        raise RemoteError(
            "EngineError",
            "the source host has no docker command",
            str(error),
            "Install docker-cli there (docker.io before Debian 13). Or pull the image by hand "
            "(podman pull).",
        ) from error
    if process.returncode != 0 and any("Cannot connect to the Docker" in line for line in tail):
        engine.get_object("/info")  # says what is wrong with it: no fault of the image
    return process.returncode, tail


def _not_from_git(url: str, tail: List[str]) -> RemoteError:
    """Why there is no image of a git repository."""
    # Docker 28.5 looks for git when it starts, and has no such source without it.
    if shutil.which("git") is None or any("unknown scheme git" in line for line in tail):
        return RemoteError(
            "EngineError",
            "the source host's engine has no git to fetch the build context with",
            "\n".join(tail),
            "Install git there and restart the Docker Engine. Or clone the repository here and "
            "name its folder.",
        )
    advice = (
        "Read the output above. The source host must reach the repository without a password, "
        "and Docker 20.10 uses the branch master unless the URL names another one: #BRANCH."
    )
    if url.startswith("ssh://"):
        advice = (
            "Write git@HOST:PATH, which is fetched with the ssh keys of portkit's user there: ssh://"
            " needs buildx and an ssh agent on the source host."
        )
    return RemoteError(
        "EngineError",
        "the image could not be built from the git repository",
        "\n".join(tail),
        advice,
    )
