"""`portkit check` over the lab's hosts and kinds of hosts: right, quick, and nothing is changed."""

import json
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from portkit.lab import Lab
from tests.integration.commands import ROOT, on, portkit

SCHEMA = json.loads((ROOT / "docs/check.schema.json").read_text())
IMAGE = "debian:bookworm-slim"
WORDS = ("check", IMAGE, "--from", "lab:alpha", "--progress", "quiet")
HOSTS = ("alpha", "beta", "gamma")
# Everything of a host that a check could change by mistake.
STATE = """
docker images -aq --no-trunc | sort; docker ps -aq --no-trunc | sort; docker volume ls -q | sort
docker network ls -q --no-trunc | sort; virsh -c qemu:///system list --all --name | sort
find /var/lib/portkit -printf '%p %i %s %T@\\n' 2> /dev/null | sort
find /tmp /root /etc -xdev -newer /proc/1 -type f -printf '%p %i %s %T@\\n' | sort
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTKIT_CACHE", str(tmp_path / "cache"))


def checked(store: Path, *words: str) -> Any:
    found = json.loads(portkit(*WORDS, *words, "--output", "json", store=store).text)
    jsonschema.validate(found, SCHEMA)
    return found


def verdicts(found: Any) -> dict[str, str]:
    return {f"{cell['host']} {cell['form']}": cell["verdict"] for cell in found["cells"]}


def test_a_matrix_of_three_hosts_and_two_kinds(lab: Lab, store: Path) -> None:
    words = [word for name in HOSTS for word in ("--on", f"lab:{name}")]
    words += ["--profile", "rhel-9", "--profile", "windows-server-hyper-v"]
    before = [on(lab, name, STATE) for name in HOSTS]
    found = checked(store, *words)
    assert verdicts(found) == {
        **{f"lab:{name} image": "native" for name in HOSTS},
        **{f"lab:{name} disk": "emulated" for name in HOSTS},
        "rhel-9 image": "native",
        "rhel-9 disk": "native",
        "windows-server-hyper-v image": "incompatible",
        "windows-server-hyper-v disk": "incompatible",
    }
    for host, qemu in zip(found["hosts"][:3], ("7.2", "10.0", "11.1"), strict=True):
        guests = host["facts"]["guests"]
        assert {"q35", f"pc-q35-{qemu}"} <= set(guests["machines"])
        assert (guests["firmware"], guests["cpu_level"]) == (["efi"], 3)
    assert [on(lab, name, STATE) for name in HOSTS] == before


def test_the_second_check_of_a_host_asks_little(lab: Lab, store: Path) -> None:
    words = ("--on", "lab:beta")
    assert checked(store, *words)["hosts"][0]["kept_s"] is None
    found = checked(store, *words)
    assert 0 <= found["hosts"][0]["kept_s"] < 60
    assert checked(store, *words, "--fresh")["hosts"][0]["kept_s"] is None


def test_what_has_changed_since_is_seen(lab: Lab, store: Path, tmp_path: Path) -> None:
    """Ports and engines are asked in every check, whatever is kept."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "compose.yaml").write_text(
        f"services:\n  web:\n    image: {IMAGE}\n    command: [sleep, '9']\n"
        "    ports: ['8097:80']\n"
    )
    words = ("check", str(folder), "--from", "lab:alpha", "--on", "lab:beta", "--form", "image")
    assert portkit(*words, store=store).code == 0
    listen = "import socket, time; s = socket.create_server(('', 8097)); time.sleep(60)"
    start = f'setsid python3 -c "{listen}" > /dev/null 2>&1 < /dev/null & echo $!'
    child = on(lab, "beta", start).strip()
    try:
        deadline = time.monotonic() + 10
        while "8097" not in on(lab, "beta", "ss -ltn"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        done = portkit(*words, store=store, check=False)
        assert (done.code, "port 8097 is already in use" in done.text) == (10, True)
    finally:
        on(lab, "beta", f"kill {child}")


def test_a_host_that_is_not_reached_is_unknown(lab: Lab, store: Path) -> None:
    words = ("--on", "lab:beta", "--on", "nobody@127.0.0.1:9", "--form", "image")
    found = checked(store, *words)
    assert verdicts(found) == {
        "lab:beta image": "native",
        "nobody@127.0.0.1:9 image": "unknown",
    }
    done = portkit(*WORDS, *words[2:], store=store, check=False)
    assert done.code == 4
