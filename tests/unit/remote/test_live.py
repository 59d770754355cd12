"""Whether the process of a guest has ended; ordinary processes stand for QEMU."""

from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.remote import live
from portkit.wire.frames import RemoteError

CHANNEL: Any = None


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(live, "_PIDS", tmp_path)
    monkeypatch.setattr(live, "_WAITS_S", 0.1)
    return tmp_path


def test_the_end_of_a_process(pids: Path) -> None:
    child = process.spawn(["sleep", "60"])
    (pids / "shop.pid").write_text(f"{child.pid}")
    found = live.process({"name": "shop"}, CHANNEL)
    assert found["pid"] == child.pid
    assert found["started"]
    assert live.ended(found, CHANNEL) == {"ended": False}
    child.kill()
    assert live.ended(found, CHANNEL) == {"ended": True}  # though nobody has taken its exit code
    process.end(child)
    assert live.ended(found, CHANNEL) == {"ended": True}
    assert live.process({"name": "shop"}, CHANNEL) == {"pid": 0, "started": ""}


def test_another_process_with_the_same_number_is_another_one(pids: Path) -> None:
    child = process.spawn(["sleep", "60"])
    (pids / "shop.pid").write_text(f"{child.pid}")
    found = live.process({"name": "shop"}, CHANNEL)
    assert live.ended({**found, "started": "another"}, CHANNEL) == {"ended": True}
    process.end(child)


def test_one_that_libvirt_has_not_noted_never_ends(pids: Path) -> None:
    found = live.process({"name": "shop"}, CHANNEL)
    assert found == {"pid": 0, "started": ""}
    assert live.ended(found, CHANNEL) == {"ended": False}


@pytest.mark.parametrize("name", ["../../etc/x", "a/b", ".", ".."])
def test_a_name_that_leads_elsewhere_is_refused(pids: Path, name: str) -> None:
    with pytest.raises(RemoteError, match="no such name"):
        live.process({"name": name}, CHANNEL)
