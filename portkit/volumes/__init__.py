"""Data of a running App to another host, in passes: `Copy` brings one folder to another.

docs/volumes.md says what is kept, and how sure it is.
"""

from portkit.volumes.copy import Copy, warm
from portkit.volumes.passes import Pass, another, predicted_last_s, too_fast
from portkit.volumes.side import Folder
from portkit.volumes.survey import Place, Survey, link_rate, survey
from portkit.volumes.verify import verify_origin

__all__ = [
    "Copy",
    "Folder",
    "Pass",
    "Place",
    "Survey",
    "another",
    "link_rate",
    "predicted_last_s",
    "survey",
    "too_fast",
    "verify_origin",
    "warm",
]
