"""The count of how completely compose files are read (bench/reading.py)."""

from pathlib import Path

from bench import reading


def test_the_table(tmp_path: Path) -> None:
    for name, text in {
        "complete": "services: {a: {image: x}}",
        "anew": "services: {a: {image: x, networks: [n]}}\nnetworks: {n: {external: true}}",
        "left-out": "services: {a: {image: x, healthcheck: {start_interval: 1s}}}",
        "refused": "services: {a: {image: x, volumes: ['/srv/data:/d']}}",
        "wrong": "services: {a: {image: x, colour: red}}",
        "carried": "services: {a: {image: x, volumes: ['/opt/data:/d']}}",
    }.items():
        (tmp_path / f"{name}.yaml").write_text(text + "\n")
    (tmp_path / "compose.override.yaml").write_text("services: {a: {image: y}}\n")
    (tmp_path / "other.yml").write_text("- no compose file\n")
    paths = list(reading.files([tmp_path]))
    assert len(paths) == 6
    found = {path.stem: reading.read(path, None, ["/opt"], {}) for path in paths}
    assert {name: each.outcome for name, each in found.items()} == {
        "complete": "complete",
        "anew": "complete",
        "carried": "complete",
        "left-out": "left out",
        "refused": "refused",
        "wrong": "refused",
    }
    assert [name for name, each in found.items() if each.anew] == ["anew"]
    assert found["refused"].reason == "PATH is outside of the project's folder"
    assert found["left-out"].reason == "portkit ignores 'healthcheck.start_interval'"
    rows = reading.table(list(found.values())).splitlines()
    assert "| **read completely** | 3 of 6 (50.0 %) |" in rows
    assert "| refused | compose has no service key '...' | 1 |" in rows
