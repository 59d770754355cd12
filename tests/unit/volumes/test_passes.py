"""Whether a further pass pays, and what the last one would take."""

import pytest

from portkit.volumes import Pass, another, predicted_last_s, too_fast


def done(
    sent: int,
    began: float,
    seconds: float,
    *,
    scan: float = 0.5,
    send: float = 1.0,
    hashed: tuple[int, int] | None = None,
) -> Pass:
    return Pass(
        entries=1,
        bytes=1000,
        changed_entries=1,
        sent_bytes=sent,
        wire_bytes=sent // 2,
        deleted=0,
        seconds=seconds,
        last=False,
        digest="",
        skipped=(),
        vanished=0,
        scan_s=scan,
        send_s=send,
        began_s=began,
        remembered=0,
        hashed=hashed[0] if hashed else 1000,
        hashed_there=hashed[1] if hashed else 1000,
        provable=hashed is not None,
    )


FIRST = done(1000, 0.0, 20.0, scan=4.0, send=15.0)


def test_when_it_pays() -> None:
    assert another([])
    assert another([FIRST])
    assert another([FIRST, done(600, 20.0, 10.0)])
    assert not another([FIRST, done(900, 20.0, 14.0)])  # it changes too fast
    assert not another([FIRST, done(100, 20.0, 0.9, send=0.2)])  # it is as short as it gets
    assert too_fast([FIRST, done(900, 20.0, 14.0)])
    assert not too_fast([FIRST, done(100, 20.0, 0.9, send=0.2)])
    assert not too_fast([FIRST]), "another one is made"
    halving = [done(1000, float(n), 2.0 ** (10 - n)) for n in range(6)]
    assert all(another(halving[:n]) for n in range(6))
    assert not another(halving)
    assert too_fast(halving)


def test_after_one_pass_all_may_have_changed() -> None:
    assert predicted_last_s([FIRST]) == pytest.approx(4 + 15 + 1)
    assert predicted_last_s([FIRST], rate=100.0) == pytest.approx(4 + 5 + 1)


def test_what_changes_is_sent_at_the_rate_of_before() -> None:
    # 200 in the 20 s since the first began: 10 a second, for 4 s; 5 of them go in 0.025 s.
    passes = [FIRST, done(200, 20.0, 4.0)]
    assert predicted_last_s(passes) == pytest.approx((4 + 0.5) + 40 * 1 / 200 + 2.5)
    assert predicted_last_s(passes, rate=10.0) == pytest.approx((4 + 0.5) + 20 / 10 + 2.5)


def test_nothing_changes() -> None:
    passes = [FIRST, done(0, 20.0, 0.5, scan=0.4, send=0.0)]
    assert predicted_last_s(passes) == pytest.approx(4 + 0.4 + 0.1)
    with pytest.raises(ValueError, match="first pass"):
        predicted_last_s([])


def test_what_is_proven_is_not_hashed_in_the_last_pass() -> None:
    # 1000 bytes are hashed in 4 s, all entries are looked at in half a second; 50 have changed.
    passes = [
        done(1000, 0.0, 20.0, scan=4.0, send=15.0, hashed=(1000, 0)),
        done(0, 20.0, 4.6, scan=4.5, send=0.0, hashed=(50, 1000)),
        done(0, 25.0, 0.8, scan=0.7, send=0.0, hashed=(50, 50)),
    ]
    for known in (passes, passes[:2]):
        assert predicted_last_s(known) == pytest.approx(50 * 4.0 / 1000 + 2 * 0.5 + 0.1)
