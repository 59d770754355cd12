"""Options that several verbs share, and the Observer of verbs that finish quickly."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from portkit.model import OnTaken, Reading
from portkit.move.plan import Pause
from portkit.progress import NullObserver

output = click.option(
    "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
progress = click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "json", "quiet"]),
    default="auto",
    show_default=True,
    help="How to show progress on standard error.",
)


class Messages(NullObserver):
    """Prints messages on standard error, such as what a host's name resolves to; no progress."""

    def message(self, text: str) -> None:
        """Print one line."""
        click.echo(text, err=True)


on_host = click.option(
    "--on", "host", required=True, metavar="HOST", help="The host where INSTANCE is."
)


def _health(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, str]:
    """What is said by each key of x-portkit.health."""
    said: dict[str, str] = {}
    for text in values:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise click.BadParameter(f"{text[:200]!r} is not KEY=VALUE")
        if said.setdefault(key, value) != value:
            raise click.BadParameter(f"two different values for {key[:200]}")
    return said


def _absolute(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Paths of a host, which are not looked up here."""
    for path in values:
        if posixpath.normpath(path) != path or not path.startswith("/") or path == "/":
            raise click.BadParameter(f"{path[:200]!r} is not an absolute path as its host has it")
    return values


_file = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    help="Read this compose file in the folder APP. Can be repeated; the files are merged.",
)
_project_name = click.option(
    "-p",
    "--project-name",
    "name",
    default="",
    metavar="NAME",
    help="Use this name for APP.  [default: the compose file's name, else the folder's]",
)
_carry = click.option(
    "--carry",
    multiple=True,
    type=click.Path(),
    metavar="PATH",
    help="Move this bind-mounted file or folder along with APP. Needed for one that is "
    "outside of APP's folder or that holds data. Can be repeated.",
)
_same_path = click.option(
    "--same-path",
    "same_paths",
    multiple=True,
    metavar="PATH",
    callback=_absolute,
    help="Where APP binds this path of its host, such as a socket, bind the target's own "
    "and move nothing. An engine's socket lets APP control the target. Can be repeated.",
)
_asked = click.option(
    "--health",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_health,
    help="How to ask whether APP is up, in place of what APP says itself: the keys of "
    "x-portkit.health, such as scheme=tcp, path=/ready or method=healthcheck. Can be "
    "repeated.",
)


def _reading(*profile: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that say how an App is read. profile: the option names for compose profiles."""
    profiles = click.option(
        *profile,
        "profiles",
        multiple=True,
        metavar="NAME",
        help="Include the services of this compose profile. Can be repeated.",
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @_file
        @profiles
        @_project_name
        @_carry
        @_same_path
        @_asked
        @wraps(command)
        def with_reading(
            *args: Any,
            files: tuple[str, ...],
            profiles: tuple[str, ...],
            name: str,
            carry: tuple[str, ...],
            same_paths: tuple[str, ...],
            health: Mapping[str, str],
            **rest: Any,
        ) -> Any:
            reading = Reading(files, profiles, name, carry, health, same_paths)
            return command(*args, reading=reading, **rest)

        return with_reading

    return decorate


# The command receives these options as `reading`. `portkit check --profile` means a kind of host.
reading = _reading("--profile", "--compose-profile")
reading_beside_profiles = _reading("--compose-profile")


_live = click.option(
    "--live",
    is_flag=True,
    help="Move vm:NAME while it runs, with its memory. The VM pauses briefly, usually for less "
    "than a second. portkit refuses this unless both hosts can provide the same virtual machine.",
)


@dataclass(frozen=True)
class RunningOptions:
    """How a running App changes its host, and what happens afterwards."""

    on_taken: Mapping[str, OnTaken]
    pauses: tuple[Pause, ...]
    after_commit: tuple[str, ...]
    forward: bool
    live: bool


def _on_taken(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, OnTaken]:
    """The choice for each volume by its name; "" stands for all others."""
    choices: dict[str, OnTaken] = {}
    words = ", ".join(way.value for way in OnTaken)
    for text in values:
        name, sign, word = text.rpartition("=")
        if word not in list(OnTaken) or (sign and not name):
            raise click.BadParameter(
                f"{text[:200]!r} is not [NAME=]CHOICE; CHOICE is one of {words}"
            )
        if choices.setdefault(name, OnTaken(word)) != word:
            raise click.BadParameter(f"two different choices for {name[:200] or 'all volumes'}")
    return choices


def running_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for a running App; the command receives them as `running`."""

    @click.option(
        "--volumes",
        multiple=True,
        metavar="[NAME=]CHOICE",
        callback=_on_taken,
        help="What to do if the target already has a volume that a running APP brings. refuse: end "
        "before anything is sent. override: replace its data, which is set aside there and put "
        "back by a rollback. keep: start APP on the target's data and copy nothing. clone: always "
        "put APP's data into a volume with a new name. NAME= chooses for one volume; without it "
        "the choice is for all others. Can be repeated.  [default: refuse]",
    )
    @click.option(
        "--hold",
        is_flag=True,
        help="Wait before stopping a running APP, and keep copying its data, until `portkit "
        "cutover` is run.",
    )
    @click.option(
        "--confirm",
        is_flag=True,
        help="Once a running APP has answered on the target, wait until `portkit commit` or "
        "`portkit rollback --discard-writes` is run.",
    )
    @click.option(
        "--after-commit",
        "after_commit",
        multiple=True,
        metavar="CMD",
        help="Run CMD with /bin/sh -c on this machine after the target has taken APP over, and "
        "again if the Move is rolled back. Can be repeated.",
    )
    @click.option(
        "--forward",
        is_flag=True,
        help="Make the source forward the TCP ports of a running APP to the target, until `portkit "
        "forward --stop` or `portkit forget --delete` is run.",
    )
    @_live
    @wraps(command)
    def with_running(
        *args: Any,
        volumes: Mapping[str, OnTaken],
        hold: bool,
        confirm: bool,
        after_commit: tuple[str, ...],
        forward: bool,
        live: bool,
        **rest: Any,
    ) -> Any:
        if live and hold:
            raise click.UsageError("--hold cannot be combined with --live, which stops nothing")
        chosen = ((Pause.CUTOVER, hold), (Pause.COMMIT, confirm))
        pauses = tuple(pause for pause, wanted in chosen if wanted)
        running = RunningOptions(volumes, pauses, after_commit, forward, live)
        return command(*args, running=running, **rest)

    return with_running
