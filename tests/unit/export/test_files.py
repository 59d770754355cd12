"""Which files are asked for, and in which words that is refused."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from portkit_cli.main import main

from portkit.errors import AppError
from portkit.export import files
from portkit.export.files import Wanted
from portkit.model import Form
from portkit.move import BOTH

DISK = (Form.DISK,)


def test_a_disk_for_others_is_made_from_the_image() -> None:
    assert Wanted(BOTH).packed == BOTH
    assert Wanted(DISK, "ova").packed == (Form.IMAGE,)
    assert not Wanted(BOTH).other
    assert Wanted(DISK, "raw").other


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Wanted(DISK, kubernetes=True), "needs the image"),
        (Wanted(BOTH, registry="registry.example/Team"), "malformed"),
        (Wanted(BOTH, registry="https://registry.example"), "malformed"),
        (Wanted(BOTH, registry="a b"), "malformed"),
    ],
)
def test_what_does_not_fit(wanted: Wanted, why: str) -> None:
    with pytest.raises(AppError, match=why):
        files.check(wanted)


def test_names_of_images() -> None:
    files.check(Wanted(BOTH, registry="registry.example:5000/my/team"))
    # The same name on a public registry may be anybody's, so it is never pulled.
    assert files._named("portkit/shop:1", "") == files.ImageName("portkit/shop:1", "Never")
    named = files._named("portkit/shop:1", "registry.example/team")
    assert named == files.ImageName("registry.example/team/shop:1", "IfNotPresent")


def test_a_bundle_has_no_other_formats(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x}}")
    bundle = str(tmp_path / "a.portkit")
    for words in (("--disk-format", "ova"), ("--kubernetes",)):
        done = CliRunner().invoke(main, ["pack", str(tmp_path), "-o", bundle, *words])
        assert done.exit_code == 2
        assert "are for files" in done.stderr
