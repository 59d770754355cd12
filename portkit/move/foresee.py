"""What the data and the downtime of a running App are going to cost, before anything is done.

`survey_of` looks at both hosts for some seconds and changes nothing there; `foreseen` makes the
figures of that and of earlier Moves, and is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from portkit.host import Host
from portkit.model import Basis, DataFolder, Figure, Foreseen, Form, Part, figure
from portkit.move.history import Past, times, typical
from portkit.text import counted, listed
from portkit.volumes import Pass, Place, Survey, foresee, predicted_last_s, survey, too_fast

# Defaults where nothing is known, in seconds of an ordinary host. An engine's stop of a process
# that ends when it is told to; its start of one that answers soon; a VM's until its App answers,
# with KVM and without.
STOP_S, REST_S = 0.16, 0.06
BOOT_S, BOOT_KVM_S, BOOT_TCG_S = 0.2, 5.0, 10.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """Which App goes where, in which form. fills: after the last pass, VM's disks are made of the
    volumes. layer_s: what it took to look for what its containers have changed in their images;
    None where it has none. waits_s: for which its stop waits in vain for processes that ignore it.
    real: a VM has a real processor on the target. slow: how many times as long as an ordinary host
    the source and the target take."""

    app: str
    source: str
    target: str
    form: Form
    fills: bool
    layer_s: float | None
    real: bool
    waits_s: float = 0.0
    slow: tuple[float, float] = (1.0, 1.0)


def survey_of(data: Sequence[DataFolder], source: Host, target: Host) -> list[Survey]:
    """Each volume; all of them are looked at for some seconds."""
    return survey(source, [Place(each.path, each.names) for each in data], target)


def foreseen(
    seen: Sequence[Survey], way: Way, pasts: Sequence[Past], survey_bytes: int = 0
) -> Foreseen:
    """What it is going to cost. pasts: the newest first. survey_bytes: that were sent to see it."""
    stop = _stop(way, pasts)
    between = [each for each in pasts if (each.source, each.target) == (way.source, way.target)]
    alike = [each for each in between if each.form == way.form]
    last, last_n = times((each.last_s, each.raw_last_s) for each in alike)
    filled = foresee.alike(seen)
    raw_first = sum(map(foresee.first_s, filled))
    raw_last = sum(foresee.last_s(each, stop.value, fills=way.fills) for each in filled)
    listed = all(each.whole for each in seen)
    known = not any(map(foresee.lacks, seen))
    return Foreseen(
        data_bytes=_seen(sum(map(foresee.data_bytes, seen)), _size_words(seen), listed),
        wire_bytes=_seen(sum(map(foresee.wire_bytes, filled)), _sent_words(seen), known),
        # Not corrected: its rates were measured just now, and what others had beside theirs says
        # more about the load of the hosts then.
        first_s=_seen(raw_first, _sent_words(seen), known),
        stop_s=stop,
        layer_s=_layer(way, pasts),
        last_s=_corrected(_seen(raw_last, _change_words(seen), known), last, last_n),
        boot_s=_boot(way, pasts),
        rest_s=_rest(way, pasts),
        survey_bytes=survey_bytes,
    )


def now(known: Foreseen, last_s: float, layer_s: Part | None = None) -> Foreseen:
    """With what the passes that were made by now say of the last one. layer_s: of the last layer,
    where that is known better by now."""
    why = "from the passes so far"
    last = Part(last_s, Basis.MEASURED, why, last_s)
    return replace(known, last_s=last, layer_s=layer_s or known.layer_s)


def would_cost(
    known: Foreseen | None, last_s: float, layer_s: Part | None = None
) -> tuple[float, str]:
    """Seconds that a cutover now would cost, and the words for it. known: what was predicted of it
    before the Move; None of one that an earlier portkit has begun."""
    if known is None:
        text = f"a cutover now would copy for {last_s:.1f} s between the App's stop and its start"
        return last_s, text
    down = now(known, last_s, layer_s).downtime_s
    text = f"a cutover now would cost a downtime of about {down.value:.1f} s: {down.why}"
    return down.value, text


def too_fast_words(passes: Mapping[str, Sequence[Pass]], known: Foreseen | None) -> str:
    """In words, which volumes change faster than they can be copied, and what a cutover now would
    cost; "" where none does. passes: that were made, by the name of the volume."""
    names = [name for name, made in passes.items() if too_fast(made)]
    if not names:
        return ""
    last_s = sum(predicted_last_s(made) for made in passes.values() if made)
    cost = would_cost(known, last_s)[1]
    return f"{listed(names)}: what is there changes faster than it can be copied, and {cost}"


def figures(
    known: Foreseen, truth: Past | None = None, sent: tuple[int, int] | None = None
) -> tuple[Figure, ...]:
    """As a Report has them, beside what was measured. sent: content and bytes to the target of the
    first pass."""
    data, wire = sent or (None, None)
    rows = [
        ("data: content of the first pass", "bytes", known.data_bytes, data),
        ("data: sent in the first pass", "bytes", known.wire_bytes, wire),
        ("data: the first pass", "s", known.first_s, None if truth is None else truth.first_s),
    ]
    measured = (
        (None,) * 5
        if truth is None
        else (truth.stop_s, truth.layer_s, truth.last_s, truth.boot_s, truth.rest_s)
    )
    for (name, part), value in zip(known.parts.items(), measured, strict=True):
        rows.append((f"downtime: {name}", "s", part, value))
    rows.append(("downtime", "s", known.downtime_s, None if truth is None else truth.downtime_s))
    return tuple(
        figure(what, unit, part.value, f"{part.basis}: {part.why}", value)
        for what, unit, part, value in rows
    )


# ---------------------------------------------------------------- parts of the downtime


def _stop(way: Way, pasts: Sequence[Past]) -> Part:
    usual = STOP_S * way.slow[0]
    default = Part(usual, Basis.ASSUMED, "a process that ends when it is told to; a guess", usual)
    if way.waits_s:
        why = "the kernel says that a process does not get the signal by which it is stopped, and "
        default = _measured(way.waits_s + usual, why + "the engine waits so long before it kills")
    # Another App's process takes the end otherwise.
    return _earlier(
        pasts,
        lambda past: past.stop_s,
        [lambda past: past.app == way.app and past.form == way.form],
        default,
    )


def _layer(way: Way, pasts: Sequence[Past]) -> Part:
    if way.layer_s is None:
        return _measured(0.0, "a VM has no layers")
    why = "as long as it took just now to look for what its containers have changed"
    default = _measured(way.layer_s, why)
    return _earlier(
        pasts,
        lambda past: past.layer_s,
        [
            lambda past: (past.app, past.source, past.form) == (way.app, way.source, way.form),
        ],
        default,
    )


def _boot(way: Way, pasts: Sequence[Past]) -> Part:
    seconds = BOOT_S
    if way.form is Form.DISK:
        seconds = BOOT_KVM_S if way.real else BOOT_TCG_S
    seconds *= way.slow[1]
    default = Part(seconds, Basis.ASSUMED, "a usual value there; a guess", seconds)
    return _earlier(
        [each for each in pasts if each.form == way.form],
        lambda past: past.boot_s,
        [
            lambda past: (past.app, past.target) == (way.app, way.target),
            lambda past: past.app == way.app,
            lambda past: past.target == way.target,
        ],
        default,
    )


def _rest(way: Way, pasts: Sequence[Past]) -> Part:
    usual = REST_S * way.slow[1]
    default = Part(usual, Basis.ASSUMED, "what is between the steps; a guess", usual)
    return _earlier(
        [each for each in pasts if each.form == way.form],
        lambda past: past.rest_s,
        [
            lambda past: (past.app, past.source, past.target) == (way.app, way.source, way.target),
            lambda past: (past.source, past.target) == (way.source, way.target),
            lambda past: True,
        ],
        default,
    )


def _earlier(
    pasts: Sequence[Past],
    value: Callable[[Past], float | None],
    alike: Sequence[Callable[[Past], bool]],
    default: Part,
) -> Part:
    found = typical(pasts, value, alike)
    if found is None:
        return default
    seconds, count, _ = found
    why = f"the median of {count}" if count > 1 else "as in one"
    return Part(seconds, Basis.EARLIER, why, default.raw)


def _measured(value: float, why: str) -> Part:
    return Part(value, Basis.MEASURED, why, value)


def _seen(value: float, why: str, known: bool) -> Part:
    """known: whether there was time to look at all that it is made of."""
    return Part(value, Basis.MEASURED if known else Basis.ASSUMED, why, value)


def _corrected(part: Part, factor: float, count: int) -> Part:
    why = part.why
    if count:
        why += f"; times {factor:.2f}, as {count} earlier Moves between these hosts differed"
    return replace(part, value=part.raw * factor, why=why)


# ---------------------------------------------------------------- words


def _size_words(seen: Sequence[Survey]) -> str:
    entries = sum(each.entries for each in seen)
    more = "" if all(each.whole for each in seen) else "; not all was listed in time: it is more"
    return f"{entries} entries in {counted(len(seen), 'volume')}{more}"


def _sent_words(seen: Sequence[Survey]) -> str:
    packed, wire = (
        sum(each.packed_bytes for each in seen),
        sum(each.packed_wire_bytes for each in seen),
    )
    if not packed:
        return "there is no content to test the connection with" + _rest_words(seen)
    words = f"by {_size(packed)} of it, compressed to {_size(wire)}"
    # The way is the same for all of them.
    if seen[0].way_s > 0:
        rate = seen[0].way_bytes / seen[0].way_s
        words += f", and {_size(seen[0].way_bytes)} sent for a trial, {_size(rate)}/s"
    return words + _rest_words(seen)


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _change_words(seen: Sequence[Survey]) -> str:
    rate = sum(map(foresee.change_rate, foresee.alike(seen)))
    window = max((each.window_s for each in seen), default=0.0)
    words = f"{rate / 1e3:.1f} kB/s changed in {window:.1f} s of looking"
    return words + _rest_words(seen)


def _rest_words(seen: Sequence[Survey]) -> str:
    count = sum(map(foresee.lacks, seen))
    if not count:
        return ""
    return f"; assumed for {count} of {len(seen)} volumes, for which there was no time"
