"""Image configurations: read, or refused; never half understood."""

import json

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
