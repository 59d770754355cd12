"""Images of the host's Docker Engine: list, save, load and read back, tag, build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Dict, List, Optional
from urllib.parse import quote, urlencode

from portkit.remote import engine, engine_layers, leases, store
from portkit.remote.channel import Channel
from portkit.remote.layers import gather
from portkit.remote.mask import masker
from portkit.wire import codec, image_archive, labels
from portkit.wire.frames import DATA_LIMIT, RemoteError
from portkit.wire.json_types import JsonObject

_PROJECT, _SERVICE = labels.COMPOSE + "project", labels.COMPOSE + "service"
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,254}")


def _checked(reference: object) -> str:
    # It becomes a part of a URL's path: ".." would lead to another object of the engine.
    if (
        not isinstance(reference, str)
        or not _REFERENCE.fullmatch(reference)
        or ".." in reference
        or "//" in reference
    ):
        raise RemoteError("AppError", "an image reference is malformed", repr(reference)[:200])
    return reference


def inspect(reference: str) -> engine.Image:
    """What the engine says of an image; AppError when it has none of that name."""
    try:
        return engine.image(_checked(reference))
    except RemoteError as error:
        if ": 404 " not in error.details:
            raise
        raise RemoteError(
            "AppError",
            "the image is not on the source host",
            reference,
            "Pull or build it there; `docker images` shows what there is.",
        ) from error


def listing(args: JsonObject, channel: Channel) -> JsonObject:
    """Every image (or the one of `reference`): id, tags, diff_ids; the engine's store; and the
    layers that can be read without asking the engine for a whole image."""
    info = engine.get_object("/info")
    rows = [_row(inspect(args["reference"]))] if "reference" in args else every()
    listed = {digest for row in rows for digest in row["diff_ids"]}
    readable = sorted(listed & set(engine_layers.places(info)))
    containerd = engine.containerd_store(info)
    return {"images": rows, "containerd": containerd, "readable": readable}


def every() -> List[JsonObject]:
    """A row for each image of the engine."""
    return [_row(inspect(name)) for name in engine.images()]


def _row(image: engine.Image) -> JsonObject:
    return {
        "id": image.id,
        "tags": image.tags,
        "diff_ids": image.diff_ids,
        "size": image.size,
        "architecture": image.architecture,
    }


def save(args: JsonObject, channel: Channel) -> JsonObject:
    """Send `docker save` of an image, compressed."""
    packer = codec.Compressor(args["encoding"], args.get("level", 3))
    path = "/images/%s/get" % quote(_checked(args["reference"]), safe="/:@")
    size = 0
    with engine.request("GET", path) as response:
        while True:
            data = response.read(DATA_LIMIT)
            if not data:
                break
            size += len(data)
            channel.send(packer.feed(data))
    channel.send(packer.finish())
    return {"size": size}


def load(args: JsonObject, channel: Channel) -> JsonObject:
    """Load an image whose blobs are in the Store or in the engine, read it back, hold it.

    args: config digest, layers (diffIDs, bottom first), hold (the name to hold it by), move (whose
    it is, or ""), discard (blobs that came for this load alone: the engine has them afterwards;
    here the layers stay for what else this connection brings, and all stay that another Move
    needs).
    """
    config, layers, hold = args["config"], args["layers"], _checked(args["hold"])
    listed = listing({}, channel)
    known, containerd = listed["images"], listed["containerd"]
    # An overlay2 engine needs no file for layers whose chain it has.
    start = (
        0 if containerd else image_archive.shared_prefix(layers, [row["diff_ids"] for row in known])
    )
    files = gather(layers[start:])
    try:
        make = image_archive.oci_layout if containerd else image_archive.docker_archive
        stream, expected = make(store.path_of(config), layers, files, hold)
        # quiet: else its answer has progress for people in it as well.
        with engine.request("POST", "/images/load?quiet=1", body=stream) as response:
            said = response.read(1 << 20).decode("utf-8", "replace")
    finally:
        for source in files.values():
            source.close()
    # The status is 200 as soon as the stream begins; what went wrong later is a line in the answer.
    if '"error"' in said:
        raise RemoteError(
            "EngineError", "the engine did not load the image", said[-2000:], "See its words above."
        )
    _read_back(hold, expected, layers, said)
    with leases.locked():
        names = [store.path_of(digest).name for digest in args.get("discard", ())]
        free = ["sha256:" + name for name in leases.hand_over(str(args.get("move", "")), names)]
        store.retire(digest for digest in free if digest in layers)
        store.remove(digest for digest in free if digest not in layers)
    return {"id": expected}


def _read_back(hold: str, expected: str, layers: List[str], said: str) -> None:
    row = inspect(hold)
    # The engine checks each layer against the configuration while it loads. This makes sure that it
    # is this image which has the name.
    if row.id == expected and row.diff_ids == layers:
        return
    untag(hold)
    raise RemoteError(
        "VerifyError",
        "the engine loaded something else than what was sent",
        "has %s, should have %s\n%s" % (row.id, expected, said[-1000:]),
        "Try again; nothing was started.",
    )


def tag(args: JsonObject, channel: Channel) -> JsonObject:
    """Name an image where the name is free or already its own; never move a name."""
    reference, wanted = _checked(args["reference"]), _checked(args["tag"])
    target = inspect(reference).id
    try:
        current = inspect(wanted).id
    except RemoteError as error:
        if error.kind != "AppError":
            raise
        name, _, label = (
            wanted.rpartition(":") if ":" in wanted.split("/")[-1] else (wanted, "", "")
        )
        # The API has no way to set a name only where it is free: between the look above and this
        # call somebody else may take it. The window is one request.
        query = urlencode({"repo": name, "tag": label or "latest"})
        with engine.request("POST", "/images/%s/tag?%s" % (quote(target, safe=":"), query)):
            return {"tagged": True}
    return {"tagged": current == target}


def remove(args: JsonObject, channel: Channel) -> JsonObject:
    """Take a name away; the image goes with its last name, and stays while a container needs it.

    args: reference, move (whose name it is: what a Move at work holds, no other takes away),
    same_as (take it away only while it names the same image as this one).
    """
    return {"removed": untag(args["reference"], args.get("move"), args.get("same_as"))}


def untag(reference: object, move: Optional[str] = None, same_as: Optional[str] = None) -> bool:
    """`remove` with its arguments by name; whether the name was taken away."""
    name = _checked(reference)
    with leases.locked():
        for marker in leases.markers():
            if name in marker["hold"].split() and marker["id"] != move:
                return False
    if same_as and not _same(name, same_as):
        return False
    try:
        with engine.request("DELETE", "/images/%s" % quote(name, safe="/:@")):
            return True
    except RemoteError as error:
        if ": 404 " in error.details or ": 409 " in error.details:  # gone; in use
            return False
        raise


def _same(left: str, right: str) -> bool:
    """Whether two names are of one image; False when one of them is gone."""
    try:
        return inspect(left).id == inspect(right).id
    except RemoteError as error:
        if error.kind != "AppError":
            raise
        return False


def containers(args: JsonObject, channel: Channel) -> JsonObject:
    """Names of the running containers that are an App: by the labels of compose or of portkit,
    and, for an image's bare name, those that were made from it.

    args: reference (None: only what has labels counts), app, services (their names).
    """
    wanted = args["reference"]
    identity = None if wanted is None else inspect(wanted).id
    names = []
    for each in engine.get_rows("/containers/json"):
        given = engine.fields(each, "Labels")
        project = given.get(_PROJECT)
        mine = project == args["app"] and given.get(_SERVICE) in args["services"]
        mine = mine or given.get(labels.APP) == args["app"]
        if mine or (wanted and (each.get("ImageID") == identity or each.get("Image") == wanted)):
            names += [name.lstrip("/") for name in engine.texts(each, "Names")[:1]]
    return {"running": names}


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
            "this Dockerfile needs BuildKit, which the source host lacks",
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
    except FileNotFoundError as error:
        if error.filename != "docker":
            raise
        raise RemoteError(
            "EngineError",
            "the source host has no docker command to build with",
            str(error),
            "Install docker-cli (docker.io before Debian 13) there.",
        ) from error
    else:
        return {"id": identity.read_text().strip()}
    finally:
        context.unlink()


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
            "docker build is run there",
            "Install docker-cli on the source host.",
        ) from error
    major = version.stdout.split(b".")[0]
    return buildx.returncode == 0 or (not git and major.isdigit() and 19 <= int(major) < 23)


def _run_build(
    argv: "list[str]",
    env: Dict[str, str],
    context: Path,
    channel: Channel,
    masked: Callable[[str], str],
) -> None:
    tail: List[str] = []
    with tempfile.TemporaryDirectory(dir=str(store.temporary_folder())) as config:
        # What the host's user has in ~/.docker (proxies, credential helpers, another builder) is no
        # part of this build, unless DOCKER_CONFIG names it.
        env.setdefault("DOCKER_CONFIG", config)
        with (
            context.open("rb") as file,
            subprocess.Popen(
                argv, env=env, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                for raw in process.stdout or ():
                    line = masked(raw.decode("utf-8", "replace").rstrip())
                    if line:
                        # A build may print without end; what went wrong stands last.
                        tail = [*tail, line][-30:]
                        channel.tell(line)
            except BaseException:
                process.kill()
                raise
    if process.returncode != 0:
        if any("Cannot connect to the Docker daemon" in line for line in tail):
            engine.get_object("/info")  # says what is wrong with it: no fault of the Dockerfile
        if argv[-1] != "-":
            raise _not_from_git(argv[-1], tail)
        raise RemoteError(
            "EngineError",
            "the image could not be built",
            "\n".join(tail),
            "Fix the Dockerfile; its output is above.",
        )


def _not_from_git(url: str, tail: List[str]) -> RemoteError:
    """Why there is no image of a git repository."""
    # Docker 28.5 looks for git when it starts, and has no such source without it.
    if shutil.which("git") is None or any("unknown scheme git" in line for line in tail):
        return RemoteError(
            "EngineError",
            "the source host's engine has no git to fetch the build context with",
            "\n".join(tail),
            "Install git there and restart the Docker Engine; or clone the repository here and name"
            " its folder.",
        )
    advice = (
        "See the output above. The source host has to reach the repository without a password, and"
        " Docker 20.10 takes the branch master unless the URL names another: #BRANCH."
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
