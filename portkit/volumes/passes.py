"""What a pass did, whether a further one pays, and how long the last one will take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Passes before the stop: each one takes the changes of the time that the one before took. A folder
# that does not settle in so many changes too fast for that.
MAX_WARM = 6
# A pass that leaves more than this share of what the one before left gains nothing.
_SHRINKS = 0.7
# What is done within so many seconds is not worth another look at the whole folder.
_SOON_S = 0.5


@dataclass(frozen=True)
class Pass:
    """What one pass did.

    entries, bytes: of the folder; content as it is read, with its holes. changed_entries: that were
    touched on the target. sent_bytes: of content. wire_bytes: that went to the target's host, as
    they were compressed. deleted: entries of the target that the source does not have. digest: of
    the whole tree; after the last pass both sides have it. skipped: (path, kind) of what is not
    brought over. vanished: what was gone when it was to be read. scan_s, send_s: of the seconds,
    those in which both sides were read, and those in which content went. began_s: when it began,
    by a clock that only other passes are compared with. hashed, hashed_there: bytes of content that
    the source and the target have hashed for it; remembered: that the source has not, because it
    could prove that they were as in an earlier pass. provable: whether both hosts can do that.
    """

    entries: int
    bytes: int
    changed_entries: int
    sent_bytes: int
    wire_bytes: int
    deleted: int
    seconds: float
    last: bool
    digest: str
    skipped: tuple[tuple[str, str], ...]
    vanished: int
    scan_s: float
    send_s: float
    began_s: float
    remembered: int
    hashed: int
    hashed_there: int
    provable: bool


def another(passes: Sequence[Pass], *, most: int = MAX_WARM) -> bool:
    """Whether a further pass before the stop makes the last one shorter."""
    if not passes:
        return True
    done = _work_s(passes[-1])
    if len(passes) >= most or done < _SOON_S:
        return False
    return len(passes) < 2 or done < _SHRINKS * _work_s(passes[-2])


def too_fast(passes: Sequence[Pass]) -> bool:
    """Whether a folder changes so fast that no further pass leaves less for the last one."""
    return len(passes) > 1 and not another(passes) and _work_s(passes[-1]) >= _SOON_S


def _work_s(done: Pass) -> float:
    """What it took beside reading both sides, which each pass does."""
    return done.seconds - done.scan_s


def predicted_last_s(passes: Sequence[Pass], rate: float | None = None) -> float:
    """How many seconds the last pass would take now.

    rate: bytes a second to the target; None takes what the passes had. After a single pass nobody
    knows how much changes meanwhile: all of it is assumed, which is the most.
    """
    if not passes:
        raise ValueError("nothing is known before the first pass")
    done = passes[-1]
    beside_s = max(0.0, done.seconds - done.scan_s - done.send_s)
    return _scanning_s(passes) + _sending_s(passes, rate) + beside_s


def _scanning_s(passes: Sequence[Pass]) -> float:
    # In the end, the last pass looks at all entries again without hashing them, as the later ones
    # do.
    scans = [each.scan_s for each in passes]
    if len(passes) == 1:
        return scans[0]
    done = passes[-1]
    if not done.provable:  # it hashes everything on both ends, as the first one did on the source
        return max(scans) + min(scans)
    # It hashes what has changed since, and on the target what this one has written: about what the
    # source has hashed this time. Both hash at the same time.
    most = max(passes, key=_hashed)
    byte_s = most.scan_s / max(1, _hashed(most))
    look_s = max(0.0, min(each.scan_s - byte_s * _hashed(each) for each in passes[1:]))
    return 2 * look_s + byte_s * done.hashed


def _hashed(done: Pass) -> int:
    return max(done.hashed, done.hashed_there)


def _sending_s(passes: Sequence[Pass], rate: float | None) -> float:
    done = passes[-1]
    left = float(done.bytes)
    if len(passes) > 1:
        # What it sent had changed since the pass before it looked; what the last one will send has
        # changed since this one did.
        since_s = max(done.began_s - passes[-2].began_s, 1e-3)
        left = min(left, done.sent_bytes * done.seconds / since_s)
    sent = [each for each in passes if each.sent_bytes and each.send_s]
    if not sent:
        return 0.0
    like = sent[-1]
    if rate is None:
        return left * like.send_s / like.sent_bytes
    return left * like.wire_bytes / like.sent_bytes / rate
