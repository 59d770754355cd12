"""One App in both Forms: the probe tells what its process sees, field by field."""

import contextlib
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portkit.lab import Lab
from tests.integration.commands import ROOT, ask, moved, portkit, wait_for

pytestmark = pytest.mark.lab
PROBE = ROOT / "fixtures/apps/probe"
# What a mount allows; the rest of its options belong to the file system behind it.
FLAGS = {"ro", "rw", "nosuid", "nodev", "noexec", "relatime", "noatime"}
# File systems of the kernel's: they have no source, so that their own options count too.
VIRTUAL = {"proc", "sysfs", "devpts", "mqueue", "tmpfs"}
# Where options of the file system itself are this kernel's: it says inode64, an older one not.
# The mode that a tmpfs was mounted with says little: runc 1.1.5 changes it afterwards. The probe
# looks at the folder itself.
NOT_TOLD = {"inode64", "size=0k", "mode=750", "mode=751"}
# Files of the run: what is behind them is the engine's.
GIVEN = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}


def mounts(rows: list[list[str]]) -> dict[str, tuple[str, frozenset[str]]]:
    """Place -> kind of file system and options, without the source and what is the source's."""
    found = {}
    for _, place, kind, options, *_ in rows:
        words = set(options.split(",")) - NOT_TOLD
        if kind not in VIRTUAL or place in GIVEN:
            kind, words = "stored", words & FLAGS
        if place.startswith(("/proc/", "/sys/")):
            words &= FLAGS  # of what hides a file, another version of runc says more
        if not place.startswith("/sys/fs/cgroup"):
            found[place] = (kind, frozenset(words))
    return found


def hosts(text: str, own: str) -> list[tuple[str, list[str]]]:
    """The rows of /etc/hosts; the Instance's own address is its network's."""
    rows = []
    for row in text.splitlines():
        address, *names = row.split()
        told = "own" if names == [own] else str(ipaddress.ip_address(address))
        rows.append((told, names))
    return rows


def same(answer: dict[str, Any], both: set[str]) -> dict[str, Any]:
    """An answer without what may differ (docs/differences.md). both: places mounted in both."""
    told = dict(answer)
    assert told.pop("kernel")
    told.pop("cgroup")  # the host's may be another version
    assert told.pop("resolv.conf").count("nameserver") >= 1
    told["hosts"] = hosts(told["hosts"], told["hostname"])
    # Signals 32 and 33 belong to the C library; Docker 20.10 leaves 32 ignored.
    told["status"] = {**told["status"], "SigIgn": int(told["status"]["SigIgn"], 16) & ~(3 << 31)}
    # Which files the kernel has there to be hidden or made read-only is the kernel's.
    places = mounts(told["mounts"]).items()
    told["mounts"] = {
        place: row
        for place, row in places
        if place in both or not place.startswith(("/proc/", "/sys/"))
    }
    told["devices"] = {name: row for name, row in told["devices"].items() if name != "core"}
    told["top"] = [name for name in told["top"] if name != ".dockerenv"]
    # An engine that fills a volume sets a folder's time before it puts something in it. Layers
    # carry whole seconds; the engine that built an image still has the fractions.
    told["volume"] = {
        path: [*row[:5], None if row[0].startswith("d") else row[5] // 10**6, row[6]]
        for path, row in told["volume"].items()
    }
    return told


def answers(file: Path, target: str, store: Path, code: int) -> tuple[dict[str, Any], ...]:
    """What the probe answers as image and as disk; stopped, each tells its exit code.

    Each is moved alone: with both, the container would have been started a second time, and runc
    gives a tmpfs another mode then (docs/differences.md)."""
    here, found = ("--on", f"lab:{target}"), []
    for form in ("image", "disk"):
        with moved(file, target, store, "--form", form) as report:
            move = report["move"]
            found.append(json.loads(ask(report["forms"][0]["boot"]["url"])))
            stopped = portkit("stop", move, *here, "--form", form, store=store)
            assert f"exited with code {code}" in stopped.text, form
            logged = portkit("logs", move, *here, "--form", form, store=store).text
            assert "\nfinished" in logged, form
    return tuple(found)


def asked_for(told: dict[str, Any]) -> None:
    """Both the same is not enough: they could be wrong alike."""
    environment = dict(row.split("=", 1) for row in told["environment"])
    assert told["argv"][-4:] == ["--words", "two  words", "", "$HOME"]
    assert (environment["OVER"], environment["FROM_IMAGE"]) == ("service", "1")
    assert (environment["SPACES"], environment["EMPTY"]) == (" a  b ", "")
    assert (environment["HOME"], environment["HOSTNAME"]) == ("/srv/probe", "probe-host")
    assert told["cwd"] == "/srv/probe/made/deep"
    assert told["uid"] == told["gid"] == [3000] * 3
    assert told["groups"] == [29, 3000, 3001, 3002, 4321]
    assert (told["umask"], told["hostname"]) == ("0o22", "probe-host")
    assert told["limits"]["RLIMIT_NOFILE"] == [1000, 2000]
    assert told["limits"]["RLIMIT_STACK"] == [16 << 20] * 2
    bounding = int(told["status"]["CapBnd"], 16)
    wanted = {12: True, 25: True, 27: False, 13: False}  # NET_ADMIN, SYS_TIME, MKNOD, NET_RAW
    assert {number: bool(bounding >> number & 1) for number in wanted} == wanted
    assert int(told["status"]["CapEff"], 16) == 0
    assert told["volume"]["'/srv/probe/data/one'"][3:6] == [4, 2, 1_000_000_000_000_000]
    assert told["volume"]["'/srv/probe/data/tool'"][:3] == ["-rwsr-s--x", 1234, 4321]
    assert "security.capability" in told["volume"]["'/srv/probe/data/able'"][6]
    assert told["tmpfs"] == {"/scratch": "0o41777", "/srv/probe/temporary": "0o40750"}


def of_two(told: dict[str, Any]) -> dict[str, Any]:
    """What one of two services answers. An engine's name server knows the other's names, the VM's
    /etc/hosts has them: what counts is whom each name leads to."""
    found, names = dict(told), told["names"]
    elsewhere = set(names) - {told["hostname"]}
    lines = [line.split() for line in told["hosts"].splitlines()]
    kept = [[word for word in line if word not in elsewhere] for line in lines]
    found["hosts"] = "\n".join(" ".join(line) for line in kept if len(line) > 1)
    where = {tuple(addresses): who for addresses, who in names.values() if addresses}
    assert len(where) == len(set(where.values())), "two addresses lead to one service"
    # A healthcheck may be at work beside it.
    found["processes"] = [number for number in told["processes"] if number == "1"]
    # The folder was made with the container, or with the disk.
    found["secrets"] = {path: row[:5] for path, row in told["secrets"].items()}
    found["names"] = {name: (len(addresses), who) for name, (addresses, who) in names.items()}
    return found


def begins_empty(url: str) -> None:
    """A service that ends is started again, and finds nothing of what it left in memory."""
    with contextlib.suppress(OSError):  # it ends without an answer
        ask(f"{url}end")
    wait_for(url)
    told = json.loads(ask(url))
    assert told["memory"] == {"/scratch": [], "/dev/shm": []}


def answers_of_two(lab: Lab, target: str, store: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """What each of the two services answers, as image and as disk."""
    here = ("--on", f"lab:{target}")
    for form in ("image", "disk"):
        with moved(PROBE / "pair.yaml", target, store, "--form", form) as report:
            address, move = lab.address(target), report["move"]
            yield {
                "one": json.loads(ask(f"http://{address}:8077/")),
                "two": json.loads(ask(f"http://{address}:8078/")),
            }
            begins_empty(f"http://{address}:8078/")
            portkit("stop", move, *here, "--form", form, store=store)
            (row,) = json.loads(portkit("ps", *here, "--output", "json", store=store).text)
            codes = {each["name"]: each["exit_code"] for each in row["services"]}
            assert codes == {"one": 5, "two": 6}, form
            for service in codes:
                logged = portkit("logs", move, service, *here, "--form", form, store=store).text
                assert "finished" in logged, (form, service)


LIMITS = {"memory.max": "max", "memory.low": "0", "pids.max": "max", "cpu.max": "max 100000"}


def asked_of_two(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Both the same is not enough: they could be wrong alike."""
    assert (one["hostname"], one["uid"], two["uid"]) == ("one-host", [3000] * 3, [3000] * 3)
    assert one["names"] == {
        "one": (1, "one-host"),
        "uno": (1, "one-host"),
        "one-host": (1, "one-host"),
        "two": (1, two["hostname"]),
        "dos": (1, two["hostname"]),
        "second": (1, two["hostname"]),
    }
    assert one["cgroup"] == {**LIMITS, "memory.max": str(64 << 20), "pids.max": "50"}
    assert two["cgroup"] == {**LIMITS, "cpu.max": "50000 100000"}
    assert (one["status"]["NoNewPrivs"], two["status"]["NoNewPrivs"]) == ("0", "1")
    assert one["secrets"]["'/run/secrets/word'"][1:4] == [0, 0, 16]


@pytest.mark.parametrize("target", [pytest.param("beta", marks=pytest.mark.campaign), "gamma"])
def test_two_services_of_one_app_see_the_same(lab: Lab, store: Path, target: str) -> None:
    image, disk = answers_of_two(lab, target, store)
    for service in ("one", "two"):
        assert set(image[service]) == set(disk[service])
        both = set(mounts(image[service]["mounts"])) & set(mounts(disk[service]["mounts"]))
        ours, theirs = (same(of_two(told[service]), both) for told in (disk, image))
        for field in theirs:
            assert ours[field] == theirs[field], (service, field)
    asked_of_two(of_two(disk["one"]), of_two(disk["two"]))


@pytest.mark.parametrize(
    ("file", "target", "code"),
    [
        pytest.param("compose.yaml", "beta", 42, marks=pytest.mark.campaign),
        pytest.param("compose.yaml", "gamma", 42, marks=pytest.mark.campaign),
        ("compose.yaml", "alpha", 42),
        ("root.yaml", "beta", 7),
    ],
)
def test_both_forms_see_the_same(lab: Lab, store: Path, file: str, target: str, code: int) -> None:
    image, disk = answers(PROBE / file, target, store, code)
    assert set(image) == set(disk)
    both = set(mounts(image["mounts"])) & set(mounts(disk["mounts"]))
    ours, theirs = same(disk, both), same(image, both)
    for field in theirs:
        assert ours[field] == theirs[field], field
    assert image["pid"] == 1
    assert image["processes"] == ["1"]
    if file == "compose.yaml":
        asked_for(disk)
