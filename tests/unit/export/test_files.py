"""Which files are asked for, and in which words that is refused."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from portkit_cli.main import main

from portkit.errors import AppError, ConflictError
from portkit.export import files
from portkit.export.files import Wanted
from portkit.model import App, Artifact, Form, PackedApp, Service
from portkit.move import BOTH
from portkit.progress import NullObserver
from portkit.store import Store
from tests.factories import IMAGE

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
        (Wanted(BOTH, registry="registry.example/Team"), "not valid"),
        (Wanted(BOTH, registry="https://registry.example"), "not valid"),
        (Wanted(BOTH, registry="a b"), "not valid"),
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


@pytest.mark.parametrize(
    ("names", "there", "error"),
    [
        (("a_b", "a.b"), "", AppError),
        (("a", "b"), "shop.kubernetes.yaml", ConflictError),
        (("a", "b"), "shop.secrets.yaml", ConflictError),
    ],
)
def test_what_is_refused_is_told_before_an_image_is_written(
    names: tuple[str, str], there: str, error: type[Exception], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    if there:
        (folder / there).touch()
    app = App("shop", tuple(Service(each, "x", environment={"A": "1"}) for each in names), "x")
    artifact = Artifact(Form.IMAGE, IMAGE.digest, (IMAGE,), (), 0, 0)
    made = PackedApp(app, (IMAGE, IMAGE), {Form.IMAGE: artifact})
    wanted = Wanted((Form.IMAGE,), kubernetes=True)
    with pytest.raises(error):  # and no StoreError, as nothing is in the Store
        list(files.write(folder, made, wanted, Store(tmp_path / "store"), NullObserver()))
    assert [each.name for each in folder.iterdir()] == ([there] if there else [])


def test_a_bundle_has_no_other_formats(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x}}")
    bundle = str(tmp_path / "a.portkit")
    for words in (("--disk-format", "ova"), ("--kubernetes",)):
        done = CliRunner().invoke(main, ["pack", str(tmp_path), "-o", bundle, *words])
        assert done.exit_code == 2
        assert "do not apply to a bundle" in done.stderr
