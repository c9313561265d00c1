"""What calls return that only look."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from backup_py._document import Result, Results
from backup_py.backups import Backup, Finding, Proof
from backup_py.events import size
from backup_py.outcomes import Mended

__all__ = ["CheckItem", "Checked", "Drilled", "Estimate", "Missed", "Shown", "Status", "Verified"]


@dataclass(frozen=True, repr=False)
class Shown(Result):
    """Everything known of a backup, where it lies, and how it was proven."""

    location: str
    manifest: Backup
    proofs: Results[Proof] = field(default_factory=Results[Proof])
    copies: tuple[str, ...] = ()
    """Where it lies, nearest first."""

    def summary(self) -> str:
        return f"{self.manifest.summary()}, {len(self.proofs)} proofs, at {self.location}"


@dataclass(frozen=True, repr=False)
class Missed(Result):
    """Something that is not as it should be."""

    objective: str
    """``rpo``, ``rto``, ``proof``, ``backup``, ``damage`` or ``guard``."""
    what: str


@dataclass(frozen=True, repr=False)
class Status(Result):
    """How one source stands."""

    source: str
    good: int
    """Good full backups."""
    suspect: int
    """Suspect ones."""
    bytes: int
    """Stored bytes of all backups together."""
    newest: str | None = None
    """The newest good full backup."""
    age_seconds: int | None = None
    """Seconds since the state it holds."""
    window_from: datetime | None = None
    """The oldest instant that can be brought back."""
    window_to: datetime | None = None
    """The newest."""
    last_proof: Proof | None = None
    measured_rto_seconds: float | None = None
    """What the last successful drill took to restore."""
    damaged: Results[Finding] = field(default_factory=Results[Finding])
    missed: Results[Missed] = field(default_factory=Results[Missed])
    """What is not as it should be."""

    @property
    def well(self) -> bool:
        """Whether nothing is missed."""
        return not self.missed

    def summary(self) -> str:
        state = "well" if self.well else "; ".join(f"{one.objective}: {one.what}" for one in self.missed)
        return f"{self.source} {state}, {self.good} good, {self.suspect} suspect, {size(self.bytes)}"


@dataclass(frozen=True, repr=False)
class Checked(Result):
    """What a verification saw of one backup."""

    ok: bool
    id: str | None = None
    """The backup; ``None`` for an object that is none, and should be."""
    object: str | None = None
    """That object."""
    level: str | None = None
    seconds: float | None = None
    findings: Results[Finding] = field(default_factory=Results[Finding])

    def summary(self) -> str:
        return f"{self.id or self.object} {self.level or ''} {'ok' if self.ok else 'DAMAGED'}"


@dataclass(frozen=True, repr=False)
class Verified(Result):
    """What a verification saw."""

    ok: bool
    verified: Results[Checked]
    healed: Results[Mended] = field(default_factory=Results[Mended])

    def summary(self) -> str:
        return f"{'ok' if self.ok else 'DAMAGED'}, {self.verified!r}"


@dataclass(frozen=True, repr=False)
class Drilled(Result):
    """How a restore into a scratch place went."""

    id: str
    ok: bool
    proof: Proof

    def summary(self) -> str:
        return self.proof.summary()


@dataclass(frozen=True, repr=False)
class Estimate(Result):
    """What the next full backup is expected to be."""

    source: str
    plain_bytes: int | None = None
    """Bytes of the database."""
    stored_bytes: int | None = None
    """Bytes it will take in the store."""
    seconds: float | None = None
    month_bytes: int | None = None
    """Bytes in the store after a month of one backup a day."""
    year_bytes: int | None = None
    free_bytes: int | None = None
    """Free bytes of the store, where it has an end."""
    learnt_from: int = 0
    """The backups it was learnt from; 0 is a guess."""


@dataclass(frozen=True, repr=False)
class CheckItem(Result):
    """One thing that a run would need."""

    about: str
    what: str
    state: str
    """``ok``, ``warn`` or ``fail``."""
    found: str
    advice: str | None = None
