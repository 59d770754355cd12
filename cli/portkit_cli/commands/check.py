"""portkit check: say where Apps can run, and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import click

from portkit import move as moves
from portkit.compat import profile as profiles_room
from portkit.host import connect
from portkit.model import Reading
from portkit_cli import disks, sources
from portkit_cli.matrix import print_matrix, print_profiles
from portkit_cli.observers import observer
from portkit_cli.options import output, progress, reading_beside_profiles

_LIST = "list"


@click.command()
@click.argument("names", metavar="APP...", nargs=-1)
@click.option(
    "--on",
    "targets",
    multiple=True,
    metavar="HOST",
    help="A host to judge. Can be repeated.",
)
@click.option(
    "--profile",
    "kinds",
    multiple=True,
    metavar="NAME",
    help="Judge a kind of host by its documentation, without a connection. `--profile list` prints "
    "the names. Can be repeated.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Ask the hosts everything again, including what an earlier check has cached.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Fail unless every APP is predicted to run in every form on every host.",
)
@click.option(
    "--prove",
    is_flag=True,
    help="Also start each APP in each form on each HOST, even where it is predicted not to run. "
    "Print what happened beside the prediction, and remove APP again.",
)
@click.option(
    "--isolation",
    is_flag=True,
    help="Also start a small probe program in place of each APP, in each form on each HOST, with "
    "the APP's own settings. Print what it can see and reach, and remove it again. The probe "
    "itself changes nothing.",
)
@disks.disk_options
@sources.source
@sources.pull
@sources.form
@reading_beside_profiles
@output
@progress
def check(
    names: tuple[str, ...],
    targets: tuple[str, ...],
    kinds: tuple[str, ...],
    fresh: bool,
    strict: bool,
    prove: bool,
    isolation: bool,
    source: str,
    pull: str,
    form: str,
    reading: Reading,
    output: str,
    progress: str,
    machine: disks.DiskOptions,
) -> None:
    """Check where APPs can run, and say why.

    portkit packages the APPs once, judges each form on each HOST, alone and together with the other
    APPs, and prints the reasons. It changes nothing on the hosts. The exit code is 0 if every APP
    can run in some form on some host. If an APP can run nowhere, the exit code is the one that
    `portkit move` would end with, or 14 if it is not known whether the APP could run.

    With --prove, portkit changes something on each HOST for a while: it sends each APP there,
    starts it on its published ports, measures it and removes it, one form after the other. The exit
    code is 16 if an APP ran against the prediction, or did not run although that was predicted.

    With --isolation, portkit starts a small probe program in place of the service that answers for
    APP. The probe reports whose kernel it runs on, and what it can see and reach of that kernel and
    of the host. It changes nothing and publishes no port, and the exit code does not depend on it.

    APP can also be a disk file that portkit did not make (NAME.qcow2, .raw, .img). portkit reads it
    here, does not send it, and judges it for a VM with --firmware and --machine on each HOST.

    \b
    Examples:
      portkit check ./shop --on web1 --on lab:gamma
      portkit check ./shop --profile rhel-9 --profile macos-apple-silicon
      portkit check ./shop ./blog --from web1 --on web2 --strict --output json
      portkit check ./shop --on lab:beta --prove --isolation
      portkit check ./old.qcow2 --on web2 --firmware uefi --machine q35
      portkit check --profile list
    """
    if _LIST in kinds:
        print_profiles([profiles_room.load(name) for name in profiles_room.names()], output)
        return
    _require(names, targets, kinds, tried=prove or isolation)
    profiles = [profiles_room.load(name) for name in dict.fromkeys(kinds)]
    told = observer(progress)
    ends = {target: connect(target, told, keep=not fresh) for target in targets}
    if disks.named(names, machine, tried=prove or isolation):
        _end(disks.checked(names, machine, ends, profiles, told), output, strict)
        return
    with sources.begun(names, reading, source, pull, told, keep=not fresh) as (loaded, origin):
        forms = sources.asked(form, origin)
        packages = moves.package_apps(loaded, source=origin, forms=forms, observer=told)
        found = moves.check_apps(packages, ends, profiles)
        for trial in _trials(prove, isolation):
            found = trial(packages, found, {each: connect(each, told, keep=True) for each in ends})
    _end(found, output, strict)


def _end(found: moves.Matrix, output: str, strict: bool) -> None:
    if output == "json":
        click.echo(json.dumps(moves.matrix_json(found), indent=2))
    else:
        print_matrix(found)
    if error := moves.outcome(found, strict=strict):
        sys.exit(error.exit_code)


def _trials(prove: bool, isolation: bool) -> list[Callable[..., moves.Matrix]]:
    wanted = ((moves.prove_apps, prove), (moves.measure_isolation, isolation))
    return [trial for trial, asked in wanted if asked]


def _require(
    names: tuple[str, ...], targets: tuple[str, ...], kinds: tuple[str, ...], *, tried: bool
) -> None:
    if not names:
        raise click.UsageError("Missing argument 'APP...'.")
    if not targets and not kinds:
        raise click.UsageError(
            "name a host with --on or a kind of host with --profile, such as: "
            "portkit check ./shop --on web1 --profile rhel-9"
        )
    if tried and not targets:
        raise click.UsageError(
            "--prove and --isolation start something on a host, so they need --on HOST"
        )
