"""Files that people take away are the whole App, or there are none."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from portkit_cli.main import main

from portkit.errors import AppError
from portkit.model import App, Artifact, Content, Form, Service
from portkit.package.save import check, save
from portkit.store import Store
from tests.factories import IMAGE

WEB = Service("web", image="web")


@pytest.mark.parametrize(
    "services",
    [
        (WEB, replace(WEB, name="db")),
        (replace(WEB, contents=(Content("/x"),)),),
        (replace(WEB, network_mode="none"),),
    ],
)
def test_a_disk_that_would_not_start(services: tuple[Service, ...]) -> None:
    app = App("shop", services, "./shop")
    with pytest.raises(AppError, match="cannot start on its own") as caught:
        check(app, tuple(Form))
    assert "FILE.portkit" in caught.value.resolution
    check(app, (Form.IMAGE,))
    check(App("shop", (WEB,), "./shop"), tuple(Form))


def test_it_is_told_before_anything_is_packed(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x}, b: {image: x}}")
    words = ["pack", str(tmp_path), "--from", "no-such-host.invalid", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == AppError.exit_code
    assert "cannot start on its own" in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_of_several_images_is_no_file_of_all(tmp_path: Path) -> None:
    images = (IMAGE, replace(IMAGE, digest="sha256:" + "5" * 64))
    artifact = Artifact(Form.IMAGE, IMAGE.digest, images, (), 0, 0)
    with pytest.raises(AppError, match="several images"):
        save(artifact, Store(tmp_path / "store"), tmp_path / "shop.tar", "shop")
    assert list(tmp_path.iterdir()) == []
