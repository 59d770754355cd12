"""What a running App's data and downtime are predicted to cost: pure functions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.model import Basis, Foreseen, Form, figure
from portkit.move import foresee
from portkit.move.history import Past, past_of, times, typical
from portkit.report import adapter
from portkit.volumes import Pass, Survey, predicted_last_s
from portkit.volumes import foresee as volumes

SEEN = Survey(
    entries=100,
    bytes=100_000_000,
    whole=True,
    walk_s=0.01,
    sampled_bytes=10_000_000,
    read_s=0.05,
    changed_bytes=0,
    grown_bytes=0,
    window_s=2.0,
    packed_bytes=8_000_000,
    packed_wire_bytes=4_000_000,
    pack_s=0.01,
    way_bytes=1_000_000,
    way_s=0.1,
    call_s=0.002,
)
WAY = foresee.Way(
    app="shop", source="a", target="b", form=Form.IMAGE, fills=False, layer_s=0.2, real=True
)
PAST = Past(
    app="shop",
    source="a",
    target="b",
    form="image",
    stop_s=3.0,
    layer_s=0.5,
    boot_s=2.0,
    first_s=10.0,
    last_s=1.0,
    downtime_s=7.0,
    raw_last_s=0.5,
)
STUBBORN = replace(WAY, waits_s=10.0)
SIZES, SECONDS = st.integers(0, 1 << 50), st.floats(0, 1e6)
SURVEYS = st.builds(
    Survey,
    entries=SIZES,
    bytes=SIZES,
    whole=st.booleans(),
    walk_s=SECONDS,
    sampled_bytes=SIZES,
    read_s=SECONDS,
    changed_bytes=SIZES,
    grown_bytes=SIZES,
    window_s=SECONDS,
    packed_bytes=SIZES,
    packed_wire_bytes=SIZES,
    pack_s=SECONDS,
    way_bytes=SIZES,
    way_s=SECONDS,
    call_s=SECONDS,
)
FIGURES = st.none() | SECONDS
PASTS = st.lists(
    st.builds(
        Past,
        app=st.sampled_from(("shop", "blog")),
        source=st.sampled_from("ab"),
        target=st.sampled_from("bc"),
        form=st.sampled_from(("image", "disk")),
        stop_s=FIGURES,
        layer_s=FIGURES,
        boot_s=FIGURES,
        first_s=FIGURES,
        last_s=FIGURES,
        downtime_s=FIGURES,
        raw_last_s=FIGURES,
    ),
    max_size=8,
)


def test_the_first_pass_reads_sends_and_writes_all() -> None:
    assert volumes.wire_bytes(SEEN) == pytest.approx(50_000_000, rel=0.01)
    assert volumes.first_s(SEEN) == pytest.approx(0.5 + 5.0 + 0.25, rel=0.05)


@given(SURVEYS, SIZES, SECONDS)
def test_more_data_and_more_changes_never_cost_less(seen: Survey, more: int, stop_s: float) -> None:
    larger = replace(seen, bytes=seen.bytes + more)
    assert 0 < volumes.first_s(seen) <= volumes.first_s(larger)
    assert 0 <= volumes.wire_bytes(seen) <= volumes.wire_bytes(larger)
    busier = replace(seen, changed_bytes=seen.changed_bytes + more)
    assert 0 < volumes.last_s(seen, stop_s) <= volumes.last_s(busier, stop_s)
    assert volumes.last_s(seen, stop_s) <= volumes.last_s(seen, stop_s + 1.0)
    assert volumes.last_s(seen, stop_s) <= volumes.last_s(seen, stop_s, fills=True)
    assert math.isfinite(volumes.last_s(busier, stop_s, fills=True))


@given(st.lists(SURVEYS, max_size=3), PASTS)
def test_every_figure_is_finite_and_named(seen: list[Survey], pasts: list[Past]) -> None:
    known = foresee.foreseen(seen, WAY, pasts)
    assert sum(part.value for part in known.parts.values()) == known.downtime_s.value
    for each in foresee.figures(known, pasts[0] if pasts else None, (0, 1)):
        assert math.isfinite(each.predicted)
        assert each.predicted >= 0
        assert each.basis.partition(":")[0] in list(Basis)
    assert adapter(Foreseen).validate_python(adapter(Foreseen).dump_python(known)) == known


def test_what_nobody_knows_is_said_to_be_assumed() -> None:
    known = foresee.foreseen([SEEN], WAY, ())
    assert {name: part.basis for name, part in known.parts.items()} == {
        "stop": Basis.ASSUMED,
        "last layer": Basis.MEASURED,
        "last pass": Basis.MEASURED,
        "boot": Basis.ASSUMED,
        "rest": Basis.ASSUMED,
    }
    assert known.downtime_s.basis is Basis.ASSUMED
    assert "a guess" in known.stop_s.why
    machine = replace(WAY, form=Form.DISK, layer_s=None)
    assert foresee.foreseen([SEEN], machine, ()).boot_s.value == foresee.BOOT_KVM_S
    slow = replace(machine, real=False)
    assert foresee.foreseen([SEEN], slow, ()).boot_s.value == foresee.BOOT_TCG_S
    assert foresee.foreseen([SEEN], slow, ()).layer_s.value == 0


def test_guesses_are_those_of_hosts_as_fast_as_these() -> None:
    usual = foresee.foreseen([SEEN], WAY, ())
    known = foresee.foreseen([SEEN], replace(WAY, slow=(2.0, 0.5)), ())
    assert known.stop_s.value == 2.0 * usual.stop_s.value
    assert known.boot_s.value == 0.5 * usual.boot_s.value
    assert known.rest_s.value == 0.5 * usual.rest_s.value


def test_what_there_was_no_time_for_is_assumed_as_in_the_others() -> None:
    untried = replace(SEEN, packed_bytes=0, packed_wire_bytes=0, pack_s=0.0)
    unread = replace(untried, sampled_bytes=0, read_s=0.0, window_s=0.0)
    both = foresee.foreseen([SEEN, SEEN], WAY, ())
    for other in (untried, unread):
        known = foresee.foreseen([SEEN, other], WAY, ())
        assert known.data_bytes == replace(both.data_bytes)
        assert known.wire_bytes.value == both.wire_bytes.value
        assert known.first_s.value == pytest.approx(both.first_s.value)
        assert known.last_s.value == pytest.approx(both.last_s.value)
        for part in (known.wire_bytes, known.first_s, known.last_s):
            assert part.basis is Basis.ASSUMED
            assert "assumed for 1 of 2 volumes" in part.why
    assert both.first_s.basis is Basis.MEASURED
    assert "assumed" not in both.first_s.why
    part = foresee.foreseen([SEEN, replace(SEEN, whole=False)], WAY, ()).data_bytes
    assert part.basis is Basis.ASSUMED
    empty = replace(unread, bytes=0)
    assert foresee.foreseen([SEEN, empty], WAY, ()).first_s.basis is Basis.MEASURED


def test_earlier_moves_of_the_app_count_before_those_of_others() -> None:
    other = replace(PAST, app="blog", boot_s=9.0, stop_s=20.0)
    known = foresee.foreseen([SEEN], WAY, (other, PAST))
    assert (known.stop_s.value, known.boot_s.value, known.rest_s.value) == (3.0, 2.0, 0.5)
    assert known.stop_s.basis is known.boot_s.basis is Basis.EARLIER
    unlike = foresee.foreseen([SEEN], WAY, (other,))
    assert unlike.stop_s.basis is Basis.ASSUMED, "another process ends otherwise"
    assert unlike.boot_s.value == 9.0
    assert foresee.foreseen([SEEN], replace(WAY, form=Form.DISK), (other,)).boot_s.value == 5.0


def test_the_last_pass_is_corrected_by_what_it_took_between_the_same_hosts() -> None:
    plain = foresee.foreseen([SEEN], replace(WAY, layer_s=None), ())
    before = replace(PAST, stop_s=None)
    known = foresee.foreseen([SEEN], WAY, (before,))
    assert known.last_s.value == pytest.approx(2 * plain.last_s.value)
    assert known.last_s.raw == plain.last_s.raw, "a correction is not corrected again"
    assert known.first_s == plain.first_s, "its rates were measured just now"
    elsewhere = foresee.foreseen([SEEN], WAY, (replace(before, target="c"),))
    assert elsewhere.last_s == plain.last_s


def test_the_passes_of_a_move_that_waits_say_what_a_cutover_would_cost() -> None:
    known = foresee.foreseen([SEEN], WAY, ())
    later = foresee.now(known, 4.0)
    assert later.last_s.value == 4.0
    assert later.downtime_s.value == pytest.approx(
        known.downtime_s.value - known.last_s.value + 4.0
    )


def test_a_volume_that_changes_too_fast_is_told_with_the_downtime() -> None:
    first = Pass(
        entries=1,
        bytes=1000,
        changed_entries=1,
        sent_bytes=1000,
        wire_bytes=1000,
        deleted=0,
        seconds=10.0,
        last=False,
        digest="",
        skipped=(),
        vanished=0,
        scan_s=0.0,
        send_s=10.0,
        began_s=0.0,
        remembered=0,
        hashed=0,
        hashed_there=0,
        provable=True,
    )
    busy = [first, replace(first, began_s=10.0)]
    calm = [first, replace(first, began_s=10.0, sent_bytes=1, seconds=0.1, send_s=0.1)]
    known = foresee.foreseen([SEEN], WAY, ())
    assert foresee.too_fast_words({"logs": calm, "disks": []}, known) == ""
    said = foresee.too_fast_words({"logs": calm, "db": busy}, known)
    assert said.startswith("db: what is there changes faster than it can be copied, and a cutover ")
    last_s = predicted_last_s(calm) + predicted_last_s(busy)
    assert f"last pass {last_s:.2f} s" in said
    assert "would copy for" in foresee.too_fast_words({"db": busy}, None), "of an older Move"


def test_medians_and_corrections() -> None:
    pasts = [replace(PAST, stop_s=value) for value in (1.0, None, 3.0, 50.0)]
    assert typical(pasts, lambda past: past.stop_s, [lambda past: True]) == (3.0, 3, 0)
    assert typical(pasts, lambda past: past.stop_s, [lambda past: False]) is None
    assert times([]) == (1.0, 0)
    assert times([(1.0, 0.0), (None, 1.0), (1.0, None)]) == (1.0, 0)
    assert times([(2.0, 1.0)]) == (2.0, 1)
    assert times([(1e9, 1e-300)]) == (3.0, 1), "a correction has a limit"


def test_an_error_is_told_of_what_was_measured() -> None:
    assert figure("x", "s", 3.0, "", 2.0).error_percent == 50.0
    assert figure("x", "bytes", 1.6, "", 2.0).predicted == 2
    assert figure("x", "s", 3.0, "", 0.0).error_percent is None
    assert figure("x", "s", 3.0, "").measured is None


STEPS: dict[str, Any] = {
    "presync": {"volumes": [{"passes": [{"seconds": 2.0}, {"seconds": 1.0}]}]},
    "stop": {"phases": [{"name": "stop the source", "seconds": 0.5}]},
    "last layer": {"phases": []},
    "last sync": {"phases": [{"name": "last sync", "seconds": 0.25}]},
    "boot image": {"from_boot_s": [1.5], "timeline": {"downtime_s": 2.5}},
}
PLAN: dict[str, Any] = {
    "live": {"containers": []},
    "forms": ["image"],
    "foreseen": {"first_s": {"raw": 1.0}, "last_s": {"raw": 0.5}},
}


def test_what_a_move_took_is_read_from_the_journal() -> None:
    past = past_of("shop", "a", "b", PLAN, lambda name: STEPS.get(name, {}))
    assert past == Past(
        app="shop",
        source="a",
        target="b",
        form="image",
        stop_s=0.5,
        layer_s=0,
        boot_s=1.5,
        first_s=2.0,
        last_s=0.25,
        downtime_s=2.5,
        raw_last_s=0.5,
    )
    assert past.rest_s == 0.25
    assert past_of("shop", "a", "b", {**PLAN, "live": None}, STEPS.get) is None
    running = {**PLAN, "live": {"domain": {"keeps_running": True}}}
    assert past_of("shop", "a", "b", running, STEPS.__getitem__) is None
    nothing = past_of("shop", "a", "b", PLAN, lambda name: {})
    assert nothing is not None
    assert (nothing.stop_s, nothing.rest_s, nothing.downtime_s) == (None, None, None)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("seconds", "passes", "phases", "volumes", "timeline", "downtime_s")),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
ROWS = st.dictionaries(
    st.sampled_from(("phases", "volumes", "from_boot_s", "timeline", "live", "forms", "foreseen")),
    JUNK,
    max_size=6,
)


@given(ROWS, ROWS)
def test_a_damaged_journal_gives_no_figure_that_cannot_be(
    plan: dict[str, Any], row: dict[str, Any]
) -> None:
    past = past_of("shop", "a", "b", {"live": {"x": 1}, "forms": ["image"]} | plan, lambda _: row)
    if past is not None:
        known = foresee.foreseen([SEEN], WAY, (past,))
        assert math.isfinite(known.downtime_s.value)
        assert known.downtime_s.value >= 0


def test_a_process_that_is_not_reached_by_its_signal_is_waited_for() -> None:
    part = foresee.foreseen([SEEN], STUBBORN, ()).stop_s
    assert (part.value, part.basis) == (10.0 + foresee.STOP_S, Basis.MEASURED)
    known = foresee.foreseen([SEEN], STUBBORN, (PAST,)).stop_s
    assert (known.value, known.basis) == (PAST.stop_s, Basis.EARLIER)
