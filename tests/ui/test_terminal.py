"""Output to the terminal: few bytes, and no control characters from data."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import statistics
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator

import pytest

from core.events import AttemptEnded, GeneratedSample, Note
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    hold_locks,
    make_checkpoint,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import CountingDriver, bytes_sent, screen_text, until
from tests.waiting import PATIENCE, wait_for

BUDGETS = {(80, 24): 3_000, (120, 40): 6_000, (200, 60): 12_000}


@pytest.mark.heavy
@pytest.mark.parametrize("size", BUDGETS)
async def test_steady_training_writes_few_bytes_and_no_change_writes_none(
    workspace: Workspace, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes in truecolor: a median of eight updates of two steps each, as at eight steps a second and 2 Hz."""
    monkeypatch.setattr(CountingDriver, "sent", 0)
    (workspace.config / "config.toml").write_text("refresh_hz = 10\n")
    run = make_run(workspace, "live")
    write_launch(run)
    worker = FakeWorker(run)
    worker.write_events(*events_before_training(), *training_events(1, 1500, 4000))
    app = Workbench(workspace, open_run="live", driver_class=CountingDriver)
    updates = []
    with hold_locks(run):
        async with app.run_test(size=size) as pilot:
            # run_test puts its own headless class in the place of ours
            app._driver.__class__ = CountingDriver
            await until(pilot, lambda: "step 1,500" in screen_text(app))
            await pilot.pause(0.3)
            for step in range(1501, 1517, 2):
                CountingDriver.sent = 0
                worker.write_events(*training_events(step, step + 1, 4000))
                await until(pilot, lambda step=step: f"step {step + 1:,}" in screen_text(app))
                updates.append(await bytes_sent(pilot, 0.15))
            CountingDriver.sent = 0
            await pilot.pause(0.6)
            assert CountingDriver.sent <= 200, "nothing changed"
    assert 0 < statistics.median(updates) <= BUDGETS[size], updates


def test_first_screen_imports_nothing_heavy(workspace: Workspace) -> None:
    script = """
import asyncio, sys
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
async def main():
    app = Workbench(Workspace().prepare())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.1)
        await pilot.press("3", "5", "escape", "escape")
asyncio.run(main())
heavy = {"torch", "datasets", "pyarrow", "tokenizers", "tiktoken", "numpy", "pandas"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Terminal:
    """The real workbench in a pseudo-terminal; keeps every byte it sends."""

    def __init__(self, workspace: Workspace, *, columns: int = 100, rows: int = 36) -> None:
        script = (
            "from core.storage.workspace import Workspace; from llmtui.tui.launcher import run_workbench; import sys;"
            "sys.exit(run_workbench(Workspace().prepare()))"
        )
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        env = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LLMTUI_HOME": str(workspace.home)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.data = b""

    def read_until(self, condition: Callable[[str], bool]) -> str:
        """Read until what came so far fulfils `condition`."""
        wait_for(
            lambda: condition(self.text),
            what="the workbench writes what is waited for",
            shows=lambda: self.text[-3000:],
            work=self._read,
        )
        return self.text

    def _read(self) -> None:
        if select.select([self.master], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):
                self.data += os.read(self.master, 65536)

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal_of() -> Iterator[Callable[[Workspace], Terminal]]:
    opened: list[Terminal] = []

    def open_one(workspace: Workspace) -> Terminal:
        opened.append(Terminal(workspace))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


EVIL = (
    "A\x1b]0;PWNED\x07B\x1b[2J\x9b2JC\x9d0;PWNED\x9cD\u202egnp.exe\u2066E[/nope]F[red]G[@click=app.bell()]H[/]\x00\x7f"
)

TEXTUALS = re.compile(rb"\x1b(\[[0-9;?<>=$]*[ -/]*[@-~]|P[^\x1b]*\x1b\\|\]22;default\x07)")
"""The escape sequences that Textual itself sends: none of them sets a title or the clipboard."""


def test_control_characters_reach_the_terminal_as_visible_symbols(
    workspace: Workspace, terminal_of: Callable[[Workspace], Terminal]
) -> None:
    run = make_run(workspace, "evil", "source.corpus=x")
    write_launch(run, code=1)
    FakeWorker(run).write_events(
        *events_before_training(),
        *training_events(1, 120, 400),
        Note(level="warning", text="note " + EVIL),
        GeneratedSample(step=120, prompt="p" + EVIL, text="s" + EVIL, temperature=1, top_k=0, top_p=1, seed=1),
        AttemptEnded(
            attempt=1, outcome="failed", what="why " + EVIL, where=EVIL, kept="kept " + EVIL, todo="todo " + EVIL
        ),
    )
    make_checkpoint(run, 100)
    content = json.loads((run.path / "run.json").read_text())
    content["recipe"]["source"]["corpus"] = "/data/" + EVIL
    (run.path / "run.json").write_text(json.dumps(content))
    named = make_run(workspace, "named")
    content["recipe"]["name"] = EVIL
    (named.path / "run.json").write_text(json.dumps(content))  # no name: the run counts as damaged
    terminal = terminal_of(workspace)
    terminal.read_until(lambda text: "why A␛]0;PWNED" in text)
    terminal.press("\r")
    terminal.read_until(lambda text: "note A␛" in text and "sA␛" in text)
    terminal.press("5")
    terminal.read_until(lambda text: "chat" in text and "newest" in text)
    data = terminal.data.rpartition(b"\x1b")[0]  # the last sequence may have come in half
    assert b"PWNED\x07" not in data and b"0;PWNED\xc2\x9c" not in data
    for char in ("\x9b", "\x9d", "\x9c", "\u202e", "\u2066"):
        assert char.encode() not in data, repr(char)
    rest = TEXTUALS.sub(b"", data)
    left = re.search(rb".{0,30}[^\x20-\x7e\x80-\xff\r\n].{0,30}", rest)
    assert left is None, left
    assert "<U+202E>" in terminal.text and "[/nope]F[red]G[@click=app.bell()]H" in terminal.text


def test_over_ssh_the_mouse_is_left_to_the_terminal_and_ctrl_c_does_not_quit(
    workspace: Workspace, terminal_of: Callable[[Workspace], Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    near = terminal_of(workspace)
    near.read_until(lambda text: "welcome" in text)
    assert "\x1b[?1003h" in near.text
    monkeypatch.setenv("SSH_TTY", "/dev/pts/0")
    far = terminal_of(workspace)
    far.read_until(lambda text: "welcome" in text and "ssh" in text)
    assert "\x1b[?1003h" not in far.text
    far.press("\x03")
    far.read_until(lambda text: "q leaves the workbench" in text)
    far.press("q")
    assert far.process.wait(PATIENCE) == 0


async def test_colours_can_be_switched_off(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = make_run(workspace, "live")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 200, 400))
    app = Workbench(workspace)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "● live   training" in screen_text(app))
            styles = [s.style for strip in app.screen._compositor.render_strips() for s in strip if s.style]
            colours = [colour for style in styles for colour in (style.color, style.bgcolor) if colour]
            assert all(colour.is_default for colour in colours)
            assert any(style.reverse for style in styles), "the cursor has to show without colours too"
