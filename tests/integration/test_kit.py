"""The GuestKit is made of Debian's packages and portkit's sources alone."""

from pathlib import Path

import pytest

from portkit.guest.kit import build_kit

pytestmark = pytest.mark.lab


def test_a_kit_made_anew_is_the_same(tmp_path: Path) -> None:
    kept, fresh = build_kit(), build_kit(tmp_path / "cache")
    assert fresh.digest == kept.digest
    for name in ("kernel", "initrd", "boot", "loader"):
        assert getattr(fresh, name).read_bytes() == getattr(kept, name).read_bytes(), name
