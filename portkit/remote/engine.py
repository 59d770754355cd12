"""Docker's HTTP API on its unix socket, as far as bulk data needs it."""

from __future__ import annotations

import http.client
import json
import os
import socket
from contextlib import contextmanager
from typing import Any, Iterator, Optional

from portkit.wire.frames import RemoteError

SOCKET = os.environ.get("PORTKIT_DOCKER_SOCKET", "/var/run/docker.sock")
_JSON_LIMIT = 64 << 20


class _Connection(http.client.HTTPConnection):
    def __init__(self, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(SOCKET)
        except OSError as error:
            raise RemoteError(
                "EngineError",
                "the Docker Engine does not answer on this host",
                "%s: %s" % (SOCKET, error.strerror),
                "Start it there (systemctl start docker) or install docker.io.",
            ) from error


@contextmanager
def request(
    method: str, path: str, body: Any = None, timeout: float = 600.0
) -> Iterator[http.client.HTTPResponse]:
    """One request; an answer of 400 or more is an EngineError with the engine's own words."""
    connection = _Connection(timeout)
    try:
        headers = {"Content-Type": "application/x-tar"} if body is not None else {}
        connection.request(
            method, path, body=body, headers=headers, encode_chunked=body is not None
        )
        response = connection.getresponse()
        if response.status >= 400:
            raise _refused(method, path, response)
        yield response
    except (http.client.HTTPException, socket.timeout, ConnectionError) as error:
        raise RemoteError(
            "EngineError",
            "the Docker Engine broke off",
            "%s %s: %s" % (method, path, error),
            "See the engine's log on the host.",
        ) from error
    finally:
        connection.close()


def _refused(method: str, path: str, response: http.client.HTTPResponse) -> RemoteError:
    text = response.read(8192).decode("utf-8", "replace")
    try:
        text = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        text = text.strip()
    return RemoteError(
        "EngineError",
        "the Docker Engine refused a request",
        "%s %s: %d %s" % (method, path, response.status, text),
        "See the engine's own words above.",
    )


def get(path: str) -> Any:
    """The JSON of a GET."""
    with request("GET", path, timeout=60.0) as response:
        return json.loads(response.read(_JSON_LIMIT))


def info() -> Optional[Any]:
    """/info of the engine, or None where no engine listens."""
    if not os.path.exists(SOCKET):
        return None
    return get("/info")


def containerd_store(row: Any) -> bool:
    """Whether the engine keeps images in containerd (DriverStatus says io.containerd...)."""
    return any(
        str(pair[-1]).startswith("io.containerd.snapshotter")
        for pair in row.get("DriverStatus") or []
    )
