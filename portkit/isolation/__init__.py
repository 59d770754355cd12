"""What keeps an App apart from its host, measured from the inside by a program in its place.

src/ is the program, in C; `program` lays it over an image, `answer` reads what it says, `lines`
makes words of that. The last two are pure.
"""

from __future__ import annotations

from portkit.isolation.lines import MEANINGS, lines
from portkit.isolation.seen import HostKernel, Isolation, Seen

__all__ = ["MEANINGS", "HostKernel", "Isolation", "Seen", "lines"]
