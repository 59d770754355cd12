"""What a Move is going to do, as plain data: its steps follow from it, and the journal keeps it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from portkit.delivery import Prediction
from portkit.errors import PortkitError
from portkit.model import Finding, Foreseen, Form, Live, Port, Reading
from portkit.wire.json_types import JsonObject

_SCHEMA = "portkit.plan/4"
# Of a VM at its source. An older portkit would take such a Plan for one that stops nothing there.
_OF_A_VM = "portkit.plan/5"
# With volumes of the target that are replaced or kept: an older portkit would not put them back.
_TAKES = "portkit.plan/6"
# Of a VM that is not stopped. An older portkit would stop it.
_WITHOUT_STOP = "portkit.plan/7"
# Of a VM that becomes containers: an older portkit would take its disks for folders.
_OUT_OF_A_VM = "portkit.plan/8"


@dataclass(frozen=True)
class Plan:
    """One Move of one App.

    app_source, reading: what the App is read from again, and how, when the Move is resumed.
    source: a host's name, or None for a bundle. keep: the form that runs on the target in the end;
    None: nothing stays there.
    image: digest of the image's manifest in the Store here. blobs: digests of the image's blobs,
    none where it does not travel; what a disk is made of, the step that makes it says.
    services: the digest of the image that each service runs. holds: the name under which the Move
    holds each image (digest) on the target. tags: the users' names for images, each with the name
    that holds the image.
    fingerprint: of what the process will see, keyed; no value of it can be read from here.
    findings: of each form, as they were before the first byte. predicted: what a form was predicted
    to cost, where that was asked for before the Move. live: what runs at the source and is stopped
    there, with its data; None where the App is only made from its images. pauses: where it waits.
    hooks: what is run after the commit, in this order. forward: the source forwards
    the App's TCP ports. foreseen: what its data and its downtime were predicted to cost, of an App
    that runs.
    """

    move: str
    app: str
    app_source: str
    source: str | None
    target: str
    forms: tuple[Form, ...]
    keep: Form | None
    repeat: int
    limit: float | None
    image: str
    blobs: tuple[str, ...]
    ports: tuple[Port, ...]
    services: Mapping[str, str]
    holds: Mapping[str, str]
    tags: Mapping[str, str]
    fingerprint: str
    findings: Mapping[Form, tuple[Finding, ...]]
    reading: Reading = field(default_factory=Reading)
    predicted: Mapping[Form, Prediction] = field(default_factory=dict)
    live: Live | None = None
    pauses: tuple[Pause, ...] = ()
    hooks: tuple[Hook, ...] = ()
    forward: bool = False
    foreseen: Foreseen | None = None

    @property
    def both(self) -> bool:
        """Whether there are two lanes: the disk is made and sent aside."""
        return Form.IMAGE in self.forms and Form.DISK in self.forms

    def stays(self, form: Form) -> bool:
        """Whether the form goes on running after its boot: the one to keep, unless another one
        boots after it, at the same ports."""
        return form is self.keep and not (form is Form.IMAGE and self.both)

    @property
    def without_stop(self) -> bool:
        """Whether a VM goes on running while it changes its host."""
        return self.live is not None and bool(self.live.domain and self.live.domain.keeps_running)

    def steps(self) -> tuple[str, ...]:
        """The names of the steps."""
        return step_names(
            self.forms,
            self.keep,
            live=self.live is not None,
            without_stop=self.without_stop,
            pauses=self.pauses,
            hooks=len(self.hooks),
            forward=self.forward,
            quiesces=self.live is not None and any(each.quiesce for each in self.live.containers),
            takes=self.live is not None and bool(self.live.taking),
        )

    def to_json(self) -> JsonObject:
        """For the journal."""
        # Through JSON and back: tuples become lists and enums text, so that what a test sees is
        # what the journal keeps.
        return {"schema": self._schema(), **json.loads(json.dumps(asdict(self)))}

    def _schema(self) -> str:
        """The newest one that it needs: who knows that one knows those before it."""
        live, found = self.live, _SCHEMA
        of_a_vm = live is not None and live.domain is not None
        if of_a_vm:
            found = _OF_A_VM
        if live is not None and live.taking:
            found = _TAKES
        if self.without_stop:
            found = _WITHOUT_STOP
        if of_a_vm and Form.IMAGE in self.forms:
            found = _OUT_OF_A_VM
        return found


PRESYNC, WAIT, FENCE, STOP = "presync", "wait", "fence", "stop"
LAST_LAYER, LAST_SYNC, VERIFY_SOURCE = "last layer", "last sync", "verify source"
CONFIRM = "confirm"
HOOK = "hook"  # each with its number behind it, from 1
FORWARD = "forward"
QUIESCE, UNQUIESCE = "quiesce", "unquiesce"
VOLUMES = "volumes"
# In the order of `step_names`.
CUTOVER = (PRESYNC, WAIT, FENCE, QUIESCE, STOP, LAST_LAYER, LAST_SYNC)


class Pause(StrEnum):
    """Where the Move of a running App waits until it is told to go on: before the App is stopped
    at its source, or before the target keeps it for good."""

    CUTOVER = "cutover"
    COMMIT = "commit"


# What a Move that waits is told when another process takes it over, to roll it back.
LET_GO = "let go"


@dataclass(frozen=True)
class Hook:
    """A command of the user's for `/bin/sh -c` on this machine, such as one that changes a name in
    the DNS. folder: where it runs, whichever process runs it."""

    command: str
    folder: str


@dataclass(frozen=True)
class Course:
    """What the user asked of a Move, beside what goes where. pauses, hooks, forward: as in the
    Plan."""

    pauses: tuple[Pause, ...] = ()
    hooks: tuple[Hook, ...] = ()
    forward: bool = False


def step_names(
    forms: Collection[Form],
    keep: Form | None,
    *,
    live: bool = False,
    without_stop: bool = False,
    pauses: Collection[Pause] = (),
    hooks: int = 0,
    quiesces: bool = False,
    forward: bool = False,
    takes: bool = False,
) -> tuple[str, ...]:
    """The steps of a Move: each lane's in order, and every step after those that it needs. The
    image boots first, because it is ready first. live: of an App that runs at the source.
    without_stop: of a VM whose `boot` takes it over as it runs. hooks: how many there are.
    quiesces: something runs in its containers before they are stopped. takes: it takes volumes that
    the target has."""
    image, disk = Form.IMAGE in forms, Form.DISK in forms
    # The data follows while the App runs, and once more after it was stopped. What that believed is
    # verified when the App serves again, before the target keeps it.
    wait = [WAIT] if Pause.CUTOVER in pauses else []
    rest = [QUIESCE] if quiesces else []
    cutover = [PRESYNC, *wait, FENCE, *rest, STOP, LAST_LAYER, LAST_SYNC] if live else []
    confirm = [VERIFY_SOURCE] if live and not without_stop else []
    if without_stop:  # nothing is copied before, and nothing is at rest that could be compared
        cutover = [FENCE]
    confirm += [CONFIRM] if Pause.COMMIT in pauses else []
    names = ["reserve", *([VOLUMES] if takes else [])]
    names += ["transfer image", "create image"] if image else []
    names += ["package disk", "transfer disk"] if disk else []
    names += [*cutover, "boot image"] if image else []
    names += ["create disk", *(() if image else cutover), "boot disk"] if disk else []
    names += ["start image"] if image and disk and keep is Form.IMAGE else []
    names += [UNQUIESCE] if quiesces else []
    names += [*confirm, "discard" if keep is None else "commit"]
    names += [FORWARD] if forward else []
    return (*names, *(f"{HOOK} {number}" for number in range(1, hooks + 1)), "release")


def plan_from(document: JsonObject) -> Plan:
    """The Plan that `to_json` wrote; PortkitError when it is from another version."""
    from pydantic import TypeAdapter, ValidationError

    fields = {key: value for key, value in document.items() if key != "schema"}
    try:
        known = (_SCHEMA, _OF_A_VM, _TAKES, _WITHOUT_STOP, _OUT_OF_A_VM)
        if document.get("schema") not in known:
            raise ValueError("schema")
        return TypeAdapter(Plan).validate_python(fields)
    except (ValidationError, ValueError) as error:
        raise PortkitError(
            "a Move in the journal was planned by another version of portkit",
            details=str(document.get("move", ""))[:100],
            resolution="Roll it back with that version, or with `portkit rollback ID --on HOST`.",
        ) from error
