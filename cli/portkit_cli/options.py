"""Options that several verbs share, and what the short ones say of their host."""

import click

from portkit.progress import NullObserver

output = click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
progress = click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "json", "quiet"]),
    default="auto",
    show_default=True,
    help="How progress is shown, on standard error.",
)


class Endpoint(NullObserver):
    """Says on standard error where a host's name leads to, and no more."""

    def message(self, text: str) -> None:
        click.echo(text, err=True)


on_host = click.option("--on", "host", required=True, metavar="HOST", help="Where it runs.")
