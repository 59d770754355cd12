"""The recorded rounds of a campaign: bench/results/NAME.json has the last result of each round.

A row for each set of rounds is computed from them. Several processes may record into one file.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import harness
from portkit import files, process

_ROOT = Path(__file__).parents[1]
_CODE = ("portkit", "cli")
_LONGEST = 400  # characters of what went wrong


@dataclass(frozen=True)
class Code:
    """What was played with. commit: the one that was checked out. tree: the same for the same files
    of portkit, whatever the commit; "" when they were changed and not committed."""

    commit: str = ""
    tree: str = ""

    @classmethod
    def read(cls) -> Code:
        """Of this folder as it is now; nothing is known without Git."""
        if _git("status", "--porcelain", *_CODE):
            return cls(_git("rev-parse", "--short", "HEAD") + "+")
        trees = _git("rev-parse", *(f"HEAD:{folder}" for folder in _CODE)).split()
        return cls(_git("rev-parse", "--short", "HEAD"), "-".join(tree[:10] for tree in trees))


def _git(*words: str) -> str:
    done = process.run(["git", "-C", str(_ROOT), *words], check=False, timeout=60)
    return done.text.strip() if done.code == 0 else ""


@dataclass(frozen=True)
class Outcome:
    """Of a round. wrong: "" when it ended as it should. seconds: None where they are not known."""

    wrong: str
    seconds: float | None
    date: str
    commit: str
    tree: str


Outcomes = dict[str, Outcome]


def row(what: str, every: Sequence[str], outcomes: Mapping[str, Outcome]) -> harness.Row:
    """How many of a set went wrong when they were played last; the bar is none."""
    played = [outcomes[name] for name in every if name in outcomes]
    count = f"all {len(every)}" if len(played) == len(every) else f"{len(played)} of {len(every)}"
    wrong = sum(bool(outcome.wrong) for outcome in played)
    name = f"{what}, {count} rounds: those that did not end as they should"
    return harness.Row(name, "rounds", (float(wrong),), limit=0)


def due(every: Sequence[str], outcomes: Mapping[str, Outcome], tree: str) -> list[str]:
    """Which to play: first those that were never played or went wrong, then those of other code."""
    known = {name: outcomes[name] for name in every if name in outcomes}
    first = [name for name in every if name not in known or known[name].wrong]
    return first + [
        name for name in every if name in known and name not in first and known[name].tree != tree
    ]


class Record:
    """The file of a campaign. sets: names of rounds, by what they have in common."""

    def __init__(
        self, name: str, sets: Mapping[str, Sequence[object]], folder: Path = harness.RESULTS
    ) -> None:
        self._sets = {what: [str(each) for each in every] for what, every in sets.items()}
        self._name, self._path = name, folder / f"{name}.json"
        names = [each for every in self._sets.values() for each in every]
        # Byte 0 of the file is locked to write, another one by who plays that round. Open to the
        # end: the kernel drops a process's locks of a file as soon as it closes it anywhere.
        self._bytes = {each: number for number, each in enumerate(names, 1)}
        self._lock = (folder / f".{name}.lock").open("a")

    def outcomes(self) -> Outcomes:
        """Of all rounds that were ever played and still exist."""
        found = {
            name: Outcome(**outcome)
            for document in self._documents()
            for name, outcome in document.get("rounds", {}).items()
        }
        return {name: found[name] for name in self._bytes if name in found}

    def rows(self) -> list[harness.Row]:
        """Those of the sets of which something was played."""
        found = self.outcomes()
        sets = self._sets.items()
        return [
            row(what, every, found) for what, every in sets if not found.keys().isdisjoint(every)
        ]

    def note(self, name: str, wrong: str, seconds: float, code: Code) -> None:
        """A round has been played; what was known of it is replaced."""
        made = harness.made(f"make bench-{self._name}")
        outcome = Outcome(wrong[:_LONGEST], round(seconds, 1), made["date"], code.commit, code.tree)
        fcntl.lockf(self._lock, fcntl.LOCK_EX, 1, 0)
        try:
            documents = self._noted(self.outcomes() | {name: outcome}, name, made)
            with files.whole(self._path) as file:
                file.write(json.dumps(documents, indent=1).encode() + b"\n")
            self._path.chmod(0o644)
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, 0)

    def _noted(self, outcomes: Outcomes, name: str, made: dict[str, Any]) -> list[dict[str, Any]]:
        documents = self._documents()
        old = {document.get("set"): document for document in documents}
        fresh = []
        for what, every in self._sets.items():
            rounds = {each: asdict(outcomes[each]) for each in every if each in outcomes}
            of = made if name in every else {key: old.get(what, made)[key] for key in made}
            if rounds:
                computed = row(what, every, outcomes).document()
                fresh.append(computed | of | {"set": what, "rounds": rounds})
        return [document for document in documents if "set" not in document] + fresh

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Within, no other process plays this round; False when one does."""
        place = self._bytes[name]
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN, 1, place)

    def _documents(self) -> list[dict[str, Any]]:
        return json.loads(self._path.read_text()) if self._path.exists() else []
