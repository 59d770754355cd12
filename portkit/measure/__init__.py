"""Stage 5: the time until an App is up, on this machine's monotonic clock."""

from portkit.measure.answer import POLL_S, Answer
from portkit.measure.engine import Look, check_timeout, stays, until_healthy, until_running
from portkit.measure.probe import ttfr, url_of
from portkit.measure.prober import Prober, Side
from portkit.measure.recorder import SOURCE, TARGET

__all__ = [
    "POLL_S",
    "SOURCE",
    "TARGET",
    "Answer",
    "Look",
    "Prober",
    "Side",
    "check_timeout",
    "stays",
    "ttfr",
    "until_healthy",
    "until_running",
    "url_of",
]
