"""Move an application between hosts as a container image and as a bootable disk.

    import portkit

    shop = portkit.load("./shop")
    with portkit.connect("web1") as old, portkit.connect("web2") as new:
        report = portkit.move_app(shop, source=portkit.OnHost(old), target=new)

The names in `__all__` are the public API; everything else may change between releases. Importing
`portkit` is quick: each name is imported from its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; `_HOMES` says the same at run time
    from portkit.app import load
    from portkit.bundle import Bundle
    from portkit.bundle.write import write as write_bundle
    from portkit.collect import collect as collect_garbage
    from portkit.compat.profile import Profile
    from portkit.compat.profile import load as load_profile
    from portkit.errors import (
        AppError,
        BootError,
        ConflictError,
        EngineError,
        HookError,
        HostError,
        IncompatibleError,
        LabError,
        PortkitError,
        PredictionError,
        SpaceError,
        ToolError,
        TransferError,
        UnknownError,
        VerifyError,
    )
    from portkit.host import Host, connect
    from portkit.inventory import take as take_inventory
    from portkit.model import (
        App,
        Artifact,
        Facts,
        Finding,
        Form,
        Instance,
        PackedApp,
        Severity,
        Verdict,
    )
    from portkit.model.disk import Boot, Bus, DiskFile, DiskFormat, DiskMachine
    from portkit.move import (
        Cell,
        Ended,
        HostKnown,
        Journal,
        Matrix,
        Measured,
        MoveState,
        Observed,
        Outcome,
        Packages,
        check_apps,
        check_disks,
        judge_apps,
        matrix_json,
        measure_again,
        measure_isolation,
        move_app,
        move_apps,
        pack,
        package_apps,
        plan_app,
        plan_apps,
        prove_apps,
        resume,
        rollback,
        rollback_on,
        to_json,
    )
    from portkit.needs.disk import read as read_disk
    from portkit.progress import NullObserver, Observer
    from portkit.report import FormReport, Report
    from portkit.source import InBundle, OnHost, Pull, Source
    from portkit.source.running import Shown, show
    from portkit.store import Store

__version__ = "0.1.0"

# Public name -> the module that it is imported from, with its name there where that differs.
_HOMES = {
    "App": "portkit.model",
    "AppError": "portkit.errors",
    "Artifact": "portkit.model",
    "Boot": "portkit.model.disk",
    "BootError": "portkit.errors",
    "Bundle": "portkit.bundle",
    "Bus": "portkit.model.disk",
    "Cell": "portkit.move",
    "ConflictError": "portkit.errors",
    "DiskFile": "portkit.model.disk",
    "DiskFormat": "portkit.model.disk",
    "DiskMachine": "portkit.model.disk",
    "Ended": "portkit.move",
    "EngineError": "portkit.errors",
    "Facts": "portkit.model",
    "Finding": "portkit.model",
    "Form": "portkit.model",
    "FormReport": "portkit.report",
    "HookError": "portkit.errors",
    "Host": "portkit.host",
    "HostError": "portkit.errors",
    "HostKnown": "portkit.move",
    "InBundle": "portkit.source",
    "IncompatibleError": "portkit.errors",
    "Instance": "portkit.model",
    "Journal": "portkit.move",
    "LabError": "portkit.errors",
    "Matrix": "portkit.move",
    "Measured": "portkit.move",
    "MoveState": "portkit.move",
    "NullObserver": "portkit.progress",
    "Observed": "portkit.move",
    "Observer": "portkit.progress",
    "OnHost": "portkit.source",
    "Outcome": "portkit.move",
    "Packages": "portkit.move",
    "PackedApp": "portkit.model",
    "PortkitError": "portkit.errors",
    "PredictionError": "portkit.errors",
    "Profile": "portkit.compat.profile",
    "Pull": "portkit.source",
    "Report": "portkit.report",
    "Severity": "portkit.model",
    "Shown": "portkit.source.running",
    "Source": "portkit.source",
    "SpaceError": "portkit.errors",
    "Store": "portkit.store",
    "ToolError": "portkit.errors",
    "TransferError": "portkit.errors",
    "UnknownError": "portkit.errors",
    "Verdict": "portkit.model",
    "VerifyError": "portkit.errors",
    "check_apps": "portkit.move",
    "check_disks": "portkit.move",
    "collect_garbage": "portkit.collect:collect",
    "connect": "portkit.host",
    "judge_apps": "portkit.move",
    "load": "portkit.app",
    "load_profile": "portkit.compat.profile:load",
    "matrix_json": "portkit.move",
    "measure_again": "portkit.move",
    "measure_isolation": "portkit.move",
    "move_app": "portkit.move",
    "move_apps": "portkit.move",
    "pack": "portkit.move",
    "package_apps": "portkit.move",
    "plan_app": "portkit.move",
    "plan_apps": "portkit.move",
    "prove_apps": "portkit.move",
    "read_disk": "portkit.needs.disk:read",
    "resume": "portkit.move",
    "rollback": "portkit.move",
    "rollback_on": "portkit.move",
    "show": "portkit.source.running",
    "take_inventory": "portkit.inventory:take",
    "to_json": "portkit.move",
    "write_bundle": "portkit.bundle.write:write",
}

__all__ = [
    "App",
    "AppError",
    "Artifact",
    "Boot",
    "BootError",
    "Bundle",
    "Bus",
    "Cell",
    "ConflictError",
    "DiskFile",
    "DiskFormat",
    "DiskMachine",
    "Ended",
    "EngineError",
    "Facts",
    "Finding",
    "Form",
    "FormReport",
    "HookError",
    "Host",
    "HostError",
    "HostKnown",
    "InBundle",
    "IncompatibleError",
    "Instance",
    "Journal",
    "LabError",
    "Matrix",
    "Measured",
    "MoveState",
    "NullObserver",
    "Observed",
    "Observer",
    "OnHost",
    "Outcome",
    "Packages",
    "PackedApp",
    "PortkitError",
    "PredictionError",
    "Profile",
    "Pull",
    "Report",
    "Severity",
    "Shown",
    "Source",
    "SpaceError",
    "Store",
    "ToolError",
    "TransferError",
    "UnknownError",
    "Verdict",
    "VerifyError",
    "__version__",
    "check_apps",
    "check_disks",
    "collect_garbage",
    "connect",
    "judge_apps",
    "load",
    "load_profile",
    "matrix_json",
    "measure_again",
    "measure_isolation",
    "move_app",
    "move_apps",
    "pack",
    "package_apps",
    "plan_app",
    "plan_apps",
    "prove_apps",
    "read_disk",
    "resume",
    "rollback",
    "rollback_on",
    "show",
    "take_inventory",
    "to_json",
    "write_bundle",
]


if not TYPE_CHECKING:  # else every misspelt name would pass a type checker

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562)."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, _, there = home.partition(":")
        value = getattr(import_module(module), there or name)
        # The next use finds it in the module and does not come here.
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
