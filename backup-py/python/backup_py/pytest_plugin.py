"""A pytest plugin: last night's data in a scratch database.

The fixture ``restored_backup`` restores the latest backup, or some of its tables, into a database of the test's own: an
SQLite file in ``tmp_path``, or a PostgreSQL database that is dropped thereafter. The options ``backup_config``,
``backup_job``, ``backup_source``, ``backup_store``, ``backup_id``, ``backup_tables`` and ``backup_on`` say which; the
marker ``@pytest.mark.backup(job=…, id=…, tables=[…], on=…)`` goes before them.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from shutil import which
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

if TYPE_CHECKING:
    from backup_py.jobs import Job
    from backup_py.results import Backup

__all__ = ["RestoredBackup"]

OPTIONS = {
    "config": "The configuration",
    "job": "The job of the configuration",
    "source": "Without a configuration: the database that was backed up, or the name of its vault",
    "store": "Without a configuration: where its backups are",
    "id": "The backup [default: latest]",
    "tables": "Only these tables, separated by blanks",
    "on": "The PostgreSQL server for the scratch database, e.g. postgres://app@localhost",
}


@dataclass(frozen=True)
class RestoredBackup:
    """A backup, restored for one test."""

    backup: Backup
    """The backup."""
    target: str
    """The file's path, or the scratch database's URL."""

    @property
    def path(self) -> Path:
        """The SQLite file."""
        if "://" in self.target:
            raise ValueError("it was restored into a PostgreSQL database: use .target")
        return Path(self.target)


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, text in OPTIONS.items():
        parser.addini(f"backup_{name}", f"{text} (restored_backup)", type="string", default="")


def pytest_configure(config: pytest.Config) -> None:
    what = "backup(config, job, source, store, id, tables, on): what restored_backup restores"
    config.addinivalue_line("markers", what)


@pytest.fixture
def restored_backup(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RestoredBackup]:
    """The latest backup, or some of its tables, in a scratch database that is gone after the test."""
    asked = settings(request)
    job = job_of(asked)
    backup = job.show(asked["id"] or "latest").manifest
    with scratch(backup, asked["on"], bool(asked["tables"]), tmp_path) as target:
        job.restore(backup.id, target, table=asked["tables"])
        yield RestoredBackup(backup, target)


def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the marker says, else the options."""
    asked: dict[str, Any] = {name: request.config.getini(f"backup_{name}") for name in OPTIONS}
    for name in ("config", "store"):
        # Like every path in that file, it is meant from there.
        if asked[name] and "://" not in asked[name]:
            asked[name] = str(request.config.rootpath / os.path.expanduser(asked[name]))
    marker = request.node.get_closest_marker("backup")
    asked |= dict(marker.kwargs) if marker is not None else {}
    tables = asked["tables"]
    asked["tables"] = tables.split() if isinstance(tables, str) else list(tables)
    if unknown := asked.keys() - OPTIONS.keys():
        raise pytest.UsageError(f"the marker backup does not know {', '.join(sorted(unknown))}")
    return asked


def job_of(asked: dict[str, Any]) -> Job:
    """The job that is meant."""
    # Not at the top: pytest loads every plugin before it measures anything.
    import backup_py

    if asked["source"]:
        return backup_py.job(source=asked["source"], store=asked["store"] or None)
    if asked["job"]:
        return backup_py.open(asked["config"] or "backup.toml").job(asked["job"])
    raise pytest.UsageError("restored_backup needs backup_job and backup_config, or backup_source and backup_store")


@contextmanager
def scratch(backup: Backup, on: str | None, is_partial: bool, folder: Path) -> Generator[str]:
    """A place for one restore."""
    if backup.source.engine != "postgres":
        path = folder / f"{backup.source.name}.db"
        if is_partial:
            # Tables are restored into a database that is there.
            sqlite3.connect(path).executescript("VACUUM")
        yield str(path)
        return
    if not on:
        raise pytest.UsageError("a PostgreSQL backup needs backup_on, the server for the scratch database")
    psql = find_psql()
    name = f"backup_pytest_{token_hex(6)}"

    def ask(statement: str) -> None:
        subprocess.run([psql, "-Xqc", statement], env=environment_of(on), check=True, capture_output=True)

    try:
        yield with_database(on, name)
    finally:
        ask(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def with_database(server: str, name: str) -> str:
    """The URL of a database on a server."""
    parts = urlsplit(server)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}/{name}{query}"


def environment_of(server: str) -> dict[str, str]:
    """What psql reads of a server. Not from its arguments: everybody sees those, and the URL may hold a password."""
    parts = urlsplit(server)
    query = dict(parse_qsl(parts.query))
    known = {
        "PGHOST": parts.hostname or query.get("host"),
        "PGPORT": str(parts.port or query.get("port") or "") or None,
        "PGUSER": unquote(parts.username) if parts.username else query.get("user"),
        "PGPASSWORD": unquote(parts.password) if parts.password else query.get("password"),
        "PGSSLMODE": query.get("sslmode"),
    }
    found = {name: value for name, value in known.items() if value is not None}
    return os.environ | found | {"PGDATABASE": "postgres"}


def find_psql() -> str:
    """The program that drops the scratch database."""
    usual = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"))
    found = which("psql") or (str(usual[-1]) if usual else None)
    if found is None:
        raise pytest.UsageError("there is no psql, which drops the scratch database after the test")
    return found
