"""The fixtures as their clients use them. Each gives the check that what it left is still there."""

import hashlib
import json
import re
import socket
import urllib.error
import urllib.request
import xmlrpc.client
from base64 import b64encode
from collections.abc import Callable, Mapping

from tests.integration.commands import ask

Check = Callable[[], None]
Client = Callable[[str], Check]


def queue(address: str) -> Check:
    """A worker counts the words; the one-shot migration has set the schema; visits are kept."""
    assert ask(f"http://{address}:8085/?one+two+three") == b"words: 3\n"

    def visits() -> int:
        schema, _, number = ask(f"http://{address}:8085/schema").decode().rpartition(" ")
        assert schema == "schema 2, visits"
        return int(number)

    before = visits()

    def check() -> None:
        assert visits() > before

    return check


def front(address: str) -> Check:
    """nginx with the project's own page; two servers with what they were given."""

    def check() -> None:
        assert b"The front page" in ask(f"http://{address}:8086/")
        said = {ask(f"http://{address}:8086/app") for _ in range(4)}
        assert said == {b"one, hello\n", b"two, hello, second to none\n"}

    check()
    return check


ME = {
    "Authorization": f"Basic {b64encode(b'me:secret').decode()}",
    "Content-Type": "application/json",
}


def kinto(address: str) -> Check:
    """A record in the database, by the REST API; nobody else may read it."""
    v1 = f"http://{address}:8087/v1"
    who = ME
    for place in ("buckets/shelf", "buckets/shelf/collections/books"):
        ask(f"{v1}/{place}", "PUT", **who)
    books = f"{v1}/buckets/shelf/collections/books/records"
    title = {"data": {"title": "Ulysses", "year": 1922}}
    made = json.loads(ask(books, "POST", json.dumps(title).encode(), **who))["data"]

    def check() -> None:
        assert json.loads(ask(f"{books}/{made['id']}", **who))["data"] == made
        found = json.loads(ask(f"{books}?title=Ulysses&_fields=year", **who))["data"]
        assert [row["year"] for row in found] == [1922]
        try:
            ask(f"{v1}/buckets/shelf")
        except urllib.error.HTTPError as refused:
            assert refused.code == 401
        else:
            raise AssertionError("anybody may read it")

    return check


def wordpress(address: str) -> Check:
    """WordPress is installed by its form; then a post and a file, by its API."""
    site = f"http://{address}:8089"
    form = "weblog_title=Moved&user_name=me&admin_password=secret&admin_password2=secret&pw_weak=on"
    form += "&admin_email=me%40example.org&blog_public=0"
    done = ask(f"{site}/wp-admin/install.php?step=2", "POST", form.encode(), patience=120)
    assert b"Success!" in done, done
    api = xmlrpc.client.ServerProxy(f"{site}/xmlrpc.php", allow_none=True).wp
    text = {"post_title": "Under way", "post_content": "To a host.", "post_status": "publish"}
    post = api.newPost(1, "me", "secret", text)
    data = bytes(range(256)) * 300
    file = {"name": "noise.png", "type": "image/png", "bits": xmlrpc.client.Binary(data)}
    uploaded = api.uploadFile(1, "me", "secret", file)
    assert isinstance(uploaded, dict)

    def check() -> None:
        page = ask(f"{site}/?p={post}", patience=60).decode()
        assert "<title>Under way &#8211; Moved</title>" in page
        assert "To a host." in page
        assert ask(str(uploaded["url"])) == data

    return check


def notes(address: str) -> Check:
    """A note goes to the database; what was read once is read from the cache."""
    note, text = f"http://{address}:8090/one", b"from the database"
    ask(note, "PUT", text)

    def check() -> None:
        found = []
        for _ in range(2):
            with urllib.request.urlopen(note, timeout=10) as answer:
                assert answer.read() == text
                found.append(answer.headers["X-Cache"])
        assert found[-1] == "hit"
        assert ask(f"http://{address}:8090/") == b"1 notes\n"

    return check


def calendar(address: str) -> Check:
    """A collection with an event, by CalDAV."""
    place = f"http://{address}:8091/me/days/"
    who = {"Authorization": f"Basic {b64encode(b'me:').decode()}"}
    event = b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\nBEGIN:VEVENT\r\nUID:1\r\n"
    event += b"DTSTAMP:20250101T000000Z\r\nDTSTART:20250101T000000Z\r\nSUMMARY:New year\r\n"
    event += b"END:VEVENT\r\nEND:VCALENDAR\r\n"
    ask(place, "MKCALENDAR", **who)
    ask(f"{place}1.ics", "PUT", event, **who)

    def check() -> None:
        assert b"SUMMARY:New year" in ask(f"{place}1.ics", **who)

    return check


def broker(address: str) -> Check:
    """A message that the broker keeps, by MQTT 3.1.1; a second client gets it."""

    def connected() -> socket.socket:
        link = socket.create_connection((address, 8092), timeout=20)
        link.sendall(_packet(0x10, _text(b"MQTT") + b"\x04\x02\x00\x3c" + _text(b"")))
        assert link.recv(4) == b"\x20\x02\x00\x00"
        return link

    with connected() as link:
        # Kept (bit 0), to be acknowledged (bit 1).
        link.sendall(_packet(0x33, _text(b"house/door") + b"\x00\x01" + b"open"))
        assert link.recv(4) == b"\x40\x02\x00\x01"

    def check() -> None:
        with connected() as link:
            link.sendall(_packet(0x82, b"\x00\x02" + _text(b"house/#") + b"\x00"))
            got = b""
            while b"open" not in got:
                more = link.recv(100)
                assert more, got
                got += more
        assert _text(b"house/door") + b"open" in got

    return check


def _packet(kind: int, body: bytes) -> bytes:
    return bytes([kind, len(body)]) + body


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


def pages(address: str) -> Check:
    """The pages that the service which has ended has made."""

    def check() -> None:
        first = ask(f"http://{address}:8094/one.html")
        assert first.startswith(b"<h1>The first</h1>")
        assert b'<a href="two.html">' in first
        assert ask(f"http://{address}:8094/two.html") == b"<h1>The second</h1>"

    return check


def sidecar(address: str) -> Check:
    """The application sees the proxy beside it, and is told of the client."""

    def check() -> None:
        with urllib.request.urlopen(f"http://{address}:8095/", timeout=10) as answer:
            assert answer.read().startswith(b"hello from 127.0.0.1, for ")
            assert answer.headers["X-Proxy"] == "haproxy"

    return check


def store(address: str) -> Check:
    """A layer is pushed as a registry's client does it."""
    v2, layer = f"http://{address}:8096/v2", b"layer" * 1000
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    begun = urllib.request.Request(f"{v2}/app/blobs/uploads/", method="POST")
    with urllib.request.urlopen(begun, timeout=10) as answer:
        where = answer.headers["Location"]
    ask(f"{where}&digest={digest}", "PUT", layer, **{"Content-Type": "application/octet-stream"})

    def check() -> None:
        assert ask(f"{v2}/app/blobs/{digest}") == layer

    return check


def zones(address: str) -> Check:
    """Names across the networks. The address of the data is another one in a VM."""

    def visits() -> int:
        said = ask(f"http://{address}:8097/").decode()
        found = re.fullmatch(
            r"visits: (\d+), kept at (172\.30\.77\.20|10\.0\.2\.\d+), nowhere is 192\.0\.2\.1\n",
            said,
        )
        assert found, said
        return int(found[1])

    def check() -> None:
        assert visits() < visits()

    return check


FIXTURES: Mapping[str, Client] = {
    "queue": queue,
    "front": front,
    "kinto": kinto,
    "wordpress": wordpress,
}

PROJECTS: Mapping[str, Client] = {
    "notes": notes,
    "calendar": calendar,
    "broker": broker,
    "pages": pages,
    "sidecar": sidecar,
    "store": store,
    "zones": zones,
}
