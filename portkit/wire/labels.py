"""The names and labels by which portkit knows its own things in an engine, on both ends."""

from __future__ import annotations

# An image that a Move needs is held under a name of the Move's own, behind this: the user's tags
# may move, and other Moves may need the same image.
HELD = "portkit/held:"
# Labels of containers and volumes: the id of the Move, its App, and the Form (image).
MOVE, APP, FORM = "portkit.move", "portkit.app", "portkit.form"
# Of a volume: its number in the App, and whether it holds the data of an App that ran elsewhere.
VOLUME, DATA = "portkit.volume", "portkit.data"
# Of a network that is not the App's alone, and that a Move made because the host had none.
EXTERNAL = "portkit.external"
# Of one of several containers: the name of its service, and whether it answers for the App.
SERVICE, FRONT = "portkit.service", "portkit.front"
# Of those that it depends on, the ones that it can do without; compose's own label does not say.
WISHES = "portkit.wishes"
# Its restart policy, as compose's `restart` says it: before `commit` its engine has none.
RESTART = "portkit.restart"
# Before what users say of a container, as in the x-portkit block of a compose file.
SETTING = "x-portkit."
# Before the names of compose's own labels.
COMPOSE = "com.docker.compose."
# Of a container, in the place of the hash of its service in a compose file: it is no such hash, so
# compose makes the container anew from that file when it is told to bring the project up.
NO_HASH = "portkit"
# Podman writes names in full, and puts those that came by a file into a registry of its own.
_IN_FULL = ("docker.io/library/", "docker.io/")
_LOCAL = "localhost/"


def familiar(name: str) -> str:
    """An image's name as Docker's own answers have it. Pure."""
    for prefix in _IN_FULL:
        if name.startswith(prefix):
            return name[len(prefix) :]
    if name.startswith(_LOCAL + HELD):
        return name[len(_LOCAL) :]
    return name


# Before the name of a volume in what a marker says: the Move's App is to take that as it is.
KEEPS = "keeps "
