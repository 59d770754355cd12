"""What is cheapest: how hard to compress for a link, and which bases are worth their trouble."""

from __future__ import annotations

from dataclasses import dataclass, replace

# What a link is taken to carry until it has been measured, bytes a second: 100 Mbit.
UNKNOWN_RATE = 12_500_000.0
# Of literals, by zstd -3, on average: what a byte that need not travel saves.
_TYPICAL = 0.42
# Reading a layer out of an engine (`docker save`, a file written), bytes a second.
_ENGINE_RATE = 150_000_000.0
_PACKED = 0.95  # samples that shrink to no less are compressed already
_BYTES_FIRST = 10.0  # so many times as long
_QUICK_LEVEL = 3
_WITHIN, _SPARE_S = 1.03, 0.2  # so much longer may a smaller stream take


@dataclass(frozen=True)
class Packing:
    """How a stream is compressed. window: its log2, 0 for the level's own. threads: 0 is none."""

    encoding: str
    level: int
    window: int = 0
    threads: int = 0


@dataclass(frozen=True)
class _Step:
    level: int
    window: int
    speed: float  # bytes of content a second on one core
    ratio: float  # of what zstd -3 makes


# Layers of Debian and Python, 263 MB, one core: speeds and sizes against zstd -3. A window of 2^27
# makes them 0.6 % smaller still and takes 60 MB more, on both sides.
_STEPS = (
    _Step(1, 0, 350e6, 1.08),
    _Step(3, 26, 165e6, 0.93),
    _Step(5, 26, 100e6, 0.91),
    _Step(9, 26, 50e6, 0.88),
)


def packing(
    encodings: tuple[str, ...], size: int, rate: float, cores: int, packed: bool
) -> Packing:
    """The level at which the stream of `size` bytes is through soonest; the smaller of equals.

    rate: of the link, bytes a second. packed: whether samples of the content did not shrink.
    """
    encoding = encodings[0]
    if encoding != "zstd":
        return Packing(encoding, 1 if packed or rate > 30e6 else 6 if encoding == "zlib" else 0)
    if packed:
        return Packing("zstd", 1)
    # zstd gives each thread a job of several MiB: a short stream is through before a second thread
    # begins.
    threads = min(cores, 4) if cores > 1 and size > 16 << 20 else 0
    # Two threads on two cores are 1.5 times as fast as one: long matches are found by one alone.
    gain = 1 + 0.5 * max(0, threads - 1)
    # Compression and the link work at the same time, so the slower of the two decides.
    seconds = {
        step: max(size / (step.speed * gain), size * _TYPICAL * step.ratio / rate)
        for step in _STEPS
    }
    enough = min(seconds.values()) * _WITHIN + _SPARE_S
    # The steps are sorted by how small they make a stream: of those that are about as fast, the
    # last is the smallest.
    best = [step for step in _STEPS if seconds[step] <= enough][-1]
    window = best.window
    # A window larger than the stream finds nothing more, and the reader would set that much memory
    # aside all the same. 10 is zstd's least (ZSTD_WINDOWLOG_MIN).
    if window and size < 1 << window:
        window = max(10, min(window, (size - 1).bit_length())) if size > 1 else 10
    return Packing("zstd", best.level, window, threads)


def quick(how: Packing) -> tuple[Packing, float]:
    """A packing that takes a third of the time, to learn about how small `how` makes a stream, and
    what its size is to be multiplied by."""
    ratios = {step.level: step.ratio for step in _STEPS}
    if how.encoding != "zstd" or how.level <= _QUICK_LEVEL:
        return how, 1.0
    return replace(how, level=_QUICK_LEVEL), ratios[how.level] / ratios[_QUICK_LEVEL]


def is_packed(samples: list[bytes]) -> bool:
    """Whether content is compressed already, from pieces of it."""
    import zlib

    # zlib at level 1 is a quick judge: what it cannot make smaller (archives, media, encrypted
    # data) is not worth a slow level of anything else.
    whole = sum(map(len, samples))
    return whole > 0 and sum(len(zlib.compress(s, 1)) for s in samples) > _PACKED * whole


def worth(copied: int, base_size: int, rate: float, *, in_engine: bool) -> bool:
    """Whether a base is used: what it gives must not take much longer to make ready there than to
    send. Bytes count for more than seconds."""
    saved = copied * _TYPICAL / rate
    return _BYTES_FIRST * saved > (base_size / _ENGINE_RATE if in_engine else 0.0)
