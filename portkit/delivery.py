"""What a transfer did, blob by blob, and what one is expected to do. Pure values.

`transfer` and `move` make them, `report` prints them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """How one blob travelled, and why.

    literal, copied, zero: bytes of its content that were new, copied from what both ends hold, or
    zero. sent: bytes of the compressed stream. bases: the digests of what it was copied from.
    resumed: how often the connection broke on the way and was made again.
    """

    digest: str
    size: int
    literal: int = 0
    copied: int = 0
    zero: int = 0
    sent: int = 0
    bases: tuple[str, ...] = ()
    encoding: str = ""  # zstd | zlib | raw; empty where nothing was sent
    level: int = 0
    window: int = 0
    reason: str
    resumed: int = 0


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What the transfer of one Artifact cost, in bytes of the connection to the target.

    reused_bytes: content that the target had, as blobs or inside others. counter: where the
    connection's bytes were read. blobs: each of the Artifact, and those that were sent only
    because a recipe needs them; those that were there already come first.
    """

    sent_bytes: int
    received_bytes: int
    reused_bytes: int
    seconds: float
    counter: str
    blobs: tuple[Delivery, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one Form is expected to cost on a target, before anything of it has travelled.

    sent_bytes, reused_bytes: as in `Transfer`. space_bytes: of the target's disks, at most, while
    everything is unpacked there. seconds: of the transfer. None: nobody can know it. basis: what
    each figure rests on, or why there is none, in sentences. link_rate: bytes a second that the way
    there was seen to take; None where it was not measured.
    """

    sent_bytes: int | None
    reused_bytes: int | None
    space_bytes: int
    seconds: float | None
    basis: tuple[str, ...]
    link_rate: float | None = None
