"""Hosts that cannot be asked: what documents say of a kind of host, each in a file of its own.

A profile gives the same Facts as a host that is asked. What its documents do not say is unknown,
and a rule that has to know it says so. `profiles/*.toml` come with portkit; a file of one's own has
the same form (docs/how-to/check.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.errors import AppError, HostError
from portkit.model import Facts, Finding, Form, Severity, Verdict
from portkit.text import printable

if TYPE_CHECKING:
    from portkit.compat.profile_file import ProfileFile

_LIMIT = 64 << 10  # bytes; the longest of ours has 3000
_FOLDER = resources.files("portkit.compat") / "profiles"
# What every Facts must have. Where a profile leaves one out it is unknown, and no rule sees this.
# In these parts of Facts an empty field is unknown, and rules treat it so.
_PARTS = frozenset({"linux", "engine", "guests"})
_NOTHING: Mapping[str, object] = {
    "os_id": "",
    "os_version": "",
    "architecture": "",
    "kernel": "",
    "cpus": 1,
    "memory_bytes": 0,
    "memory_available_bytes": 0,
    "store_free_bytes": 0,
    "python": "",
}


@dataclass(frozen=True)
class Document:
    """What was read. address: where it is, in words; says: what was taken from it. looked_up:
    False where it was not opened for this profile, but is known to say so."""

    title: str
    address: str
    says: str
    looked_up: bool = True


@dataclass(frozen=True)
class Answer:
    """What the documents say where a rule finds something, or cannot judge: it stands in place of
    what the rule says.

    form: in which alone it holds; None is both. images: the architectures of images for which
    alone it holds; none named is all. verdict: what the Form amounts to, if not what the severities
    say.
    """

    rules: frozenset[str]
    severity: Severity
    message: str
    remedy: str = ""
    form: Form | None = None
    images: frozenset[str] = frozenset()
    verdict: Verdict | None = None

    def holds(self, finding: Finding, form: Form, images: Collection[str]) -> bool:
        """Whether it stands in place of this Finding. images: the architectures of the App's."""
        here = self.form in (None, form) and (not self.images or self.images >= set(images))
        return here and finding.rule in self.rules

    def finding(self, rule: str, title: str) -> Finding:
        """It as a Finding. rule: in whose place it stands; title: of the profile."""
        return Finding(rule, self.severity, self.message, (title,), self.remedy)


@dataclass(frozen=True)
class Profile:
    """A kind of host. read: when it was written from its documents. known: the fields of `facts`
    that the documents state. assumes: conditions that a machine of the kind must meet for this to
    be true. how: how an App gets there, if `portkit move` cannot reach it."""

    name: str
    title: str
    read: date
    facts: Facts
    known: frozenset[str]
    documents: tuple[Document, ...]
    answers: tuple[Answer, ...] = ()
    assumes: tuple[str, ...] = ()
    how: str = ""

    @property
    def unknown(self) -> frozenset[str]:
        """The fields of `facts` that the documents do not say."""
        return frozenset(field.name for field in fields(Facts)) - self.known

    def answered(
        self, findings: Iterable[Finding], form: Form, images: Collection[str]
    ) -> tuple[tuple[Finding, ...], Verdict | None]:
        """The findings with the documents' own answers in their places, and the Verdict that an
        answer gives, if one does. images: the architectures of the App's images."""
        found: list[Finding] = []
        given: list[Answer] = []
        for finding in findings:
            answer = next((a for a in self.answers if a.holds(finding, form, images)), None)
            if answer is None:
                found.append(finding)
            elif answer not in given:  # it is given once, under the first of its rules
                given.append(answer)
                found.append(answer.finding(finding.rule, self.title))
        verdicts = [answer.verdict for answer in given if answer.verdict is not None]
        return tuple(found), next(iter(verdicts), None)


def names() -> tuple[str, ...]:
    """The profiles that come with portkit."""
    found = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def load(name: str) -> Profile:
    """One of portkit's own profiles by its name, or the one in a file NAME.toml; AppError
    otherwise."""
    if name in names():
        return parse((_FOLDER / f"{name}.toml").read_bytes(), name)
    if not name.endswith(".toml"):
        raise AppError(
            "portkit has no such profile",
            details=f"{printable(name, 200)!r} is not one of: {', '.join(names())}",
            resolution="Use one of these, or a file of your own (NAME.toml). To choose a profile "
            "of the compose file, use --compose-profile.",
        )
    path = Path(name)
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(name, getattr(error, "strerror", None) or str(error)) from error
    return parse(data, printable(path.stem, 80))


def parse(data: bytes, name: str) -> Profile:
    """The profile in the content of a file; AppError when it is none."""
    from portkit.compat.profile_file import read  # pydantic

    if len(data) > _LIMIT:
        raise _unreadable(name, f"it has more than {_LIMIT} bytes")
    try:
        return _profile(read(data), name)
    except ValueError as error:
        raise _unreadable(name, str(error)) from None


def _unreadable(name: str, why: str) -> AppError:
    return AppError(
        "the profile cannot be read",
        details=printable(f"{name}: {why}", 1000),
        resolution="docs/how-to/check.md describes what a profile contains.",
    )


def _profile(told: ProfileFile, name: str) -> Profile:
    from portkit.host.facts import parse_facts  # pydantic

    values = {**told.facts, **dict.fromkeys(told.absent, None)}
    own = {"host": name, "endpoint": "by documentation", "os_name": told.title}
    strange = set(values) - {field.name for field in fields(Facts)} | set(values) & set(own)
    if strange:
        raise ValueError(f"there is no field {', '.join(sorted(strange))} in Facts")
    try:
        facts = parse_facts({**_NOTHING, **values, **own})
    except HostError as error:
        raise ValueError(f"facts: {error.details}") from None
    return Profile(
        name=name,
        title=told.title,
        read=told.read,
        facts=facts,
        known=frozenset(values) | frozenset(own) | _PARTS,
        documents=tuple(
            Document(row.title, row.address, row.says, row.looked_up) for row in told.documents
        ),
        answers=tuple(
            Answer(
                rules=frozenset(row.rules),
                severity=row.severity,
                message=row.message,
                remedy=row.remedy,
                form=row.form,
                images=frozenset(row.images),
                verdict=row.verdict,
            )
            for row in told.answers
        ),
        assumes=tuple(told.assumes),
        how=told.how,
    )
