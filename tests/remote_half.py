"""The real remote half as a process of this machine, as a host starts it.

Its modules come in one text and are compiled anew by each process, which takes ten times as long as
most tests that start one. So here the results are kept in files, by what was compiled: the program
that runs is the same.
"""

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from portkit import process
from portkit.host.program import BOOT

# `compile` of the loader's namespace; the one of Python stays as it is.
_KEPT = """
def compile(text, name, mode, real=compile, folder=%r):
    import hashlib, marshal, os
    path = "%%s/%%s" %% (folder, hashlib.sha256((name + text).encode()).hexdigest())
    try:
        with open(path, "rb") as file:
            return marshal.loads(file.read())
    except FileNotFoundError:
        code = real(text, name, mode)
    part = "%%s.%%d" %% (path, os.getpid())
    with open(part, "wb") as file:
        marshal.dump(code, file)
    os.rename(part, path)
    return code
"""


def _argv() -> list[str]:
    folder = tempfile.mkdtemp(prefix="portkit-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kept = Path(folder) / "kept.py"
    kept.write_text(_KEPT % folder)
    return [sys.executable, "-I", "-c", f"exec(open({str(kept)!r}).read());{BOOT}"]


ARGV = _argv()


def started(env: dict[str, str], **pipes: Any) -> AbstractContextManager[process.Process]:
    """It, reading and writing pipes. env: beside PATH."""
    both = {"PATH": os.environ["PATH"], **env}
    return process.popen(ARGV, stdin=process.PIPE, env=both, **pipes)
