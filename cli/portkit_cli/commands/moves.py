"""portkit moves, cutover, commit, resume, rollback, forward, forget: Moves made from here."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

import click
from rich.filesize import decimal
from rich.table import Table

from portkit import move as library
from portkit.errors import PortkitError
from portkit.host import connect
from portkit.model import Form
from portkit.move import Entry, Journal
from portkit.move import forward as forwards
from portkit.move.plan import plan_from
from portkit.move.verified import unverified
from portkit.move.walk import StepState
from portkit_cli.going_on import state_of, ways_on
from portkit_cli.observers import observer
from portkit_cli.options import Messages, output, progress
from portkit_cli.render import clean, compared, print_report, stdout

_identity = click.argument("identity", metavar="ID")
_skip_hooks = click.option(
    "--skip-hooks",
    is_flag=True,
    help="Skip the commands of --after-commit and do not forward ports.",
)
_skip_quiesce = click.option(
    "--skip-quiesce",
    is_flag=True,
    help="Skip the commands of x-portkit.quiesce, for example because one never succeeds.",
)


@click.command()
@click.option("--all", "every", is_flag=True, help="Also list Moves that were rolled back.")
@output
def moves(every: bool, output: str) -> None:
    """List the Moves made from this machine.

    The newest Move comes first. A Move that is UNFINISHED was interrupted: end it with `portkit
    resume ID` or `portkit rollback ID`. A Move that waits for you says for which command, and
    `portkit show ID` prints how it goes on.

    \b
    Examples:
      portkit moves
      portkit moves --all --output json
    """
    journal = Journal()
    entries = [
        entry
        for entry in journal.moves()
        # Nothing of such a Move is left on any host, so few users need to see it.
        if every or entry.state is not library.MoveState.ROLLED_BACK
    ]
    if output == "json":
        click.echo(json.dumps([_document(entry) for entry in entries], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("ID", "APP", "FROM", "TO", "STARTED", "STATE"):
        table.add_column(name)
    for entry in entries:
        texts = (entry.id, entry.app, entry.source, entry.target, _when(entry.started))
        table.add_row(*map(clean, texts), state_of(entry, journal))
    stdout().print(table)


def show_move(identity: str, output: str) -> None:
    """Print the steps of one Move and the state of each."""
    journal = Journal()
    entry = journal.get(identity)
    # The journal has only the steps that were begun; the plan has all of them, in order.
    known = {name: (state, at) for name, state, at in journal.record(identity).entries()}
    plan = plan_from(entry.plan)
    names = plan.steps()
    note = unverified(plan, journal.record(identity))
    transfers = [(form, _transfer(journal, identity, form)) for form in plan.forms]
    if output == "json":
        steps = [
            {"name": name, "state": known[name][0] if name in known else StepState.PENDING}
            for name in names
        ]
        costs = [
            {
                "form": form,
                "predicted": asdict(plan.predicted[form]) if form in plan.predicted else None,
                "measured": measured,
            }
            for form, measured in transfers
        ]
        document = {**_document(entry), "steps": steps, "transfers": costs}
        document["findings"] = [] if note is None else [asdict(note)]
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(clean(f"{entry.id}: {entry.app}, {entry.source} -> {entry.target}"))
    ended = f", ended {_when(entry.ended)}" if entry.ended else ""
    click.echo(f"{state_of(entry, journal)}, started {_when(entry.started)}{ended}")
    if entry.error:
        click.echo(clean(f"because: {entry.error}"))
    if note is not None:
        click.echo(clean(f"{note.severity} {note.rule}: {note.message}"))
    table = Table(box=None, pad_edge=False)
    for column in ("STEP", "STATE", "AT"):
        table.add_column(column)
    for name in names:
        state, at = known.get(name, (StepState.PENDING, None))
        table.add_row(name, state.value, _when(at) if at else "")
    stdout().print(table)
    for form, measured in transfers:
        if measured:
            sent, seconds = measured["sent_bytes"], measured["seconds"]
            click.echo(clean(compared(form, plan.predicted.get(form), sent, seconds)))
    if lines := list(ways_on(entry, journal)):
        click.echo("\n" + "\n".join(lines))


@click.command()
@_identity
@_skip_hooks
@_skip_quiesce
@output
@progress
def resume(identity: str, skip_hooks: bool, skip_quiesce: bool, output: str, progress: str) -> None:
    """Continue an unfinished Move.

    portkit reads the App again from its original place. If the App or the values of variables in it
    have changed since, the Move cannot be resumed, only rolled back. What was sent before is not
    sent again. If the Move fails now, it is rolled back like any other.

    \b
    Examples:
      portkit resume pk-6e4b06d66696
      portkit resume pk-6e4b06d66696 --output json
      portkit resume pk-6e4b06d66696 --skip-quiesce
    """
    ended = library.resume(
        identity, skip_hooks=skip_hooks, skip_quiesce=skip_quiesce, observer=observer(progress)
    )
    if ended.report is None:  # only its locks were left
        click.echo(f"{identity} is {ended.state.value}", err=True)
    elif output == "json":
        click.echo(json.dumps(library.to_json(ended.report), indent=2))
    else:
        print_report(ended.report)


@click.command()
@_identity
@progress
def cutover(identity: str, progress: str) -> None:
    """Cut a waiting Move over to its target now.

    portkit stops the App at its source, copies what has changed, and starts the App on the target.
    Use this for a Move that was started with --hold, or to try again after a failed cutover: the
    data that has arrived on the target is used again. The command ends when the App has moved for
    good, or runs at its source again.

    \b
    Example:
      portkit cutover pk-6e4b06d66696
    """
    _go_on(identity, library.Pause.CUTOVER, progress)


@click.command()
@_identity
@click.option(
    "--unverified",
    is_flag=True,
    help="Commit even if the data at the source differs from what was sent or was not compared, "
    "and even if the source cannot be reached.",
)
@progress
def commit(identity: str, unverified: bool, progress: str) -> None:
    """Confirm a Move that waits after the App was started.

    Use this for a Move that was started with --confirm. From then on the target also starts the App
    after a reboot. With --unverified, the report and `portkit show` permanently say that the App's
    data was not compared.

    \b
    Examples:
      portkit commit pk-6e4b06d66696
      portkit commit pk-6e4b06d66696 --unverified
    """
    _go_on(identity, library.Pause.COMMIT, progress, unverified=unverified)


def _go_on(identity: str, pause: library.Pause, progress: str, *, unverified: bool = False) -> None:
    ended = library.go_on(identity, pause, unverified=unverified, observer=observer(progress))
    if ended.report is not None:
        print_report(ended.report)
    else:
        journal = Journal()
        entry = journal.get(identity)
        lines = [f"{identity} is {ended.state.value}", *ways_on(entry, journal)]
        click.echo("\n".join(lines), err=True)


@click.command()
@_identity
@click.option(
    "--on",
    "host",
    metavar="HOST",
    help="Clean up this host only, by the marker that the Move left on it.",
)
@click.option(
    "--discard-writes",
    is_flag=True,
    help="Roll back even if the App has run on the target, and lose what it wrote there. This also "
    "takes back a Move that has completed: an App that was running runs at its source again.",
)
@click.option(
    "--without-target",
    is_flag=True,
    help="The target is lost for good: undo only what concerns the source, and start the App "
    "there. Nothing proves then that the App does not run on the target.",
)
@click.option(
    "--without-source",
    is_flag=True,
    help="The source is lost for good: clean up only the target.",
)
@_skip_hooks
@_skip_quiesce
@progress
def rollback(
    identity: str,
    host: str | None,
    discard_writes: bool,
    without_target: bool,
    without_source: bool,
    skip_hooks: bool,
    skip_quiesce: bool,
    progress: str,
) -> None:
    """Roll back a Move that is unfinished or waits.

    Afterwards nothing of the Move is left on the target, and an App that was running at its source
    runs there again. Without --on, the Move must have been started from this machine. With --on,
    any machine can clean up HOST, because a marker on HOST records what the Move left there. Run it
    for the target first, and then for the source, which starts the App there again.

    If one of the hosts is lost for good, --without-target or --without-source ends the Move without
    it. --without-target starts the App at its source without proof that it is stopped on the
    target. Use it only if that host is off or destroyed. If it comes back, it does not start
    the App by itself, unless the Move was committed; `portkit rollback ID --on HOST` then cleans it
    up. Both options are refused while that host can be reached.

    \b
    Examples:
      portkit rollback pk-6e4b06d66696
      portkit rollback pk-6e4b06d66696 --discard-writes
      portkit rollback pk-6e4b06d66696 --on web2
      portkit rollback pk-6e4b06d66696 --without-target --discard-writes
    """
    if host is not None and without_source:
        raise click.UsageError("--on HOST needs no source: leave out --without-source")
    if host is None:  # the journal of this machine knows both hosts
        library.rollback(
            identity,
            discard_writes=discard_writes,
            skip_hooks=skip_hooks,
            skip_quiesce=skip_quiesce,
            without_target=without_target,
            without_source=without_source,
            observer=observer(progress),
        )
        click.echo(f"{identity} is rolled back", err=True)
        return
    with connect(host, Messages()) as there:
        done = library.rollback_on(
            identity,
            there,
            discard_writes=discard_writes,
            without_target=without_target,
            observer=observer(progress),
        )
        if not done:
            raise PortkitError(
                "the host has no marker of a Move with that id",
                details=f"{identity[:80]!r} on {host}",
                resolution="That Move left nothing unfinished on the host. `portkit ps --on HOST` "
                "lists what runs there.",
            )
    click.echo(f"nothing of {identity} is left on {host}", err=True)


@click.command()
@_identity
@click.option(
    "--delete",
    is_flag=True,
    help="Remove what stayed behind at the source and what was set aside on the target.",
)
@click.option("--keep", is_flag=True, help="Leave what stayed behind at the source where it is.")
@click.option(
    "--last-copy",
    is_flag=True,
    help="With --delete: delete it even if it may be the last copy of the App and its data.",
)
def forget(identity: str, delete: bool, keep: bool, last_copy: bool) -> None:
    """Remove a Move that has ended from the list.

    The App on the target is not touched and keeps running; `portkit rm` removes it.

    An App that was running when it was moved is still at its source, stopped and with its data.
    portkit lists what is there, any forwarded ports, and the earlier data of volumes on the target
    that the Move replaced (--volumes override). Without --delete or --keep, it does nothing else.

    With --delete, portkit removes these containers, volumes, networks and set-aside data, and stops
    forwarding. It removes nothing that is in use, and no volume that a later Move gave to the App
    again. It asks the target first: if neither the App nor its data is there any more, or the
    target cannot be reached, what stayed at the source may be the last copy, and portkit deletes it
    only with --last-copy. With --keep, portkit leaves everything to you. --keep is refused while
    data is set aside on the target, because only this Move can reach that data.

    If the Move ended without one of its hosts, its marker is still there and refuses another Move
    of the App. portkit removes it; with --keep also if that host cannot be reached, and says so.

    \b
    Examples:
      portkit forget pk-6e4b06d66696
      portkit forget pk-6e4b06d66696 --delete
      portkit forget pk-6e4b06d66696 --delete --last-copy
    """
    if delete and keep:
        raise click.UsageError("--delete and --keep cannot be combined")
    if last_copy and not delete:
        raise click.UsageError("--last-copy is for --delete")
    journal = Journal()
    if keep:
        library.require_nothing_aside(identity, journal=journal)
    library.remove_markers(identity, keep=keep, journal=journal, observer=Messages())
    left = None
    if not keep:
        left = library.left_behind(identity, delete=delete, last_copy=last_copy, journal=journal)
    if left is not None and (left.things or left.set_aside):
        _print_left(left)
        if not delete:
            click.echo(f"Delete it:      portkit forget {identity} --delete", err=True)
            click.echo(f"Leave it there: portkit forget {identity} --keep", err=True)
            return
    journal.forget(identity)


def _print_left(left: library.Left) -> None:
    done = "removed from" if left.deleted else "left on"
    if left.things:
        click.echo(f"{done} {clean(left.source)}:")
    for thing in left.things:
        click.echo(f"  {clean(thing)}")
    if left.set_aside:
        click.echo(f"{done} {clean(left.target)}:")
    for each in left.set_aside:
        size, what = decimal(each.bytes), f"what volume {each.volume} had before the Move"
        click.echo(f"  {clean(what)}: {size} in {clean(each.place)}")


@click.command()
@click.argument("identity", metavar="[ID]", required=False)
@click.option("--stop", is_flag=True, help="Stop forwarding.")
@click.option(
    "--on",
    "host",
    metavar="HOST",
    help="Ask this host directly, for Moves that were made from another machine.",
)
def forward(identity: str | None, stop: bool, host: str | None) -> None:
    """Forward an App's old ports to its new host.

    The source of the Move listens on the App's TCP ports and passes each connection on to the
    target. It continues to do so after portkit has ended, until the source is restarted; this
    command starts it again. `portkit move --forward` starts it as part of the Move.

    With --on and without ID, portkit lists what HOST forwards. With --on, ID and --stop, it stops
    forwarding for a Move that this machine does not know.

    \b
    Examples:
      portkit forward pk-6e4b06d66696
      portkit forward pk-6e4b06d66696 --stop
      portkit forward --on web1
    """
    if host is None:
        if identity is None:
            raise click.UsageError("name a Move by its id, or a host with --on HOST")
        forwards.forward(identity, stop=stop, observer=Messages())
        return
    if (identity is None) == stop:
        raise click.UsageError("use --on HOST alone to list, or together with ID and --stop")
    with connect(host, Messages()) as there:
        if identity is not None:
            forwards.end(identity, there)
            return
        for each in forwards.forwarded(there):
            for port, to in each.ports:
                state = "" if each.live else " (ended: the host was restarted)"
                click.echo(clean(f"{each.move} {each.app}: {port} -> {to}{state}"))


def _transfer(journal: Journal, identity: str, form: Form) -> dict[str, Any] | None:
    """What sending a form cost, or None if it was not sent yet."""
    found = journal.record(identity).result(f"transfer {form}").get("transfer")
    return found and {name: found[name] for name in ("sent_bytes", "reused_bytes", "seconds")}


def _document(entry: Entry) -> dict[str, Any]:
    """A Move as JSON. Times are seconds since 1970."""
    return {
        "id": entry.id,
        "app": entry.app,
        "from": entry.source,
        "to": entry.target,
        "state": entry.state.value,
        "live": entry.live,
        "unfinished": entry.unfinished,
        "started": round(entry.started, 3),
        "ended": None if entry.ended is None else round(entry.ended, 3),
        "error": entry.error,
    }


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


COMMANDS = (moves, cutover, commit, resume, rollback, forward, forget)
