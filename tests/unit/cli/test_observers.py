"""Progress as it is shown: a bar on a terminal, else plain lines; no time that means nothing."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from portkit_cli.observers import ConsoleObserver


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    clock = [100.0]
    monkeypatch.setattr("portkit_cli.observers.time.monotonic", lambda: clock[0])
    return clock


def transfer(observer: ConsoleObserver, now: list[float], *rows: tuple[float, int]) -> None:
    for seconds, done in rows:
        now[0] = 100.0 + seconds
        observer.bytes("disk", done, 740_000_000)


def test_plain_lines(now: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    observer = ConsoleObserver(live=False)
    observer.phase("transfer")
    transfer(observer, now, *((float(n), n * 10_000_000) for n in range(12)))
    observer.message("a word")
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        "    0.0 s  transfer",
        "    5.0 s    disk: 50.0/740.0 MB, 10.0 MB/s, 0:01:09 left",
        "   10.0 s    disk: 100.0/740.0 MB, 10.0 MB/s, 0:01:04 left",
        "   11.0 s    a word",
    ]


def test_a_slow_first_second_promises_nothing(
    now: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk of 740 MB of which 70 kB came in the first second: 10588 s were shown."""
    monkeypatch.setattr("portkit_cli.observers._PLAIN_EVERY_S", 0.0)
    observer = ConsoleObserver(live=False)
    transfer(observer, now, (0.0, 0), (0.5, 30_000), (1.0, 70_000))
    assert "left" not in capsys.readouterr().err
    transfer(observer, now, *((1.0 + n, 70_000 + n * 50_000_000) for n in range(1, 14)))
    times = re.findall(r"(\S+) left", capsys.readouterr().err)
    assert times
    assert all(time.startswith("0:00:") for time in times)


def test_of_what_is_unknown_nothing_is_promised(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    observer = ConsoleObserver(live=False)
    for done in (0, 11_300):
        now[0] += 6.0
        observer.bytes("scan", done, None)
    assert "?" not in (shown := capsys.readouterr().err)
    assert "scan: 11.3 kB" in shown


def test_a_smaller_count_is_something_new(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    observer = ConsoleObserver(live=False)
    transfer(observer, now, (0.0, 0), (4.0, 400_000_000), (4.1, 0))
    transfer(observer, now, (4.5, 1_000_000), (5.5, 2_000_000), (6.5, 3_000_000))
    assert capsys.readouterr().err == "    5.5 s    disk: 2.0/740.0 MB, 1.0 MB/s\n"


def test_a_bar_is_gone_when_something_else_begins(
    now: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    observer = ConsoleObserver(live=True)
    transfer(observer, now, *((n / 10, n * 1_000_000) for n in range(50)))
    shown = capsys.readouterr().err
    assert "10.0 MB/s" in shown
    assert "\n" not in shown.rstrip("\n"), "one line, drawn again and again"
    observer.phase("boot")
    after = capsys.readouterr().err
    assert "\x1b[2K" in after, "the line is erased"
    assert after.endswith("    4.9 s  boot\n")


def test_a_finished_count_leaves_no_bar(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    observer = ConsoleObserver(live=True)
    transfer(observer, now, (0.0, 0), (1.0, 740_000_000))
    capsys.readouterr()
    now[0] += 60
    observer.close()
    assert capsys.readouterr().err == ""


def test_a_bar_is_drawn_again_after_another_lane_began_something(
    now: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    observer = ConsoleObserver(live=False)
    transfer(observer, now, *((float(n), n * 10_000_000) for n in range(4)))
    observer.phase("package disk")
    transfer(observer, now, *((float(n), n * 10_000_000) for n in range(4, 12)))
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "    3.0 s  package disk"
    assert "disk: 50.0/740.0 MB" in shown[1]
    assert "10.0 MB/s" in shown[2]


def test_two_threads_tell_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    observer = ConsoleObserver(live=True)

    def tell(name: str) -> None:
        for number in range(300):
            observer.bytes(name, number, 1000)
            observer.phase(f"{name} {number}")

    with ThreadPoolExecutor() as pool:
        list(pool.map(tell, ("image", "disk")))
    observer.close()
    shown = capsys.readouterr().err
    assert all(
        f"s  {name} {number}" in shown for name in ("image", "disk") for number in range(300)
    )
