"""The whole job in a real terminal of 80x24, with keys alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.terminal import Terminal
from core.checkpoints import readable_checkpoints
from core.runs.control import request_stop
from core.runs.directory import Run, RunState
from core.runs.launch import wait_until_ended
from core.runs.lookup import find_run
from core.runs.transcript import earlier_messages
from core.storage.workspace import Workspace
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.heavy

ESCAPE = "\x1b"
WORKBENCH = [sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()"]


def until(terminal: Terminal, condition: Callable[[], object], what: str) -> None:
    """Let the program write until `condition` holds; on failure show the screen."""
    wait_for(condition, what=what, work=lambda: terminal.read(0.1), shows=lambda: "\n".join(terminal.screen.display))


def drawn_dots(terminal: Terminal) -> int:
    """Columns of the screen that hold a part of a curve."""
    rows = terminal.screen.display
    return sum(any(0x2800 < ord(row[column]) < 0x2900 for row in rows) for column in range(terminal.screen.columns))


def steps(terminal: Terminal) -> int:
    """The step in the status line; 0 before there is one."""
    words = terminal.screen.display[0].replace(",", "").split()
    return int(words[words.index("step") + 1].partition("/")[0]) if "step" in words else 0


def press(terminal: Terminal, keys: str, shows: str) -> None:
    """Press `keys`, and wait until `shows` is on the screen. The workbench keeps keys that come sooner in order."""
    terminal.send(keys)
    until(terminal, lambda: shows in "\n".join(terminal.screen.display), f"{shows!r} after {keys!r}")
    if keys == ESCAPE:
        terminal.settle()  # a key that followed at once would make a sequence of both


def fill_in(terminal: Terminal, field: str, value: str) -> None:
    """In the form, find `field` by its name and give it `value`."""
    press(terminal, "/", "words of a name")
    press(terminal, field, f"with “{field}”")
    press(terminal, "\r", "enter edit")
    press(terminal, "\r", "enter take it")
    terminal.send("\x15\x0b")  # ctrl+u, ctrl+k
    press(terminal, value, value[-20:])
    press(terminal, "\r", "enter edit")
    until(terminal, lambda: f"● {field}" in "\n".join(terminal.screen.display), f"{field} is changed")
    terminal.send(ESCAPE)
    until(terminal, lambda: "with “" not in "\n".join(terminal.screen.display), "all fields")


def test_start_a_run_watch_it_leave_lose_the_terminal_come_back_and_chat(workspace: Workspace, corpus: Path) -> None:
    run: Run | None = None
    try:
        with Terminal(WORKBENCH) as terminal:
            terminal.wait_for("start the demo")
            press(terminal, "n", "what matters first")
            for field, value in (("source.corpus", str(corpus)), ("model.depth", "1"), ("train.minutes", "30")):
                fill_in(terminal, field, value)
            terminal.send("\x12")  # ctrl+r
            until(terminal, lambda: steps(terminal) >= 3, "the third step")
            until(terminal, lambda: drawn_dots(terminal) > 10, "a curve")
            run = find_run(workspace)
            early = steps(terminal)
            until(terminal, lambda: steps(terminal) >= early + 5, "five more steps")
            terminal.send("q")
            assert terminal.wait_for_end() == 0
        assert run.state() is RunState.RUNNING

        with Terminal(WORKBENCH) as terminal:  # leaving this block kills the program and hangs up its terminal
            terminal.wait_for("training")
        pid = run.writer()
        assert pid is not None

        with Terminal(WORKBENCH) as terminal:
            terminal.wait_for("training")
            terminal.send("\r")
            until(terminal, lambda: steps(terminal) > early, "the run going on")
            assert drawn_dots(terminal) > 10  # the history is there at once
            terminal.send("c")
            wait_for(lambda: readable_checkpoints(run.checkpoints), what="a checkpoint")
            terminal.send("5")
            terminal.wait_for("transcript")
            terminal.send("the cat sat\r")
            until(terminal, lambda: len(earlier_messages(run.path, "step-99999999")) == 2, "an answer that is kept")
            terminal.wait_for("tokens, ")  # the line under it
            question, answer = earlier_messages(run.path, "step-99999999")
            assert (question.role, question.text, answer.role) == ("user", "the cat sat", "assistant") and answer.text
        assert run.writer() == pid
    finally:
        if run is not None:
            request_stop(run)
            assert wait_until_ended(run, PATIENCE)
    assert run.state() is RunState.STOPPED
