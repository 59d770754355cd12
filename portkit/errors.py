"""Every error that portkit raises, each class with the exit code of the command line.

An error says what happened (`brief`), what was seen (`details`) and what to do now (`resolution`).
None of the three ever contains a secret.
"""

from __future__ import annotations

from typing import ClassVar


class PortkitError(Exception):
    """The base of all errors that portkit raises on purpose.

    brief: what happened, in one sentence. details: the command, host or output; several lines are
    fine. resolution: what the user can do now.
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
    """The description of an App is missing or malformed, or asks for something impossible."""

    exit_code = 3


class HostError(PortkitError):
    """A host is unknown, unreachable, not trusted, or lacks what portkit needs on it."""

    exit_code = 4


class EngineError(PortkitError):
    """A Docker Engine or libvirt is absent or answered with an error."""

    exit_code = 5


class SpaceError(PortkitError):
    """There is not enough free space."""

    exit_code = 6


class VerifyError(PortkitError):
    """Content does not match its digest, its size or its format."""

    exit_code = 7


class BootError(PortkitError):
    """An Instance did not start, did not answer in time, or ended after its first answer."""

    exit_code = 8


class IncompatibleError(PortkitError):
    """The App cannot run on the target. Raised before anything is sent."""

    exit_code = 9


class ConflictError(PortkitError):
    """A port, name or tag on the target belongs to something else."""

    exit_code = 10


class ToolError(PortkitError):
    """A program that portkit runs is missing, failed, or did not end in time."""

    exit_code = 11


class TransferError(PortkitError):
    """A connection broke, or the response of the remote half was not valid."""

    exit_code = 12


class LabError(PortkitError):
    """A practice host could not be made, started or taken down."""

    exit_code = 13


class UnknownError(PortkitError):
    """No host that was checked says that the App can run, and not all say that it cannot."""

    exit_code = 14


class HookError(PortkitError):
    """A command that was given for after the commit failed; the App stays where it is then."""

    exit_code = 15


class PredictionError(PortkitError):
    """A trial showed something else than was predicted."""

    exit_code = 16
