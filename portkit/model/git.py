"""A git repository as a build context, in the forms that `docker build` takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Nothing in them begins with "-" or leads upward: they are words of git's and ssh's command lines.
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_PATH = r"[A-Za-z0-9_.~%+@,=][A-Za-z0-9_.~%+@,=-]*(?:/+[A-Za-z0-9_.~%+@,=][A-Za-z0-9_.~%+@,=-]*)*/?"
_FORMS = re.compile(
    # An engine fetches every other URL of http as one file. (moby, builder/remotecontext/urlutil)
    rf"https?://{_HOST}(?::[0-9]{{1,5}})?/{_PATH}(?<=\.git)"
    rf"|git://{_HOST}(?::[0-9]{{1,5}})?/{_PATH}"
    rf"|ssh://(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?{_HOST}(?::[0-9]{{1,5}})?/{_PATH}"
    rf"|git@{_HOST}:/?{_PATH}"
    rf"|github\.com/{_PATH}"
)
_PART = r"[A-Za-z0-9_.+@,=][A-Za-z0-9_.+@,=-]*"
_FRAGMENT = re.compile(rf"(?:{_PART}(?:/{_PART})*)?(?::/?{_PART}(?:/{_PART})*/?)?")
_REMOTE = re.compile(r"(?:https?|git|ssh)://|github\.com/|git@")
_SECRET = re.compile(r"(?:https?|git)://[^/#]*@|ssh://[^/#@]*:[^/#]*@")
_LENGTH = 2000


@dataclass(frozen=True)
class GitUrl:
    """URL[#REF][:FOLDER], without a password; ValueError for anything else, never with the URL in
    it. The engine of the source host fetches it."""

    text: str

    def __post_init__(self) -> None:
        url, mark, fragment = self.text.partition("#")
        if _SECRET.match(url):
            raise ValueError(
                "portkit does not accept a URL with a user or password, which would be visible "
                "in the process list of the source host. Clone the repository and name its folder"
            )
        if url.startswith(("http://", "https://")) and not url.endswith(".git"):
            raise ValueError(
                "a URL must be a git repository, ending in .git: portkit does not build from an "
                "archive or a Dockerfile that it would have to download. Download it, unpack it "
                "and name the folder"
            )
        fits = _FORMS.fullmatch(url) and _FRAGMENT.fullmatch(fragment) and len(self.text) < _LENGTH
        if not fits or (mark and not fragment) or ".." in re.split("[/:#]", self.text):
            raise ValueError(
                "that is not the URL of a git repository that an engine can build from, such as "
                "https://HOST/REPOSITORY.git#BRANCH:FOLDER or git@HOST:REPOSITORY.git"
            )

    @staticmethod
    def is_remote(text: str) -> bool:
        """Whether compose takes a context for a URL, and not for a folder."""
        return bool(_REMOTE.match(text))
