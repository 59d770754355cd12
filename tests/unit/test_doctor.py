import os
import socket
from pathlib import Path

import pytest

from portkit import doctor
from portkit.doctor import Check, Tool
from portkit.remote import leases


def test_a_missing_tool_names_its_package() -> None:
    check = doctor.check_tool(Tool("no-such-program-here", "some-package", "a reason"))
    assert not check.ok
    assert check.fix == "apt-get install some-package"
    assert "a reason" in check.found


def test_a_present_tool_tells_where() -> None:
    check = doctor.check_tool(Tool("sh", "dash", "shells"))
    assert check.ok
    assert check.found.endswith("/sh")


@pytest.mark.parametrize(
    ("script", "ok", "found"),
    [
        ("echo 28.5.1", True, ", engine 28.5.1"),
        ("echo 'Cannot connect to the daemon' >&2; exit 1", False, "Cannot connect to the daemon"),
        ("exec sleep 60", False, "did not finish within 0.5 s"),
    ],
)
def test_an_engine_counts_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, ok: bool, found: str
) -> None:
    program = tmp_path / "engine"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    if "sleep" in script:
        monkeypatch.setattr(doctor, "_ENGINE_S", 0.5)
    check = doctor.check_docker(Tool(str(program), "docker.io", "building", needed=False))
    assert (check.ok, found in check.found) == (ok, True)


def test_podman_counts_where_its_service_listens(tmp_path: Path) -> None:
    program, place = tmp_path / "podman", tmp_path / "podman.sock"
    tool = Tool(str(program), "podman", "running images", needed=False)
    assert doctor.check_podman(tool, place).fix == "apt-get install podman"
    program.write_text("#!/bin/sh\necho 5.4.2\n")
    program.chmod(0o755)
    check = doctor.check_podman(tool, place)
    assert not check.ok
    assert f"engine 5.4.2; nothing listens at {place}" in check.found
    assert check.fix == "systemctl enable --now podman.socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        assert doctor.check_podman(tool, place).ok
    program.write_text("#!/bin/sh\necho no storage >&2; exit 125\n")
    check = doctor.check_podman(tool, place)
    assert not check.ok
    assert "no storage" in check.found
    assert check.fix


def test_a_folder_that_this_user_may_not_look_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian makes /run/podman for root alone."""
    program, place = tmp_path / "podman", tmp_path / "run/podman.sock"
    program.write_text("#!/bin/sh\necho 5.4.2\n")
    program.chmod(0o755)
    place.parent.mkdir(mode=0)
    if os.geteuid() == 0:  # whom no mode keeps out

        def refused(self: Path, **_: bool) -> os.stat_result:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "stat", refused)
    tool = Tool(str(program), "podman", "running images", needed=False)
    check = doctor.check_podman(tool, place)
    assert not check.ok
    assert f"this user may not look into {place.parent}" in check.found


@pytest.mark.parametrize(
    ("text", "daemon", "ok", "found"),
    [
        ("exit 0", True, True, "has it"),
        ("exit 0", False, False, "guestfsd not found"),
        (
            "echo \"ModuleNotFoundError: No module named 'guestfs'\" >&2; exit 1",
            True,
            False,
            "guestfs",
        ),
    ],
)
def test_libguestfs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, daemon: bool, ok: bool, found: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{text}\n")
    python.chmod(0o755)
    monkeypatch.setattr(doctor.inside, "python", lambda: str(python))
    monkeypatch.setattr(
        doctor.shutil, "which", lambda *_, **__: "/usr/sbin/guestfsd" if daemon else None
    )
    check = doctor.check_libguestfs()
    assert (check.ok, check.needed, found in check.found) == (ok, False, True)
    assert check.fix == "apt-get install python3-guestfs guestfsd"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import ctypes\nctypes.CDLL('no-such-library.so.0')", "OSError: no-such-library.so.0: "),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise ImportError('two\\nlines \\x1b[31m')", "lines [31m"),
        ("import os\nos.abort()", "exit code -6"),
        ("import time\ntime.sleep(60)", "did not finish within 0.5 s"),
    ],
)
def test_a_module_that_is_there_and_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: str
) -> None:
    (tmp_path / "pk_broken.py").write_text(text)
    if "sleep" in text:
        monkeypatch.setattr(doctor, "_IMPORT_S", 0.5)
    check = doctor.check_module("pk_broken", "fix it", {"PYTHONPATH": str(tmp_path)})
    assert not check.ok
    assert check.needed
    assert found in check.found
    assert "\n" not in check.found


def test_modules_that_are_there_and_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pk_here.py").write_text("")
    assert doctor.check_module("json", "").found == "importable"
    check = doctor.check_module("pk_here", "")
    assert not check.ok, "the folder that we stand in is not looked at"
    assert check.found == "ModuleNotFoundError: No module named 'pk_here'"


def test_only_what_is_needed_stops_us() -> None:
    assert doctor.ready([Check("a", True, True, ""), Check("b", False, False, "")])
    assert not doctor.ready([Check("a", True, True, ""), Check("b", False, True, "")])


def test_no_device_is_no_kvm(tmp_path: Path) -> None:
    assert not doctor.check_kvm(tmp_path / "kvm").ok


def test_a_marker_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "ROOT", tmp_path)
    assert doctor.check_markers() == []
    (tmp_path / "pk-ba9876543210.json").write_text("{")
    (found,) = doctor.check_markers()
    assert not found.ok
    assert not found.needed
    assert str(tmp_path / "pk-ba9876543210.json") in found.found
    assert "portkit resume pk-ba9876543210" in found.fix


def test_a_record_of_volumes_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "ROOT", tmp_path)
    assert doctor.check_set_aside() == []
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/pk-0123456789ab.json").write_text('{"volumes": []}')
    assert doctor.check_set_aside() == []
    (tmp_path / "aside/pk-ba9876543210.json").write_text("{")
    (found,) = doctor.check_set_aside()
    assert not found.ok
    assert not found.needed
    assert str(tmp_path / "aside/pk-ba9876543210.json") in found.found
