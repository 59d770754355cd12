"""The two apps whose data `bench.journeys` moves, each with its own protocol: Radicale and Kinto.

What is written under a number is always the same text, so that it can be compared later. A server
acknowledges it with a value of its own (an ETag; an id and a revision), which must stay the same
for as long as nobody writes there again.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

from bench import hosts
from bench.writer import Acknowledged, Address
from portkit import process
from tests.integration.commands import HAVE_COMPOSE

_FIXTURES = Path(__file__).parents[1] / "fixtures/apps"
_LINES = 16
# In an emulated guest. A client that gave up earlier would add to what the server has to do: it
# goes on with a request whose client has gone.
_WRITE_S, _READ_S = 120.0, 600.0
_CALDAV, _DAV = "{urn:ietf:params:xml:ns:caldav}", "{DAV:}"
_EVENT = """BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//portkit//bench//EN\r\nBEGIN:VEVENT\r
UID:{number}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260101T000000Z\r\nSUMMARY:{text}\r
END:VEVENT\r\nEND:VCALENDAR\r\n"""
_QUERY = (
    b'<C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop>'
    b'<D:getetag/><C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"/>'
    b"</C:filter></C:calendar-query>"
)


def _who(user: bytes, **more: str) -> Mapping[str, str]:
    return {"Authorization": f"Basic {b64encode(user).decode()}", **more}


@dataclass(frozen=True)
class Found:
    """What is stored under a number. told: as `Acknowledged` has it."""

    number: int
    text: str
    told: str


class Stateful(Protocol):
    """An app that keeps what is written. name: of its App, also as a VM."""

    name: str
    port: int

    def start(self, host: str) -> None:
        """As a user starts it: with the engine's own commands, from the fixture's folder."""

    def running(self, host: str) -> str:
        """What `portkit move` calls it where it runs in containers."""

    def begin(self, address: Address) -> None:
        """Make the collection that the rest is written to."""

    def write(self, address: Address, number: int) -> str:
        """What the server acknowledges the write with; "" when it does not."""

    def read(self, address: Address) -> list[Found]:
        """All that is there."""


class Radicale:
    """Events in a calendar, by CalDAV. A user has started the container by hand."""

    name, port = "radicale", 5232
    _where = "/me/days/"
    _headers = _who(b"me:")

    def start(self, host: str) -> None:
        folder = _copied(self.name, host)
        health = "--label x-portkit.health.path=/.web/ --label x-portkit.health.contains=Radicale"
        hosts.on(
            host,
            f"docker build -q --network host -t {self.name} {folder} && docker run -d --name "
            f"{self.name} --restart unless-stopped -p {self.port}:{self.port} {health} "
            f"-v collections:/var/lib/radicale/collections {self.name}",
        )

    def running(self, host: str) -> str:
        names = hosts.on(host, f"docker ps --filter publish={self.port} --format '{{{{.Names}}}}'")
        return f"container:{names.strip()}"

    def begin(self, address: Address) -> None:
        _ask(address, "MKCALENDAR", self._where, b"", self._headers)

    def write(self, address: Address, number: int) -> str:
        event = _EVENT.format(number=number, text=text_of(number)).encode()
        where, headers = f"{self._where}{number}.ics", {**self._headers, "If-None-Match": "*"}
        return _ask(address, "PUT", where, event, headers).headers["ETag"] or ""

    def read(self, address: Address) -> list[Found]:
        headers = {**self._headers, "Depth": "1"}
        said = _ask(address, "REPORT", self._where, _QUERY, headers, _READ_S).body
        return [_event(row) for row in ElementTree.fromstring(said).iter(f"{_DAV}response")]


# Of what already runs, labels say what x-portkit says in a compose file. An emulated VM on a busy
# machine takes minutes until its database and Kinto answer.
_HEALTH = """\
version: "3"
services:
  web:
    labels:
      x-portkit.health.path: /v1/__heartbeat__
      x-portkit.health.timeout: 1800s
"""


class Kinto:
    """Records in PostgreSQL, by Kinto's REST API. A compose project with its database."""

    name, port = "kinto", 8087
    _where = "/v1/buckets/shelf/collections/books/records"
    _headers = _who(b"me:secret", **{"Content-Type": "application/json"})

    def start(self, host: str) -> None:
        folder = _copied(self.name, host)
        files = "-f compose.yaml -f health.yaml"
        up = f"docker-compose -p {self.name} {files} up -d --build >&2"
        # Compose 1.29, which Debian 12 has, does not know a project's own name.
        ready = f"sed -i /^name:/d compose.yaml && echo {shlex.quote(_HEALTH)} > health.yaml"
        hosts.on(host, f"{HAVE_COMPOSE} && cd {folder} && {ready} && {up}")

    def running(self, host: str) -> str:
        return f"project:{self.name}"

    def begin(self, address: Address) -> None:
        for place in ("/v1/buckets/shelf", "/v1/buckets/shelf/collections/books"):
            _ask(address, "PUT", place, b"", self._headers)

    def write(self, address: Address, number: int) -> str:
        record = json.dumps({"data": {"number": number, "text": text_of(number)}}).encode()
        said = json.loads(_ask(address, "POST", self._where, record, self._headers).body)["data"]
        return f"{said['id']} {said['last_modified']}"

    def read(self, address: Address) -> list[Found]:
        said = _ask(address, "GET", self._where, None, self._headers, _READ_S).body
        return [
            Found(row["number"], row["text"], f"{row['id']} {row['last_modified']}")
            for row in json.loads(said)["data"]
        ]


APPS: Mapping[str, type[Stateful]] = {"radicale": Radicale, "kinto": Kinto}
# What a server that is not there, or is on its way down or up, makes of a request.
UNANSWERED = (OSError, http.client.HTTPException, ValueError, LookupError)


def text_of(number: int) -> str:
    """What is written under a number: 1,024 characters that do not compress well."""
    seeds = (f"{number} {line}".encode() for line in range(_LINES))
    return "".join(hashlib.sha256(seed).hexdigest() for seed in seeds)


def wrong(acknowledged: Sequence[Acknowledged], found: Sequence[Found]) -> str:
    """What is lost, changed or there twice; "" if nothing. What was written and not acknowledged
    may be there or not."""
    there = {row.number: row for row in found}
    lost = [row for row in acknowledged if row.number not in there]
    if lost:
        return f"{len(lost)} acknowledged writes are not there: {lost[:3]}"
    if len(there) != len(found):
        return f"{len(found) - len(there)} writes are there twice"
    changed = [row.number for row in found if row.text != text_of(row.number)]
    changed += [row.number for row in acknowledged if row.told != there[row.number].told]
    return f"{len(changed)} writes are not as they were: {changed[:3]}" if changed else ""


@dataclass(frozen=True)
class _Answer:
    headers: http.client.HTTPMessage
    body: bytes


def _ask(
    address: Address,
    method: str,
    where: str,
    data: bytes | None,
    headers: Mapping[str, str],
    patience_s: float = _WRITE_S,
) -> _Answer:
    """An answer that says yes; ValueError for another one."""
    link = http.client.HTTPConnection(*address, timeout=patience_s)
    try:
        link.request(method, where, data, dict(headers))
        answer = link.getresponse()
        body = answer.read()
    finally:
        link.close()
    if not 200 <= answer.status < 300:
        raise ValueError(f"{method} {where}: {answer.status} {body[:200]!r}")
    return _Answer(answer.headers, body)


def _event(row: ElementTree.Element) -> Found:
    data = row.findtext(f".//{_CALDAV}calendar-data") or ""
    data = re.sub(r"\r?\n[ \t]", "", data)  # long lines are folded
    uid, text = (re.search(rf"(?m)^{key}:(\S+)", data) for key in ("UID", "SUMMARY"))
    if uid is None or text is None:
        raise ValueError(f"an event without UID or SUMMARY: {data[:200]!r}")
    return Found(int(uid[1]), text[1], row.findtext(f".//{_DAV}getetag") or "")


def _copied(name: str, host: str) -> str:
    """The fixture's folder, on a host."""
    folder = f"/root/{name}"
    packed = process.run(["tar", "-C", str(_FIXTURES), "-cf", "-", name], timeout=60).stdout
    unpack = f"rm -rf {shlex.quote(folder)} && tar -C /root -xf -"
    process.run([*hosts.ssh(host), unpack], input=packed, timeout=60)
    return folder
