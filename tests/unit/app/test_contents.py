"""Files that travel with an App, and bind mounts that do not."""

import os
from pathlib import Path
from typing import Any

import pytest

from portkit import app as apps
from portkit.app import contents
from portkit.errors import AppError
from portkit.model import App, Content, ContentKind, Finding, Mount, Severity, content_numbers

HEAD = "services:\n  a:\n    image: x\n"


def load(folder: Path, row: str, **choices: Any) -> App:
    folder.mkdir(exist_ok=True)
    (folder / "compose.yaml").write_text(HEAD + f"    {row}\n")
    return apps.load(folder, environ={"SECRET": "hunter2"}, **choices)


def bound(folder: Path, row: str, **choices: Any) -> tuple[Content | Mount, Finding]:
    """What became of the one bind mount, and the one Finding."""
    app = load(folder, f"volumes: ['{row}']", **choices)
    (service,) = app.services
    (found,) = (*service.contents, *service.volumes)
    (finding,) = app.findings
    return found, finding


def refused(folder: Path, row: str, **choices: Any) -> str:
    with pytest.raises(AppError) as caught:
        load(folder, row, **choices)
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_a_file_and_a_folder_of_the_project(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    (shop / "html/deep").mkdir(parents=True)
    (shop / "nginx.conf").write_text("12345")
    (shop / "html/deep/index.html").write_text("123")
    found, finding = bound(shop, "./nginx.conf:/etc/nginx.conf:ro")
    assert found == Content(
        "/etc/nginx.conf",
        source=shop / "nginx.conf",
        name="./nginx.conf",
        read_only=True,
        size_bytes=5,
    )
    assert (finding.rule, finding.severity) == ("content-carried", Severity.INFO)
    assert "a file, 5 bytes" in finding.message
    found, finding = bound(shop, "./html:/h")
    assert isinstance(found, Content)
    assert (found.source, found.read_only, found.size_bytes) == (shop / "html", False, 3)
    assert "3 files and folders, 3 bytes" in finding.message


def test_where_there_is_nothing_yet(tmp_path: Path) -> None:
    found, finding = bound(tmp_path, "./data:/d")
    assert found == Content("/d", name=str(tmp_path / "data"))
    assert (finding.rule, finding.severity) == ("content-empty", Severity.INFO)
    assert not (tmp_path / "data").exists()
    row = "volumes: [{type: bind, source: ./no, target: /d, bind: {create_host_path: false}}]"
    assert "compose.yaml:4: " in refused(tmp_path, row)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("../outside:/d", "outside of the project's folder"),
        ("{tmp}/outside/f:/d", "outside of the project's folder"),
        ("/nowhere/at/all:/d", "outside of the project's folder"),
        ("./link:/d", "is a link to"),
        ("./link/f:/d", "is a link to"),
        ("/dev/dri:/dev/dri", "a device of the host"),
        ("/dev/null:/d", "a device of the host"),
        ("/lib/modules:/lib/modules:ro", "the kernel of the host"),
        ("./fifo:/d", "is not a file, folder or link"),
        ("./odd:/d:ro", "is not a file, folder or link"),
        ("./base:/d", "holds data: 'base/PG_VERSION'"),
        ("./app.db:/d", "holds data: 'app.db'"),
    ],
)
def test_what_does_not_travel(tmp_path: Path, row: str, why: str) -> None:
    shop = tmp_path / "shop"
    for folder in (tmp_path / "outside", shop / "odd", shop / "base"):
        folder.mkdir(parents=True)
    (tmp_path / "outside/f").write_text("f")
    (shop / "link").symlink_to("../outside")
    os.mkfifo(shop / "fifo")
    os.mkfifo(shop / "odd/fifo")
    (shop / "base/PG_VERSION").write_text("15")
    (shop / "app.db").write_text("x")
    found, finding = bound(shop, row.format(tmp=tmp_path))
    assert isinstance(found, Mount)
    assert (finding.rule, finding.severity) == ("bind-not-carried", Severity.ERROR)
    assert why in finding.message
    assert finding.evidence == ("compose.yaml:4",)
    assert finding.remedy


def test_what_the_user_lets_travel(tmp_path: Path) -> None:
    shop, outside = tmp_path / "shop", tmp_path / "outside"
    (shop / "base").mkdir(parents=True)
    outside.mkdir()
    (shop / "base/app.db").write_text("x")
    (outside / "f").write_text("f")
    (shop / "link").symlink_to("../outside")
    for row, carry in (
        ("./base:/d", shop / "base"),
        ("../outside/f:/d", outside),
        ("./link/f:/d", outside / "f"),
        ("../outside/new:/d", outside),
    ):
        assert isinstance(bound(shop, row)[0], Mount), row
        assert isinstance(bound(shop, row, carry=[carry])[0], Content), row
    text = "volumes: ['./base:/d']\nx-portkit: {carry: [base]}"
    assert load(shop, text).services[0].contents[0].source == shop / "base"
    text = text.replace("\nx-portkit", "\n    x-portkit")
    assert load(shop, text).services[0].contents[0].source == shop / "base"
    for row in ("/dev/dri:/d", "/lib/modules:/d"):
        assert isinstance(bound(shop, row, carry=["/"])[0], Mount), row
    assert "an engine's socket" in refused(shop, "volumes: ['/run/docker.sock:/s']", carry=["/"])
    same = {"same_paths": ["/run/docker.sock"]}
    found, finding = bound(shop, "/run/docker.sock:/run/docker.sock:ro", **same)
    assert found == Mount("bind", "/run/docker.sock", "/run/docker.sock", read_only=True)
    assert (finding.rule, finding.severity) == ("bind-same-path", "warning")
    for row in ("volumes: ['data:/run/docker.sock']", "volumes: ['/x/docker.sock:/s']"):
        assert "an engine's socket" in refused(shop, row, **same)


def test_what_somebody_else_has_written_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("f")
    survey = contents.survey

    def foreign(path: Path) -> contents.Tree:
        tree = survey(path)
        return contents.Tree(tree.entries, tree.size_bytes, tree.owners | {70_000})

    monkeypatch.setattr(contents, "survey", foreign)
    assert "files of user 70000" in bound(tmp_path, "./d:/d")[1].message
    assert isinstance(bound(tmp_path, "./d:/d:ro")[0], Content)


def test_what_is_too_big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d").mkdir()
    with (tmp_path / "d/f").open("wb") as file:
        file.truncate(9 << 20)
    for choices in ({}, {"carry": [tmp_path]}):
        said = bound(tmp_path, "./d:/d:ro", **choices)[1].message
        assert "has 9437184 bytes; all files of an App together may have at most 8388608" in said
    (tmp_path / "d/f").unlink()
    (tmp_path / "d/g").write_text("g")
    monkeypatch.setattr(contents, "_ENTRIES", 1)
    assert "contains more than 1 files" in bound(tmp_path, "./d:/d:ro", carry=[tmp_path])[1].message


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/away").symlink_to("/proc")
    (tmp_path / "d/round").symlink_to("..")
    found, _ = bound(tmp_path, "./d:/d")
    assert isinstance(found, Content)
    assert found.size_bytes == 0


@pytest.mark.parametrize("path", ["/etc/localtime", "/etc/timezone"])
def test_the_time_zone_travels(tmp_path: Path, path: str) -> None:
    app = load(tmp_path, f"volumes: ['{path}:{path}:ro']")
    (finding,) = app.findings
    assert (finding.rule, finding.severity) == ("bind-replaced", Severity.INFO)
    for content in app.services[0].contents:  # none where the machine has no time zone
        assert content.data
        assert (content.target, content.read_only) == (path, True)


def test_random_numbers_are_the_kernels(tmp_path: Path) -> None:
    app = load(tmp_path, "volumes: ['/dev/urandom:/dev/random']")
    assert (app.services[0].contents, app.services[0].volumes) == ((), ())
    assert [each.rule for each in app.findings] == ["bind-replaced"]


def test_services_share_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n"
        "  a: {image: a, volumes: ['./new:/x', './other:/y']}\n"
        "  b: {image: b, volumes: ['./new/:/z']}\n"
    )
    assert content_numbers(apps.load(tmp_path).services) == ((0, 1), (0,))


def test_configs_and_secrets(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    text = (
        "configs: [c, {source: c, target: /etc/c, uid: '5', gid: '6', mode: 0440}]\n"
        "    secrets: [s, {source: f, target: x, mode: 0400}]\n"
        "configs: {c: {content: 'a${SECRET}'}}\n"
        "secrets: {s: {environment: SECRET}, f: {file: one}}"
    )
    app = load(tmp_path, text)
    config, secret = ContentKind.CONFIG, ContentKind.SECRET
    assert app.services[0].contents == (
        Content("/c", data=b"ahunter2", kind=config, name="c", size_bytes=8),
        Content("/etc/c", None, b"ahunter2", config, "c", False, 5, 6, 0o440, 8),
        Content("/run/secrets/s", None, b"hunter2", secret, "s", size_bytes=7),
        Content("/run/secrets/x", tmp_path / "one", None, secret, "f", True, size_bytes=1),
    )
    assert [each.severity for each in app.findings] == [Severity.INFO]  # a file keeps its mode
    assert "hunter2" not in repr(app)


@pytest.mark.parametrize(
    "text",
    [
        "secrets: [s]",
        "secrets: [s]\nsecrets: {s: {file: nowhere}}",
        "secrets: [s]\nsecrets: {s: {file: /proc/self/environ}}",
        "secrets: [s]\nsecrets: {s: {file: /etc}}",
        "secrets: [s]\nsecrets: {s: {file: fifo}}",
        "secrets: [s]\nsecrets: {s: {environment: NOT_SET}}",
        "secrets: [s]\nsecrets: {s: {content: x}}",
        "secrets: [s]\nsecrets: {s: }",
        "secrets: [s]\nsecrets: {s: {external: true}}",
        "secrets: [s]\nsecrets: {s: {future: 1}}",
        "secrets: [{source: s, target: /etc}]\nsecrets: {s: {environment: SECRET}}",
        "secrets: [{source: s, mode: 999999}]\nsecrets: {s: {environment: SECRET}}",
        "secrets: [{source: s, uid: root}]\nsecrets: {s: {environment: SECRET}}",
        "secrets: [{target: s}]\nsecrets: {s: {environment: SECRET}}",
        "configs: [s, {source: s, target: /s}]\nconfigs: {s: {environment: SECRET}}",
        "configs: [s]\n    tmpfs: /s\nconfigs: {s: {environment: SECRET}}",
    ],
)
def test_configs_and_secrets_that_are_none(tmp_path: Path, text: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert "compose.yaml:" in refused(tmp_path, text)
