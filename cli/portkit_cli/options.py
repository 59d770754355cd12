"""Options that several verbs share, and the Observer of verbs that take a moment only."""

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


class Messages(NullObserver):
    """Prints messages on standard error, such as where a host's name leads to; no progress."""

    def message(self, text: str) -> None:
        """Print one line."""
        click.echo(text, err=True)


on_host = click.option("--on", "host", required=True, metavar="HOST", help="The host it is on.")
