"""What calls return that change something."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backup_py._document import Result, Results
from backup_py.backups import Backup, Finding, Table

__all__ = ["Copied", "Decision", "Extracted", "Failure", "Mended", "Mirrored", "Plan", "Pruned", "Restored", "Taken"]


@dataclass(frozen=True, repr=False)
class Copied(Result):
    """What became of a fresh backup in one mirror."""

    mirror: str
    ok: bool
    error: str | None = None


@dataclass(frozen=True, repr=False)
class Taken(Result):
    """A backup that was taken."""

    id: str
    good: bool
    """Whether it counts; a suspect one is kept, and is never ``latest``."""
    location: str
    """Where its payload lies."""
    manifest: Backup
    """Everything known of it."""
    findings: Results[Finding] = field(default_factory=Results[Finding])
    mirrors: Results[Copied] = field(default_factory=Results[Copied])
    pruned: tuple[str, ...] = ()
    """Older backups that retention removed thereafter."""

    @property
    def rows(self) -> int | None:
        """All tables' rows together, where the engine can count."""
        return self.manifest.rows

    @property
    def tables(self) -> Results[Table]:
        """What is in each table."""
        return self.manifest.tables

    def summary(self) -> str:
        return self.manifest.summary()


@dataclass(frozen=True, repr=False)
class Plan(Result):
    """What a restore would do."""

    target: str
    replaces: bool
    """Whether something stands there."""
    writes: int
    """Bytes."""
    steps: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Restored(Result):
    """What a restore did."""

    id: str
    target: str
    kept: tuple[str, ...] = ()
    """Where what stood there before is now."""
    undo: str | None = None
    """The line that undoes it, for a shell."""
    seconds: float | None = None
    location: str | None = None
    """Where the payload was read from."""
    skipped: str | None = None
    """Why nothing was done."""


@dataclass(frozen=True, repr=False)
class Extracted(Result):
    """A table that was written to a file."""

    table: str
    rows: int
    file: Path


@dataclass(frozen=True, repr=False)
class Mended(Result):
    """A stored object that was replaced by a mirror's good copy."""

    object: str
    was: str
    from_: str | None = None


@dataclass(frozen=True, repr=False)
class Mirrored(Result):
    """What was copied to one mirror."""

    mirror: str
    source: str
    copied: tuple[str, ...] = ()
    already: int = 0
    """How many it held already."""
    mended: Results[Mended] = field(default_factory=Results[Mended])
    bytes: int = 0
    """Bytes that were sent."""
    error: str | None = None
    """Why nothing could be copied."""


@dataclass(frozen=True, repr=False)
class Decision(Result):
    """What retention decided about one backup, and why."""

    id: str
    keep: bool
    reasons: tuple[str, ...]
    source: str
    store: str
    age_seconds: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, repr=False)
class Failure(Result):
    """Why backups of one source could not be pruned in one of its stores."""

    source: str
    kind: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, repr=False)
class Pruned(Result):
    """What retention removed, or would remove."""

    dry_run: bool
    decisions: Results[Decision]
    removed: tuple[str, ...] = ()
    freed_bytes: int = 0
    failed: Results[Failure] = field(default_factory=Results[Failure])
