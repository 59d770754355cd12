from pathlib import Path

import pytest

from portkit.errors import LabError
from portkit.lab import apt

SOURCES = """\
Types: deb
# a remark
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
 bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://third.example/
Suites: stable
Components: main
"""


def test_deb822_for_another_release() -> None:
    found = apt.for_release(apt.parse_deb822(SOURCES), "bookworm", "trixie")
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert [source.line() for source in found] == [
        f"deb {keyring} http://mirror.example/debian trixie main",
        f"deb {keyring} http://mirror.example/debian trixie-updates main",
    ]


def test_one_line_style() -> None:
    text = (
        "# deb http://no.example x main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian bookworm main non-free # why\n"
        "deb-src http://m.example/debian bookworm main\n"
        "deb http://m.example/sec bookworm-security main\n"
    )
    assert apt.for_release(apt.parse_list(text), "bookworm", "testing") == [
        apt.Source("http://m.example/debian", "testing", ("main",), "/k.gpg"),
        apt.Source("http://m.example/sec", "testing-security", ("main",)),
    ]


def test_an_inline_key_is_left_to_the_trusted_keyrings() -> None:
    text = "Types: deb\nURIs: http://m.example\nSuites: bookworm\nComponents: main\n"
    text += "Signed-By:\n -----BEGIN\n abc\n"
    assert apt.parse_deb822(text)[0].signed_by == ""


def test_a_machine_without_sources(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('VERSION_CODENAME="bookworm"\n')
    with pytest.raises(LabError):
        apt.read("trixie", tmp_path, release)
    (tmp_path / "sources.list").write_text("deb http://m.example bookworm main\n")
    assert [source.suite for source in apt.read("trixie", tmp_path, release)] == ["trixie"]
