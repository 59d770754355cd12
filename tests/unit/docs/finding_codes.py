"""The rules of all Findings that the library's code can make, read from its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Codes:
    """rules: those that are written as a text. computed: modules where it is no text, and no
    parameter for which callers give one."""

    rules: frozenset[str]
    computed: frozenset[str]


@dataclass(frozen=True)
class _Maker:
    """What makes a Finding. place, keyword: of the rule among its arguments. within: only where it
    is called there: a module where its name is private, else a folder."""

    name: str
    place: int
    keyword: str
    within: Path


def codes_in(folder: Path) -> Codes:
    """What a folder's modules make. Where a function passes its parameter on as the rule, its
    callers name the rule."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}
    makers, seen = [_Maker("Finding", 0, "rule", folder)], set[_Maker]()
    rules: set[str] = set()
    computed: set[str] = set()
    while makers:
        maker = makers.pop()
        if maker in seen:
            continue
        seen.add(maker)
        for path, tree in trees.items():
            if maker.within not in (path, *path.parents):
                continue
            for call, function in _calls(tree, maker):
                match _rule_of(call, maker):
                    case ast.Constant(value=str(rule)):
                        rules.add(rule)
                    case ast.Name(id=name) if function and name in _parameters(function):
                        place = _parameters(function).index(name)
                        within = path if function.name.startswith("_") else path.parent
                        makers.append(_Maker(function.name, place, name, within))
                    case _:
                        computed.add(str(path.relative_to(folder)))
    return Codes(frozenset(rules), frozenset(computed))


def _calls(
    tree: ast.AST, maker: _Maker, function: _Function | None = None
) -> Iterator[tuple[ast.Call, _Function | None]]:
    for node in ast.iter_child_nodes(tree):
        inner = node if isinstance(node, _Function) else function
        if isinstance(node, ast.Call) and _name(node.func) == maker.name:
            yield node, inner
        yield from _calls(node, maker, inner)


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _rule_of(call: ast.Call, maker: _Maker) -> ast.expr | None:
    named = [each.value for each in call.keywords if each.arg == maker.keyword]
    return named[0] if named else call.args[maker.place] if maker.place < len(call.args) else None


def _parameters(function: _Function) -> list[str]:
    """Without self, as a call has them."""
    found = [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]
    return [each for each in found if each not in ("self", "cls")]
