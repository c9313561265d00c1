"""What is known of a backup: its manifest and its proofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backup_py._document import Result, Results
from backup_py.events import size

__all__ = ["Backup", "Finding", "Payload", "Proof", "SmokeAnswer", "Source", "Suspicion", "Table"]


@dataclass(frozen=True, repr=False)
class Source(Result):
    """Where a backup was taken from."""

    name: str
    """The name of its vault."""
    engine: str
    """``sqlite`` or ``postgres``."""
    database: str
    """The database's name, or its absolute path."""
    host: str | None = None
    """The host it was read on."""
    server_version: str | None = None
    """The version of the server, or of the library that read the file."""
    system_id: str | None = None
    """What tells this database from another under the same name."""


@dataclass(frozen=True, repr=False)
class Payload(Result):
    """The stored bytes, and what they decode to."""

    name: str
    """The object's name, in its manifest's folder."""
    bytes: int
    """Stored bytes."""
    blake3: str
    """BLAKE3 of the stored bytes, hex."""
    encoding: tuple[str, ...]
    """Layers, innermost first."""
    plain_bytes: int
    """Decoded bytes."""
    plain_blake3: str
    """BLAKE3 of the decoded bytes, hex."""


@dataclass(frozen=True, repr=False)
class Table(Result):
    """What is in one table, read from the payload itself."""

    name: str
    """Its name as an SQL identifier, quoted where SQL needs it."""
    rows: int
    """Its rows."""
    digest: str | None = None
    """An order-free digest of its rows, hex."""


@dataclass(frozen=True, repr=False)
class Suspicion(Result):
    """Why a backup does not count as good."""

    rule: str
    found: str
    expected: str


@dataclass(frozen=True, repr=False)
class Finding(Result):
    """Something that a verification saw."""

    check: str
    """Which check."""
    object: str
    """Where."""
    what: str
    """What."""
    origin: str
    """``stored``: the stored bytes are damaged; ``content``: so was the source; ``data``: they break a rule of their
    own schema, which condemns nothing."""

    def __str__(self) -> str:
        return f"{self.check}: {self.object}: {self.what}"


@dataclass(frozen=True, repr=False)
class SmokeAnswer(Result):
    """A query that a drill asked, and its answer."""

    sql: str
    answer: str | None = None
    """The first row, columns joined by ``|``."""


@dataclass(frozen=True, repr=False)
class Backup(Result):
    """Everything known of one backup."""

    id: str
    source: Source
    content: str
    """``full``, ``schema``, ``data``, ``base`` or ``incremental``."""
    started_at: datetime
    """When the run began."""
    snapshot_at: datetime
    """The instant whose state it holds."""
    finished_at: datetime
    """When it was stored and proven."""
    payload: Payload
    tags: tuple[str, ...] = ()
    """Why it was taken."""
    tables: Results[Table] = field(default_factory=Results[Table])
    rows: int | None = None
    """All tables' rows together, where the engine can count."""
    high_water_rows: int | None = None
    """The highest row count of any good backup of this source so far."""
    suspect: Results[Suspicion] = field(default_factory=Results[Suspicion])
    """Why it does not count as good; empty for a good one."""
    requires: str | None = None
    """The backup without which it cannot be restored."""
    tools: Mapping[str, str] = field(default_factory=dict[str, str])
    """Versions of the programs that made it."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The choices it was made with."""
    companions: tuple[str, ...] = ()
    """Objects beside its payload."""
    schema_fingerprint: str | None = None
    """A hash of the definitions of everything in it."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else the engine knows of it."""

    @property
    def good(self) -> bool:
        """Whether no guardrail complains of it."""
        return not self.suspect

    def summary(self) -> str:
        state = "good" if self.good else f"SUSPECT ({self.suspect[0].rule})"
        rows = "" if self.rows is None else f", {self.rows} rows"
        stored = f"{size(self.payload.plain_bytes)} in {size(self.payload.bytes)}"
        tags = f", tags {', '.join(self.tags)}" if self.tags else ""
        return f"{self.id} {state}, {stored}{rows}{tags}"


@dataclass(frozen=True, repr=False)
class Proof(Result):
    """The stored record of a verification or drill."""

    id: str
    """The backup."""
    level: str
    started_at: datetime
    seconds: float
    ok: bool
    """Whether nothing was found."""
    restore_seconds: float | None = None
    """For drills, how long loading and proving took: the measured recovery time."""
    findings: Results[Finding] = field(default_factory=Results[Finding])
    smoke: Results[SmokeAnswer] = field(default_factory=Results[SmokeAnswer])
    payload_blake3: str | None = None
    """The hash of the stored bytes that were proven."""
    host: str | None = None
    """Where it ran."""
    key: str | None = None
    """``run`` or ``identity``: what an encrypted payload was decrypted with."""

    def summary(self) -> str:
        restored = "" if self.restore_seconds is None else f", restored in {self.restore_seconds:.2f} s"
        return f"{self.id} {self.level} {'ok' if self.ok else 'FAILED'} in {self.seconds:.2f} s{restored}"
