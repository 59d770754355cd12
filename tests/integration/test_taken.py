"""A target that has volumes of the names that a running App brings, with data of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.lab import Lab
from tests.integration.commands import ask, on, ours, portkit
from tests.integration.counter import PORT, counter, remove

pytestmark = pytest.mark.lab

NAMES = ("taken-data", "taken-kept", "taken-cloned")
WAYS = ("override", "keep", "clone")
# Content that a copy would not give back exactly: names for one file, holes, times, an attribute.
FILL = """cd "$(docker volume inspect -f '{{.Mountpoint}}' %s)"
echo beta > theirs && ln theirs again
truncate -s 1M holes && ln -s /etc/passwd out && mkdir -m 3770 deep && chown 33:44 deep
touch -d 2001-02-03T04:05:06.789 theirs . && chmod 0751 ."""
# Everything but the time at which an inode was changed, which a rename changes.
SEEN = """cd "$(docker volume inspect -f '{{.Mountpoint}}' %s)" &&
find . -printf '%%p %%i %%m %%U %%G %%s %%b %%n %%T@ %%l\\n' | sort && cat theirs"""


@pytest.fixture
def taken(lab: Lab) -> Iterator[str]:
    volumes = ("-v", "taken-kept:/kept", "-v", "taken-cloned:/cloned")
    counter(lab, "taken", *volumes)
    on(lab, "alpha", "docker exec taken sh -c 'echo alpha | tee /kept/ours > /cloned/ours'")
    for name in NAMES:
        on(lab, "beta", f"docker volume create {name}")
        on(lab, "beta", FILL % name)
    yield "container:taken"
    remove(lab, "taken")
    on(lab, "alpha", f"docker volume rm {' '.join(NAMES)}", check=False)
    label = "docker ps -aq --filter label=portkit.app=taken"
    on(lab, "beta", f"{label} | xargs -r docker rm -f; docker volume rm -f {' '.join(NAMES)}")


def test_the_user_chooses_for_each_volume(lab: Lab, store: Path, taken: str) -> None:
    source, target = (f"http://{lab.address(name)}:{PORT}/" for name in ("alpha", "beta"))
    before = ours(lab, "beta")
    was = [on(lab, "beta", SEEN % name) for name in NAMES]
    words = (taken, "--from", "lab:alpha", "--to", "lab:beta")
    assert ask(source, "POST", b"") == b"1\n"
    refused = portkit("move", *words, store=store, check=False)
    assert refused.code == 10
    assert all(b"=" + way in refused.stderr for way in (b"override", b"clone", b"keep"))
    chosen = [f"--volumes={name}={way}" for name, way in zip(NAMES, WAYS, strict=True)]
    report = json.loads(portkit("move", *words, *chosen, "--output", "json", store=store).text)
    assert ask(target, "POST", b"") == b"2\n", "its own data has come"
    carried = {each["name"] for each in report["cutover"]["volumes"]}
    assert carried == {NAMES[0], NAMES[2]}
    found = [
        row for row in report["forms"][0]["compat"]["findings"] if row["rule"] == "volume-taken"
    ]
    assert [row["severity"] for row in found] == ["warning", "warning"]
    container = on(
        lab, "beta", f"docker ps -q --filter label=portkit.move={report['move']}"
    ).strip()
    seen = on(lab, "beta", f"docker exec {container} sh -c 'ls /data /kept; cat /cloned/ours'")
    assert seen.split() == [
        "/data:",
        "count",
        "/kept:",
        "again",
        "deep",
        "holes",
        "out",
        "theirs",
        "alpha",
    ]
    assert on(lab, "beta", SEEN % NAMES[2]) == was[2], "nobody touched it"
    left = portkit("forget", report["move"], store=store).text
    assert "what volume taken-data had before the Move: " in left
    assert "volume taken-kept (its data exists nowhere else" in left
    # A container of somebody's that uses the volume meanwhile is not put on other data.
    user = "docker run -d --rm -v taken-data:/x --entrypoint sleep"
    image = on(lab, "beta", f"docker inspect -f '{{{{.Image}}}}' {container}").strip()
    theirs = on(lab, "beta", f"{user} {image} 600").strip()
    back = ("rollback", report["move"], "--discard-writes")
    in_use = portkit(*back, store=store, check=False)
    assert in_use.code == 10, in_use.stderr
    assert b"in use" in in_use.stderr
    assert ask(source, "POST", b"") == b"2\n", "it runs at its source all the same"
    # What somebody has mounted in it is theirs.
    photos = "/var/lib/docker/volumes/taken-data/_data/photos"
    bound = f"mkdir -p /srv/photos {photos} && touch /srv/photos/one && mount --bind /srv/photos"
    on(lab, "beta", f"docker rm -f {theirs}; {bound} {photos}")
    mounted = portkit(*back, store=store, check=False)
    on(lab, "beta", f"umount {photos}")
    assert (mounted.code, f"umount {photos}" in mounted.stderr.decode()) == (10, True)
    assert on(lab, "beta", "ls /srv/photos; rm -r /srv/photos") == "one\n"
    portkit(*back, store=store)
    assert [on(lab, "beta", SEEN % name) for name in NAMES] == was, (
        "byte by byte, and inode by inode"
    )
    # Of the image that the container above was made from, the name is left.
    portkit("gc", "--on", "lab:beta", "--all", store=store)
    assert ours(lab, "beta") == before


def test_what_was_replaced_stays_until_it_is_forgotten(lab: Lab, store: Path, taken: str) -> None:
    target = f"http://{lab.address('beta')}:{PORT}/"
    words = (taken, "--from", "lab:alpha", "--to", "lab:beta", "--volumes", "override")
    report = json.loads(portkit("move", *words, "--output", "json", store=store).text)
    assert ask(target, "POST", b"") == b"1\n"
    folders = "ls -d $(docker volume inspect -f '{{.Mountpoint}}' taken-data)/../portkit-*"
    assert "portkit-was-" in on(lab, "beta", folders)
    portkit("forget", report["move"], "--delete", store=store)
    assert on(lab, "beta", folders, check=False) == ""
    portkit("rm", "--yes", report["move"], "--on", "lab:beta", store=store)
    assert on(lab, "beta", SEEN.replace("theirs", "count") % NAMES[0]), "the App's data stays"


def test_there_and_back_the_volume_is_the_app_s_again(lab: Lab, store: Path, taken: str) -> None:
    """The old container still has it, and nothing else would keep it from being deleted."""
    source, target = (f"http://{lab.address(name)}:{PORT}/" for name in ("alpha", "beta"))
    words = ("--volumes", "override", "--output", "json")
    told = portkit("move", taken, "--from", "lab:alpha", "--to", "lab:beta", *words, store=store)
    there = json.loads(told.text)["move"]
    assert ask(target, "POST", b"") == b"1\n"
    moved = on(lab, "beta", f"docker ps -q --filter label=portkit.move={there}").strip()
    ends = ("--from", "lab:beta", "--to", "lab:alpha")
    told = portkit("move", f"container:{moved}", *ends, *words, store=store)
    back = json.loads(told.text)["move"]
    assert ask(source, "POST", b"") == b"2\n"
    left = portkit("forget", there, store=store).text
    assert f"volume taken-data (the App uses it again, since Move {back}; portkit does not" in left
    portkit("forget", there, "--delete", store=store)
    assert on(lab, "alpha", "docker ps -aq --filter 'name=^/?taken$'") == ""
    assert ask(source, "POST", b"") == b"3\n", "it goes on with its data"
    refused = portkit("forget", back, "--keep", store=store, check=False)
    assert refused.code == 10, refused.stderr
    said = portkit("rm", back, "--data", "--yes", "--on", "lab:alpha", store=store).text
    assert "volume taken-data stays, because the host had it before" in said
    portkit("forget", back, "--delete", store=store)
    folder = "$(docker volume inspect -f '{{.Mountpoint}}' taken-data)"
    assert on(lab, "alpha", f"cat {folder}/count; echo; ls {folder}/..").split() == ["3", "_data"]
    assert on(lab, "beta", f"docker ps -aq --filter id={moved}") == ""


def test_data_that_a_copy_would_not_take_along(lab: Lab, store: Path) -> None:
    """What others write, what is mounted below, what is stored elsewhere: all is told before."""
    folder, disk = "/srv/lab-app", "docker volume create -o type=tmpfs -o device=tmpfs lab-disk"
    on(lab, "alpha", f"mkdir -p {folder}/in; mount -t tmpfs none {folder}/in; {disk}")
    on(lab, "beta", disk)
    counter(lab, "laden", "-v", f"{folder}:/files", "-v", "lab-disk:/disk")
    other = f"-v {folder}/in:/in debian:bookworm-slim sleep infinity"
    on(lab, "alpha", f"docker run -d --name writer {other}")
    words = ["move", "container:laden", "--from", "lab:alpha", "--to", "lab:beta", "--dry-run"]
    words += ["--carry", folder]
    try:
        refused = portkit(*words, store=store, check=False)
        said = refused.text
        assert refused.code == 9, said
        assert f"other running containers use the folder {folder} too" in said
        assert f"what is mounted below the folder {folder} would stay behind: {folder}/in" in said
        assert "the data of the volume lab-disk is not stored on the host" in said
        on(lab, "alpha", f"docker rm -f writer; umount -l {folder}/in")
        portkit(*words, "--volumes", "lab-disk=keep", store=store)
    finally:
        on(lab, "alpha", f"docker rm -f writer; umount -l {folder}/in", check=False)
        remove(lab, "laden")
        gone = f"docker volume rm lab-disk; rm -r {folder}"
        on(lab, "alpha", gone, check=False)
        on(lab, "beta", gone, check=False)
