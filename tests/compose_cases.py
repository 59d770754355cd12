"""The files whose reading is compared with compose's: fixtures/compose.

A case is `== NAME` and lines of the service `a`, which has the image `x`; a line that begins with +
is one of the top level. A case whose first line begins with ! is a whole file. `-- FILE` begins
another file of the folder; `bom`, `crlf` and `open` (no newline at its end) behind the name say how
it is written. `-- args` is what else is on compose's command line: such a case is compared as a
whole project, and nothing is put around its file.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "fixtures/compose"
RECORDED = FOLDER / "recorded.json"
_HEAD = "services:\n  a:\n    image: x\n"


def cases() -> dict[str, dict[str, str]]:
    """Name -> the files' texts by their names."""
    found = {}
    for path in sorted(FOLDER.glob("*.txt")):
        for block in ("\n" + path.read_text("utf-8")).split("\n== ")[1:]:
            name, _, rest = block.partition("\n")
            found[f"{path.stem}/{name}"] = _files(rest)
    return found


def _files(text: str) -> dict[str, str]:
    first, *others = ("\n" + text).split("\n-- ")
    whole = any(other.startswith("args\n") or other == "args" for other in others)
    text = first.removeprefix("\n")
    files = {"compose.yaml": f"{text}\n" if whole else _compose(text)}
    for other in others:
        head, _, content = other.partition("\n")
        name, *ways = head.split()
        content = content.removesuffix("\n") + ("" if "open" in ways else "\n")
        content = ("\ufeff" if "bom" in ways else "") + content
        files[name] = content.replace("\n", "\r\n") if "crlf" in ways else content
    return files


def _compose(text: str) -> str:
    if text.startswith("!"):
        return text[1:] + "\n"
    rows = text.rstrip("\n").split("\n")
    inner = "".join(f"    {row}\n" for row in rows if not row.startswith("+"))
    return _HEAD + inner + "".join(f"{row[1:]}\n" for row in rows if row.startswith("+"))


def recorded() -> tuple[str, dict[str, Any]]:
    """The version of compose, and its answers by the cases' names."""
    data = json.loads(RECORDED.read_text("utf-8"))
    return data["version"], data["answers"]


def record(version: str, answers: dict[str, Any]) -> None:
    """Write what a compose answered, one line for each case."""
    rows = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(answer, ensure_ascii=False, sort_keys=True)}"
        for name, answer in sorted(answers.items())
    )
    text = f'{{"version": {json.dumps(version)}, "answers": {{\n{rows}\n}}}}\n'
    RECORDED.write_text(text, encoding="utf-8")
