"""portkit ps, logs, stop, start, rm: what portkit runs on a host"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click
from rich.table import Table

from portkit import boot
from portkit.boot import Runner
from portkit.host import connect
from portkit.model import Form, Instance
from portkit_cli.options import on_host, output
from portkit_cli.render import clean, stdout


@contextmanager
def _runner(host: str) -> Iterator[Runner]:
    with connect(host) as there, boot.runner(there, Form.IMAGE) as runner:
        yield runner


@contextmanager
def _found(host: str, name: str) -> Iterator[tuple[Runner, Instance]]:
    with _runner(host) as runner:
        yield runner, boot.find(runner, name)


@click.command()
@on_host
@output
def ps(host: str, output: str) -> None:
    """List what portkit has on HOST."""
    with _runner(host) as runner:
        rows = runner.instances()
    if output == "json":
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("ID", "APP", "FORM", "STATUS", "PORTS"):
        table.add_column(name)
    for row in rows:
        code = "" if row.exit_code is None else f" ({row.exit_code})"
        table.add_row(row.id, clean(row.app), row.form.value, row.status + code, clean(row.url))
    stdout().print(table)


@click.command()
@click.argument("instance")
@on_host
@click.option("--tail", type=click.IntRange(1, 100_000), default=100, show_default=True)
def logs(instance: str, host: str, tail: int) -> None:
    """Show the last lines that INSTANCE (an id or an App's name) wrote."""
    with _found(host, instance) as (runner, one):
        click.echo(clean(runner.logs(one.id, tail)), nl=False)


@click.command()
@click.argument("instance")
@on_host
@click.option("--time", "grace", type=click.FloatRange(0, 3600), default=10.0, show_default=True,
              help="Seconds it gets to finish.")  # fmt: skip
def stop(instance: str, host: str, grace: float) -> None:
    """Stop INSTANCE and tell its exit code."""
    with _found(host, instance) as (runner, one):
        code = runner.stop(one.id, grace)
    click.echo(f"{one.id} exited with code {code}")


@click.command()
@click.argument("instance")
@on_host
def start(instance: str, host: str) -> None:
    """Start INSTANCE again."""
    with _found(host, instance) as (runner, one):
        runner.start(one.id)
    click.echo(f"{one.id} started")


@click.command()
@click.argument("instance")
@on_host
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(instance: str, host: str, yes: bool) -> None:
    """Remove INSTANCE with its volumes from HOST."""
    with _found(host, instance) as (runner, one):
        if not yes:
            click.confirm(f"Remove {one.id} ({one.app}) and its volumes from {host}?", abort=True)
        runner.remove(one.id)
    click.echo(f"{one.id} removed")


COMMANDS = (ps, logs, stop, start, rm)
