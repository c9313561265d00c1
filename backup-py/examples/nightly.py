"""A night's work: back up every job side by side, drill one, and say how all stand."""

import asyncio
import sys
from datetime import date, timedelta

import backup_py as backup
from backup_py.results import Taken


async def night(backups: backup.Backups, names: list[str]) -> bool:
    """Backs up all jobs at once; whether all is well."""
    runs = [backups.job(name).run_async(tag="nightly", wait=timedelta(minutes=5)) for name in names]
    outcomes: list[Taken | BaseException] = await asyncio.gather(*runs, return_exceptions=True)
    for name, outcome in zip(names, outcomes, strict=True):
        match outcome:
            case backup.BackupError(retryable=True):
                print(f"{name}: later again: {outcome}")
            case BaseException():
                print(f"{name}: FAILED: {outcome}")
            case _:
                print(f"{name}: {outcome}")
    drilled = await backups.job(names[date.today().toordinal() % len(names)]).drill_async()
    return drilled.ok and all(status.well for status in await backups.status_async(rpo="24h"))


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(night(backup.open(sys.argv[1]), sys.argv[2:])) else 3)
