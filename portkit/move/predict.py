"""What a Move is going to cost, before a byte of it travels. `predict` is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portkit import compat, transfer
from portkit.delivery import Delivery, Prediction
from portkit.model import Artifact, Blob, Form
from portkit.move.journal import Journal, Past
from portkit.move.prepare import Job, Packed


def predictions(
    packed: Sequence[Packed], job: Job, journal: Journal
) -> Mapping[tuple[str, Form], Prediction]:
    """By App and Form, in the order of the Moves: what an earlier one brings does not travel again.

    The target is only read. What is refused, or not made yet, is left out. The journal keeps them,
    and a Move of the same content is compared with them.
    """
    found: dict[tuple[str, Form], Prediction] = {}
    arriving: set[str] = set()
    for each in packed:
        with each.turn.taken() as clock, job.about(each.app, "predicting its cost"):
            for form, artifact in each.artifacts.items():
                if artifact is None or each.hopeless(form):
                    continue
                with clock.phase(f"predict {form}"):
                    cost = _one(each, artifact, job, journal, arriving)
                found[each.app.name, form] = cost
                target = job.target
                journal.foresee(
                    each.app.name, target.name, each.image, target.rate_limit, {form: cost}
                )
                # Also between Forms: a disk is described against the layers of its own image, which
                # go before it.
                arriving |= {blob.digest for blob in artifact.blobs}
    return found


def _one(
    packed: Packed, artifact: Artifact, job: Job, journal: Journal, arriving: set[str]
) -> Prediction:
    past = journal.measured(artifact.form, job.target.name)
    rate = None if past is None else past.rate
    new, expected = transfer.expected(artifact, job.store, job.target, arriving=arriving, rate=rate)
    arrives: list[tuple[Artifact, Sequence[Blob]]] = [(artifact, new)]
    if artifact.form is Form.DISK and Form.IMAGE in packed.artifacts:
        arrives.insert(0, (packed.image, ()))  # the disk is made from its layers
    return predict(
        expected,
        space_bytes=compat.space_needed(packed.target, arrives),
        past=past,
        limit=job.target.rate_limit,
        local=job.target.name == "local",
    )


def predict(
    expected: Sequence[Delivery] | None,
    *,
    space_bytes: int,
    past: Past | None,
    limit: float | None = None,
    local: bool = False,
) -> Prediction:
    """What one Form is going to cost. expected: its blobs, None where that cannot be known. past:
    an earlier transfer to that host. limit: what the Move is held to, bytes a second. local: the
    target is this machine, so nothing goes over a network."""
    sent = reused = None
    if expected is not None:
        sent = 0 if local else sum(delivery.sent for delivery in expected)
        reused = sum(delivery.copied for delivery in expected)
    seconds = None
    if sent is not None and past is not None and not local:
        # The rate of a whole transfer, unpacking included: that is what the time will be made of
        # again.
        seconds = round(sent / min(past.rate, limit or past.rate), 1)
    basis = (_bytes(expected), "space: an upper bound, from sizes", _time(past, limit, local))
    return Prediction(
        sent_bytes=sent,
        reused_bytes=reused,
        space_bytes=space_bytes,
        seconds=seconds,
        basis=basis,
    )


def _bytes(expected: Sequence[Delivery] | None) -> str:
    if expected is None:
        return "bytes: unknown, because the bundle holds only differences from what a host has"
    there = sum(delivery.sent == 0 for delivery in expected)
    return (
        f"bytes: {there} of {len(expected)} blobs are on the target; the others were compared with "
        "what it has, and the rest compressed here"
    )


def _time(past: Past | None, limit: float | None, local: bool) -> str:
    if local:
        return "time: unknown, because nothing goes over a network"
    if past is None:
        return "time: unknown, because no transfer of this form to this host was measured yet"
    held = f", held to {limit / 1e6:.1f} MB/s" if limit and limit < past.rate else ""
    return f"time: as fast as {past.move}, {past.rate / 1e6:.1f} MB/s with unpacking{held}"
