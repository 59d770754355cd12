"""portkit check: where Apps can run, and why."""

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
    help="A host that it would run on; can be given several times.",
)
@click.option(
    "--profile",
    "kinds",
    multiple=True,
    metavar="NAME",
    help="A kind of host that cannot be asked, judged by its documentation; can be given several "
    "times. `--profile list` prints their names.",
)
@click.option(
    "--fresh",
    is_flag=True,
    help="Ask hosts everything again, also what is kept from an earlier check.",
)
@click.option(
    "--strict", is_flag=True, help="Fail also when only some of the cells do not say that it runs."
)
@click.option(
    "--prove",
    is_flag=True,
    help="Also start the APPs on each HOST, in each form, also where it is predicted that they do "
    "not run; show what was seen beside what was predicted; and remove them again.",
)
@click.option(
    "--isolation",
    is_flag=True,
    help="Also start a probe in place of each APP on each HOST, in each form, with the APP's own "
    "settings; show what it sees and reaches there; and remove it again. It changes nothing.",
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

    Each form is judged for each HOST, with the reason. Nothing is changed there. The APPs are
    packaged once and judged alone and together. The exit code is 0 when every APP can run in some
    form on some host. When one can run nowhere, it is the code that `portkit move` would end with,
    and 14 when that is not known.

    With --prove something is changed on each HOST for a while: each APP is sent there, started on
    its published ports, measured and removed, one form after the other. The exit code is 16 when
    it ran where it was predicted not to, or did not run where it was predicted to.

    With --isolation, what is sent and started is a small program in place of the service that
    answers for the APP. It reports whose kernel it runs on, and what of it and of the host it sees
    and reaches. It changes nothing, publishes no port, and the exit code does not depend on it.

    APP can also be a disk file of others (NAME.qcow2, .raw, .img), which is read here and not sent:
    it is judged for a VM with --firmware and --machine on each HOST.

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
            "name a host or a kind of host, such as: "
            "portkit check ./shop --on web1 --profile rhel-9"
        )
    if tried and not targets:
        raise click.UsageError(
            "--prove and --isolation start something on a host: name one with --on HOST"
        )
