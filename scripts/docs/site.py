"""Pages of the site that are made when it is built; mkdocs calls `on_files` (mkdocs.yml, hooks)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portkit_cli.main import main as command

from portkit.compat.rule import Rule
from portkit.compat.table import RULES
from portkit.model import Severity
from scripts.docs.verbs import Verb, verbs

ROOT = Path(__file__).parents[2]
# Files beside docs/ that are pages of the site as well.
_OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to those that mkdocs found in docs/."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A link out of docs/ leads to the page that stands for that file."""
    return outside_links(markdown)


def pages() -> dict[str, str]:
    """Every generated page by its path in the site."""
    found = {page: from_root((ROOT / name).read_text()) for name, page in _OUTSIDE.items()}
    found["reference/cli.md"] = command_line()
    found["reference/rules.md"] = rules()
    return found


def from_root(text: str) -> str:
    """A page from the root of the repository, with its links as they are in the site."""
    for name, page in _OUTSIDE.items():
        text = text.replace(f"]({name}", f"]({page}")
    return text.replace("](docs/", "](")


def outside_links(text: str) -> str:
    """A page of docs/, with its links to files of the root as they are in the site."""
    for name, page in _OUTSIDE.items():
        text = re.sub(rf"\]\(((?:\.\./)*)\.\./{re.escape(name)}", rf"](\g<1>{page}", text)
    return text


def command_line() -> str:
    """The reference of the command line, from click."""
    found = list(verbs(command, "portkit"))
    lines = ["# Command line", "", "Made from the command itself; `portkit VERB --help` prints it."]
    for verb in found:
        lines += ["", f"{'#' * min(2 + len(verb.words) // 3, 3)} {verb.name}", "", *_verb(verb)]
    return "\n".join(lines) + "\n"


def _verb(verb: Verb) -> Iterator[str]:
    yield from (_plain(verb.summary), "", f"    {verb.usage}", "")
    for text in verb.text:
        if text.literal:
            yield from (f"    {line}" for line in text.lines)
        else:
            yield " ".join(_plain(line) for line in text.lines)
        yield ""
    yield from ("| option | |", "|---|---|")
    for names, about in verb.options:
        yield f"| `{names}` | {cell(about)} |"


def rules() -> str:
    """The compatibility rules with their remedies, from the table in portkit/compat/table.py."""
    lines = [
        "# Remedies by rule",
        "",
        "Made from `portkit/compat/table.py`. [Compatibility](../compatibility.md) says how rules",
        "are used, and [troubleshooting](../troubleshooting.md) what to do about each.",
    ]
    for rule in RULES:
        lines += ["", f"## {rule.id}", "", *_rule(rule)]
    return "\n".join(lines) + "\n"


def _rule(rule: Rule[Any]) -> Iterator[str]:
    about = " ".join((rule.look.__doc__ or "").split())
    forms = "both forms" if len(rule.forms) > 1 else f"the {next(iter(rule.forms))} only"
    yield _plain(about)
    yield ""
    yield f"- Severity: {rule.severity}"
    yield f"- Looks at: {rule.scope}, {forms}"
    if rule.severity is Severity.ERROR:
        yield f"- A Move that it refuses ends with exit code {rule.error.exit_code}."
    if rule.remedy:
        yield f"- Remedy: {_plain(rule.remedy)}"


def _plain(text: str) -> str:
    """Text in which Markdown would find marks of its own, outside of its code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_\[\]<>|])", r"\\\1", part) for part in parts
    )


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return _plain(" ".join(text.split()))
