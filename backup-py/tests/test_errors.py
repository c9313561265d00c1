"""Errors say what a caller can do, and results read well and cannot be changed."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import Postgres, Shop, children

import backup_py as backup
from backup_py import errors
from backup_py.results import Results, Table


def test_every_kind_has_its_class_and_builtin() -> None:
    builtins = {
        "invalid": ValueError, "not-found": FileNotFoundError, "already-exists": FileExistsError,
        "denied": PermissionError, "locked": PermissionError, "no-space": OSError, "busy": backup.BackupError,
        "corrupt": backup.BackupError, "unsupported": NotImplementedError, "unavailable": ConnectionError,
        "cancelled": backup.BackupError, "failed": backup.BackupError,
    }  # fmt: skip
    assert errors.KINDS.keys() == builtins.keys()
    for kind, builtin in builtins.items():
        error = errors.error_of({"kind": kind, "message": "no way", "hint": "Go.", "causes": ["it rains"]}, 9)
        assert isinstance(error, builtin) and isinstance(error, backup.BackupError)
        assert (error.kind, str(error), error.hint, error.causes, error.code) == (
            kind,
            "no way",
            "Go.",
            ("it rains",),
            9,
        )
        assert error.__notes__ == ["caused by: it rains", "hint: Go."]


def test_a_traceback_shows_the_hint(shop: Shop) -> None:
    with pytest.raises(backup.NotFoundError) as caught:
        backup.job(source="nowhere.db", store=shop.store).run()
    shown = "".join(traceback.format_exception(caught.value))
    assert caught.value.hint and f"hint: {caught.value.hint}" in shown and caught.value.code == 4


def test_errors_of_real_calls(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(backup.NotFoundError):
        shop.job.show()
    with pytest.raises(backup.InvalidError):
        shop.job.run(compression="lzma")
    with pytest.raises(backup.InvalidError, match="mysql"):
        backup.job(source="mysql://db/shop", store=shop.store).run()
    with pytest.raises(backup.InvalidError):
        shop.job.status(rpo="soon")
    with pytest.raises(backup.NotFoundError, match="no configuration"):
        backup.open(tmp_path / "backup.toml")
    Path("wrong.toml").write_text("[jobs.a]\nsorce = 'a.db'\n")
    with pytest.raises(backup.InvalidError) as caught:
        backup.open("wrong.toml").status()
    assert "source" in str(caught.value) + str(caught.value.hint)
    Path("notes.txt").write_text("no database" * 100)
    with pytest.raises(backup.BackupError):
        backup.job(source="notes.txt", store=shop.store).run()
    with pytest.raises(backup.InvalidError, match="--colour"):
        shop.job.run(colour="red")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


def test_a_server_that_is_away_can_be_asked_again(tmp_path: Path) -> None:
    password = "gehei" + "m"
    with pytest.raises(backup.UnavailableError) as caught:
        backup.job(source=f"postgres://app:{password}@127.0.0.1:1/shop", store=tmp_path).run()
    assert caught.value.retryable
    assert password not in "".join(traceback.format_exception(caught.value))


def test_no_password_is_in_a_list_of_processes(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.shop("secret").replace("postgres@", "postgres:geheim@")
    seen: list[bytes] = []

    def look(event: backup.Event) -> None:
        for process in children():
            for child in [process, *children(process)]:
                try:
                    seen.append(Path(f"/proc/{child}/cmdline").read_bytes())
                except OSError:
                    continue

    job = backup.job(source=url, store=tmp_path / "backups")
    taken = job.run(progress=look)
    assert seen and not any(b"geheim" in line for line in seen)
    assert "geheim" not in repr(job) + repr(taken) + str(taken.to_dict())


def test_results_are_frozen_typed_and_readable(shop: Shop) -> None:
    taken = shop.job.run(tag="nightly")
    with pytest.raises(dataclasses.FrozenInstanceError):
        taken.id = "another"  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
    snapshot = taken.manifest.snapshot_at
    assert snapshot.tzinfo is not None and abs((datetime.now(UTC) - snapshot).total_seconds()) < 120
    assert isinstance(taken.manifest.payload.encoding, tuple) and taken.manifest.payload.encoding == ("zstd",)
    text = repr(taken)
    assert text.startswith("<Taken shop-full-") and "good" in text and "3 rows" in text and "nightly" in text
    assert len(text) < 200
    assert pickle.loads(pickle.dumps(taken)) == taken and hash(taken.manifest.payload)
    assert "<table>" in taken._repr_html_()


def test_lists_become_rows(shop: Shop) -> None:
    shop.job.run()
    rows = shop.job.list().to_dicts()
    assert rows[0]["source_name"] == "shop" and isinstance(rows[0]["snapshot_at"], datetime)
    html = Results([Table("<b>", 1)])._repr_html_()
    assert "&lt;b&gt;" in html and "<b>" not in html
    assert (
        "shop-full-" in shop.job.list()._repr_html_() and repr(Results([Table("a", 1)])) == "[<Table name='a', rows=1>]"
    )


def test_a_fork_does_not_touch_its_parents_work(shop: Shop) -> None:
    """A fork in the middle of a call works on its own, and ends without ending the call."""
    forked: list[int] = []

    def fork(event: backup.Event) -> None:
        if event.kind == "began" and not forked:
            forked.append(os.fork())
            if forked[0] == 0:
                ok = backup.job(source=shop.path, store=shop.folder / "forked").run().good
                os._exit(0 if ok else 1)
            assert os.waitpid(forked[0], 0)[1] == 0

    assert shop.job.run(progress=fork).good


def test_any_number_at_once(shop: Shop) -> None:
    outcomes: list[bool] = []
    jobs = [backup.job(source=shop.path, store=shop.folder / f"store{n}") for n in range(6)]
    threads = [threading.Thread(target=lambda job=job: outcomes.append(job.run().good)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 6 and children() == []


def test_importing_loads_no_native_code() -> None:
    assert "backup_py._native" not in sys.modules or backup.__version__
    import subprocess

    code = "import sys, backup_py; assert 'backup_py._native' not in sys.modules; print(backup_py.__version__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == backup.__version__, done.stderr
