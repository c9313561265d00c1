"""Work that fails half-way leaves the data as they were, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Postgres, Shop, children, eventually, workers_on

import backup_py as backup

Script = Callable[..., "subprocess.Popen[str]"]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def break_half(shop: Shop) -> None:
    """The first half of a script; the second raises."""
    with shop.open() as db:
        db.execute("DELETE FROM orders WHERE id > 1")
        db.execute("CREATE TABLE half(a)")
    db.close()
    raise ValueError("no such column:\n  price")


def journal(shop: Shop) -> list[Path]:
    return list((shop.store / "shop" / "guard").glob("*"))


def test_a_script_that_fails_half_way_is_undone(shop: Shop) -> None:
    before = shop.orders()
    with pytest.raises(ValueError, match="no such column") as caught:
        with shop.job.guard(restore_on_failure=True) as guard:
            break_half(shop)
    assert shop.orders() == before
    report = guard.report
    assert report is not None and report.outcome == "restored" and report.failure == "ValueError: no such column: price"
    assert report.difference is not None and report.difference.schema_changed
    (change,) = [one for one in report.difference.tables if one.name == "orders"]
    assert (change.before, change.after) == (3, 1)
    assert report.restored is not None and len(shop.orders(Path(report.restored.kept[0]))) == 1
    assert any("was restored" in note and "undo: " in note for note in caught.value.__notes__)
    assert shop.job.show(guard.backup).manifest.tags == ("guard",)
    assert journal(shop) == [] and children() == []


def test_without_leave_to_restore_the_note_has_the_line(shop: Shop) -> None:
    before = shop.orders()
    with pytest.raises(ValueError) as caught:
        with shop.job.guard() as guard:
            break_half(shop)
    assert len(shop.orders()) == 1, "nothing is restored unasked"
    (note,) = caught.value.__notes__
    line = note.rpartition("to restore: ")[2]
    assert line == guard.restore_line and str(Path(sys.executable).with_name("backup")) in line
    done = subprocess.run(["sh", "-c", line], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert shop.orders() == before


def test_work_that_succeeds_is_told(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    with shop.job.guard(max_loss=0.5) as guard:
        with shop.open() as db:
            db.execute("DELETE FROM orders")
        db.close()
    assert guard.report is not None and guard.report.outcome == "succeeded"
    assert guard.report.warnings and "orders" in guard.report.warnings[0]
    assert "orders" in caplog.text, "where nobody listens, the logger hears it"
    with pytest.raises(RuntimeError, match="one use"):
        with guard:
            pass


def test_without_a_good_backup_the_work_does_not_start(shop: Shop) -> None:
    started = False
    with pytest.raises(backup.NotFoundError, match="was not started"):
        with backup.job(source="nowhere.db", store=shop.store).guard():
            started = True
    shop.job.run()
    with shop.open() as db:
        db.execute("DELETE FROM orders WHERE id > 1")
    db.close()
    with pytest.raises(backup.CorruptError, match="ratchet"):
        with shop.job.guard():
            started = True
    with pytest.raises(backup.TimedOutError):
        with shop.job.guard(timeout=0):
            started = True
    assert not started and children() == []


def test_nobody_else_backs_up_meanwhile(shop: Shop) -> None:
    with shop.job.guard():
        with pytest.raises(backup.BusyError) as caught:
            shop.job.run()
        assert caught.value.retryable and caught.value.code == 5
    assert shop.job.run().good


def test_functions_are_guarded(shop: Shop) -> None:
    @backup.guarded(shop.job, restore_on_failure=True)
    def migrate(rows: int) -> int:
        """Migrates."""
        if rows > 1:
            break_half(shop)
        return rows

    @backup.guarded(shop.job, restore_on_failure=True)
    async def migrate_async() -> None:
        await asyncio.sleep(0)
        break_half(shop)

    before = shop.orders()
    assert migrate(1) == 1 and migrate.__doc__ == "Migrates."
    with pytest.raises(ValueError):
        migrate(rows=2)
    assert shop.orders() == before
    with pytest.raises(ValueError) as caught:
        asyncio.run(migrate_async())
    assert shop.orders() == before and "restored" in caught.value.__notes__[0]


def test_a_task_that_is_cancelled_while_its_guard_begins_leaves_none(shop: Shop) -> None:
    """At any moment: before the backup, in it, or when the work could just start."""

    async def story(seconds: float) -> None:
        async def work() -> None:
            async with shop.job.guard():
                pass

        task = asyncio.create_task(work())
        await asyncio.sleep(seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    for seconds in (0, 0.02, 0.05, 0.08, 0.1, 0.12):
        asyncio.run(story(seconds))
        assert journal(shop) == [] and children() == []
    assert shop.job.run().good


def test_an_exit_that_says_well_done_is_no_failure(shop: Shop) -> None:
    with pytest.raises(SystemExit), shop.job.guard(restore_on_failure=True) as well:
        sys.exit(0)
    with pytest.raises(SystemExit), shop.job.guard(restore_on_failure=True) as badly:
        sys.exit(2)
    assert well.report is not None and well.report.outcome == "succeeded"
    assert badly.report is not None and badly.report.outcome == "restored"


def test_ctrl_c_during_the_work_is_its_failure(shop: Shop, script: Script) -> None:
    run = script(HALF_WAY, shop.path, shop.store)
    assert run.stdout is not None and run.stdout.readline() == "half-way\n"
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=30)
    assert "KeyboardInterrupt" in err and "was restored" in err
    assert len(shop.orders()) == 3 and journal(shop) == []


HALF_WAY = """
import sqlite3, sys, time, backup_py
with backup_py.job(source=sys.argv[1], store=sys.argv[2]).guard(restore_on_failure=True, work="the ingest"):
    db = sqlite3.connect(sys.argv[1])
    with db:
        db.execute("DELETE FROM orders WHERE id > 1")
    db.close()
    print("half-way", flush=True)
    time.sleep(60)
"""


def test_a_guarding_process_that_is_killed_is_told_at_the_next_start(shop: Shop, script: Script) -> None:
    run = script(HALF_WAY, shop.path, shop.store)
    assert run.stdout is not None and run.stdout.readline() == "half-way\n"
    run.kill()
    run.wait()
    eventually("the guard is gone", lambda: not workers_on(shop.store))
    assert len(shop.orders()) == 1, "nobody is asked, so nothing is restored"
    (entry,) = journal(shop)
    status = shop.job.status()
    assert not status.well and "the ingest" in status.missed[0].what and status.missed[0].objective == "guard"

    events: list[backup.Event] = []
    shop.job.run(accept=True, progress=events.append)
    (alarm,) = [event for event in events if event.kind == "alarm"]
    assert alarm.text is not None and "was interrupted" in alarm.text and not entry.exists()
    line = alarm.text.rpartition("to go back: ")[2]
    assert subprocess.run(["sh", "-c", line], cwd="/", capture_output=True).returncode == 0
    assert len(shop.orders()) == 3, "the backup is there"


def test_a_worker_that_is_killed_during_the_work_is_told(shop: Shop) -> None:
    with pytest.raises(backup.WorkerError) as caught:
        with shop.job.guard():
            subprocess.run(["kill", "-9", str(children()[0])])
            time.sleep(0.1)
    assert "to restore: " in caught.value.__notes__[-1]
    assert len(journal(shop)) == 1


def test_the_command_guards_likewise(shop: Shop, command: Command) -> None:
    done = command("--store", shop.store, "guard", shop.path, "--restore-on-failure", "--", "false")
    assert done.returncode == 1 and "restored from" in done.stderr, done.stderr
    done = command("--store", shop.store, "guard", shop.path, "--", "false")
    assert done.returncode == 1 and f"to restore: {Path(sys.executable).with_name('backup')}" in done.stderr, (
        done.stderr
    )


def test_postgres_work_that_fails_half_way_is_undone(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.shop("till")
    job = backup.job(source=url, store=tmp_path / "backups")
    assert "postgres@" not in repr(job)
    with pytest.raises(subprocess.SubprocessError) as caught:
        with job.guard(restore_on_failure=True) as guard:
            postgres.sql("till", "DELETE FROM orders WHERE id > 150", "CREATE TABLE half (a int)")
            raise subprocess.SubprocessError("psql gave up")
    assert "was restored" in caught.value.__notes__[0]
    assert guard.report is not None and guard.report.outcome == "restored"
    assert postgres.sql("till", "SELECT count(*), sum(cents) FROM orders") == "200|40100"
    assert postgres.sql("till", "SELECT to_regclass('half')") == ""

    with pytest.raises(ValueError) as failed:
        with job.guard():
            postgres.sql("till", "DROP TABLE orders")
            raise ValueError("half-way")
    line = failed.value.__notes__[0].rpartition("to restore: ")[2]
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env={"DATABASE_URL": url, "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, done.stderr
    assert postgres.sql("till", "SELECT count(*) FROM orders") == "200"


def test_a_postgres_backup_is_stopped_within_a_second(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.shop("large")
    postgres.sql(
        "large", "CREATE TABLE notes AS SELECT n, repeat(md5(n::text), 200) t FROM generate_series(1, 60000) n"
    )
    job = backup.job(source=url, store=tmp_path / "backups")

    def refuse(event: backup.Event) -> None:
        if event.kind == "progress":
            refuse_at.append(time.monotonic())
            raise LookupError("enough")

    refuse_at: list[float] = []
    with pytest.raises(LookupError):
        job.run(progress=refuse)
    assert time.monotonic() - refuse_at[0] < 2
    assert job.list() == () and children() == []
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'large'"
    eventually("its sessions are gone", lambda: postgres.sql("postgres", sessions) == "0")
    assert job.run().rows == 60200
