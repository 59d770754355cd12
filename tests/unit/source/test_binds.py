"""What becomes of the bind mounts of a running App."""

import pytest

from portkit.model import ContentFile, Severity
from portkit.source.binds import Bind, judged, place

FILE = ContentFile(data=b"x")


def bind(source: str, target: str = "/in", **more: object) -> Bind:
    values = {"read_only": False, "file": None, **more}
    return Bind("web", source, target, **values)  # type: ignore[arg-type]


def document(*volumes: object) -> dict[str, object]:
    return {"services": {"web": {"image": "x", "volumes": list(volumes)}}}


def test_a_folder_becomes_a_volume_and_a_file_goes_with_the_configuration() -> None:
    folder, file = bind("/srv/data", "/data"), bind("/srv/conf", "/etc/conf", file=FILE)
    placed = place(
        document("/srv/data:/data", "/srv/conf:/etc/conf", "named:/n"), (folder, file), ["/srv"]
    )
    assert placed.document["services"]["web"]["volumes"] == [
        {"type": "volume", "source": "bind-0", "target": "/data"},
        {"type": "bind", "source": "/srv/conf", "target": "/etc/conf"},
        "named:/n",
    ]
    assert placed.document["volumes"] == {"bind-0": {}}
    assert placed.folders == {"bind-0": "/srv/data"}
    assert placed.contents == {"/srv/conf": (FILE,)}
    assert {note.severity for note in placed.findings} == {Severity.INFO}


@pytest.mark.parametrize(
    ("one", "carry", "travels"),
    [
        (bind("/srv/shop/data"), [], False),
        (bind("/srv/shop/data"), ["/srv/shop"], True),
        (bind("/srv/shopping"), ["/srv/shop"], False),
        (bind("/srv/shop/conf", read_only=True, home="/srv/shop"), [], True),
        (bind("/srv/shop/data", home="/srv/shop"), [], False),
        # A label says what the project's folder is, and anybody can write one.
        (bind("/root/.ssh", read_only=True, home="/"), [], False),
        (bind("/root/.ssh", read_only=True, home="/root"), [], False),
        (bind("/home/u/.aws", read_only=True, home="/home/u"), [], False),
        (bind("/home/u/shop/conf", read_only=True, home="/home/u/shop"), [], True),
        (bind("/etc/localtime", file=FILE), [], True),
        (bind("/var/run/docker.sock"), ["/var/run"], False),
        (bind("/etc"), ["/"], False),
        (bind("/v/portkit/0", own=True), [], True),
    ],
)
def test_what_travels(one: Bind, carry: list[str], travels: bool) -> None:
    assert (judged(one, carry).severity is not Severity.ERROR) is travels


def test_a_socket_is_the_targets_own_only_where_the_user_says_so() -> None:
    socket = bind("/run/docker.sock", "/run/docker.sock", unfit="a socket")
    large = bind("/srv/db.mmdb", "/db", unfit="a file of more than 1 MiB")
    rows = document("/run/docker.sock:/run/docker.sock", "/srv/db.mmdb:/db")
    refused = place(rows, (socket, large), ["/run", "/srv"])
    assert "volumes" not in refused.document["services"]["web"]
    assert [note.rule for note in refused.findings] == ["bind-not-carried"] * 2
    assert "is a socket of the source host" in refused.findings[0].message
    assert "--same-path /run/docker.sock" in refused.findings[0].remedy
    placed = place(rows, (socket, large), [], ["/run/docker.sock", "/srv/db.mmdb"])
    assert (placed.document, placed.findings) == (rows, ())


def test_folders_that_hold_each_other_would_become_two_copies() -> None:
    outer, inner = bind("/srv/app", "/app"), bind("/srv/app/uploads", "/uploads")
    placed = place(document("/srv/app:/app", "/srv/app/uploads:/uploads"), (outer, inner), ["/srv"])
    errors = [note for note in placed.findings if note.severity is Severity.ERROR]
    assert len(errors) == 1
    assert "which contains it" in errors[0].message
