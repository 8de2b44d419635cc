"""Bell, title and desktop notice: when they come, what they say, and what the terminal gets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.events import AttemptEnded, Metric, StageStarted
from core.runs.directory import Run, RunState
from core.runs.failure import Failure
from core.runs.run_file import StudyTrial
from core.storage.workspace import Workspace
from core.tune.start import request_stop
from llmtui.tui.alerts import Alerts
from llmtui.tui.app import Workbench
from llmtui.tui.settings import Settings
from llmtui.tui.terminal import desktop_notice
from llmtui.view.alert_text import end_notice, ended_title, title
from llmtui.view.run_snapshot import RunSnapshot, take_snapshot
from llmtui.view.study_snapshot import StudySnapshot, take_study_snapshot
from tests.ui.fake_runs import FakeWorker, finished_run, hold, hold_locks, make_run, training_events, write_launch
from tests.ui.fake_studies import make_study
from tests.ui.pilot import until
from tests.ui.test_screens import showing
from tests.ui.test_terminal import Terminal


def snapshot(workspace: Workspace, name: str, state: RunState, progress: float = 0.574) -> RunSnapshot:
    run = make_run(workspace, name)
    worker = FakeWorker(run)
    metric = Metric(step=5, loss=1, lr=1, grad_norm=1, tokens=1, seconds=1, progress=progress)
    worker.write_events(StageStarted(stage="train"), metric)
    return take_snapshot(run)._replace(state=state)


class RecordedAlerts:
    """What `Alerts` has written, and shown."""

    def __init__(self, **settings: Any) -> None:
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
    assert title([new, old], "", "") == "● 57 % new"
    assert title([new, old], old.run.id, "") == "● 57 % old"
    assert title([new._replace(state=RunState.QUEUED), done], old.run.id, ended_title(done)) == "◌ queued new"
    assert title([done], "", ended_title(done)) == "✓ old done"
    assert title([done], "", "") == ""


def test_an_alert_comes_once_when_a_run_ends_by_itself(workspace: Workspace) -> None:
    running = snapshot(workspace, "books", RunState.RUNNING)
    recorded = RecordedAlerts()
    failed = running._replace(state=RunState.FAILED, failure=Failure(what="no \x1b]0;room\x07; none"))
    assert recorded.after(failed) == ""  # at the start it is old
    assert recorded.after(running) == "\x1b[22;2t\x1b]2;● 57 % books\x07"
    assert recorded.after(running) == ""
    assert recorded.after(failed) == "\x07\x1b]2;✗ books failed\x07"
    assert recorded.notices == [("✗ books failed: no ␛]0;room␇; none", "bad")]
    assert recorded.after(failed) == ""


def test_no_alert_for_a_run_that_the_user_stopped_and_no_notice_on_its_own_screen(workspace: Workspace) -> None:
    running = snapshot(workspace, "books", RunState.RUNNING)
    recorded = RecordedAlerts()
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
    recorded = RecordedAlerts(terminal_title=False)
    recorded.after(running)
    assert recorded.after(running._replace(state=RunState.DONE)) == "" and not recorded.notices


def test_an_alert_comes_when_a_study_ends_or_needs_attention_by_itself(workspace: Workspace) -> None:
    done = take_study_snapshot(make_study(workspace, trials=2).path)
    running = done._replace(state="running")
    recorded = RecordedAlerts(terminal_title=False)

    def after(study: StudySnapshot, shown_id: str = "") -> list[tuple[str, str]]:
        recorded.written.clear()
        recorded.notices.clear()
        recorded.alerts.update_studies([study], shown_id)
        assert ("\x07" in recorded.written) == bool(recorded.notices) or shown_id
        return recorded.notices

    assert after(done) == [], "at the start it is old"
    assert after(running) == []
    best = min(trial.bits_per_byte or 9 for trial in done.trials)
    assert after(done) == [(f"✓ study bard done: best {best:.3f} bits per byte of 2 trials", "good")]
    after(running)
    full = running._replace(problem="llmtui: the disk is full: 3 MiB\nare \x1b[2Jfree")
    assert after(full) == [("‖ study bard needs attention: the disk is full: 3 MiB are ␛[2Jfree", "bad")]
    assert after(full._replace(problem="the disk is full: 2 MiB are free")) == []
    assert after(running) == []
    stopped = running._replace(state="stopped")
    assert after(stopped) == [("✗ study bard stopped: its controller has ended", "bad")]
    after(running)
    assert after(done, shown_id=done.id) == [] and recorded.written[0] == "\x07"
    after(running)
    assert running.study is not None
    request_stop(running.study)
    assert after(stopped) == [], "the user stopped it"


async def test_the_workbench_says_on_another_screen_that_a_study_has_ended(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtui.tui.app.STUDY_PERIOD", 0.05)
    study = make_study(workspace, trials=2)
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        with hold(study.path / "controller.lock"):
            await until(pilot, lambda: bool(app.session.studies and app.session.studies[0].state == "running"))
            await pilot.pause(0.1)
        await showing(pilot, "✓ study bard done: best")


def test_each_of_them_can_be_switched_off(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "foot")
    running = snapshot(workspace, "books", RunState.RUNNING)
    done = running._replace(state=RunState.DONE)
    for settings, expected in (
        ({"bell": False, "terminal_title": False}, "\x1b]777;notify;llmtui;✓ books done\x07"),
        ({"desktop_notices": False, "terminal_title": False}, "\x07"),
        ({"bell": False, "terminal_title": False, "desktop_notices": False}, ""),
    ):
        recorded = RecordedAlerts(**settings)
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
