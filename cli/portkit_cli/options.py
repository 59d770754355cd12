"""Options that several verbs share, and the Observer of verbs that take a moment only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from portkit.model import Reading
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


@dataclass(frozen=True)
class RunningOptions:
    """How an App that runs changes its host, and what follows."""

    volumes: str
    pauses: tuple[Pause, ...]
    after_commit: tuple[str, ...]
    forward: bool


def running_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options for an App that runs; the command gets them as `running`."""

    @click.option(
        "--volumes",
        type=click.Choice(["refuse", "clone"]),
        default="refuse",
        show_default=True,
        help="Where the target has a volume of the same name as one of a running APP: end before "
        "anything is stopped, or put the data into a volume of a new name.",
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
    @wraps(command)
    def with_running(
        *args: Any,
        volumes: str,
        hold: bool,
        confirm: bool,
        after_commit: tuple[str, ...],
        forward: bool,
        **rest: Any,
    ) -> Any:
        chosen = ((Pause.CUTOVER, hold), (Pause.COMMIT, confirm))
        pauses = tuple(pause for pause, wanted in chosen if wanted)
        return command(
            *args, running=RunningOptions(volumes, pauses, after_commit, forward), **rest
        )

    return with_running
