"""Every call, with a real database behind it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import Shop

import backup_py as backup
from backup_py.options import CallOptions


def test_a_backup_is_taken_listed_and_brought_back(shop: Shop) -> None:
    taken = shop.job.run(tag=["nightly", "first"])
    assert taken.good and taken.rows == 3 and taken.manifest.tags == ("nightly", "first")
    assert shop.payload(taken.id).is_file()
    assert [one.id for one in shop.job.list()] == [taken.id]

    shutil.copy(shop.path, "old.db")
    restored = shop.job.restore(taken.id, Path("copy.db"))
    assert restored.id == taken.id and shop.orders(Path("copy.db")) == shop.orders()

    with shop.open() as db:
        db.execute("DELETE FROM orders")
    db.close()
    with pytest.raises(backup.AlreadyExistsError):
        shop.job.restore()
    assert shop.orders() == [], "nothing is replaced unasked"
    undone = shop.job.restore(replace=True)
    assert len(shop.orders()) == 3 and shop.orders(Path(undone.kept[0])) == []
    assert undone.undo is not None and str(shop.path) in undone.undo


def test_one_table_is_brought_back(shop: Shop) -> None:
    shop.job.run()
    with shop.open() as db:
        db.execute("DELETE FROM orders WHERE id > 1")
        db.execute("CREATE TABLE notes(t)")
    db.close()
    shop.job.restore(table="orders")
    assert len(shop.orders()) == 3
    assert sqlite3.connect(shop.path).execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_backups_are_looked_at(shop: Shop) -> None:
    taken = shop.job.run()
    shown = shop.job.show(taken.id[:-3])
    assert shown.manifest == taken.manifest and shown.copies == (taken.location,)
    assert shop.job.verify().ok and shop.job.verify(level="checksum").verified[0].level == "checksum"
    drilled = shop.job.drill(smoke=["SELECT count(*) FROM orders", "SELECT max(cents) FROM orders"])
    assert drilled.ok and [one.answer for one in drilled.proof.smoke] == ["3", "102"]
    assert shop.job.show().proofs[-1].level == "restore"

    status = shop.job.status(rpo=timedelta(hours=1))
    assert status.well and status.good == 1 and status.newest == taken.id
    time.sleep(2.1)
    late = shop.job.status(rpo=1)
    assert not late.well and late.missed[0].objective == "rpo"
    assert (shop.job.estimate().plain_bytes or 0) > 0


def test_a_table_is_extracted(shop: Shop, tmp_path: Path) -> None:
    shop.job.run()
    extracted = shop.job.extract("latest", "orders", tmp_path / "orders.csv", format="csv")
    assert extracted.rows == 3 and extracted.file.read_text().splitlines()[0].startswith("id")
    assert "INSERT INTO" in shop.job.text("latest", "orders")
    with pytest.raises(backup.AlreadyExistsError):
        shop.job.extract("latest", "orders", tmp_path / "orders.csv")


def test_a_plan_touches_nothing(shop: Shop) -> None:
    shop.job.run()
    before = shop.path.read_bytes()
    plan = shop.job.plan(replace=True)
    assert plan.replaces and plan.steps and plan.target.endswith("shop.db")
    assert shop.path.read_bytes() == before


def test_a_damaged_backup_is_a_verdict_and_a_mirror_heals_it(shop: Shop, tmp_path: Path) -> None:
    job = backup.job(source=shop.path, store=shop.store, mirror=tmp_path / "mirror")
    taken = job.run()
    assert [(one.mirror, one.ok) for one in taken.mirrors] == [(str(tmp_path / "mirror"), True)]
    payload = shop.payload(taken.id)
    payload.chmod(0o600)
    payload.write_bytes(payload.read_bytes()[:-9])
    verified = shop.job.verify()
    assert not verified.ok and verified.verified[0].findings
    healed = job.verify(heal=True)
    assert healed.ok and healed.healed[0].from_ is not None
    assert job.mirror()[0].already == 1


def test_dumps_of_other_scripts_are_adopted(shop: Shop) -> None:
    shutil.copy(shop.path, "old-2026-01-22.db")
    (id,) = shop.job.adopt("old-2026-01-22.db", tag="old", at=datetime(2026, 1, 22, 15, tzinfo=UTC), move=True)
    assert shop.job.show(id).manifest.snapshot_at == datetime(2026, 1, 22, 15, tzinfo=UTC)
    assert not Path("old-2026-01-22.db").exists()
    assert [one.id for one in shop.job.list()] == [id]


def test_retention_tells_its_reasons(shop: Shop) -> None:
    ids = [shop.job.run(tag=f"n{n}").id for n in range(3)]
    planned = shop.job.prune(keep="last=1", dry_run=True)
    assert [one.keep for one in planned.decisions] == [False, False, True] and all(
        one.reasons for one in planned.decisions
    )
    assert len(shop.job.list()) == 3, "a dry run removes nothing"
    assert shop.job.prune(keep="last=1").removed == tuple(ids[:2])
    assert [one.id for one in shop.job.list()] == ids[2:]


def test_jobs_of_a_configuration(shop: Shop, tmp_path: Path) -> None:
    Path("backup.toml").write_text(
        f'[stores.local]\nurl = "{tmp_path / "kept"}"\n'
        f'[jobs.till]\nsource = "sqlite:{shop.path}"\nstore = "local"\nretention = {{ last = 1 }}\n'
        'objectives = { rpo = "24h" }\n[jobs.other]\nsource = "sqlite:nowhere.db"\nstore = "local"\n'
    )
    backups = backup.open("backup.toml")
    till = backups.job("till")
    first = till.run()
    assert first.id.startswith("till-full-") and till.run().pruned == (first.id,)
    assert till.status().well
    assert [one.source for one in backups.status()] == ["other", "till"]
    assert len(backups.list()) == 1 and backups.verify().ok
    assert {item.state for item in backups.check() if item.about == "job other"} >= {"fail"}
    assert backups.prune().removed == ()
    with pytest.raises(backup.BackupError) as caught:
        backups.job("tilt").run()
    assert "till" in (caught.value.hint or "") + str(caught.value)


def test_two_databases_in_one_store_are_not_mixed_up(shop: Shop, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.db").executescript("CREATE TABLE a(b); INSERT INTO a VALUES (1)")
    other = backup.job(source=str(tmp_path / "other.db"), store=shop.store)
    named = backup.job(source=shop.path, store=shop.store, name="third")
    first, second, third = shop.job.run(), other.run(), named.run()
    assert (first.id, second.id, third.id) == (
        shop.job.show().manifest.id,
        other.show().manifest.id,
        named.show().manifest.id,
    )
    assert [one.id for one in other.list()] == [second.id] and other.status().source == "other"
    assert other.drill().id == second.id
    with pytest.raises(backup.NotFoundError):
        other.restore(first.id, "wrong.db")


def test_events_come_in_order_and_read_well(shop: Shop) -> None:
    events: list[backup.Event] = []
    shop.job.run(progress=events.append)
    steps = [event.step for event in events if event.kind == "began"]
    assert steps[0] == "capture" and "check" in steps
    assert all(str(event) for event in events)
    assert threading.current_thread() is threading.main_thread()


def test_suspect_is_not_success(shop: Shop) -> None:
    shop.job.run()
    with shop.open() as db:
        db.execute("DELETE FROM orders WHERE id > 1")
    db.close()
    with pytest.warns(backup.SuspectWarning, match="ratchet"):
        taken = shop.job.run()
    assert not taken.good and taken.manifest.suspect[0].rule == "ratchet"
    assert not shop.job.status().well
    assert shop.job.run(accept=True).good


def test_the_asynchronous_twins(shop: Shop) -> None:
    async def story() -> None:
        loop_thread, heard = threading.get_ident(), set[int]()
        options: CallOptions = {"progress": lambda _: heard.add(threading.get_ident())}
        taken = await shop.job.run_async(tag="async", **options)
        assert heard == {loop_thread}, "callbacks run in the loop"
        several = await asyncio.gather(shop.job.verify_async(), shop.job.drill_async(taken.id), shop.job.list_async())
        assert several[0].ok and several[1].ok and several[2][0].id == taken.id

    asyncio.run(story())
