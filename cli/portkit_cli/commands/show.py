"""portkit show: the steps of a Move, or what runs on a host, as a compose file."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from portkit import yaml_text
from portkit.errors import IncompatibleError
from portkit.host import connect
from portkit.model import Severity
from portkit.source.running import show as show_running
from portkit_cli.commands.moves import show_move
from portkit_cli.options import Messages, output
from portkit_cli.render import clean, finding_line


@click.command()
@click.argument("what")
@click.option("--on", "host", metavar="HOST", help="The host where the container or project is.")
@output
def show(what: str, host: str | None, output: str) -> None:
    """Print the steps of a Move, or a running app as a compose file.

    WHAT is the id of a Move, container:NAME or project:NAME.

    Of a Move, each step is pending, doing, done, undoing or undone. `portkit moves` prints the ids.
    What sending each form cost is printed below the steps, beside what `portkit move --dry-run`
    predicted if it ran before the Move for the same image.

    Of a container or a compose project, whoever started it, the compose file is printed that makes
    it again: for what was started by hand, or whose file is lost. What the image and the engine
    give by themselves is left out. What portkit does not write into the file is named on standard
    error, field by field; where that is an error, the exit code is 9. The environment is in the
    file, passwords too; data of volumes is not. Nothing on HOST is changed.

    \b
    Examples:
      portkit show pk-6e4b06d66696 --output json
      portkit show container:web --on server1 > compose.yaml
      portkit show project:shop --on server1
    """
    if ":" not in what:
        if host is not None:
            raise click.UsageError("a Move is in the journal of this machine: leave --on out")
        show_move(what, output)
        return
    if host is None:
        raise click.UsageError(f"say where {what[:200]} is: --on HOST")
    with connect(host, Messages()) as there:
        shown = show_running(there, what)
    if output == "json":
        rows = [asdict(each) for each in shown.findings]
        click.echo(json.dumps({"document": shown.document, "findings": rows}, indent=2))
    else:
        for finding in shown.findings:
            click.echo(clean(" ".join(finding_line(finding).split())), err=True)
        click.echo(yaml_text.dump(shown.document), nl=False)
    if any(each.severity is Severity.ERROR for each in shown.findings):
        sys.exit(IncompatibleError.exit_code)
