"""The import rules of docs/architecture.md, read from the code itself."""

import ast
import graphlib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = {"app", "package", "transfer", "boot", "compat", "measure", "report"}


@cache
def statements(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The imports of a module. Only what can hold a statement is looked into, and nothing else of
    the tree is kept: all of them together are millions of nodes."""
    found: list[ast.Import | ast.ImportFrom] = []
    left: list[ast.AST] = [ast.parse(path.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            inside = getattr(node, part, None)
            left += inside if isinstance(inside, list) else []
    return tuple(found)


@cache
def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in statements(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_library_never_imports_the_terminal() -> None:
    for path in modules("portkit"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"click", "rich", "portkit_cli"}, path


def test_stages_do_not_import_each_other() -> None:
    for path in modules("portkit"):
        room = path.relative_to(ROOT / "portkit").parts[0].removesuffix(".py")
        if room not in STAGES:
            continue
        used = {name.split(".")[1] for name in imports(path) if name.startswith("portkit.")}
        assert not used & (STAGES - {room}), path


def needs(path: Path, known: set[str]) -> set[str]:
    """The modules that one imports, anywhere in it. `from room import module` needs the module;
    the room's own `__init__` is only on the way to it."""
    found: set[str] = set()
    for node in statements(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= known else names | {node.module}
    return found & known


def test_no_import_cycle() -> None:
    """Nowhere, whether at the top of a module, in a function or for type checkers only."""
    paths = {
        ".".join(path.relative_to(ROOT / base).with_suffix("").parts): path
        for base, folder in ((".", "portkit"), ("cli", "cli/portkit_cli"))
        for path in modules(folder)
    }
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    graph = {name: needs(path, set(paths)) - {name} for name, path in paths.items()}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules


def test_only_process_starts_processes() -> None:
    for path in modules("portkit") + modules("cli"):
        # The remote half is one file of the standard library that runs on another host.
        if path.name == "process.py" or "remote" in path.parts:
            continue
        assert "subprocess" not in imports(path), path


def test_the_formatter_is_obeyed() -> None:
    """Nothing is kept from it, and no `*("a", "b")` only keeps words on one line."""
    folders = ("portkit", "cli", "bench", "tests", "scripts", "examples")
    for path in (path for folder in folders for path in modules(folder)):
        text = path.read_text()
        assert "# fmt: " + "skip" not in text, path
        # The formatter writes no blank behind such a star; most files have none.
        for node in ast.walk(ast.parse(text)) if "*(" in text or "*[" in text else ():
            if isinstance(node, ast.Starred) and isinstance(node.value, ast.Tuple | ast.List):
                pytest.fail(f"{path}:{node.lineno}: write the items themselves")


def test_files_are_short() -> None:
    """One that grows beyond this holds things that belong in two."""
    for path in modules("portkit"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_no_test_imports_another() -> None:
    """What several tests need is in modules of its own: factories.py, fake_host.py and so on."""
    for path in modules("tests"):
        for name in imports(path):
            last = name.split(".")[-1] if name.startswith("tests.") else ""
            assert not last.startswith("test_"), f"{path} imports {name}"
            assert last != "conftest", f"{path} imports {name}"
