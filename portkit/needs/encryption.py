"""What opens an encrypted disk when its system starts. Pure: a guest writes these texts.

Sources: crypttab(5) of systemd and of Debian's cryptsetup; clevis(1); dracut.modules(7).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# In the place of a key: somebody enters a passphrase.
_NO_KEY = ("", "none", "-")
# Options of crypttab whose key is in a device, or comes from a program.
_FROM_ELSEWHERE = ("tpm2-device", "fido2-device", "pkcs11-uri", "keyscript")
_MOST = 16


def means(crypttab: str, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an initrd has: the keys that are in it, and what fetches one from elsewhere, such as a
    TPM or a server. names: of its files that may be either."""
    keys = [name for name in names if "clevis" not in name]
    fetched = [name for name in names if "clevis" in name]
    for key, line in _rows(crypttab):
        if any(option in line for option in _FROM_ELSEWHERE):
            fetched.append(line)
        elif key not in _NO_KEY:
            keys.append(line)
    return tuple(keys[:_MOST]), tuple(fetched[:_MOST])


def _rows(crypttab: str) -> Iterator[tuple[str, str]]:
    """The key of each line, and the line."""
    for line in crypttab.splitlines()[:1000]:
        words = line.split()
        if len(words) > 1 and not line.lstrip().startswith("#"):
            yield (words[2] if len(words) > 2 else ""), " ".join(words)[:300]
