"""What a stranger does on the first day, by keys alone, in real terminals."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import Terminal
from core.checkpoints import readable_checkpoints
from core.runs.annotations import read_annotations
from core.runs.control import request_stop
from core.runs.directory import Run, RunState
from core.runs.launch import wait_until_ended
from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from llmtui.tui.settings import load_ui_state
from tests.conftest import wait_for_state
from tests.terminal.test_workbench import WORKBENCH, drawn_dots, fill_in, press, steps, until
from tests.ui.fake_runs import finished_run
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.heavy


@pytest.fixture
def ended(workspace: Workspace) -> Iterator[None]:
    """Whatever still trains afterwards is stopped."""
    yield
    for run in all_runs(workspace):
        request_stop(run)
        assert wait_until_ended(run, PATIENCE)


def loss(terminal: Terminal) -> float:
    """The loss in the status line; infinite before there is one."""
    match = re.search(r"loss ≈?([\d.]+)", terminal.screen.display[0])
    return float(match[1]) if match else float("inf")


def test_from_an_empty_directory_through_the_first_day(workspace: Workspace, corpus: Path, ended: None) -> None:
    with Terminal(WORKBENCH) as terminal:
        terminal.wait_for("start the demo")
        press(terminal, "n", "what matters first")
        for field, value in (
            ("source.corpus", str(corpus)),
            ("name", "first"),
            ("model.depth", "1"),
            ("train.minutes", "60"),
            ("tokenize.size", "300"),
        ):
            fill_in(terminal, field, value)
        terminal.send("\x12")  # ctrl+r
        until(terminal, lambda: loss(terminal) < float("inf"), "a loss")
        before = loss(terminal)
        until(terminal, lambda: loss(terminal) < 0.9 * before and drawn_dots(terminal) > 3, "a falling loss")
        (first,) = all_runs(workspace)
        terminal.send("c")
        wait_for(lambda: readable_checkpoints(first.checkpoints), what="a checkpoint", work=lambda: terminal.read(0.1))

        press(terminal, "5", "type a prompt")
        press(terminal, "the cat sat\r", "tokens, ")
        press(terminal, "\x07", "token 1 of")  # ctrl+g
        press(terminal, "\x1b[C", "token 2 of")
        press(terminal, "\x1b", "transcript")
        press(terminal, "\x1b", "i write")
        press(terminal, "3", "first")

        press(terminal, "x", "Stop first?")
        press(terminal, "y", "stopped")
        wait_for_state(first, RunState.STOPPED)
        stopped_at = steps(terminal)

        press(terminal, "b", "Branch of first")  # from the newest of its checkpoints
        press(terminal, "\r", "what matters first")
        terminal.settle()
        terminal.send("\x12")
        wait_for(lambda: len(all_runs(workspace)) == 2, what="a branch", work=lambda: terminal.read(0.1))
        branch = all_runs(workspace)[0]
        until(terminal, lambda: branch.name in terminal.screen.display[0] and steps(terminal) > 0, "the branch trains")
        press(terminal, "x", f"Stop {branch.name}?")
        press(terminal, "y", "stopped")
        wait_for_state(branch, RunState.STOPPED)

        press(terminal, "1", "runs  2")
        press(terminal, "\x1b[B", "─ first ─")
        press(terminal, "R", "Resume with other settings")
        fill_in(terminal, "train.lr", "0.001")
        terminal.send("\x12")
        until(terminal, lambda: steps(terminal) > stopped_at, "the run goes on")
        assert Run.open(first.path).recipe.train.lr == 0.001

        press(terminal, "1", "runs  2")
        press(terminal, "6", "compare")
        until(terminal, lambda: branch.name in "\n".join(terminal.screen.display[1:]), "both runs in the comparison")
        press(terminal, "3", "● first")

        press(terminal, "N", "Note on first")
        terminal.send("falls more slowly\r")
        wait_for(lambda: read_annotations(first.path).note == "falls more slowly", work=lambda: terminal.read(0.1))
        press(terminal, "t", "Themes")
        press(terminal, "paper", "light")
        terminal.send("\r")
        until(terminal, lambda: "Themes" not in "\n".join(terminal.screen.display), "the theme is taken")
        terminal.send("q")
        assert terminal.wait_for_end() == 0
        assert b"first continues" in terminal.last
    assert first.state() is RunState.RUNNING

    with Terminal(WORKBENCH) as terminal:
        terminal.wait_for("● first")
        terminal.send("\r")
        until(terminal, lambda: steps(terminal) > stopped_at, "the run of the day before")
        press(terminal, "2", "c corpora")
    assert load_ui_state(workspace.state).theme == "paper"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_tmux_keys_arrive_and_the_workbench_leaves_the_pane_as_it_was(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 100)
    socket = f"llmtui-{os.getpid()}"

    def tmux(*arguments: str) -> str:
        command = ["tmux", "-L", socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, capture_output=True, text=True).stdout

    def shows(text: str) -> None:
        wait_for(lambda: text in tmux("capture-pane", "-p"), what=text, shows=lambda: tmux("capture-pane", "-p"))

    try:
        tmux("new-session", "-d", "-x", "80", "-y", "24", "sh")
        tmux("send-keys", shlex.join(WORKBENCH), "Enter")
        shows("n new")
        for key, text in (
            ("Enter", "└0"),
            ("4", "architecture"),
            ("7", "log.txt"),
            ("F1", "where the focus is"),
            ("Escape", "log.txt is empty"),
        ):
            tmux("send-keys", key)
            shows(text)
        tmux("send-keys", "q")
        shows("from llmtui.cli.main import main")  # the command as it was typed
    finally:
        tmux("kill-server")


def test_without_colours_the_chosen_lines_are_in_reverse_video(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 100)
    written = bytearray()
    with Terminal(["env", "NO_COLOR=1", *WORKBENCH]) as terminal:
        terminal.listener = written.extend
        terminal.wait_for("n new")
        press(terminal, "3", "└0")
        press(terminal, "t", "Themes")
        reverse = [row for row in range(24) if any(terminal.screen.buffer[row][column].reverse for column in range(80))]
        assert reverse, "the chosen theme"
        press(terminal, "\x1b", "└0")
        terminal.send("q")
        assert terminal.wait_for_end() == 0
    assert not re.search(rb"\x1b\[[0-9;]*\b[34]8;[25]", written), "colours"
    assert not re.search(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|4[0-7]|9[0-7]|10[0-7])(?:;[0-9;]*)?m", written), "colours"
