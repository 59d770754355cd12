"""The isolation of an App, measured: each cell is a Move that keeps nothing, of the probe in the
App's place."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from portkit import app as app_room
from portkit import boot
from portkit.errors import BootError, PortkitError
from portkit.host import Host
from portkit.isolation import answer, program
from portkit.isolation.seen import HostKernel, Isolation, Seen, compared
from portkit.model import App, Verdict
from portkit.move.journal import Journal
from portkit.move.matrix import Cell, Matrix
from portkit.move.observed import harm
from portkit.move.prepare import Job, Package, Request
from portkit.move.prove import reason_of, trial, with_each
from portkit.source import OnHost

# The probe tries all of it in a second; an emulated processor on a busy host takes its time.
_PATIENCE_S = 180.0
_POLL_S = 0.5
_TAIL = 40  # lines; beside the probe's own, those that a kernel writes to a console


def isolate(
    matrix: Matrix,
    packages: tuple[Package, ...],
    request: Request,
    targets: Mapping[str, AbstractContextManager[Host]],
    journal: Journal,
) -> Matrix:
    """The Matrix with the isolation of each cell."""
    apps = {each.app.name: _Probed(each, request) for each in packages}

    def away(cell: Cell, why: str) -> Cell:
        return replace(cell, isolation=Isolation(reason=why))

    def at(host: Host) -> Callable[[Cell], Cell]:
        kernel = _kernel(host)
        return lambda cell: replace(cell, isolation=apps[cell.app].on(host, kernel, cell, journal))

    return with_each(matrix, targets, at, away)


def _kernel(host: Host) -> HostKernel:
    row = host.remote.call("kernel.identity", {})
    return HostKernel(row["release"], row["boot_id"], row["namespaces"])


class _Probed:
    """An App with the probe in its place, packaged when it is first needed."""

    def __init__(self, package: Package, request: Request) -> None:
        self._package = package
        self._request = request
        self._made: Package | None = None

    def on(self, host: Host, kernel: HostKernel, cell: Cell, journal: Journal) -> Isolation:
        """Of one cell. What keeps the probe from running is the reason."""
        if why := harm(cell.findings):
            return Isolation(reason=why)
        try:
            made = self._made = self._made or probed(self._package, self._request)
        except PortkitError as error:
            return Isolation(reason=reason_of(error))
        job = replace(self._request.to(host), apps=(made.app,), forms=(cell.form,))
        return _measured(made, job, kernel, journal)


def probed(package: Package, request: Request) -> Package:
    """The package of the probe in the place of the App's front service.

    AppError for an App that is not made from its images, and as `program.probing`.
    """
    _require_images(package.app, request)
    app = program.probing(package.app)
    config = next(each for each in package.image.images if each.digest == package.spec.front.image)
    request.observer.message(f"{app.name}: adding the isolation probe to its image")
    image = program.layered(package.image, config, request.store)
    spec = app_room.resolve_all(app_room.filled(app), image.images)
    return Package(app, spec, image, package.source, (), package.turn)


def _require_images(app: App, request: Request) -> None:
    if app.running or not isinstance(request.source, OnHost):
        raise PortkitError(
            "isolation can only be measured for an App that is made from its images",
            details=f"{app.name} runs at its source, or comes from a bundle",
            resolution="Name its compose file, its folder or its image.",
        )


def _measured(package: Package, job: Job, kernel: HostKernel, journal: Journal) -> Isolation:
    heard: list[Seen] = []

    def listen(runner: boot.Runner, identity: str) -> None:
        heard.append(listened(runner, identity))

    found = trial(package, job, journal, Verdict.UNKNOWN, while_up=listen)
    if not heard:
        return Isolation(reason=f"the probe did not run: {found.reason}")
    return replace(compared(heard[0], kernel), reason=found.reason)


def listened(
    runner: boot.Runner,
    identity: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Seen:
    """What the probe says in the log of a running Instance. BootError when it says nothing, or
    nothing whole, for a long time, or ends."""
    deadline = clock() + _PATIENCE_S
    while True:
        complaint = BootError("the isolation probe printed nothing")
        try:
            if seen := answer.find(runner.logs(identity, _TAIL)):
                return seen
        except BootError as error:  # the next one may be whole
            complaint = error
        if clock() > deadline or not runner.life(identity).running:
            raise complaint
        sleep(_POLL_S)
