"""What can be asked of a Move, and what is refused before anything is packaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from portkit.errors import AppError
from portkit.model import App, Form, OnTaken
from portkit.move.journal import Journal
from portkit.move.plan import Pause
from portkit.move.prepare import Request
from portkit.progress import NullObserver, Observer
from portkit.source import Source
from portkit.store import Store, default_root

# In this order: a disk is made from its image, and sent as what the image's layers lack.
BOTH = (Form.IMAGE, Form.DISK)


class PackOptions(TypedDict, total=False):
    """How Apps are packaged. forms: both unless told. store: this machine's own unless told."""

    forms: Sequence[Form]
    store: Store | None
    observer: Observer | None


class PlanOptions(PackOptions, total=False):
    """How a Move is planned; see `plan_apps`."""

    pack_disk: bool
    journal: Journal | None


class MoveOptions(PackOptions, total=False):
    """How a Move is made; see `move_apps`."""

    keep: Form | None
    repeat: int
    pauses: Sequence[Pause]
    after_commit: Sequence[str]
    forward: bool
    journal: Journal | None


def request_of(
    apps: Sequence[App],
    source: Source,
    forms: Sequence[Form],
    store: Store | None,
    observer: Observer | None,
) -> Request:
    """What is asked for all Apps together; AppError when there are none."""
    if not apps:
        raise AppError("no App to move")
    store, observer = store or Store(default_root()), observer or NullObserver()
    return Request(tuple(apps), source, tuple(forms), store, observer)


def check_running(
    apps: Sequence[App],
    source: Source,
    forms: Sequence[Form],
    keep: Form | None,
    repeat: int,
    pauses: Sequence[Pause],
) -> None:
    """AppError for what cannot be done with data that is in use."""
    refuse_volumes(apps, forms)
    running = [app.name for app in apps if app.running]
    if pauses and len(running) < len(apps):
        raise AppError(
            "only the Move of a running App can wait before its cutover",
            details=", ".join(app.name for app in apps),
            resolution="Leave out --hold and --confirm, or name what runs: container:NAME, "
            "project:NAME or vm:NAME.",
        )
    why = ""
    if len(forms) > 1:
        why = "only one form can take over its data: choose --form image or --form disk"
    elif (
        Form.DISK in forms
        and Form.IMAGE in source.forms  # what was a VM before has said so by a finding
        and any(s.quiesce.after for app in apps for s in app.services)
    ):
        why = "portkit cannot run x-portkit.quiesce.after in a VM: choose --form image"
    elif keep is None:
        why = "it would run nowhere afterwards: leave out --keep none"
    elif repeat > 1:
        why = (
            "it is started on the target only once: leave out --repeat, and run portkit "
            "measure later"
        )
    if running and why:
        raise AppError(
            f"this is not possible for a running App: {why.partition(':')[0]}",
            details=", ".join(running),
            resolution=why.partition(": ")[2].capitalize() + ".",
        )


def refuse_volumes(apps: Sequence[App], forms: Sequence[Form]) -> None:
    """AppError where volumes of the target are to be used by a VM."""
    used = (OnTaken.OVERRIDE, OnTaken.KEEP)
    names = [each.name for app in apps for each in app.volumes if each.on_taken in used]
    if names and Form.DISK in forms:
        raise AppError(
            "in a VM, volumes are the VM's own disks and do not replace another volume",
            details=f"--volumes override or keep, for {', '.join(names)[:300]}",
            resolution="Leave out --volumes, or choose --form image.",
        )
