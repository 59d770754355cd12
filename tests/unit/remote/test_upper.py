"""The folder of what a container has changed is only looked at."""

import os
from pathlib import Path

from portkit.remote.upper import Upper
from portkit.remote.volume_disk import used
from portkit.wire import beneath


def test_looking_changes_no_atime(tmp_path: Path) -> None:
    below = tmp_path / "etc"
    below.mkdir()
    (below / "file").write_bytes(b"x")
    paths = [tmp_path, below, below / "file"]
    for each in paths:
        # Older than the mtime: mount(8), relatime changes each such atime.
        os.utime(each, ns=(1, each.stat().st_mtime_ns))
    upper = Upper(str(tmp_path))
    assert upper.listed() == {"etc": False, "etc/file": False}
    assert list(upper.written()) == ["etc/file"]
    assert used(str(tmp_path)) > 0
    descriptor = beneath.open_file(str(tmp_path), "etc/file")
    assert os.read(descriptor, 1) == b"x"
    os.close(descriptor)
    assert [each.stat().st_atime_ns for each in paths] == [1, 1, 1]
