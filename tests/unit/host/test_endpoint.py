"""HOST arguments: what is understood, and what never reaches a command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import HostError, PortkitError
from portkit.host import connect
from portkit.host.endpoint import Endpoint, parse
from portkit.remote.engine import DOCKER_SOCKET, PODMAN_SOCKET


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("local", Endpoint("")),
        ("web1", Endpoint("web1")),
        ("root@web1.example:2222", Endpoint("web1.example", "root", 2222)),
        ("ssh://ops@10.0.0.1:22", Endpoint("10.0.0.1", "ops", 22)),
        ("ssh://web1/", Endpoint("web1")),
        ("ssh://web1/run/podman/podman.sock", Endpoint("web1", engine=PODMAN_SOCKET)),
        ("ssh://ops@h:9/run/docker.sock", Endpoint("h", "ops", 9, engine=DOCKER_SOCKET)),
        ("ssh://h/var/run/docker.sock", Endpoint("h", engine=DOCKER_SOCKET)),
        ("[fe80::1]:2200", Endpoint("fe80::1", None, 2200)),
        ("fe80::1", Endpoint("fe80::1")),
    ],
)
def test_understood(name: str, wanted: Endpoint) -> None:
    assert parse(name) == wanted


# hostile input 24
@pytest.mark.parametrize(
    "name",
    [
        "",
        " host",
        "host ",
        "host\n",
        "\thost",
        "h\0ost",
        "ho'st",
        'ho"st',
        "h$ost",
        "h`id`",
        "h\\ost",
        "hоst",  # the o is Cyrillic  # noqa: RUF001
        "ssh://host:0",
        "host:0",
        "ssh://ho\nst",
        "ssh://h\tost",
        "ssh://h%0aost",
        "ssh://-x@host",
        "root\n@host",
        "ro ot@host",
        "$(id)@host",
        "x" * 300,
        "-oProxyCommand=touch /tmp/x",
        "ssh://-oProxyCommand=x",
        "root@-x",
        "-x@host",
        "a b",
        "host:",
        "host:0",
        "host:65536",
        "host:٣",
        "host;id",
        "$(id)",
        "h\nost",
        "ssh://host/path",
        "ssh://user:secret@host",
        "[::1",
        "[::1]22",
    ],
)
def test_refused(name: str) -> None:
    with pytest.raises(HostError):
        parse(name)


# hostile inputs 24, 25
@given(st.text(max_size=60) | st.text(max_size=60).map(lambda text: f"ssh://{text}"))
def test_no_name_becomes_an_option(name: str) -> None:
    try:
        endpoint = parse(name)
    except HostError:
        return
    words = endpoint.arguments()
    if not endpoint.local:
        assert words[-2] == "--"
        assert not words[-1].startswith("-")
        for word in words:
            assert not set(word) & set(" \t\n\0;&|$`'\"\\<>()")


@pytest.mark.parametrize("name", ["lab:../alpha", "lab:-x", "lab:", "lab:a\n", "lab:nowhere"])
def test_no_such_lab_host(name: str) -> None:  # hostile input 24
    with pytest.raises(PortkitError), connect(name):
        pass
