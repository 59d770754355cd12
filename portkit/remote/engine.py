"""Docker's HTTP API on its unix socket, as far as bulk data needs it."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator, List, Optional
from urllib.parse import quote, urlencode

from portkit.wire import labels, strict_json
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:
    import http.client

# Where engines listen for Docker's clients: Docker's, and that of podman.socket (Podman,
# podman-system-service(1)). The first that is there is the host's engine.
DOCKER_SOCKET, PODMAN_SOCKET = "/var/run/docker.sock", "/run/podman/podman.sock"
SOCKETS = (DOCKER_SOCKET, PODMAN_SOCKET)


def found() -> str:
    """The socket of the host's engine; Docker's where there is none."""
    there = [path for path in SOCKETS if os.path.exists(path)]
    return os.environ.get("PORTKIT_DOCKER_SOCKET") or (there or [DOCKER_SOCKET])[0]


# One for as long as the connection lives, whatever starts meanwhile.
SOCKET = found()
_JSON_LIMIT = strict_json.LIMIT
_TEXT_LIMIT = 65536
_WORDS = 8192  # bytes, of what it says when it refuses something
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Seconds for a small question, as the engine of a host under load needs them.
_GET_S = 120.0


@contextmanager
def request(
    method: str,
    path: str,
    body: Optional[Iterable[bytes]] = None,
    timeout: float = 600.0,
    total: float = 0.0,
) -> Iterator[http.client.HTTPResponse]:
    """One request; an answer of 400 or more is an EngineError with the engine's own words.

    timeout: seconds without a byte. total: seconds for all of it; 0 for no limit.
    """
    # A tenth of the time that the remote half needs to start, and not every call asks the engine.
    import http.client

    # The name only goes into the Host header, which the engine does not look at on a unix socket.
    connection = http.client.HTTPConnection("docker")
    # Kept here: http.client forgets its own when the answer ends with the connection.
    unix = connection.sock = socket.socket(socket.AF_UNIX)
    unix.settimeout(timeout)
    try:
        with _deadline(unix, total):
            _connect(unix)
            # The size of a stream that is made while it is sent is not known: it goes in chunks
            # (RFC 9112, 7.1).
            headers = {"Content-Type": "application/x-tar"} if body is not None else {}
            try:
                connection.request(
                    method, path, body=body, headers=headers, encode_chunked=body is not None
                )
            except ConnectionError as error:
                raise _ended_early(method, path, connection, error) from error
            response = connection.getresponse()
            if response.status >= 400:
                raise _refused(method, path, response)
            yield response
    except (http.client.HTTPException, socket.timeout, ConnectionError) as error:
        raise RemoteError(
            "EngineError",
            "the container engine closed the connection",
            "%s %s: %s" % (method, path, error),
            "Read the engine's log on the host.",
        ) from error
    finally:
        connection.close()
        unix.close()


def _connect(unix: socket.socket) -> None:
    try:
        unix.connect(SOCKET)
    except OSError as error:
        raise RemoteError(
            "EngineError",
            "the container engine does not answer on this host",
            "%s: %s" % (SOCKET, error.strerror),
            "Start it there: systemctl start docker, or systemctl start podman.socket.",
        ) from error


@contextmanager
def _deadline(unix: socket.socket, seconds: float) -> Iterator[None]:
    """Break the connection off after so many seconds: a socket's own timeout begins anew with
    each byte, so that an answer in crumbs would never end."""
    timer = threading.Timer(seconds, _break_off, (unix,))
    timer.daemon = True
    if seconds:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _break_off(unix: socket.socket) -> None:
    """What is being read ends."""
    try:
        unix.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended already
        return


def _refused(method: str, path: str, response: http.client.HTTPResponse) -> RemoteError:
    data = _words(response)
    try:
        text = str(strict_json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        text = data.decode("utf-8", "replace").strip()
    details = "%s %s: %d %s" % (method, path, response.status, text)
    return failed("%s rejected a request" % _name(response), details)


def _name(response: http.client.HTTPResponse) -> str:
    """Which engine answers, by its own word: Libpod/5.4.2, Docker/26.1.5."""
    server = response.getheader("Server") or ""
    names = {"Libpod": "Podman", "Docker": "the Docker Engine"}
    return names.get(server.partition("/")[0], "the container engine")


def _words(response: http.client.HTTPResponse) -> bytes:
    data = b""
    try:
        while len(data) < _WORDS:
            piece = response.read1(_WORDS)
            if not piece:
                break
            data += piece
    except ConnectionResetError:  # the kernel's word for: it has not read all that was sent to it
        return data
    return data


def _ended_early(
    method: str, path: str, connection: http.client.HTTPConnection, error: ConnectionError
) -> RemoteError:
    """It did not take all that was sent. Most often it has said why: its disk is full, say."""
    import http.client

    try:
        return _refused(method, path, connection.getresponse())
    except (http.client.HTTPException, OSError):
        details = "%s %s: %s" % (method, path, error)
        return failed(
            "the container engine closed the connection",
            details,
            "Read the engine's log on the host.",
        )


def failed(brief: str, words: str, resolution: str = "Read its message above.") -> RemoteError:
    """What the engine could not do, in its own words; SpaceError where these say that it is for
    lack of room (ENOSPC, EDQUOT: strerror(3))."""
    if any(each in words.lower() for each in ("no space left on device", "quota exceeded")):
        return RemoteError(
            "SpaceError", brief, words, "Free some space for the engine on the host."
        )
    return RemoteError("EngineError", brief, words, resolution)


def get(path: str) -> object:
    """The JSON of a GET. EngineError when it is none, endless, or takes too long as a whole."""
    with request("GET", path, timeout=_GET_S, total=_GET_S) as response:
        data = response.read(_JSON_LIMIT + 1)
    if len(data) > _JSON_LIMIT:
        raise malformed(path, "over %d bytes" % _JSON_LIMIT)
    try:
        return strict_json.loads(data)
    except ValueError as error:
        raise malformed(path, str(error)) from None


def malformed(path: str, why: str) -> RemoteError:
    """The error for an answer that no engine gives."""
    return RemoteError(
        "EngineError",
        "the container engine's response is malformed",
        "GET %s: %s" % (path[:200], why),
        "Check which program listens on %s on the host." % SOCKET,
    )


def get_object(path: str) -> JsonObject:
    """The JSON object of a GET."""
    row = get(path)
    if not isinstance(row, dict):
        raise malformed(path, "no object")
    return row


def get_rows(path: str) -> List[JsonObject]:
    """The list of objects of a GET; Docker says null for an empty one."""
    rows = get(path) or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise malformed(path, "not a list of objects")
    return rows


def text(row: JsonObject, key: str) -> str:
    """A field that is text, "" where it is absent or null."""
    value = row.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise malformed(key, "no text")
    return value


def texts(row: JsonObject, key: str) -> List[str]:
    """A field that is a list of texts, empty where it is absent or null."""
    values = row.get(key)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise malformed(key, "not a list of texts")
    return values


def fields(row: JsonObject, key: str) -> JsonObject:
    """A field that is an object, empty where it is absent or null."""
    value = row.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise malformed(key, "no object")
    return value


def info() -> Optional[JsonObject]:
    """/info of the engine, or None where no engine listens."""
    if not os.path.exists(SOCKET):
        return None
    return get_object("/info")


def containerd_store(row: JsonObject) -> bool:
    """Whether the engine keeps images in containerd (DriverStatus says io.containerd...)."""
    pairs = row.get("DriverStatus") or []
    if not isinstance(pairs, list):
        raise malformed("/info", "DriverStatus is not a list")
    # [["driver-type", "io.containerd.snapshotter.v1"]] with the containerd image store; nothing
    # else in /info says so, "Driver" is the snapshotter's name there.
    last = [pair[-1] for pair in pairs if isinstance(pair, list) and pair]
    return any(str(word).startswith("io.containerd.snapshotter") for word in last)


def podman(row: JsonObject) -> bool:
    """Whether it is Podman's /info, which has Docker's fields and its own."""
    return "BuildahVersion" in row


def root(row: JsonObject) -> Path:
    """The engine's own folder, of its /info."""
    return Path(text(row, "DockerRootDir") or "/var/lib/docker")


def volumes(label: str = "") -> List[JsonObject]:
    """The volumes, or those with a label."""
    query = "?" + urlencode({"filters": '{"label":["%s"]}' % label}) if label else ""
    rows = get_object("/volumes" + query).get("Volumes") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise malformed("/volumes", "not a list of objects")
    return rows


def images() -> List[str]:
    """The ids of all images."""
    # `all`: layers of a build that has no name may be what a new image is made from.
    return sorted({_digest(row.get("Id")) for row in get_rows("/images/json?all=1")})


class Image:
    """What the engine says of an image, checked."""

    def __init__(self, row: JsonObject) -> None:
        self.id = _digest(row.get("Id"))
        self.tags = [labels.familiar(tag) for tag in texts(row, "RepoTags")]
        self.diff_ids = [_digest(each) for each in texts(fields(row, "RootFS"), "Layers")]
        size = row.get("Size") or 0
        if not isinstance(size, int) or not 0 <= size < 1 << 63:
            raise malformed("Size", "no size")
        self.size = size
        self.architecture = text(row, "Architecture")


def image(reference: str) -> Image:
    """An image by its name (checked by the caller) or id; the engine's 404 is in the details."""
    return Image(get_object("/images/%s/json" % quote(reference, safe="/:@")))


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise malformed("an image", "its id is not a digest")
    return value
