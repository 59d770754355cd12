"""What a profile's file has, checked: it may be anybody's."""

from __future__ import annotations

import tomllib
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from portkit.model import Form, Severity, Verdict
from portkit.text import printable

_Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(printable)]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DocumentPart(_Part):
    """One `[[documents]]`. looked_up: False where it is quoted from memory."""

    title: _Text
    address: _Text
    says: _Text
    looked_up: bool = True


class AnswerPart(_Part):
    """One `[[answers]]`."""

    rules: Annotated[list[_Name], Field(min_length=1, max_length=50)]
    severity: Severity
    message: _Text
    remedy: Annotated[str, Field(max_length=500), AfterValidator(printable)] = ""
    form: Form | None = None
    images: Annotated[list[_Name], Field(max_length=50)] = []
    verdict: Literal[Verdict.EMULATED] | None = None


class ProfileFile(_Part):
    """The whole file. absent: Facts that are known to be absent, for which TOML has no word."""

    title: _Text
    read: date
    how: Annotated[str, Field(max_length=500), AfterValidator(printable)] = ""
    assumes: Annotated[list[_Text], Field(max_length=20)] = []
    absent: Annotated[list[_Name], Field(max_length=100)] = []
    facts: Annotated[dict[_Name, object], Field(max_length=100)]
    documents: Annotated[list[DocumentPart], Field(min_length=1, max_length=50)]
    answers: Annotated[list[AnswerPart], Field(max_length=50)] = []


def read(data: bytes) -> ProfileFile:
    """The checked content; ValueError when it is not as it should be."""
    try:
        return ProfileFile.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"][:4])
        raise ValueError(f"{place}: {first['msg']}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
