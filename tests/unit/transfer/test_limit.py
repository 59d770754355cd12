"""A link that is held to a rate: what is measured before the brake says nothing of the link."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from portkit import transfer
from portkit.host import Host
from portkit.host.limit import Bucket
from portkit.progress import NullObserver
from portkit.store import Store
from portkit.transfer import price
from portkit.transfer.bases import Bases
from portkit.transfer.deliver import deliver
from portkit.transfer.meter import Meter
from portkit.transfer.price import Packing
from portkit.transfer.resume import Link
from tests.unit.transfer.far import Far


def chosen(
    near: Store, link: Link, monkeypatch: pytest.MonkeyPatch, measured: float | None
) -> list[float]:
    """The rates for which a level was chosen."""
    rates: list[float] = []

    def packing(_: object, size: int, rate: float, cores: int, packed: bool) -> Packing:
        rates.append(rate)
        return Packing("zstd", 1)

    monkeypatch.setattr(price, "packing", packing)
    monkeypatch.setattr(Meter, "rate", lambda self: measured)
    blob = near.put_bytes(b"text " * 1_000_000)
    with Bases(near) as known:
        deliver(blob, near, link, known, NullObserver(), lambda count: None)
    return rates


def test_no_rate_is_over_the_limit(near: Store, far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Link(far.remote, limit=2e6)
    assert chosen(near, link, monkeypatch, measured=4e6) == [2e6, 2e6]
    assert link.rate == 2e6


def test_a_link_that_is_slower_than_the_limit(
    near: Store, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(far.remote, limit=200e6)
    assert chosen(near, link, monkeypatch, measured=1e6) == [80e6, 1e6]
    assert link.rate == 1e6


def test_what_was_measured_without_a_limit(
    near: Store, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Link(far.remote, limit=2e6, rate=50e6)
    assert chosen(near, link, monkeypatch, measured=None) == [2e6]
    assert link.rate == 2e6


def host(**remote: Any) -> Host:
    fake = SimpleNamespace(encodings=("zstd",), lost=False, **remote)
    return cast(Host, SimpleNamespace(remote=fake, name="there", rate=None))


def test_the_limit_is_the_hosts() -> None:
    assert transfer._link(host(limit=Bucket(2e6))).limit == 2e6
    assert transfer._link(host(limit=None)).limit is None
    assert transfer._link(host()).limit is None
