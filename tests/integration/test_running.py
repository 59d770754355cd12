"""Apps that run change their host with their data, between real hosts, and come back."""

import json
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest

from bench.decoys import beside
from portkit import lab as lab_room
from portkit import process
from portkit.lab import Lab
from tests.integration import clients
from tests.integration.commands import (
    PORTKIT,
    ROOT,
    SCHEMA,
    ask,
    moved,
    on,
    ours,
    portkit,
    services,
    told,
    wait_for,
)
from tests.integration.counter import PORT, SERVER, counter, remove

pytestmark = pytest.mark.lab
VOLUMES = "docker volume ls --format '{{.Name}}'"


def state_of(lab: Lab, host: str, container: str) -> str:
    shown = "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}"
    return on(lab, host, f"docker inspect -f '{shown}' {container}").strip()


def newest(store: Path) -> dict[str, Any]:
    rows = json.loads(portkit("moves", "--all", "--output", "json", store=store).text)
    assert isinstance(rows[0], dict)
    return rows[0]


def records(lab: Lab, host: str) -> list[dict[str, Any]]:
    """What Kinto has in its database."""
    books = f"http://{lab.address(host)}:8087/v1/buckets/shelf/collections/books/records"
    return cast(list[dict[str, Any]], json.loads(ask(books, **clients.ME))["data"])


@pytest.fixture
def counted(lab: Lab) -> Iterator[str]:
    counter(lab, "counted", "-e", "SECRET=hush")
    with beside("counted", "counted-data"):
        yield "counted"
    remove(lab, "counted")


def test_a_database_and_its_server(lab: Lab, store: Path) -> None:
    """From where portkit put it, to a host with another image store; and back, with a rollback."""
    before = ours(lab, "gamma")
    with moved("kinto", "beta", store, "--form", "image") as first:
        check = clients.kinto(lab.address("beta"))
        words = ("--from", "lab:beta", "--to", "lab:gamma", "--output", "json")
        folder = f"project:{ROOT / 'fixtures/apps/kinto'}"  # which stands for its name
        report = json.loads(portkit("move", folder, *words, store=store).text)
        jsonschema.validate(report, SCHEMA)
        (volume,) = report["cutover"]["volumes"]
        assert volume["bytes"] > 20_000_000
        assert volume["last_sent_bytes"] < volume["sent_bytes"]
        timeline = report["cutover"]["timeline"]
        assert 0 < timeline["downtime_s"] < 120
        assert timeline["both_answered"] == []
        clients.kinto(lab.address("gamma"))  # it also adds to what is there
        assert len(records(lab, "gamma")) == 2
        assert "running" not in services("beta", first["move"], "image", store).values()
        refused = portkit("rollback", report["move"], store=store, check=False)
        assert refused.code == 10
        assert b"--discard-writes" in refused.stderr
        portkit("rollback", report["move"], "--discard-writes", store=store)
        wait_for(f"http://{lab.address('beta')}:8087/v1/__heartbeat__", 120)
        check()
    assert ours(lab, "gamma") == before


def test_a_database_goes_into_a_vm_and_comes_out_of_it(lab: Lab, store: Path) -> None:
    """As a project, by its name, which leaves nothing where it was; and back from the VM's disk,
    with owners and revisions."""

    def go(what: str, source: str, target: str, form: str) -> str:
        words = ("--from", f"lab:{source}", "--to", f"lab:{target}", "--form", form)
        report = json.loads(portkit("move", what, *words, "--output", "json", store=store).text)
        made.append((target, report["move"]))
        return str(report["move"])

    def left(host: str) -> str:
        return on(lab, host, "docker ps -aq; docker volume ls -q; docker network ls -q")

    made: list[tuple[str, str]] = []
    before = left("beta")
    owners = "find /var/lib/docker/volumes/kinto_data/_data -printf '%U %m %y\\n' | sort -u"
    try:
        go(str(ROOT / "fixtures/apps/kinto"), "alpha", "beta", "image")
        clients.kinto(lab.address("beta"))
        known, owned = records(lab, "beta"), on(lab, "beta", owners)
        away = go("project:kinto", "beta", "gamma", "disk")
        assert records(lab, "gamma") == known
        clients.kinto(lab.address("gamma"))  # it also adds to what is there
        known = records(lab, "gamma")
        assert len(known) == 2
        portkit("forget", away, "--delete", store=store)
        assert left("beta") == before
        go("vm:kinto", "gamma", "beta", "image")
        assert records(lab, "beta") == known
        assert on(lab, "beta", owners) == owned
    finally:
        for host, move in made:
            there = ("--yes", "--data", move, "--on", f"lab:{host}")
            portkit("rm", *there, store=store, check=False)


def test_one_that_fails_on_the_target_runs_at_its_source_again(lab: Lab, store: Path) -> None:
    before = ours(lab, "beta")
    counter(lab, "failing", "-e", "FAILS=beta")
    source = f"http://{lab.address('alpha')}:{PORT}/"
    try:
        assert ask(source, "POST", b"") == b"1\n"
        words = ("container:failing", "--from", "lab:alpha", "--to", "lab:beta")
        words += ("--health", "timeout=5s")  # so long it is started again and again
        failed = portkit("move", *words, store=store, check=False)
        assert failed.code == 8, failed.stderr
        assert b"exited with code 3" in failed.stderr
        assert b"the App answers at its source again; no host answered for" in failed.stderr
        assert ask(source, "POST", b"") == b"2\n"
        assert state_of(lab, "alpha", "failing") == "running always"
        entry = newest(store)
        assert entry["state"] == "waiting"
        # What has arrived is used again, and the next try ends as the first did.
        again = portkit("cutover", entry["id"], store=store, check=False)
        assert again.code == 8, again.stderr
        assert ask(source, "POST", b"") == b"3\n"
        portkit("rollback", entry["id"], store=store)
        assert ask(source, "POST", b"") == b"4\n"
    finally:
        remove(lab, "failing")
    assert ours(lab, "beta") == before


def test_it_waits_until_it_is_told(lab: Lab, store: Path, counted: str) -> None:
    """The data keeps up, whatever is written; what was written into the image goes along."""
    source, target = (f"http://{lab.address(name)}:{PORT}/" for name in ("alpha", "beta"))
    on(lab, "alpha", f"docker exec {counted} sh -c 'echo mine > /etc/mine; rm /etc/issue'")
    words = [PORTKIT, "move", f"container:{counted}", "--from", "lab:alpha", "--to", "lab:beta"]
    words += ["--hold", "--confirm", "--output", "json"]
    with process.popen(words, env=told(store)) as moving:
        assert moving.stderr is not None
        said = b""
        while b"a cutover now" not in said:
            said = moving.stderr.readline()
            assert said, "it ended"
        identity = newest(store)["id"]
        on(lab, "alpha", f"docker exec {counted} dd if=/dev/urandom of=/opt/big bs=1M count=40")
        # It is brought while the App runs, so a cutover costs little more than before.
        held = "docker images -q portkit/held | sort -u | wc -l"
        images = int(on(lab, "beta", held))
        deadline = time.monotonic() + 120
        while int(on(lab, "beta", held)) == images:
            assert time.monotonic() < deadline, "nothing came"
            time.sleep(1.0)
        on(lab, "alpha", f"docker exec {counted} touch /opt/late")
        for number in range(1, 6):
            assert ask(source, "POST", b"") == b"%d\n" % number
        portkit("cutover", identity, store=store)
        assert ask(target, "POST", b"") == b"6\n", "every write is there"
        assert state_of(lab, "alpha", counted) == "exited no"
        portkit("commit", identity, store=store)
        out, said = moving.communicate(timeout=300)
        assert moving.returncode == 0, said
    report = json.loads(out)
    assert report["cutover"]["timeline"]["both_answered"] == []
    kept = int(on(lab, "beta", held))
    assert kept <= images + 1, "what was replaced is gone"
    container = on(lab, "beta", f"docker ps -q --filter label=portkit.move={identity}").strip()
    assert state_of(lab, "beta", container) == "running always"
    seen = on(
        lab, "beta", f"docker exec {container} sh -c 'cat /etc/mine; ls /etc/issue'", check=False
    )
    assert seen == "mine\n"
    assert on(lab, "beta", f"docker exec {container} printenv SECRET") == "hush\n"
    assert "counted-data" in on(lab, "beta", VOLUMES).split()
    # A host that is restarted starts only the one that was committed.
    on(lab, "beta", f"docker stop {container}")
    left = portkit("forget", identity, store=store).text
    assert "volume counted-data" in left
    portkit("rm", "--yes", identity, "--on", "lab:beta", store=store)
    assert "counted-data" in on(lab, "beta", VOLUMES).split(), "data stays"
    on(lab, "beta", "docker volume rm counted-data")
    refused = portkit("forget", identity, "--delete", store=store, check=False)
    assert b"may be the last copy" in refused.stderr
    assert counted in on(lab, "alpha", "docker ps -a --format '{{.Names}}'").split()
    portkit("forget", identity, "--delete", "--last-copy", store=store)
    assert counted not in on(lab, "alpha", "docker ps -a --format '{{.Names}}'").split()


def waiting_for(pause: str, store: Path, counted: str) -> str:
    """A Move to beta that waits, and whose process has ended. pause: cutover or commit."""
    words = [PORTKIT, "move", f"container:{counted}", "--from", "lab:alpha", "--to", "lab:beta"]
    option = {"cutover": "--hold", "commit": "--confirm"}[pause]
    with process.popen([*words, option], env=told(store)) as moving:
        assert moving.stderr is not None
        said = b""
        while b": portkit " + pause.encode() not in said:
            said = moving.stderr.readline()
            assert said, "it ended"
        moving.send_signal(signal.SIGINT)
        moving.communicate(timeout=300)
    return str(newest(store)["id"])


@pytest.fixture
def exposed(lab: Lab) -> Iterator[str]:
    """A container whose port the engine has chosen; something else answers at port 80 there."""
    for name, publish in (("proxy", ["-p", "80:80"]), ("exposed", ["-P", "--expose", "80"])):
        words = ["docker", "run", "-d", "--name", name, "-v", f"{name}-data:/data", *publish]
        on(lab, "alpha", shlex.join([*words, "debian:bookworm-slim", "perl", "-e", SERVER]))
    yield "exposed"
    for name in ("proxy", "exposed"):
        remove(lab, name)


def test_a_port_that_the_engine_chose(lab: Lab, store: Path, exposed: str) -> None:
    """The source is asked there, and a process that goes on reads the same App while it is
    stopped."""
    chosen = on(lab, "alpha", f"docker port {exposed} 80/tcp").split()[0].rpartition(":")[2]
    assert ask(f"http://{lab.address('alpha')}:{chosen}/", "POST", b"") == b"1\n"
    move = waiting_for("commit", store, exposed)
    portkit("commit", move, store=store)
    assert ask(f"http://{lab.address('beta')}:80/", "POST", b"") == b"2\n"
    portkit("rm", "--yes", "--data", move, "--on", "lab:beta", store=store)
    on(lab, "alpha", f"docker start {exposed}")
    words = ("move", f"container:{exposed}", "--from", "lab:alpha", "--to", "lab:beta")
    report = json.loads(portkit(*words, "--output", "json", store=store).text)
    timeline = report["cutover"]["timeline"]
    assert timeline["both_answered"] == [], "the proxy answers all the time"
    assert 0 < timeline["downtime_s"] < 120
    portkit("rm", "--yes", "--data", report["move"], "--on", "lab:beta", store=store)


def test_a_source_that_is_lost_before_the_commit(lab: Lab, store: Path, counted: str) -> None:
    """The user decides that the target keeps the App without it; and it comes back after all."""
    move = waiting_for("commit", store, counted)
    lab_room.cut("alpha")
    try:
        failed = portkit("commit", move, store=store, check=False)
        assert failed.code != 0
        assert f"portkit commit {move} --unverified" in failed.stderr.decode()
        done = portkit("commit", move, "--unverified", store=store)
        assert b"lab:alpha cannot be reached" in done.stderr
    finally:
        lab_room.mend("alpha")
    assert newest(store)["state"] == "done"
    container = on(lab, "beta", f"docker ps -q --filter label=portkit.move={move}").strip()
    assert state_of(lab, "beta", container) == "running always"
    assert state_of(lab, "alpha", counted) == "exited no"
    markers = "ls /var/lib/portkit/moves"
    assert f"{move}.json" in on(lab, "alpha", markers).split()
    portkit("forget", move, "--delete", store=store)
    assert f"{move}.json" not in on(lab, "alpha", markers).split()
    assert counted not in on(lab, "alpha", "docker ps -a --format '{{.Names}}'").split()
    portkit("rm", "--yes", "--data", move, "--on", "lab:beta", store=store)


def test_a_target_that_is_lost_before_the_commit(lab: Lab, store: Path, counted: str) -> None:
    """The user vouches that it runs nothing; and it comes back after all."""
    before = ours(lab, "beta")
    move = waiting_for("commit", store, counted)
    back = ("rollback", move, "--without-target", "--discard-writes")
    refused = portkit(*back, store=store, check=False)
    assert b"lab:beta can be reached" in refused.stderr
    assert state_of(lab, "alpha", counted) == "exited no"
    lab_room.cut("beta")
    try:
        failed = portkit("rollback", move, "--discard-writes", store=store, check=False)
        assert f"portkit rollback {move} --without-target" in failed.stderr.decode()
        assert state_of(lab, "alpha", counted) == "exited no"
        portkit(*back, store=store)
        assert ask(f"http://{lab.address('alpha')}:{PORT}/", "POST", b"") == b"1\n"
        assert state_of(lab, "alpha", counted) == "running always"
        assert f"{move}.json" not in on(lab, "alpha", "ls /var/lib/portkit/moves").split()
    finally:
        lab_room.mend("beta")
    assert newest(store)["state"] == "rolled back"
    container = on(lab, "beta", f"docker ps -aq --filter label=portkit.move={move}").strip()
    assert state_of(lab, "beta", container) == "running no", "what the user has to rule out"
    portkit("rollback", move, "--on", "lab:beta", "--discard-writes", store=store)
    assert ours(lab, "beta") == before


def test_a_source_that_is_lost_before_the_cutover(lab: Lab, store: Path, counted: str) -> None:
    """What has come of its data is not removed unasked; and it comes back after all."""
    before = ours(lab, "beta")
    move = waiting_for("cutover", store, counted)
    back = ("rollback", move, "--without-source")
    lab_room.cut("alpha")
    try:
        failed = portkit("rollback", move, store=store, check=False)
        assert f"portkit rollback {move} --without-source" in failed.stderr.decode()
        refused = portkit(*back, store=store, check=False)
        assert b"may have the only copy" in refused.stderr
        assert ours(lab, "beta") != before
        portkit(*back, "--discard-writes", store=store)
        assert ours(lab, "beta") == before
    finally:
        lab_room.mend("alpha")
    refused = portkit("forget", move, store=store, check=False)
    assert f"portkit rollback {move} --on lab:alpha" in refused.stderr.decode()
    portkit("rollback", move, "--on", "lab:alpha", store=store)
    assert state_of(lab, "alpha", counted) == "running always"
    portkit("forget", move, store=store)


def test_a_commit_relieves_who_waits_and_needs_no_image(
    lab: Lab, counted: str, tmp_path: Path
) -> None:
    words = [PORTKIT, "move", f"container:{counted}", "--from", "lab:alpha", "--to", "lab:beta"]
    with process.popen([*words, "--confirm"], env=told(tmp_path)) as moving:
        assert moving.stderr is not None
        said = b""
        while b"to keep it there: portkit commit" not in said:
            said = moving.stderr.readline()
            assert said, "it ended"
        shutil.rmtree(tmp_path)
        move = newest(tmp_path)["id"]
        done = portkit("commit", move, "--unverified", store=tmp_path)
        assert b"the image of this Move no longer exists here" in done.stderr
        _, said = moving.communicate(timeout=60)
        assert b"another portkit takes this Move over" in said
    assert newest(tmp_path)["state"] == "done"
    container = on(lab, "beta", f"docker ps -q --filter label=portkit.move={move}").strip()
    assert state_of(lab, "beta", container) == "running always"
    portkit("forget", move, "--delete", store=tmp_path)
    portkit("rm", "--yes", "--data", move, "--on", "lab:beta", store=tmp_path)


def test_a_dry_run_changes_nothing_and_the_move_is_compared_with_what_it_predicted(
    lab: Lab, store: Path, counted: str
) -> None:
    target = ours(lab, "beta")
    on(lab, "alpha", f"docker exec {counted} sh -c 'head -c 20000000 /dev/urandom > /data/more'")
    folder = on(lab, "alpha", "docker volume inspect -f '{{.Mountpoint}}' counted-data").strip()
    listing = f"find {folder} /var/lib/portkit -printf '%p %s %C@ %i\\n' | sort; docker ps -aq; "
    listing += f"find {folder} -type f -printf '%A@\\n'"  # looking at a folder changes its own
    source = on(lab, "alpha", listing)
    words = ("move", f"container:{counted}", "--from", "lab:alpha", "--to", "lab:beta")
    planned = json.loads(portkit(*words, "--dry-run", "--output", "json", store=store).text)
    jsonschema.validate(planned, SCHEMA)
    assert on(lab, "alpha", listing) == source
    assert ours(lab, "beta") == target
    predicted = {each["what"]: each for each in planned["predictions"]}
    assert predicted["data: content of the first pass"]["predicted"] >= 20_000_000
    assert predicted["downtime"]["predicted"] > 0
    assert all(each["measured"] is None for each in predicted.values())
    report = json.loads(portkit(*words, "--output", "json", store=store).text)
    try:
        jsonschema.validate(report, SCHEMA)
        made = {each["what"]: each for each in report["predictions"]}
        assert set(predicted) <= set(made)
        for what in ("content of the first pass", "sent in the first pass"):
            assert abs(made[f"data: {what}"]["error_percent"]) < 15, made
        downtime = report["cutover"]["timeline"]["downtime_s"]
        assert made["downtime"]["measured"] == pytest.approx(downtime, abs=0.001)
        parts = [each["predicted"] for name, each in made.items() if name.startswith("downtime: ")]
        assert made["downtime"]["predicted"] == pytest.approx(sum(parts), abs=0.01)
    finally:
        portkit("rollback", report["move"], "--discard-writes", store=store)
