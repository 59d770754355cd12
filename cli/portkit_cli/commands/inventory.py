"""portkit inventory: list what a host has, so that bundles can leave it out."""

from __future__ import annotations

import json

import click

from portkit.host import connect
from portkit.inventory import take, to_json


@click.command()
@click.argument("host")
def inventory(host: str) -> None:
    """Print what HOST has as JSON, for `pack --for`.

    The inventory lists the layers in HOST's engine, the blobs in its Store, software versions, and
    what its libvirt offers to VMs: machine types, the processor and its x86-64 level. Nothing on
    HOST is changed. `portkit pack --for FILE` makes a bundle that leaves out what the host has.

    \b
    Example:
      portkit inventory web2 > web2.json
    """
    with connect(host) as there:
        click.echo(json.dumps(to_json(take(there)), indent=1))
