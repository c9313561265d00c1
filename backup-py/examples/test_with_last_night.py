"""Tests of another project, on last night's data: `backup_source` and `backup_store` stand in its pytest.ini."""

import sqlite3

import pytest
from backup_py.pytest_plugin import RestoredBackup


def test_every_price_is_positive(restored_backup: RestoredBackup) -> None:
    db = sqlite3.connect(restored_backup.path)
    assert db.execute("SELECT count(*) FROM prices WHERE cents <= 0").fetchone() == (0,)


@pytest.mark.backup(tables=["prices"])
def test_the_new_report_reads_old_prices(restored_backup: RestoredBackup) -> None:
    db = sqlite3.connect(restored_backup.path)
    assert db.execute("SELECT max(cents) FROM prices").fetchone()[0] > 0
