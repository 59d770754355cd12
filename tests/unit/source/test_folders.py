"""The folders that hold a running App's data, and what else has to do with them."""

from types import SimpleNamespace
from typing import Any

from portkit.source import folders
from portkit.text import listed


def container(*mounts: tuple[str, str, str]) -> Any:
    rows = [SimpleNamespace(Type=t, Name=n, Source=s) for t, n, s in mounts]
    return SimpleNamespace(Mounts=rows)


def test_what_is_mounted_in_a_folder_is_an_error() -> None:
    one = container(
        ("volume", "data", "/v/data/_data"), ("bind", "", "/tank/app/"), ("tmpfs", "", "")
    )
    known = folders.data_folders([one, one])
    assert known == {"/v/data/_data": "data", "/tank/app": "/tank/app/"}
    asked: list[Any] = []

    def call(verb: str, args: Any) -> Any:
        asked.append((verb, args))
        return {"mounts": ["/tank/app/data", "/tank/app/log"]}

    host: Any = SimpleNamespace(remote=SimpleNamespace(call=call))
    (found,) = folders.mounted_below(host, known)
    assert asked == [("volume.mounted", {"paths": ["/tank/app", "/v/data/_data"]})]
    assert (found.rule, found.severity) == ("mounted-below", "error")
    assert "/tank/app/data, /tank/app/log" in found.message


def test_a_list_says_how_much_it_leaves_out() -> None:
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
