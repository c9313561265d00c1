"""An ingestion script: back up first, then change the data, and have them back if it fails half-way."""

import csv
import sqlite3
import sys
from pathlib import Path

import backup_py as backup


def ingest(database: Path, prices: Path) -> int:
    """Loads a file of prices; returns how many."""
    number = 0
    db = sqlite3.connect(database)
    try:
        with prices.open(newline="") as file:
            for number, row in enumerate(csv.DictReader(file), start=1):
                db.execute("INSERT INTO prices(item, cents) VALUES (?, ?)", (row["item"], int(row["cents"])))
                db.commit()  # Batch by batch: a rollback at the end would not bring them back.
        return number
    finally:
        db.close()


def main(database: Path, store: Path, prices: Path) -> int:
    """Ingests under a guard; what it changed is told by table."""
    job = backup.job(source=database, store=store)
    with job.guard(restore_on_failure=True, work="ingest of prices") as guard:
        ingest(database, prices)
    if guard.report is not None and guard.report.difference is not None:
        print(guard.report.difference.tables)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4])))
