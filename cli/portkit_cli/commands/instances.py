"""portkit ps, logs, console, stop, start, rm: manage what portkit runs on a host."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.table import Table

from portkit import boot
from portkit.boot import Runner, taken
from portkit.host import Host, connect
from portkit.model import Form, Instance, ServiceState, Standing
from portkit_cli.options import Messages, on_host, output
from portkit_cli.render import clean, stdout


def _instance(command: Callable[..., Any]) -> Callable[..., Any]:
    """What names an Instance, or a service of it: INSTANCE [SERVICE] --on HOST [--form FORM]."""
    for each in (
        click.option(
            "--form",
            type=click.Choice([form.value for form in Form]),
            help="Which form, if the App is on HOST in both.",
        ),
        on_host,
        click.argument("service", required=False),
        click.argument("instance"),
    ):
        command = each(command)
    return command


@contextmanager
def _found(
    host: str, name: str, form: str | None, *, alone: bool = False
) -> Iterator[tuple[Runner, Instance]]:
    """alone: refuse while the other Form of the same Move runs."""
    with connect(host, Messages()) as there:
        # Ask both engines, because the name may belong to either Form.
        every = boot.instances(there)
        one = boot.find(every, name, Form(form) if form else None)
        if alone:
            boot.refuse_beside(every, one)
        with boot.runner(there, one.form) as runner:
            yield runner, one


@click.command()
@on_host
@output
def ps(host: str, output: str) -> None:
    """List the Instances that portkit has on HOST, in both forms.

    An App with several services has one more line for each service, with its status and either its
    exit code or the result of its healthcheck.

    \b
    Examples:
      portkit ps --on web2
      portkit ps --on web2 --output json
    """
    with connect(host, Messages()) as there:
        rows = boot.instances(there)
    if output == "json":
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("ID", "APP", "FORM", "STATUS", "PORTS"):
        table.add_column(name)
    for row in rows:
        code = "" if row.exit_code is None else f" ({row.exit_code})"
        table.add_row(row.id, clean(row.app), row.form.value, row.status + code, clean(row.url))
        for service in row.services:
            table.add_row("", clean(f"  {service.name}"), "", _service_state(service))
    stdout().print(table)


def _service_state(service: ServiceState) -> str:
    more = service.health if service.exit_code is None else str(service.exit_code)
    return f"{service.status} ({more})" if more else service.status


@click.command()
@_instance
@click.option(
    "--tail",
    type=click.IntRange(1, 100_000),
    default=100,
    show_default=True,
    help="How many of the last lines to print; with several containers, of each of them.",
)
def logs(instance: str, service: str | None, host: str, form: str | None, tail: int) -> None:
    """Print the last lines that INSTANCE wrote.

    INSTANCE is an id or the name of an App. For a disk, portkit prints what was written to the
    serial console since the last boot. If the App has several services, each line begins with the
    name of its service; with SERVICE, only the lines of that service are printed.

    \b
    Examples:
      portkit logs radicale --on web2 --tail 20
      portkit logs shop db --on web2
    """
    with _found(host, instance, form) as (runner, one):
        click.echo(clean(runner.logs(one.id, tail, service)), nl=False)


@click.command()
@_instance
def console(instance: str, service: str | None, host: str, form: str | None) -> None:
    """Print what INSTANCE writes from now on.

    Ctrl-C ends the command, and the Instance keeps running. If INSTANCE has several containers,
    portkit follows that of SERVICE, or without SERVICE the one that answers for the App. Of a VM it
    always prints the whole console.

    \b
    Example:
      portkit console radicale --on web2
    """
    with _found(host, instance, form) as (runner, one):
        runner.follow(one.id, _write, service)


def _write(data: bytes) -> None:
    # A serial console ends lines with CR LF, which would disturb what reads a pipe.
    sys.stdout.write(clean(data.decode("utf-8", "replace").replace("\r", "")))
    sys.stdout.flush()


@click.command()
@_instance
@click.option(
    "--time",
    "grace",
    type=click.FloatRange(0, 3600),
    help="Seconds to wait for it to end by itself before it is killed.  [default: its "
    "stop_grace_period]",
)
def stop(
    instance: str, service: str | None, host: str, form: str | None, grace: float | None
) -> None:
    """Stop INSTANCE and print its exit code.

    If INSTANCE has several services, portkit stops them one after the other, each before those that
    it depends on; `portkit ps` shows the exit code of each. With SERVICE, only that one is stopped,
    which is not possible in a VM.

    \b
    Examples:
      portkit stop radicale --on web2 --time 30
      portkit stop shop worker --on web2
    """
    with _found(host, instance, form) as (runner, one):
        code = runner.stop(one.id, grace, service)
    click.echo(f"{service or one.id} exited" + ("" if code is None else f" with code {code}"))


@click.command()
@_instance
def start(instance: str, service: str | None, host: str, form: str | None) -> None:
    """Start INSTANCE again.

    If INSTANCE has several services, portkit starts each after those that it depends on, also those
    that were stopped when a Move brought them here. With SERVICE, only that one is started, which
    is not possible in a VM.

    \b
    Examples:
      portkit start radicale --on web2 --form disk
      portkit start shop worker --on web2
    """
    with _found(host, instance, form, alone=True) as (runner, one):
        runner.start(one.id, service=service, standing=Standing())
    click.echo(f"{service or one.id} started")


@click.command()
@_instance
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--data", is_flag=True, help="Also remove the data that came with a running App.")
def rm(
    instance: str, service: str | None, host: str, form: str | None, yes: bool, data: bool
) -> None:
    """Remove INSTANCE with its volumes from HOST.

    An App that was running when it was moved has brought its data. Its volumes stay on HOST unless
    --data is given. A VM's volumes are its disks, so a VM with such data is only removed if --data
    is given. A volume that HOST had before the Move always stays.

    portkit removes both forms, or only the one that --form names, and asks first unless --yes is
    given. With SERVICE, it removes only the container of that service and leaves the App's volumes
    and networks; this is not possible in a VM.

    \b
    Examples:
      portkit rm pk-0123456789ab --on web2
      portkit rm shop worker --on web2
    """
    wanted = Form(form) if form else None
    if service is not None:
        _remove_service(instance, service, host, wanted or Form.IMAGE, yes)
        return
    with connect(host, Messages()) as there:
        # Both Forms of a Move share what was held for them, so they are removed together unless
        # --form names one.
        rows = boot.together(boot.instances(there), instance, wanted)
        names = ", ".join(f"{row.id} ({row.app}, {row.form.value})" for row in rows)
        if not yes:
            click.confirm(f"Remove {clean(names)} and its volumes from {host}?", abort=True)
        replaced = taken.left(there, rows[0].id) if data else ()
        for row in rows:
            _remove(there, row, keep_data=not data)
    for each in replaced:
        click.echo(
            clean(
                f"volume {each.volume} stays, because the host had it before the Move. Its earlier "
                f"data is stored in {each.place}; portkit forget {each.move} --delete removes that"
            )
        )
    click.echo(f"{rows[0].id} removed")


def _remove_service(instance: str, service: str, host: str, form: Form, yes: bool) -> None:
    with _found(host, instance, form.value) as (runner, one):
        if not yes:
            about = clean(f"{service} of {one.id} ({one.app})")
            click.confirm(f"Remove {about} from {host}?", abort=True)
        runner.remove(one.id, service)
    click.echo(f"{service} removed")


def _remove(there: Host, row: Instance, *, keep_data: bool) -> None:
    with boot.runner(there, row.form) as runner:
        runner.remove(row.id, keep_data=keep_data)


COMMANDS = (ps, logs, console, stop, start, rm)
