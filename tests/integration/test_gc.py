"""What Moves leave in a host's Store is told and removed, and what runs goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from portkit.lab import Lab
from tests.integration.commands import moved, on, portkit, wait_for

pytestmark = pytest.mark.lab
STORE = "/var/lib/portkit/store"


def gc(host: str, store: Path, *more: str) -> dict[str, Any]:
    done = portkit("gc", "--on", f"lab:{host}", "--output", "json", *more, store=store)
    return dict(json.loads(done.text))


def test_gc(lab: Lab, store: Path) -> None:
    name = "0" * 64
    on(lab, "beta", f"mkdir -p -m 700 {STORE}/blobs/sha256 {STORE}/tmp/dead {STORE}/parts")
    on(lab, "beta", f"head -c 100000 /dev/zero | tee {STORE}/blobs/sha256/{name} >{STORE}/parts/p")
    assert name not in [row["name"] for row in gc("beta", store)["removed"]]
    with moved("registry", "beta", store, "--form", "disk") as report:
        told = gc("beta", store, "--all", "--dry-run")
        names = {row["name"] for row in told["removed"]}
        assert {name, "p", "dead"} <= names
        assert report["forms"][0]["artifact"]["digest"][7:] not in names
        assert gc("beta", store, "--all")["count"] == told["count"]
        assert gc("beta", store, "--all")["count"] == 0
        portkit("stop", report["move"], "--on", "lab:beta", store=store)
        portkit("start", report["move"], "--on", "lab:beta", store=store)
        wait_for(f"http://{lab.address('beta')}:5000/v2/")
    assert (
        on(lab, "beta", f"ls {STORE}/blobs/sha256 {STORE}/tmp {STORE}/parts | grep -v :").strip()
        == ""
    )
