"""Child processes that do the work, each for one call.

Nothing is backed up or restored in this process: a second SQLite in it would drop the locks of the first, as soon as
it closes a file that both have open. A child runs the native code of the command ``backup``. It is told what to do over
its stdin, where nobody sees it, and stops by itself when this process is gone.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakSet

from backup_py.errors import WorkerError

__all__ = ["Child", "Late", "document_of"]

GRACE = 0.8
"""Seconds that a cancelled child has for cleaning up."""

TICK = 0.1
"""Seconds after which a wait looks up: signals may have been delivered to another thread."""

START = "import sys; sys.path[:] = [sys.argv[1]]; import _native; _native.worker()"

_children: WeakSet[Child] = WeakSet()


class Late(Exception):
    """It takes too long."""


class Child:
    """One run of the command in a process of its own, and in a process group of its own."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.owner = os.getpid()
        self.output = bytearray()
        self.process = subprocess.Popen(
            [interpreter(), "-I", "-S", "-c", START, str(Path(__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
        _children.add(self)
        request = {"arguments": list(arguments), "program": program(), "parent": self.owner}
        self.write(json.dumps(request))

    def write(self, line: str) -> None:
        """Says something to it; one that is gone does not hear it, which its end tells."""
        assert self.process.stdin is not None
        left = memoryview(line.encode(errors="replace") + b"\n")
        try:
            while left:
                left = left[self.process.stdin.write(left) or 0 :]
        except BrokenPipeError:
            pass

    def lines(self, until: float | None = None) -> Iterator[str | None]:
        """What it says on stderr until it ends, and ``None`` now and then.

        Raises :class:`Late` at the instant ``until`` of the monotonic clock.
        """
        require_owner(self.owner)
        assert self.process.stdout is not None and self.process.stderr is not None
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            selector.register(self.process.stderr, selectors.EVENT_READ)
            while selector.get_map():
                if until is not None and time.monotonic() >= until:
                    raise Late
                yield None
                ready = selector.select(TICK)
                if not ready and self.process.poll() is not None:
                    # Another thread's fork may hold the other ends of the pipes for as long as it lives.
                    break
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.fileobj is self.process.stdout:
                        self.output += data
                    else:
                        *whole, rest = (rest + data).split(b"\n")
                        yield from (line.decode(errors="replace") for line in whole)
        if rest:
            yield rest.decode(errors="replace")

    def end(self) -> int:
        """Waits for its end and returns its exit code."""
        code = self.process.wait()
        self.close()
        return code

    def stop(self, grace: float = GRACE) -> None:
        """Has it stop and clean up; one that does not within ``grace`` seconds is killed."""
        if self.process.returncode is not None:
            return self.close()
        try:
            self.interrupt()
            for _ in self.lines(time.monotonic() + grace):
                pass
            self.process.wait(grace)
        except (Late, subprocess.TimeoutExpired, WorkerError):
            pass
        finally:
            self.kill()

    def interrupt(self) -> None:
        """Asks it to stop, in two ways: while it starts, Python still takes the signal for its own."""
        if self.owner == os.getpid() and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            if self.process.stdin is not None:
                self.process.stdin.close()

    def kill(self) -> None:
        """Ends it and everything in its group, if it is still there."""
        if self.owner == os.getpid() and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.close()

    def close(self) -> None:
        """Gives its pipes back."""
        _children.discard(self)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def require_owner(process: int) -> None:
    """A fork cannot go on with what its parent began."""
    if process != os.getpid():
        raise WorkerError("the work was begun before this process was forked, and belongs to its parent")


def interpreter() -> str:
    """The program that runs Python."""
    if not sys.executable:
        raise WorkerError("this process does not know where Python is", hint="Set sys.executable to it.")
    return sys.executable


def program() -> str | None:
    """The command of this environment, for lines that people paste."""
    path = Path(sys.executable).with_name("backup")
    return str(path) if path.is_file() else None


def end_all() -> None:
    """Stops what daemon threads still have running when the interpreter ends."""
    children = [child for child in list(_children) if child.owner == os.getpid()]
    for child in children:
        child.interrupt()
    until = time.monotonic() + GRACE
    for child in children:
        try:
            child.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        child.kill()


def forget_all() -> None:
    """A fork has nothing to do with its parent's children; it must not hold their pipes open."""
    for child in list(_children):
        child.close()


def document_of(child: Child) -> Any:
    """What it printed; ``None`` when that is no document."""
    try:
        return json.loads(child.output)
    except ValueError:
        return None


atexit.register(end_all)
os.register_at_fork(after_in_child=forget_all)
