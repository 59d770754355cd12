"""Docker's SDK for an engine that may answer without end, and the answers that are used."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import IPv4Address
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import docker
import requests
from docker.utils.socket import read as receive
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from portkit.wire import labels, strict_json

_BODY_LIMIT = strict_json.LIMIT  # a list of 5,000 containers has some 10 MB
_ROWS = 20_000  # of a list: each takes a kilobyte of memory more than its text
_PORTS = 4 * 65536  # of a container: TCP and UDP, IPv4 and IPv6
_CHUNK = 1 << 16
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")  # of compose; anybody can write a label
_HEADER = 8  # of a piece of a log: stream, length (engine API, "Stream format")


class Malformed(Exception):
    """An answer that no engine gives. Its text says where, never what was there."""


class Client(docker.APIClient):
    """APIClient with a limit for each answer's size. Redirects are not followed: they could lead
    to any address that this machine reaches."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """As requests.Session.send."""
        streamed = options.get("stream")
        # Streamed: requests would else read the whole body into memory before anyone could look at
        # its size.
        options.update(stream=True, allow_redirects=False)
        request.headers["Accept-Encoding"] = "identity"  # a few bytes could become many
        response = super().send(request, **options)
        if not streamed:
            with response:
                response._content = _bounded(response)
            # Whoever in the SDK asks for its JSON: never more than that costs.
            response.json = partial(_json, response)  # type: ignore[method-assign]
        return response

    def _multiplexed_response_stream_helper(self, response: requests.Response) -> Iterator[bytes]:
        """As the SDK's own, but a piece may say that it is 4 GiB long: it comes in chunks."""
        if _follows(response):  # an app may be silent for long
            self._disable_socket_timeout(self._get_raw_response_socket(response))  # type: ignore[attr-defined]
        return _pieces(response.raw.read)

    def _read_from_socket(self, response: requests.Response, *_: Any, **__: Any) -> Iterator[bytes]:
        """As the SDK's own for `exec_start` with `stream` and no terminal, which alone is called;
        its own asks for as many bytes at once as a piece says that it has."""
        socket = self._get_raw_response_socket(response)  # type: ignore[attr-defined]
        return _pieces(partial(_received, socket))


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """The content of a stream of pieces, in chunks. read: at most so many bytes; b"" at the end."""
    while len(header := _header(read)) == _HEADER:
        (left,) = struct.unpack(">xxxxL", header)
        while left:
            data = read(min(left, _CHUNK))
            if not data:
                return
            left -= len(data)
            yield data


def _header(read: Callable[[int], bytes]) -> bytes:
    found = read(_HEADER)
    while found and len(found) < _HEADER and (more := read(_HEADER - len(found))):
        found += more
    return found


def _received(socket: Any, size: int) -> bytes:
    """Waits without an end, for a command may be silent for long: its caller has a deadline."""
    while (data := receive(socket, size)) is None:  # a signal came
        pass
    return bytes(data)


def _follows(response: requests.Response) -> bool:
    query = parse_qs(urlsplit(str(response.request.url)).query)
    return query.get("follow", ["0"])[0].lower() in ("1", "true")


def _json(response: requests.Response, **_: Any) -> Any:
    try:
        return strict_json.loads(response.content)
    except ValueError as error:
        if not response.ok:  # the SDK takes the text of an error that is no JSON
            raise
        raise Malformed(str(error)) from None


def _bounded(response: requests.Response) -> bytes:
    data = bytearray()
    for piece in response.raw.stream(_CHUNK, decode_content=False):
        data += piece
        if len(data) > _BODY_LIMIT:
            raise Malformed(f"a response of more than {_BODY_LIMIT} bytes")
    return bytes(data)


# ---------------------------------------------------------------- answers


def or_empty(kind: type) -> BeforeValidator:
    """null is as good as nothing."""
    # Go writes null for an empty list or map.
    return BeforeValidator(lambda value: kind() if value is None else value)


Text = Annotated[str, Field(max_length=65536), or_empty(str)]
LabelMap = Annotated[dict[str, str], or_empty(dict)]
_Model = TypeVar("_Model", bound=BaseModel)


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class _Component(_Answer):
    Name: Text = ""


class Version(_Answer):
    """Which engine answers."""

    Components: Annotated[list[_Component], Field(max_length=100), or_empty(list)] = []

    @property
    def podman(self) -> bool:
        """Whether it is Podman, as portkit.model.Engine.podman."""
        return any("podman" in each.Name.lower() for each in self.Components[:1])


class _Published(_Answer):
    PublicPort: Annotated[int, Field(ge=0, le=65535), or_empty(int)] = 0


class _RowMount(_Answer):
    Name: Text = ""  # of a volume; a folder of the host has none
    Source: Text = ""
    RW: bool = True


class _RowNetworks(_Answer):
    Networks: Annotated[dict[str, dict[str, object] | None], or_empty(dict)] = {}


class _RowHost(_Answer):
    NetworkMode: Text = ""


class Row(_Answer):
    """A container of the list."""

    Id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_.-]{1,128}$")]
    Image: Annotated[Text, AfterValidator(labels.familiar)] = ""
    State: Text = ""
    Status: Text = ""
    Labels: LabelMap = {}
    Names: Annotated[list[Text], Field(max_length=1000), or_empty(list)] = []
    HostConfig: Annotated[_RowHost, or_empty(_RowHost)] = _RowHost()

    Ports: Annotated[list[_Published], Field(max_length=_PORTS), or_empty(list)] = []
    Mounts: Annotated[list[_RowMount], Field(max_length=10_000), or_empty(list)] = []
    NetworkSettings: Annotated[_RowNetworks, or_empty(_RowNetworks)] = _RowNetworks()

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the networks that it is in, also when it does not run."""
        return tuple(self.NetworkSettings.Networks)

    @property
    def service(self) -> str:
        """Which of several services it is; "" for the only one."""
        told = self.Labels.get(labels.SERVICE, "")
        return told if _SERVICE.fullmatch(told) else ""

    @property
    def front(self) -> bool:
        """Whether it answers for the App."""
        return labels.FRONT in self.Labels


class _Checked(_Answer):
    Start: Text = ""
    ExitCode: int = 0
    Output: Text = ""


class _Health(_Answer):
    Status: Text = ""
    Log: Annotated[list[_Checked], Field(max_length=100), or_empty(list)] = []


class State(_Answer):
    """Whether a container runs, and how it ended."""

    Status: str
    Pid: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    ExitCode: int = 0
    StartedAt: Text = ""
    Health: _Health | None = None


def _address(value: object) -> object:
    # A container that is not running has "" here.
    return value or None


class _Network(_Answer):
    IPAddress: Annotated[IPv4Address | None, Field(strict=False), BeforeValidator(_address)] = None


class _Networks(_Answer):
    Networks: Annotated[dict[str, _Network | None], or_empty(dict)] = {}


class _Healthcheck(_Answer):
    Interval: Annotated[int, Field(ge=0), or_empty(int)] = 0  # nanoseconds


class _Config(_Answer):
    Healthcheck: _Healthcheck | None = None
    StopSignal: Text = ""
    StopTimeout: Annotated[int, Field(ge=0, le=10**9)] | None = None


class Restart(_Answer):
    """What starts a container again by itself."""

    Name: Text = ""
    MaximumRetryCount: int = 0

    @property
    def told(self) -> str:
        """As compose's `restart` says it."""
        name = self.Name or "no"
        count = self.MaximumRetryCount
        return f"{name}:{count}" if name == "on-failure" and count else name


class _HostConfig(_Answer):
    RestartPolicy: Restart = Restart()
    PidMode: Text = ""
    IpcMode: Text = ""


class Inspected(_Answer):
    """A container as `inspect` shows it."""

    State: State
    Config: _Config | None = None
    HostConfig: _HostConfig = _HostConfig()
    RestartCount: int = 0
    NetworkSettings: _Networks | None = None


class NetworkRow(_Answer):
    """A network of the list."""

    Id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_.-]{1,128}$")]
    Name: Text = ""
    Labels: LabelMap = {}


class Volume(_Answer):
    """A volume. Mountpoint: where the host has it. Options: of its driver."""

    Mountpoint: Annotated[str, Field(max_length=4096)] = ""
    CreatedAt: Text = ""
    Name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$")]
    Labels: LabelMap = {}
    Driver: Text = ""
    Options: LabelMap = {}


class Volumes(_Answer):
    """The list of volumes."""

    Volumes: Annotated[list[Volume], Field(max_length=_ROWS), or_empty(list)] = []


def read(model: type[_Model], value: object) -> _Model:
    """An answer as that model; Malformed says where it is not one."""
    if _count(value) > strict_json.MAX_CHECKED:
        raise Malformed(f"{model.__name__}: over {strict_json.MAX_CHECKED} values")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"][:4])
        raise Malformed(f"{model.__name__} {place!r}: {first['msg'][:200]}") from None


def _count(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_count, inner))


def read_all(model: type[_Model], values: object) -> list[_Model]:
    """A list of such answers."""
    if not isinstance(values, list):
        raise Malformed(f"not a list of {model.__name__}")
    if len(values) > _ROWS:
        raise Malformed(f"a list of more than {_ROWS} times {model.__name__}")
    return [read(model, value) for value in values]
