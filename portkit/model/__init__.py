"""The words of portkit as frozen values, a module for each noun. They use no other room
but errors, and are imported from here: `from portkit.model import App, Facts`.
"""

from __future__ import annotations

from portkit.model.artifact import Artifact, Form
from portkit.model.capabilities import CAPABILITIES, DEFAULT_CAPABILITIES
from portkit.model.digest import Blob, check_digest
from portkit.model.facts import Binfmt, Engine, Facts, Guests, Linux, virtualises
from portkit.model.finding import Finding, Severity, Verdict
from portkit.model.foreseen import Basis, Figure, Foreseen, Part, figure
from portkit.model.git import GitUrl
from portkit.model.health import DEFAULT_TIMEOUT_S, Healthcheck, HealthProbe, Method
from portkit.model.image import CONFIG_LIMIT, ImageConfig
from portkit.model.instance import (
    REMAINS,
    Instance,
    Life,
    MachineStart,
    ServiceState,
    Standing,
    worst_health,
)
from portkit.model.live import Behind, DataFolder, Live, LiveContainer, LiveDomain, LiveVolume
from portkit.model.needs import Binary, Called, Lack, Missing, Needs, Role, Software, Stated
from portkit.model.packed import PackedApp
from portkit.model.project import (
    Attachment,
    Condition,
    Content,
    ContentFile,
    ContentKind,
    Dependency,
    Network,
    OnTaken,
    Subnet,
    Volume,
    content_bytes,
)
from portkit.model.quiesce import Quiesce
from portkit.model.run import AppSpec, RunSpec, content_numbers, layered
from portkit.model.service import (
    App,
    Build,
    Device,
    Firmware,
    Logging,
    Machine,
    Mount,
    Port,
    Reading,
    Service,
    Surroundings,
    Ulimit,
)
from portkit.model.sought import Sought
from portkit.model.timeline import Overlap, Span, Timeline

__all__ = [
    "CAPABILITIES",
    "CONFIG_LIMIT",
    "DEFAULT_CAPABILITIES",
    "DEFAULT_TIMEOUT_S",
    "REMAINS",
    "App",
    "AppSpec",
    "Artifact",
    "Attachment",
    "Basis",
    "Behind",
    "Binary",
    "Binfmt",
    "Blob",
    "Build",
    "Called",
    "Condition",
    "Content",
    "ContentFile",
    "ContentKind",
    "DataFolder",
    "Dependency",
    "Device",
    "Engine",
    "Facts",
    "Figure",
    "Finding",
    "Firmware",
    "Foreseen",
    "Form",
    "GitUrl",
    "Guests",
    "HealthProbe",
    "Healthcheck",
    "ImageConfig",
    "Instance",
    "Lack",
    "Life",
    "Linux",
    "Live",
    "LiveContainer",
    "LiveDomain",
    "LiveVolume",
    "Logging",
    "Machine",
    "MachineStart",
    "Method",
    "Missing",
    "Mount",
    "Needs",
    "Network",
    "OnTaken",
    "Overlap",
    "PackedApp",
    "Part",
    "Port",
    "Quiesce",
    "Reading",
    "Role",
    "RunSpec",
    "Service",
    "ServiceState",
    "Severity",
    "Software",
    "Sought",
    "Span",
    "Standing",
    "Stated",
    "Subnet",
    "Surroundings",
    "Timeline",
    "Ulimit",
    "Verdict",
    "Volume",
    "check_digest",
    "content_bytes",
    "content_numbers",
    "figure",
    "layered",
    "virtualises",
    "worst_health",
]
