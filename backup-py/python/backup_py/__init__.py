"""Proven backups and safe restores of PostgreSQL and SQLite databases.

>>> import backup_py as backup
>>> shop = backup.job(source=database, store=folder / "backups")
>>> shop.drill(shop.run(tag="nightly").id).ok
True

All work is done by the native code of the command ``backup``, in child processes: whatever this process has open
keeps its locks.
"""

# What type checkers take for true. `typing` alone would cost more than all of this file.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from backup_py import errors, events, options, results
    from backup_py.errors import (
        AlreadyExistsError,
        BackupError,
        BackupWarning,
        BusyError,
        CancelledError,
        CorruptError,
        DeniedError,
        FailedError,
        InvalidError,
        LockedError,
        NoSpaceError,
        NotFoundError,
        SuspectWarning,
        TimedOutError,
        UnavailableError,
        UnsupportedError,
        WorkerError,
    )
    from backup_py.events import Event
    from backup_py.guard import Guard, guarded
    from backup_py.jobs import Job
    from backup_py.opening import Backups, job, open

__all__ = [
    "AlreadyExistsError",
    "BackupError",
    "BackupWarning",
    "Backups",
    "BusyError",
    "CancelledError",
    "CorruptError",
    "DeniedError",
    "Event",
    "FailedError",
    "Guard",
    "InvalidError",
    "Job",
    "LockedError",
    "NoSpaceError",
    "NotFoundError",
    "SuspectWarning",
    "TimedOutError",
    "UnavailableError",
    "UnsupportedError",
    "WorkerError",
    "__version__",
    "errors",
    "events",
    "guarded",
    "job",
    "open",
    "options",
    "results",
]

__version__: str

HOMES = {
    "Backups": "opening",
    "Event": "events",
    "Guard": "guard",
    "Job": "jobs",
    "guarded": "guard",
    "job": "opening",
    "open": "opening",
}
"""Where names are; each is imported when it is first asked for, so that the import costs next to nothing."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        # The extension module is large, and nothing else in this process needs it.
        value: object = __import__("backup_py._native", fromlist=["_"]).__version__
    elif name in ("errors", "events", "options", "results"):
        return __import__(f"backup_py.{name}", fromlist=["_"])
    elif name in __all__:
        home = "errors" if name.endswith(("Error", "Warning")) else HOMES[name]
        value = getattr(__import__(f"backup_py.{home}", fromlist=["_"]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
