"""Options that several verbs share, and the Observer of verbs that take a moment only."""

from __future__ import annotations

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
    help="How progress is shown, on standard error.",
)


class Messages(NullObserver):
    """Prints messages on standard error, such as where a host's name leads to; no progress."""

    def message(self, text: str) -> None:
        """Print one line."""
        click.echo(text, err=True)


on_host = click.option("--on", "host", required=True, metavar="HOST", help="The host it is on.")


def _reading(*profile: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that say how an App is read. profile: the names of that for compose's."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            metavar="FILE",
            help="A compose file in the folder APP; can be given several times, to be merged.",
        )
        @click.option(
            *profile,
            "profiles",
            multiple=True,
            metavar="NAME",
            help="Also the services of this profile of the compose file; can be given several "
            "times.",
        )
        @click.option(
            "-p", "--project-name", "name", default="", metavar="NAME", help="APP's name."
        )
        @click.option(
            "--carry",
            multiple=True,
            type=click.Path(),
            metavar="PATH",
            help="A file or folder that the App binds travels with it, although it is outside of "
            "its folder, or holds data; can be given several times.",
        )
        @wraps(command)
        def with_reading(
            *args: Any,
            files: tuple[str, ...],
            profiles: tuple[str, ...],
            name: str,
            carry: tuple[str, ...],
            **rest: Any,
        ) -> Any:
            return command(*args, reading=Reading(files, profiles, name, carry), **rest)

        return with_reading

    return decorate


# The command gets what they say as `reading`. `portkit check --profile` names a kind of host.
reading = _reading("--profile", "--compose-profile")
reading_beside_profiles = _reading("--compose-profile")


_live = click.option(
    "--live",
    is_flag=True,
    help="Move vm:NAME while it runs, with its memory: it stands still, usually for less "
    "than a second. Both hosts must be able to give it the same machine; else this is refused.",
)


@dataclass(frozen=True)
class RunningOptions:
    """How an App that runs changes its host, and what follows."""

    on_taken: Mapping[str, OnTaken]
    pauses: tuple[Pause, ...]
    after_commit: tuple[str, ...]
    forward: bool
    live: bool


def _on_taken(
    context: click.Context, option: click.Parameter, told: tuple[str, ...]
) -> Mapping[str, OnTaken]:
    """What is said of volumes, by their names; "" is for all others."""
    found: dict[str, OnTaken] = {}
    words = ", ".join(way.value for way in OnTaken)
    for text in told:
        name, sign, word = text.rpartition("=")
        if word not in list(OnTaken) or (sign and not name):
            raise click.BadParameter(f"{text[:200]!r} is not [NAME=]CHOICE, with one of {words}")
        if found.setdefault(name, OnTaken(word)) != word:
            raise click.BadParameter(f"two choices for {name[:200] or 'all volumes'}")
    return found


def running_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for an App that runs; the command gets them as `running`."""

    @click.option(
        "--volumes",
        multiple=True,
        metavar="[NAME=]CHOICE",
        callback=_on_taken,
        help="Where the target has a volume of the same name as one of a running APP: refuse (end "
        "before anything is sent), override (replace its data; it is set aside there, and a "
        "rollback puts it back), keep (start APP on that data and copy nothing of the volume), or "
        "clone (put APP's data into a volume of a new name, in any case). NAME= for one volume, "
        "else for all; can be given several times.  [default: refuse]",
    )
    @click.option(
        "--hold",
        is_flag=True,
        help="Wait before a running APP is stopped, and go on copying its data, until portkit "
        "cutover is called.",
    )
    @click.option(
        "--confirm",
        is_flag=True,
        help="Wait when a running APP has answered on the target, until portkit commit or portkit "
        "rollback --discard-writes is called.",
    )
    @click.option(
        "--after-commit",
        "after_commit",
        multiple=True,
        metavar="CMD",
        help="Run CMD by /bin/sh -c on this machine when the target has kept an APP, and again "
        "when the Move is rolled back; can be given several times.",
    )
    @click.option(
        "--forward",
        is_flag=True,
        help="Let the source forward the TCP ports of a running APP to the target, until portkit "
        "forward --stop or portkit forget --delete is called.",
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
            raise click.UsageError("--live stops nothing: leave --hold out")
        chosen = ((Pause.CUTOVER, hold), (Pause.COMMIT, confirm))
        pauses = tuple(pause for pause, wanted in chosen if wanted)
        running = RunningOptions(volumes, pauses, after_commit, forward, live)
        return command(*args, running=running, **rest)

    return with_running
