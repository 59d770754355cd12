"""Stage 4: an Artifact on a Host -> an Instance that can be started, stopped and removed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, assert_never

from portkit.boot.blueprint import Blueprint
from portkit.boot.patience import PATIENCE_S
from portkit.errors import AppError, ConflictError
from portkit.host import Host
from portkit.model import REMAINS, AppSpec, Facts, Form, Instance, Life, Standing


class Runner(Protocol):
    """What every engine can do with Instances. An Instance has the id of its Move."""

    def create(self, made_from: Blueprint) -> Instance:
        """Create an Instance without starting it. The host does not start it before `commit`."""

    def renew(self, made_from: Blueprint) -> None:
        """Make an Instance that does not run anew, of other images; what is in its volumes, or on
        its way there, stays."""

    def volume_folders(self, identity: str) -> Mapping[int, str]:
        """Where the host has the content of each volume of an Instance that does not run, by
        number: what is put there is what the App finds, once `fill` was called."""

    def volume_names(self, identity: str) -> Mapping[int, str]:
        """By what people find each volume of an Instance, by number: the engine's name of it, or
        the path of its disk. Volumes that the host had before are not among them."""

    def content_folder(self, identity: str) -> str:
        """Where the host has the files that came with the App, each Content by its number; "" where
        it has none as files, as those in a VM."""

    def fill(self, identity: str, numbers: Sequence[int]) -> None:
        """Give these volumes of an Instance that does not run what is in their folders now."""

    def start(
        self,
        identity: str,
        within_s: float = PATIENCE_S,
        service: str | None = None,
        standing: Standing | None = None,
    ) -> None:
        """Start it. Returns as soon as the engine has started all services, before the app is up.

        within_s: how long a service may wait for another one that it depends on. service: only one
        of several; AppError where that is not possible. standing: what is not demanded of them, and
        no other one waits for; None: that those run which were not started the last time."""

    def stop(
        self, identity: str, grace_s: float | None = None, service: str | None = None
    ) -> int | None:
        """Send the stop signal, wait, then force it. Returns the exit code where it is known.

        grace_s: how long to wait; None for the App's own stop_grace_period. service: only one of
        several; AppError where that is not possible."""

    def life(self, identity: str, unasked: Collection[str] = (), *, again: bool = False) -> Life:
        """What the engine says about it now: whether it runs, since when, and its health. unasked:
        services whose healthchecks do not count. again: before `commit`, what has ended is started
        again where its restart policy says so, which nothing else does then."""

    def commit(self, identity: str, policies: Mapping[str, str], spec: AppSpec | None) -> None:
        """Let the host start it by itself from now on, as compose's `restart` says: policies, by
        service. spec: the App, for a VM, whose guest is told anew what it runs."""

    def withdraw(self, identity: str) -> None:
        """Take `commit` back: the host starts it by itself no more. No error when there is none."""

    def remove(self, identity: str, service: str | None = None, *, keep_data: bool = False) -> None:
        """Remove everything of the Instance. It is no error when there is nothing.

        service: only that one of several; what services share stays. keep_data: what came with an
        App that ran elsewhere stays in volumes with the names that it had there; ConflictError
        where it cannot stay without the Instance.
        """

    def logs(self, identity: str, tail: int = 100, service: str | None = None) -> str:
        """The last lines that it wrote; service: only those of one of several."""

    def follow(
        self, identity: str, write: Callable[[bytes], object], service: str | None = None
    ) -> None:
        """Pass on what it writes from now on, until it ends."""

    def instances(self) -> tuple[Instance, ...]:
        """The Instances that portkit has on the host in this Form."""


class _Closable(Runner, Protocol):
    def close(self) -> None: ...


@contextmanager
def runner(host: Host, form: Form) -> Iterator[Runner]:
    """The Runner of a Form on a host. EngineError when its engine does not answer."""
    opened = _open(host, form)
    try:
        yield opened
    finally:
        opened.close()


def _open(host: Host, form: Form) -> _Closable:
    # Imported here because the library of an engine may be absent where that engine is not used.
    match form:
        case Form.IMAGE:
            from portkit.boot.container import Containers

            return Containers(host)
        case Form.DISK:
            from portkit.boot.domain import Domains

            return Domains(host)
        case _:
            assert_never(form)


def instances(host: Host, facts: Facts | None = None) -> tuple[Instance, ...]:
    """The Instances that portkit has on a host, in the Forms whose engine is there.

    facts: the host's, where the caller has read them already."""
    facts = facts or host.facts()
    here = {Form.IMAGE: facts.docker_version, Form.DISK: facts.libvirt_version}
    rows: list[Instance] = []
    for form, version in here.items():
        if version is not None:
            with runner(host, form) as opened:
                rows += opened.instances()
    return tuple(rows)


def was_started(host: Host, form: Form, identity: str) -> bool:
    """Whether the Instance of a Move has ever run on a host: then it may have written there."""
    with runner(host, form) as opened:
        rows = [each for each in opened.instances() if each.id == identity]
    return any(each.status not in ("created", REMAINS) for each in rows)


def together(
    every: Sequence[Instance], wanted: str, form: Form | None = None
) -> tuple[Instance, ...]:
    """The Instances of one Move, named by its id or its App, in all Forms or in one.

    AppError when no Move has that name, or several have.
    """
    found = _named(every, wanted, form)
    if len({each.id for each in found}) != 1:
        raise _unclear(every, found, wanted)
    return found


def _named(every: Sequence[Instance], wanted: str, form: Form | None) -> tuple[Instance, ...]:
    return tuple(
        each for each in every if wanted in (each.id, each.app) and form in (None, each.form)
    )


def _unclear(every: Sequence[Instance], found: Sequence[Instance], wanted: str) -> AppError:
    names = ", ".join(f"{e.id} ({e.app}, {e.form}, {e.status})" for e in found or every) or "none"
    return AppError(
        "several Instances on the host have that name"
        if found
        else "the host has no such Instance",
        details=f"{wanted[:80]!r}; there: {names}",
        resolution="Name it by its id, and --form if it has both forms. `portkit ps --on HOST` "
        "lists them.",
    )


def refuse_beside(every: Sequence[Instance], one: Instance) -> None:
    """ConflictError where the other Form of a Move runs, whose ports it would want."""
    for other in every:
        if (other.id, other.running) == (one.id, True) and other.form is not one.form:
            raise ConflictError(
                f"{one.app} already runs as {other.form} on that host, and both forms publish the "
                "same ports",
                details=f"{other.id} ({other.form}) on {other.host}",
                resolution=f"portkit stop {one.app} --form {other.form} --on {other.host}",
            )


def find(every: Sequence[Instance], wanted: str, form: Form | None = None) -> Instance:
    """The Instance of that id, or the only one of that App.

    Of the two Forms of one Move it is the one that runs. AppError when none or several are left.
    """
    found = _named(every, wanted, form)
    # Both Forms of one Move have its id; at most one of them runs, as they publish the same port.
    if len({each.id for each in found}) == 1 and len(found) > 1:
        found = tuple(each for each in found if each.status == "running") or found
    if len(found) != 1:
        raise _unclear(every, found, wanted)
    return found[0]
