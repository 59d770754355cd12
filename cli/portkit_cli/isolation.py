"""How the isolation of an App is printed: the image beside the disk, and what each line means."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from portkit.isolation import MEANINGS, lines
from portkit.move import Matrix
from portkit_cli.render import clean


def print_isolation(console: Console, matrix: Matrix, app: str) -> None:
    """A table for each host on which it was measured; of what was not, the reason."""
    for host in matrix.hosts:
        cells = [each for each in matrix.of(app) if each.host == host.name and each.isolation]
        told = {cell.form: lines(cell.isolation) for cell in cells if cell.isolation}
        if any(told.values()):
            console.print()
            console.print(_table(host.name, {form.value: row for form, row in told.items()}))
        for cell in cells:
            if cell.isolation and cell.isolation.reason:
                text = f"isolation of {app} ({cell.form}) on {host.name}: {cell.isolation.reason}"
                console.print(Text(clean(text)))


def _table(host: str, told: dict[str, dict[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(Text(clean(host)), no_wrap=True)
    for form in told:
        table.add_column(form, overflow="fold", ratio=1)
    for what in MEANINGS:
        table.add_row(what, *(Text(clean(row.get(what, ""))) for row in told.values()))
    return table


def print_meanings(console: Console, matrix: Matrix) -> None:
    """What each line of the tables means, once."""
    if not any(cell.isolation and cell.isolation.seen for cell in matrix.cells):
        return
    console.print()
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for what, meaning in MEANINGS.items():
        table.add_row(what, meaning)
    console.print(table)
