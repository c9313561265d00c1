"""The pytest plugin: tests of another project, on last night's data."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Postgres, Shop

import backup_py

READS = """
import sqlite3, pytest
def test_reads(restored_backup):
    db = sqlite3.connect(restored_backup.path)
    assert db.execute("SELECT count(*) FROM orders").fetchone() == (3,)
    db.execute("DELETE FROM orders")
    db.commit()
def test_has_one_of_its_own(restored_backup):
    assert sqlite3.connect(restored_backup.path).execute("SELECT count(*) FROM orders").fetchone() == (3,)
    assert restored_backup.backup.id.startswith("shop-full-")
"""


def options(**values: object) -> str:
    return "[pytest]\n" + "\n".join(f"backup_{name} = {value}" for name, value in values.items())


def test_last_nights_sqlite(shop: Shop, pytester: pytest.Pytester) -> None:
    shop.job.run()
    before = shop.path.read_bytes()
    pytester.makeini(options(source=shop.path, store=shop.store))
    pytester.makepyfile(READS)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
    assert shop.path.read_bytes() == before


def test_a_job_and_a_marker(shop: Shop, pytester: pytest.Pytester) -> None:
    with shop.open() as db:
        db.execute("CREATE TABLE secrets(word)")
    db.close()
    Path("backup.toml").write_text(
        f"[stores.a]\nurl = '{shop.store}'\n[jobs.shop]\nsource = '{shop.path}'\nstore = 'a'\n"
    )
    first = backup_py.open("backup.toml").job("shop").run().id
    pytester.makeini(options(config="backup.toml"))
    pytester.makepyfile(f"""
        import sqlite3, pytest
        @pytest.mark.backup(job="shop", id="{first}", tables=["orders"])
        def test_only_some(restored_backup):
            names = sqlite3.connect(restored_backup.path).execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            assert names.fetchall() == [("orders",)] and restored_backup.backup.id == "{first}"
        def test_says_what_it_needs(restored_backup):
            pass
    """)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*restored_backup needs*"])


def test_last_nights_postgres(postgres: Postgres, pytester: pytest.Pytester, tmp_path: Path) -> None:
    url = postgres.shop("nightly")
    backup_py.job(source=url, store=tmp_path / "backups").run()
    postgres.sql("nightly", "INSERT INTO customers VALUES (1)")
    pytester.makeini(options(source=url, store=tmp_path / "backups", on=url))
    pytester.makepyfile(f"""
        import pytest, subprocess
        def test_reads(restored_backup):
            out = subprocess.run(["{postgres.bin}/psql", "-XAtd", restored_backup.target, "-c", "SELECT count(*) FROM orders"],
                                 capture_output=True, text=True)
            assert out.stdout == "200\\n", out.stderr
        @pytest.mark.backup(tables=["public.orders"])
        def test_only_some(restored_backup):
            test_reads(restored_backup)
    """)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
    left = postgres.sql(
        "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'backup_pytest%' OR datname LIKE 'nightly_%'"
    )
    assert left == "", "the scratch database is gone"
