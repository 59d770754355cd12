"""Hosts over real ssh, in the lab."""

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from portkit import process, runtime
from portkit.errors import HostError, VerifyError
from portkit.host import connect
from portkit.host.endpoint import Endpoint
from portkit.host.ssh import Session
from portkit.lab import Lab, counters
from portkit.wire.recipe import Writer

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
        args |= {"key": "0" * 32, "offset": 0, "bases": []}
        begin = Writer().literal(8 << 20)
        with pytest.raises(VerifyError, match="data that arrived is damaged"):  # it has no trailer
            host.remote.call("store.apply", args, send=[begin, *[bytes(1 << 20)] * 8])
        grown = host.counters().sent - before.sent
        assert grown >= 8 << 20
        # The link counts 66 bytes of Ethernet, IP and TCP headers to 1448 of payload.
        assert grown * 1514 / 1448 == pytest.approx(counters("beta")[0] - link, rel=0.01)


def test_nothing_stays(lab: object) -> None:
    before = set(runtime.folder().iterdir())
    with connect("lab:beta"):
        assert set(runtime.folder().iterdir()) - before
    assert set(runtime.folder().iterdir()) == before


def test_unknown_host_is_a_clear_error() -> None:
    assert shutil.which("ssh")
    with pytest.raises(HostError, match="cannot be resolved"), connect("no-such-host.invalid"):
        pass


# hostile input 26: a real sshd, and a known_hosts without its key or with another one
@pytest.mark.parametrize(("known", "word"), [("", "is unknown"), ("another", "has changed")])
@pytest.mark.parametrize("strict", ["yes", "no", "accept-new"])
def test_keys_are_never_trusted_silently(
    lab: Lab, tmp_path: Path, known: str, word: str, strict: str
) -> None:
    hosts = tmp_path / "known_hosts"
    address = lab.address("beta")
    if known:
        process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"])
        hosts.write_text(f"{address} {(tmp_path / 'key.pub').read_text()}")
    before = hosts.read_text() if known else None
    config = tmp_path / "config"
    config.write_text(
        f"Host *\n  HostName {address}\n  User root\n  IdentityFile {lab.identity}\n"
        f"  UserKnownHostsFile {hosts}\n  GlobalKnownHostsFile /dev/null\n"
        f"  StrictHostKeyChecking {strict}\n  ForwardAgent yes\n"
    )
    with pytest.raises(HostError, match=word) as caught:
        Session("web1", Endpoint("web1", config=config))
    assert "fingerprint" in caught.value.resolution
    assert (hosts.read_text() if hosts.exists() else None) == before


def test_no_agent_is_there_on_the_host(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """hostile input 29: with an agent here, and a configuration that would forward it."""
    with connect("lab:beta") as host:
        assert host._session is not None
        said = process.run(["ssh-agent", "-s"]).text
        agent = dict(re.findall(r"(SSH_\w+)=([^;]+);", said))
        monkeypatch.setenv("SSH_AUTH_SOCK", agent["SSH_AUTH_SOCK"])
        try:
            child = host._session.start('echo "[$SSH_AUTH_SOCK]"')
            assert child.stdout is not None
            assert child.stdout.read() == b"[]\n"
        finally:
            os.kill(int(agent["SSH_AGENT_PID"]), signal.SIGTERM)
