"""portkit gc: free space on a host."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.filesize import decimal

from portkit.collect import collect
from portkit.host import connect
from portkit_cli.options import output
from portkit_cli.render import clean


@click.command()
@click.option("--on", "host", required=True, metavar="HOST", help="The host to clean up.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, but remove nothing.")
@click.option("--all", "everything", is_flag=True, help="Also remove what is younger than an hour.")
@output
def gc(host: str, dry_run: bool, everything: bool, output: str) -> None:
    """Remove what Moves left on HOST and nothing needs any more.

    This removes blobs in HOST's Store that no Instance and no image held by portkit needs, partial
    transfers that were not continued, and temporary folders of connections that broke. It does not
    remove what another connection may be using.

    \b
    Examples:
      portkit gc --on web2 --dry-run
      portkit gc --on web2 --output json
    """
    with connect(host) as there:
        found = collect(there, dry_run=dry_run, everything=everything)
    if output == "json":
        click.echo(json.dumps(asdict(found), indent=2))
        return
    for row in found.removed:
        click.echo(f"{row.kind:8} {decimal(row.bytes):>9}  {clean(row.name)}")
    # The host lists a thousand at most; count and bytes are of all.
    if found.count > len(found.removed):
        click.echo(f"... and {found.count - len(found.removed)} more")
    verb = "would be removed" if dry_run else "removed"
    click.echo(f"{found.count} {verb}, {decimal(found.bytes)}; {decimal(found.kept_bytes)} stay")
    if found.busy:
        click.echo(
            f"{found.busy} other connection(s) of portkit are active on the host, so only what is "
            "older than a day was considered",
            err=True,
        )
