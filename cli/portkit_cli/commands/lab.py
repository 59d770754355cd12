"""`portkit lab`: practice hosts on this machine."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import click
from rich.table import Table

from portkit import lab as lab_room
from portkit.lab import LabHost
from portkit_cli.options import Messages
from portkit_cli.render import stdout

_NAME = click.argument("name", type=click.Choice(list(lab_room.MEMBERS)))


@click.group()
def lab() -> None:
    """Run practice hosts on this machine, with real engines. Needs root.

    Each host is a Debian system with its own network address, sshd, Docker Engine or Podman, and
    libvirt. portkit reaches it as lab:NAME.

    \b
    Examples:
      portkit lab up alpha beta
      portkit move ./shop --from lab:alpha --to lab:beta
      portkit lab down
    """
    os.umask(0o022)  # services on the hosts run as other users and must read these files


def _print(hosts: tuple[LabHost, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("NAME", "DEBIAN", "ADDRESS", "STATE", "LINK"):
        table.add_column(name)
    for host in hosts:
        link = ("cut" if not host.linked else host.rate or "open") if host.running else "-"
        state = "running" if host.running else "down"
        table.add_row(host.name, host.release, host.address, state, link)
    stdout().print(table)


@lab.command()
@click.argument("names", nargs=-1, type=click.Choice(list(lab_room.MEMBERS)))
def up(names: tuple[str, ...]) -> None:
    """Start hosts and wait until their engines answer.

    Without NAMES, alpha and beta are started.

    \b
    Example:
      portkit lab up alpha beta gamma
    """
    # The first call makes the root file systems, which takes a minute or two; later calls take
    # seconds.
    _print(lab_room.up(names or ("alpha", "beta"), Messages()))


@lab.command()
@click.option("--purge", is_flag=True, help="Also delete the cached root file systems.")
def down(purge: bool) -> None:
    """Remove the lab and everything on its hosts."""
    lab_room.down(purge=purge)


@lab.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table")
def status(output: str) -> None:
    """Show which hosts run, with their addresses and links."""
    hosts = lab_room.status()
    if output == "table":
        _print(hosts)
    else:
        click.echo(json.dumps([asdict(host) for host in hosts], default=str, indent=2))


@lab.command(context_settings={"ignore_unknown_options": True})
@_NAME
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def ssh(name: str, command: tuple[str, ...]) -> None:
    """Open a shell on a host, or run one command there.

    \b
    Example:
      portkit lab ssh alpha -- docker ps"""
    argv = ["ssh", "-F", str(lab_room.ssh_config()), f"lab-{name}", *command]
    sys.stdout.flush()
    os.execvp("ssh", argv)  # noqa: S606, S607


@lab.command()
@_NAME
@click.option("--rate", required=True, help="A rate such as 100mbit; `none` removes the limit.")
def shape(name: str, rate: str) -> None:
    """Limit the rate of a host's link in both directions.

    \b
    Example:
      portkit lab shape beta --rate 100mbit
    """
    lab_room.shape(name, None if rate == "none" else rate)


@lab.command()
@_NAME
def cut(name: str) -> None:
    """Cut a host's link, as if its cable were unplugged."""
    lab_room.cut(name)


@lab.command()
@_NAME
def mend(name: str) -> None:
    """Restore a host's link after `cut`."""
    lab_room.mend(name)


@lab.command()
@_NAME
def reboot(name: str) -> None:
    """Restart a host; its files stay."""
    _print((lab_room.reboot(name, observer=Messages()),))


@lab.command()
@_NAME
def base(name: str) -> None:
    """Load debian:bookworm-slim into a host's engine.

    The image is made from the package sources of this machine, so no registry is needed.
    """
    click.echo(lab_room.load_base(name, observer=Messages()))
