"""A shop, a server, and what the tests ask of processes."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import backup_py

pytest_plugins = ["pytester"]

POSTGRES = Path(os.environ.get("BACKUP_POSTGRES", f"/var/tmp/backup-postgres-{os.getuid()}"))
"""Where ``scripts/postgres`` puts the servers."""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("BACKUP_CONFIG", "BACKUP_STORE", "BACKUP_DIR", "BACKUP_MIRRORS", "DATABASE_URL", "BACKUP_IDENTITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


class Shop:
    """An SQLite database with some orders, and its backups."""

    def __init__(self, folder: Path, rows: int = 3) -> None:
        self.folder, self.path, self.store = folder, folder / "shop.db", folder / "backups"
        self.job = backup_py.job(source=self.path, store=self.store)
        with self.open() as db:
            db.execute("CREATE TABLE orders(id INTEGER PRIMARY KEY, cents INTEGER NOT NULL, note BLOB)")
            db.executemany("INSERT INTO orders(cents) VALUES (?)", [(100 + n,) for n in range(rows)])
        db.close()

    def open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    def orders(self, path: Path | None = None) -> list[tuple[object, ...]]:
        db = sqlite3.connect(path or self.path)
        try:
            return db.execute("SELECT id, cents FROM orders ORDER BY id").fetchall()
        finally:
            db.close()

    def sell(self) -> None:
        """One order more."""
        with self.open() as db:
            db.execute("INSERT INTO orders(cents) VALUES (1)")
        db.close()

    def grow(self, megabytes: int) -> None:
        """Bytes that do not compress, so that a backup takes its time."""
        with self.open() as db:
            for _ in range(megabytes):
                db.execute("INSERT INTO orders(cents, note) VALUES (1, randomblob(1000000))")
        db.close()

    def payload(self, id: str) -> Path:
        return self.store / "shop" / "full" / f"{id}.db.zst"

    def litter(self) -> list[Path]:
        """What a run that was stopped might have left under a final name. One that was killed, because the machine was
        too busy to clean up in time, leaves a working copy that the next sweeps."""
        files = [path for path in self.store.rglob("*") if path.is_file()]
        return [path for path in files if not any(part.startswith(".") for part in path.relative_to(self.store).parts)]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture
def big_shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path)
    shop.grow(400)
    return shop


def children(process: int | str = "self") -> list[int]:
    """The living and the dead (zombies, too) that a process has started."""
    own = os.getpid() if process == "self" else int(process)
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == own:
            found.append(int(entry.parent.name))
    return found


def workers_on(path: Path) -> list[int]:
    """The processes that have a file below a folder open."""
    found: set[int] = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link).startswith(str(path)):
                found.add(int(link.parts[2]))
        except OSError:
            continue
    return sorted(found)


def eventually(what: str, condition: Callable[[], object], patience: float = 20) -> float:
    """Waits until something is so; returns how long that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < patience, f"it did not come to be that {what}"
        time.sleep(0.01)
    return time.monotonic() - begun


class Postgres:
    """A real server with a folder of its own."""

    def __init__(self, folder: Path, major: int = 15) -> None:
        self.bin = POSTGRES / str(major) / "bin"
        assert (self.bin / "postgres").exists(), f"there is no server in {self.bin}: run scripts/postgres"
        self.data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        folder.chmod(0o777)
        self.run("initdb", "-D", self.data, "-U", "postgres", "--auth=trust", "--no-sync")
        options = f"-p {self.port} -k {folder} -c fsync=off -c listen_addresses=127.0.0.1"
        self.run("pg_ctl", "-D", self.data, "-w", "-l", folder / "log", "-o", options, "start")

    def run(self, program: str, *arguments: object) -> str:
        """A program of the server, as the user that it runs as."""
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        command = [*as_user, str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        assert done.returncode == 0, done.stdout
        return done.stdout

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def sql(self, database: str, *statements: str) -> str:
        words = [word for statement in statements for word in ("-c", statement)]
        return self.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), *words).strip()

    def shop(self, name: str) -> str:
        """A database with some orders; returns its URL."""
        self.sql("postgres", f"CREATE DATABASE {name}")
        self.sql(name, "CREATE TABLE orders(id int, cents int)", "CREATE TABLE customers(id int)",
                 "INSERT INTO orders SELECT n, 100 + n FROM generate_series(1, 200) n")  # fmt: skip
        return self.url(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    # Short: the name of a socket has a limit; and the user of the server must get there.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="backup-pg-", dir="/tmp") as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a Python script of a user's, isolated, in a process of its own."""

    def start(text: str, *arguments: object) -> subprocess.Popen[str]:
        path = tmp_path / f"script-{time.monotonic_ns()}.py"
        path.write_text(text)
        command = [sys.executable, "-I", str(path), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command that ``pip install`` brought."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("backup")
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)

    return run
