"""Names that go into engines."""

import pytest

from portkit.app.names import image_reference

ID = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        "nginx",
        "nginx:1.27-Alpine",
        "library/nginx",
        "localhost/shop:1",
        "Registry.example:5000/team/shop:Tag",
        "127.0.0.1:5000/pushed:1",
        "Host/shop",
        f"shop@sha256:{ID}",
        f"sha256:{ID}",
    ],
)
def test_images(text: str) -> None:
    assert image_reference(text) == text


@pytest.mark.parametrize(
    "text", ["", "Shop", "team/Shop", "folder/", "a//b", "../shop", "./shop", "reg.example/Shop:1"]
)
def test_no_images(text: str) -> None:
    with pytest.raises(ValueError, match="is not an image's name"):
        image_reference(text)
