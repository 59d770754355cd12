"""Print the figures of the code: the length of functions, docstrings, comments, `Any`.

usage: scripts/figures.py [FOLDER...]   (portkit and cli unless told)
"""

from __future__ import annotations

import ast
import io
import statistics
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("portkit", "cli")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Figures:
    """What one set of modules measures. functions: (length in lines, where), the longest first."""

    functions: tuple[tuple[int, str], ...]
    public: int  # modules, classes and functions without a leading underscore
    documented: int
    code_lines: int
    comments: int
    any_uses: int

    @property
    def median_length(self) -> float:
        """Lines of the median function, docstring included."""
        return statistics.median(length for length, _ in self.functions)

    @property
    def documented_share(self) -> float:
        """Of what is public, the part that has a docstring."""
        return self.documented / self.public

    @property
    def comments_per_100(self) -> float:
        """Lines with a comment, for 100 lines of code."""
        return 100 * self.comments / self.code_lines

    @property
    def any_per_1000(self) -> float:
        """Uses of `Any`, for 1,000 lines of code."""
        return 1000 * self.any_uses / self.code_lines


def figures(folders: tuple[str, ...] = PRODUCT) -> Figures:
    """Read every module below these folders of the repository."""
    functions: list[tuple[int, str]] = []
    public = documented = code = comments = uses = 0
    for path in sorted(found for folder in folders for found in (ROOT / folder).rglob("*.py")):
        text = path.read_text()
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, Function):
                where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                functions.append((_length(node), where))
            uses += isinstance(node, ast.Name) and node.id == "Any"
        for each in _public(tree):
            public += 1
            documented += ast.get_docstring(each) is not None
        lines, remarks = _lines(text)
        code, comments = code + lines, comments + remarks
    functions.sort(reverse=True)
    return Figures(tuple(functions), public, documented, code, comments, uses)


def _length(node: Function) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _public(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | Function]:
    """The module, its public classes and functions, and their public methods."""
    yield tree
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        yield node
        for each in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(each, Function) and not each.name.startswith("_"):
                yield each


_NO_CODE = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def _lines(text: str) -> tuple[int, int]:
    """How many lines of code there are, and how many comments. A text of several lines is a
    docstring or data, and all of its lines count."""
    rows, comments = set(), 0
    for kind, _, (first, _), (last, _), _ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind == tokenize.COMMENT:
            comments += 1
        elif kind not in _NO_CODE:
            rows.update(range(first, last + 1))
    return len(rows), comments


def main() -> None:
    """Print them, and the ten longest functions."""
    found = figures(tuple(sys.argv[1:]) or PRODUCT)
    print(f"{len(found.functions)} functions, median {found.median_length:.0f} lines")
    print(f"{found.documented} of {found.public} public names documented: ", end="")
    print(f"{found.documented_share:.1%}")
    print(f"{found.code_lines} lines of code, {found.comments_per_100:.1f} comments per 100")
    print(f"{found.any_per_1000:.1f} uses of Any per 1,000 lines")
    for length, where in found.functions[:10]:
        print(f"{length:4} {where}")


if __name__ == "__main__":
    main()
