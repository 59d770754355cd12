"""Several services in one VM: their places, names, shared volumes, and what the guest is told."""

import itertools
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import AppError
from portkit.guest.config import encode_app, encode_config
from portkit.guest.several import hosts, places, resolver
from portkit.guest.stack import chains, trees
from portkit.model import (
    AppSpec,
    Attachment,
    Condition,
    Content,
    ContentFile,
    Dependency,
    Healthcheck,
    ImageConfig,
    Machine,
    Mount,
    RunSpec,
)
from tests.factories import spec


def service(name: str, **changes: Any) -> RunSpec:
    return spec(service=name, hostname=name, layers=(2, 0), **changes)


def app(*services: RunSpec) -> AppSpec:
    return AppSpec("shop", services, services[0], Machine())


def sections(data: bytes) -> list[dict[bytes, list[bytes]]]:
    """The records of each service, by tag, as src/config.c reads them."""
    length, checksum = struct.unpack_from("<II", data, 8)
    body = data[16 : 16 + length]
    assert zlib.crc32(body) == checksum
    found: list[dict[bytes, list[bytes]]] = []
    while body:
        size = int.from_bytes(body[1:5], "little")
        if body[:1] == b"S":
            found.append({})
        found[-1].setdefault(body[:1], []).append(body[5 : 5 + size])
        body = body[5 + size :]
    return found


def test_each_service_has_a_place() -> None:
    given = app(
        service("web"),
        service("db"),
        service("side", network_mode="service:db"),
        service("job", network_mode="none"),
        service("watch", network_mode="host"),
    )
    assert [(place.mode, place.number, place.address) for place in places(given)] == [
        (1, 16, "10.0.2.16"),
        (1, 17, "10.0.2.17"),
        (3, 1, "10.0.2.17"),
        (2, 0, ""),
        (0, 0, "10.0.2.15"),
    ]


def test_a_network_has_so_many_addresses() -> None:
    with pytest.raises(AppError, match="too many services"):
        places(app(*(service(f"s{number}") for number in range(240))))


def test_names_are_known_where_a_network_is_shared() -> None:
    front, back = Attachment("front", ("www",)), Attachment("back", ("store",))
    web = service(
        "web", networks=(front,), links=(("db", "old-db"),), extra_hosts=(("x", "9.9.9.9"),)
    )
    api = service(
        "api", networks=(Attachment("front"), Attachment("back")), container_name="shop-api"
    )
    db = service("db", networks=(back,))
    given = app(web, api, db)
    assert hosts(given, web).splitlines() == [
        "9.9.9.9\tx",
        "10.0.2.16\tweb www",
        "10.0.2.17\tapi shop-api",
        "10.0.2.18\told-db",
    ]
    assert hosts(given, api).splitlines() == [
        "10.0.2.17\tapi shop-api",
        "10.0.2.16\tweb www",
        "10.0.2.18\tdb store",
    ]
    assert hosts(given, db).splitlines() == ["10.0.2.18\tdb store", "10.0.2.17\tapi shop-api"]
    named = app(web, replace(api, hostname="inside"), db)
    assert "10.0.2.17\tapi shop-api inside" in hosts(named, web).splitlines()


def test_the_gateway_of_the_host_is_that_of_the_vm() -> None:
    one = service("a", extra_hosts=(("host.docker.internal", "host-gateway"),))
    assert "10.0.2.2\thost.docker.internal" in hosts(app(one, service("b")), one)


def test_name_servers_are_told_where_they_are_asked_for() -> None:
    assert resolver(service("a")) == ""
    told = service("a", dns=("9.9.9.9",), dns_search=("x.test", "y.test"), dns_opt=("ndots:2",))
    assert resolver(told) == "nameserver 9.9.9.9\nsearch x.test y.test\noptions ndots:2\n"


def test_a_named_volume_is_one_disk() -> None:
    shared, tmpfs = Mount("volume", "/data", "data"), Mount("tmpfs", "/t")
    anonymous = Mount("volume", "/own")
    given = app(
        service("a", mounts=(anonymous, shared)), service("b", mounts=(tmpfs, shared, anonymous))
    )
    assert given.volume_numbers() == ((0, 1), (None, 1, 2))
    assert given.volume_count == 3


def test_services_are_ordered_by_what_they_need() -> None:
    given = app(
        service("web", depends_on=(Dependency("api"), Dependency("db"))),
        service("side", network_mode="service:web"),
        service("api", depends_on=(Dependency("db"),)),
        service("db"),
    )
    assert [each.service for each in given.in_order] == ["db", "api", "web", "side"]


def test_the_guest_is_told_of_each_service() -> None:
    check = Healthcheck(("CMD-SHELL", "true"), 2.5, None, None, 1.0)
    db = service(
        "db", healthcheck=check, mem_limit_bytes=1 << 20, cpus=0.5, pids_limit=9, shm_bytes=7
    )
    web = service("web", depends_on=(Dependency("db", Condition.HEALTHY, required=False),))
    first, second = sections(encode_app(app(db, web)))
    assert first[b"S"], second[b"S"] == ([b"db"], [b"web"])
    assert first[b"R"] == second[b"R"] == [b"2:0"]
    assert first[b"K"] == [b"/bin/sh", b"-c", b"true"]
    assert struct.unpack("<IIII", first[b"T"][0]) == (2500, 30000, 1000, 3)
    assert struct.unpack("<QQI", first[b"C"][0]) == (1 << 20, 50_000, 9)
    assert first[b"M"] == [struct.pack("<Q", 7)]
    assert struct.unpack("<II", second[b"I"][0]) == (1, 17)
    assert struct.unpack("<III", second[b"D"][0]) == (0, 1, 0)
    assert b"K" not in second


def test_one_service_has_the_vm_for_itself() -> None:
    one = service("web")
    assert encode_app(app(one)) == encode_config(one)


LAYERS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=5)


@given(st.lists(LAYERS, min_size=1, max_size=4))
def test_chains(images: list[list[str]]) -> None:
    """Each once, what it stands on before it; an image is its chains from the top."""
    configs = [
        ImageConfig(f"sha256:{number}", "amd64", "linux", tuple(layers))
        for number, layers in enumerate(images)
    ]
    found = chains(configs)
    assert len(set(found)) == len(found)
    for number, chain in enumerate(found):
        assert len(chain) == 1 or chain[:-1] in found[:number]
    for config in configs:
        tree = trees(configs)[config.digest]
        assert [found[each][-1] for each in reversed(tree)] == list(config.diff_ids)
        assert all(found[low] == found[high][:-1] for high, low in itertools.pairwise(tree))


def test_who_is_in_the_network_of_another_has_its_names() -> None:
    given = app(
        service("vpn", networks=(Attachment("out"),)),
        service("job", network_mode="service:vpn"),
        service("db", networks=(Attachment("out"),)),
    )
    vpn, job, _ = sections(encode_app(given))
    assert job[b"O"] == vpn[b"O"]
    assert job[b"H"] == [b"vpn"]


def test_services_share_the_files_that_both_bind() -> None:
    own = ContentFile(kind="folder")
    html = Content("/html", source=Path("/project/html"), files=(own,))
    secret = Content("/run/secrets/key", data=b"x", read_only=True, files=(ContentFile(data=b"x"),))
    given = app(
        service("a", contents=(html, secret)),
        service("b", contents=(secret, replace(html, target="/srv"))),
    )
    assert given.content_numbers() == ((0, 1), (2, 0))
    first, second = sections(encode_app(given))
    assert first[b"F"] == [
        struct.pack("<II", 0, 0) + b"/html",
        struct.pack("<II", 1, 1) + b"/run/secrets/key",
    ]
    assert second[b"F"][1] == struct.pack("<II", 0, 0) + b"/srv"
    assert [row[28:] for row in first[b"f"]] == [b"", b"x"]


def test_more_than_the_guest_has_room_for() -> None:
    many = service("a", sysctls={f"net.x{number}": "1" for number in range(64)})
    with pytest.raises(AppError, match="cannot be run from a disk"):
        encode_app(app(many, service("b")))


@pytest.mark.parametrize(
    ("options", "given_up"),
    [
        ((), False),
        (("no-new-privileges",), True),
        (("no-new-privileges:true",), True),
        (("no-new-privileges=TRUE", "label:disable"), True),
        (("no-new-privileges:false",), False),
        (("no-new-privileges:true", "no-new-privileges:false"), False),
        (("seccomp:unconfined",), False),
    ],
)
def test_new_privileges_are_given_up(options: tuple[str, ...], given_up: bool) -> None:
    (found,) = sections(encode_app(app(service("a", security_opt=options, pids_limit=9))))
    assert found.get(b"Q", []) == [b""] * given_up
