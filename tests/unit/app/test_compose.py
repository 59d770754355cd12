"""Compose files: what is carried out, what is said, what is refused with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import app as apps
from portkit.app import ports, values, words
from portkit.app.envfile import parse as parse_env_file
from portkit.app.environment import interpolate
from portkit.errors import AppError, PortkitError
from portkit.model import (
    App,
    HealthProbe,
    ImageConfig,
    Machine,
    Method,
    Mount,
    Port,
    Severity,
    Ulimit,
)

WHOLE = """
name: shop
x-base: &base
  restart: always
  labels: {team: blue}
services:
  web:
    <<: *base
    build:
      context: .
      args: {VERSION: "${VERSION:-1}"}
    command: serve --port "80 80"
    entrypoint: ["/bin/web"]
    env_file: web.env
    environment:
      MODE: ${MODE?needed}
      PRICE: 5$$
      EMPTY:
      ON: on
    user: "1000:1000"
    working_dir: /srv
    ports: ["8080:80", "127.0.0.1:9000-9001:9000-9001/udp", {target: 443, published: "8443"}]
    volumes:
      - data:/data
      - /cache
      - {type: tmpfs, target: /tmp, tmpfs: {size: 64m}}
    tmpfs: /run:size=1m
    healthcheck: {test: curl -f http://localhost, interval: 1m30s, retries: 3}
    stop_signal: SIGINT
    stop_grace_period: 20s
    ulimits: {nofile: {soft: 1024, hard: 2048}, nproc: 100}
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    mem_limit: 256m
    deploy: {resources: {limits: {cpus: "0.5", memory: 256m}}}
    networks: [front]
    x-portkit:
      memory: 300m
      health: {path: /ok, contains: hello, timeout: 30s, method: host, running: 5s, settle: 0s}
volumes: {data: }
networks: {front: }
"""


def write(folder: Path, text: str, **files: str) -> Path:
    (folder / "compose.yaml").write_text(text)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content)
    return folder


def load(folder: Path, text: str, **environ: str) -> App:
    return apps.load(write(folder, text), environ=environ)


def image(**values: object) -> ImageConfig:
    return ImageConfig("sha256:" + "0" * 64, "amd64", "linux", (), **values)  # type: ignore[arg-type]


def test_a_whole_file(tmp_path: Path) -> None:
    write(tmp_path, WHOLE, web_env="A=1\nB='$X # y'\nMODE=lost\n", _env="MODE=file\n")
    app = apps.load(tmp_path, environ={"MODE": "live"})
    web = app.services[0]
    assert app.name == "shop"
    assert web.restart == "always"
    assert web.labels == {"team": "blue"}
    assert web.build is not None
    assert web.build.args == {"VERSION": "1"}
    assert web.command == ("serve", "--port", "80 80")
    assert web.environment == {
        "A": "1",
        "B": "$X # y",
        "MODE": "live",
        "PRICE": "5$",
        "ON": "on",
    } | {"EMPTY": None}
    assert web.ports == (
        Port(80, 8080),
        Port(9000, 9000, "udp", "127.0.0.1"),
        Port(9001, 9001, "udp", "127.0.0.1"),
        Port(443, 8443),
    )
    assert web.volumes == (
        Mount("volume", "/data", "data"),
        Mount("volume", "/cache"),
        Mount("tmpfs", "/tmp", tmpfs_bytes=64 << 20),
        Mount("tmpfs", "/run", tmpfs_bytes=1 << 20),
    )
    assert web.healthcheck is not None
    assert web.healthcheck.test == ("CMD-SHELL", "curl -f http://localhost")
    assert web.healthcheck.interval_s == 90
    assert web.ulimits == {"nofile": Ulimit(1024, 2048), "nproc": Ulimit(100, 100)}
    assert (web.cpus, web.mem_limit_bytes) == (0.5, 256 << 20)
    assert web.machine == Machine(300 << 20)
    assert web.health == HealthProbe(
        path="/ok",
        contains="hello",
        timeout_s=30,
        method=Method.HOST,
        running_s=5,
        settle_s=0,
    )
    assert not app.findings


def test_resolved_like_docker_does(tmp_path: Path) -> None:
    config = image(
        entrypoint=("/entry",),
        cmd=("cmd",),
        env=("PATH=/bin", "A=image"),
        volumes=("/data/", "/logs"),
        stop_signal="SIGQUIT",
        working_dir="/w",
    )
    text = "services: {a_b: {image: x, volumes: ['v:/data'], environment: {A: mine}}}"
    spec = apps.resolve(load(tmp_path, text), config)
    assert spec.argv == ("/entry", "cmd")
    assert spec.env == (("PATH", "/bin"), ("HOSTNAME", spec.hostname), ("A", "mine"))
    assert [m.target for m in spec.mounts] == ["/data", "/logs"]
    assert (spec.stop_signal, spec.cwd, spec.umask) == ("SIGQUIT", "/w", 0o022)
    assert "CAP_CHOWN" in spec.capabilities
    assert spec.ulimits["nofile"] == Ulimit(16384, 16384)
    spec = apps.resolve(load(tmp_path, "services: {a: {image: x, entrypoint: /e}}"), config)
    assert spec.argv == ("/e",), "an entrypoint drops the image's command"
    text = "services: {a: {image: x, cap_add: [net_admin], cap_drop: [ALL]}}"
    assert apps.resolve(load(tmp_path, text), config).capabilities == ("CAP_NET_ADMIN",)


def test_dockerfile_folder_and_reference(tmp_path: Path) -> None:
    folder = tmp_path / "My App"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM x\n")
    app = apps.load(folder, environ={})
    assert (app.name, app.services[0].build and app.services[0].build.context) == ("myapp", folder)
    spec = apps.resolve(app, image(cmd=("x",), exposed_ports=("80/tcp", "53/udp")))
    assert spec.ports == (Port(80, 80), Port(53, 53, "udp"))
    assert apps.load("registry.example:5000/team/app:1.2", environ={}).name == "app"
    with pytest.raises(AppError):
        apps.resolve(app, image())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("services: {a: {image: x, colour: red}}", ":1: compose has no service key 'colour'"),
        ("services:\n a:\n  image: x\n  image: y", ":4: the key 'image' is defined twice"),
        ("services:\n a:\n  image: x\n  ports: ['99999']", ":4:"),
        ("services: {a: {command: x}}", "neither image nor build"),
        ("services: {a: {image: '${NOPE?say it}'}}", "say it"),
        ("services: {a: {image: x, ports: [80, '80:81', 80]}}", "published twice"),
        ("services: {a: {image: x, volumes: ['v:/']}}", "mounted on /"),
        ("services: {a: {image: x, volumes: ['v:/a/../../']}}", "mounted on /"),
        ("services: {a: {image: x, volumes: ['v:data']}}", "not an absolute path"),
        ('services: {a: {image: x, volumes: ["v:/a\\x01"]}}', "control character"),
        ("services: {a: {image: x, stop_grace_period: 10}}", "not a duration"),
        ("services: {a: {image: x, env_file: nope.env}}", "does not exist"),
        ("services: {a: {image: x, x-portkit: {helth: 1}}}", "has no key 'helth'"),
        ("services: {a: {image: !!python/object:os.system x}}", "not supported"),
        ("services: [", "flow node"),
        ("", "empty"),
    ],
)
def test_refused_with_its_place(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(AppError) as caught:
        load(tmp_path, text)
    assert word in str(caught.value)


def test_nested_aliases_end(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(AppError, match="cannot be read"):
        load(tmp_path, "\n".join(rows))


def test_bind_mounts_are_told(tmp_path: Path) -> None:
    app = load(tmp_path, "services: {a: {image: x, volumes: ['/srv/conf:/etc/conf:ro']}}")
    assert [(f.rule, f.severity) for f in app.findings] == [("bind-not-carried", Severity.ERROR)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$A ${A} $$A", "1 1 $A"),
        ("${B:-x${A}y}", "x1y"),
        ("${E-x}|${E:-x}|${E+x}|${E:+x}", "|x|x|"),
        ("${U}", ""),
    ],
)
def test_interpolation(text: str, wanted: str) -> None:
    assert interpolate(text, {"A": "1", "E": ""}) == wanted


@given(st.text(max_size=80))
def test_interpolation_ends_in_text_or_valueerror(text: str) -> None:
    try:
        interpolate(text, {"A": "1"})
    except ValueError:
        return


@given(st.text(max_size=80))
def test_escaping_is_undone(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text


def test_env_files() -> None:
    text = "# c\nexport A=1 # note\nB=\"x\\ny\"\n\nC='l1\nl2'\nD\nE=a#b\nF=\nG=${A}$$\n"
    wanted = {"A": "1", "B": "x\ny", "C": "l1\nl2", "D": "d", "E": "a#b", "F": "", "G": "1$"}
    assert parse_env_file((text).encode(), "f", {"D": "d"}) == wanted


@given(st.text(max_size=120))
def test_any_env_file_ends_in_pairs_or_an_error(text: str) -> None:
    try:
        parse_env_file((text).encode(), "f", {})
    except AppError:
        return


@given(st.text(max_size=200))
def test_any_compose_text_ends_in_an_app_or_an_error(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            load(Path(folder), text)
        except PortkitError:
            return


@given(st.text(max_size=40))
def test_values_end_in_a_value_or_valueerror(text: str) -> None:
    for read in (values.size, values.duration, words.split, ports.parse, values.mount):
        try:
            read(text)
        except ValueError:
            continue


def test_a_tmpfs_with_options(tmp_path: Path) -> None:
    text = (
        "services:\n  a:\n    image: x\n    tmpfs: ['/a:mode=1770,size=1m,noexec', '/b:uid=7']\n"
        "    volumes: [{type: tmpfs, target: /c, tmpfs: {mode: 0o700}}]\n"
    )
    app = load(tmp_path, text)
    assert set(app.services[0].volumes) == {
        Mount("tmpfs", "/a", tmpfs_bytes=1 << 20, tmpfs_mode=0o1770),
        Mount("tmpfs", "/b"),
        Mount("tmpfs", "/c", tmpfs_mode=0o700),
    }
    assert [(f.rule, "'uid'" in f.message) for f in app.findings] == [("compose-not-carried", True)]
    with pytest.raises(AppError, match="compose file cannot"):
        load(tmp_path, text.replace("1770", "8"))
