"""Values that many tests start from, and functions that make variants of them."""

from dataclasses import replace
from typing import Any

from portkit.app.resolve import defaults
from portkit.delivery import Transfer
from portkit.model import (
    AppSpec,
    Facts,
    Form,
    ImageConfig,
    Live,
    LiveContainer,
    LiveVolume,
    RunSpec,
)
from portkit.move.plan import Plan
from portkit.progress import NullObserver

# A host that can run both forms, without KVM.
FACTS = Facts(
    host="web2",
    endpoint="ssh://root@web2:22",
    os_id="debian",
    os_version="12",
    os_name="Debian 12",
    architecture="amd64",
    kernel="6.1",
    cpus=2,
    memory_bytes=4 << 30,
    memory_available_bytes=3 << 30,
    swap_bytes=0,
    store_free_bytes=10 << 30,
    python="3.11.2",
    docker_version="26.1",
    docker_store="overlay2",
    docker_free_bytes=10 << 30,
    libvirt_version="11.3",
    qemu_version="10.0",
)
IMAGE = ImageConfig("sha256:" + "0" * 64, "amd64", "linux", (), cmd=("x",))


def facts(**changes: Any) -> Facts:
    """The Facts of a host that can run both forms, with the given fields changed."""
    return replace(FACTS, **changes)


def spec(**changes: Any) -> RunSpec:
    """What a process sees of an image with a command and nothing more, with changes."""
    made = defaults(replace(IMAGE, cmd=("run",)))
    assert made is not None
    return replace(made, **changes)


def app_spec(*services: RunSpec, **changes: Any) -> AppSpec:
    """An App of these services, of which the first answers for it; of one (`spec`) without any."""
    rows = services or (spec(),)
    made = AppSpec(rows[0].app, rows, rows[0], rows[0].machine)
    return replace(made, **changes)


def transfer(**changes: Any) -> Transfer:
    """What a small transfer to a host on this machine cost."""
    values: dict[str, Any] = {
        "sent_bytes": 1,
        "received_bytes": 2,
        "reused_bytes": 3,
        "seconds": 0.5,
        "counter": "local",
    }
    return Transfer(**{**values, **changes})


def plan(**changes: Any) -> Plan:
    """A Move of both forms, of which the image is kept."""
    values: dict[str, Any] = {
        "move": "pk-0123456789ab",
        "app": "shop",
        "app_source": "./shop",
        "source": "old",
        "target": "new",
        "forms": (Form.IMAGE, Form.DISK),
        "keep": Form.IMAGE,
        "repeat": 1,
        "limit": None,
        "image": "sha256:" + "1" * 64,
        "blobs": ("sha256:" + "2" * 64,),
        "ports": (),
        "services": {"x": IMAGE.digest},
        "holds": {IMAGE.digest: "portkit/held:1"},
        "tags": {},
        "fingerprint": "",
        "findings": {Form.IMAGE: (), Form.DISK: ()},
    }
    return Plan(**{**values, **changes})


def live(**changes: Any) -> Live:
    """An App of one container with one volume, as it runs at its source."""
    values: dict[str, Any] = {
        "containers": (LiveContainer("a" * 64, "web", "always", running=True),),
        "volumes": (LiveVolume(0, "data", "/var/lib/docker/volumes/data/_data"),),
    }
    return Live(**{**values, **changes})


def words(text: str) -> set[str]:
    """The words of a text: a long set of names that can be read."""
    return set(text.split())


class Heard(NullObserver):
    """An Observer that keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)
