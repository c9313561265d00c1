"""Ctrl-C, a callback that raises, a timeout, the end of the interpreter: within a second, and nothing half made."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from conftest import Shop, children, eventually, workers_on

import backup_py as backup

SOON = 2.0
"""Seconds in which a stopped call is over: one, and another for a busy machine."""

IN_THE_MIDDLE = """
import sys, threading, backup_py
def told(event):
    if event.kind == "progress":
        print("begun", flush=True)
job = backup_py.job(source=sys.argv[1], store=sys.argv[2])
"""

Script = Callable[..., "subprocess.Popen[str]"]


def is_as_if_nothing_was(shop: Shop) -> None:
    """Nothing is listed, nothing is left, nobody works on, and the next run works."""
    assert shop.job.list() == ()
    assert shop.litter() == []
    assert workers_on(shop.folder) == [] and children() == []
    assert shop.job.run().good


def ended_soon(process: subprocess.Popen[str]) -> tuple[float, str]:
    begun = time.monotonic()
    _, err = process.communicate(timeout=20)
    return time.monotonic() - begun, err


def test_a_callback_that_raises_stops_the_run(big_shop: Shop) -> None:
    begun = 0.0

    def refuse(event: backup.Event) -> None:
        nonlocal begun
        if event.kind == "progress":
            begun = time.monotonic()
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        big_shop.job.run(progress=refuse)
    assert time.monotonic() - begun < SOON
    is_as_if_nothing_was(big_shop)


def test_a_timeout_stops_the_run(big_shop: Shop) -> None:
    begun = time.monotonic()
    with pytest.raises(backup.TimedOutError, match="longer than 0.2 s") as caught:
        big_shop.job.run(timeout=0.2)
    assert time.monotonic() - begun < 0.2 + SOON
    assert isinstance(caught.value, TimeoutError)
    is_as_if_nothing_was(big_shop)


def test_a_run_can_be_stopped_at_any_moment(big_shop: Shop) -> None:
    """Also while its child starts."""
    for moment in range(12):
        begun = time.monotonic()
        with pytest.raises(backup.TimedOutError):
            big_shop.job.run(timeout=moment * 0.03)
        assert time.monotonic() - begun < moment * 0.03 + SOON
        assert big_shop.job.list() == () and big_shop.litter() == [] and children() == []
    assert big_shop.job.run().good


def test_a_child_that_does_not_clean_up_in_time_is_killed(big_shop: Shop) -> None:
    """One frame of this compression takes longer than anybody waits."""
    begun = time.monotonic()
    with pytest.raises(backup.TimedOutError):
        big_shop.job.run(compression="zstd:19", jobs=1, timeout=0.5)
    assert time.monotonic() - begun < 0.5 + SOON
    assert big_shop.job.list() == () and workers_on(big_shop.folder) == [] and children() == []
    assert big_shop.job.run().good


def test_ctrl_c_stops_the_run(big_shop: Shop, script: Script) -> None:
    run = script(IN_THE_MIDDLE + "job.run(progress=told)", big_shop.path, big_shop.store)
    assert run.stdout is not None and run.stdout.readline() == "begun\n"
    run.send_signal(signal.SIGINT)
    seconds, err = ended_soon(run)
    assert seconds < SOON and "KeyboardInterrupt" in err
    is_as_if_nothing_was(big_shop)


def test_the_interpreter_ends_while_a_daemon_thread_backs_up(big_shop: Shop, script: Script) -> None:
    text = IN_THE_MIDDLE + (
        "begun = threading.Event()\n"
        "run = lambda: job.run(progress=lambda event: begun.set() if event.kind == 'progress' else None)\n"
        "threading.Thread(target=run, daemon=True).start()\n"
        "begun.wait()\nprint('begun', flush=True)"
    )
    run = script(text, big_shop.path, big_shop.store)
    assert run.stdout is not None and run.stdout.readline() == "begun\n"
    seconds, _ = ended_soon(run)
    assert seconds < SOON
    is_as_if_nothing_was(big_shop)


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a fork that lives on"])
def test_a_killed_caller_stops_the_run(big_shop: Shop, script: Script, forks: bool) -> None:
    """A fork holds the caller's end of every pipe; the child looks whose it is."""
    text = IN_THE_MIDDLE + (
        "import os, time\n"
        "def once(event):\n"
        "    if event.kind == 'progress' and not seen:\n"
        "        seen.append(event)\n"
        f"        if {forks} and os.fork() == 0:\n"
        "            time.sleep(5)\n"
        "            os._exit(0)\n"
        "        told(event)\n"
        "seen = []\n"
        "job.run(progress=once)"
    )
    run = script(text, big_shop.path, big_shop.store)
    assert run.stdout is not None and run.stdout.readline() == "begun\n"
    run.kill()
    run.wait()
    assert eventually("the child is gone", lambda: not workers_on(big_shop.store)) < SOON
    assert big_shop.job.list() == () and big_shop.litter() == []
    assert big_shop.job.run().good


def test_a_cancelled_task_stops_the_run(big_shop: Shop) -> None:
    async def story() -> float:
        middle = asyncio.Event()

        def look(event: backup.Event) -> None:
            if event.kind == "progress":
                middle.set()

        run = asyncio.create_task(big_shop.job.run_async(progress=look))
        await middle.wait()
        begun = time.monotonic()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return time.monotonic() - begun

    assert asyncio.run(story()) < SOON
    is_as_if_nothing_was(big_shop)


def test_a_callback_of_a_task_that_raises_stops_the_run(big_shop: Shop) -> None:
    def refuse(event: backup.Event) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        asyncio.run(big_shop.job.run_async(progress=refuse))
    is_as_if_nothing_was(big_shop)


def test_one_call_that_is_stopped_stops_no_other(big_shop: Shop) -> None:
    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.append(big_shop.job.run()))
    thread.start()
    with pytest.raises(backup.TimedOutError):
        backup.job(source=big_shop.path, store=big_shop.folder / "elsewhere").run(timeout=0.2)
    thread.join()
    assert len(outcome) == 1 and len(big_shop.job.list()) == 1


def test_a_worker_that_is_killed_is_told(big_shop: Shop) -> None:
    def kill(event: backup.Event) -> None:
        if event.kind == "progress":
            os.kill(children()[0], signal.SIGKILL)

    with pytest.raises(backup.WorkerError):
        big_shop.job.run(progress=kill)
    assert big_shop.job.list() == () and children() == []
