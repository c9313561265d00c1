"""What the wheel costs over the command: pairs in one run, each of the same backup, and their ratios.

    python overhead.py [--command PATH] [--megabytes 1000] [--pairs 5] [--empty-pairs 25]

``--command`` is an optimized `backup` of the same version; without it the one of this environment, which starts a
Python, too. Wall time, and CPU time of both processes and their children: on a busy machine only the latter says much.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import backup_py


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--command", type=Path, default=Path(sys.executable).with_name("backup"))
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--empty-pairs", type=int, default=25)
    options = parser.parse_args()
    print(f"import backup_py: {importing() * 1000:.1f} ms over starting Python (median)")
    with tempfile.TemporaryDirectory(prefix="backup-bench-") as name:
        folder = Path(name)
        fill(folder / "empty.db", 0)
        compare("an empty database", options.command, folder / "empty.db", options.empty_pairs)
        fill(folder / "large.db", options.megabytes)
        compare(f"{options.megabytes} MB", options.command, folder / "large.db", options.pairs)


def fill(path: Path, megabytes: int) -> None:
    """Rows that compress as ordinary ones do."""
    db = sqlite3.connect(path)
    db.executescript("PRAGMA synchronous=OFF; CREATE TABLE orders(id INTEGER PRIMARY KEY, note TEXT)")
    row = "SELECT 'order ' || value || hex(randomblob(200)) || substr('leave at the door, please ', 1, value % 26)"
    for _ in range(megabytes):
        db.execute(
            "WITH RECURSIVE n(value) AS (VALUES(1) UNION ALL SELECT value + 1 FROM n WHERE value < 2300) "
            f"INSERT INTO orders(note) {row} FROM n"
        )
    db.commit()
    db.close()


def compare(what: str, command: Path, database: Path, pairs: int) -> None:
    """Both, one after the other, in turns."""
    store = database.parent / "store"

    def by_command() -> None:
        subprocess.run([command, "--store", store, "--json", "run", database], check=True, capture_output=True)

    def by_wheel() -> None:
        backup_py.job(source=database, store=store).run()

    for one in (by_command, by_wheel):
        one()
    wall: list[tuple[float, float]] = []
    cpu: list[tuple[float, float]] = []
    for number in range(pairs):
        measured: dict[Callable[[], None], tuple[float, float]] = {}
        for one in (by_command, by_wheel) if number % 2 else (by_wheel, by_command):
            shutil.rmtree(store)
            measured[one] = timed(one)
        wall.append((measured[by_command][0], measured[by_wheel][0]))
        cpu.append((measured[by_command][1], measured[by_wheel][1]))
    for name, values in (("wall", wall), ("CPU", cpu)):
        own, others = (statistics.median(column) for column in zip(*values, strict=True))
        more = statistics.median(wheel - command for command, wheel in values)
        ratio = statistics.median(wheel / command for command, wheel in values)
        print(f"{what}, {name}: command {own * 1000:.1f} ms, wheel {others * 1000:.1f} ms; "
              f"of {pairs} pairs the median is {more * 1000:+.1f} ms, ratio {ratio:.3f}")  # fmt: skip


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of wall and of CPU, ours and our children's."""
    begun, used = time.perf_counter(), cpu_time()
    work()
    return time.perf_counter() - begun, cpu_time() - used


def cpu_time() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def importing() -> float:
    """Seconds that the import takes."""

    def start(code: str) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", code], check=True, env=os.environ)
        return time.perf_counter() - begun

    return statistics.median(start("import backup_py") - start("pass") for _ in range(15))


if __name__ == "__main__":
    main()
