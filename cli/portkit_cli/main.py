"""The entry point: options of every verb, signals, and how an error ends the program."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import click

import portkit
from portkit import runtime
from portkit.errors import PortkitError
from portkit_cli import interrupt
from portkit_cli.commands import moves as moves_commands
from portkit_cli.commands.check import check
from portkit_cli.commands.doctor import doctor
from portkit_cli.commands.gc import gc
from portkit_cli.commands.instances import COMMANDS
from portkit_cli.commands.inventory import inventory
from portkit_cli.commands.lab import lab
from portkit_cli.commands.move import measure_command, move
from portkit_cli.commands.pack import pack
from portkit_cli.commands.show import show
from portkit_cli.interrupt import Terminated
from portkit_cli.render import clean, print_error


class CleanFormatter(logging.Formatter):
    """Log lines without the control characters that the words of a host may contain."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, cleaned."""
        return clean(super().format(record))


def _from_os(error: OSError) -> PortkitError:
    """The error for a file or folder of the user that cannot be used; it needs no traceback."""
    return PortkitError(
        f"the operating system reported an error: {error.strerror or error}",
        details=str(error.filename or ""),
        resolution="Check the path, its owner and its mode. --debug shows where it was used.",
    )


def _from_bug(error: Exception) -> PortkitError:
    """The error for an exception that nobody foresaw.

    The text of such an exception may quote a secret, so only its class and its place are shown.
    """
    frames = traceback.extract_tb(error.__traceback__)
    # The last frame of ours, not of a library below: that is where the wrong assumption is.
    ours = [frame for frame in frames if f"{os.sep}portkit" in frame.filename] or frames
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}, in {ours[-1].name}" if ours else "?"
    return Bug(
        "this is a bug in portkit",
        details=f"{type(error).__name__} at {place}",
        resolution="Please report it, and describe what you did. --debug (or PORTKIT_DEBUG=1) "
        "shows the traceback; it may contain values of your App.",
    )


class Bug(PortkitError):
    """An exception that the library did not foresee."""

    exit_code = 70  # EX_SOFTWARE of sysexits.h


# How click itself ends a command. Some of these are subclasses of Exception.
_CLICKS = (click.ClickException, click.Abort, click.exceptions.Exit)


class PortkitGroup(click.Group):
    """Prints every error as brief, details and resolution, and ends with its exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen verb. Errors are caught here and nowhere else in the command line."""
        try:
            return super().invoke(ctx)
        except _CLICKS:
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError):  # `portkit ps | head`: click ends it quietly
                raise
            shown = _as_ours(error)
            if ctx.params.get("debug"):
                # The text may quote a host, and Python would print its escape codes unchanged.
                click.echo(clean("".join(traceback.format_exception(error))), err=True)
            print_error(shown)
            ctx.exit(shown.exit_code)
        except (KeyboardInterrupt, Terminated) as stop:
            click.echo("\ninterrupted", err=True)
            # As a shell says it of a program that a signal has ended: 128 and the signal's number.
            ctx.exit(143 if isinstance(stop, Terminated) else 130)


def _as_ours(error: Exception) -> PortkitError:
    if isinstance(error, PortkitError):
        return error
    return _from_os(error) if isinstance(error, OSError) else _from_bug(error)


@click.group(cls=PortkitGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(portkit.__version__, prog_name="portkit")
@click.option(
    "--debug",
    is_flag=True,
    envvar="PORTKIT_DEBUG",
    help="Log every command that is run, and show tracebacks.  [env: PORTKIT_DEBUG]",
)
def main(debug: bool) -> None:
    """Move an application between hosts as a container image and as a bootable disk.

    \b
    Examples:
      portkit doctor                      show what this machine can do and what is missing
      portkit check ./app --on web2       say whether the app can run on web2, and why
      portkit move ./app --to web2        move it there, start it and report what that cost
      portkit move project:shop --from web1 --to web2    move what is running, with its data
      portkit pack ./app                  write the image and the disk as files
      portkit lab up                      start practice hosts on this machine

    `portkit COMMAND --help` explains each command with examples.
    """
    before = os.umask(0o077)  # whatever is written from now on may contain secrets
    click.get_current_context().call_on_close(lambda: os.umask(before))
    interrupt.install()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(CleanFormatter("%(asctime)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.WARNING)
    runtime.sweep()  # removes what killed commands left


main.add_command(doctor)
main.add_command(lab)
for command in (
    move,
    check,
    pack,
    measure_command,
    gc,
    inventory,
    show,
    *COMMANDS,
    *moves_commands.COMMANDS,
):
    main.add_command(command)
