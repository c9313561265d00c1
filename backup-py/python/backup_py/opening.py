"""Ways to a job: through a configuration, or by naming a database and a store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Unpack

from backup_py._call import call, flags
from backup_py.aio import twin
from backup_py.errors import NotFoundError
from backup_py.jobs import Job
from backup_py.options import CallOptions, PruneOptions, StatusOptions, VerifyOptions, Where, Words
from backup_py.results import Backup, CheckItem, Mirrored, Pruned, Results, Status, Verified

__all__ = ["Backups", "job", "open"]


class Backups:
    """All jobs of a configuration, or all backups of a store. Made by :func:`open`."""

    def __init__(self, place: Iterable[str]) -> None:
        self._place = tuple(place)

    def __repr__(self) -> str:
        return f"<Backups {' '.join(self._place)}>"

    def _call(self, words: Iterable[str], options: Any, **more: Any) -> Any:
        return call(self._place, words, {**options, **more})

    def job(self, name: str) -> Job:
        """The job of that name."""
        return Job(self._place, name)

    def check(self, **options: Unpack[CallOptions]) -> Results[CheckItem]:
        """Everything a run would need: configuration, tools, databases, stores; and what to do."""
        return Results(map(CheckItem.of, self._call(["check"], options)["items"]))

    def list(self, **options: Unpack[CallOptions]) -> Results[Backup]:
        """Every source's backups, oldest first."""
        return Results(map(Backup.of, self._call(["list"], options)["backups"]))

    def status(self, **options: Unpack[StatusOptions]) -> Results[Status]:
        """How every source stands."""
        return Results(map(Status.of, self._call(["status"], options)["sources"]))

    def verify(self, **options: Unpack[VerifyOptions]) -> Verified:
        """Looks at every stored backup again. Damage is a result: ``ok`` is the verdict."""
        return Verified.of(self._call(["verify"], options, all=True))

    def adopt(
        self,
        *paths: Where,
        name: str | None = None,
        tag: Words = (),
        at: datetime | None = None,
        move: bool = False,
        **options: Unpack[CallOptions],
    ) -> tuple[str, ...]:
        """Brings dumps that other scripts made into the store, verified; returns their ids."""
        words = ("adopt", "--", *(fspath(path) for path in paths))
        return tuple(self._call(words, options, name=name, tag=tag, at=at, move=move)["adopted"])

    def prune(self, **options: Unpack[PruneOptions]) -> Pruned:
        """Removes the backups that the policies do not keep. There is no undo, but ``dry_run``."""
        return Pruned.of(self._call(["prune"], options))

    def mirror(
        self, *, from_: Where | None = None, to: Words = (), **options: Unpack[CallOptions]
    ) -> Results[Mirrored]:
        """Copies what the mirrors lack; ``from_`` rebuilds a lost store out of a mirror."""
        documents = self._call(["mirror", *flags(**{"from": from_})], options, to=to)["mirrors"]
        return Results(map(Mirrored.of, documents))

    check_async = twin(check)
    list_async = twin(list)
    status_async = twin(status)
    verify_async = twin(verify)
    adopt_async = twin(adopt)
    prune_async = twin(prune)
    mirror_async = twin(mirror)


def open(config: Where = "backup.toml", *, identity: Where | Iterable[Where] = ()) -> Backups:
    """The jobs of a configuration. It is read at the first call, in the child that does the work.

    >>> open("no/such/backup.toml")
    Traceback (most recent call last):
    backup_py.errors.NotFoundError: there is no configuration "no/such/backup.toml"
    hint: `backup init DATABASE` writes one.
    """
    if not Path(config).is_file():
        raise NotFoundError(f'there is no configuration "{fspath(config)}"', hint="`backup init DATABASE` writes one.")
    return Backups(flags(config=Path(config).absolute(), identity=identity))


def job(
    *,
    source: Where,
    store: Where | None = None,
    name: str | None = None,
    mirror: Where | Iterable[Where] = (),
    identity: Where | Iterable[Where] = (),
    scratch: Where | None = None,
) -> Job:
    """A job that needs no configuration: a database and a store, as the command takes them.

    ``source`` is a path, ``sqlite:PATH`` or ``postgres://…``; ``store`` a folder, ``s3://…``, or what
    ``$BACKUP_STORE`` says.

    >>> job(source="app.db", store="backups")
    <Job app.db>
    """
    text = f"sqlite:{fspath(source)}" if isinstance(source, PathLike) else source
    return Job(flags(store=store, mirror=mirror, identity=identity, scratch=scratch), text, name)
