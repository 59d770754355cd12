"""By what the user finds on the target what came there from a running App's source."""

from __future__ import annotations

from portkit import boot
from portkit.boot import disks
from portkit.model import AppSpec, ContentKind, Form
from portkit.move.ground import Ground
from portkit.wire.json_types import JsonObject


def placed(ground: Ground, form: Form) -> JsonObject:
    """For the journal. volumes: by the number of each volume that comes, the engine's name of it,
    or the path of a VM's disk. files: as of `places_of_files`."""
    live, move = ground.plan.live, ground.plan.move
    assert live is not None, "only an App that runs at its source brings data"
    if form is Form.DISK and live.domain is not None:
        return {"volumes": {"0": disks.home(ground.target, move)}, "files": {}}
    with boot.runner(ground.target, form) as runner:
        made, folder = runner.volume_names(move), runner.content_folder(move)
    # Those that the target had before have no mark of the Move, and keep their names.
    names = {**{each.number: each.name for each in live.taking}, **made}
    return {
        "volumes": {str(each.number): names[each.number] for each in live.travelling},
        "files": places_of_files(ground.loaded.spec, folder),
    }


def places_of_files(spec: AppSpec, folder: str) -> dict[str, str]:
    """By the path at the source of each file that goes with the App's configuration, its path on
    the target's host; in a VM, its path there. folder: where the host has them; "" for a VM. Pure.
    """
    return {
        str(content.source): f"{folder}/{number}" if folder else content.target
        for service, numbers in zip(spec.services, spec.content_numbers(), strict=True)
        for content, number in zip(service.contents, numbers, strict=True)
        if content.kind is ContentKind.BIND and content.source is not None
    }
