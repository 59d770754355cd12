"""The fixtures as their clients use them. Each gives the check that what it left is still there."""

import json
import urllib.error
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


def kinto(address: str) -> Check:
    """A record in the database, by the REST API; nobody else may read it."""
    v1 = f"http://{address}:8087/v1"
    who = {
        "Authorization": f"Basic {b64encode(b'me:secret').decode()}",
        "Content-Type": "application/json",
    }
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


FIXTURES: Mapping[str, Client] = {
    "queue": queue,
    "front": front,
    "kinto": kinto,
    "wordpress": wordpress,
}
