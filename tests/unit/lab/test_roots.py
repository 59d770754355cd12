from portkit.lab import apt, roots

SOURCES = [apt.Source("http://m.example/debian", "trixie", ("main",))]


def test_the_recipe_names_everything_that_goes_in() -> None:
    base = roots.recipe("trixie", ["a"], SOURCES, b"ca")
    assert base == roots.recipe("trixie", ["a"], SOURCES, b"ca")
    others = {
        roots.recipe("bookworm", ["a"], SOURCES, b"ca"),
        roots.recipe("trixie", ["a", "b"], SOURCES, b"ca"),
        roots.recipe("trixie", ["a"], [], b"ca"),
        roots.recipe("trixie", ["a"], SOURCES, b"other"),
        roots.recipe("trixie", ["a"], SOURCES, b"ca", version=0),
    }
    assert len(others | {base}) == 6
    assert len(base) == 16
