"""An App as one file: packed at one end, moved at the other without its source."""

import json
import os
import shutil
from pathlib import Path

import jsonschema
import pytest

from portkit import process
from portkit.lab import Lab
from tests.integration import clients
from tests.integration.commands import (
    ROOT,
    SCHEMA,
    ask,
    on,
    ours,
    portkit,
    services,
    wait_for,
)

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def bundle(lab: Lab, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "registry.portkit"
    app = str(ROOT / "fixtures/apps/registry")
    portkit("pack", app, "--from", "lab:alpha", "-o", str(path), store=store)
    assert path.stat().st_mode & 0o777 == 0o600
    return path


@pytest.mark.parametrize("target", ["beta", pytest.param("gamma", marks=pytest.mark.campaign)])
def test_both_forms(lab: Lab, bundle: Path, tmp_path: Path, target: str) -> None:
    before, store = ours(lab, target), tmp_path / "store"
    words = ("move", str(bundle), "--to", f"lab:{target}", "--output", "json")
    report = json.loads(portkit(*words, store=store).text)
    try:
        jsonschema.validate(report, SCHEMA)
        assert report["source"]["host"] == "lab:alpha"
        assert report["links"]["source"] == 0
        assert [form["form"] for form in report["forms"]] == ["image", "disk"]
        listed = ask(f"http://{lab.address(target)}:5000/v2/_catalog")
        assert json.loads(listed) == {"repositories": []}
    finally:
        portkit("rm", "--yes", report["move"], "--on", f"lab:{target}", store=store)
    assert ours(lab, target) == before


def test_a_damaged_one_touches_nothing(lab: Lab, bundle: Path, tmp_path: Path) -> None:
    before, data = ours(lab, "beta"), bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "bad.portkit"
    path.write_bytes(data)
    done = portkit("move", str(path), "--to", "lab:beta", store=tmp_path / "store", check=False)
    assert done.code == 7
    assert b"Traceback" not in done.stderr
    assert ours(lab, "beta") == before


def test_parts_without_what_the_host_has(
    lab: Lab, bundle: Path, store: Path, tmp_path: Path
) -> None:
    """beta has the image: its layers do not travel, gamma lacks them and is not touched."""
    app, quiet = str(ROOT / "fixtures/apps/registry"), ("--output", "json")
    before, empty = ours(lab, "beta"), tmp_path / "store"
    words = ("move", app, "--from", "lab:alpha", "--to", "lab:beta", "--form", "image", *quiet)
    first = json.loads(portkit(*words, store=store).text)["move"]
    try:
        told = portkit("inventory", "lab:beta", store=store).text
        (tmp_path / "beta.json").write_text(told)
        assert json.loads(told)["layers"]
        portkit("stop", first, "--on", "lab:beta", store=store)
        less = ("--for", str(tmp_path / "beta.json"), "--split", "4m")
        small = str(tmp_path / "small.portkit")
        portkit("pack", app, "--from", "lab:alpha", "-o", small, *less, store=store)
        parts = sorted(tmp_path.glob("small.portkit.*"))
        assert len(parts) > 1
        # Of 73 MB the kit is left.
        assert sum(path.stat().st_size for path in parts) < bundle.stat().st_size / 3
        elsewhere = ours(lab, "gamma")
        words = ("move", str(parts[0]), "--to", "lab:gamma", *quiet)
        done = portkit(*words, store=empty, check=False)
        assert done.code == 9, done.stderr
        assert b"made for lab:beta" in done.stderr
        assert ours(lab, "gamma") == elsewhere
        words = ("move", str(parts[0]), "--to", "lab:beta", "--keep", "none", *quiet)
        report = json.loads(portkit(*words, store=empty).text)
        jsonschema.validate(report, SCHEMA)
        assert [form["state"] for form in report["forms"]] == ["removed", "removed"]
    finally:
        portkit("rm", "--yes", first, "--on", "lab:beta", store=store)
    assert ours(lab, "beta") == before


LISTED = r"%P %y %m %U %G %Ts %s %l\n"  # path, kind, mode, owner, time, size, where a link leads


def test_a_whole_project(lab: Lab, store: Path, tmp_path: Path) -> None:
    """Several services, and files of the project: in parts, from a machine that has nothing of it,
    the same App as from host to host."""
    before, address, empty = ours(lab, "beta"), lab.address("beta"), tmp_path / "store"
    page = tmp_path / "front/html/more/page"
    shutil.copytree(ROOT / "fixtures/apps/front", tmp_path / "front")
    page.parent.mkdir()
    page.write_bytes(bytes(range(256)))
    os.chown(page, 12, 34)
    page.chmod(0o2644)
    (page.parent / "link").symlink_to("../index.html")
    find = ["find", str(tmp_path / "front/html"), "!", "-type", "d", "-printf", LISTED]
    listed = sorted(process.run(find).text.splitlines())
    place = str(tmp_path / "front.portkit")
    words = ("-o", place, "--split", "60m")
    portkit("pack", str(tmp_path / "front"), "--from", "lab:alpha", *words, store=store)
    first, second = sorted(tmp_path.glob("front.portkit.*"))
    assert {path.stat().st_mode & 0o777 for path in (first, second)} == {0o600}
    shutil.rmtree(tmp_path / "front")
    check = ("check", str(first), "--on", "lab:gamma", "--output", "json")
    cells = json.loads(portkit(*check, store=empty).text)["cells"]
    assert {cell["verdict"] for cell in cells} <= {"native", "emulated"}
    move = ("move", str(first), "--to", "lab:beta", "--keep", "disk", "--output", "json")
    report = json.loads(portkit(*move, store=empty).text)
    try:
        jsonschema.validate(report, SCHEMA)
        healthy = dict.fromkeys(("web", "one", "two"), "running healthy")
        assert services("beta", report["move"], "disk", empty) == healthy
        clients.front(address)()
        assert ask(f"http://{address}:8086/more/page") == bytes(range(256))
        portkit("stop", "front", "--on", "lab:beta", store=empty)
        portkit("start", "front", "--form", "image", "--on", "lab:beta", store=empty)
        wait_for(f"http://{address}:8086/")
        clients.front(address)()
        assert ask(f"http://{address}:8086/more/page") == bytes(range(256))
        web = "docker ps -q --filter label=portkit.service=web"
        found = f"docker exec $({web}) find /usr/share/nginx/html ! -type d -printf '{LISTED}'"
        assert sorted(on(lab, "beta", found).splitlines()) == listed
        networks = on(lab, "beta", "docker network ls --format '{{.Name}}'").split()
        assert {"front_outside", "front_back"} <= set(networks)
    finally:
        portkit("rm", "--yes", report["move"], "--on", "lab:beta", store=empty)
    assert ours(lab, "beta") == before
