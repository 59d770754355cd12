"""The main job over the command line, with real apps between real hosts of the lab."""

import json
from pathlib import Path

import jsonschema
import pytest

from portkit import lab as lab_room
from portkit.lab import Lab
from tests.integration.commands import (
    PUBLISHED,
    ROOT,
    SCHEMA,
    SLEEP,
    ask,
    moved,
    on,
    ours,
    portkit,
    statuses,
    wait_for,
    without_base,
    write_app,
)

pytestmark = pytest.mark.lab
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


def write_event(address: str) -> None:
    """Write an event to a Radicale and read it back."""
    calendar = f"http://{address}:5232/user/cal"
    who = {"Authorization": "Basic dXNlcjp4"}  # user:x; every name is let in
    ask(f"{calendar}/", "MKCALENDAR", **who)
    ask(f"{calendar}/one.ics", "PUT", EVENT, **who, **{"Content-Type": "text/calendar"})
    assert b"Carried over" in ask(f"{calendar}/one.ics", **who)


@pytest.mark.parametrize(
    "target", ["beta", pytest.param("gamma", marks=pytest.mark.campaign), "alpha"]
)
def test_radicale(lab: Lab, store: Path, target: str) -> None:
    before, link = ours(lab, target), lab_room.counters(target)[0]
    with moved("radicale", target, store, "--repeat", "2") as report:
        grown = lab_room.counters(target)[0] - link
        jsonschema.validate(report, SCHEMA)
        image, disk = report["forms"]
        states = [(form["form"], form["state"]) for form in report["forms"]]
        assert states == [("image", "running"), ("disk", "ready")]
        for form in (image, disk):
            assert form["boot"]["status"] == 200
            assert len(form["ttfr"]["from_boot_s"]) == 2
            assert form["ttfr"]["vantage"] == "direct"
        # Ethernet, IP and TCP take 66 bytes of each frame of 1514; the probes travel beside it.
        sent = sum(form["transfer"]["sent_bytes"] for form in report["forms"])
        if target != "alpha":
            assert sent * 1514 / 1448 == pytest.approx(grown, rel=0.025)
        url = f"http://{lab.address(target)}:5232/.web/"
        move, on_target = report["move"], ("--on", f"lab:{target}")
        assert statuses(target, move, store) == {"image": "running", "disk": "exited"}
        write_event(lab.address(target))
        assert "exited with code 0" in portkit("stop", move, *on_target, store=store).text
        portkit("start", move, *on_target, "--form", "disk", store=store)
        wait_for(url)
        write_event(lab.address(target))
        assert statuses(target, move, store) == {"image": "exited", "disk": "running"}
        assert "starting" in portkit("logs", move, *on_target, store=store).text
        assert "exited with code 0" in portkit("stop", move, *on_target, store=store).text
        assert "app exited" in portkit("logs", move, *on_target, "--form", "disk", store=store).text
        portkit("start", move, *on_target, "--form", "image", store=store)
    assert ours(lab, target) == before


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("alpha", marks=pytest.mark.campaign),
        pytest.param("beta", marks=pytest.mark.campaign),
        "gamma",
    ],
)
def test_uefi(lab: Lab, store: Path, tmp_path: Path, target: str) -> None:
    folder = tmp_path / "radicale"
    folder.mkdir()
    text = (ROOT / "fixtures/apps/radicale/compose.yaml").read_text()
    text = text.replace("context: .", f"context: {ROOT}/fixtures/apps/radicale")
    text = text.replace("memory: 384m", "memory: 384m\n      firmware: uefi")
    (folder / "compose.yaml").write_text(text)
    before = ours(lab, target)
    with moved(folder, target, store, "--form", "disk") as report:
        (form,) = report["forms"]
        assert form["state"] == "running"
        assert "firmware='efi'" in on(lab, target, "virsh dumpxml --inactive $(virsh list --name)")
        write_event(lab.address(target))
    assert ours(lab, target) == before


@pytest.mark.parametrize("keep", [pytest.param("image", marks=pytest.mark.campaign), "disk"])
def test_back_after_a_reboot(lab: Lab, store: Path, keep: str) -> None:
    """`restart: unless-stopped` brings the kept one back, and only that one."""
    url = f"http://{lab.address('beta')}:5232/.web/"
    with moved("radicale", "beta", store, "--keep", keep) as report:
        write_event(lab.address("beta"))
        lab_room.reboot("beta")
        wait_for(url)
        running = statuses("beta", report["move"], store)
        assert [form for form, status in running.items() if status == "running"] == [keep]
        portkit("stop", report["move"], "--on", "lab:beta", store=store)
        lab_room.reboot("beta")
        assert "running" not in statuses("beta", report["move"], store).values()
    # A killed host forgets nothing that it had on its disks.
    assert "radicale" not in ours(lab, "beta")


def pulled_when_told(lab: Lab, source: str, store: Path, name: str) -> None:
    """A host whose engine lacks an image gets it from the registry, but only when it is told to."""
    words = ("pack", "--from", f"lab:{source}", "--form", "image", "-o")
    (folder := store / source).mkdir()
    refused = portkit(*words, str(folder), name, store=store, check=False)
    assert (refused.code, b"--pull missing" in refused.stderr) == (3, True)
    try:
        for pull in ("missing", "always"):
            portkit(*words, str(folder / pull), name, "--pull", pull, store=store)
        wrong = (str(folder), f"{name}x", "--pull", "missing")
        unknown = portkit(*words, *wrong, store=store, check=False)
        assert b"could not pull the image" in unknown.stderr
        # The engine's own words, of Docker 26 and of 28.
        assert b"manifest unknown" in unknown.stderr or b"not found" in unknown.stderr
    finally:
        on(lab, source, f"docker rmi {name}", check=False)


@pytest.mark.parametrize("target", [pytest.param("beta", marks=pytest.mark.campaign), "gamma"])
def test_registry_takes_an_image(lab: Lab, store: Path, target: str) -> None:
    with moved("registry", target, store) as report:
        name, address = "127.0.0.1:5000/pushed:1", lab.address(target)
        held = on(lab, target, "docker images -q portkit/held | head -1").strip()
        for form in report["forms"]:
            assert form["boot"]["url"].endswith(":5000/v2/")
        for form in ("image", "disk"):
            on(lab, target, f"docker tag {held} {name} && docker push -q {name}")
            on(lab, target, f"docker rmi {name} && docker pull -q {name} && docker rmi {name}")
            listed = ask(f"http://{address}:5000/v2/_catalog")
            assert json.loads(listed) == {"repositories": ["pushed"]}
            if form == "image":
                pulled_when_told(lab, target, store, name)
            portkit("stop", report["move"], "--on", f"lab:{target}", store=store)
            if form == "image":
                words = ("start", report["move"], "--on", f"lab:{target}", "--form", "disk")
                portkit(*words, store=store)
                wait_for(f"http://{address}:5000/v2/")
    assert "portkit/held" not in on(lab, target, "docker images")


def test_two_apps_over_one_connection(lab: Lab, store: Path) -> None:
    """What they have in common goes once."""
    without_base(lab, "beta")
    before = ours(lab, "beta")
    told = "docker image inspect -f '{{index .RootFS.Layers 0}}' debian:bookworm-slim"
    base = on(lab, "alpha", told).strip()
    folders = [str(ROOT / "fixtures/apps" / name) for name in ("radicale", "probe")]
    words = ("move", *folders, "--from", "lab:alpha", "--to", "lab:beta", "--form", "image")
    reports = json.loads(portkit(*words, "--output", "json", store=store).text)
    try:
        for report in reports:
            jsonschema.validate(report, SCHEMA)
        assert [report["app"]["name"] for report in reports] == ["radicale", "probe"]
        first, second = (report["forms"][0]["transfer"] for report in reports)
        sizes = [
            {row["digest"]: row["size"] for row in form["blobs"] if row["sent"]}
            for form in (first, second)
        ]
        assert base in sizes[0]
        assert not set(sizes[0]) & set(sizes[1])
        assert second["reused_bytes"] >= sizes[0][base]
        write_event(lab.address("beta"))
        assert b"environment" in ask(f"http://{lab.address('beta')}:8077/")
    finally:
        for report in reports:
            portkit("rm", "--yes", report["move"], "--on", "lab:beta", store=store)
    assert ours(lab, "beta") == before


NO_NUMBER = "    sysctls: {net.ipv4.ip_default_ttl: many}\n"
# A list, whose entries no rule reads.
REFUSED = "    sysctls: {net.ipv4.ip_local_reserved_ports: '70000'}\n"
SOON = "    x-portkit: {health: {timeout: 15s}}\n"


@pytest.mark.parametrize(
    ("form", "lines", "code", "said"),
    [
        ("image", f"    command: ['false']\n{PUBLISHED}", 8, ["exited with code 1"]),
        ("disk", f"    command: ['false']\n{PUBLISHED}", 8, ["exited with code 1", "portkit:"]),
        # The image boots first, while the disk is still on its way.
        ("both", SLEEP + PUBLISHED + SOON, 8, ["did not answer within 15 s"]),
        pytest.param(
            "disk",
            SLEEP + PUBLISHED + SOON,
            8,
            ["did not answer within 15 s", "starting sleep"],
            marks=pytest.mark.campaign,
        ),
        ("both", f"    command: [/no/such]\n{PUBLISHED}", 9, ["/no/such", "not in the image"]),
        ("both", f"{SLEEP}{PUBLISHED}    working_dir: /etc/passwd\n", 9, ["/etc/passwd"]),
        ("both", SLEEP + PUBLISHED + NO_NUMBER, 9, ["'many' is not a number"]),
        # Nobody sees it before the engine does, or the guest.
        ("image", SLEEP + PUBLISHED + REFUSED, 5, ["invalid argument"]),
        pytest.param(
            "disk",
            SLEEP + PUBLISHED + REFUSED,
            8,
            ["portkit:"],
            marks=pytest.mark.campaign,
        ),
        ("image", f"{SLEEP}    ports: ['22:80']\n", 10, ["port 22 is already in use"]),
        ("disk", f"{SLEEP}    ports: ['81:80']\n", 9, ["cannot publish port 81", "sysctl"]),
        ("both", f"{SLEEP}{PUBLISHED}    volumes: ['/srv/e:/e']\n", 9, ["cannot be moved"]),
        ("both", f"{SLEEP}{PUBLISHED}    x-portkit: {{disk: 60m}}\n", 3, ["too small"]),
    ],
)
def test_what_fails_leaves_nothing(
    lab: Lab, store: Path, tmp_path: Path, form: str, lines: str, code: int, said: list[str]
) -> None:
    before = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    folder = write_app(tmp_path / "bad", lines)
    words = ("move", str(folder), "--from", "lab:alpha", "--to", "lab:beta", "--form", form)
    done = portkit(*words, "--progress", "quiet", store=store, check=False)
    assert done.code == code, done.stderr.decode()
    for each in said:
        assert each in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    after = ours(lab, "beta"), on(lab, "beta", "docker images -aq; docker volume ls -q")
    assert after == before


def test_a_running_app_is_refused(lab: Lab, store: Path, tmp_path: Path) -> None:
    folder = write_app(tmp_path / "running", "    command: [sleep, '99']\n    ports: ['8099:80']\n")
    labels = "--label com.docker.compose.project=running --label com.docker.compose.service=bad"
    name = on(lab, "alpha", f"docker run -d {labels} debian:bookworm-slim sleep 600").strip()
    try:
        words = (str(folder), "--from", "lab:alpha")
        said = portkit("check", *words, "--on", "lab:beta", store=store, check=False)
        assert "the App is running on the source" in said.text
        done = portkit("move", *words, "--to", "lab:beta", store=store, check=False)
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
    checked = json.loads(portkit("check", *words, "--on", "lab:beta", store=store).text)
    assert [cell["verdict"] for cell in checked["cells"]] == ["native", "emulated"]
    assert ours(lab, "beta") == before


def test_a_move_costs_what_was_predicted(lab: Lab, store: Path) -> None:
    """Bytes within 10 %, and 100 kB for what is said beside the blobs. The link is what is slow, on
    any machine: its rate decides how well it pays to compress."""
    words = ("fixtures/apps/radicale", "--from", "lab:alpha", "--output", "json")
    without_base(lab, "beta")
    lab_room.shape("beta", "100mbit")
    try:
        done = portkit("move", *words, "--to", "lab:beta", "--dry-run", store=store)
        predicted = [form["predicted"] for form in json.loads(done.text)["forms"]]
        with moved("radicale", "beta", store) as report:
            for foreseen, form in zip(predicted, report["forms"], strict=True):
                sent = form["transfer"]["sent_bytes"]
                assert foreseen["sent_bytes"] == pytest.approx(sent, rel=0.1, abs=100_000)
                assert foreseen["reused_bytes"] == form["transfer"]["reused_bytes"]
    finally:
        lab_room.shape("beta", None)
