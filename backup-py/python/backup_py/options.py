"""What calls can be told. Everything may be left out, and is then what the configuration or the command says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from os import PathLike
from typing import Literal, TypeAlias, TypedDict

from backup_py.events import Progress

__all__ = [
    "Age",
    "CallOptions",
    "DrillOptions",
    "GuardOptions",
    "Level",
    "PlanOptions",
    "PruneOptions",
    "RestoreOptions",
    "RunOptions",
    "StatusOptions",
    "VerifyOptions",
    "Where",
    "Words",
]

Age: TypeAlias = str | float | timedelta
"""A length of time: ``"24h"``, seconds, or a ``timedelta``."""
Where: TypeAlias = str | PathLike[str]
"""A path, or what the command calls a source, a store or a target."""
Words: TypeAlias = str | Iterable[str]
"""A word or several."""
Level: TypeAlias = Literal["none", "checksum", "structure", "restore"]
"""How deep a verification looks; each level includes those before it."""


class CallOptions(TypedDict, total=False):
    """Options of every call."""

    progress: Progress | None
    """Hears the events."""
    timeout: float | timedelta | None
    """Seconds after which the call is stopped, with :class:`TimedOutError`."""


class RunOptions(CallOptions, total=False):
    """Options of a backup."""

    tag: Words
    """Why it is taken; adds to the job's own."""
    content: Literal["full", "schema", "data"]
    verify: Level
    """How deep it is verified before it counts."""
    compression: str
    """``zstd``, ``zstd:LEVEL``, ``gzip:LEVEL``, ``none``, or ``pg:…`` for pg_dump's own."""
    recipient: Words
    """Public keys of age; each can read it alone."""
    min_rows: int
    """Fewer rows than this make it suspect."""
    accept: bool
    """Take it as good even if it has far fewer rows than those before."""
    wait: Age
    """Wait so long for another run of this source to end, instead of :class:`BusyError`."""
    jobs: int
    """Worker threads."""
    table: Words
    """Only tables that match, as in psql (PostgreSQL, like all below)."""
    exclude_table: Words
    exclude_table_data: Words
    schema: Words
    format: Literal["custom", "plain", "directory"]
    cross_check: bool
    """Also count every table on the server, in the same snapshot."""
    no_owner: bool
    no_roles: bool
    """Do not store the server's roles beside the backup."""
    lock_wait: Age
    """How long a lock on a table is waited for."""


class StatusOptions(CallOptions, total=False):
    """Objectives that go before the job's own."""

    rpo: Age
    """The newest good backup is at most so old."""
    rto: Age
    """The last drill took at most so long."""
    proof: Age
    """The last successful proof is at most so old."""


class VerifyOptions(CallOptions, total=False):
    """Options of a verification."""

    level: Level
    """``structure`` unless told."""
    heal: bool
    """Replace what is damaged by a mirror's good copy, then look again."""


class DrillOptions(CallOptions, total=False):
    """Options of a drill."""

    smoke: Words
    """Queries the restored database must answer, beside the job's own."""
    on: Where
    """The PostgreSQL server on which the scratch database is made."""


class PlanOptions(CallOptions, total=False):
    """What is restored, and how."""

    table: Words
    """Only these tables."""
    schema_only: bool
    """Only definitions (PostgreSQL)."""
    data_only: bool
    """Only rows, into empty tables (PostgreSQL)."""
    into_empty: bool
    """Do nothing where the database has tables already (PostgreSQL)."""
    no_owner: bool
    """Everything belongs to the restoring user (PostgreSQL)."""
    no_privileges: bool
    """Nobody is granted anything (PostgreSQL)."""
    replace: bool
    """Take the place of what stands there, which is kept beside."""
    jobs: int
    """Worker threads."""


class RestoreOptions(PlanOptions, total=False):
    """Options of a restore. The call itself is the consent: nobody is asked."""


class PruneOptions(CallOptions, total=False):
    """Options of pruning."""

    keep: str
    """What to keep, e.g. ``"daily=30,weekly=12"``, instead of the job's policy."""
    dry_run: bool
    """Only say what would go, and why."""
    rpo: Age
    """Remove nothing while the newest good backup is older than this."""


class GuardOptions(CallOptions, total=False):
    """Options of a guard. ``timeout`` is for what happens before the work starts."""

    restore_on_failure: bool
    """Restore the database when the work raises; what it left is kept beside."""
    fresh: Age
    """A proven backup of at most this age is enough; else one is taken now."""
    verify: Level
    """How deep the backup is verified before the work starts."""
    max_loss: float
    """Warn when the work succeeds and a table lost more than this share of its rows; 1 is never."""
    no_census: bool
    """Do not count every table before and after."""
    work: str
    """What the journal calls the work."""
