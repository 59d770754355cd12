"""Image configurations: read, or refused; never half understood."""

import json
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import VerifyError
from portkit.image_config import parse_image_config

GOOD = {
    "architecture": "amd64",
    "os": "linux",
    "config": {"Env": ["A=1"], "Cmd": ["x"], "ExposedPorts": {"80/tcp": {}}, "Volumes": None},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64]},
}


def test_read() -> None:
    config = parse_image_config(json.dumps(GOOD).encode())
    assert (config.env, config.cmd, config.exposed_ports) == (("A=1",), ("x",), ("80/tcp",))
    assert config.digest.startswith("sha256:")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"os": "linux", "os": "windows"}',
        b"[" * 100_000,
        json.dumps({**GOOD, "rootfs": {"type": "layers", "diff_ids": ["../../x"]}}).encode(),
        json.dumps({**GOOD, "rootfs": {"type": "other", "diff_ids": []}}).encode(),
        json.dumps({**GOOD, "config": {"Env": "A=1"}}).encode(),
        json.dumps({**GOOD, "config": {"Cmd": ["a\0b"]}}).encode(),
        b" " * (5 << 20),
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(VerifyError):
        parse_image_config(data)


@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    with pytest.raises(VerifyError):
        parse_image_config(data)


def changed(**run: object) -> bytes:
    """GOOD with another `config`; JSON as it stands for texts that Python would not write."""
    return json.dumps({**GOOD, "config": {"Env": ["P=hunter2"], **run}}).encode()


@pytest.mark.parametrize(
    "data",
    [
        changed(Cmd=["\ud800"]),
        changed(Env=["P=hunter2", "A\nB=hunter2"]),
        changed(Env=["P=hunter2", "A\x1b=hunter2"]),
        changed(Env=["P=hunter2", 5]),
        changed(Env=["P=hunter2\udc80"]),
        changed(Env="P=hunter2"),
        changed(StopSignal="SIGRTMIN+99999999999"),
        changed(StopSignal="SIGRTMIN+31"),
        changed(StopSignal="9" * 4000),
        changed(StopSignal="SIGNOTHING"),
        changed(StopSignal="0"),
        changed(Healthcheck={"Interval": 10**400}),
        changed(Healthcheck={"Retries": 1 << 63}),
        changed(Healthcheck={"Test": "hunter2"}),
        changed(Labels={"a": 1}, User="hunter2"),
        changed()[:-1],
        changed().replace(b"hunter2", b"hunter2\xff"),
        json.dumps({**GOOD, "architecture": "a\x1b[2J"}).encode(),
        json.dumps({**GOOD, "os": "x" * 100}).encode(),
        json.dumps({**GOOD, "os": ""}).encode(),
    ],
    ids=range(20),
)
def test_refused_without_a_value(data: bytes) -> None:
    """The environment may hold passwords: no part of the chain of errors shows any of it."""
    with pytest.raises(VerifyError, match="malformed") as caught:
        parse_image_config(data)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value, limit=0))
    assert len(caught.value.details) < 2100


def test_signals_as_an_engine_takes_them() -> None:
    for name in ("SIGTERM", "9", "RTMIN+15", "SIGRTMAX-14", "sigquit"):
        assert parse_image_config(changed(StopSignal=name)).stop_signal == name


RUN = st.fixed_dictionaries(
    {},
    optional={
        key: st.none() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
        for key in ("Env", "Cmd", "User", "StopSignal", "Volumes", "Healthcheck", "Labels")
    },
)


@given(RUN)
def test_any_run_is_read_or_refused(run: dict[str, object]) -> None:
    data = json.dumps({**GOOD, "config": run}).encode()
    try:
        config = parse_image_config(data)
    except VerifyError:
        return
    for word in (*config.env, *config.cmd, config.user, config.stop_signal):
        word.encode("utf-8")
