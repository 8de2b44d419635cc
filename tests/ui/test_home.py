"""The list of runs on Home."""

from __future__ import annotations

import errno
import os

import msgspec
import pytest
from textual.widgets import Input

from core.events import AttemptEnded, AttemptStarted
from core.runs.annotations import change_annotations, read_annotations, with_note, with_tags
from core.runs.directory import RunState
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.home_panes import NextSteps
from llmtui.tui.widgets.runs_list import RunsList
from llmtui.view.run_state import state_word
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    failed_run,
    finished_run,
    hold_locks,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text, until


@pytest.mark.heavy
async def test_filtering_a_scrolled_list_leaves_no_blank_rows(workspace: Workspace) -> None:
    for number in range(30):
        make_run(workspace, f"{'even' if number % 2 == 0 else 'odd'}-{number:02d}")
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "-29" in screen_text(app) or "odd" in screen_text(app))
        await pilot.press("G")
        await pilot.press("slash", *"odd")
        runs = app.screen.query_one(RunsList)
        await until(pilot, lambda: len(runs.items) == 15)
        rows = runs.lines(*runs.inner_size)
        assert len(rows) == min(16, runs.inner_size[1])  # with the headings of the columns


async def test_an_active_run_with_a_final_event_is_ending_and_not_starting(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    write_launch(run)
    worker = FakeWorker(run)
    worker.write_events(*events_before_training(), *training_events(1, 20, 20), AttemptEnded(attempt=1, outcome="done"))
    app = Workbench(workspace)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "◌ live" in screen_text(app) or "● live" in screen_text(app))
            assert "ending" in screen_text(app) and "starting" not in screen_text(app)
            assert state_word(run, run.state()) == "ending"
            write_launch(run, attempt=2)
            await until(pilot, lambda: "ending" not in screen_text(app))
            assert state_word(run, run.state()) == run.state().value
            worker.write_events(AttemptStarted(attempt=2, pid=1, host="here", device="2 cores"))
            await until(pilot, lambda: "● live" in screen_text(app))


def test_a_run_that_is_resumed_and_waits_or_starts_is_not_ending(workspace: Workspace) -> None:
    run = finished_run(workspace, "again", 20)
    assert not run.is_ending(RunState.QUEUED) and not run.is_ending(RunState.STARTING)
    assert run.is_ending(RunState.RUNNING)
    assert state_word(run, RunState.QUEUED) == "queued"


async def test_columns_stay_while_a_run_is_active(workspace: Workspace) -> None:
    """The time left is unknown during an evaluation; the other columns do not jump then."""
    finished_run(workspace, "done", 20)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 24)) as pilot:
        await until(pilot, lambda: "done" in screen_text(app))
        runs = app.screen.query_one(RunsList)
        snapshot = runs.items[0]
        summary = msgspec.json.decode(msgspec.json.encode(snapshot.summary), type=Summary)
        summary.stage, summary.stages["train"].state = "train", "working"
        assert summary.metric is not None
        summary.metric = msgspec.structs.replace(summary.metric, progress=0.5)
        training = snapshot._replace(state=RunState.RUNNING, summary=summary)
        runs.show([training])
        assert "left" in text_of(runs)
        runs.show([training._replace(summary=Summary())])
        assert "left" in text_of(runs)
        runs.show([snapshot])
        assert "left" not in text_of(runs)


def text_of(runs: RunsList) -> str:
    """The headings and rows."""
    return "\n".join("".join(part for part, _ in line) for line in runs.lines(*runs.inner_size))


def names(app: Workbench) -> list[str]:
    """The listed runs from above."""
    return [snapshot.run.name for snapshot in app.screen.query_one(RunsList).items]


@pytest.mark.heavy
async def test_the_filter_compares_figures_and_says_at_once_what_is_wrong_with_it(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 300)
    failed_run(workspace, "broken")
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "out of memory" in screen_text(app) and "val bpb" in screen_text(app))
        await pilot.press("slash")
        app.screen.query_one("#filter", Input).value = "state:failed val<1.x"
        await until(pilot, lambda: "'1.x' is not a number that val can have" in screen_text(app))
        assert names(app) == ["broken"]
        app.screen.query_one("#filter", Input).value = "val<9"
        await until(pilot, lambda: names(app) == ["bard"] and "enter keep the filter" in screen_text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "1 of 2 with" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: len(names(app)) == 2)


@pytest.mark.heavy
async def test_sorting_columns_and_archived_runs_are_remembered(workspace: Workspace) -> None:
    for name in ("ccc", "aaa", "bbb"):
        finished_run(workspace, name, 100)
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(names(app)) == 3)
        await pilot.press("o", *"name", "enter")
        await until(pilot, lambda: names(app) == ["aaa", "bbb", "ccc"] and "name↑" in screen_text(app))
        await pilot.press("O")
        await until(pilot, lambda: names(app) == ["ccc", "bbb", "aaa"] and "name↓" in screen_text(app))
        await pilot.press("v", *"train.lr", "enter")
        await until(pilot, lambda: app.session.ui_state.columns[-1:] == ("train.lr",))
        await pilot.press("escape", "home", "a")
        await until(pilot, lambda: len(names(app)) == 2 and "1 archived" in screen_text(app))
    app = Workbench(workspace)
    async with app.run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: len(names(app)) == 2 and "lr" in screen_text(app).split())
        await pilot.press("A")
        await until(pilot, lambda: len(names(app)) == 3)
        assert names(app) == sorted(names(app), reverse=True)


@pytest.mark.heavy
async def test_tags_and_notes_are_written_from_the_list_and_shown(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = finished_run(workspace, "bard", 100)
    change_annotations(run.path, lambda known: with_note(with_tags(known, ["old"]), "the first", 50))
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "note on step 50: the first" in screen_text(app))
        await pilot.press("T")
        await until(pilot, lambda: "Tags of bard" in screen_text(app))
        await pilot.press(*" -x")
        await until(pilot, lambda: "is not a tag" in screen_text(app))
        await pilot.press("backspace", "backspace", *"new", "enter")
        await until(pilot, lambda: read_annotations(run.path).tags == ("new", "old"))
        with monkeypatch.context() as full_disk:
            full_disk.setattr("core.runs.annotations.write_atomic", fail)
            await pilot.press("N", *"it works", "enter")
            await until(pilot, lambda: "cannot write: no space left on device" in screen_text(app))
        await pilot.press("enter")  # what was typed is still there
        await until(pilot, lambda: "note: it works" in screen_text(app))
        await pilot.press("N", "tab", *"50", "tab")
        await until(pilot, lambda: "the first" in str(app.screen.query("PromptInput").first().text))  # type: ignore[attr-defined]
        await pilot.press("escape")
        assert read_annotations(run.path).note == "it works"


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_after_the_demo_home_says_what_to_do_next(workspace: Workspace, size: tuple[int, int]) -> None:
    finished_run(workspace, "demo", 200)
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "✓ demo" in screen_text(app))
        pane = app.screen.query_one(NextSteps)
        texts = ["".join(text for text, _ in line) for line in pane.lines(*pane.inner_size)] if pane.display else []
        assert size[1] < 24 or "n a run of your own" in " ".join(texts)


async def test_the_cursor_covers_its_row_but_for_the_mark_of_the_state(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 20)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        runs = app.screen.query_one(RunsList)
        await until(pilot, lambda: runs.has_focus)
        (row,) = runs.window(*runs.inner_size)
        assert row[0] == ("✓ ", "good")
        assert {role for _, role in row[1:]} == {"cursor"}


async def test_without_runs_the_footer_names_no_key_that_needs_one(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(200, 60)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        footer = screen_text(app).splitlines()[-1]
        assert "n new  d demo  : commands" in footer
        finished_run(workspace, "bard", 20)
        await until(pilot, lambda: "enter open  d demo  / filter" in screen_text(app).splitlines()[-1])


async def test_large_terminals_show_the_losses_of_the_highlighted_run(workspace: Workspace) -> None:
    finished_run(workspace, "first", 50)
    make_run(workspace, "second")
    app = Workbench(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✓ first" in screen_text(app))
        assert not app.screen.query("#curve")
        await pilot.resize_terminal(200, 60)
        await until(pilot, lambda: "no step yet" in screen_text(app))
        await pilot.press("down")
        await until(pilot, lambda: "loss, bits per byte  ━ train" in screen_text(app))
        await pilot.press("up")
        await until(pilot, lambda: "no step yet" in screen_text(app))
