"""portkit inventory: what a host has, for bundles that leave it out"""

from __future__ import annotations

import json

import click

from portkit.host import connect
from portkit.inventory import take, to_json


@click.command()
@click.argument("host")
def inventory(host: str) -> None:
    """Print what HOST has as JSON, for `pack --for`.

    It lists the layers in the host's engine, the blobs in its Store, versions, and what guests of
    its libvirt can be: machine types, the processor and its x86-64 level. Nothing is
    changed there. `portkit pack --for FILE` makes a bundle that leaves out what the host has.

    \b
    Example:
      portkit inventory web2 > web2.json
    """
    with connect(host) as there:
        click.echo(json.dumps(to_json(take(there)), indent=1))
