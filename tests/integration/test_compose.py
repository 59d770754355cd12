"""What fixtures/compose/recorded.json says is still what a real compose answers, and real engines
build from a git repository."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from portkit import connect, process
from portkit.errors import EngineError
from portkit.lab import Lab
from portkit.model import Build, GitUrl
from portkit.package.build import build
from tests.compose_cases import FOLDER, cases, record, recorded
from tests.integration.commands import HAVE_COMPOSE, moved, on

pytestmark = pytest.mark.lab
RANDOM = 20  # times that a different answer is asked for again


def asked(lab: Lab, files: dict[str, Any]) -> dict[str, Any]:
    """What gamma's compose answers to each of them."""
    program = shlex.quote((FOLDER / "ask.py").read_text())
    argv = ["ssh", "-F", lab.ssh_config, "lab-gamma", f"python3 -c {program} docker-compose"]
    done = process.run(argv, input=json.dumps(files).encode(), timeout=900)
    return dict(json.loads(done.text))


def test_what_compose_answers(lab: Lab) -> None:
    """gamma has the compose of Debian testing. Where that is a newer one and answers otherwise:
    PORTKIT_RECORD=1 writes its answers down, and the unit tests show what has changed."""
    on(lab, "gamma", HAVE_COMPOSE)
    has = on(lab, "gamma", "docker-compose version --short").strip().partition("-")[0]
    answers = asked(lab, cases())
    if os.environ.get("PORTKIT_RECORD") == "1":
        record(has, answers)
    version, wanted = recorded()
    differing = {name for name in cases() if answers[name] != wanted[name]}
    # Compose goes through services in a random order: of a circle it names any of them, and what
    # `extends` of an `extends` gives with !reset is not the same each time.
    for _ in range(RANDOM):
        again = asked(lab, {name: cases()[name] for name in differing}) if differing else {}
        differing = {name for name in differing if again[name] != wanted[name]}
    assert not differing, f"recorded with {version}, gamma has {has}"


REPOSITORY = """\
set -e
command -v git > /dev/null || {
    apt-get -q update; apt-get -q -y install --no-install-recommends git; kill "$(pidof dockerd)"
} >&2
rm -rf /srv/git && mkdir -p /srv/git/work/sub && cd /srv/git/work
echo one > sub/f && printf 'FROM scratch\\nCOPY f /f\\n' > sub/Dockerfile
git init -q -b main . && git add .
git -c user.name=a -c user.email=a@example.org commit -q -m one
git clone -q --bare . ../repo.git && git -C ../repo.git update-server-info
cd /srv/git
setsid timeout 60 python3 -m http.server -b 127.0.0.1 8099 < /dev/null > /dev/null 2>&1 &
for _ in $(seq 300); do
    python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8099))' 2> /dev/null &&
        docker version > /dev/null 2>&1 && exit 0
    sleep 0.1
done
exit 1
"""


@pytest.mark.parametrize(
    "name", ["alpha", pytest.param("beta", marks=pytest.mark.campaign), "gamma"]
)
def test_a_git_repository_is_built(lab: Lab, name: str) -> None:
    """The old builder alone (Docker 20.10), buildx with overlay2, buildx with containerd."""
    on(lab, name, REPOSITORY)
    folder = GitUrl("http://127.0.0.1:8099/repo.git#main:sub")
    with connect(f"lab:{name}") as host:
        built = build(host, Build(folder))
        inline = build(host, Build(folder, inline="FROM scratch\nCOPY f /other\n"))
        assert built != inline
        # BuildKit and the old builder say it in different words.
        with pytest.raises(EngineError, match=r"ref nope"):
            build(host, Build(GitUrl("http://127.0.0.1:8099/repo.git#nope")))
    on(lab, name, f"docker rmi {built} {inline}; rm -rf /srv/git")


def test_compose_takes_the_place_of_what_portkit_has_started(
    lab: Lab, store: Path, tmp_path: Path
) -> None:
    """On the target, with the same files: nothing runs twice."""
    on(lab, "gamma", HAVE_COMPOSE)
    text = "services:\n" + "".join(
        f"  {name}:\n    image: debian:bookworm-slim\n    command: [sleep, infinity]\n"
        for name in ("web", "worker")
    )
    folder = tmp_path / "upshop"
    folder.mkdir()
    (folder / "compose.yaml").write_text(text)
    listed = "docker ps -a --filter label=com.docker.compose.project=upshop --format '{{.Names}}'"
    with moved(folder, "gamma", store, "--form", "image"):
        assert len(on(lab, "gamma", "docker-compose -p upshop ps -q").split()) == 2
        try:
            on(
                lab,
                "gamma",
                f"mkdir /srv/upshop; echo {shlex.quote(text)} > /srv/upshop/compose.yaml",
            )
            on(lab, "gamma", "cd /srv/upshop && docker-compose up -d")
            names = on(lab, "gamma", listed).split()
            assert sorted(names) == ["upshop-web-1", "upshop-worker-1"]
        finally:
            gone = "cd /srv/upshop && docker-compose down -t 0; rm -r /srv/upshop"
            on(lab, "gamma", gone, check=False)
