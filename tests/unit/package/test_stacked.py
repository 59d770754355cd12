"""A tree for each layer, laid over each other as overlayfs does it, is the image's tree."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from portkit import process
from portkit.errors import VerifyError
from portkit.package import ext4, tarball
from portkit.package.flatten import flattened, stacked
from portkit.package.tree import WHITEOUT, Node, Tree
from tests.unit.package.layers import Row, layer

Told = tuple[bytes, str, int, bytes]  # kind, target of a link, mode, content


def overlay(folders: Sequence[Node], path: str = "") -> Iterator[tuple[str, Node]]:
    """What overlayfs shows of folders, the topmost first (Documentation/filesystems/overlayfs.rst).

    Written from that page, and not from portkit's own merging."""
    for name in sorted({name for folder in folders for name in folder.children}):
        found = [folder.children[name] for folder in folders if name in folder.children]
        top = found[0]
        if top.kind == WHITEOUT:
            continue
        below = f"{path}/{name}"
        yield below, top
        if not top.folder:
            continue
        merged = list(itertools.takewhile(lambda node: node.folder, found))
        opaque = next((n for n, node in enumerate(merged) if node.opaque), len(merged))
        yield from overlay(merged[: opaque + 1], below)


def told(tree: Tree, rows: Iterator[tuple[str, Node]]) -> dict[str, Told]:
    found = {}
    for path, node in rows:
        member = tree.member(node)
        data = b""
        if member is not None and node.kind == tarball.FILE:
            data = b"".join(tarball.content(tree.layers[node.layer], member))
        mode = 0o755 if member is None else member.mode
        found[path] = (node.kind, node.link, mode, data)
    return found


NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/c", "a/b/d", "b/a", ".wh.a", "a/.wh.b", "a/.wh..wh..opq"]
)
ROWS = st.tuples(st.sampled_from("fdlh"), NAMES, st.sampled_from(["a", "b", "a/b", "/c", ".."]))


@example([[("d", "a", "a")], [("f", "a/.wh..wh..opq", "a")]])  # opaque, and not named itself
@given(st.lists(st.lists(ROWS, max_size=6), min_size=1, max_size=4))
def test_overlayfs_makes_the_tree_of_an_image(layers: list[list[Row]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            layer(Path(folder) / str(number), rows, mode=0o700 + number)
            for number, rows in enumerate(layers)
        ]
        chains = [tuple(paths[: number + 1]) for number in range(len(paths))]
        try:
            with flattened(paths) as tree:
                flat = told(tree, ((f"/{path}", node) for path, node in tree.walk() if path))
        except VerifyError:
            return
        with stacked(chains) as tree:
            trees = tree.root.children["layers"].children
            top_first = [trees[str(number)] for number in reversed(range(len(paths)))]
            assert told(tree, overlay(top_first)) == flat


def test_a_layer_on_the_disk(tmp_path: Path) -> None:
    """Whiteouts and opaque folders as overlayfs reads them; e2fsck has nothing to say."""
    lower = layer(tmp_path / "0", [("d", "a", ""), ("f", "a/x", "1"), ("f", "b", "2")])
    upper = layer(
        tmp_path / "1", [("f", ".wh.b", ""), ("f", "a/.wh..wh..opq", ""), ("f", "a/y", "3")]
    )
    out, size = tmp_path / "disk", 64 << 20
    with stacked([(lower,), (lower, upper)]) as tree, out.open("w+b") as file:
        file.truncate(size)
        ext4.write(ext4.plan(tree), file, 0, size, uuid=bytes(16), label=b"x")
    process.run(["e2fsck", "-f", "-n", out], timeout=120)

    def debugfs(command: str) -> str:
        return process.run(["debugfs", "-R", command, out], timeout=60).text

    assert "character special" in debugfs("stat /layers/1/b")
    assert "Device major/minor number: 00:00" in debugfs("stat /layers/1/b")
    assert (
        debugfs("ea_get /layers/1/a trusted.overlay.opaque")
        == 'trusted.overlay.opaque (1) = "y"\n\n'
    )
    assert debugfs("cat /layers/0/b") == "2"
    assert debugfs("cat /layers/1/a/y") == "3"


def test_layers_that_two_images_share_are_there_once(tmp_path: Path) -> None:
    base = layer(tmp_path / "base", [("f", "base", "")])
    first, second = (layer(tmp_path / name, [("f", name, "")]) for name in ("first", "second"))
    with stacked([(base,), (base, first), (base, second)]) as tree:
        trees = tree.root.children["layers"].children
        assert {name: list(node.children) for name, node in trees.items()} == {
            "0": ["base"],
            "1": ["first"],
            "2": ["second"],
        }
