from pathlib import Path

from portkit.lab import base


def test_the_authorities_that_were_added_to_the_machine_are_in_the_image(tmp_path: Path) -> None:
    (tmp_path / "own.crt").write_bytes(b"own")
    (tmp_path / "README").write_bytes(b"none")
    files = base.trusted(b"all", tmp_path)
    assert files["etc/ssl/certs/ca-certificates.crt"] == b"all"
    # Where the package ca-certificates looks for them when it writes the bundle anew.
    assert files["usr/local/share/ca-certificates/own.crt"] == b"own"
    assert "etc/pip.conf" in files
    assert len(files) == 3
    assert base.trusted(b"", tmp_path) == {}
