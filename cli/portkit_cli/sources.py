"""The Apps that a command line names, and their source: a host, a bundle, or what is running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from click.core import ParameterSource

from portkit import app as app_room
from portkit import move as moves
from portkit.bundle import Bundle, is_bundle
from portkit.host import Host, connect
from portkit.model import App, Form, Reading
from portkit.progress import Observer
from portkit.source import (
    InBundle,
    OnHost,
    Pull,
    Running,
    RunningVM,
    Source,
    is_running,
    is_vm,
)
from portkit_cli.options import RunningOptions

FORMS = {"image": (Form.IMAGE,), "disk": (Form.DISK,), "both": moves.BOTH}
form = click.option(
    "--form",
    type=click.Choice(list(FORMS)),
    default="both",
    show_default=True,
    help="Whether to make a container image, a bootable disk, or both.",
)


@contextmanager
def begun(
    names: Sequence[str],
    reading: Reading,
    source: str,
    pull: str,
    told: Observer,
    *,
    keep: bool = False,
    running: RunningOptions | None = None,
) -> Iterator[tuple[tuple[App, ...], Source]]:
    """The Apps and where their images come from: a host, or the bundle that APP names. keep: see
    `portkit.connect`."""
    _refuse_mixed(names, reading, running)
    if any(is_running(name) or is_vm(name) for name in names):
        with connect(source, told, keep=keep) as host:
            yield _running(host, names[0], reading, running)
        return
    if any(is_bundle(name) for name in names):
        with Bundle(Path(names[0])) as bundle:
            yield (app_room.with_health(bundle.app, reading.health),), InBundle(bundle)
        return
    loaded = tuple(app_room.load(name, **asdict(reading)) for name in names)
    with connect(source, told, keep=keep) as host:
        yield loaded, OnHost(host, Pull(pull))


def _running(
    host: Host, name: str, reading: Reading, running: RunningOptions | None
) -> tuple[tuple[App, ...], Source]:
    if is_vm(name):
        live = running is not None and running.live
        machine = RunningVM(host, name, keeps_running=live, health=reading.health)
        return (machine.app(),), machine
    there = Running(
        host,
        name,
        reading.carry,
        same_paths=reading.same_paths,
        health=reading.health,
        on_taken=None if running is None else running.on_taken,
    )
    return (there.app(),), there


def _refuse_mixed(names: Sequence[str], reading: Reading, running: RunningOptions | None) -> None:
    """UsageError for Apps that are not moved together, and for options that do not apply."""
    if len(names) > 1 and (reading.files or reading.name or reading.health):
        raise click.UsageError(
            "--file, --project-name and --health can only be used with a single APP"
        )
    if running is not None and running.live and not all(map(is_vm, names)):
        raise click.UsageError("--live only moves virtual machines that run: name one as vm:NAME")
    if any(is_running(name) or is_vm(name) for name in names):
        _refuse_for_running(names, reading, running)
        return
    if running is not None and running.on_taken:
        raise click.UsageError("--volumes only applies to a running App, which brings its data")
    if any(is_bundle(name) for name in names):
        _refuse_for_bundle(names, reading)


def _refuse_for_running(
    names: Sequence[str], reading: Reading, running: RunningOptions | None
) -> None:
    if len(names) > 1:
        raise click.UsageError("a running App is moved alone: do not name another APP")
    if reading.files or reading.profiles or reading.name or given("pull"):
        raise click.UsageError(
            "--file, --profile, --project-name and --pull do not apply to a running App, whose "
            "settings are read from its host"
        )
    of_binds = reading.carry or reading.same_paths
    if is_vm(names[0]) and (of_binds or (running is not None and given("volumes"))):
        raise click.UsageError(
            "--carry, --same-path and --volumes do not apply to a VM, which moves with all of "
            "its disks"
        )


def _refuse_for_bundle(names: Sequence[str], reading: Reading) -> None:
    if len(names) > 1:
        raise click.UsageError("a bundle is moved alone: do not name another APP")
    if given("source"):
        raise click.UsageError("--from does not apply to a bundle, which has no source host")
    if given("pull"):
        raise click.UsageError("--pull does not apply to a bundle, which contains its images")
    if reading != Reading(health=reading.health):
        raise click.UsageError(
            "--file, --profile, --project-name, --carry and --same-path do not apply to a bundle, "
            "whose files were read when it was made"
        )


def given(name: str) -> bool:
    """Whether an option was on the command line."""
    # Its value would not show whether the user typed the default.
    origin = click.get_current_context().get_parameter_source(name)
    return origin is not ParameterSource.DEFAULT


def asked(form: str, origin: Source) -> tuple[Form, ...]:
    """The forms that --form names; without it, those that the source has."""
    return FORMS[form] if given("form") else origin.forms


source = click.option(
    "--from",
    "source",
    default="local",
    show_default=True,
    metavar="HOST",
    help="The host that has the image or builds it.",
)


pull = click.option(
    "--pull",
    type=click.Choice([when.value for when in Pull]),
    default=Pull.NEVER.value,
    show_default=True,
    help="Whether the source host may pull APP's images from their registries: never, only those "
    "that it lacks, or always all of them.",
)


apps = click.argument("names", metavar="APP...", nargs=-1, required=True)
