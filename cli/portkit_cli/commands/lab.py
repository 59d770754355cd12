"""`portkit lab`: practice hosts on this machine."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import click

from portkit import lab as lab_room
from portkit.lab import LabHost
from portkit.progress import NullObserver


# Making a root takes a minute or two on the first call, and seconds afterwards: no bar is drawn for
# it.
class _Tell(NullObserver):
    """Says on stderr what takes long."""

    def message(self, text: str) -> None:
        click.echo(text, err=True)


_NAME = click.argument("name", type=click.Choice(list(lab_room.MEMBERS)))


@click.group()
def lab() -> None:
    """Practice hosts on this machine, with real engines. Needs root."""
    os.umask(0o022)  # the roots of hosts are made here: their services run as users of their own


def _table(hosts: tuple[LabHost, ...]) -> str:
    rows = [("NAME", "DEBIAN", "ADDRESS", "STATE", "LINK")]
    for host in hosts:
        link = ("cut" if not host.linked else host.rate or "open") if host.running else "-"
        state = "running" if host.running else "down"
        rows.append((host.name, host.release, host.address, state, link))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


@lab.command()
@click.argument("names", nargs=-1, type=click.Choice(list(lab_room.MEMBERS)))
def up(names: tuple[str, ...]) -> None:
    """Start hosts and wait until their engines answer.

    Without names these are alpha and beta."""
    click.echo(_table(lab_room.up(names or ("alpha", "beta"), _Tell())))


@lab.command()
@click.option("--purge", is_flag=True, help="Delete the cached roots too.")
def down(purge: bool) -> None:
    """Remove the lab and everything on its hosts."""
    lab_room.down(purge=purge)


@lab.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table")
def status(output: str) -> None:
    """Show what runs, where, and how its link is."""
    hosts = lab_room.status()
    if output == "table":
        click.echo(_table(hosts))
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
@click.option("--rate", required=True, help="Such as 100mbit; `none` takes the limit away.")
def shape(name: str, rate: str) -> None:
    """Limit a host's link, both ways.

    \b
    Example:
      portkit lab shape beta --rate 100mbit
    """
    lab_room.shape(name, None if rate == "none" else rate)


@lab.command()
@_NAME
def cut(name: str) -> None:
    """Pull a host's cable."""
    lab_room.cut(name)


@lab.command()
@_NAME
def mend(name: str) -> None:
    """Plug a host's cable in again."""
    lab_room.mend(name)


@lab.command()
@_NAME
def reboot(name: str) -> None:
    """Stop everything on a host and start it again; its files stay."""
    click.echo(_table((lab_room.reboot(name, observer=_Tell()),)))


@lab.command()
@_NAME
def base(name: str) -> None:
    """Load debian:bookworm-slim into a host's engine.

    It is made from this machine's package sources."""
    click.echo(lab_room.load_base(name, observer=_Tell()))
