"""The rows of the truth table: what is predicted of a cell, what is seen, whether both agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bench import compat_page, harness
from bench.compat_kinds import KINDS, PROFILES
from portkit.compat import profile
from portkit.move import Cell as Predicted
from portkit.move.observed import Outcome

Json = dict[str, Any]
AnyCell = Any  # compat_kinds.Cell or compat_disks.DiskCell


def by_profile(cell: AnyCell) -> bool:
    """Whether its host is known from documents only."""
    return cell.host in PROFILES or cell.host in KINDS


def kind(name: str) -> profile.Profile:
    """One of PROFILES, or of portkit's own."""
    if name in KINDS:
        return profile.load(name)
    title, plain, more = PROFILES[name]
    text = (
        f'title = "{title}"\nread = 2026-11-29\n[facts]\narchitecture = "amd64"\n{plain}\n{more}\n'
    )
    text += f'[[documents]]\ntitle = "{title}"\naddress = "bench/compat_kinds.py"\nsays = "this"\n'
    return profile.parse(text.encode(), name)


def predicted(cell: Predicted) -> Json:
    """What portkit says of a cell, with the time."""
    weighs = [row for row in cell.findings if row.severity != "info"]
    return {
        "at": now(),
        "verdict": cell.verdict.value,
        "reason": cell.reason,
        "rules": {row.rule: row.severity.value for row in weighs},
        "remedies": [row.remedy for row in weighs if row.severity == "error"],
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def agrees(cell: AnyCell, predicted: Json, observed: Json) -> bool | None:
    """Whether a cell is as predicted, and for the reason that it has to have; None where nothing
    was predicted, or it could not be tried."""
    verdict, has_rule = predicted["verdict"], cell.rule in predicted["rules"]
    if verdict == "unknown" or observed["outcome"] == Outcome.UNTRIED:
        return None
    runs = observed["outcome"] in (Outcome.RUNS, "degraded")
    right = runs == (verdict != "incompatible")
    if cell.shows and not any(words in observed["reason"] for words in cell.shows):
        return False
    if cell.symptom:
        return right and has_rule == (cell.symptom in observed["said"])
    return right and (has_rule or not cell.rule)


def row(cell: AnyCell, about: str, said: Json, observed: Json | None) -> Json:
    """As it stands in the results. about: its artifact in words. said: of it by portkit."""
    return {
        "cell": cell.name,
        "artifact": about,
        "form": cell.kind,
        "host": kind(cell.host).title if by_profile(cell) else cell.host,
        "ground": cell.ground,
        "by": "profile" if by_profile(cell) else "trial",
        "source": cell.source,
        "predicted": said,
        "observed": observed,
        "agrees": None if observed is None else agrees(cell, said, observed),
    }


def documented(cell: AnyCell) -> Json:
    """What a public report says: there is no such host here."""
    return {"at": "", "outcome": cell.says, "reason": cell.source, "said": "", "seconds": 0.0}


def record(
    cells: Sequence[AnyCell],
    found: Mapping[str, Json],
    results: compat_page.Results,
    *,
    about: Mapping[str, str],
    seen: Callable[[Any, Json], Json],
) -> None:
    """Write down what was predicted of all cells, and only then try them. found: the predictions,
    by cell. about: the artifacts in words. seen: tries a cell."""
    for cell in cells:
        results.put(row(cell, about[cell.artifact], found[cell.name], None))
    for cell in cells:
        said = found[cell.name]
        observed = documented(cell) if by_profile(cell) else seen(cell, said)
        results.put(row(cell, about[cell.artifact], said, observed))
        harness.tell(
            f"{cell.name}: {said['verdict']}, {observed['outcome']}, {observed['seconds']} s"
        )
