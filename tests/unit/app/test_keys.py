"""Keys at every level, what sizes the VM, and files that compose would read otherwise."""

from pathlib import Path

import pytest

from portkit import app as apps
from portkit.app.envfile import parse_raw
from portkit.app.resolve import DEFAULT_ULIMITS
from portkit.app.values import size
from portkit.errors import AppError
from portkit.guest import config
from portkit.model import App, Machine, Severity

HEAD = "services:\n  a:\n    image: x\n"
MIB = 1 << 20


def load(folder: Path, text: str, name: str = "compose.yaml") -> App:
    (folder / name).write_text(text)
    return apps.load(folder / name, environ={"GIVEN": "g"})


def refused(folder: Path, text: str) -> str:
    with pytest.raises(AppError) as caught:
        load(folder, text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("mem_limit: 1g", Machine(1024 * MIB)),
        ("mem_limit: 8m", Machine(96 * MIB)),
        ("mem_limit: 0", Machine()),
        ("mem_limit: 0.5g", Machine(512 * MIB)),
        ("cpus: 1.5", Machine(cpus=2)),
        ("cpus: 0.1", Machine(cpus=1)),
        ("cpus: 4096", Machine(cpus=256)),
        ("deploy: {resources: {limits: {cpus: '3', memory: 2g}}}", Machine(2048 * MIB, 3)),
        ("mem_limit: 0\n    deploy: {resources: {limits: {memory: 2g}}}", Machine(2048 * MIB)),
        (
            "mem_limit: 1g\n    cpus: 4\n    x-portkit: {memory: 200m, cpus: 2}",
            Machine(200 * MIB, 2),
        ),
        ("mem_limit: 1g\n    cpus: 4\n    x-portkit: {memory: 200m}", Machine(200 * MIB, 4)),
        ("labels: {a: b}", Machine()),
        ("x-portkit: {volume: 20g}", Machine(volume_bytes=20 << 30)),
        ("x-portkit: {volume: 64m}", Machine(volume_bytes=64 * MIB)),
        ("x-portkit: {volume: 8t}", Machine(volume_bytes=8 << 40)),
    ],
)
def test_the_limits_size_the_vm(tmp_path: Path, text: str, machine: Machine) -> None:
    assert load(tmp_path, HEAD + f"    {text}\n").services[0].machine == machine


@pytest.mark.parametrize("size", ["63m", "8193g", "0", "-1", "big", "[8g]", "null"])
def test_a_volume_that_is_no_disk(tmp_path: Path, size: str) -> None:
    said = refused(tmp_path, HEAD + f"    x-portkit:\n      volume: {size}\n")
    assert "compose.yaml:5:" in said


MERGED = """
name: shop
services:
  a:
    command: null
    cpus: 0.5
    deploy: {resources: {limits: {cpus: 0.5, memory: "268435456"}}, placement: {}}
    entrypoint: null
    image: x
    mem_limit: "268435456"
    networks: {default: null}
    ports: [{mode: ingress, target: 80, published: "8080", protocol: tcp}]
    volumes:
      - {type: volume, source: data, target: /data, volume: {}}
      - {type: tmpfs, target: /t, tmpfs: {size: "67108864", mode: 511}}
networks: {default: {name: shop_default}}
volumes: {data: {name: shop_data}}
"""


def test_what_compose_config_writes_can_be_given(tmp_path: Path) -> None:
    app = load(tmp_path, MERGED, "merged.yaml")
    assert app.services[0].mem_limit_bytes == 256 * MIB
    assert {finding.severity for finding in app.findings} == {Severity.INFO}


@pytest.mark.parametrize(
    "row",
    [
        "attach: false",
        "develop: {watch: []}",
        "pull_policy: never",
        "deploy: {mode: global, x-a: 1}",
        "deploy: {placement: [], x-a: 1}",
        "volumes: [{type: volume, target: /d, consistency: cached}]",
        "ports: [{target: 80, published: 80, name: web}]",
        "ports: [{target: 80, published: 80, mode: ingress}]",
        "ports: [{target: 80, published: 80, app_protocol: http}]",
    ],
)
def test_what_the_process_does_not_see_is_information(tmp_path: Path, row: str) -> None:
    (finding,) = load(tmp_path, HEAD + f"    {row}\n").findings
    assert (finding.rule, finding.severity) == ("compose-not-carried", Severity.INFO)
    assert finding.evidence == ("compose.yaml:4",)
    name = row.replace(": [{target: 80, published: 80, ", ".").replace(": {", ".")
    name = name.replace(": [{type: volume, target: /d, ", ".").partition(":")[0]
    name = "develop" if name.startswith("develop") else name
    assert f"'{name}" in finding.message


def test_the_labels_of_a_volume(tmp_path: Path) -> None:
    text = "volumes: {data: {name: mine, labels: {a: b}}}\n" + HEAD
    (finding,) = load(tmp_path, text).findings
    assert finding.severity == Severity.INFO
    assert "'volumes.data.labels'" in finding.message


def test_a_ports_mode(tmp_path: Path) -> None:
    for mode in ("host", "''"):
        row = f"{{target: 80, published: 80, mode: {mode}}}"
        app = load(tmp_path, HEAD + f"    ports:\n    - {row}\n")
        assert app.findings == ()
        assert [port.host_port for port in app.services[0].ports] == [80]
    for mode in ("hots", "5", "[ingress]"):
        said = refused(tmp_path, HEAD + f"    ports:\n    - {{target: 80, mode: {mode}}}\n")
        assert "compose.yaml:5: the mode of a port must be host or ingress" in said


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "    build:\n      future: 1\n",
        HEAD + "    deploy:\n      future: 1\n",
        HEAD + "    deploy:\n      {resources: {future: 1}}\n",
        HEAD + "    deploy:\n      {resources: {limits: {future: 1}}}\n",
        HEAD + "    volumes:\n      - {type: volume, target: /d, volume: {future: 1}}\n",
        HEAD + "    volumes:\n      - {type: bind, source: /s/x, target: /d, bind: {future: 1}}\n",
        HEAD + "    volumes:\n      - {type: tmpfs, target: /d, tmpfs: {future: 1}}\n",
        HEAD + "    env_file:\n      - {path: e, future: 1}\n",
        HEAD + "    healthcheck:\n      {test: x, future: 1}\n",
        HEAD + "    ports:\n      - {target: 80, future: 1}\n",
        HEAD + "    ulimits:\n      nofile: {soft: 1, hard: 1, future: 1}\n",
        HEAD + "    x-portkit:\n      future: 1\n",
        HEAD + "    x-portkit:\n      health: {future: 1}\n",
        "services: {a: {image: x}}\nvolumes:\n\n  data:\n    future: 1\n",
    ],
)
def test_unknown_keys_inside(tmp_path: Path, text: str) -> None:
    said = refused(tmp_path, text)
    assert "compose.yaml:5:" in said
    assert "future'" in said


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("build: {context: ., ssh: [default], x-a: 1}", "'build.ssh'"),
        ("volumes: ['v:/d:nocopy']\nvolumes: {v: }", "'nocopy'"),
        (
            "volumes: [{type: volume, target: /d, volume: {nocopy: true}}]",
            "'volumes.volume.nocopy'",
        ),
        ("healthcheck: {test: x, start_interval: 1s}", "'healthcheck.start_interval'"),
        (
            "deploy: {resources: {reservations: {generic_resources: []}}}",
            "'deploy.resources.reservations.generic_resources'",
        ),
    ],
)
def test_known_keys_inside(tmp_path: Path, text: str, word: str) -> None:
    (finding,) = load(tmp_path, HEAD + f"    {text}\n").findings
    assert (finding.rule, finding.severity) == ("compose-not-carried", Severity.WARNING)
    assert finding.evidence == ("compose.yaml:4",)
    assert word in finding.message


def test_keys_of_ones_own(tmp_path: Path) -> None:
    text = (
        "    healthcheck: {x-a: 1}\n    ports: [{target: 80, published: 80, x-a: 1}]\n    x-a: 1\n"
    )
    text += "    ulimits: {core: {soft: 0, hard: 0, x-a: 1}}\n"
    text += "    x-portkit: {x-a: 1, health: {x-a: 1}}\n"
    text += "    volumes: [{type: tmpfs, target: /t, x-a: 1, tmpfs: {x-a: 1}}]\n"
    assert load(tmp_path, HEAD + text + "x-b: 1\n").findings == ()


def test_an_env_file_in_its_long_form(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("A='1' # $X\n# no\nGIVEN\nNOT\nB=\r\n C= c \n")
    raw = "    env_file: [{path: e, format: raw}, {path: f, required: false}]\n"
    wanted = {"A": "'1' # $X", "GIVEN": "g", "B": "", "C": " c "}
    assert load(tmp_path, HEAD + raw).services[0].environment == wanted
    assert "compose.yaml:4:" in refused(tmp_path, HEAD + raw.replace("raw", "toml"))
    assert "compose.yaml:4:" in refused(tmp_path, HEAD + "    env_file: [{path: f}]\n")
    for text in ("=hunter2", "A hunter2=x", "hunter2 x", "A=hunter2\0"):
        with pytest.raises(AppError) as caught:
            parse_raw(("A=1\n" + text).encode(), "f", {})
        assert "f:2:" in str(caught.value)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.5g", 512 * MIB),
        (".5k", 512),
        ("1.5 GiB", 1536 * MIB),
        ("1t", MIB * MIB),
        ("0.1b", 0),
        ("0.3g", 322122547),
    ],
)
def test_sizes_may_be_fractions(text: object, wanted: int) -> None:
    assert size(text) == wanted


@pytest.mark.parametrize("text", ["1.g", "1.2.3g", "-1g", ".", "1e3", "nan", "٣g", "9" * 30, "1ib"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        size(text)


@pytest.mark.parametrize(
    "row",
    [
        "stop_signal: SIGFOO",
        "stop_signal: 0",
        "stop_signal: 65",
        "stop_signal: RTMIN+31",
        "stop_signal: 'RTMIN+" + "9" * 5000 + "'",
        "ulimits: {zork: 1}",
        "ulimits: {NOFILE: 1}",
        "cap_add: [ZORK]",
        "cap_drop: [NET_ADMIN, CAP_]",
    ],
)
def test_words_that_linux_has_not(tmp_path: Path, row: str) -> None:
    assert "compose.yaml:4:" in refused(tmp_path, HEAD + f"    {row}\n")


def test_words_that_linux_has(tmp_path: Path) -> None:
    text = "    stop_signal: RTMIN+3\n    cap_add: [all, cap_sys_time]\n    cap_drop: [MKNOD]\n"
    text += "    ulimits: {" + ", ".join(f"{name}: 1" for name in DEFAULT_ULIMITS) + "}\n"
    service = load(tmp_path, HEAD + text).services[0]
    assert (service.stop_signal, service.cap_add) == ("RTMIN+3", ("all", "cap_sys_time"))
    assert set(DEFAULT_ULIMITS) == set(config._RLIMITS)


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.prod"])
def test_a_dockerfile_is_given(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("FROM x\n")
    with pytest.raises(AppError) as caught:
        apps.load(tmp_path / name, environ={})
    assert "compose file" not in str(caught.value)
    assert f"Name the folder instead: {tmp_path}" in caught.value.resolution
