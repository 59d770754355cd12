"""What the steps of a Move have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from portkit.model import Form
from portkit.move.ground import Ground
from portkit.wire.json_types import JsonObject


@dataclass(frozen=True)
class BaseStep:
    """A `portkit.move.walk.Step` on the hosts of a Move.

    undone_at: the end without which it cannot be undone, "target" or "source"; "" where it is
    undone at neither, or at whichever is at hand.
    """

    undone_at: ClassVar[str] = ""

    ground: Ground
    name: str
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    renewed: bool = False
    aside: bool = False

    def before(self) -> JsonObject:
        """Nothing that `undo` would have to know."""
        return {}

    def do(self) -> JsonObject:
        """What each step says for itself."""
        raise NotImplementedError

    def undo(self) -> None:
        """Nothing: an earlier step's undo takes away what this one did."""


@dataclass(frozen=True)
class FormStep(BaseStep):
    """A step that has to do with one form."""

    form: Form = Form.IMAGE
