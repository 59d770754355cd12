"""The program that runs on a host: portkit's remote half, as one text."""

from __future__ import annotations

import json
import zlib
from functools import cache
from importlib import resources

# Reads its length, then the loader: a command line short enough for any shell.
BOOT = "import sys,zlib;b=sys.stdin.buffer;exec(zlib.decompress(b.read(int(b.readline()))))"
# Every module of the remote half travels in one text, and is imported from memory: nothing is
# written on the host, and no module there can stand in for one of these.
_LOADER = """
import importlib.machinery, json, sys
SOURCES = json.loads(%s)
class Room:
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            package = any(other.startswith(name + ".") for other in SOURCES)
            return importlib.machinery.ModuleSpec(name, self, is_package=package)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        name = module.__spec__.name
        exec(compile(SOURCES[name], "<remote %%s>" %% name, "exec"), module.__dict__)
if sys.version_info < (3, 9):
    sys.exit("portkit: python3 of this host is older than 3.9: " + sys.version)
sys.meta_path.insert(0, Room())
from portkit.remote import serve
"""
_MAIN = "sys.exit(serve.main(%r, %r))\n"


def loader(nonce: str, engine: str = "") -> bytes:
    """The program that is sent: its length in a line, then deflated Python with every module.

    engine: the socket that it uses, "" for the one that it finds.
    """
    begun, packer = _modules()
    end = packer.copy()
    code = begun + end.compress((_MAIN % (nonce, engine)).encode()) + end.flush()
    return f"{len(code)}\n".encode() + code


@cache
def _modules() -> tuple[bytes, zlib._Compress]:
    """The modules, deflated, which are the same for each connection; and what goes on behind
    them."""
    sources = {"portkit": ""}
    for package in ("portkit.wire", "portkit.remote"):
        sources[package] = ""
        for file in resources.files(package).iterdir():
            # Neither package's __init__ has code: a package that is empty is made up on the host.
            if file.name.endswith(".py") and file.name != "__init__.py":
                name = file.name.removesuffix(".py")
                sources[f"{package}.{name}"] = file.read_text(encoding="utf-8")
    # JSON twice: a JSON text that is written as a literal of Python.
    packer = zlib.compressobj()
    return packer.compress((_LOADER % json.dumps(json.dumps(sources))).encode()), packer
