"""Layers made by hand -> the tree that an engine would show."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import VerifyError
from tests.trees import flatten
from tests.unit.package.layers import Row, layer


def tree(tmp_path: Path, *layers: list[Row], **pax: str) -> dict[str, str]:
    """name -> "kind content" of the flattened tar."""
    paths = [layer(tmp_path / str(i), rows, **pax) for i, rows in enumerate(layers)]
    out = io.BytesIO()
    flatten(paths, out)
    out.seek(0)
    found = {}
    with tarfile.open(fileobj=out) as bundle:
        for info in bundle:
            assert (info.uname, info.gname) == ("", "")
            file = bundle.extractfile(info) if info.isreg() else None
            text = file.read().decode() if file else info.linkname
            kind = {"0": "f", "5": "d", "2": "l", "1": "h", "3": "c", "6": "p"}[info.type.decode()]
            assert info.name not in found
            found[info.name] = f"{kind} {text}".strip()
    assert found.pop(".") == "d"
    return found


def test_upper_over_lower(tmp_path: Path) -> None:
    lower: list[Row] = [("d", "a/", ""), ("f", "a/x", "1"), ("f", "a/y", "1"), ("d", "b", "")]
    upper: list[Row] = [("f", "a/x", "2"), ("f", "b", "file now"), ("f", "./c//d", "deep")]
    assert tree(tmp_path, lower, upper) == {
        "a": "d",
        "a/x": "f 2",
        "a/y": "f 1",
        "b": "f file now",
        "c": "d",
        "c/d": "f deep",
    }


def test_whiteouts_touch_only_what_is_below(tmp_path: Path) -> None:
    lower: list[Row] = [("f", "a/x", "1"), ("f", "a/y", "1"), ("f", "o/old", "1"), ("f", "z", "1")]
    upper: list[Row] = [
        ("f", "a/x", "2"),
        ("f", "a/.wh.x", ""),
        ("f", "a/.wh.y", ""),
        ("f", "o/new", "2"),
        ("f", "o/.wh..wh..opq", ""),
        ("f", ".wh.z", ""),
        ("f", ".wh.never", ""),
    ]
    assert tree(tmp_path, lower, upper) == {"a": "d", "a/x": "f 2", "o": "d", "o/new": "f 2"}


def test_hard_links_are_one_file(tmp_path: Path) -> None:
    lower: list[Row] = [("f", "a", "1"), ("h", "b", "a"), ("h", "d/c", "a")]
    assert tree(tmp_path, lower) == {"a": "f 1", "b": "h a", "d": "d", "d/c": "h a"}
    upper: list[Row] = [("f", "a", "2")]
    assert tree(tmp_path, lower, upper) == {"a": "f 2", "b": "f 1", "d": "d", "d/c": "h b"}
    gone: list[Row] = [("f", ".wh.a", "")]
    assert tree(tmp_path, lower, gone) == {"b": "f 1", "d": "d", "d/c": "h b"}


def test_parents_are_followed_inside(tmp_path: Path) -> None:
    lower: list[Row] = [("d", "usr/lib", ""), ("l", "lib", "usr/lib"), ("l", "abs", "/../usr")]
    upper: list[Row] = [("f", "lib/x", "1"), ("f", "abs/y", "2")]
    found = tree(tmp_path, lower, upper)
    assert found["lib"] == found["abs"] == "d", "a layer is unpacked by itself: they hide the links"
    assert (found["lib/x"], found["abs/y"]) == ("f 1", "f 2")
    found = tree(tmp_path, [*lower, *upper])
    assert found["usr/lib/x"] == "f 1"
    assert found["usr/y"] == "f 2"
    assert found["lib"] == "l usr/lib"


def test_odd_things_survive(tmp_path: Path) -> None:
    name = "n\udcff\n 'x'" + "y" * 150
    rows: list[Row] = [("f", name, "1"), ("c", "null", ""), ("p", "pipe", "")]
    key = "SCHILY.xattr.security.capability"
    value = "\x01\x00\x00\x02\udc80"
    paths = [layer(tmp_path / "0", rows, **{key: value, "SCHILY.xattr.trusted.overlay.x": "y"})]
    out = io.BytesIO()
    assert flatten(paths, out) == 4
    out.seek(0)
    with tarfile.open(fileobj=out) as bundle:
        infos = {info.name: info for info in bundle}
    assert infos[name].pax_headers[key] == value
    assert "SCHILY.xattr.trusted.overlay.x" not in infos[name].pax_headers
    assert (infos["null"].devmajor, infos["null"].devminor) == (1, 3)
    assert (infos["pipe"].uid, infos["pipe"].gid) == (1234, 5678)


@pytest.mark.parametrize(
    "rows",
    [
        [("h", "a", "../../etc/shadow")],
        [("h", "a", "missing")],
        [("l", "a", "b"), ("l", "b", "a"), ("f", "a/x", "1")],
        [("f", "a", "1"), ("f", "a/x", "1")],
        [("f", ".wh...", "")],
    ],
)
def test_refused(tmp_path: Path, rows: list[Row]) -> None:
    with pytest.raises(VerifyError):
        tree(tmp_path, rows)


NAMES = st.sampled_from(["a", "b", "a/b", "a/c", "b/a", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", "c"])
ROWS = st.tuples(st.sampled_from("fdlh"), NAMES, st.sampled_from(["a", "b", "a/b", "/c", ".."]))


@given(st.lists(st.lists(ROWS, max_size=6), max_size=3))
def test_any_layers_end_in_a_tree_or_an_error(layers: list[list[Row]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            found = tree(Path(folder), *layers)
        except VerifyError:
            return
    for name in found:
        assert ".wh." not in name
        parent = name.rpartition("/")[0]
        assert not parent or found[parent] == "d"


@given(st.binary(max_size=2000))
def test_noise(data: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            flatten([Path(file.name)], io.BytesIO())
        except VerifyError:
            return


@pytest.mark.parametrize(("told", "kept"), [(-5.0, 0), (1e11, 0), (7.5, 7.5)])
def test_times_are_those_that_an_engine_can_set(tmp_path: Path, told: float, kept: float) -> None:
    with tarfile.open(tmp_path / "0", "w", format=tarfile.PAX_FORMAT) as bundle:
        info = tarfile.TarInfo("x")
        info.mtime = told
        bundle.addfile(info)
    out = io.BytesIO()
    flatten([tmp_path / "0"], out)
    out.seek(0)
    with tarfile.open(fileobj=out) as bundle:
        assert bundle.getmember("x").mtime == kept
