"""What a text for a shell runs, and what a service's start reaches behind its scripts."""

from pathlib import Path
from typing import Any

import pytest

from portkit.model.needs import Lack, Needs
from portkit.needs import commands, read
from tests.elves import elf, layer
from tests.factories import IMAGE, spec

ENV = (("PATH", "/usr/bin:/bin"), ("JAVA_HOME", "/opt/java"), ("OPTS", "-a -b"))


def words(text: str, *arguments: str) -> list[tuple[str, ...]]:
    return [row.words for row in commands.commands(text, dict(ENV), arguments)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/srv --port=80", [("/srv", "--port=80")]),
        (
            'exec "$JAVA_HOME/bin/java" $OPTS -jar x',
            [("exec", "/opt/java/bin/java", "-a", "-b", "-jar", "x")],
        ),
        ('A=b exec gosu pg "$@" 2>&1 >/dev/null', [("exec", "gosu", "pg", "one", "two")]),
        ("cd /app && ./run; # it's", [("cd", "/app"), ("./run",)]),
        ('"${CMD:-/bin/x}" $NONE y', [("/bin/x", "", "y")]),
        ('/x "a\\"b" \'c $d\' e\\ f', [("/x", 'a"b', "c $d", "e f")]),
        ("/x *.txt", [("/x", "")]),
        ("'unbalanced", []),
        ('exec "$1" "${@:2}"', [("exec", "one", "")]),
        ("/x a#b # c", [("/x", "a#b")]),
    ],
)
def test_simple_commands(text: str, wanted: list[tuple[str, ...]]) -> None:
    assert words(text, "one", "two") == wanted


def test_what_is_not_certain_of_a_command() -> None:
    (row,) = commands.commands("/x *.txt $NONE", {})
    assert (row.known, row.varies) == (False, True)
    (row,) = commands.commands("LD_LIBRARY_PATH=/x /srv", {})
    assert (row.known, row.moves) == (True, True)
    (row,) = commands.commands("A=b /srv", {})
    assert not row.moves


@pytest.mark.parametrize(
    ("argv", "text", "script", "login"),
    [
        (("-c", "x"), "x", "", False),
        (("-lc", "x"), "x", "", True),
        (("-ec", "x"), "x", "", False),
        (("-euxo", "pipefail", "-c", "x"), "x", "", False),
        (("-o", "pipefail", "-c", "x"), "x", "", False),
        (("--login", "-c", "x"), "x", "", True),
        (("-c", "-e", "x"), "x", "", False),
        (("-e", "/run", "a"), "", "/run", False),
        (("-x",), "", "", False),
    ],
)
def test_what_a_shell_is_told(argv: tuple[str, ...], text: str, script: str, login: bool) -> None:
    told = commands.told(argv)
    assert (told.text, told.script, told.login) == (text, script, login)


PASSES = '#!/bin/sh\nset -e\n[ -n "$X" ] || exit 1\nexec 2>&1\nexec "$@"\n'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (PASSES, True),
        ("#!/bin/sh\nexec $@", True),
        (PASSES.replace("set -e", "set -- node"), False),
        (PASSES.replace("set -e", ". /etc/profile"), False),
        (PASSES.replace("set -e", "[ $1 ] && exit 0"), False),
        (PASSES.replace("set -e", "[ $1 ] && exec /other"), False),
        (PASSES + "echo\n", False),
        ('main() {\n  exec "$@"\n', False),
    ],
)
def test_a_script_that_is_a_wrapper(text: str, wanted: bool) -> None:
    assert commands.ends_with_its_arguments(text) is wanted


V3 = bytes.fromhex("c5fc1000 c4e275a8c2 c4e279f7c0 c5f877 c3")
FILES: dict[str, Any] = {
    **{f"/bin/{name}": elf() for name in ("sh", "bash", "busybox", "setpriv", "taskset", "chrt")},
    **{f"/usr/bin/{name}": elf() for name in ("env", "numactl", "runuser", "chroot", "gosu")},
    "/srv": elf(code=V3 * 9),
    "/opt/java/bin/java": elf(),
}


class Made:
    """The needs of an image that has FILES and a script, /ep.sh."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *argv: str, script: str = "") -> Needs:
        files = {**FILES, "/ep.sh": script.encode()}
        path = layer(self._folder / "made", files)
        (found,) = read([path], IMAGE, [spec(argv=argv, env=ENV, cwd="/")])
        return found

    def reached(self, *argv: str, script: str = "") -> dict[str, bool]:
        return {each.path: each.sure for each in self(*argv, script=script).binaries}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


@pytest.mark.parametrize(
    "argv",
    [
        ("bash", "-lc", "/srv --port=80"),
        ("sh", "-ec", "/srv"),
        ("bash", "-eo", "pipefail", "-c", "exec /srv >/dev/null 2>&1"),
        ("sh", "-c", "A=b exec /srv --name='x y'"),
        ("sh", "-c", 'exec "$@"', "sh", "/srv"),
        ("busybox", "sh", "-c", "/srv"),
        ("setpriv", "--reuid=1000", "--regid", "1000", "--clear-groups", "/srv"),
        ("taskset", "-c", "0-3", "/srv"),
        ("chrt", "-f", "10", "/srv"),
        ("numactl", "--interleave", "all", "/srv"),
        ("runuser", "-u", "nobody", "--", "/srv"),
        ("chroot", "--userspec=1:1", "/", "/srv"),
    ],
)
def test_what_is_run_for_certain(made: Made, argv: tuple[str, ...]) -> None:
    assert made.reached(*argv)["/srv"] is True
    gone = tuple(word.replace("/srv", "/gone") for word in argv)
    (row,) = made(*gone).missing
    assert (row.what, row.name, row.sure) == (Lack.COMMAND, "/gone", True)


def test_what_is_behind_a_script(made: Made) -> None:
    assert made.reached("/ep.sh", "/srv", script=PASSES)["/srv"] is True
    (row,) = made("/ep.sh", "/nothing", script=PASSES).missing
    assert (row.name, row.sure) == ("/nothing", True)
    other = PASSES.replace("set -e", "[ -z $X ] || exec /srv")
    assert made.reached("/ep.sh", "/srv", script=other)["/srv"] is False
    (row,) = made("/ep.sh", "/nothing", script=other).missing
    assert (row.name, row.sure) == ("/nothing", False)
    node = PASSES.replace("set -e", 'set -- node "$@"')
    assert made("/ep.sh", "/nothing", script=node).missing == (), "an argument of node's, perhaps"
    (binary,) = (
        each for each in made("/ep.sh", "/srv", script=other).binaries if each.path == "/srv"
    )
    assert "avx" in binary.features, "its code is read nevertheless"


@pytest.mark.parametrize(
    "script",
    [
        '#!/bin/sh\nexec "$JAVA_HOME/bin/java" -jar x\n',
        "#!/usr/bin/env bash\nHOME_=/opt/java\nif true; then exec $HOME_/bin/java; fi\n",
        "#!/bin/sh\nexec gosu app \\\n  ${JAVA_HOME}/bin/java\n",
        '#!/bin/busybox sh\nset -- /opt/java/bin/java\nexec "${JAVA:-/opt/java/bin/java}"\n',
        "#!/bin/sh\nexport X=1\n/opt/java/bin/java -jar x\n",
    ],
)
def test_what_a_script_may_become(made: Made, script: str) -> None:
    for argv in (("/ep.sh",), ("sh", "/ep.sh"), ("sh", "-c", "/ep.sh")):
        assert made.reached(*argv, script=script)["/opt/java/bin/java"] is False
        assert made(*argv, script=script).missing == ()


def test_a_script_may_make_what_it_ends_with(made: Made) -> None:
    for line in ("curl -o /nothing x", "echo x > /nothing", "make && :", "$INSTALL"):
        (row,) = made("/ep.sh", "/nothing", script=PASSES.replace("set -e", line)).missing
        assert (row.name, row.sure) == ("/nothing", False), line
        assert not made.reached("/ep.sh", "/srv", script=PASSES.replace("set -e", line))["/srv"]
    for line in ("cd /x", "pushd /x"):
        moved = PASSES.replace("set -e", line)
        assert made("/ep.sh", "./nothing", script=moved).missing == (), "of another folder"
    known = "if [ -z $X ]; then echo x >&2; fi\nexport Y=1; mkdir -p /data"
    assert made("/ep.sh", "/nothing", script=PASSES.replace("set -e", known)).missing[0].sure


def test_a_script_that_is_not_there(made: Made) -> None:
    (row,) = made("sh", "/gone.sh").missing
    assert (row.what, row.name, row.sure) == (Lack.COMMAND, "/gone.sh", True)
    assert made("bash", "-lc", "gone").missing[0].sure is False, "its profile may set PATH"


def test_scripts_that_read_each_other_end(made: Made) -> None:
    script = "#!/bin/sh\n" + 'exec sh /ep.sh x "$@"\n' * 60
    assert "/bin/sh" in made.reached("/ep.sh", "/srv", script=script)
