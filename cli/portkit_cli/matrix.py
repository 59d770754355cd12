"""How a Matrix is printed for people, in 80 columns if it has to be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portkit.compat import Profile
from portkit.model import Form, Severity, Verdict
from portkit.move import Cell, HostKnown, Matrix
from portkit.move.matrix import Basis
from portkit.move.observed import Outcome
from portkit_cli.isolation import print_isolation, print_meanings
from portkit_cli.render import clean, stdout

_COLOURS = {
    Verdict.NATIVE: "green",
    Verdict.EMULATED: "yellow",
    Verdict.INCOMPATIBLE: "red",
    Verdict.UNKNOWN: "magenta",
}
_SEEN = {Outcome.RUNS: "green", Outcome.FAILS: "red", Outcome.UNTRIED: "dim"}
_MARKS = {
    Basis.ASKED: "",
    Basis.DOCUMENTATION: "by documentation",
    Basis.UNREACHABLE: "not reached",
}
_MOST_SHOWN = 3  # pieces of evidence; the JSON has all


def print_matrix(matrix: Matrix) -> None:
    """A table for each App, what was found beside the verdicts, and what is known of the hosts."""
    console = stdout()
    for app in matrix.apps:
        console.print(Text(clean(app), "bold"))
        console.print(_table(matrix, app))
        print_isolation(console, matrix, app)
    print_meanings(console, matrix)
    for line in _findings(matrix):
        console.print(Text(clean(line)))
    for host in matrix.hosts:
        console.print(Text(clean(_known(host)), "dim"))


def _table(matrix: Matrix, app: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("host", overflow="fold", max_width=24)
    table.add_column("form", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    proven = any(cell.observed for cell in matrix.cells)
    if proven:
        table.add_column("seen", no_wrap=True)
    table.add_column("why", overflow="fold")
    marks = {
        host.name: "" if host.basis is Basis.ASKED else _MARKS[host.basis] for host in matrix.hosts
    }
    last = ""
    for cell in matrix.of(app):
        host = "\n".join(part for part in (cell.host, marks[cell.host]) if part)
        verdict = Text(cell.verdict.value, _COLOURS[cell.verdict])
        named = Text(clean("" if cell.host == last else host))
        seen = (_seen(cell),) if proven else ()
        table.add_row(named, cell.form.value, verdict, *seen, Text(clean(_why(cell))))
        last = cell.host
    return table


def _seen(cell: Cell) -> Text:
    if cell.observed is None:
        return Text("")
    outcome = cell.observed.outcome
    return Text(outcome.value, "bold red" if cell.observed.agrees is False else _SEEN[outcome])


def _why(cell: Cell) -> str:
    """The reason of the verdict, and what a trial said beside it."""
    found = cell.observed
    if found is None or not (found.reason or found.agrees is False):
        return cell.reason
    wrong = "not as predicted" if found.agrees is False else ""
    seen = ": ".join(part for part in (wrong, found.reason) if part)
    return f"{cell.reason}\nseen: {seen}"


def _findings(matrix: Matrix) -> list[str]:
    """Each finding once, with the cells that it is of."""
    found: dict[tuple[Severity, str, str], _Shown] = {}
    for cell in matrix.cells:
        for row in cell.findings:
            key = (row.severity, row.message, row.remedy)
            shown = found.setdefault(key, _Shown({}, {}, {}))
            shown.rules[row.rule] = None
            shown.cells.setdefault((cell.app, cell.host), {})[cell.form] = None
            shown.evidence.update(dict.fromkeys(row.evidence))
    lines = []
    for (severity, message, remedy), shown in found.items():
        seen = f" ({', '.join(list(shown.evidence)[:_MOST_SHOWN])})" if shown.evidence else ""
        # Info asks nothing of anybody.
        more = f" {remedy}" if remedy and severity is not Severity.INFO else ""
        where = _where(matrix, shown.cells)
        lines.append(f"{severity} {', '.join(shown.rules)}: {message}{seen}.{more} [{where}]")
    return lines


@dataclass(frozen=True)
class _Shown:
    """What is said in one line: the rules, the cells by App and host, and the evidence. Dicts keep
    the order in which these came."""

    rules: dict[str, None]
    cells: dict[tuple[str, str], dict[Form, None]]
    evidence: dict[str, None]


def _where(matrix: Matrix, cells: Mapping[tuple[str, str], Iterable[Form]]) -> str:
    """The cells in few words: forms are named where it is not all of them."""
    forms = {place: tuple(each) for place, each in cells.items()}
    whole = all(each == matrix.forms for each in forms.values())
    if whole and len(forms) == len(matrix.apps) * len(matrix.hosts):
        return "everywhere"
    told = []
    for (app, host), each in forms.items():
        name = f"{app} on {host}" if len(matrix.apps) > 1 else host
        told.append(name if each == matrix.forms else f"{name} ({', '.join(each)})")
    return ", ".join(told)


def _known(host: HostKnown) -> str:
    """What the verdicts of one host rest on, and how old that is."""
    if host.profile is not None:
        assumed = "; ".join(host.profile.assumes)
        text = f"{host.name}: {host.profile.title}, by documentation as of {_read(host.profile)}."
        text += f" Assumed: {assumed}." if assumed else ""
        return f"{text} {host.profile.how}".strip()
    if host.error is not None:
        return f"{host.name}: not reached: {' '.join(str(host.error).split())}"
    assert host.facts is not None, "it was asked"
    if host.kept_s is None:
        return f"{host.name}: {host.facts.os_name}, asked now."
    return (
        f"{host.name}: {host.facts.os_name}, asked now; what a trial of its accelerator showed is "
        f"kept from {age(host.kept_s)} ago (--fresh tries again)."
    )


def _read(profile: Profile) -> str:
    days = (datetime.now(UTC).date() - profile.read).days
    return f"{profile.read.isoformat()} ({max(days, 0)} days ago)"


def age(seconds: float) -> str:
    """A span of time in its largest unit."""
    units = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, size = next((each for each in units if seconds >= each[1]), units[-1])
    count = int(seconds // size)
    return f"{count} {unit}{'s' * (count != 1)}"


def print_profiles(profiles: Sequence[Profile], output: str) -> None:
    """The kinds of hosts that can be named with --profile."""
    if output == "json":
        rows = [
            {"name": each.name, "title": each.title, "read": each.read.isoformat()}
            for each in profiles
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("profile", "kind of host", "documentation as of"):
        table.add_column(name, overflow="fold")
    for each in profiles:
        table.add_row(each.name, clean(each.title), _read(each))
    console: Console = stdout()
    console.print(table)
