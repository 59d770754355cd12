"""What can go wrong, each class with the exit code that the command line gives it.

Every error says three things: what happened (`brief`), what was seen (`details`) and what to do
(`resolution`). Secrets never go into any of them.
"""

from __future__ import annotations

from typing import ClassVar


class PortkitError(Exception):
    """Base of all errors that portkit raises on purpose.

    brief: one sentence, what happened.
    details: command, host, output; may have several lines.
    resolution: what the user can do now.
    """

    # 2 is click's own, for a command line that it does not understand.
    exit_code: ClassVar[int] = 1

    def __init__(self, brief: str, *, details: str = "", resolution: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.resolution = resolution

    def __str__(self) -> str:
        return "\n".join(part for part in (self.brief, self.details, self.resolution) if part)


class AppError(PortkitError):
    """An app description is missing, malformed or asks for what cannot be done."""

    exit_code = 3


class HostError(PortkitError):
    """A host is unknown, unreachable, not trusted, or lacks what portkit needs on it."""

    exit_code = 4


class EngineError(PortkitError):
    """A Docker Engine or libvirt is absent or answered with an error."""

    exit_code = 5


class SpaceError(PortkitError):
    """Not enough room for what is to be done."""

    exit_code = 6


class VerifyError(PortkitError):
    """Bytes are not what their digest, size or format says."""

    exit_code = 7


class BootError(PortkitError):
    """An Instance did not start, or never answered."""

    exit_code = 8


class IncompatibleError(PortkitError):
    """The App cannot run on the target; told before bytes move."""

    exit_code = 9


class ConflictError(PortkitError):
    """A port, name or tag on the target belongs to something else."""

    exit_code = 10


class ToolError(PortkitError):
    """A program that portkit runs is missing, failed, or overran its deadline."""

    exit_code = 11


class TransferError(PortkitError):
    """A connection broke or the remote half answered out of protocol."""

    exit_code = 12


class LabError(PortkitError):
    """A practice host could not be made, started or taken down."""

    exit_code = 13
