"""`portkit check NAME.qcow2`: a disk file in a machine on a host."""

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result
from portkit_cli.commands import check as command
from portkit_cli.main import main

from portkit.model import Guests
from tests import disks
from tests.factories import facts

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs/check.schema.json").read_text())
GUESTS = Guests(("pc", "q35"), ("bios", "efi"), cpu_model="EPYC", cpu_level=3)


class Host:
    """As far as a check of disks asks it."""

    kept_s = None

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def facts(self, *, guests: bool) -> object:
        assert guests
        return facts(guests=GUESTS)


def check(*words: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(command, "connect", lambda *_, **__: Host())
    return CliRunner().invoke(main, ["check", *words, "--on", "web2"])


def test_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.qcow2"
    path.write_bytes(disks.qcow2(bytes(disks.gpt(4096, [(disks.LINUX, 64, 999, 0)]))))
    words = [str(path), "--machine", "pc-i440fx-99.0", "--headers", "--output", "json"]
    done = check(*words, monkeypatch=monkeypatch)
    assert done.exit_code == 9
    document = json.loads(done.stdout)
    jsonschema.validate(document, SCHEMA)
    (cell,) = document["cells"]
    assert (cell["app"], cell["form"], cell["verdict"]) == ("old.qcow2", "disk", "incompatible")
    errors = {row["rule"] for row in cell["findings"] if row["severity"] == "error"}
    assert errors == {"disk-bios", "disk-chipset"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("a.qcow2", "./shop"), "cannot be checked together"),
        (("./shop", "--firmware", "uefi"), "only apply to disk files"),
        (("a.qcow2", "--prove"), "read and not started"),
        (("a.qcow2", "--form", "disk"), "read and not started"),
    ],
)
def test_usage(words: tuple[str, ...], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = check(*words, monkeypatch=monkeypatch)
    assert done.exit_code == 2
    assert text in " ".join(done.stderr.replace("│", " ").split())


def test_a_disk_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.qcow2").write_bytes(b"\0" * 600)
    done = check(str(tmp_path / "a.qcow2"), monkeypatch=monkeypatch)
    assert done.exit_code != 0
    assert "does not begin as a qcow2" in done.stderr
