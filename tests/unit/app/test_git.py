"""Which texts are the URL of a git repository that an engine builds from."""

import pytest

from portkit.model import GitUrl


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org/a/b.git",
        "http://127.0.0.1:8099/repo.git#main",
        "https://[::1]:3000/~me/b%20c.git#v1.0+x:sub/folder",
        "https://example.org/a.git#:sub",
        "https://example.org/a.git#feature/x:/.docker/",
        "git://example.org/a/b",
        "git@example.org:a/b.git#0123abcd",
        "git@example.org:/srv/git/b",
        "ssh://git@example.org:2222/a/b.git",
        "ssh://example.org/a/b.git",
        "github.com/a/b",
        "github.com/a/b.git#main:c",
    ],
)
def test_forms_of_docker_build(text: str) -> None:
    assert GitUrl.is_remote(text)
    assert GitUrl(text).text == text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        # hostile input 59
        ("https://me:hunter2@example.org/a.git", "process list"),
        ("https://hunter2@example.org/a.git", "process list"),
        ("ssh://git:hunter2@example.org/a.git", "process list"),
        ("git://hunter2@example.org/a.git", "process list"),
        ("https://example.org/a.tar.gz?token=hunter2", "archive"),
        ("https://example.org/a", "archive"),
        ("https://example.org/a#b.git", "archive"),
        ("https://example.org/a.git/", "archive"),
        ("https://example.org/a.git?ref=hunter2", "archive"),
        # hostile input 25: words of git and ssh
        ("ssh://-oProxyCommand=x/a.git", "no URL"),
        ("git@-oProxyCommand=x:a.git", "no URL"),
        ("git@example.org:-x", "no URL"),
        ("git@example.org:a b", "no URL"),
        ("git@example.org:a;b", "no URL"),
        ("git@example.org:$(id)", "no URL"),
        ("git@example.org", "no URL"),
        ("https://example.org/a.git#--upload-pack=x", "no URL"),
        ("https://example.org/a.git#main:-x", "no URL"),
        ("https://example.org/a.git#main:../x", "no URL"),
        ("https://example.org/../a.git", "no URL"),
        ("https://example.org/a.git#a..b:..", "no URL"),
        ("https://example.org/a.git#", "no URL"),
        ("https://example.org/a.git#a\n", "no URL"),
        ("https://example.org/a.git#a:b:c", "no URL"),
        ("https:///a.git", "no URL"),
        ("https://example.org/" + "a" * 3000 + ".git", "no URL"),
        ("git://example.org/a\0", "no URL"),
        ("./a.git", "no URL"),
        ("--upload-pack=x", "no URL"),
        ("", "no URL"),
    ],
)
def test_everything_else_is_refused_and_not_repeated(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        GitUrl(text)
    assert "hunter2" not in str(caught.value)
