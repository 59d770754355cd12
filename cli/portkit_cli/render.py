"""How results and errors look on a terminal. Text from elsewhere loses its control characters."""

from __future__ import annotations

import sys
import unicodedata

from rich.console import Console
from rich.text import Text

from portkit.errors import PortkitError


def clean(text: str) -> str:
    """Drop escape codes and other control characters, keeping newlines and tabs."""
    return "".join(
        c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs")
    )


def stdout() -> Console:
    """The console for results. rich itself respects NO_COLOR and pipes."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_error(error: PortkitError) -> None:
    """What happened, the details, what to do."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), (clean(error.brief), "bold")))
    for line in clean(error.details).splitlines():
        console.print(Text("  " + line))
    if error.resolution:
        console.print(Text(clean(error.resolution)))
