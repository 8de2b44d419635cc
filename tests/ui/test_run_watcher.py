"""The run watcher: inactive runs cost little, and unreadable ones are listed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.events import AttemptEnded, AttemptStarted, encode
from core.runs import directory
from core.runs.directory import RunState
from core.runs.journal_snapshot import write_snapshot
from core.storage.journal import JournalWriter, read_backwards
from core.storage.workspace import Workspace
from llmtui.tui import run_watcher
from llmtui.tui.app import Workbench
from llmtui.tui.run_watcher import MIN_INACTIVE_PER_TICK, TICKS_PER_ROUND, RunWatcher
from llmtui.view.run_snapshot import take_snapshot
from tests.ui.fake_runs import finished_run, hold_locks, write_launch
from tests.ui.pilot import screen_text, until


async def test_inactive_runs_are_read_in_turn_and_one_that_starts_is_noticed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finished_run(workspace, "first", 5)
    for number in range(40):
        shutil.copytree(first.path, workspace.runs / f"20200101-0000{number:02d}-old-{number:04x}")
    read: list[str] = []
    real = run_watcher._change_key
    monkeypatch.setattr(run_watcher, "_change_key", lambda path: (read.append(path.name), real(path))[1])
    watcher = RunWatcher(workspace, lambda message: None, 0.5)
    await watcher.refresh()
    assert len(watcher.snapshots) == len(set(read)) == 41
    read.clear()
    await watcher.refresh()
    assert len(read) == MIN_INACTIVE_PER_TICK
    for _ in range(TICKS_PER_ROUND):
        await watcher.refresh()
    assert len(set(read)) == 41
    oldest = watcher.snapshots[-1].run
    with hold_locks(oldest):
        for _ in range(TICKS_PER_ROUND):
            await watcher.refresh()
        assert watcher.snapshots[-1].state is RunState.RUNNING
        read.clear()
        for _ in range(3):
            await watcher.refresh()
        assert read.count(oldest.id) == 3  # active runs are read at every tick
    read.clear()
    watcher.wake()
    await watcher.refresh()
    assert len(set(read)) == 41
    assert watcher.snapshots[-1].state is RunState.DONE
    shutil.rmtree(oldest.path)
    await watcher.refresh()
    assert len(watcher.snapshots) == 40
    assert watcher.unreadable == []


@pytest.mark.heavy
@pytest.mark.parametrize("others", [0, 1])
async def test_home_lists_unreadable_directories_and_what_to_do(workspace: Workspace, others: int) -> None:
    for _ in range(others):
        finished_run(workspace, "healthy", 5)
    (workspace.runs / "20990101-000000-broken-ffff").mkdir(parents=True)
    app = Workbench(workspace)
    async with app.run_test(size=(160, 40)) as pilot:
        await until(pilot, lambda: "20990101-000000-broken-ffff" in screen_text(app))
        text = screen_text(app)
        assert "unreadable" in text
        assert "it has no run.json" in text and "`llmtui rm` deletes it" in text
        assert ("healthy" in text) == bool(others)
        await pilot.press("down", "up", "enter")


async def test_of_many_runs_the_newest_are_read_first_and_then_all(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_watcher, "FIRST_RUNS", 2)
    for name in ("a", "b", "c"):
        finished_run(workspace, name, 5)
    watcher = RunWatcher(workspace, lambda message: None, 0.5)
    await watcher.refresh()
    first = [snapshot.run.id for snapshot in watcher.snapshots]
    await watcher.refresh()
    ids = [snapshot.run.id for snapshot in watcher.snapshots]
    assert len(ids) == 3 and ids[:2] == first


async def test_sizes_and_training_losses_are_measured_after_the_runs_are_listed(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 50)
    history = run.load_curves()
    for event in history[1].iter_events():
        history[0].absorb(event)
    (run.path / "curves.json").write_bytes(encode(history[0]))
    watcher = RunWatcher(workspace, lambda message: None, 0.5)
    await watcher.refresh()
    assert watcher.snapshots[0].size is None
    watcher._measurements.update(watcher.snapshots)
    await watcher.refresh()
    [snapshot] = watcher.snapshots
    assert snapshot.size == run.bytes()
    assert snapshot.train_loss is not None and 0.5 < snapshot.train_loss < 4


def test_the_state_of_a_run_is_that_of_its_journal_where_its_status_covers_it_and_where_it_does_not(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_run(workspace, "bard", 5)
    read: list[Path] = []
    real = read_backwards
    monkeypatch.setattr(directory, "read_backwards", lambda path: (read.append(path), real(path))[1])
    before = take_snapshot(run)
    assert before.state is RunState.DONE and read, "its status says nothing about the journal"
    write_snapshot(run.path / "status.json", run.summary(), run.journal, run.journal.stat().st_size)
    read.clear()
    covered = take_snapshot(run)
    assert (covered.state, covered.over_at) == (before.state, before.over_at)
    assert read == [], "the journal was read although the status covers it"
    write_launch(run, attempt=2)
    assert take_snapshot(run).state is RunState.INTERRUPTED, "an attempt that wrote nothing"
    writer = JournalWriter(run.journal)
    writer.append(encode(AttemptStarted(attempt=2, pid=1, host="here", device="cpu")))
    writer.append(encode(AttemptEnded(attempt=2, outcome="stopped")))
    writer.close()
    assert take_snapshot(run).state is RunState.STOPPED, "the journal has grown"
