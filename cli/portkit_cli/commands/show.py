"""portkit show: print the steps of a Move, or a compose file of what runs on a host."""

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

    WHAT is the id of a Move, container:NAME, project:NAME or project:FOLDER.

    For a Move, portkit prints its steps, each of which is pending, doing, done, undoing or undone,
    and what sending each form cost. If `portkit move --dry-run` ran before for the same image, its
    prediction is printed beside that. `portkit moves` prints the ids.

    For a container or a compose project, portkit prints a compose file that creates it again. That
    helps with what was started by hand, or whose compose file is lost. The file leaves out the
    defaults of the image and of the engine. portkit names on standard error every field that it
    cannot write into the file; if the App would not be the same without it, the exit code is 9. The
    file contains the environment, including passwords, but not the data of volumes. Nothing on HOST
    is changed.

    \b
    Examples:
      portkit show pk-6e4b06d66696 --output json
      portkit show container:web --on server1 > compose.yaml
      portkit show project:shop --on server1
    """
    if ":" not in what:
        if host is not None:
            raise click.UsageError(
                "--on does not apply to the id of a Move, which is in this machine's journal"
            )
        show_move(what, output)
        return
    if host is None:
        raise click.UsageError(f"name the host of {what[:200]} with --on HOST")
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
