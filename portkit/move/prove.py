"""The cells of a Matrix are tried: each is a Move that keeps nothing, also where rules refuse it.

A trial goes through the same steps as a Move, so it is recorded in the journal, takes the App's
lock, publishes its ports, and is rolled back when it fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from portkit import boot, compat
from portkit.errors import (
    BootError,
    ConflictError,
    EngineError,
    IncompatibleError,
    PortkitError,
    SpaceError,
)
from portkit.host import Host
from portkit.model import Verdict
from portkit.move import prepare, unfinished
from portkit.move.carry import carry_out
from portkit.move.ground import WhileUp
from portkit.move.journal import Journal
from portkit.move.matrix import Basis, Cell, HostKnown, Matrix
from portkit.move.observed import Observed, Outcome, harm, observed, untried
from portkit.move.prepare import Job, Package, Request

# What the engine, the guest or the host itself says of an App that cannot run there. Other errors
# are about the trial: a connection that broke, a tool that is missing here, another Move at work.
_REFUSED = (BootError, EngineError, IncompatibleError, SpaceError)
_WORDS = 400  # characters of a reason: the end of an app's log is the most telling part of it


def prove(
    matrix: Matrix,
    packages: tuple[Package, ...],
    request: Request,
    targets: Mapping[str, AbstractContextManager[Host]],
    journal: Journal,
    told: Callable[[Cell], None],
) -> Matrix:
    """The Matrix with what was observed of each cell. told: is called with each as it is known."""
    by_name = {each.app.name: each for each in packages}

    def take(cell: Cell, found: Observed) -> Cell:
        tried = replace(cell, observed=found)
        told(tried)
        return tried

    def away(cell: Cell, why: str) -> Cell:
        return take(cell, untried(cell.verdict, why))

    def at(host: Host) -> Callable[[Cell], Cell]:
        return lambda cell: take(cell, _tried(cell, by_name[cell.app], request.to(host), journal))

    return with_each(matrix, targets, at, away)


def with_each(
    matrix: Matrix,
    targets: Mapping[str, AbstractContextManager[Host]],
    at: Callable[[Host], Callable[[Cell], Cell]],
    away: Callable[[Cell, str], Cell],
) -> Matrix:
    """The Matrix with other cells in place of its own, host by host. at: makes those of a host that
    is connected; away: one where nothing can be tried, by the reason."""
    done: dict[tuple[str, str, str], Cell] = {}
    for host in matrix.hosts:
        cells = [cell for cell in matrix.cells if cell.host == host.name]
        if why := out_of_reach(host):
            made = [away(cell, why) for cell in cells]
        else:
            with targets[host.name] as there:
                made = list(map(at(there), cells))
        done |= {(cell.app, cell.form, cell.host): cell for cell in made}
    return replace(
        matrix, cells=tuple(done[cell.app, cell.form, cell.host] for cell in matrix.cells)
    )


def out_of_reach(host: HostKnown) -> str:
    """Why nothing can be tried there; "" where it can."""
    return {
        Basis.ASKED: "",
        Basis.DOCUMENTATION: "by documentation only: there is no host to try it on",
        Basis.UNREACHABLE: "the host was not reached",
    }[host.basis]


def _tried(cell: Cell, package: Package, job: Job, journal: Journal) -> Observed:
    if package.app.running:
        return untried(cell.verdict, "the app runs at its source, and a trial would stop it there")
    if why := harm(cell.findings):
        return untried(cell.verdict, why)
    one = replace(job, apps=(package.app,), forms=(cell.form,))
    return trial(package, one, journal, cell.verdict)


def trial(
    package: Package,
    job: Job,
    journal: Journal,
    verdict: Verdict,
    while_up: WhileUp | None = None,
) -> Observed:
    """Start one App in the one Form of the job, measure it and remove it, whatever rules say.

    while_up: is called when it has answered, before it is stopped.

    TransferError or HostError from the roll back is not raised: the Move is then unfinished, which
    is told to the observer and shown by `portkit moves`.
    """
    conflict, (form,) = False, job.forms
    try:
        unfinished.refuse(journal, package.app.name, job.target.name)
        (packed,) = prepare.judge((package,), job, pack_disk=False)
        # The host may have changed since it was judged first.
        if why := harm(packed.findings[form]):
            return untried(verdict, why)
        # An engine that does not answer cannot take anything back either: no Move is begun.
        with boot.runner(job.target, form) as engine:
            engine.instances()
        conflict = isinstance(compat.refusal({"": packed.findings[form]}), ConflictError)
        carry_out(packed, job, journal, None, 1, while_up=while_up)
    except ConflictError as error:
        if conflict:  # as predicted: something else on the host has the port
            return observed(verdict, Outcome.FAILS, reason_of(error))
        return untried(verdict, f"another Move is in the way: {reason_of(error)}")
    except _REFUSED as error:
        return observed(verdict, Outcome.FAILS, reason_of(error))
    except PortkitError as error:
        return untried(verdict, f"the trial was not possible: {reason_of(error)}")
    return observed(verdict, Outcome.RUNS)


def reason_of(error: PortkitError) -> str:
    """An error in one line: what happened, and the end of what was seen."""
    seen = " ".join(error.details.split())
    seen = seen if len(seen) <= _WORDS else "..." + seen[-_WORDS:]
    return f"{error.brief}: {seen}" if seen else error.brief
