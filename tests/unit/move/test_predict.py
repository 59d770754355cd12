"""What a Move is going to cost: said before it travels, with what it rests on, or as unknown."""

import math
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.compat import space, space_needed
from portkit.delivery import Delivery
from portkit.errors import TransferError
from portkit.model import Artifact, Blob, Form
from portkit.move import predict as predict_room
from portkit.move.history import PastTransfer
from portkit.move.predict import predict
from tests.factories import FACTS, IMAGE, Heard

PAST = PastTransfer("pk-before", 50_000_000, 10.0)
THERE = Delivery(digest="sha256:1", size=400, copied=400, reason="already there")
SENT = Delivery(digest="sha256:2", size=900, copied=100, sent=20_000_000, reason="foreseen")


def test_bytes_and_the_time_they_take() -> None:
    cost = predict((THERE, SENT), space_bytes=7, past=PAST)
    assert (cost.sent_bytes, cost.reused_bytes, cost.space_bytes) == (20_000_000, 500, 7)
    assert cost.seconds == 4.0
    assert "1 of 2 blobs" in cost.basis[0]
    assert "pk-before" in cost.basis[-1]


def test_a_limit_is_slower_than_the_link_or_changes_nothing() -> None:
    assert predict((SENT,), space_bytes=0, past=PAST, limit=1e6).seconds == 20.0
    assert predict((SENT,), space_bytes=0, past=PAST, limit=1e9).seconds == 4.0
    assert predict((SENT,), space_bytes=0, past=None, limit=1e6).seconds is None


def test_the_link_is_measured_and_what_is_done_beside_comes_from_earlier() -> None:
    sent = replace(SENT, literal=74_999_900)  # 75 MB of content
    first = predict((sent,), space_bytes=0, past=None, link=10e6)
    assert first.seconds == 2.0 + 3.0 + 0.1
    assert "assumed" in first.basis[-1]
    # 50 MB over 10 MB/s took 5 of 10 s; the other 5 went to 100 MB of content.
    past = replace(PAST, link=10e6, content_bytes=100_000_000)
    later = predict((sent,), space_bytes=0, past=past, link=5e6)
    # Of the 3.85 s beside it, half may go on while the slower link is busy.
    assert later.seconds == pytest.approx(4.0 + 1.925, abs=0.01)
    same = predict((sent,), space_bytes=0, past=past, link=10e6)
    assert same.seconds == pytest.approx(2.0 + 3.85, abs=0.01)
    assert same.link_rate == 10e6
    assert "pk-before" in later.basis[-1]
    assert predict((sent,), space_bytes=0, past=past, link=5e6, limit=1e6).seconds == pytest.approx(
        21.93, abs=0.01
    )
    # Of a transfer that an older portkit has made, only the whole is known.
    assert predict((sent,), space_bytes=0, past=PAST, link=1e9).seconds == 4.0
    assert predict((sent,), space_bytes=0, past=PAST, link=2e6).seconds == 10.0


@given(
    st.integers(0, 1 << 50),
    st.integers(0, 1 << 50),
    st.builds(
        PastTransfer,
        move=st.just("pk-x"),
        sent_bytes=st.integers(1, 1 << 50),
        seconds=st.floats(1e-3, 1e9),
        link=st.none() | st.floats(0, 1e12),
        content_bytes=st.integers(0, 1 << 50),
    ),
    st.none() | st.floats(1, 1e12),
    st.none() | st.floats(1, 1e12),
)
def test_more_bytes_never_take_less_time(
    sent: int, more: int, past: PastTransfer, link: float | None, limit: float | None
) -> None:
    costs = [
        predict(
            (replace(SENT, sent=size, literal=size),),
            space_bytes=0,
            past=past,
            link=link,
            limit=limit,
        ).seconds
        for size in (sent, sent + more)
    ]
    assert costs[0] is not None
    assert costs[1] is not None
    assert 0 <= costs[0] <= costs[1] < math.inf


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ({"expected": None, "past": PAST}, {"sent_bytes", "reused_bytes", "seconds"}),
        ({"expected": (SENT,), "past": None}, {"seconds"}),
        ({"expected": (SENT,), "past": PAST, "local": True}, {"seconds"}),
    ],
)
def test_what_nobody_knows_is_unknown(known: dict[str, Any], unknown: set[str]) -> None:
    cost = predict(**known, space_bytes=1)
    fields = ("sent_bytes", "reused_bytes", "space_bytes", "seconds")
    assert {name for name in fields if getattr(cost, name) is None} == unknown
    assert any("unknown, because" in text for text in cost.basis)


def test_nothing_travels_to_this_machine() -> None:
    assert predict((SENT,), space_bytes=1, past=None, local=True).sent_bytes == 0


@pytest.mark.parametrize("engine_free", [10 << 30, 1 << 30, None])
def test_the_space_is_the_one_that_the_rule_compares(engine_free: int | None) -> None:
    blob = Blob("sha256:" + "1" * 64, 5 << 20)
    image = replace(IMAGE, diff_ids=(blob.digest,))
    new = [(Artifact(Form.IMAGE, IMAGE.digest, (image,), (blob,), blob.size, blob.size), [blob])]
    facts = replace(FACTS, store_free_bytes=1, docker_free_bytes=engine_free and 1)
    (finding,) = space(facts, new)
    assert str(space_needed(facts, new)) in finding.message


def test_all_that_is_sent_to_predict_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial of the link, of which the share is that of all content, and each question."""
    remote = SimpleNamespace(written=7)
    asked: list[int] = []

    def link_rate(target: object, content: int) -> float:
        asked.append(content)
        remote.written += 1000
        return 1e6

    def one(*_: object) -> str:
        remote.written += 10
        return "a cost"

    monkeypatch.setattr(predict_room, "link_rate", link_rate)
    monkeypatch.setattr(predict_room, "_one", one)
    turn = SimpleNamespace(taken=lambda: nullcontext(SimpleNamespace(phase=nullcontext)))
    blob = Blob("sha256:" + "1" * 64, 500)
    image = Artifact(Form.IMAGE, IMAGE.digest, (IMAGE,), (blob,), 900, 500)
    disk = replace(image, form=Form.DISK, stored_bytes=70)
    packed: list[Any] = [
        SimpleNamespace(
            app=SimpleNamespace(name=name),
            turn=turn,
            image=image,
            artifacts={Form.IMAGE: image, Form.DISK: made},
            hopeless=lambda form, name=name: name == "refused",
        )
        for name, made in (("refused", disk), ("shop", disk), ("blog", None))
    ]
    target = SimpleNamespace(name="there", rate_limit=None, remote=remote)
    job: Any = SimpleNamespace(target=target, about=lambda *_: nullcontext())
    journal: Any = SimpleNamespace(foresee=lambda *_: None)
    found = predict_room.predictions(packed, job, journal)
    assert asked == [500 + 70 + 500]
    assert found.sent_bytes == {"refused": 0, "shop": 1020, "blog": 10}
    assert set(found.costs) == {("shop", Form.IMAGE), ("shop", Form.DISK), ("blog", Form.IMAGE)}


def test_a_move_that_cannot_be_predicted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> NoReturn:
        raise TransferError("the connection broke")

    monkeypatch.setattr(predict_room, "_briefly", broken)
    heard = Heard()
    packed: Any = SimpleNamespace(app=SimpleNamespace(name="shop"), image=None)
    target = SimpleNamespace(name="there", rate_limit=None)
    job: Any = SimpleNamespace(observer=heard, target=target)
    journal: Any = SimpleNamespace(foreseen=lambda *_: {})
    assert predict_room.before(packed, job, journal) == ({}, None)
    assert ["the connection broke" in text for text in heard.messages] == [True]
