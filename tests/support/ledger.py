"""A bank that never waits for a lock: moves money between accounts, one numbered transaction after the other.

Usage: ledger.py DATABASE RATE. Prints "ready", then after each line on stdin the figures since the last one, as JSON,
and ends when stdin does. With a busy timeout of zero, any lock somebody else holds in its way is counted.
"""

import json
import sqlite3
import sys
import threading
import time

ACCOUNTS = 1000


def main(path, rate):
    database = sqlite3.connect(path, timeout=0, isolation_level=None)
    database.execute("PRAGMA synchronous=NORMAL")
    (number,) = database.execute("SELECT coalesce(max(seq), 0) FROM ledger").fetchone()
    asked, ended = threading.Event(), threading.Event()

    def listen():
        for _ in sys.stdin:
            asked.set()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    print("ready", flush=True)
    latencies, busy, due = [], 0, time.perf_counter()
    while not ended.is_set():
        number += 1
        source, sink, amount = number * 7919 % ACCOUNTS, number * 104729 % ACCOUNTS, number % 97
        began = time.perf_counter()
        try:
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE accounts SET cents = cents - ? WHERE id = ?", (amount, source))
            database.execute("UPDATE accounts SET cents = cents + ? WHERE id = ?", (amount, sink))
            database.execute("INSERT INTO ledger VALUES(?, ?, ?, ?)", (number, source, sink, amount))
            database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            if "locked" not in str(error):
                raise
            busy += 1
            number -= 1
        latencies.append(time.perf_counter() - began)
        if asked.is_set():
            asked.clear()
            latencies.sort()
            p99 = latencies[len(latencies) * 99 // 100] * 1000
            p50 = latencies[len(latencies) // 2] * 1000
            print(json.dumps({"seq": number, "count": len(latencies), "busy": busy, "p50_ms": p50, "p99_ms": p99,
                              "max_ms": latencies[-1] * 1000}), flush=True)
            latencies, busy = [], 0
        due = max(due + 1 / rate, time.perf_counter() - 0.1)
        time.sleep(max(0, due - time.perf_counter()))


main(sys.argv[1], float(sys.argv[2]))
