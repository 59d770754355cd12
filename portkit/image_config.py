"""The image configuration as it comes from an engine: checked, then ImageConfig. Pure.

Source: OCI image-spec v1.1 (config.md) and Docker's Healthcheck extension of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portkit.errors import VerifyError
from portkit.model import CONFIG_LIMIT, Healthcheck, ImageConfig, check_digest

_NANO = 1_000_000_000
_Strings = list[str] | None


class _Health(BaseModel):
    model_config = ConfigDict(strict=True)
    Test: _Strings = None
    Interval: int = Field(0, ge=0)
    Timeout: int = Field(0, ge=0)
    Retries: int = Field(0, ge=0)
    StartPeriod: int = Field(0, ge=0)


class _Run(BaseModel):
    model_config = ConfigDict(strict=True)
    Env: _Strings = None
    Entrypoint: _Strings = None
    Cmd: _Strings = None
    User: str | None = None
    WorkingDir: str | None = None
    ExposedPorts: dict[str, Any] | None = None
    Volumes: dict[str, Any] | None = None
    StopSignal: str | None = None
    Labels: dict[str, str] | None = None
    Healthcheck: _Health | None = None


class _RootFs(BaseModel):
    model_config = ConfigDict(strict=True)
    type: str
    diff_ids: list[str] = Field(max_length=1000)


class _Config(BaseModel):
    model_config = ConfigDict(strict=True)
    architecture: str
    os: str
    config: _Run | None = None
    rootfs: _RootFs


def parse_image_config(data: bytes) -> ImageConfig:
    """ImageConfig of a configuration blob; VerifyError when it is none, or says a thing twice."""
    if len(data) > CONFIG_LIMIT:
        raise _malformed(f"{len(data)} bytes, at most {CONFIG_LIMIT}")
    try:
        row = _Config.model_validate(json.loads(data, object_pairs_hook=_once))
    except (ValueError, RecursionError) as error:  # ValidationError is a ValueError
        text = str(error) if isinstance(error, ValidationError) else repr(error)
        raise _malformed(text[:2000]) from error
    if row.rootfs.type != "layers":
        raise _malformed(f"rootfs.type is {row.rootfs.type[:50]!r}, wanted 'layers'")
    run = row.config or _Run()
    _no_nul(run)
    return ImageConfig(
        digest="sha256:" + hashlib.sha256(data).hexdigest(),
        architecture=row.architecture,
        os=row.os,
        diff_ids=tuple(check_digest(text) for text in row.rootfs.diff_ids),
        env=tuple(run.Env or ()),
        entrypoint=tuple(run.Entrypoint or ()),
        cmd=tuple(run.Cmd or ()),
        user=run.User or "",
        working_dir=run.WorkingDir or "",
        exposed_ports=tuple(sorted(run.ExposedPorts or ())),
        volumes=tuple(sorted(run.Volumes or ())),
        stop_signal=run.StopSignal or "",
        labels=dict(run.Labels or {}),
        healthcheck=_healthcheck(run.Healthcheck),
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return row


def _no_nul(run: _Run) -> None:
    """No string that reaches execve may hold a NUL: it would be cut there."""
    words = [*(run.Env or ()), *(run.Entrypoint or ()), *(run.Cmd or ())]
    words += [run.User or "", run.WorkingDir or "", *(run.Volumes or ())]
    if any("\0" in word for word in words):
        raise _malformed("a value holds a NUL byte")


def _healthcheck(row: _Health | None) -> Healthcheck | None:
    if row is None:
        return None
    return Healthcheck(
        test=tuple(row.Test or ()),
        interval_s=row.Interval / _NANO or None,
        timeout_s=row.Timeout / _NANO or None,
        retries=row.Retries or None,
        start_period_s=row.StartPeriod / _NANO or None,
    )


def _malformed(why: str) -> VerifyError:
    return VerifyError(
        "an image's configuration is malformed",
        details=why,
        resolution="Build or pull the image again.",
    )
