"""A home on a disk that nobody can write to: everything can be looked at, and what writes says why it cannot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.storage.workspace import ReadOnlyWorkspaceError, Workspace, WorkspaceError
from tests.byte_models import run_with_checkpoints
from tests.cli_runs import LLMTUI, ROOT
from tests.ui.fake_runs import failed_run, finished_run

pytestmark = pytest.mark.heavy

MOUNTED = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'

WORKBENCH = """
import asyncio
from core.errors import LlmtuiError
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.workbench_screen import show_screen
from tests.ui.pilot import screen_text, until

async def main():
    app = Workbench(Workspace().prepare_for_reading())
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "finished" in screen_text(app) and "is read-only: its runs" in screen_text(app))
        app.session.select(next(g.run for g in app.session.watcher.snapshots if g.run.name == "finished"))
        show_screen(app, "train")
        await until(pilot, lambda: app.session.watcher.history and app.session.watcher.history.caught_up)
        assert len(app.session.watcher.history.curves.loss)
        failed = next(g.run for g in app.session.watcher.snapshots if g.run.name == "failed")
        app.session.remember(log=True)
        for attempt in (lambda: app.screen.start_run(failed), app.screen.action_run_demo):
            attempt()
            await until(pilot, lambda: "read-only file system" in screen_text(app))
            await pilot.press("escape")
            await until(pilot, lambda: "read-only file system" not in screen_text(app))
    assert app.return_code in (0, None), app.return_code

asyncio.run(main())
"""


def read_only(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """`command`, for which the file system of `home` is read-only, whoever runs this."""
    inside = ["unshare", "-Urm", "sh", "-c", MOUNTED, "sh", str(home)]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    return subprocess.run([*inside, *command], capture_output=True, text=True, cwd=ROOT)


def test_a_read_only_home_is_looked_at_through_the_commands(workspace: Workspace) -> None:
    finished_run(workspace, "finished", 20)
    assert workspace.home is not None
    for command in (["ls"], ["ls", "--json"], ["show"], ["watch", "--plain"], ["watch", "--json"], []):
        done = read_only(workspace.home, *LLMTUI, *command)
        assert done.returncode == 0, done.stderr
        assert "finished" in done.stdout or "watch" in command
    done = read_only(workspace.home, *LLMTUI, "demo")
    assert done.returncode == 1
    assert "read-only" in done.stderr


def test_models_in_a_read_only_home_generate_text_and_are_exported(workspace: Workspace, tmp_path: Path) -> None:
    run_with_checkpoints(workspace, 3)
    assert workspace.home is not None
    for command in (["sample", "tiny", "a", "--tokens", "2"], ["export", "tiny", "--to", str(tmp_path / "exported")]):
        done = read_only(workspace.home, *LLMTUI, *command)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "exported" / "model.safetensors").exists()


def test_a_read_only_home_is_looked_at_in_the_workbench_which_says_what_cannot_be_done(workspace: Workspace) -> None:
    finished_run(workspace, "finished", 20)
    failed_run(workspace, "failed")
    shutil.rmtree(workspace.cache)  # which can be deleted at any time, and then is not made again
    assert workspace.home is not None
    done = read_only(workspace.home, sys.executable, "-c", WORKBENCH)
    assert done.returncode == 0, done.stderr[-3000:]


def test_who_cannot_even_read_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("")  # nothing can be made in it
    with pytest.raises(WorkspaceError):
        Workspace(tmp_path / "home").prepare_for_reading()
    home = Workspace(tmp_path / "other")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ReadOnlyWorkspaceError):
        home.prepare_for_reading()
