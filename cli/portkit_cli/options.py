"""Options that several verbs share."""

import click

output = click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
progress = click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "json", "quiet"]),
    default="auto",
    show_default=True,
    help="How progress is told, on standard error.",
)
on_host = click.option("--on", "host", required=True, metavar="HOST", help="Where it runs.")
