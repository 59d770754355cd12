"""What a Move is doing, in a word, and the commands by which it goes on."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.errors import PortkitError
from portkit.move import Entry, Journal, Pause
from portkit.move.journal import OPEN
from portkit.move.waits import pause_of
from portkit_cli.render import clean


def state_of(entry: Entry, journal: Journal) -> str:
    """The state as a list of Moves has it."""
    try:
        pause = pause_of(entry, journal.record(entry.id)) if entry.state in OPEN else None
    except PortkitError:  # another version of portkit has planned it; the list is of all Moves
        pause = None
    if pause is not None:
        return f"waits for {pause}"
    return f"UNFINISHED ({entry.state})" if entry.unfinished else entry.state.value


def ways_on(entry: Entry, journal: Journal) -> Iterator[str]:
    """Lines with the commands by which a Move that waits or was interrupted goes on."""
    pause = pause_of(entry, journal.record(entry.id))
    back = f"portkit rollback {entry.id}"
    if pause is Pause.CUTOVER:
        yield f"Cut it over:  portkit cutover {entry.id}"
        yield f"Roll it back: {back}"
    elif pause is Pause.COMMIT:
        yield clean(f"The App runs on {entry.target}.")
        yield f"Keep it there: portkit commit {entry.id}"
        yield f"Go back and lose what it has written there: {back} --discard-writes"
    elif entry.unfinished:
        yield f"Continue it:  portkit resume {entry.id}"
        yield f"Roll it back: {back}"
