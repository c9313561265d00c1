"""The lock trap: a process that opens a database file once more loses the locks that its connections hold."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest
from conftest import Shop

import backup_py

MODES = ["wal", "delete"]
ROUNDS = 100


def shop_in(shop: Shop, mode: str) -> None:
    db = shop.open()
    db.execute(f"PRAGMA journal_mode={mode}")
    db.execute("PRAGMA synchronous=OFF")
    db.close()


def elsewhere(path: Path, sql: str) -> subprocess.CompletedProcess[str]:
    """Another process writes, and does not wait."""
    code = f"import sqlite3; db = sqlite3.connect({str(path)!r}, timeout=0); db.execute({sql!r}); db.commit()"
    return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)


def in_a_naive_way(path: Path) -> None:
    """What many a backup function does: it reads the file."""
    with open(path, "rb") as file:
        file.read(100)


def test_the_trap_in_delete_mode(shop: Shop) -> None:
    """Reproduced, so that it is known to be one: somebody else gets the lock that we hold."""
    shop_in(shop, "delete")
    db = shop.open()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO orders(cents) VALUES (1)")
    assert "locked" in elsewhere(shop.path, "INSERT INTO orders(cents) VALUES (2)").stderr
    in_a_naive_way(shop.path)
    assert elsewhere(shop.path, "INSERT INTO orders(cents) VALUES (2)").returncode == 0, "the lock is lost"
    db.close()


def test_the_trap_in_wal_mode(shop: Shop) -> None:
    """Reproduced: the next process to close the database deletes its log under an open connection."""
    shop_in(shop, "wal")
    db = shop.open()
    db.execute("INSERT INTO orders(cents) VALUES (1)")
    db.commit()
    in_a_naive_way(shop.path)
    assert elsewhere(shop.path, "SELECT count(*) FROM orders").returncode == 0
    assert not Path(f"{shop.path}-wal").exists(), "the log is gone"
    with suppress(sqlite3.Error):
        db.execute("INSERT INTO orders(cents) VALUES (4242)")
        db.commit()
    seen = elsewhere(shop.path, "INSERT INTO orders(cents) SELECT count(*) FROM orders WHERE cents = 4242")
    assert seen.returncode == 0, seen.stderr
    theirs = subprocess.run(["sqlite3", shop.path, "SELECT max(cents) FROM orders"], capture_output=True, text=True)
    assert theirs.stdout.strip() == "102", "nobody else sees what was committed"
    with suppress(sqlite3.Error):
        db.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_lock_that_is_held_stays_held(shop: Shop, mode: str) -> None:
    shop_in(shop, mode)
    db = shop.open()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO orders(cents) VALUES (1)")
    shop.job.run()
    assert "locked" in elsewhere(shop.path, "INSERT INTO orders(cents) VALUES (2)").stderr
    db.commit()
    db.execute("INSERT INTO orders(cents) VALUES (3)")
    db.commit()
    db.close()
    assert len(shop.orders()) == 5


class Till(threading.Thread):
    """Books orders on a connection of its own until it is closed, and knows how many."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.booked, self.closed = path, 0, threading.Event()
        self.error: Exception | None = None

    def run(self) -> None:
        db = sqlite3.connect(self.path, timeout=60)
        try:
            db.execute("PRAGMA synchronous=OFF")
            while not self.closed.wait(0.002):
                with db:
                    db.execute("INSERT INTO orders(cents) VALUES (7)")
                self.booked += 1
        except Exception as error:
            self.error = error
        finally:
            db.close()


def book_and_back_up(path: Path, store: Path, rounds: int) -> int:
    """What a forked worker does: writes, backs up, writes."""
    job = backup_py.job(source=path, store=store, name="forked")
    db = sqlite3.connect(path, timeout=60)
    for _ in range(rounds):
        with db:
            db.execute("INSERT INTO orders(cents) VALUES (8)")
        assert job.run(verify="checksum", accept=True).good
    db.close()
    return rounds


@pytest.mark.timeout(170)
@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_backups_beside_own_connections(shop: Shop, mode: str) -> None:
    """Threads write and back up, and so does a forked worker: no commit, no lock and no page is lost."""
    shop_in(shop, mode)
    tills = [Till(shop.path) for _ in range(2)]
    with get_context("fork").Pool(1) as pool:
        forked = pool.apply_async(book_and_back_up, (shop.path, shop.store, ROUNDS // 10))
        for till in tills:
            till.start()
        for _ in range(ROUNDS - ROUNDS // 10):
            assert shop.job.run(verify="checksum").good
        in_fork = forked.get(120)
    for till in tills:
        till.closed.set()
        till.join()
    assert [till.error for till in tills] == [None, None]
    orders = shop.orders()
    assert len(orders) == 3 + sum(till.booked for till in tills) + in_fork, "no commit is lost"
    assert min(till.booked for till in tills) > 0
    assert sqlite3.connect(shop.path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    taken = shop.job.show()
    assert taken.manifest.rows is not None and shop.job.drill().ok
