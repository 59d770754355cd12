"""Where packaged Apps can run: judged for hosts, tried on them, or told by documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from portkit import compat
from portkit.compat import Profile
from portkit.errors import HostError, TransferError
from portkit.host import Host
from portkit.model import App, Foreseen, Form
from portkit.move import isolate, matrix, predict, prepare, prove
from portkit.move.asked import BOTH, request_of
from portkit.move.journal import Journal
from portkit.move.matrix import Cell, Matrix
from portkit.move.predict import Predicted
from portkit.move.prepare import Package, Packed, Request
from portkit.progress import Observer
from portkit.report import FormReport, Report
from portkit.source import Source
from portkit.store import Store


@dataclass(frozen=True)
class Packages:
    """Apps with their images in this machine's Store, for `judge_apps`."""

    request: Request
    packages: tuple[Package, ...]


def package_apps(
    apps: Sequence[App],
    *,
    source: Source,
    forms: Sequence[Form] = BOTH,
    store: Store | None = None,
    observer: Observer | None = None,
) -> Packages:
    """The first half of `plan_apps`: package the Apps, which does not need a target.

    forms: the forms that the Apps are to be moved in. store: where the images are kept on this
    machine, by default $PORTKIT_STORE or the user's data folder. observer: receives progress.

    To judge Apps for several hosts, package them once and call `judge_apps` for each host.
    """
    request = request_of(apps, source, forms, store, observer)
    return Packages(request, prepare.package(request))


def judge_apps(packages: Packages, target: Host, *, pack_disk: bool = True) -> tuple[Report, ...]:
    """The second half of `plan_apps`: judge packaged Apps for one host, which is only read.

    The Reports of the first host include the cost of packaging.
    """
    job = packages.request.to(target)
    packed = prepare.judge(packages.packages, job, pack_disk=pack_disk)
    return tuple(judged(each, None, Predicted({}, {})) for each in packed)


def check_apps(
    packages: Packages,
    targets: Mapping[str, AbstractContextManager[Host]] | None = None,
    profiles: Sequence[Profile] = (),
) -> Matrix:
    """Where packaged Apps can run, in each Form. Hosts are only read.

    targets: by name, what `portkit.connect` returns, not entered yet. A host that cannot be reached
    has cells with the verdict `unknown`; if nothing else was asked for, its error is raised.
    profiles: kinds of hosts that are known from documentation, from `portkit.load_profile`.
    """
    request = packages.request
    found = [_asked(packages, name, target) for name, target in (targets or {}).items()]
    found += [matrix.documented(packages.packages, request, profile) for profile in profiles]
    return matrix.joined([app.name for app in request.apps], request.forms, found)


def _asked(packages: Packages, name: str, target: AbstractContextManager[Host]) -> matrix.Row:
    try:
        # One after the other: a host need not be connected while another one is judged.
        with target as host:
            reports = judge_apps(packages, host, pack_disk=False)
            return matrix.asked(name, reports, host.kept_s)
    except (HostError, TransferError) as error:
        request = packages.request
        return matrix.unreachable(name, [app.name for app in request.apps], request.forms, error)


def prove_apps(
    packages: Packages,
    found: Matrix,
    targets: Mapping[str, AbstractContextManager[Host]],
    *,
    journal: Journal | None = None,
    told: Callable[[Cell], None] = lambda cell: None,
) -> Matrix:
    """Try what `check_apps` predicted: the Matrix with what was observed in each cell.

    Each cell is a Move that keeps nothing: the App is sent, started, measured and removed, even if
    a rule says that it cannot run. Trials that would harm others on the host are left out. found:
    the result of `check_apps` for the same packages. targets: as for `check_apps`, connected anew.
    told: is called with each cell as soon as it was tried. A disagreement is not an error, but part
    of the Matrix (`Observed.agrees`).
    """
    request = packages.request
    return prove.prove(found, packages.packages, request, targets, journal or Journal(), told)


def measure_isolation(
    packages: Packages,
    found: Matrix,
    targets: Mapping[str, AbstractContextManager[Host]],
    *,
    journal: Journal | None = None,
) -> Matrix:
    """Measure what isolates each App from each host: the Matrix with `Cell.isolation`.

    Each cell is a Move that keeps nothing, in which a probe takes the place of the service that
    answers for the App, with its user, capabilities, security options, mounts and limits. The other
    services are left out, and no port is published. It changes nothing. A cell in which the probe
    could not run says why. found, targets: as for `prove_apps`.
    """
    request = packages.request
    return isolate.isolate(found, packages.packages, request, targets, journal or Journal())


def judged(packed: Packed, cutover: Foreseen | None, known: Predicted) -> Report:
    """What is known of a packaged App before its Move, as a Report."""
    reports = []
    for form, artifact in packed.artifacts.items():
        findings = packed.findings[form]
        verdict = compat.verdict(findings, packed.target, form)
        cost = known.costs.get((packed.app.name, form))
        reports.append(FormReport(form, artifact, verdict, findings, predicted=cost))
    figures = predict.beside(reports, cutover, None, None)
    return packed.report(
        packed.turn.clock.take(),
        reports,
        dry_run=True,
        predictions=figures,
        survey_bytes=known.sent_bytes.get(packed.app.name, 0)
        + (cutover.survey_bytes if cutover else 0),
    )
