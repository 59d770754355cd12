from pathlib import Path

from portkit import doctor
from portkit.doctor import Check, Tool


def test_a_missing_tool_names_its_package() -> None:
    check = doctor.check_tool(Tool("no-such-program-here", "some-package", "a reason"))
    assert not check.ok
    assert check.mend == "apt-get install some-package"
    assert "a reason" in check.found


def test_a_present_tool_tells_where() -> None:
    check = doctor.check_tool(Tool("sh", "dash", "shells"))
    assert check.ok
    assert check.found.endswith("/sh")


def test_only_what_is_needed_stops_us() -> None:
    assert doctor.ready([Check("a", True, True, ""), Check("b", False, False, "")])
    assert not doctor.ready([Check("a", True, True, ""), Check("b", False, True, "")])


def test_no_device_is_no_kvm(tmp_path: Path) -> None:
    assert not doctor.check_kvm(tmp_path / "kvm").ok
