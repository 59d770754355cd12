"""Pages and the links between them, as files of the repository and as pages of the site."""

import importlib
import re
from pathlib import Path

import pytest

from portkit import compat
from portkit.remote.serve import VERBS
from scripts.docs import site

ROOT = Path(__file__).parents[3]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})
MADE = {ROOT / "docs" / name for name in site.pages()}
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_a_file_or_to_a_page_that_is_made(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" not in link:
            there = (page.parent / link).resolve()
            assert there.is_file() or there in MADE, link


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    here = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert listed == here | set(site.pages())


def test_links_between_the_root_and_docs_hold_on_the_site() -> None:
    assert (
        site.from_root("[a](docs/a.md) [b](CONTRIBUTING.md#x)")
        == "[a](a.md) [b](contributing.md#x)"
    )
    assert site.outside_links("[a](../CHANGELOG.md)") == "[a](changelog.md)"
    assert site.outside_links("[a](../../SECURITY.md)") == "[a](../security.md)"


def test_the_command_line_page_has_every_verb_with_its_options() -> None:
    page = site.command_line()
    assert "## portkit move\n" in page
    assert "### portkit lab up\n" in page
    assert "| `--form [image|disk|both]` |" in page
    assert "    portkit move ./shop --to web2 --form disk --keep disk\n" in page


def test_the_page_of_remedies_has_every_rule() -> None:
    page = site.rules()
    for rule in compat.RULES:
        assert f"\n## {rule.id}\n" in page


def test_the_protocol_page_has_every_verb() -> None:
    page = (ROOT / "docs/protocol.md").read_text()
    listed = {name for name in re.findall(r"`([a-z.]+)`", page) if name in VERBS or "." in name}
    assert set(VERBS) <= listed


def test_every_name_on_the_page_of_the_python_api_exists() -> None:
    page = (ROOT / "docs/reference/api.md").read_text()
    for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
