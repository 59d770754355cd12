"""How completely portkit reads the compose files in folders, and whether compose reads the same.

    python -m bench.reading FOLDER... [--compose PROGRAM] [--carry PATH] [--set NAME=VALUE] [--each]

Each folder contains compose files that others have written, at a commit that should be recorded
beside the result (docs/compose-reading.md). The benchmark starts and changes nothing in it. A file
counts as read completely if nothing that changes the App is left out; informational findings do not
count. Files with a network or volume that exists already (`external`) are counted separately: the
App joins the target's network, and its volume is created anew there. --compose: the
`docker-compose` whose `config` is the reference. --each: print a line for each file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess  # noqa: TID251 - asks compose, which is no part of portkit
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portkit import app as apps
from portkit.errors import AppError
from portkit.model import App, Finding, Severity
from tests.compose_answers import plain, whole

# A volume that is there already is made anew where the App goes.
_MADE_ANEW = re.compile(r"'volumes\..*\.external'.*")
_SPECIFIC = (  # of a reason, what is particular to its file
    (re.compile(r"^[^\n]*\n"), ""),
    (re.compile(r"^(/|e)\S*?:\d+: "), ""),
    (re.compile(r"\n.*", re.DOTALL), ""),
    (re.compile(r"'[^']*'"), "'...'"),
    (re.compile(r"(?<![\w.])[~.]?/\S*"), "PATH"),
    (re.compile(r"\b(port|user|line) \d+"), r"\1 N"),
    (re.compile(r"^(?!compose )\S+ (depends on|is in|has)\b"), r"... \1"),
    (re.compile(r": \S+$"), ": ..."),
    (re.compile(r"\d{3,}"), "N"),
    (re.compile(r"^[\w.-]+: the network"), "the network"),
    (re.compile(r"^\w+ is required: .*"), "a variable is required"),
    (re.compile(r"\S+ is an engine's socket"), "PATH is an engine's socket"),
    (re.compile(r", and whoever can .*"), ""),
)


@dataclass(frozen=True)
class Read:
    """What came of one file. reason: why it is not complete. anew: it has a network or volume that
    is there already. differing: from compose's reading."""

    path: Path
    services: int
    outcome: str  # complete | left out | refused | not valid
    reason: str = ""
    anew: bool = False
    differing: tuple[str, ...] = ()


def files(folders: Sequence[Path]) -> Iterator[Path]:
    """The compose files below the folders, without overrides, in order."""
    for folder in folders:
        found = sorted({*folder.rglob("*.yml"), *folder.rglob("*.yaml")})
        for path in (each.resolve() for each in found):
            if "override" not in path.name and _looks_like_one(path):
                yield path


def _looks_like_one(path: Path) -> bool:
    return re.search(r"^services:", path.read_text("utf-8", "replace"), re.MULTILINE) is not None


def read(path: Path, compose: str | None, carry: Sequence[str], environ: Mapping[str, str]) -> Read:
    """One file, by portkit and by compose."""
    answer = None if compose is None else ask(path, compose, environ)
    try:
        app = apps.load(path, environ=environ, carry=carry, profiles=["*"])
    except AppError as error:
        valid = answer is None or "refused" not in answer
        outcome = "refused" if valid else "not valid"
        return Read(path, _services(path), outcome, general(str(error)))
    differing: tuple[str, ...] = ()
    if answer is not None and "refused" in answer:
        differing = (f"compose refuses it: {answer['refused']}",)
    elif answer is not None:
        found = whole(app, plain(answer), Path("/nowhere"))
        differing = tuple(f"{key}: {pair}" for key, pair in sorted(found.items()))
    outcome, reason = judged(app)
    anew = any(n.external for n in app.networks) or any(v.external for v in app.volumes)
    return Read(path, len(app.services), outcome, reason, anew, differing)


def _services(path: Path) -> int:
    """How many services a file has that cannot be read, as far as anybody can tell."""
    text = path.read_text("utf-8", "replace").partition("\nservices:")[2]
    return len(re.findall(r"^  [\w.-]+:\s*(#.*)?$", re.split(r"\n(?=\w)", text)[0], re.MULTILINE))


def ask(path: Path, compose: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """What compose makes of it. Volumes that are not declared, which portkit takes for declared
    ones, are not held against a file."""
    argv = [compose, "-f", str(path), "--profile", "*", "config", "--format", "json"]
    for more in ((), ("--no-consistency",)):
        done = subprocess.run(
            [*argv, *more],
            env={"PATH": os.environ["PATH"], **environ},
            cwd=path.parent,
            capture_output=True,
            check=False,
            timeout=60,
        )
        why = (done.stderr.decode().strip().splitlines() or [""])[-1]
        if done.returncode == 0:
            found: dict[str, Any] = json.loads(done.stdout)
            return found
        if "refers to undefined volume" not in why:
            break
    return {"refused": why[:200]}


def judged(app: App) -> tuple[str, str]:
    """The outcome, and the reason that stands in the way."""
    stopped = [each for each in app.findings if each.severity is Severity.ERROR]
    if stopped:
        return "refused", general(f"\n{stopped[0].message}", bind=True)
    left = [each for each in app.findings if _left_out(each)]
    if left:
        return "left out", general(f"\n{left[0].message}", names=True)
    return "complete", ""


def _left_out(finding: Finding) -> bool:
    return (
        finding.rule == "compose-not-carried"
        and finding.severity is Severity.WARNING
        and not _MADE_ANEW.fullmatch(finding.message)
    )


def general(text: str, *, bind: bool = False, names: bool = False) -> str:
    """A reason without what is particular to its file."""
    if bind:
        text = re.sub(r"the bind mount on \S+ cannot be moved: ", "", text)
    for pattern, instead in _SPECIFIC:
        if not (names and "'...'" in instead):
            text = pattern.sub(instead, text)
    return text[:110]


def table(found: Sequence[Read]) -> str:
    """The counts, and the reasons by how often they stand in the way, as Markdown."""
    count = Counter(each.outcome for each in found)
    valid = len(found) - count["not valid"]
    anew = sum(each.outcome == "complete" and each.anew for each in found)
    several = sum(each.services > 1 for each in found)
    reasons = Counter((each.outcome, each.reason) for each in found if each.reason)
    order = sorted(reasons.items(), key=lambda row: (row[0][0], -row[1], row[0][1]))
    return "\n".join(
        [
            "| files | number |",
            "|---|--:|",
            f"| all | {len(found)} |",
            f"| of several services | {several} |",
            f"| not valid: compose refuses them too | {count['not valid']} |",
            f"| **read completely** | {count['complete']} of {valid}"
            f" ({100 * count['complete'] / max(valid, 1):.1f} %) |",
            f"| of these with an external network or volume | {anew} |",
            f"| something is left out, with a message | {count['left out']} |",
            f"| refused | {count['refused']} |",
            f"| read otherwise than by compose | {sum(bool(each.differing) for each in found)} |",
            "",
            "| outcome | reason | files |",
            "|---|---|--:|",
            *(f"| {outcome} | {reason} | {number} |" for (outcome, reason), number in order),
        ]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--compose")
    parser.add_argument("--carry", action="append", default=[])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--each", action="store_true")
    given = parser.parse_args()
    environ = {"HOME": "/root", **dict(row.split("=", 1) for row in given.set)}
    found = []
    for path in files(given.folders):
        found.append(read(path, given.compose, given.carry, environ))
        if given.each or found[-1].differing:
            one = found[-1]
            print(f"{one.outcome:9} {path} {one.reason}", *one.differing, sep="\n    ")
    print(table(found))


if __name__ == "__main__":
    main()
