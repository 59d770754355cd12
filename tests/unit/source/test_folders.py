"""The folders that hold a running App's data, and who else has to do with them."""

from types import SimpleNamespace
from typing import Any

import pytest

from portkit.engines.docker_source import Held
from portkit.source import folders
from portkit.text import listed

DATA = {"/v/data/_data": "data", "/tank/app": ""}


def test_where_the_data_is() -> None:
    mounts = (("volume", "data", "/v/data/_data"), ("bind", "", "/etc/localtime"), ("tmpfs",) * 3)
    one: Any = SimpleNamespace(
        Mounts=[SimpleNamespace(Type=t, Name=n, Source=s) for t, n, s in mounts]
    )
    assert folders.data_folders([one, one], ["/tank/app/"]) == DATA


def test_what_is_mounted_in_a_folder_is_an_error() -> None:
    mounts = ["/tank/app", "/tank/app/data", "/tank/app/log", "/tank/apple"]
    (found,) = folders.mounted_below(DATA, mounts)
    assert (found.rule, found.severity) == ("mounted-below", "error")
    assert found.message.endswith("/tank/app would stay behind: /tank/app/data, /tank/app/log")


@pytest.mark.parametrize(
    ("volume", "path", "writes", "wanted"),
    [
        ("data", "/v/data/_data", True, ["error"]),
        ("data", "/v/data/_data", False, ["error"]),
        ("", "/tank/app", True, ["error"]),
        ("", "/tank/app", False, []),
        ("", "/tank/app/log", True, ["error"]),
        ("", "/tank", True, ["error"]),
        ("other", "/tank/app/volume", True, ["error"]),
        ("", "/tank/apple", True, []),
        ("", "/v/data/_data/in", True, ["error"]),
        ("", "/v", True, ["warning"]),  # a tool that looks after the engine's volumes
        ("", "/", True, ["warning", "warning"]),
        ("", "/", False, []),
        ("", "", True, []),
    ],
)
def test_what_others_have_mounted(volume: str, path: str, writes: bool, wanted: list[str]) -> None:
    found = list(folders.shared(DATA, [Held("0123456789abcdef", volume, path, writes)]))
    assert [each.severity for each in found] == wanted
    assert all(each.rule == "volume-shared" and "0123456789ab" in each.message for each in found)


def test_data_that_is_elsewhere() -> None:
    rows: list[Any] = [
        SimpleNamespace(Name="plain", Driver="local", Options={}),
        SimpleNamespace(Name="nfs", Driver="local", Options={"type": "nfs", "device": ":/x"}),
        SimpleNamespace(Name="ceph", Driver="rbd", Options={}),
    ]
    nfs, ceph = folders.not_local(rows)
    assert "type=nfs, device=:/x" in nfs.message
    assert "--volumes nfs=keep" in nfs.remedy
    assert "driver rbd" in ceph.message


def test_a_list_says_how_much_it_leaves_out() -> None:
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
