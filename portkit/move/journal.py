"""The journal: every Move that was made from this machine, with each of its steps, in sqlite.

FOLDER/moves.sqlite3    private; what a Move's resume or rollback needs, and no secret but what the
                        user writes into a command (--after-commit, x-portkit.quiesce)
FOLDER/running/ID       held (flock) by the process that is at work on the Move
FOLDER/key              of the fingerprints by which a changed App is noticed
FOLDER/reserve          room on the disk, for what has to be recorded when it is full

A Move whose state is `running` or `rolling back`, and that no process holds, was left unfinished.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from portkit import files
from portkit.delivery import Prediction
from portkit.errors import ConflictError, PortkitError
from portkit.model import Artifact, Form
from portkit.move import history
from portkit.move.journal_file import JournalFile
from portkit.move.walk import StepState
from portkit.wire.json_types import JsonObject

_PASTS = 20  # Moves that a prediction looks at; each has some steps to be read
_TELLING_BYTES = 1 << 20  # of less, most of the time is not spent on sending


class MoveState(StrEnum):
    """The state of a Move. `waiting`: of a running App; no process is working on it, the App is
    served, and somebody has to decide how it continues. `measured`: it ended well and was asked to
    leave nothing on the target."""

    RUNNING = "running"
    ROLLING_BACK = "rolling back"
    WAITING = "waiting"
    DONE = "done"
    MEASURED = "measured"
    ROLLED_BACK = "rolled back"


OPEN = (MoveState.RUNNING, MoveState.ROLLING_BACK, MoveState.WAITING)


@dataclass(frozen=True)
class Entry:
    """One Move. started, ended: seconds since 1970, by this machine's clock. plan: as
    `portkit.move.plan` wrote it. error: what ended it, in one line. live: a process is at work."""

    id: str
    app: str
    source: str
    target: str
    state: MoveState
    started: float
    ended: float | None
    plan: JsonObject
    error: str
    live: bool

    @property
    def unfinished(self) -> bool:
        """Whether somebody has to end it: `portkit resume` or `portkit rollback`."""
        return self.state in OPEN and not self.live


def default_folder() -> Path:
    """PORTKIT_STATE, else the user's state folder (~/.local/state/portkit)."""
    if told := os.environ.get("PORTKIT_STATE"):
        return Path(told)
    from platformdirs import user_state_path

    return user_state_path("portkit")


class Journal:
    """The journal in a folder, which is created when the journal is first written to."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self.file = JournalFile(self.folder)
        self._locks = self.folder / "running"

    # ------------------------------------------------------------ Moves

    def add(self, identity: str, *, app: str, source: str, target: str, plan: JsonObject) -> None:
        """Record a Move that begins now; SpaceError if there is no space to record how to roll it
        back."""
        self.file.reserve()
        values = (identity, app, source, target, MoveState.RUNNING, time.time(), json.dumps(plan))
        with self.file.opened() as database:
            database.execute(
                "insert into moves (id, app, source, target, state, started, plan)"
                " values (?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def moves(self) -> tuple[Entry, ...]:
        """Every Move, the newest first."""
        # Looking makes no folder: `portkit moves` of somebody who never moved anything leaves
        # nothing behind.
        if not self.file.path.exists():
            return ()
        with self.file.opened() as database:
            found = database.execute("select * from moves order by started desc, id").fetchall()
        return tuple(self._entry(row) for row in found)

    def get(self, identity: str) -> Entry:
        """The Move with that id; PortkitError if the journal has none."""
        for entry in self.moves():
            if entry.id == identity:
                return entry
        raise PortkitError(
            "the journal of this machine has no such Move",
            details=f"{identity[:80]!r} in {self.file.path}",
            resolution="`portkit moves` lists them. For a Move that was started elsewhere, run "
            "`portkit rollback ID --on HOST`.",
        )

    def measured(
        self, form: Form, target: str, link: float | None = None
    ) -> history.PastTransfer | None:
        """The newest transfer of that Form to that host whose speed means something: nothing held
        it to a rate, and it was long enough. link: of some, the one whose
        link's rate was nearest."""
        found: list[history.PastTransfer] = []
        for entry in self.moves():
            if entry.target != target or entry.plan.get("limit") is not None:
                continue
            result = self.record(entry.id).result(f"transfer {form}")
            row = result.get("transfer", {})
            sent, seconds = row.get("sent_bytes", 0), row.get("seconds", 0.0)
            if sent >= _TELLING_BYTES and seconds > 0:
                content = sum(
                    each.get("literal", 0) + each.get("copied", 0)
                    for each in row.get("blobs", ())
                    if each.get("sent", 0)
                )
                foreseen = entry.plan.get("predicted", {}).get(form) or {}
                # What the transfer itself learns is too high where buffers took much of it.
                seen = foreseen.get("link_rate") or result.get("link")
                past = history.PastTransfer(entry.id, sent, seconds, history.number(seen), content)
                found.append(past)
                if link is None or len(found) >= _PASTS:
                    break
        # The first of those that are alike is the newest.
        return min(found, key=lambda past: past.unlike(link), default=None)

    def pasts(self) -> tuple[history.Past, ...]:
        """What the latest Moves of running Apps took, the newest first."""
        found: list[history.Past] = []
        for entry in self.moves():
            if entry.state is not MoveState.DONE or len(found) >= _PASTS:
                continue
            past = self.past(entry)
            found += [] if past is None else [past]
        return tuple(found)

    def past(self, entry: Entry) -> history.Past | None:
        """What a Move of a running App has taken so far; None for any other Move."""
        result = self.record(entry.id).result
        return history.past_of(entry.app, entry.source, entry.target, entry.plan, result)

    def foresee(
        self,
        app: str,
        target: str,
        image: Artifact,
        limit: float | None,
        costs: Mapping[Form, Prediction],
    ) -> None:
        """Keep what Forms of an App were predicted to cost there, in place of what was before."""
        content = _content(image, limit)
        rows = [
            (app, target, form, content, json.dumps(asdict(cost))) for form, cost in costs.items()
        ]
        with self.file.opened() as database:
            database.executemany("insert or replace into predictions values (?, ?, ?, ?, ?)", rows)

    def foreseen(
        self, app: str, target: str, image: Artifact, limit: float | None
    ) -> dict[Form, Prediction]:
        """What was predicted last for the Forms of that App there; nothing of another image, or of
        a transfer that was held to another rate."""
        query = (
            "select form, predicted from predictions where app = ? and target = ? and content = ?"
        )
        with self.file.opened() as database:
            rows = database.execute(query, (app, target, _content(image, limit))).fetchall()
            return {Form(row["form"]): _prediction(json.loads(row["predicted"])) for row in rows}

    def goes_on(self, identity: str) -> None:
        """Record that a Move runs again; SpaceError as of `add`."""
        self.file.reserve()
        self.settle(identity, MoveState.RUNNING)

    def settle(self, identity: str, state: MoveState, error: str = "") -> None:
        """Record how a Move stands or has ended; `error` in one line, without secrets."""
        ended = None if state in OPEN else time.time()

        def change(database: sqlite3.Connection) -> None:
            database.execute(
                "update moves set state = ?, ended = ?, error = ? where id = ?",
                (state, ended, error[:1000], identity),
            )
            if state is MoveState.WAITING:  # what was said was for the try that has failed
                database.execute("delete from told where move = ?", (identity,))

        self.file.surely(change)

    def tell(self, identity: str, word: str) -> None:
        """Let a waiting Move continue, even if it begins to wait only later. word: a Pause; or
        LET_GO, and it waits no more, here and now."""
        with self.file.opened() as database:
            database.execute("insert or ignore into told values (?, ?)", (identity, word))

    def untell(self, identity: str, word: str) -> None:
        """As if nobody had said that."""
        with self.file.opened() as database:
            database.execute("delete from told where move = ? and pause = ?", (identity, word))

    def forget(self, identity: str) -> None:
        """Remove a Move that has ended from the journal; nothing on any host is changed."""
        entry = self.get(identity)
        # What it left on its hosts could not be found from here any more.
        if entry.state in OPEN:
            raise ConflictError(
                "a Move that has not ended is not forgotten",
                details=f"{identity} is {entry.state}",
                resolution=f"End it first: portkit rollback {identity}",
            )
        with self.file.opened() as database:
            database.execute("delete from moves where id = ?", (identity,))
        (self._locks / identity).unlink(missing_ok=True)

    @contextmanager
    def held(self, identity: str) -> Iterator[None]:
        """For a `with` block in which this process works on the Move; ConflictError while another
        one does."""
        files.private_folder(self._locks, setting="PORTKIT_STATE")
        # Closed on exec: a program that is started meanwhile, such as ssh, would go on holding the
        # lock.
        descriptor = os.open(self._locks / identity, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            if not _locked(descriptor):
                raise ConflictError(
                    "another portkit is working on this Move",
                    details=identity,
                    resolution="Wait until it has ended; `portkit moves` shows it. If it waits for "
                    "you, end its waiting with Ctrl-C where it runs. The App keeps running where "
                    "it is, and you can repeat this command then.",
                )
            yield
        finally:
            os.close(descriptor)

    def _live(self, identity: str) -> bool:
        try:
            descriptor = os.open(self._locks / identity, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _locked(descriptor)
        finally:
            os.close(descriptor)

    def _entry(self, row: sqlite3.Row) -> Entry:
        state = MoveState(row["state"])
        # Of a Move that has ended nobody needs to know, and its lock's file may be gone.
        live = state in OPEN and self._live(row["id"])
        return Entry(
            id=row["id"],
            app=row["app"],
            source=row["source"],
            target=row["target"],
            state=state,
            started=row["started"],
            ended=row["ended"],
            plan=json.loads(row["plan"]),
            error=row["error"],
            live=live,
        )

    # ------------------------------------------------------------ steps

    def record(self, identity: str) -> Steps:
        """The steps of a Move."""
        return Steps(self, identity)

    def fingerprint(self, text: str) -> str:
        """A keyed hash: it shows whether a text has changed, and nothing about the text."""
        path = self.folder / "key"
        files.private_folder(self.folder, setting="PORTKIT_STATE")
        if not path.exists():
            fresh = self.folder / f".{secrets.token_hex(8)}"
            files.write(fresh, secrets.token_bytes(32))
            try:
                os.link(fresh, path)  # whoever comes second keeps the first one's key
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return hmac.new(path.read_bytes(), text.encode(), hashlib.sha256).hexdigest()


class Steps:
    """A `portkit.move.walk.Record` in the journal."""

    def __init__(self, journal: Journal, identity: str) -> None:
        self._journal = journal
        self._identity = identity

    def state(self, step: str) -> StepState:
        """Where a step is; `pending` when it was never begun."""
        row = self._row(step)
        return StepState.PENDING if row is None else StepState(row["state"])

    def result(self, step: str) -> JsonObject:
        """What the step recorded of itself last; empty when there is nothing."""
        row = self._row(step)
        return {} if row is None else dict(json.loads(row["result"]))

    def told(self, word: str) -> bool:
        """Whether somebody has said that the Move shall not wait there, or LET_GO."""
        with self._journal.file.opened() as database:
            query = "select 1 from told where move = ? and pause = ?"
            return database.execute(query, (self._identity, word)).fetchone() is not None

    def note(self, step: str, state: StepState, result: JsonObject | None = None) -> None:
        """Record a step's state, and what it tells of itself beside what it has told before."""
        known = self.result(step)
        merged = json.dumps(known if result is None else {**known, **result})

        def change(database: sqlite3.Connection) -> None:
            database.execute(
                "insert into steps (move, name, state, result, at) values (?, ?, ?, ?, ?)"
                " on conflict (move, name) do update set state = excluded.state,"
                " result = excluded.result, at = excluded.at",
                (self._identity, step, state, merged, time.time()),
            )

        self._journal.file.surely(change)

    def entries(self) -> tuple[tuple[str, StepState, float], ...]:
        """(name, state, time) of every step that was begun, in that order."""
        with self._journal.file.opened() as database:
            rows = database.execute(
                "select name, state, at from steps where move = ? order by rowid", (self._identity,)
            ).fetchall()
        return tuple((row["name"], StepState(row["state"]), row["at"]) for row in rows)

    def _row(self, step: str) -> sqlite3.Row | None:
        with self._journal.file.opened() as database:
            query = "select state, result from steps where move = ? and name = ?"
            found = database.execute(query, (self._identity, step)).fetchone()
        return found if isinstance(found, sqlite3.Row) else None


def _content(image: Artifact, limit: float | None) -> str:
    # Of a disk as well: it is a function of its image.
    return f"{image.digest} {limit}"


def _prediction(row: JsonObject) -> Prediction:
    """ValueError for what this portkit did not write."""
    from pydantic import TypeAdapter  # slow to import

    return TypeAdapter(Prediction).validate_python(row)


def _locked(descriptor: int) -> bool:
    """Take an open file's lock, which ends with the descriptor; False while another has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
