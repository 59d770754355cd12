"""portkit doctor: what this machine can do, and what is missing."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from portkit import doctor as checks
from portkit_cli.render import stdout


@click.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def doctor(output: str) -> None:
    """Check what this machine can do and what it lacks.

    For everything that is missing, portkit prints the command that installs it. The exit code is 0
    if everything is there that portkit needs on this machine, and 1 otherwise.

    \b
    Examples:
      portkit doctor
      portkit doctor --output json
    """
    found = checks.examine()
    if output == "json":
        click.echo(json.dumps([asdict(check) for check in found], indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for name in ("", "what", "found", "do"):
            table.add_column(name, overflow="fold")
        for check in found:
            mark = Text("ok", "green") if check.ok else Text("--", "red" if check.needed else "")
            table.add_row(mark, check.name, Text(check.found), Text("" if check.ok else check.fix))
        stdout().print(table)
    if not checks.ready(found):
        raise SystemExit(1)
