"""The services that a guest does not start, in the configuration that init reads."""

import base64
from pathlib import Path

import pytest

from portkit.guest.config import encode_app
from portkit.model import AppSpec, Machine
from portkit.remote import instances
from portkit.remote.standing import ILL, RESTS, standing, with_standing
from portkit.wire.frames import RemoteError
from tests.factories import spec

ID = "pk-0123456789ab"


def config(*names: str, restart: str = "always") -> bytes:
    rows = tuple(
        spec(app="shop", service=name, layers=(0,), restart=restart, hostname=name)
        for name in names
    )
    return encode_app(AppSpec("shop", rows, rows[0], Machine()))


def test_a_flag_of_each_service() -> None:
    whole = config("db", "web", "worker")
    assert standing(whole) == {}
    made = with_standing(whole, {"worker": RESTS, "db": ILL, "unknown": RESTS})
    assert standing(made) == {"db": ILL, "worker": RESTS}
    assert len(made) == len(whole)
    assert with_standing(made, {}) == whole, "the checksum is right again"


def test_the_policies_are_written_and_what_rests_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "ROOT", tmp_path)
    (tmp_path / ID).mkdir()
    path = tmp_path / ID / "config.raw"
    assert instances.at_rest(ID) == []
    path.write_bytes(config("db", "web", restart="no"))
    told = {"id": ID, "resting": ["db"], "ill": ["web"]}
    instances.stand(told, None)  # type: ignore[arg-type]
    final = config("db", "web")
    args = {"id": ID, "config": base64.b64encode(final).decode()}
    instances.configure(args, None)  # type: ignore[arg-type]
    assert path.read_bytes() == with_standing(final, {"db": RESTS, "web": ILL})
    assert instances.at_rest(ID) == ["db"]
    with pytest.raises(RemoteError, match="another size"):
        instances._configured(ID, lambda old: old + bytes(512))


@pytest.mark.parametrize("cut", [0, 10, 40])
def test_one_that_is_damaged(cut: int) -> None:
    with pytest.raises(RemoteError, match="is damaged"):
        standing(config("db", "web")[:cut])
