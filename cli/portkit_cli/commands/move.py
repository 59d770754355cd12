"""portkit move, portkit check"""

from __future__ import annotations

import json
import sys

import click

from portkit import app as apps
from portkit import move as moves
from portkit.host import connect
from portkit.model import Form
from portkit.report import Report
from portkit_cli.options import output, progress
from portkit_cli.render import print_report

_KEEP = {"image": Form.IMAGE, "none": None}


@click.command()
@click.argument("app")
@click.option("--to", "target", required=True, metavar="HOST", help="Where it goes.")
@click.option("--from", "source", default="local", show_default=True, metavar="HOST")
@click.option("--form", type=click.Choice(["image"]), default="image", show_default=True)
@click.option("--keep", type=click.Choice(list(_KEEP)), default="image", show_default=True,
              help="What goes on running on the target.")  # fmt: skip
@click.option("--repeat", type=click.IntRange(1, 100), default=1, show_default=True,
              help="Start it that often, with full stops between; report every time.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Package and check; change nothing on the target.")
@output
@progress
def move(
    app: str, target: str, source: str, form: str, keep: str, repeat: int, dry_run: bool,
    output: str, progress: str,
) -> None:  # fmt: skip
    """Carry APP to another host, boot it there, and say what that cost.

    APP is a folder with compose.yaml or Dockerfile, a compose file, or an image's name on the
    source host. HOST is an ssh alias, [user@]host[:port], ssh://..., lab:NAME or local.

    \b
    Examples:
      portkit move fixtures/apps/radicale --from lab:alpha --to lab:beta
      portkit move registry:2 --to ops@10.0.0.7 --repeat 5 --output json
      portkit move ./shop --to web2 --dry-run
    """
    from portkit_cli.observers import observer

    told = observer(progress)
    loaded = apps.load(app)
    with connect(source, told) as origin, connect(target, told) as there:
        if dry_run:
            report = moves.plan(loaded, source=origin, target=there, observer=told)
        else:
            report = moves.run(
                loaded, source=origin, target=there, forms=[Form(form)], keep=_KEEP[keep],
                repeat=repeat, observer=told,
            )  # fmt: skip
    _show(report, output)


@click.command()
@click.argument("app")
@click.option("--on", "targets", required=True, multiple=True, metavar="HOST")
@click.option("--from", "source", default="local", show_default=True, metavar="HOST")
@output
@progress
def check(app: str, targets: tuple[str, ...], source: str, output: str, progress: str) -> None:
    """Tell whether APP can run on each HOST; nothing is changed there.

    \b
    Exit code 1 when some host cannot run it.
    Example:
      portkit check ./shop --on web1 --on lab:gamma
    """
    from portkit_cli.observers import observer

    told = observer(progress)
    loaded, wrong = apps.load(app), False
    with connect(source, told) as origin:
        for target in targets:
            with connect(target, told) as there:
                report = moves.plan(loaded, source=origin, target=there, observer=told)
            _show(report, output)
            wrong = wrong or report.forms[0].verdict == "incompatible"
    if wrong:
        sys.exit(1)


def _show(report: Report, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(moves.to_json(report), indent=2))
    else:
        print_report(report)
