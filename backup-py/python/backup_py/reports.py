"""How guarded work went."""

from __future__ import annotations

from dataclasses import dataclass, field

from backup_py._document import Result, Results
from backup_py.outcomes import Restored

__all__ = ["Difference", "GuardReport", "TableChange"]


@dataclass(frozen=True, repr=False)
class TableChange(Result):
    """One table whose number of rows changed."""

    name: str
    before: int | None = None
    """Its rows before; ``None`` where it was not there."""
    after: int | None = None
    """Its rows after; ``None`` where it is gone."""


@dataclass(frozen=True, repr=False)
class Difference(Result):
    """What the work changed, before any restore."""

    tables: Results[TableChange] = field(default_factory=Results[TableChange])
    schema_changed: bool = False
    """Whether any definition changed."""

    def summary(self) -> str:
        tables = ", ".join(f"{one.name} {one.before} -> {one.after}" for one in self.tables) or "no table"
        return f"{tables}{', definitions' if self.schema_changed else ''}"


@dataclass(frozen=True, repr=False)
class GuardReport(Result):
    """How guarded work ended, and what it left."""

    outcome: str
    """``succeeded``, ``failed``, ``restored`` or ``restore-failed``."""
    id: str
    """The guard."""
    backup: str
    """The backup that brings back what was there before."""
    taken: bool
    """Whether it was taken for this guard; else it was fresh enough."""
    restore: str
    """The line that brings the database back, for a shell."""
    failure: str | None = None
    """Why the work failed, in its own words."""
    difference: Difference | None = None
    """``None`` where it was not or could not be counted."""
    warnings: tuple[str, ...] = ()
    """What looks like an accident although the work succeeded."""
    restored: Restored | None = None
    """What the restore did."""
    restore_error: str | None = None
    """Why the restore failed; the database is then as the work left it."""

    def note(self) -> str:
        """What people should know when the work failed."""
        if self.restored is not None:
            undo = f"\nundo: {self.restored.undo}" if self.restored.undo else ""
            return f"the database was restored from {self.backup}: {self.restored.target}{undo}"
        if self.restore_error is not None:
            return f"THE RESTORE FAILED: {self.restore_error}\nto restore: {self.restore}"
        return f"nothing was restored; to restore: {self.restore}"
