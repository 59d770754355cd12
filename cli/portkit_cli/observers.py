"""Progress on standard error: a bar on a terminal, else plain lines, such as in the log of a CI."""

from __future__ import annotations

import sys
import threading
import time

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from portkit.progress import JsonObserver, NullObserver, Observer
from portkit.text import printable

_LIVE_EVERY_S = 0.1  # the eye sees no more
_PLAIN_EVERY_S = 5.0  # a log of a long transfer is still read by people
_WINDOW_S = 10.0  # what was before says little about the time that is left
# A disk's first second, in which its metadata is read, once promised three hours.
_STEADY_S = 3.0
_UNKNOWN = ("", "?")  # in rich's columns


class TimeLeft(TimeRemainingColumn):
    """The time that is left, as soon as it means something."""

    def render(self, task: Task) -> Text:
        """Nothing before the rate is known and some seconds old."""
        if task.time_remaining is None or (task.elapsed or 0.0) < _STEADY_S:
            return Text("")
        return super().render(task).append(" left")


class ConsoleObserver:
    """Lines with the time since the start; bytes as bars (live), or as lines now and then.

    One thread may count while another one begins something new: its bar is drawn again then.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._one = threading.RLock()
        self._begun = self._last = time.monotonic()
        whole = Column(no_wrap=True)  # on a narrow terminal the line stays one line
        self._counts = (
            DownloadColumn(table_column=whole),
            TransferSpeedColumn(table_column=whole),
            TimeLeft(table_column=whole),
        )
        self._progress = Progress(
            TextColumn("  {task.description}", markup=False, table_column=whole),
            BarColumn(bar_width=20),
            *self._counts,
            console=Console(stderr=True, highlight=False, soft_wrap=True),
            # Without a thread: it would be one more thing to end when portkit is interrupted.
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            speed_estimate_period=_WINDOW_S,
            get_time=lambda: time.monotonic(),
        )

    def _line(self, text: str) -> None:
        line = f"{time.monotonic() - self._begun:7.1f} s  {printable(text)}"
        self._progress.console.print(Text(line))

    def phase(self, name: str) -> None:
        """A line for what begins; the bar of what was before is removed."""
        with self._one:
            self.close()
            self._line(name)

    def message(self, text: str) -> None:
        """An indented line, above the bar if there is one."""
        with self._one:
            self._line("  " + text)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """How much is done, how fast, and how long it will still take."""
        with self._one:
            self._count(name, done, total)

    def _count(self, name: str, done: int, total: int | None) -> None:
        task = self._of(name, done, total)
        self._progress.update(task.id, completed=done)
        if total is not None and done >= total:
            self.close()
            return
        now = time.monotonic()
        if now - self._last < (_LIVE_EVERY_S if self._live else _PLAIN_EVERY_S):
            return
        self._last = now
        if self._live:
            self._progress.start()
            self._progress.refresh()
        else:
            texts = [str(column(task)) for column in self._counts]
            if total is None:  # the column has a question mark for it
                texts[0] = decimal(done)
            known = ", ".join(text for text in texts if text not in _UNKNOWN)
            self._line(f"  {task.description}: {known}")

    def _of(self, name: str, done: int, total: int | None) -> Task:
        """What is counted now; a smaller count than before is something new."""
        name = printable(name)
        for task in self._progress.tasks:
            if task.description == name and task.total == total and done >= task.completed:
                return task
            self._progress.remove_task(task.id)
        self._progress.add_task(name, total=total)
        return self._progress.tasks[0]

    def close(self) -> None:
        """Take the bar from the terminal."""
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        if self._progress.live.is_started:
            self._progress.stop()


def observer(kind: str) -> Observer:
    """The Observer for --progress."""
    if kind == "quiet":
        return NullObserver()
    if kind == "json":
        return JsonObserver(sys.stderr)
    # rich takes a CI for a terminal where it is told that it shows colours (FORCE_COLOR).
    terminal = sys.stderr.isatty() and Console(stderr=True).is_interactive
    made = ConsoleObserver(live=kind == "auto" and terminal)
    # An error or an interrupt in the middle of a transfer is printed below no half-drawn bar.
    click.get_current_context().call_on_close(made.close)
    return made
