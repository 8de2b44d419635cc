"""Fixtures of the tests of the command line; `tests.conftest` imports them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.events import Event, encode
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.launches import Launched
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from tests.cli_runs import ROOT, TRAINED
from tests.waiting import wait_for


@pytest.fixture
def in_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in its temporary directory, with a known TERM."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def alive(workspace: Workspace, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Creates runs with a running fake worker that has written `events`."""
    processes: list[subprocess.Popen[bytes]] = []

    def make(events: list[Event] = TRAINED[:-5], *arguments: str) -> Run:
        run = Run.create(workspace, Recipe(name="tiny"))
        (tmp_path / "lines").write_bytes(b"".join(encode(event) + b"\n" for event in events))
        launches = JournalWriter(run.path / "launches.jsonl")
        launches.append(encode(Launched(attempt=1)))
        launches.close()
        command = [sys.executable, "-m", "tests.fake_worker", str(run.path), str(tmp_path / "lines"), *arguments]
        processes.append(subprocess.Popen(command, cwd=ROOT))
        wait_for(lambda: run.journal.exists() and len(run.journal.read_bytes().splitlines()) == len(events))
        return run

    yield make
    for process in processes:
        process.kill()
        process.wait()
