"""How results and errors are printed. Text from elsewhere loses its control characters."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from portkit.delivery import Prediction
from portkit.errors import PortkitError
from portkit.model import Figure, Finding, Form, Severity
from portkit.report import Cutover, FormReport, Report, VolumeReport
from portkit.text import printable


def clean(text: str) -> str:
    """Drop escape codes and other control characters, keeping newlines and tabs."""
    return printable(text)


def stdout() -> Console:
    """The console for results. rich itself honours NO_COLOR, and prints no colours to a pipe."""
    terminal = sys.stdout.isatty()
    # rich would wrap a table at 80 columns in a file or a pipe, which have no width.
    return Console(highlight=False, soft_wrap=not terminal, width=None if terminal else 200)


def print_error(error: PortkitError) -> None:
    """Print what happened, the details, and what to do now."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    # Text and not markup: brackets in a host's words would be taken for rich's own tags.
    console.print(Text.assemble(("error: ", "bold red"), (clean(error.brief), "bold")))
    for line in clean(error.details).splitlines():
        console.print(Text("  " + line))
    if error.resolution:
        console.print(Text(clean(error.resolution)))


_ANONYMOUS = re.compile(r"[0-9a-f]{64}")  # the name of a volume to which nobody gave one
_MEASURED = ("sent", "reused", "transfer", "ttfr", "by", "from move")
_PREDICTED = ("to send", "to reuse", "space", "time")


def _measured(form: FormReport) -> tuple[str, ...]:
    sent, boot = form.transfer, form.boot
    return (
        decimal(sent.sent_bytes) if sent else "",
        decimal(sent.reused_bytes) if sent else "",
        f"{sent.seconds:.1f} s" if sent else "",
        ", ".join(f"{seconds:.2f}" for seconds in form.from_boot_s) + " s" * bool(form.from_boot_s),
        boot.method.value if boot else "",
        f"{form.from_move_s:.1f} s" if form.from_move_s else "",
    )


def _predicted(cost: Prediction | None) -> tuple[str, ...]:
    if cost is None:
        return ("",) * len(_PREDICTED)
    sizes = (cost.sent_bytes, cost.reused_bytes, cost.space_bytes)
    shown = ("unknown" if size is None else f"~ {decimal(size)}" for size in sizes)
    return (*shown, "unknown" if cost.seconds is None else f"~ {cost.seconds:.1f} s")


def compared(form: Form, cost: Prediction | None, sent_bytes: int, seconds: float) -> str:
    """A line with what a transfer cost, and what it was predicted to cost."""
    measured = f"measured {decimal(sent_bytes)}, {seconds:.1f} s"
    if cost is None:
        return f"{form.value}: {measured}"
    sent = "unknown" if cost.sent_bytes is None else f"~ {decimal(cost.sent_bytes)}"
    time = "time unknown" if cost.seconds is None else f"~ {cost.seconds:.1f} s"
    return f"{form.value}: predicted {sent}, {time}; {measured}"


def finding_line(finding: Finding) -> str:
    """A Finding with its evidence, as it is printed."""
    evidence = f" ({', '.join(finding.evidence)})" if finding.evidence else ""
    return f"{finding.severity.value} {finding.rule}: {finding.message}{evidence}"


def _called(volume: VolumeReport) -> str:
    """By what a volume is known at its source, and on the target where that differs."""
    name = volume.name[:12] if _ANONYMOUS.fullmatch(volume.name) else volume.name
    here = f"volume {name}" if name else f"folder {volume.path}"
    there = volume.target_name
    if there in ("", volume.name):
        return here
    return f"{here} (on the target: {'' if there.startswith('/') else 'volume '}{there})"


def _cutover(cutover: Cutover | None) -> Iterator[str]:
    """Lines about a running App that has changed its host."""
    if cutover is None:
        return
    for volume in cutover.volumes:
        yield (
            f"{_called(volume)}: {decimal(volume.bytes)} in {volume.entries} entries; "
            f"sent {decimal(volume.sent_bytes)}, of it {decimal(volume.last_sent_bytes)} after "
            f"the stop, in {volume.last_s:.2f} s"
        )
    for file in cutover.files:
        yield f"file {file.path}: on the target {file.target_path}"
    seen = cutover.timeline
    if seen is None:
        yield "downtime: not measured"
        return
    if seen.downtime_s is None:
        yield f"downtime: not measured; of {seen.requests} requests too few were answered"
        return
    both = "both hosts answered at once" if seen.both_answered else "never did both hosts answer"
    yield (
        f"downtime {seen.downtime_s:.2f} s, by {seen.requests} requests at most "
        f"{seen.poll_s:.2f} s apart; {both}"
    )


def _figures(figures: Iterable[Figure]) -> Iterator[str]:
    """Lines about what was predicted, beside what was measured. Of the forms there are others."""
    for each in figures:
        if not each.what.startswith(("data", "downtime")):
            continue
        predicted = _value(each.predicted, each.unit)
        truth = "" if each.measured is None else f"; measured {_value(each.measured, each.unit)}"
        if each.error_percent is not None:
            truth += f" ({round(each.error_percent):+d} %)"  # not -0
        # The basis of the sum repeats its parts, which have lines of their own.
        basis = each.basis if each.what != "downtime" else each.basis.partition(":")[0]
        yield f"{each.what}: predicted ~ {predicted}{truth} [{basis}]"


def _value(value: float, unit: str) -> str:
    return decimal(int(value)) if unit == "bytes" else f"{value:.2f} s"


def print_report(report: Report) -> None:
    """Print a Report for people: what each form cost, then what was noticed."""
    console = stdout()
    title = f"{report.app.name}: {report.source.host} -> {report.target.host}"
    console.print(Text(clean(title), "bold"))
    console.print(Text(clean(f"{report.target.os_name}, {report.target.architecture}")))
    table = Table(box=None, pad_edge=False)
    for name in ("form", "verdict", "content", *(_PREDICTED if report.dry_run else _MEASURED)):
        table.add_column(name)
    for form in report.forms:
        content = decimal(form.artifact.stored_bytes) if form.artifact else ""
        costs = _predicted(form.predicted) if report.dry_run else _measured(form)
        table.add_row(form.form.value, form.verdict.value, content, *costs)
    console.print(table)
    for form in report.forms:
        if form.predicted and form.transfer:
            made = form.transfer
            text = compared(form.form, form.predicted, made.sent_bytes, made.seconds)
            console.print(Text(clean(text)))
        elif form.predicted:
            text = f"predicted {form.form.value}: {'; '.join(form.predicted.basis)}"
            console.print(Text(clean(text)))
    for form in report.forms:
        for service in form.services:
            shared = f", {decimal(service.shared_bytes)} of it shared" * bool(service.shared_bytes)
            text = (
                f"{service.name}: image of {decimal(service.bytes)}, "
                f"sent {decimal(service.sent_bytes)}{shared}"
            )
            console.print(Text(clean(text)))
    for text in _figures(report.predictions):
        console.print(Text(clean(text)))
    if report.survey_bytes:
        text = f"sent before the Move, to predict this: {decimal(report.survey_bytes)}"
        console.print(Text(clean(text)))
    for text in _cutover(report.cutover):
        console.print(Text(clean(text)))
    # A finding that is true of both forms is printed once.
    for finding in dict.fromkeys(each for form in report.forms for each in form.findings):
        more = finding.severity is Severity.ERROR and finding.remedy
        remedy = f". {finding.remedy}" if more else ""
        console.print(Text(clean(finding_line(finding) + remedy)))
    for form in report.forms:
        if form.boot and form.boot.machine:
            # Nothing that makes a VM start sooner is silent; its kernel line is in the JSON.
            text = f"{form.form.value} start: {'; '.join(form.boot.machine.reasons)}"
            console.print(Text(clean(text)))
    for form in report.forms:
        if form.boot:
            where = f"{form.boot.url} " if form.boot.url else ""
            text = f"{form.form.value} {form.state}: {where}{form.instance}"
            console.print(Text(clean(text)))
