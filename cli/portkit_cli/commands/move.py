"""portkit move, measure: the verbs that start an App on a host and measure it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import click

from portkit import app as apps
from portkit import compat
from portkit import move as moves
from portkit.host import Host, connect
from portkit.host.limit import rate
from portkit.model import App, Form, Reading
from portkit.progress import Observer
from portkit.report import Report
from portkit.source import Source
from portkit_cli import sources
from portkit_cli.observers import observer
from portkit_cli.options import Messages, RunningOptions, output, progress, running_options
from portkit_cli.options import reading as reading_options
from portkit_cli.render import print_report

_KEEP = {"image": Form.IMAGE, "disk": Form.DISK, "none": None}


@click.command()
@sources.apps
@click.option("--to", "target", required=True, metavar="HOST", help="The host to move to.")
@sources.source
@sources.pull
@sources.form
@click.option(
    "--keep",
    type=click.Choice(list(_KEEP)),
    default="image",
    show_default=True,
    help="Which form keeps running on the target; the other one stays ready to start. With none, "
    "everything is removed once it was measured.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Start each form this many times, with a full stop in between, and report every start.",
)
@running_options
@click.option(
    "--limit-rate",
    "limit",
    type=rate,
    metavar="RATE",
    help="Send no faster than this per second, such as 10mbit or 2MB.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Package APP, check it and predict what the Move would cost, but change nothing on the "
    "target. The downtime of a running APP is predicted too, except with --live and for a VM that "
    "becomes containers. The exit code is that of `portkit check`.",
)
@reading_options
@output
@progress
def move(
    names: tuple[str, ...],
    target: str,
    source: str,
    pull: str,
    form: str,
    keep: str,
    repeat: int,
    running: RunningOptions,
    limit: float | None,
    dry_run: bool,
    reading: Reading,
    output: str,
    progress: str,
) -> None:
    """Move each APP to another host and report what that cost.

    APP is a folder with compose.yaml or Dockerfile, a compose file, the name of an image, a bundle
    (NAME.portkit), or something that runs on the source: container:NAME, project:NAME or vm:NAME (a
    VM that portkit made). project:FOLDER is the project of a compose file on this machine. HOST is
    an ssh alias, [user@]host[:port], ssh://..., lab:NAME or local.

    A running APP moves with its data. portkit copies its volumes while it runs, stops it, copies
    what has changed since, and starts it on the target. If it does not answer there, portkit starts
    it at its source again. If it answers, what is at the source stays there, stopped, and `portkit
    forget` lists it. A VM moves as a disk. With --form image it becomes containers, and all of its
    data is copied after the stop.

    CMD finds what was moved in PORTKIT_EVENT (commit or rollback), PORTKIT_TARGET_ADDRESS and
    others. If it fails, APP stays on the target, the exit code is 15, and `portkit resume` retries.

    Several APPs are all checked before anything is sent, and then moved one after the other. What
    they share is sent once. If one fails, it is rolled back, and those after it are not tried.

    \b
    Examples:
      portkit move ./shop --to web2 --form disk --keep disk
      portkit move ./shop ./blog ./wiki --from web1 --to web2
      portkit move registry:2 --pull missing --to ops@10.0.0.7 --repeat 5 --output json
      portkit move project:shop --from web1 --to web2 --after-commit ./dns.sh
      portkit move project:shop --from web1 --to web2 --volumes shop_data=override
      portkit move vm:shop --from web1 --to web2 --live
      portkit move container:db --from web1 --to web2 --dry-run
      portkit move container:redis --from web1 --to web2 --health scheme=tcp
      portkit move ./shop -f compose.yaml -f production.yaml --profile mail --to web2
      portkit move /media/usb/shop.portkit --to web2
    """
    told = observer(progress)
    # This refuses a malformed name. The connection is made below, after the one to the source.
    there = connect(target, told)
    begun = sources.begun(names, reading, source, pull, told, running=running)
    printed = _printed(output, several=len(names) > 1)
    with printed as reports, begun as (loaded, origin), there as host:
        _limit(host, limit, running)
        forms = sources.asked(form, origin)
        if dry_run:
            reports += _planned(loaded, origin, host, forms, told)
        else:
            _moved(loaded, origin, host, forms, told, keep, repeat, running, reports)
    _exit_if_refused(reports if dry_run else ())


def _limit(host: Host, limit: float | None, running: RunningOptions) -> None:
    if running.live and limit is not None:
        raise click.UsageError(
            "--limit-rate cannot be combined with --live: it does not limit what QEMU sends"
        )
    # The limit is on the connection and not on a Move, so that several Apps share it.
    host.limit(limit)


def _planned(
    loaded: Sequence[App], origin: Source, host: Host, forms: Sequence[Form], told: Observer
) -> tuple[Report, ...]:
    return moves.plan_apps(loaded, source=origin, target=host, forms=forms, observer=told)


def _moved(
    loaded: Sequence[App],
    origin: Source,
    host: Host,
    forms: Sequence[Form],
    told: Observer,
    keep: str,
    repeat: int,
    running: RunningOptions,
    reports: list[Report],
) -> None:
    moves.move_apps(
        loaded,
        source=origin,
        target=host,
        forms=forms,
        keep=_KEEP[keep],
        repeat=repeat,
        pauses=running.pauses,
        after_commit=running.after_commit,
        forward=running.forward,
        observer=told,
        moved=reports.append,
    )


@contextmanager
def _printed(output: str, *, several: bool) -> Iterator[list[Report]]:
    """Print the Reports that are in the list when the block ends, also when it raises."""
    reports: list[Report] = []
    try:
        yield reports
    finally:
        if reports:
            _show(reports, output, several=several)


def _exit_if_refused(reports: Sequence[Report]) -> None:
    """Exit with the code that `portkit move` would end with, if one of the Apps cannot move."""
    judged = {
        f"{report.app.name} on {report.target.host}": [
            finding for form in report.forms for finding in form.findings
        ]
        for report in reports
    }
    if error := compat.refusal(judged):
        sys.exit(error.exit_code)


@click.command("measure")
@click.argument("app")
@click.option("--on", "host", required=True, metavar="HOST", help="The host where APP is.")
@click.option(
    "--form",
    type=click.Choice([form.value for form in Form]),
    help="Which form to measure.  [default: the one that runs]",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="How many times to stop and start it.",
)
@reading_options
@output
def measure_command(
    app: str, host: str, form: str | None, repeat: int, reading: Reading, output: str
) -> None:
    """Restart APP on HOST and measure the time to its first answer.

    portkit stops the Instance of APP on HOST before each start, so its users are interrupted. The
    Instance runs when the command ends.

    \b
    Example:
      portkit measure ./shop --on web2 --repeat 5 --output json
    """
    loaded = apps.load(app, **asdict(reading))
    with connect(host) as there:
        wanted = Form(form) if form else None
        found = moves.measure_again(loaded, there, form=wanted, repeat=repeat, observer=Messages())
    if output == "json":
        click.echo(json.dumps(asdict(found), indent=2))
        return
    seconds = ", ".join(f"{value:.2f}" for value in found.from_boot_s)
    one = found.instance
    where = found.url or found.method.value
    click.echo(f"{one.id} {one.form.value} {where}: {seconds} s from its start")


def _show(reports: Sequence[Report], output: str, *, several: bool = True) -> None:
    """several: False makes the JSON of the one report a document, not a list."""
    if output == "json":
        rows = [moves.to_json(report) for report in reports]
        click.echo(json.dumps(rows if several else rows[0], indent=2))
        return
    for report in reports:
        print_report(report)
