"""One call of the command, from its arguments to its document."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from backup_py import events
from backup_py._worker import Child, Late, document_of
from backup_py.errors import CancelledError, TimedOutError, WorkerError, error_of
from backup_py.events import Progress

__all__ = ["Stop", "call", "deadline", "finish", "flags", "follow", "in_time", "line"]

WHOLE_SECONDS = ("lock_wait", "wait")
"""Options that the command reads as a number of seconds."""

AGES = ("fresh", "proof", "rpo", "rto")
"""Options that the command reads as a length of time with its unit."""


class Stop:
    """Lets another thread stop a call."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """Stops the call, or the next one."""
        self._asked.set()

    def check(self) -> None:
        """Raises once somebody asked."""
        if self._asked.is_set():
            raise CancelledError("interrupted")


stopping: ContextVar[Stop | None] = ContextVar("stopping", default=None)
"""What may stop the calls of this context."""


def call(place: Iterable[str], words: Iterable[str], options: Mapping[str, Any]) -> Any:
    """Runs the command in a child process and returns the document that it prints.

    ``place`` are flags that say where, ``words`` the command and what it is about. Whatever is raised meanwhile (by
    ``progress``, by Ctrl-C) stops the child, which cleans up, and is raised again.
    """
    progress, timeout = options.get("progress"), options.get("timeout")
    limit = deadline(timeout)
    child = Child(line(place, words, options))
    try:
        with in_time(timeout):
            follow(child, progress, limit)
        return finish(child)
    except BaseException:
        child.stop()
        raise


def line(place: Iterable[str], words: Iterable[str], options: Mapping[str, Any]) -> list[str]:
    """The arguments of a command that a program calls."""
    command, *rest = words
    own = {name: value for name, value in options.items() if name not in ("progress", "timeout")}
    return [command, "--json", "--progress=json", *place, *flags(**own), *rest]


@contextmanager
def in_time(timeout: Any) -> Generator[None]:
    """Tells what took too long. A callback's own ``TimeoutError`` is none of that."""
    try:
        yield
    except Late:
        raise TimedOutError(f"it took longer than {timeout} s and was stopped", hint="Allow more time.") from None


def follow(
    child: Child, progress: Progress | None, limit: float | None, until: str | None = None
) -> Mapping[str, Any] | None:
    """Hands on what the child tells until it ends, or until it tells the event ``until``, which is returned."""
    totals: dict[str, int] = {}
    stop, told = stopping.get(), progress or events.log
    for said in child.lines(limit):
        if stop is not None:
            stop.check()
        if said is None:
            continue
        document = parse(said)
        told(events.event_of(document, totals))
        if document["event"] == until:
            return document
    return None


def parse(said: str) -> Mapping[str, Any]:
    """A line of stderr; what is no event (the last words of a crash) is a warning."""
    try:
        document = json.loads(said)
        if isinstance(document, dict) and "event" in document:
            return document  # pyright: ignore[reportUnknownVariableType]
    except ValueError:
        pass
    return {"event": "warning", "text": said}


def finish(child: Child) -> Any:
    """The document of a child that ended; an error that it tells is raised."""
    code = child.end()
    document = document_of(child)
    if not isinstance(document, dict):
        raise WorkerError(f"the process that did the work ended with {code} and said nothing")
    if "error" in document and code != 0:
        raise error_of(document["error"], code)  # pyright: ignore[reportUnknownArgumentType]
    return document  # pyright: ignore[reportUnknownVariableType]


def deadline(timeout: float | timedelta | None) -> float | None:
    """The instant of the monotonic clock at which it is too late."""
    if timeout is None:
        return None
    length = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    return time.monotonic() + length


def flags(**options: Any) -> list[str]:
    """Options as the command's flags: ``None``, ``False`` and empty ones are left out, lists are repeated.

    >>> flags(tag=["a", "b"], accept=True, min_rows=None, wait=1.5, rpo=60)
    ['--tag=a', '--tag=b', '--accept', '--wait=2', '--rpo=60s']
    """
    words: list[str] = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            words.extend(f"{flag}={text(name, one)}" for one in several(value))
    return words


def several(value: Any) -> Any:
    """A list as it is, anything else alone."""
    return (value,) if isinstance(value, (str, os.PathLike)) or not hasattr(value, "__iter__") else value


def text(name: str, value: Any) -> str:
    """An option's value as the command reads it."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if name in WHOLE_SECONDS and not isinstance(value, str):
        return str(math.ceil(value))
    if name in AGES and not isinstance(value, str):
        return f"{value}s"
    return value.astimezone().isoformat() if isinstance(value, datetime) else str(value)
