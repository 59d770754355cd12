"""This machine's own package sources, rewritten for another Debian release. Pure but for `read`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from portkit.errors import LabError

ETC = Path("/etc/apt")


@dataclass(frozen=True)
class Source:
    """One deb line: URI, suite, components, and the keyring it names ("" = apt's own trust)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    def line(self, keyring: bool = True) -> str:
        """As it stands in sources.list(5). keyring: False leaves its option out."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by and keyring else ""
        return f"deb {option}{self.uri} {self.suite} {' '.join(self.components)}"


def parse_deb822(text: str) -> list[Source]:
    """The enabled deb sources of a *.sources file. Keys written into it are left out."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for row in block.splitlines():
            if row.startswith("#"):
                continue
            if row[:1] in {" ", "\t"} and name:
                fields[name] += " " + row.strip()
            elif ":" in row:
                name, value = row.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        # Sources (deb-src) are of no use here, and apt ignores entries that are switched off
        # (sources.list(5)).
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes") == "no":
            continue
        keyring = fields.get("signed-by", "")
        # Signed-By may also hold a key as text, or fingerprints: those cannot be passed on in one
        # line.
        keyring = keyring if keyring.startswith("/") and " " not in keyring else ""
        components = tuple(fields.get("components", "").split())
        found += [
            Source(uri, suite, components, keyring)
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return found


def parse_list(text: str) -> list[Source]:
    """The deb lines of a one-line-style file."""
    found = []
    for row in text.splitlines():
        match = re.fullmatch(
            r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)", row.split("#")[0].strip()
        )
        if match is None:
            continue
        options, uri, suite, components = match.groups()
        keyring = ""
        for option in (options or "").split():
            if option.startswith("signed-by=/"):
                keyring = option.removeprefix("signed-by=")
        found.append(Source(uri, suite, tuple(components.split()), keyring))
    return found


def for_release(sources: Iterable[Source], codename: str, release: str) -> list[Source]:
    """The sources of `codename` and its companions (-updates, -security), for `release`.

    Only component main; whatever else this machine has (third parties, backports) stays out.
    """
    wanted = (codename, f"{codename}-updates", f"{codename}-security")
    found = []
    for source in sources:
        if source.suite in wanted and "main" in source.components:
            suite = release + source.suite.removeprefix(codename)
            found.append(Source(source.uri, suite, ("main",), source.signed_by))
    return list(dict.fromkeys(found))


def read(release: str, etc: Path = ETC, os_release: Path = Path("/etc/os-release")) -> list[Source]:
    """This machine's sources for `release`. LabError when it has none of its own release."""
    match = re.search(r'^VERSION_CODENAME="?(\w+)', os_release.read_text(), re.MULTILINE)
    codename = match.group(1) if match else ""
    sources: list[Source] = []
    folder = etc / "sources.list.d"
    for path in [etc / "sources.list", *sorted(folder.glob("*.list"))]:
        if path.is_file():
            sources += parse_list(path.read_text())
    for path in sorted(folder.glob("*.sources")):
        sources += parse_deb822(path.read_text())
    found = for_release(sources, codename, release)
    if not codename or not found:
        raise LabError(
            "this machine has no Debian package sources that the lab could use",
            details=f"portkit looked for {codename or 'a codename'} in {etc}",
            resolution="Run the lab on a Debian machine where apt is set up.",
        )
    return found
