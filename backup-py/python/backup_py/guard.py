"""Risky work under the guard of a proven backup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, cast

from backup_py._call import deadline, finish, follow, in_time, line
from backup_py._worker import Child
from backup_py.aio import in_thread
from backup_py.errors import BackupError, WorkerError
from backup_py.options import GuardOptions
from backup_py.reports import GuardReport

if TYPE_CHECKING:
    from backup_py.jobs import Job

__all__ = ["Guard", "guarded"]

P = ParamSpec("P")
R = TypeVar("R")


class Guard:
    """A context manager: the work inside starts only when a proven backup is there.

    When the work raises, the database is restored where that was asked for; the exception goes on, with a note that
    says what was restored, or the line that restores. Made by :meth:`Job.guard`; good for one use.
    """

    def __init__(self, place: Iterable[str], words: Iterable[str], options: Mapping[str, Any]) -> None:
        self._line = line(place, words, {**options, "attached": True})
        self._progress, self._timeout = options.get("progress"), options.get("timeout")
        self._child: Child | None = None
        self._begun: dict[str, Any] = {}
        self.report: GuardReport | None = None
        """How it went; ``None`` until the work ended."""

    @property
    def id(self) -> str:
        """The guard's own id, as the journal names it."""
        return str(self._begun["id"])

    @property
    def backup(self) -> str:
        """The backup that brings back what was there before."""
        return str(self._begun["backup"])

    @property
    def restore_line(self) -> str:
        """The line that brings the database back, for a shell."""
        return str(self._begun["restore"])

    def __enter__(self) -> Self:
        if self._child is not None:
            raise RuntimeError("a guard is good for one use")
        self._child = child = Child(self._line)
        try:
            with in_time(self._timeout):
                begun = follow(child, self._progress, deadline(self._timeout), until="guarding")
            if begun is None:
                finish(child)
                raise WorkerError("the guard ended before the work began")
        except BaseException:
            child.stop()
            raise
        self._begun = dict(begun)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        has_failed = error is not None and not is_success(error)
        try:
            self._end(f"failed: {reason(error)}" if error is not None and has_failed else "succeeded")
        except BaseException as lost:
            if error is None or not isinstance(lost, BackupError):
                lost.add_note(f"to restore: {self.restore_line}")
                raise
            error.add_note(f"the guard ended without a report: {lost}\nto restore: {self.restore_line}")
            return
        if error is not None and has_failed and self.report is not None:
            error.add_note(self.report.note())

    async def __aenter__(self) -> Self:
        try:
            return await in_thread(self.__enter__)
        except BaseException:
            # A task that was cancelled when the guard had just begun: the work never did.
            if self._begun and self.report is None:
                await in_thread(lambda: self._end("succeeded"))
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await in_thread(lambda: self.__exit__(kind, error, trace))

    def _end(self, line: str) -> None:
        """Tells the child how the work ended, and hears what it made of that."""
        child = self._child
        if child is None:
            raise WorkerError("the guard was not entered")
        try:
            child.write(line)
            follow(child, self._progress, None)
            self.report = GuardReport.of(finish(child))
        except BaseException:
            child.stop()
            raise


def guarded(job: Job, **options: Unpack[GuardOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for functions and coroutine functions: every call is guarded, by a guard of its own.

    >>> @guarded(job, restore_on_failure=True)
    ... def ingest(rows):
    ...     return rows
    >>> ingest(7)
    7
    """

    import inspect

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with job.guard(**options):
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], run_async)

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with job.guard(**options):
                return function(*args, **kwargs)

        return run

    return decorate


def is_success(error: BaseException) -> bool:
    """Whether an exception is a way of ending well."""
    return isinstance(error, SystemExit) and error.code in (None, 0)


def reason(error: BaseException) -> str:
    """An exception in a line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
