"""What can go wrong, cut by what a caller can do about it."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "AlreadyExistsError",
    "BackupError",
    "BackupWarning",
    "BusyError",
    "CancelledError",
    "CorruptError",
    "DeniedError",
    "FailedError",
    "InvalidError",
    "LockedError",
    "NoSpaceError",
    "NotFoundError",
    "SuspectWarning",
    "TimedOutError",
    "UnavailableError",
    "UnsupportedError",
    "WorkerError",
]


class BackupWarning(UserWarning):
    """Something that stopped nothing, and that somebody should know."""


class SuspectWarning(BackupWarning):
    """A backup was kept and does not count as good."""


class BackupError(Exception):
    """A failure: what happened to which object, why, and what to do about it.

    No password or key is ever in one. The hint is also a note, so that a traceback shows it.
    """

    kind: str = "failed"
    """The stable name of what a caller can do about it, as the command's JSON has it."""
    code: int = 1
    """The exit code of the command for it."""
    hint: str | None
    """What to do about it, a sentence."""
    causes: tuple[str, ...]
    """Why, from the nearest cause to the farthest."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later."""

    def __init__(self, message: str, *, hint: str | None = None, causes: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.causes = tuple(causes)
        for cause in self.causes:
            self.add_note(f"caused by: {cause}")
        if hint is not None:
            self.add_note(f"hint: {hint}")


class FailedError(BackupError):
    """Everything that has no class of its own."""


class InvalidError(BackupError, ValueError):
    """The request itself cannot be right: a malformed name, a wrong option, a mistake in the configuration."""

    kind = "invalid"
    code = 2


class NotFoundError(BackupError, FileNotFoundError):
    """The backup, database or object that was named does not exist."""

    kind = "not-found"
    code = 4


class AlreadyExistsError(BackupError, FileExistsError):
    """Something stands where a new thing was to be created."""

    kind = "already-exists"


class DeniedError(BackupError, PermissionError):
    """Permission, or a key, is missing."""

    kind = "denied"


class LockedError(BackupError, PermissionError):
    """The store keeps the object until a date that it was told; asking again before changes nothing."""

    kind = "locked"


class NoSpaceError(BackupError, OSError):
    """A disk or store has no room."""

    kind = "no-space"

    def __init__(self, message: str, *, hint: str | None = None, causes: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint, causes=causes)
        self.errno = errno.ENOSPC

    def __str__(self) -> str:
        return str(self.args[0])


class BusyError(BackupError):
    """Somebody else holds the database, the target or the vault."""

    kind = "busy"
    code = 5
    retryable = True


class CorruptError(BackupError):
    """Bytes are not what they were, or what they claim to be."""

    kind = "corrupt"
    code = 3


class UnsupportedError(BackupError, NotImplementedError):
    """This build, engine or store cannot do what was asked."""

    kind = "unsupported"
    code = 2


class UnavailableError(BackupError, ConnectionError):
    """A server or network did not answer."""

    kind = "unavailable"
    retryable = True


class CancelledError(BackupError):
    """Somebody stopped it. Nothing half made is left."""

    kind = "cancelled"
    code = 130


class TimedOutError(BackupError, TimeoutError):
    """It took longer than the caller's ``timeout`` and was stopped. Nothing half made is left."""

    kind = "timed-out"
    code = 130
    retryable = True


class WorkerError(BackupError, RuntimeError):
    """The process that did the work could not be started, or ended without saying how it went."""

    kind = "worker"


KINDS: dict[str, type[BackupError]] = {
    cls.kind: cls
    for cls in (
        FailedError,
        InvalidError,
        NotFoundError,
        AlreadyExistsError,
        DeniedError,
        LockedError,
        NoSpaceError,
        BusyError,
        CorruptError,
        UnsupportedError,
        UnavailableError,
        CancelledError,
    )
}


def error_of(document: Mapping[str, Any], code: int) -> BackupError:
    """The error that a document of the command tells."""
    cls = KINDS.get(document["kind"], FailedError)
    error = cls(document["message"], hint=document.get("hint"), causes=document.get("causes", ()))
    error.code = code
    return error
