"""What a Move is going to cost, before a byte of it travels. `predict` is pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from portkit import compat, transfer
from portkit.delivery import Delivery, Prediction
from portkit.errors import PortkitError
from portkit.health import slowness
from portkit.model import Artifact, Blob, Figure, Foreseen, Form, figure, virtualises
from portkit.move import foresee
from portkit.move.history import PastTransfer, past_of
from portkit.move.journal import Journal, Steps
from portkit.move.plan import PRESYNC, Plan
from portkit.move.prepare import Job, Packed
from portkit.report import FormReport
from portkit.source.origin import origin
from portkit.volumes import link_rate

# Bytes of content a second that are packed here and unpacked there, beside their way (assumed).
_BESIDE_RATE = 25e6
# For asking what is there, and the calls beside (seen in the lab).
_ASKING_S = 0.1
# Of an image up to this size, a Move compresses all of it to predict its bytes.
_SMALL = 32 << 20


@dataclass(frozen=True)
class Predicted:
    """costs: by App and Form. sent_bytes: to the target, to predict them, by App."""

    costs: Mapping[tuple[str, Form], Prediction]
    sent_bytes: Mapping[str, int]


def predictions(packed: Sequence[Packed], job: Job, journal: Journal) -> Predicted:
    """In the order of the Moves: what an earlier one brings does not travel again.

    The target is only read. What is refused, or not made yet, is left out. The journal keeps them,
    and a Move of the same content is compared with them.
    """
    found: dict[tuple[str, Form], Prediction] = {}
    sent: dict[str, int] = {}
    link: float | None = None
    arriving: set[str] = set()
    content = sum(artifact.stored_bytes for each in packed for _, artifact in _going(each))
    for each in packed:
        with each.turn.taken() as clock, job.about(each.app, "predicting its cost"):
            written = job.target.remote.written
            for form, artifact in _going(each):
                if link is None:
                    with clock.phase("measure the link"):
                        link = link_rate(job.target, content)
                with clock.phase(f"predict {form}"):
                    cost = _one(each, artifact, job, journal, arriving, link)
                found[each.app.name, form] = cost
                target = job.target
                journal.foresee(
                    each.app.name, target.name, each.image, target.rate_limit, {form: cost}
                )
                # Also between Forms: a disk is described against the layers of its own image, which
                # go before it.
                arriving |= {blob.digest for blob in artifact.blobs}
            sent[each.app.name] = job.target.remote.written - written
    return Predicted(found, sent)


def _going(packed: Packed) -> list[tuple[Form, Artifact]]:
    """What of an App is made, and not refused."""
    rows = packed.artifacts.items()
    return [(form, made) for form, made in rows if made is not None and not packed.hopeless(form)]


def before(
    packed: Packed, job: Job, journal: Journal
) -> tuple[Mapping[Form, Prediction], Foreseen | None]:
    """What a Move predicts of itself before it begins: of its forms what a dry run has, where there
    was one for the same content; and its data and its downtime.

    A Move does not end because it cannot be predicted: what really stands in its way ends it at its
    own step. What is not predicted then is said.
    """
    found: Mapping[Form, Prediction] = {}
    foreseen: Foreseen | None = None
    target = job.target
    try:
        known = journal.foreseen(packed.app.name, target.name, packed.image, target.rate_limit)
        found, sent = (known, 0) if known else _briefly(packed, job, journal)
        foreseen = cutover(packed, job, journal, sent)
    except PortkitError as error:
        job.observer.message(f"the cost of the Move cannot be predicted: {error.brief}")
    return found, foreseen


def _briefly(packed: Packed, job: Job, journal: Journal) -> tuple[Mapping[Form, Prediction], int]:
    """What a Move predicts of its image, where no dry run has: by samples where it is large, and
    its seconds by earlier Moves alone; and the bytes that were sent for it: the target is only
    asked what it has, as the Move itself sends in a moment. A disk is not made by then."""
    image = packed.artifacts.get(Form.IMAGE)
    if image is None:
        return {}, 0
    with packed.turn.taken() as clock, clock.phase("predict image"):
        written = job.target.remote.written
        found = transfer.roughly(image, job.store, job.target)
        if found is not None and sum(each.size for each in found if each.sent) <= _SMALL:
            found = transfer.expected(image, job.store, job.target)[1]
        sent = job.target.remote.written - written
    cost = predict(
        found,
        space_bytes=compat.space_needed(packed.target, [(image, ())]),
        past=journal.measured(Form.IMAGE, job.target.name),
        limit=job.target.rate_limit,
        local=job.target.name == "local",
    )
    return {Form.IMAGE: cost}, sent


def cutover(packed: Packed, job: Job, journal: Journal, sent_bytes: int = 0) -> Foreseen | None:
    """What the data and the downtime of a running App are going to cost. Both hosts are only read,
    for some seconds. None where nothing is taken over, or the App cannot go; and where its data
    cannot be looked at before it is stopped. sent_bytes: that were sent before, to predict the rest
    of its cost."""
    form = next(iter(packed.artifacts))
    source = job.source.host
    if not packed.app.running or source is None or packed.hopeless(form):
        return None
    data = job.source.data(packed.spec)
    if data is None:
        return None
    with packed.turn.taken() as clock, job.about(packed.app, "predicting its downtime"):
        looked = [each.seconds for each in clock.phases if each.name == "package changes"]
        with clock.phase("predict downtime"):
            written = job.target.remote.written
            seen = foresee.survey_of(data, source, job.target)
            survey_bytes = sent_bytes + job.target.remote.written - written
            live = job.source.live(packed.spec)
            assert live is not None, "it runs"
            with origin(source, live) as there:
                waits_s = there.waits_s()
    machine = Form.DISK in job.source.forms and Form.IMAGE not in job.source.forms
    way = foresee.Way(
        app=packed.app.name,
        source=job.source.name,
        target=job.target.name,
        form=form,
        fills=form is Form.DISK and not machine,
        layer_s=None if machine else sum(looked),
        waits_s=waits_s,
        real=virtualises(packed.target, packed.image.config.architecture),
        slow=(slowness(packed.source.loop_s), slowness(packed.target.loop_s)),
    )
    return foresee.foreseen(seen, way, journal.pasts(), survey_bytes)


def beside(
    forms: Sequence[FormReport], foreseen: Foreseen | None, plan: Plan | None, steps: Steps | None
) -> tuple[Figure, ...]:
    """All predictions of a Move as its Report has them, beside what was measured, where it was
    made. plan, steps: of that Move; None for one that was only planned."""
    found = [row for each in forms for row in _of_form(each)]
    if foreseen is None:
        return tuple(found)
    truth, sent = None, None
    if plan is not None and steps is not None:
        source = plan.source or ""
        truth = past_of(plan.app, source, plan.target, plan.to_json(), steps.result)
        first = [each["passes"][0] for each in steps.result(PRESYNC).get("volumes", ())]
        sent = sum(each["sent_bytes"] for each in first), sum(each["wire_bytes"] for each in first)
    return (*found, *foresee.figures(foreseen, truth, sent))


def _of_form(report: FormReport) -> Iterator[Figure]:
    cost, made = report.predicted, report.transfer
    if cost is None:
        return
    basis = dict(each.partition(": ")[::2] for each in cost.basis)
    if cost.sent_bytes is not None:
        sent = None if made is None else made.sent_bytes
        yield figure(f"{report.form}: sent", "bytes", cost.sent_bytes, basis["bytes"], sent)
    if cost.seconds is not None:
        seconds = None if made is None else made.seconds
        yield figure(f"{report.form}: transfer", "s", cost.seconds, basis["time"], seconds)


def _one(
    packed: Packed,
    artifact: Artifact,
    job: Job,
    journal: Journal,
    arriving: set[str],
    link: float | None,
) -> Prediction:
    past = journal.measured(artifact.form, job.target.name, link)
    new, expected = transfer.expected(artifact, job.store, job.target, arriving=arriving, rate=link)
    arrives: list[tuple[Artifact, Sequence[Blob]]] = [(artifact, new)]
    if artifact.form is Form.DISK and Form.IMAGE in packed.artifacts:
        arrives.insert(0, (packed.image, ()))  # the disk is made from its layers
    return predict(
        expected,
        space_bytes=compat.space_needed(packed.target, arrives),
        past=past,
        link=link,
        limit=job.target.rate_limit,
        local=job.target.name == "local",
    )


def predict(
    expected: Sequence[Delivery] | None,
    *,
    space_bytes: int,
    past: PastTransfer | None,
    link: float | None = None,
    limit: float | None = None,
    local: bool = False,
) -> Prediction:
    """What one Form is going to cost. expected: its blobs, None where that cannot be known. past:
    an earlier transfer to that host. link: bytes a second that the way there was seen to take.
    limit: what the Move is held to, bytes a second. local: the
    target is this machine, so nothing goes over a network."""
    sent = reused = None
    if expected is not None:
        sent = 0 if local else sum(delivery.sent for delivery in expected)
        reused = sum(delivery.copied for delivery in expected)
    seconds, time = None, "time: unknown, because nothing goes over a network"
    if sent is not None and not local:
        content = sum(each.literal + each.copied for each in expected or () if each.sent)
        seconds, time = _seconds(sent, content, past, link, limit)
    basis = (_bytes(expected), "space: an upper bound, from sizes", time)
    return Prediction(
        sent_bytes=sent,
        reused_bytes=reused,
        space_bytes=space_bytes,
        seconds=seconds,
        basis=basis,
        link_rate=link,
    )


def _bytes(expected: Sequence[Delivery] | None) -> str:
    if expected is None:
        return "bytes: unknown, because the bundle holds only differences from what a host has"
    there = sum(delivery.sent == 0 for delivery in expected)
    return f"bytes: {there} of {len(expected)} blobs are on the target; " + (
        "samples of the others were compressed here"
        if any(delivery.reason == "by samples" for delivery in expected)
        else "the others were compared with what it has, and the rest compressed here"
    )


def _seconds(
    sent: int, content: int, past: PastTransfer | None, link: float | None, limit: float | None
) -> tuple[float | None, str]:
    """How long a transfer takes, and what that rests on."""
    if link is None and past is None:
        return None, "time: unknown, because neither the link nor a transfer was measured"
    if link is None or (past is not None and past.beside_byte_s is None):
        assert past is not None, "one of them is there"
        # The rate of a whole transfer, unpacking included.
        rate = min(each for each in (past.rate, link, limit) if each)
        return round(sent / rate, 1), f"time: as fast as {past.move}, {rate / 1e6:.1f} MB/s in all"
    link = min(link, limit or link)
    link_s, beside_s = sent / link, _ASKING_S + content / _BESIDE_RATE
    why = f"an assumed {_BESIDE_RATE / 1e6:.0f} MB/s"
    if past is not None and past.link and past.beside_byte_s is not None:
        beside_s = _ASKING_S + content * past.beside_byte_s
        # Packing goes on while the link is busy: on a slower link, less of it is left beside.
        beside_s -= min(beside_s / 2, max(0.0, link_s - sent / past.link))
        why = f"as in {past.move}"
    words = f"a link of {link / 1e6:.1f} MB/s, and packing and unpacking beside it, {why}"
    return round(link_s + beside_s, 2), f"time: {words}"
