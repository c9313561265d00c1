"""Every example runs: scripts, docstrings, the manual, a notebook; and every type is right."""

from __future__ import annotations

import asyncio
import doctest
import importlib
import os
import pkgutil
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Shop

import backup_py
from backup_py.command import main

HERE = Path(__file__).parent.parent
EXAMPLES = HERE / "examples"
MANUAL = HERE.parent / "docs" / "python.md"


def run(*words: object, code: int = 0) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def with_prices(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE prices(item, cents); INSERT INTO prices VALUES ('tea', 300)")


def test_an_ingest_is_told_or_undone(tmp_path: Path) -> None:
    with_prices(tmp_path / "shop.db")
    words = (sys.executable, "-I", EXAMPLES / "ingest.py", tmp_path / "shop.db", tmp_path / "backups")
    (tmp_path / "good.csv").write_text("item,cents\nmilk,120\nbread,250\n")
    assert "<TableChange name='prices', before=1, after=3>" in run(*words, tmp_path / "good.csv")
    (tmp_path / "bad.csv").write_text("item,cents\nsalt,90\nsugar,cheap\n")
    told = run(*words, tmp_path / "bad.csv", code=1)
    assert "ValueError" in told and "the database was restored" in told
    prices = sqlite3.connect(tmp_path / "shop.db").execute("SELECT item FROM prices").fetchall()
    assert prices == [("tea",), ("milk",), ("bread",)]


def test_a_night(shop: Shop) -> None:
    with_prices(shop.folder / "prices.db")
    jobs = "".join(f"[jobs.{name}]\nsource = '{shop.folder / name}.db'\nstore = 's'\n" for name in ("shop", "prices"))
    (shop.folder / "backup.toml").write_text(f"[stores.s]\nurl = '{shop.store}'\n{jobs}")
    told = run(sys.executable, "-I", EXAMPLES / "nightly.py", shop.folder / "backup.toml", "shop", "prices")
    assert "shop: <Taken shop-full-" in told and "prices: <Taken prices-full-" in told


def test_tests_on_last_nights_data(pytester: pytest.Pytester, tmp_path: Path) -> None:
    with_prices(tmp_path / "shop.db")
    backup_py.job(source=tmp_path / "shop.db", store=tmp_path / "backups").run()
    pytester.makeini(f"[pytest]\nbackup_source = {tmp_path / 'shop.db'}\nbackup_store = {tmp_path / 'backups'}")
    shutil.copy(EXAMPLES / "test_with_last_night.py", pytester.path)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_a_notebook_runs_headless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    html = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert len(html) >= 3 and all("<table>" in one for one in html)
    assert any("backing up" in output.get("text", "") for output in outputs)


def test_every_docstring_runs(tmp_path: Path) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for module in [backup_py, *modules()]:
        for test in doctest.DocTestFinder(exclude_empty=True).find(module):
            if not test.examples:
                continue
            shop = Shop(new_folder(tmp_path))
            shop.job.run()
            known = {"job": shop.job, "folder": shop.folder, "database": shop.path, "migrate": shop.sell}
            # A module's own names go first.
            test.globs = known | vars(module)
            runner.run(test, clear_globs=False)
    assert runner.failures == 0 and runner.tries > 20, f"{runner.failures} of {runner.tries}"


def new_folder(inside: Path) -> Path:
    folder = inside / f"shop{len(list(inside.iterdir()))}"
    folder.mkdir()
    return folder


def modules() -> list[ModuleType]:
    names = [info.name for info in pkgutil.iter_modules(backup_py.__path__) if info.name != "_native"]
    return [importlib.import_module(f"backup_py.{name}") for name in names]


def test_every_example_of_the_manual_runs(shop: Shop) -> None:
    """Block by block, in one namespace: what a reader types."""
    shutil.copy(shop.path, "app.db")
    Path("backup.toml").write_text("[stores.s]\nurl = 'store'\n[jobs.shop]\nsource = 'app.db'\nstore = 's'\n")
    blocks = re.findall(r"```python\n(.*?)```", MANUAL.read_text(), re.S)
    assert len(blocks) >= 6
    known: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(MANUAL), "exec"), known)


def test_the_command_comes_along(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    program = Path(sys.executable).with_name("backup")
    assert run(program, "--version") == f"backup {backup_py.__version__}\n"
    assert "Usage: backup" in run(program, "nonsense", code=2)
    monkeypatch.setattr(sys, "argv", ["backup", "--version"])
    assert main() == 0 and capfd.readouterr().out.startswith("backup ")


@pytest.mark.timeout(300)
def test_types() -> None:
    """The package as it is installed, its stubs, and the examples."""
    package = Path(backup_py.__file__).parent
    assert (package / "py.typed").exists()
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(Path.cwd())}
    tests = [str(path) for path in (HERE / "tests").glob("*.py")]
    examples = [str(path) for path in EXAMPLES.glob("*.py")]
    allowed = Path("allowed")
    # A mistake of stubtest about names for Literal types.
    allowed.write_text(r"backup_py\.options\.Level" + "\n")
    for words in (
        ["mypy", "--strict", "--cache-dir=cache", "-p", "backup_py"],
        ["mypy", "--strict", "--cache-dir=cache", *examples],
        ["mypy", "--strict", "--cache-dir=cache", *tests],
        ["mypy.stubtest", "backup_py", "--allowlist", str(allowed)],
        ["pyright", "--pythonpath", sys.executable, "-p", str(HERE), *examples, str(package)],
    ):
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr


def test_sizes() -> None:
    """The shell decides nothing: what is long does."""
    import ast

    for path in [*(HERE / "python").rglob("*.py"), *(HERE / "src").glob("*.rs")]:
        assert len(path.read_text().splitlines()) <= 250, path
    for path in (HERE / "python").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert (node.end_lineno or 0) - node.lineno < 30, f"{path}: {node.name}"


def test_twins_are_complete() -> None:
    """Every call that works has one to await."""
    for cls in (backup_py.Job, backup_py.Backups):
        public = {name for name in vars(cls) if not name.startswith("_")} - {"guard", "job"}
        calls = {name for name in public if not name.endswith("_async")}
        assert {f"{name}_async" for name in calls} == public - calls
        assert all(asyncio.iscoroutinefunction(getattr(cls, f"{name}_async")) for name in calls)
