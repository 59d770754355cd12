"""Hosts over real ssh, in the lab."""

import shutil
from pathlib import Path

import pytest

from portkit.errors import HostError
from portkit.host import connect
from portkit.lab import counters

pytestmark = pytest.mark.lab


@pytest.mark.parametrize(
    ("name", "store"), [("alpha", "overlay2"), ("beta", "overlay2"), ("gamma", "containerd")]
)
def test_facts(lab: object, name: str, store: str) -> None:
    with connect(f"lab:{name}") as host:
        facts = host.facts()
        assert facts.os_id == "debian"
        assert facts.docker_store == store
        assert facts.libvirt_version
        assert facts.accelerator == "tcg"
        assert ("0.0.0.0", 22) in facts.listening
        assert host.docker_socket().exists()
        assert host.address() == facts.endpoint.split("@")[1].split(":")[0]


def test_counters_are_of_the_wire(lab: object) -> None:
    with connect("lab:beta") as host:
        before, link = host.counters(), counters("beta")[0]
        assert before.source == "tcp_info"
        args = {"digest": "sha256:" + "0" * 64, "size": 8 << 20, "encoding": "raw"}
        with pytest.raises(Exception, match="digest"):
            host.remote.call("store.put", args, send=[bytes(1 << 20)] * 8)
        grown = host.counters().sent - before.sent
        assert grown >= 8 << 20
        # The link counts 66 bytes of Ethernet, IP and TCP headers to 1448 of payload.
        assert grown * 1514 / 1448 == pytest.approx(counters("beta")[0] - link, rel=0.01)


def test_nothing_stays(lab: object) -> None:
    before = set(Path("/tmp").glob("pk-*"))
    with connect("lab:beta"):
        assert set(Path("/tmp").glob("pk-*")) - before
    assert set(Path("/tmp").glob("pk-*")) == before


def test_unknown_host_is_a_clear_error() -> None:
    assert shutil.which("ssh")
    with pytest.raises(HostError, match="unknown"), connect("no-such-host.invalid"):
        pass
