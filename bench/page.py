"""Makes docs/benchmarks.md from every bench/results/*.json: `python -m bench.page`."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.harness import RESULTS

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"

_HEAD = """\
# Benchmarks

`python -m bench.page` makes this page from bench/results/*.json; do not edit it by hand. Figures
are medians. `ratio` is ours divided by peer, and `bar` is the most that it may be (without a peer:
the most that ours may be). Ours and peer run in turns on the same machine; the values of each run
are listed below each table.
"""

Document = dict[str, Any]


def page(results: Iterable[tuple[str, list[Document]]]) -> str:
    """The whole page. Each name's text is the docstring of bench/NAME.py."""
    return "\n".join([_HEAD, *(_section(name, rows) for name, rows in results if rows)])


def _section(name: str, rows: list[Document]) -> str:
    lines = [f"## {name}", "", _about(name), "", *_conditions(rows), ""]
    lines += ["| row | ours | peer | ratio | bar | |", "|---|--:|--:|--:|--:|---|"]
    for row in rows:
        cells = [_figure(row["ours"], row["unit"]), _figure(row["peer"], row["unit"])]
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3f}"
        cells += [ratio, _number(row["limit"]), _verdict(row)]
        lines.append(f"| {row['row']} | {' | '.join(cells)} |")
    lines.append("")
    for row in rows:
        ours, peer = (", ".join(_number(v) for v in row["runs"][side]) for side in ("ours", "peer"))
        lines.append(f"- {row['row']}: ours {ours}" + (f"; peer {peer}" if peer else ""))
    return "\n".join([*lines, ""])


def _conditions(rows: list[Document]) -> list[str]:
    """Date, command and machine; more than one line only where rows were made apart."""
    lines = []
    for row in rows:
        of = row["machine"]
        lines.append(
            f"{row['date']}, `{row['command']}`, {of['cpu']}, {of['cores']} cores, "
            f"{of['memory_gib']} GiB, Linux {of['kernel']}."
        )
    return list(dict.fromkeys(lines))


def _about(name: str) -> str:
    path = HERE / f"{name}.py"
    # Read, not imported: a page must not depend on what a benchmark needs.
    return (ast.get_docstring(ast.parse(path.read_text())) or "") if path.exists() else ""


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{_number(value)} {unit}"


def _verdict(row: Document) -> str:
    if row["limit"] is None:
        return ""
    value = row["ours"] if row["ratio"] is None else row["ratio"]
    return "met" if value <= row["limit"] else "missed"


def main() -> None:
    paths = sorted(RESULTS.glob("*.json"))
    PAGE.write_text(page((path.stem, json.loads(path.read_text())) for path in paths))


if __name__ == "__main__":
    main()
