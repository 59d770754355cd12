"""`portkit check --prove`: what is predicted of small hard artifacts is what happens, and nothing
stays behind. All cells of the truth table are in bench/compat_cells.py."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from bench import compat_apps
from bench.compat_cells import ARTIFACTS, LIBC, LOADER
from portkit.lab import Lab
from tests.integration.commands import ROOT, on, ours, portkit

pytestmark = pytest.mark.lab
SCHEMA = json.loads((ROOT / "docs/check.schema.json").read_text())
# The rule that refuses each, "" for none, and a part of what the engine or the app then says.
CELLS = {
    "glibc": ("", ""),
    "no-loader": ("missing-loader", "no such file or directory"),
    "maps-set": ("sysctl", "vm.max_map_count"),
    "shm": ("needs-shared-memory", "/dev/shm is 67108864"),
    "device": ("device", "/dev/kvm"),
}


def test_what_is_predicted_is_what_happens(lab: Lab, store: Path, tmp_path: Path) -> None:
    folders = []
    for name in CELLS:
        own = ARTIFACTS[name]
        if own.program == "static":  # gcc is quicker
            own = replace(own, program="glibc", own=(LOADER, LIBC))
        folders.append(str(compat_apps.written(f"proof-{name}", own, tmp_path)))
    words = ("check", *folders, "--from", "lab:alpha", "--on", "lab:beta", "--form", "image")
    done = portkit(*words, "--prove", "--output", "json", store=store, check=False)
    found = json.loads(done.text)
    jsonschema.validate(found, SCHEMA)
    for cell in found["cells"]:
        rule, says = CELLS[cell["app"].removeprefix("proof-")]
        refused = {row["rule"] for row in cell["findings"] if row["severity"] == "error"}
        assert rule in refused if rule else not refused, cell
        assert cell["observed"]["agrees"] is True, cell
        assert says in cell["observed"]["reason"], cell
    assert done.code == 9, "some of them can run nowhere"
    assert ours(lab, "beta") == ""
    on(lab, "alpha", f"docker rmi -f {' '.join(f'truth-proof-{name}:1' for name in CELLS)}")
