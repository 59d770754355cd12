"""Stage 5: the time until an App is up, on this machine's monotonic clock."""

from portkit.measure.answer import POLL_S, Answer
from portkit.measure.engine import Look, check_timeout, stays, until_healthy, until_running
from portkit.measure.probe import ttfr, url_of

__all__ = [
    "POLL_S",
    "Answer",
    "Look",
    "check_timeout",
    "stays",
    "ttfr",
    "until_healthy",
    "until_running",
    "url_of",
]
