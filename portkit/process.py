"""The only place that starts a process: argument lists, a small environment, no shell.

Every command is logged shell-quoted at debug level. Arguments must hold no secrets (they are
seen in the process list); secrets go through standard input or files of mode 0600.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from portkit.errors import ToolError

log = logging.getLogger("portkit.process")

# A thread that waits for a program sees only between two waits that it is to end.
_GLANCE_S = 1.0
# Held by a thread, by its ident, while it is not to be interrupted.
_held_back: defaultdict[int, threading.RLock] = defaultdict(threading.RLock)

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT  # for `stderr`: both outputs in one

# What programs may see of our environment; everything else could change what they do.
# LD_PRELOAD, PYTHONPATH, GIT_* and the like are left out, and so are DOCKER_HOST and
# LIBVIRT_DEFAULT_URI, which would lead a program to another engine than the one that was asked for.
_KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TERM",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Completed:
    """What a finished command left: exit code, standard output and error as bytes."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; what is not UTF-8 in it becomes U+FFFD."""
        return self.stdout.decode("utf-8", "replace")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that started programs get: a few of ours, C.UTF-8, and `extra`."""
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    # Messages of programs are read here; in another language nothing would be found in them.
    env["LC_ALL"] = "C.UTF-8"
    env.update(extra or {})
    return env


def _memory_limit(limit: int | None) -> Sequence[str]:
    # prlimit(1) of util-linux rather than preexec_fn, which is unsafe beside threads.
    return () if limit is None else ("prlimit", f"--as={limit}", "--")


def run(
    argv: Sequence[str | Path],
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
    memory_bytes: int | None = None,
    check: bool = True,
    stdout: int | IO[bytes] = PIPE,
    stderr: int | IO[bytes] = PIPE,
) -> Completed:
    """Run a command to its end.

    input: bytes for its standard input (else /dev/null). timeout: seconds. memory_bytes: limit of
    its address space. Raises ToolError when it is missing, overruns, or (with check) fails.
    """
    with popen(
        argv,
        env=env,
        cwd=cwd,
        memory_bytes=memory_bytes,
        stdin=DEVNULL if input is None else PIPE,
        stdout=stdout,
        stderr=stderr,
    ) as process:
        try:
            out, err = _output(process, input, timeout)
        except subprocess.TimeoutExpired as error:
            raise ToolError(
                f"{_name(argv)} did not finish within {timeout:g} s",
                details=quote(argv),
                resolution="Check whether the machine is overloaded or the program hangs.",
            ) from error
    done = Completed(process.returncode, out or b"", err or b"")
    if check and done.code != 0:
        raise failed(argv, done.code, done.stderr or done.stdout)
    return done


def _output(process: Process, input: bytes | None, timeout: float | None) -> tuple[bytes, bytes]:
    """What it writes until its end; subprocess.TimeoutExpired when that does not come in time."""
    # Popen.communicate sends no more of an input when it is called again.
    if input is not None:
        return process.communicate(input, timeout)
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _GLANCE_S if end is None else end - time.monotonic()
        try:
            return process.communicate(timeout=min(max(left, 0.0), _GLANCE_S))
        except subprocess.TimeoutExpired:
            if end is not None and time.monotonic() >= end:
                raise


@contextmanager
def popen(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    memory_bytes: int | None = None,
    stdin: int | IO[bytes] = DEVNULL,
    stdout: int | IO[bytes] = PIPE,
    stderr: int | IO[bytes] = PIPE,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in its own process group; the group is ended when the block is left."""
    process = spawn(
        [*_memory_limit(memory_bytes), *argv],
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
    )
    try:
        yield process
    finally:
        end(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    log.debug("%s closed its input early", _name(argv))


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] = DEVNULL,
    stdout: int | IO[bytes] = PIPE,
    stderr: int | IO[bytes] = PIPE,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a command that outlives the call, as leader of its own session. See `end`."""
    words = [str(word) for word in argv]
    log.debug("+ %s", shlex.join(words))
    try:
        return subprocess.Popen(
            words,
            env=environment(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            # A session of its own: Ctrl-C in the terminal goes to portkit alone, which ends its
            # programs in order.
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise ToolError(
            f"{words[0]} is not installed",
            details=quote(argv),
            resolution="Run `portkit doctor`, which names the package to install.",
        ) from error


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back SIGINT and SIGTERM until the block's end: for short calls that cannot be undone
    half done. In another thread, where no handler runs, hold back `interrupt`."""
    # Python lets the main thread alone set handlers (signal.signal).
    if threading.current_thread() is not threading.main_thread():
        with _held_back[threading.get_ident()]:
            yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda got, _: came.append(got)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    # The signal that was held back comes now, to the handler that was there before.
    if came:
        signal.raise_signal(signal.Signals(came[0]))


def interrupt(thread: threading.Thread, error: type[BaseException]) -> None:
    """Raise an exception in another thread, wherever it computes, as Ctrl-C does in the main one;
    at the end of the block where that is `uninterrupted`. Nothing happens when it has ended."""
    if thread.ident is None:
        return
    with _held_back[thread.ident]:
        # CPython raises it before the thread goes on with its Python code.
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(error)
        )


@contextmanager
def deadline(process: Process, seconds: float) -> Iterator[None]:
    """End a process that is still running after so many seconds, while its output is read;
    ToolError then."""
    overrun = threading.Event()

    def stop() -> None:
        overrun.set()
        end(process)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if overrun.is_set():
        raise ToolError(
            f"{_name(process.args)} did not finish within {seconds:g} s",  # type: ignore[arg-type]
            details=quote(process.args),  # type: ignore[arg-type]
            resolution="Check whether the machine is overloaded or the program hangs.",
        )


def wait(process: Process, seconds: float) -> int | None:
    """The exit code, or None when it still runs after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def end(process: subprocess.Popen[bytes], grace: float = 5.0) -> int:
    """Stop a process and its group: SIGTERM, `grace` seconds, SIGKILL. Its exit code."""
    if process.poll() is None:
        # The group: what the program itself has started, such as ssh's ProxyCommand, ends with it.
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
    return process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        log.debug("process %d had already gone", process.pid)


def failed(argv: Sequence[str | Path], code: int, output: bytes) -> ToolError:
    """The error for a command that ended with `code`; the last 4 KiB of its output are kept."""
    # Programs say what went wrong at the end.
    tail = output[-4096:].decode("utf-8", "replace").strip()
    return ToolError(
        f"{_name(argv)} failed with exit code {code}",
        details=f"{quote(argv)}\n{tail}".strip(),
        resolution="Read its output above. --debug shows every command.",
    )


def quote(argv: Sequence[str | Path]) -> str:
    """The command as one could type it."""
    return shlex.join(str(word) for word in argv)


def _name(argv: Sequence[str | Path]) -> str:
    return Path(str(argv[0])).name
