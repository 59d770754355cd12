"""The image configuration as it comes from an engine: checked, then ImageConfig. Pure.

Source: OCI image-spec v1.1 (config.md) and Docker's Healthcheck extension of it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portkit.errors import AppError, VerifyError
from portkit.guest.config import signal_number
from portkit.model import CONFIG_LIMIT, Healthcheck, ImageConfig, check_digest
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

_NANO = 1_000_000_000
_Strings = list[str] | None
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]  # Go's int64; durations are nanoseconds
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_STRICT = ConfigDict(strict=True, hide_input_in_errors=True)
_NAME = re.compile(r"[^\0-\x1f\x7f]*")


class _Health(BaseModel):
    model_config = _STRICT
    Test: _Strings = None
    Interval: _Count = 0
    Timeout: _Count = 0
    Retries: _Count = 0
    StartPeriod: _Count = 0


class _Run(BaseModel):
    model_config = _STRICT
    Env: _Strings = None
    Entrypoint: _Strings = None
    Cmd: _Strings = None
    User: str | None = None
    WorkingDir: str | None = None
    ExposedPorts: JsonObject | None = None
    Volumes: JsonObject | None = None
    StopSignal: str | None = None
    Labels: dict[str, str] | None = None
    Healthcheck: _Health | None = None


class _RootFs(BaseModel):
    model_config = _STRICT
    type: str
    diff_ids: list[str] = Field(max_length=1000)


class _Config(BaseModel):
    model_config = _STRICT
    architecture: _Word
    os: _Word
    variant: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = ""
    config: _Run | None = None
    rootfs: _RootFs


def parse_image_config(data: bytes) -> ImageConfig:
    """ImageConfig of a configuration blob; VerifyError when it is none, or says a thing twice."""
    if len(data) > CONFIG_LIMIT:
        raise _malformed(f"{len(data)} bytes, at most {CONFIG_LIMIT}")
    try:
        row = _Config.model_validate(strict_json.loads(data, most=strict_json.MAX_CHECKED))
    except ValidationError as error:
        raise _malformed(_reasons(error)) from None
    except ValueError as error:
        raise _malformed(str(error)) from None
    # The only type there is (image-spec, config.md); another one would mean layers of another kind.
    if row.rootfs.type != "layers":
        raise _malformed(f"rootfs.type is {row.rootfs.type[:50]!r}, but must be 'layers'")
    run = row.config or _Run()
    _check_words(run)
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
        # Go's maps have no order: sorted, the same image gives the same App on every run.
        exposed_ports=tuple(sorted(run.ExposedPorts or ())),
        volumes=tuple(sorted(run.Volumes or ())),
        stop_signal=run.StopSignal or "",
        labels=dict(run.Labels or {}),
        healthcheck=_healthcheck(run.Healthcheck),
        variant=row.variant,
    )


def _reasons(error: ValidationError) -> str:
    """What is wrong, and where; never the values: the environment is among them."""
    rows = error.errors(include_input=False, include_url=False, include_context=False)
    places = (".".join(str(part)[:40] for part in row["loc"][:4]) for row in rows)
    found = (f"{place}: {row['msg']}" for place, row in zip(places, rows, strict=True))
    return "\n".join(list(found)[:10])[:2000]


def _check_words(run: _Run) -> None:
    """No string that reaches execve may hold a NUL: it would be cut there. No variable's name may
    hold a control character: nothing that prints or passes on names by lines could keep it."""
    words = [*(run.Env or ()), *(run.Entrypoint or ()), *(run.Cmd or ())]
    words += [run.User or "", run.WorkingDir or "", *(run.Volumes or ())]
    if any("\0" in word for word in words):
        raise _malformed("a value contains a NUL byte")
    for number, row in enumerate(run.Env or ()):
        if not _NAME.fullmatch(row.partition("=")[0]):
            raise _malformed(f"the name of variable {number + 1} contains a control character")
    if run.StopSignal:
        try:
            signal_number(run.StopSignal)
        except AppError as error:
            raise _malformed(f"{error.brief}: {error.details}") from None


def _healthcheck(row: _Health | None) -> Healthcheck | None:
    if row is None:
        return None
    return Healthcheck(
        test=tuple(row.Test or ()),
        # 0 means the engine's default (Docker's HealthcheckConfig).
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
