"""What only a trial shows is kept for the next check, and asked again when it may have changed."""

from pathlib import Path
from typing import Any, cast

import pytest

from portkit.host import Host
from portkit.host.kept import Kept
from portkit.remote import facts
from portkit.remote.channel import Channel


class FakeRemote:
    """Answers as `facts.gather` does, with a trial that is counted."""

    def __init__(self, mark: str = "boot 1") -> None:
        self.mark, self.trials = mark, 0

    def call(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        assert verb == "facts"
        row = {"os_id": "debian", "kept_mark": self.mark, "listening": [["0.0.0.0", self.trials]]}
        if args.get("kept", {}).get("kept_mark") == self.mark:
            return row | {name: args["kept"][name] for name in facts.KEPT} | {"was_kept": True}
        self.trials += 1
        return row | {"accelerator": "tcg", "accelerator_note": f"trial {self.trials}"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTKIT_CACHE", str(tmp_path / "cache"))


def said(remote: FakeRemote, *, keep: bool = True) -> tuple[Host, dict[str, Any]]:
    host = Host("web1", None, cast(Any, remote), keep=keep)
    return host, host._said({})


def test_a_trial_is_not_repeated_and_its_age_is_known() -> None:
    remote = FakeRemote()
    first, _ = said(remote)
    assert first.kept_s is None
    second, row = said(remote)
    assert second.kept_s is not None
    assert 0 <= second.kept_s < 60
    assert row["accelerator_note"] == "trial 1"
    assert remote.trials == 1


def test_a_host_that_has_changed_is_asked_again() -> None:
    remote = FakeRemote()
    said(remote)
    remote.mark = "boot 2"
    host, row = said(remote)
    assert (host.kept_s, row["accelerator_note"]) == (None, "trial 2")
    assert said(remote)[0].kept_s is not None


def test_without_keep_nothing_is_read_or_written(tmp_path: Path) -> None:
    remote = FakeRemote()
    said(remote, keep=False)
    assert not (tmp_path / "cache").exists()
    said(remote)
    host, row = said(remote, keep=False)
    assert (host.kept_s, row["accelerator_note"]) == (None, "trial 3")


def test_the_folder_is_private_and_what_is_damaged_is_asked_again(tmp_path: Path) -> None:
    remote = FakeRemote()
    said(remote)
    folder = tmp_path / "cache/facts"
    (path,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    for spoilt in (b"", b"[]", b'{"at": 1}', b"\xff", b"[" * 70_000):
        path.write_bytes(spoilt)
        assert said(remote)[0].kept_s is None
    assert said(remote)[0].kept_s is not None


def test_each_endpoint_has_its_own() -> None:
    kept = Kept()
    kept.write("ssh://a", {"accelerator": "kvm"})
    assert kept.read("ssh://a")["accelerator"] == "kvm"
    assert kept.read("ssh://b") == {}


def test_the_host_itself_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    trials: list[str] = []

    def trial(binary: str | None) -> tuple[str, str]:
        trials.append("one")
        return "tcg", "it hangs"

    monkeypatch.setattr(facts, "accelerator", trial)
    monkeypatch.setattr(facts.engine, "info", lambda: None)
    channel = cast(Channel, None)
    first = facts.gather({}, channel)
    assert "was_kept" not in first
    again = facts.gather({"kept": first}, channel)
    assert (again["was_kept"], again["accelerator_note"], len(trials)) == (True, "it hangs", 1)
    assert again["listening"] is not first["listening"], "ports are asked every time"
    other = facts.gather({"kept": {**first, "kept_mark": "before the restart"}}, channel)
    assert ("was_kept" in other, len(trials)) == (False, 2)
