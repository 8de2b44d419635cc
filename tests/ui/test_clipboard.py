"""Copying: the ways that are tried, what the terminal is sent, and the key that copies what has the focus."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import LlmtuiError
from core.storage.workspace import Workspace
from llmtui.tui import clipboard
from llmtui.tui.app import Workbench
from llmtui.tui.screens.workbench_screen import show_error, show_notice
from tests.ui.fake_runs import failed_run, finished_run
from tests.ui.pilot import CountingDriver, screen_text, until

Programs = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Installs a shell script as a clipboard program; returns the file it writes to. No others are installed."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()

    def install(name: str, script: str) -> Path:
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/sh\nout={tmp_path}/{name}.txt\n{script}\n")
        file.chmod(0o755)
        return tmp_path / f"{name}.txt"

    return install


def test_a_sequence_for_the_terminal_passes_through_tmux_and_screen() -> None:
    data = base64.b64encode("é\n".encode()).decode()
    assert clipboard.osc_52("é\n", {}) == f"\x1b]52;c;{data}\x07"
    assert clipboard.osc_52("é\n", {"TMUX": "/tmp/x,1,0"}) == f"\x1bPtmux;\x1b\x1b]52;c;{data}\x07\x1b\\"
    long = clipboard.osc_52("x" * 600, {"STY": "1.pts"})
    parts = long.removesuffix("\x1b\\").removeprefix("\x1bP").split("\x1b\\\x1bP")
    assert max(map(len, parts)) <= 256 and "".join(parts) == clipboard.osc_52("x" * 600, {})


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"TERM": "xterm-kitty", "TMUX": "x"}, False),
    ],
)
def test_which_terminals_are_known_to_take_it(environment: dict[str, str], known: bool) -> None:
    assert clipboard.takes_osc_52(environment) is known


async def test_a_program_of_this_machine_takes_the_text_without_control_characters(
    program: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("DISPLAY", ":0")
    program("wl-copy", "exit 1")
    taken = program("xclip", 'while IFS= read -r line || [ "$line" ]; do echo "$line" >> $out; done')
    sent: list[str] = []
    message = await clipboard.copy("a\x1b[201~rm\x07\nb\t\u202ec", "", sent.append, tmp_path / "exports")
    assert taken.read_text() == "a[201~rm\nb\tc\n"
    assert message == "Copied by xclip: 2 lines."
    assert len(sent) == 1 and not (tmp_path / "exports").exists()


async def test_a_program_that_hangs_is_ended_and_the_text_saved(
    program: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(clipboard, "PROGRAM_TIMEOUT", 0.05)
    program("xsel", "while :; do :; done")
    message = await clipboard.copy("lost?", "", lambda _: None, tmp_path / "exports")
    assert (tmp_path / "exports/copied.txt").read_text() == "lost?"
    assert message.endswith("exports/copied.txt: “lost?”.") and "OSC 52" in message


async def test_over_ssh_no_program_of_this_machine_is_asked(program: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SSH_TTY", "/dev/pts/1")
    monkeypatch.setenv("TERM", "foot")
    program("xclip", "exit 0")
    assert clipboard.clipboard_programs() == []
    sent: list[str] = []
    assert await clipboard.copy("x", "", sent.append, None) == "Copied by the terminal: “x”."
    assert sent == ["\x1b]52;c;eA==\x07"]


async def test_a_text_too_long_for_the_terminal_is_saved(tmp_path: Path) -> None:
    sent: list[str] = []
    message = await clipboard.copy("x" * 74_995, "", sent.append, tmp_path)
    assert (
        sent == []
        and message == f"Too long for the terminal's clipboard: 74,995 characters saved in {tmp_path}/copied.txt."
    )
    assert (tmp_path / "copied.txt").stat().st_size == 74_995
    tmp_path.chmod(0o500)
    if not os.access(tmp_path, os.W_OK):
        assert "Not copied" in await clipboard.copy("x" * 74_995, "", sent.append, tmp_path / "new")


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
async def test_in_tmux_its_buffer_has_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", os.devnull]
    subprocess.run([*tmux, "new-session", "-d", "sleep 60"], check=True)
    try:
        monkeypatch.setenv("TMUX", f"{tmp_path}/socket,1,0")
        assert await clipboard.copy("one\ntwo", "", lambda _: None, None) == "Copied by tmux: 2 lines."
        shown = subprocess.run([*tmux, "show-buffer"], check=True, capture_output=True, text=True).stdout
        assert shown == "one\ntwo"
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


@pytest.mark.heavy
async def test_the_key_copies_what_has_the_focus(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(workspace, "bard", 300)
    app = Workbench(workspace, driver_class=CountingDriver)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        CountingDriver.text = ""
        app._driver.__class__ = CountingDriver
        await pilot.press("ctrl+y")  # the row of the list
        await until(pilot, lambda: "bard" in app.clipboard and "done" in app.clipboard)
        row = base64.b64encode(app.clipboard.encode()).decode()
        await until(pilot, lambda: f"\x1b]52;c;{row}\x07" in CountingDriver.text)
        await until(pilot, lambda: "copied.txt" in screen_text(app))
        await pilot.press("3")
        await until(pilot, lambda: "⠒" in screen_text(app) or "━" in screen_text(app))
        app.screen.query_one("#loss").focus()
        await pilot.press("v", "ctrl+y")  # the values at the cursor
        await until(
            pilot, lambda: app.clipboard.startswith("loss") and "step" in app.clipboard and "val" in app.clipboard
        )
        await pilot.press("7")
        await until(pilot, lambda: "journal.jsonl" in screen_text(app) and "done" in screen_text(app))
        await pilot.press("ctrl+y")  # the line
        await until(pilot, lambda: "done" in app.clipboard and "\n" not in app.clipboard)
    assert (workspace.exports / "copied.txt").read_text() == app.clipboard
    assert run.id


@pytest.mark.heavy
async def test_an_error_says_all_it_knows_can_be_copied_and_leads_to_the_log(workspace: Workspace) -> None:
    run = failed_run(workspace, "books")
    finished_run(workspace, "bard", 100)
    error = LlmtuiError("no \x1b[2J room", where="/a/b", kept="step 40 is kept", todo="make room")
    app = Workbench(workspace)
    async with app.run_test(size=(60, 16)) as pilot:
        await until(pilot, lambda: "✗ books" in screen_text(app))
        show_error(app, error, run)
        await until(pilot, lambda: "make room" in screen_text(app))
        text = screen_text(app)
        assert "Cannot continue: no ␛[2J room" in text and "where  /a/b" in text and "kept   step 40 is kept" in text
        assert "l log" in text
        await pilot.press("y")
        await until(pilot, lambda: "copied.txt" in screen_text(app))
        assert app.clipboard == error.sentence()
        await pilot.press("l")
        await until(pilot, lambda: "failed: out of memory" in screen_text(app))
        assert app.session.selected_id == run.id


@pytest.mark.heavy
async def test_notices_can_be_read_again(workspace: Workspace) -> None:
    finished_run(workspace, "bard", 100)
    app = Workbench(workspace)
    async with app.run_test(size=(60, 16)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: "There was no notice yet." in screen_text(app))
        await pilot.press("escape")
        for number in range(5):
            show_notice(app, f"number {number} \x07")
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: "number 0 ␇" in screen_text(app) and "number 3 ␇" in screen_text(app))
        show_notice(app, "while a dialog is shown")
        await pilot.press("escape", "exclamation_mark")
        await until(pilot, lambda: "while a dialog is shown" in screen_text(app))
