"""Clients follow an App that moves: commands after the commit, and what a rollback tells them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.lab import Lab
from tests.integration.commands import ask, on, ours, portkit, wait_for
from tests.integration.counter import PORT, counter, remove

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture
def source(lab: Lab) -> Iterator[str]:
    """Where the App is asked on alpha, where a user has started it, with labels of what is to run
    in it before it is stopped, and where it runs next."""
    says = {
        "quiesce.before": "cp /data/count /data/dump",
        "quiesce.after": 'test -e /data/dump && echo "went on" >> /data/after',
        "health.path": "/ready",
        "health.settle": "1s",
    }
    told = [word for key, text in says.items() for word in ("--label", f"x-portkit.{key}={text}")]
    counter(lab, "follow", "-e", "SECRET=hush", *told)
    yield f"http://{lab.address('alpha')}:{PORT}/"
    remove(lab, "follow")


def test_commands_after_the_commit(
    lab: Lab, store: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One asks the App where it is told that it is; the other fails until its cause is gone."""
    before = ours(lab, "beta")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dns.sh").write_text(
        "#!/bin/sh -e\n"
        'env > "dns-$PORTKIT_EVENT"\n'
        'if [ "$PORTKIT_EVENT" = commit ]; then\n'
        "  python3 -c 'import sys, urllib.request as u;"
        ' print(u.urlopen(sys.argv[1]).read())\' "$PORTKIT_URL"; fi\n'
    )
    (tmp_path / "dns.sh").chmod(0o755)
    balancer = (
        'echo "$PORTKIT_EVENT" >> balancer; test -e fixed || { echo its key is gone; exit 9; }'
    )
    assert ask(source, "POST", b"") == b"1\n"
    words = ["container:follow", "--from", "lab:alpha", "--to", "lab:beta", "--output", "json"]
    words += ["--forward", "--after-commit", "./dns.sh", "--after-commit", balancer]
    done = portkit("move", *words, store=store, check=False)
    assert done.code == 15, done.stderr
    assert b"its key is gone" in done.stderr
    report = json.loads(done.stdout)
    (note,) = (
        each for each in report["forms"][0]["compat"]["findings"] if each["rule"] == "after-commit"
    )
    assert "hook 2" in note["message"]
    assert report["cutover"]["timeline"]["downtime_s"] > 0
    names = [phase["name"] for phase in report["forms"][0]["phases"]]
    order = ("fence", "quiesce", "last sync", "boot image", "unquiesce", "forward", "hook 1")
    places = list(map(names.index, order))
    assert places == sorted(places)
    assert report["forms"][0]["boot"]["url"].endswith("/ready")
    made = on(lab, "beta", f"docker ps -q --filter label=portkit.move={report['move']}").strip()
    kept = on(lab, "beta", f"docker exec {made} cat /data/dump /data/after")
    assert kept == "1went on\n", "the last write before the stop, and once on the target"
    target = f"http://{lab.address('beta')}:{PORT}/"
    assert ask(target, "POST", b"") == b"2\n", "it stays where it is"
    told = dict(row.split("=", 1) for row in (tmp_path / "dns-commit").read_text().splitlines())
    assert told["PORTKIT_URL"] == target + "ready"
    assert told["PORTKIT_TARGET_ADDRESS"] == lab.address("beta")
    assert told["PORTKIT_SOURCE_ADDRESS"] == lab.address("alpha")
    assert "SECRET" not in told
    assert "hush" not in (tmp_path / "dns-commit").read_text()
    assert ask(source, "POST", b"") == b"3\n", "clients that know the old address reach it as well"
    move = report["move"]
    led = f"{move} follow: {PORT} -> {lab.address('beta')}:{PORT}\n"
    assert portkit("forward", "--on", "lab:alpha", store=store).text == led
    shown = json.loads(portkit("show", move, "--output", "json", store=store).text)
    assert (shown["state"], shown["unfinished"]) == ("waiting", True)
    assert portkit("resume", move, store=store, check=False).code == 15
    (tmp_path / "fixed").touch()
    portkit("resume", move, store=store)
    assert (tmp_path / "balancer").read_text().split() == ["commit"] * 3
    left = portkit("forget", move, store=store).text
    assert f"forward of port {PORT}" in left
    portkit("forward", move, "--stop", store=store)
    with pytest.raises(OSError, match="refused"):
        ask(source)
    portkit("forward", move, store=store)
    portkit("forward", move, store=store)  # in place of the other
    assert ask(source) == b"3\n"
    assert on(lab, "alpha", "pgrep -fc '^[^ ]*python3 -I -c .*asyncio'") == "1\n"
    # Back: both are told, and the App serves at its source with what it had there.
    portkit("rollback", move, "--discard-writes", store=store)
    wait_for(source)
    assert ask(source) == b"1\n"
    assert portkit("forward", "--on", "lab:alpha", store=store).text == ""
    assert on(lab, "alpha", "docker exec follow cat /data/after") == "went on\n", "here as well"
    assert (tmp_path / "balancer").read_text().split() == [*["commit"] * 3, "rollback"]
    assert "PORTKIT_EVENT=rollback" in (tmp_path / "dns-rollback").read_text()
    assert ours(lab, "beta") == before


def test_a_command_that_fails_before_the_stop(lab: Lab, store: Path) -> None:
    """The App is not stopped for it, and nothing is lost."""
    before = ours(lab, "beta")
    counter(lab, "restless", "--label", "x-portkit.quiesce.before=echo no rest; exit 4")
    source = f"http://{lab.address('alpha')}:{PORT}/"
    try:
        since = on(lab, "alpha", "docker inspect -f '{{.State.StartedAt}}' restless")
        words = ("container:restless", "--from", "lab:alpha", "--to", "lab:beta")
        failed = portkit("move", *words, store=store, check=False)
        assert failed.code == 11, failed.stderr
        assert b"no rest" in failed.stderr
        assert ask(source, "POST", b"") == b"1\n"
        assert on(lab, "alpha", "docker inspect -f '{{.State.StartedAt}}' restless") == since
        rows = json.loads(portkit("moves", "--output", "json", store=store).text)
        assert rows[0]["state"] == "waiting"
        portkit("rollback", rows[0]["id"], store=store)
    finally:
        remove(lab, "restless")
    assert ours(lab, "beta") == before
