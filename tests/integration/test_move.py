"""The main job over the command line, with real apps between real hosts of the lab."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from portkit import lab as lab_room
from portkit import process
from portkit.lab import Lab

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
PORTKIT = ROOT / ".venv/bin/portkit"
SCHEMA = json.loads((ROOT / "docs/report.schema.json").read_text())
EVENT = b"""BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//portkit//test//EN\r
BEGIN:VEVENT\r
UID:one@portkit\r
DTSTAMP:20260101T000000Z\r
DTSTART:20260102T100000Z\r
SUMMARY:Carried over\r
END:VEVENT\r
END:VCALENDAR\r
"""


def on(lab: Lab, name: str, command: str, *, check: bool = True) -> str:
    argv = ["ssh", "-F", lab.ssh_config, f"lab-{name}", command]
    return process.run(argv, check=check).text


def portkit(*words: str, store: Path, check: bool = True) -> process.Completed:
    return process.run(
        [PORTKIT, *words], env={"PORTKIT_STORE": str(store)}, check=check, timeout=300
    )


def ours(lab: Lab, name: str) -> str:
    """Everything on a host that carries portkit's name."""
    return on(
        lab,
        name,
        "for what in 'ps -a' 'volume ls'; do docker $what -q --filter label=portkit.move; done;"
        " docker images -q portkit/held; ls /var/lib/portkit/store/tmp",
        check=False,
    ).strip()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@contextmanager
def moved(app: str, target: str, store: Path, *more: str) -> Iterator[dict[str, Any]]:
    """The report of a Move from alpha; what it left running is removed at the end."""
    words = ("move", f"fixtures/apps/{app}", "--from", "lab:alpha", "--to", f"lab:{target}")
    report = json.loads(portkit(*words, "--output", "json", *more, store=store).text)
    try:
        yield report
    finally:
        portkit("rm", "--yes", report["move"], "--on", f"lab:{target}", store=store)


def ask(url: str, method: str = "GET", data: bytes | None = None, **headers: str) -> bytes:
    asked = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("target", ["beta", "gamma"])
def test_radicale(lab: Lab, store: Path, target: str) -> None:
    before, link = ours(lab, target), lab_room.counters(target)[0]
    with moved("radicale", target, store, "--repeat", "2") as report:
        grown = lab_room.counters(target)[0] - link
        jsonschema.validate(report, SCHEMA)
        (form,) = report["forms"]
        assert form["boot"]["status"] == 200
        assert len(form["ttfr"]["from_boot_s"]) == 2
        assert form["ttfr"]["vantage"] == "direct"
        # Ethernet, IP and TCP take 66 bytes of each frame of 1514; the probes travel beside it.
        sent = form["transfer"]["sent_bytes"]
        assert sent * 1514 / 1448 == pytest.approx(grown, rel=0.01, abs=150_000)
        calendar = f"http://{lab.address(target)}:5232/user/cal"
        who = {"Authorization": "Basic dXNlcjp4"}  # user:x; every name is let in
        ask(f"{calendar}/", "MKCALENDAR", **who)
        ask(f"{calendar}/one.ics", "PUT", EVENT, **who, **{"Content-Type": "text/calendar"})
        assert b"Carried over" in ask(f"{calendar}/one.ics", **who)
        rows = json.loads(
            portkit("ps", "--on", f"lab:{target}", "--output", "json", store=store).text
        )
        assert [row["status"] for row in rows if row["id"] == report["move"]] == ["running"]
        stopped = portkit("stop", report["move"], "--on", f"lab:{target}", store=store).text
        assert "exited with code" in stopped
        portkit("start", report["move"], "--on", f"lab:{target}", store=store)
    assert ours(lab, target) == before


@pytest.mark.parametrize("target", ["beta", "gamma"])
def test_registry_takes_an_image(lab: Lab, store: Path, target: str) -> None:
    with moved("registry", target, store) as report:
        (form,) = report["forms"]
        assert form["boot"]["url"].endswith(":5000/v2/")
        name = "127.0.0.1:5000/pushed:1"
        held = on(lab, target, "docker images -q portkit/held | head -1").strip()
        on(lab, target, f"docker tag {held} {name} && docker push -q {name}")
        on(lab, target, f"docker rmi {name} && docker pull -q {name} && docker rmi {name}")
        listed = ask(f"http://{lab.address(target)}:5000/v2/_catalog")
        assert json.loads(listed) == {"repositories": ["pushed"]}
    assert "portkit/held" not in on(lab, target, "docker images")


def write_app(folder: Path, lines: str) -> Path:
    folder.mkdir()
    (folder / "compose.yaml").write_text(
        f"services:\n  bad:\n    image: debian:bookworm-slim\n{lines}"
    )
    return folder


@pytest.mark.parametrize(
    ("lines", "code", "word"),
    [
        ("    command: ['false']\n    ports: ['8099:80']\n", 8, "exited with code 1"),
        (
            "    command: [sleep, '99']\n    ports: ['8099:80']\n"
            "    x-portkit: {health: {timeout: 2s}}\n",
            8,
            "did not answer within 2 s",
        ),
        ("    command: [/no/such]\n    ports: ['8099:80']\n", 5, "no such file"),
        ("    command: [sleep, '99']\n    ports: ['22:80']\n", 10, "port 22 is taken"),
        ("    command: [sleep, '99']\n", 3, "no published TCP port"),
        ("    command: [sleep, '9']\n    volumes: ['./e:/e']\n", 9, "would not travel"),
    ],
)
def test_what_fails_leaves_nothing(
    lab: Lab, store: Path, tmp_path: Path, lines: str, code: int, word: str
) -> None:
    before = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    folder = write_app(tmp_path / "bad", lines)
    done = portkit(
        *("move", str(folder), "--from", "lab:alpha", "--to", "lab:beta"), store=store, check=False
    )
    assert done.code == code, done.stderr.decode()
    assert word in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    after = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    assert after == before


def test_a_running_app_is_refused(lab: Lab, store: Path, tmp_path: Path) -> None:
    folder = write_app(tmp_path / "running", "    command: [sleep, '99']\n    ports: ['8099:80']\n")
    name = on(lab, "alpha", "docker run -d debian:bookworm-slim sleep 600").strip()
    try:
        done = portkit(
            *("move", str(folder), "--from", "lab:alpha", "--to", "lab:beta"),
            store=store,
            check=False,
        )
        assert done.code == 10
        assert b"is running on the source" in done.stderr
    finally:
        on(lab, "alpha", f"docker rm -f {name}")


def test_dry_run_and_check_change_nothing(lab: Lab, store: Path) -> None:
    before = ours(lab, "beta")
    words = ("fixtures/apps/radicale", "--from", "lab:alpha", "--output", "json")
    done = portkit("move", *words, "--to", "lab:beta", "--dry-run", store=store)
    report = json.loads(done.text)
    jsonschema.validate(report, SCHEMA)
    assert report["dry_run"]
    assert report["forms"][0]["compat"]["verdict"] == "native"
    assert portkit("check", *words, "--on", "lab:beta", store=store).code == 0
    assert ours(lab, "beta") == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["transfer", "load", "create", "boot"])
def test_interrupted_anywhere_leaves_nothing(
    lab: Lab, tmp_path: Path, store: Path, phase: str, number: signal.Signals
) -> None:
    before = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    folder = write_app(tmp_path / "slow", "    command: [sleep, '99']\n    ports: ['8099:80']\n")
    words = ("move", str(folder), "--from", "lab:alpha", "--to", "lab:beta", "--progress", "json")
    with process.popen([PORTKIT, *words], env={"PORTKIT_STORE": str(store)}) as child:
        assert child.stderr is not None
        for row in child.stderr:
            if json.loads(row).get("name") == phase:
                break
        os.kill(child.pid, number)
        rest = child.stderr.read()
        assert child.wait(60) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
        assert b"Traceback" not in rest
    after = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    assert after == before
