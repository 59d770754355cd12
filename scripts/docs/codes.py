"""The exit codes of the command line, read from the classes of errors."""

from __future__ import annotations

import inspect

from portkit import errors

# Codes that no class of the library has: success, click's own, bugs, and ways to be interrupted.
_OTHERS = {
    0: "Done.",
    2: "The command line was wrong.",
    70: "A bug in portkit: an error that nobody foresaw.",
    130: "Interrupted by Ctrl-C; the Move was rolled back, or waits.",
    143: "Ended by SIGTERM; the Move was rolled back, or waits.",
}


def exit_codes() -> list[tuple[str, str]]:
    """(code, what it means), in order."""
    found = dict(_OTHERS)
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.PortkitError):
            found[kind.exit_code] = (kind.__doc__ or "").partition("\n")[0]
    found[errors.PortkitError.exit_code] = "It failed for a reason that has no code of its own."
    return [(str(code), found[code]) for code in sorted(found)]
