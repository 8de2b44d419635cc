"""Bell, title and desktop notice: when they come, what they say, and what the terminal gets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from core.events import AttemptEnded, Metric, StageStarted
from core.runs.directory import Run, RunState
from core.runs.failure import Failure
from core.runs.run_file import StudyTrial
from core.storage.workspace import Workspace
from llmtui.tui.alerts import Alerts
from llmtui.tui.settings import Settings
from llmtui.tui.terminal import desktop_notice
from llmtui.view.alert_text import end_notice, title
from llmtui.view.run_snapshot import RunSnapshot, take_snapshot
from tests.ui.fake_runs import FakeWorker, finished_run, hold_locks, make_run, training_events, write_launch
from tests.ui.test_terminal import Terminal


def snapshot(workspace: Workspace, name: str, state: RunState, progress: float = 0.574) -> RunSnapshot:
    run = make_run(workspace, name)
    worker = FakeWorker(run)
    metric = Metric(step=5, loss=1, lr=1, grad_norm=1, tokens=1, seconds=1, progress=progress)
    worker.write_events(StageStarted(stage="train"), metric)
    return take_snapshot(run)._replace(state=state)


class Said:
    """What `Alerts` has written, and shown."""

    def __init__(self, **settings: bool) -> None:
        self.written: list[str] = []
        self.notices: list[tuple[str, str]] = []
        self.alerts = Alerts(
            lambda: Settings(**settings), self.written.append, lambda *notice: self.notices.append(notice)
        )

    def after(self, *snapshots: RunSnapshot, selected: str = "") -> str:
        """What one update writes."""
        self.written.clear()
        self.alerts.update(snapshots, selected)
        return "".join(self.written)


def test_the_title_says_how_far_a_run_is_and_how_the_last_one_ended(workspace: Workspace) -> None:
    old, new = (snapshot(workspace, name, RunState.RUNNING) for name in ("old", "new"))
    done = old._replace(state=RunState.DONE)
    assert title([new, old], "", None) == "● 57 % new"
    assert title([new, old], old.run.id, None) == "● 57 % old"
    assert title([new._replace(state=RunState.QUEUED), done], old.run.id, done) == "◌ queued new"
    assert title([done], "", done) == "✓ old done"
    assert title([done], "", None) == ""


def test_an_alert_comes_once_when_a_run_ends_by_itself(workspace: Workspace) -> None:
    running = snapshot(workspace, "books", RunState.RUNNING)
    recorded = Said()
    failed = running._replace(state=RunState.FAILED, failure=Failure(what="no \x1b]0;room\x07; none"))
    assert recorded.after(failed) == ""  # at the start it is old
    assert recorded.after(running) == "\x1b[22;2t\x1b]2;● 57 % books\x07"
    assert recorded.after(running) == ""
    assert recorded.after(failed) == "\x07\x1b]2;✗ books failed\x07"
    assert recorded.notices == [("✗ books failed: no ␛]0;room␇; none", "bad")]
    assert recorded.after(failed) == ""


def test_no_alert_for_a_run_that_the_user_stopped_and_no_notice_on_its_own_screen(workspace: Workspace) -> None:
    running = snapshot(workspace, "books", RunState.RUNNING)
    recorded = Said()
    recorded.after(running)
    assert recorded.after(running._replace(state=RunState.STOPPED)) == "\x1b]2;■ books stopped\x07"
    recorded.after(running)
    running.summary.ended = AttemptEnded(attempt=1, outcome="stopped", what="1.4 bits per byte are below 1.5")
    by_rule = running._replace(state=RunState.STOPPED)
    assert recorded.after(by_rule, selected=by_rule.run.id).startswith("\x07")
    assert recorded.notices == []
    assert end_notice(by_rule) == "■ books stopped: 1.4 bits per byte are below 1.5"


def test_trials_of_a_study_end_without_alerts(workspace: Workspace) -> None:
    file = snapshot(workspace, "trial", RunState.RUNNING).run.file
    trial = Run.create(workspace, file.recipe, study=StudyTrial(id="study", number=1, values={}))
    running = take_snapshot(trial)._replace(state=RunState.RUNNING)
    recorded = Said(terminal_title=False)
    recorded.after(running)
    assert recorded.after(running._replace(state=RunState.DONE)) == "" and not recorded.notices


def test_each_of_them_can_be_switched_off(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "foot")
    running = snapshot(workspace, "books", RunState.RUNNING)
    done = running._replace(state=RunState.DONE)
    for settings, expected in (
        ({"bell": False, "terminal_title": False}, "\x1b]777;notify;llmtui;✓ books done\x07"),
        ({"desktop_notices": False, "terminal_title": False}, "\x07"),
        ({"bell": False, "terminal_title": False, "desktop_notices": False}, ""),
    ):
        recorded = Said(**settings)
        recorded.after(running)
        assert recorded.after(done) == expected


@pytest.mark.parametrize(
    ("environment", "sequence"),
    [
        ({"TERM": "xterm-256color"}, ""),
        ({"TERM": "xterm-kitty"}, "\x1b]99;;llmtui: a, b\x1b\\"),
        ({"TERM": "foot"}, "\x1b]777;notify;llmtui;a, b\x07"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "\x1b]9;llmtui: a, b\x07"),
        (
            {"TERM": "tmux-256color", "TMUX": "x", "WEZTERM_PANE": "0"},
            "\x1bPtmux;\x1b\x1b]9;llmtui: a, b\x07\x1b\\",
        ),
    ],
)
def test_desktop_notices_are_sent_to_terminals_that_show_them(environment: Mapping[str, str], sequence: str) -> None:
    assert desktop_notice("a; b", environment) == sequence


@pytest.mark.heavy
def test_the_terminal_gets_title_bell_and_notice_and_its_own_title_back(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMUX", f"{tmp_path}/none,1,0")
    monkeypatch.setenv("WEZTERM_PANE", "0")
    run = make_run(workspace, "books")
    write_launch(run)
    worker = FakeWorker(run)
    worker.write_events(StageStarted(stage="train"), *training_events(1, 574, 1000))
    newer = finished_run(workspace, "zeta", 100)  # the one that is selected
    assert newer.id > run.id
    with hold_locks(run) as holder:
        terminal = Terminal(workspace)
        try:
            terminal.read_until(lambda text: "\x1b[22;2t\x1b]2;● 57 % books\x07" in text)
            terminal.press("3")
            terminal.read_until(lambda text: "grad" in text)  # the charts of the other run
            worker.write_events(AttemptEnded(attempt=1, outcome="done"))
            write_launch(run, code=0)
            holder.kill()
            text = terminal.read_until(lambda text: "\x1b]2;✓ books done\x07" in text)
            assert "\x07\x1bPtmux;\x1b\x1b]9;llmtui: ✓ books done: val" in text
            terminal.read_until(lambda text: text.count("✓ books done: val") == 2)  # on the screen, too
            terminal.press("q")
            terminal.read_until(lambda text: "\x1b]2;\x07\x1b[23;2t" in text)
        finally:
            terminal.close()
