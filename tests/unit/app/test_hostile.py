"""App files that are made to do harm: refused with file and line, and without their secrets."""

import os
import tempfile
import time
import traceback
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import app as apps
from portkit.app import values
from portkit.app.envfile import parse as parse_env_file
from portkit.app.environment import interpolate
from portkit.errors import AppError, PortkitError
from portkit.model import App, ImageConfig, Mount, Port, Service

HEAD = "services:\n  a:\n    image: x\n"
SECRET = "hunter2"


def load(folder: Path, text: str | bytes, **environ: str) -> App:
    path = folder / "compose.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return apps.load(folder, environ=environ)


def refused(folder: Path, text: str | bytes, **environ: str) -> str:
    with pytest.raises(AppError) as caught:
        load(folder, text, **environ)
    assert caught.value.brief
    return str(caught.value)


def image(**values: object) -> ImageConfig:
    return ImageConfig("sha256:" + "0" * 64, "amd64", "linux", (), cmd=("x",), **values)  # type: ignore[arg-type]


BAD_NAMES = ["../x", "-rf", ".", "a b", "a\n", "n" * 300, "аpp", "a/b", "$(id)", "a\0b", ""]  # noqa: RUF001


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names(tmp_path: Path, name: str) -> None:  # hostile input 31
    quoted = '"' + name.replace("\n", "\\n").replace("\0", "\\0") + '"'
    assert "compose.yaml" in refused(tmp_path, f"services:\n  {quoted}: {{image: x}}\n")
    if name:  # an empty one is none
        assert refused(tmp_path, f"name: {quoted}\n{HEAD}")
    for key in ("image", "user", "hostname"):
        if name if key != "image" else name != "a/b":
            text = f"services:\n  a:\n    image: x\n    {key}: {quoted}\n".replace(
                "    image: x\n    image", "    image"
            )
            with pytest.raises(AppError):
                apps.resolve(load(tmp_path, text), image())


# hostile inputs 25, 31: what is given on the command line
@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "-rf",
        ".x",
        "a b",
        "a\n",
        "n" * 300,
        "n" * 5000,
        "аpp",  # noqa: RUF001
        "a\0b",
        "$(id)",
        "~nobody-of-this-name/x",
        "a/../b",
        "http://x/y",
        "\ud800",
    ],
)
def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AppError):
        apps.load(name, environ={})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (HEAD + "    environment: {V: 1.10}\n", 4),
        (HEAD + "    environment:\n      V: 1.5e+3\n", 5),
        (HEAD + "    environment:\n      V: 010\n", 5),
        (HEAD + "    command: [run, 0x10]\n", 4),
        ("services:\n  a:\n    image: 1.10\n", 3),
        (HEAD + "    labels: {v: 1.10}\n", 4),
        (HEAD + "    privileged: 0\n", 4),
        (HEAD + "    read_only: 'yess'\n", 4),
        (HEAD + "    init: 1\n", 4),
        (HEAD + "    volumes:\n      - {type: volume, target: /d, read_only: nope}\n", 5),
        (HEAD + "    x-portkit: {health: {port: 22:22}}\n", 4),
        (HEAD + "    x-portkit: {cpus: 22:22}\n", 4),
        (HEAD + "    x-portkit: {health: {port: '80:81'}}\n", 4),
        (HEAD + "    hostname: 22:22\n    user: 1.10\n", 5),
        (HEAD + "    image: y\n", 4),
        (HEAD + "    x-a: " + "[" * 5000 + "\n", 4),
        (HEAD + "    x-a: " + "{a: " * 5000 + "\n", 4),
        (HEAD + "    x-a: &a [*a]\n", 4),
        (HEAD + "    x-a: '\\0'\n    mem_limit: " + "9" * 5000 + "\n", 5),
        (HEAD + "    mem_limit: '99999999999g'\n", 4),
        (HEAD + "    cpus: 1e999\n", 4),
        (HEAD + "    cpus: nan\n", 4),
        (HEAD + "    stop_grace_period: '" + "9" * 400 + "s'\n", 4),
        (HEAD + "    ulimits: {nofile: 99999999999999999999}\n", 4),
        (HEAD + "    ulimits: {'-rf': 1}\n", 4),
        (HEAD + "    healthcheck: {retries: 1.5}\n", 4),
        (HEAD + "    healthcheck: {test: }\n", 4),
        (HEAD + "    healthcheck: {test: {a: b}}\n", 4),
        (HEAD + "    restart: 'on-failure:٣'\n", 4),
        (HEAD + "    volumes:\n      - {type: tmpfs, target: /t, tmpfs: text}\n", 5),
        (HEAD + '    x-a: "\\UFFFFFFFF"\n', 0),
        (HEAD + '    labels: {a: "\\ud800"}\n', 4),
        (HEAD.encode() + b"    labels: {a: \xff}\n", 4),
        (HEAD + "    labels: {a: \x01}\n", 0),
    ],
)
def test_a_schema_error_with_its_line(tmp_path: Path, text: str | bytes, line: int) -> None:
    """hostile input 33"""
    assert f"compose.yaml:{line}:" in refused(tmp_path, text) or not line


def test_words_that_other_readers_take_for_something_else(tmp_path: Path) -> None:
    """hostile input 33: 22:22 is no number of base 60, `no` no boolean where text is wanted."""
    text = HEAD + "    ports:\n      - 22:22\n    environment: {A: no, B: 22:22, C: '1.10', D: 5}\n"
    service = load(tmp_path, text).services[0]
    assert service.ports == (Port(22, 22),)
    assert service.environment == {"A": "no", "B": "22:22", "C": "1.10", "D": "5"}


def test_what_explodes_ends(tmp_path: Path) -> None:  # hostile input 33
    begun = time.process_time()
    rows = "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 9))
    refused(tmp_path, f"a0: &a0 {{x: y}}\n{rows}\n")
    for text in ("$$" * 400_000, "${A:-" * 5000 + "}" * 5000, "$A" * 100_000):
        with pytest.raises(ValueError, match=r"nested|expands"):
            interpolate(text + "$A" * 20_000, {"A": "x" * 1000})
    doubling = "A0=xxxxxxxxxx\n" + "".join(f"A{n}=$A{n - 1}$A{n - 1}\n" for n in range(1, 60))
    with pytest.raises(AppError, match="expand"):
        parse_env_file((doubling).encode(), "f", {})
    many = "services:\n  a:\n    image: x\n    labels:\n"
    many += "".join(f"      k{n}: $A\n" for n in range(5000))
    assert "becomes too large" in refused(tmp_path, many, A="x" * 10_000)
    assert time.process_time() - begun < 20


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: '4'\n" + HEAD, 1),
        ("version: 99.1\n" + HEAD, 1),
        ("future: 1\n" + HEAD, 1),
        (HEAD + "    future: 1\n", 4),
        (HEAD + "    healthcheck: {tset: x}\n", 4),
        (HEAD + "    ports: [{target: 80, future: 1}]\n", 4),
        (HEAD + "    volumes: [{type: volume, target: /d, future: 1}]\n", 4),
        (HEAD + "    volumes: [{type: npipe, target: /d}]\n", 4),
        (HEAD + "    x-portkit: {future: 1}\n", 4),
        (HEAD + "    x-portkit: {health: {future: 1}}\n", 4),
        (HEAD + "    env_file: [{path: x, future: 1}]\n", 4),
        (HEAD + "    ulimits: {nofile: {soft: 1, hard: 2, future: 1}}\n", 4),
    ],
)
def test_a_newer_schema(tmp_path: Path, text: str, line: int) -> None:  # hostile input 34
    assert f"compose.yaml:{line}:" in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (HEAD + "    scale: 3\n", "scale"),
        (HEAD + "    gpus: all\n", "gpus"),
        (HEAD + "    cpu_shares: 5\n", "cpu_shares"),
        (HEAD + "    deploy: {replicas: 3}\n", "deploy.replicas"),
        (
            HEAD + "    deploy: {resources: {reservations: {devices: []}}}\n",
            "deploy.resources.reservations.devices",
        ),
        (HEAD + "    healthcheck: {start_interval: 1s}\n", "healthcheck.start_interval"),
        (
            HEAD + "    volumes: [{type: volume, target: /d, volume: {subpath: x}}]\n",
            "volumes.volume.subpath",
        ),
        ("volumes: {data: {external: true}}\n" + HEAD, "volumes.data.external"),
        ("models: {}\n" + HEAD, "models"),
    ],
)
def test_what_is_known_and_not_carried_out_is_told(tmp_path: Path, text: str, key: str) -> None:
    """hostile input 34"""
    (finding,) = load(tmp_path, text).findings
    assert finding.rule == "compose-not-carried"
    assert f"'{key}'" in finding.message
    assert finding.evidence[0].startswith("compose.yaml:")


@pytest.mark.parametrize(
    "volume",
    [
        "/:/host",
        "/etc:/e",
        "/etc/:/e:ro",
        "//etc:/e",
        "/etc/../etc/.:/e",
        "../../..:/e",
        "/var/run/docker.sock:/s",
        "/run/docker.sock:/var/run/docker.sock",
        "/proc/1:/p",
        "./docker.sock:/s",
        "/var/lib/docker:/d",
        "/run/containerd/containerd.sock:/s",
        "/var/run/libvirt/libvirt-sock:/s",
        "/dev:/dev",
        "/usr:/u",
        "~/../root:/r",
        "data:/",
        "data:/.",
        "data:/etc",
        "data:/etc/",
        "data://etc",
        "data:/proc",
        "data:/usr",
        "data:/run/docker.sock",
        "/",
        "/etc",
        "-rf:/d",
        "a b:/d",
        "data:/a\\nb",
    ],
)
@pytest.mark.parametrize("form", ["short", "long"])
def test_volumes_that_no_app_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volume: str, form: str
) -> None:
    """hostile input 36: on the root, a folder of the system or an engine's socket; either end."""
    monkeypatch.setenv("HOME", "/home")
    deep = Path("/tmp") / tmp_path.name
    deep.mkdir()
    try:
        if form == "long":
            source, _, target = volume.partition(":") if ":" in volume else ("", "", volume)
            kind = "bind" if source.startswith(("/", ".", "~")) else "volume"
            target = target.removesuffix(":ro")
            row = f'{{type: {kind}, source: "{source}", target: "{target}"}}'
        else:
            row = f'"{volume}"'
        assert "compose.yaml:5:" in refused(deep, HEAD + f"    volumes:\n      - {row}\n")
    finally:
        (deep / "compose.yaml").unlink()
        deep.rmdir()


def test_volumes_of_the_usual_kind(tmp_path: Path) -> None:
    text = "    volumes: ['data:/var/lib/data/', '/srv/x:/etc/app']\n    tmpfs: [/run, /tmp]\n"
    app = load(tmp_path, HEAD + text)
    targets = [mount.target for mount in app.services[0].volumes]
    assert targets == ["/var/lib/data", "/etc/app", "/run", "/tmp"]
    assert [f.rule for f in app.findings] == ["volume-undeclared", "bind-not-carried"]


# hostile input 36
@pytest.mark.parametrize("path", ["/", "/etc", "relative", "/a/../etc", "/run/docker.sock", ""])
def test_volumes_of_an_image(path: str) -> None:
    app = App("a", (Service("a"),), "x")
    with pytest.raises(AppError, match="volume"):
        apps.resolve(app, image(volumes=(path,)))
    assert apps.resolve(app, image(volumes=("/d", "/d/"))).mounts == (Mount("volume", "/d"),)


# hostile input 37
@pytest.mark.parametrize(
    "ports",
    [
        "[0]",
        "['0:80']",
        "['80:0']",
        "[65536]",
        "['65536:80']",
        "['80:65536/udp']",
        "['-1:80']",
        "['80:1', '0.0.0.0:80:2']",
        "['٣:80']",
        "['80:80:80:80']",
        "['1-2000:1-2000']",
        "['80-81:80-83']",
        "['80/dccp']",
        "['80:80', '80:81']",
        "['127.0.0.1:80:80', '80:81']",
        "['80:1', '127.0.0.1:80:2']",
        "['[::1]:80:1', '[::1]:80:2']",
        "['79-81:79-81', '80:9']",
        "[{target: 0}]",
        "[{target: 80, published: 0}]",
        "[{target: 80, published: '0'}]",
        "[{target: 65536}]",
        "[{target: true}]",
        "[{target: 80, published: 1.5}]",
        "[{target: 80}, '80:81']",
        "[{target: 80, published: 99999999999999999999}]",
        "[[80]]",
    ],
)
def test_ports_that_are_none_or_taken(tmp_path: Path, ports: str) -> None:
    assert "compose.yaml:4:" in refused(tmp_path, HEAD + f"    ports: {ports}\n")


def test_ports_that_can_stand_together(tmp_path: Path) -> None:
    text = "['80:80', '80:80/udp', '127.0.0.1:81:1', '127.0.0.2:81:1', {target: 9, published: ''}]"
    assert len(load(tmp_path, HEAD + f"    ports: {text}\n").services[0].ports) == 5


# hostile input 37
@pytest.mark.parametrize(
    "text", ["0/tcp", "65536", "99999999999/udp", "٣/tcp", "-1", "80/sctp", ""]
)
def test_ports_of_an_image(text: str) -> None:
    app = App("a", (Service("a"),), "x")
    with pytest.raises(AppError, match="EXPOSEs an invalid port"):
        apps.resolve(app, image(exposed_ports=(text,)))
    twice = apps.resolve(app, image(exposed_ports=("80", "80/tcp")))
    assert twice.ports == (Port(80, 80),)


# hostile input 59
@pytest.mark.parametrize(
    "text",
    [
        "    environment: {P: '" + SECRET + "${1}'}\n",
        "    environment: {P: '" + SECRET + "${'}\n",
        "    environment: {P: '${" + SECRET + "!}'}\n",
        "    environment: {P: '${-" + SECRET + "}'}\n",
        '    environment: {P: "' + SECRET + "\n",
        "    environment: {P: [" + SECRET + "]}\n",
        "    environment:\n      P: @" + SECRET + "\n",
        "    environment:\n      P: " + SECRET + ": x\n",
        "    environment:\n      P: !!binary " + SECRET + "\n",
        '    environment: {P: "' + SECRET + '\\q"}\n',
        "    environment: ['=" + SECRET + "']\n",
        "    environment: {P: " + SECRET + ", P: " + SECRET + "}\n",
        "    env_file: bad.env\n",
        "    environment: {P: !" + SECRET + "}\n",
        "    environment: {P: *" + SECRET + "}\n",
        "    environment: {'P=" + SECRET + "': x}\n",
        "    environment: {P: '${A:?need ${B} $B ${C:-" + SECRET + "}}'}\n",
    ],
)
def test_errors_do_not_repeat_values(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.env").write_text(f"A=1\n{SECRET} no pair\n")
    with pytest.raises(AppError) as caught:
        load(tmp_path, HEAD + text, B=SECRET)
    error = caught.value
    shown = "".join(traceback.format_exception(error))
    # Lines of this file stand in the traceback; what was raised must not hold the value.
    said = [line for line in shown.splitlines() if SECRET in line]
    assert said == []
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("    environment: {PIN: 0123}\n", "environment.PIN"),
        ("    environment: {PIN: 123.0e+2}\n", "environment.PIN"),
        ("    environment: [A=1, 0123]\n", "environment"),
        ("    build: {context: ., args: {PIN: 0123}}\n", "build.args.PIN"),
        ("    labels: {PIN: 0123}\n", "labels.PIN"),
        ("    command: [login, 0123]\n", ""),
    ],
)
def test_a_number_is_named_and_not_repeated(tmp_path: Path, text: str, name: str) -> None:
    said = refused(tmp_path, HEAD + text).replace(str(tmp_path), "")
    assert f"compose.yaml:4: {name}" in said
    assert "123" not in said


def test_a_required_variable_is_told_by_its_names(tmp_path: Path) -> None:
    text = "    environment: {P: '${A:?need ${B:-x} or $C for 5$$}'}\n"
    said = refused(tmp_path, HEAD + text, B="blue", C="clear")
    assert "A is required: need $B or $C for 5$" in said


@given(st.text(alphabet="ab$${}:-?+'\"\\=\n #", max_size=60))
def test_env_file_errors_hold_no_value(text: str) -> None:  # hostile input 59
    try:
        parse_env_file((f"P={SECRET}{text}\n").encode(), "f", {"a": SECRET})
    except AppError as error:
        assert SECRET not in "".join(traceback.format_exception(error)).replace("hunter2'", "")


def test_values_are_in_no_repr(tmp_path: Path) -> None:  # hostile input 59
    text = "    environment: {P: hunter2}\n    build: {context: ., args: {TOKEN: hunter2}}\n"
    app = load(tmp_path, HEAD + text)
    spec = apps.resolve(app, image(env=("Q=hunter2",)))
    assert SECRET not in repr(app) + repr(spec) + repr(image(env=("Q=hunter2",)))
    (finding,) = app.findings
    assert finding.rule == "build-arg-kept"
    assert SECRET not in str(finding)


LINES = st.lists(
    st.sampled_from(
        [
            "services:",
            "  a:",
            "    image: x",
            "    ports: [80]",
            "    volumes:",
            "      - v:/d",
            "    environment:",
            "      A: 1.10",
            "    x: &x",
            "    <<: *x",
            "  - ",
            "    deploy:",
            "      resources: {limits: }",
            "    healthcheck: {test: [CMD, x]}",
            "    tmpfs:",
            "    build: {context: ., args: [A]}",
            "    ulimits: {nofile: }",
            "  b: [",
            "    ]",
            "    env_file: [{path: }]",
            "    x-portkit: {health: {}}",
            "volumes: {v: [x]}",
            "\t",
        ]
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=150)
@given(LINES)
def test_any_lines_end_in_an_app_or_an_error(lines: list[str]) -> None:
    """hostile inputs 33, 34: whatever is asked for, the error is ours."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            apps.resolve(load(Path(folder), "\n".join(lines)), image())
        except PortkitError:
            return


@given(st.text(max_size=40), st.text(alphabet="/.et cvarundok", max_size=30))
def test_no_path_gets_round_the_rule(text: str, dots: str) -> None:  # hostile input 36
    for path in (text, dots, "/etc/" + dots, "/" + dots + "/../etc"):
        try:
            found = values.checked_mount(Mount("volume", path)).target
        except ValueError:
            continue
        assert os.path.normpath(found) == found
        assert found not in ("/", "/etc", "/proc", "/usr")
