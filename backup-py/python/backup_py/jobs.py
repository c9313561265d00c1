"""One database and its backups: everything that can be done with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from os import fspath
from pathlib import Path
from typing import Any, Literal, Unpack
from warnings import warn

from backup_py._call import call, flags
from backup_py.aio import twin
from backup_py.errors import SuspectWarning
from backup_py.guard import Guard
from backup_py.options import (
    CallOptions,
    DrillOptions,
    GuardOptions,
    PlanOptions,
    PruneOptions,
    RestoreOptions,
    RunOptions,
    StatusOptions,
    VerifyOptions,
    Where,
    Words,
)
from backup_py.results import (
    Backup,
    Drilled,
    Estimate,
    Extracted,
    Mirrored,
    Plan,
    Pruned,
    Restored,
    Results,
    Shown,
    Status,
    Taken,
    Verified,
)

__all__ = ["Job"]


class Job:
    """One database and its backups. Every call runs in a child process; any number may run at once.

    Every call takes ``progress``, which hears :class:`Event` objects, and ``timeout``, and has a twin to await, e.g.
    :meth:`run_async`. An ``id`` is an id, the beginning of one, ``latest``, ``latest:schema``, or a path to a file.
    """

    def __init__(self, place: Iterable[str], source: str, name: str | None = None) -> None:
        self._place, self._source, self._name = tuple(place), source, name

    def __repr__(self) -> str:
        # The rest of a connection string may hold a password.
        scheme, colon, _ = self._source.partition(":")
        is_path = "=" not in self._source and (not colon or scheme in ("sqlite", "file"))
        return f"<Job {self._name or (self._source if is_path else 'postgres:…')}>"

    def _own(self, command: str) -> tuple[str, ...]:
        """A command about the database itself."""
        return (command, *flags(name=self._name), "--", self._source)

    def _of(self, command: str, id: Where) -> tuple[str, ...]:
        """A command about one of its backups."""
        return (command, *flags(of=self._name or self._source), "--", fspath(id))

    def _about(self, command: str) -> tuple[str, ...]:
        """A command about all of its backups."""
        return (command, "--", self._name or self._source)

    def _call(self, words: Iterable[str], options: Mapping[str, Any], **more: Any) -> Any:
        return call(self._place, words, {**options, **more})

    def run(self, **options: Unpack[RunOptions]) -> Taken:
        """Takes a backup, copies it to the mirrors, and removes what retention no longer keeps.

        One that a guardrail complains of is kept, is not ``good``, and warns with :class:`SuspectWarning`. A call that
        is stopped leaves nothing half made.

        >>> taken = job.run(tag="pre-ingest")
        >>> taken.good, taken.rows, taken.manifest.tags
        (True, 3, ('pre-ingest',))
        """
        taken = Taken.of(self._call(self._own("run"), options))
        if not taken.good:
            warn(f"suspect: {taken!r}", SuspectWarning, stacklevel=2)
        return taken

    def list(self, **options: Unpack[CallOptions]) -> Results[Backup]:
        """The backups there are, oldest first.

        >>> rows = job.list().to_dicts()
        >>> rows[0]["source_engine"], rows[0]["payload_plain_bytes"] > 0
        ('sqlite', True)
        """
        return Results(map(Backup.of, self._call(self._own("list"), options)["backups"]))

    def show(self, id: Where = "latest", **options: Unpack[CallOptions]) -> Shown:
        """Everything known of one backup, where it lies, and how it was proven.

        >>> job.show().manifest.tables.to_dicts()[0]["name"]
        'orders'
        """
        return Shown.of(self._call(self._of("show", id), options))

    def status(self, **options: Unpack[StatusOptions]) -> Status:
        """How it stands, by these objectives, else by the job's own. ``well`` is the verdict.

        >>> job.status(rpo="24h").well
        True
        """
        return Status.of(self._call(self._about("status"), options)["sources"][0])

    def estimate(self, **options: Unpack[CallOptions]) -> Estimate:
        """How large and how long the next backup will be."""
        return Estimate.of(self._call(self._own("estimate"), options))

    def verify(self, id: Where = "latest", **options: Unpack[VerifyOptions]) -> Verified:
        """Looks at a stored backup again. Damage is a result: ``ok`` is the verdict.

        >>> job.verify(level="checksum").ok
        True
        """
        return Verified.of(self._call(self._of("verify", id), options))

    def drill(self, id: Where = "latest", **options: Unpack[DrillOptions]) -> Drilled:
        """Restores into a scratch place, compares, asks the smoke queries, measures, and throws away.

        >>> job.drill(smoke="SELECT count(*) FROM orders").proof.smoke[0].answer
        '3'
        """
        return Drilled.of(self._call(self._of("drill", id), options))

    def restore(self, id: Where = "latest", to: Where | None = None, **options: Unpack[RestoreOptions]) -> Restored:
        """Brings a backup back: loads it beside, proves it, swaps. ``to`` is where it was taken from unless told.

        >>> job.restore(to=folder / "copy.db").target == str(folder / "copy.db")
        True
        """
        return Restored.of(self._call(self._of("restore", id), options, to=to, yes=True))

    def plan(self, id: Where = "latest", to: Where | None = None, **options: Unpack[PlanOptions]) -> Plan:
        """What :meth:`restore` would do; touches nothing.

        >>> job.plan(replace=True).replaces
        True
        """
        return Plan.of(self._call(self._of("restore", id), options, to=to, dry_run=True)["plan"])

    def extract(
        self,
        id: Where,
        table: str,
        to: Where,
        *,
        format: Literal["sql", "csv"] = "sql",
        **options: Unpack[CallOptions],
    ) -> Extracted:
        """Writes one table into a new file, as SQL or CSV that can be reviewed.

        >>> job.extract("latest", "orders", folder / "orders.csv", format="csv").rows
        3
        """
        words = self._of("extract", id)
        return Extracted.of(self._call(words, options, table=table, output=to, format=format))

    def text(
        self, id: Where, table: str, *, format: Literal["sql", "csv"] = "sql", **options: Unpack[CallOptions]
    ) -> str:
        """One table as SQL or CSV, in memory."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="backup-") as folder:
            return self.extract(id, table, Path(folder) / "table", format=format, **options).file.read_text()

    def adopt(
        self,
        *paths: Where,
        tag: Words = (),
        at: datetime | None = None,
        move: bool = False,
        **options: Unpack[CallOptions],
    ) -> tuple[str, ...]:
        """Brings dumps that other scripts made into the vault, verified; returns their ids."""
        words = ("adopt", *flags(of=self._name or self._source), "--", *(fspath(path) for path in paths))
        return tuple(self._call(words, options, tag=tag, at=at, move=move)["adopted"])

    def prune(self, **options: Unpack[PruneOptions]) -> Pruned:
        """Removes the backups that the policy does not keep. There is no undo, but ``dry_run``.

        >>> [decision.keep for decision in job.prune(keep="last=1", dry_run=True).decisions]
        [True]
        """
        return Pruned.of(self._call(self._about("prune"), options))

    def mirror(self, **options: Unpack[CallOptions]) -> Results[Mirrored]:
        """Copies what the mirrors lack, e.g. after one was away."""
        mirrors = self._call(("mirror", *flags(of=self._name or self._source)), options)["mirrors"]
        return Results(map(Mirrored.of, mirrors))

    def guard(self, **options: Unpack[GuardOptions]) -> Guard:
        """Guards the work of a ``with`` block, or of a function with :func:`guarded`.

        >>> with job.guard(restore_on_failure=True) as guard:
        ...     migrate()
        >>> guard.report.outcome, guard.report.difference.tables[0].after
        ('succeeded', 4)
        """
        # After `--` stands the command that the other form of it runs.
        words = [word for word in self._own("guard") if word != "--"]
        return Guard(self._place, words, dict(options))

    run_async = twin(run)
    list_async = twin(list)
    show_async = twin(show)
    status_async = twin(status)
    estimate_async = twin(estimate)
    verify_async = twin(verify)
    drill_async = twin(drill)
    restore_async = twin(restore)
    plan_async = twin(plan)
    extract_async = twin(extract)
    text_async = twin(text)
    adopt_async = twin(adopt)
    prune_async = twin(prune)
    mirror_async = twin(mirror)
