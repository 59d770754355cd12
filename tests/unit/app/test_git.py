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
        ("ssh://-oProxyCommand=x/a.git", "not the URL"),
        ("git@-oProxyCommand=x:a.git", "not the URL"),
        ("git@example.org:-x", "not the URL"),
        ("git@example.org:a b", "not the URL"),
        ("git@example.org:a;b", "not the URL"),
        ("git@example.org:$(id)", "not the URL"),
        ("git@example.org", "not the URL"),
        ("https://example.org/a.git#--upload-pack=x", "not the URL"),
        ("https://example.org/a.git#main:-x", "not the URL"),
        ("https://example.org/a.git#main:../x", "not the URL"),
        ("https://example.org/../a.git", "not the URL"),
        ("https://example.org/a.git#a..b:..", "not the URL"),
        ("https://example.org/a.git#", "not the URL"),
        ("https://example.org/a.git#a\n", "not the URL"),
        ("https://example.org/a.git#a:b:c", "not the URL"),
        ("https:///a.git", "not the URL"),
        ("https://example.org/" + "a" * 3000 + ".git", "not the URL"),
        ("git://example.org/a\0", "not the URL"),
        ("./a.git", "not the URL"),
        ("--upload-pack=x", "not the URL"),
        ("", "not the URL"),
    ],
)
def test_everything_else_is_refused_and_not_repeated(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        GitUrl(text)
    assert "hunter2" not in str(caught.value)
