"""`llmtui logs`."""

from __future__ import annotations

import json

import pytest

from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.cli_runs import DONE, HOSTILE, made

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def test_log_and_journal_are_printed_line_by_line(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, DONE)
    run.log.write_bytes(b"loading\n" + HOSTILE.encode() + b"\nlast \xff without an end")
    assert command_line(["logs"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("loading\n") and "last \ufffd without an end" in text and "\x1b" not in text
    assert command_line(["logs", "tiny", "--follow"]) == 0  # a run that has ended has no new lines
    assert capsys.readouterr().out == text
    assert command_line(["logs", "--journal"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(run.journal.read_bytes().splitlines())
    assert command_line(["logs", "--json"]) == 0
    assert [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()]


def test_a_run_without_a_log_says_so(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = made(workspace, DONE)
    run.log.unlink(missing_ok=True)
    assert command_line(["logs"]) == 0
    output = capsys.readouterr()
    assert not output.out and "has no log.txt yet" in output.err


def test_following_prints_what_is_added_until_the_run_ends(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(workspace, DONE)
    run.log.write_bytes(b"first\nhalf")
    still_running = iter([True, True, False])

    class State:
        is_active = property(lambda _: next(still_running))

    def pause(_: float) -> None:
        with run.log.open("ab") as file:
            file.write(b" a line\n")

    monkeypatch.setattr("core.runs.directory.Run.state", lambda _: State())
    monkeypatch.setattr("llmtui.cli.commands.logs.time.sleep", pause)
    assert command_line(["logs", "--follow"]) == 0
    assert capsys.readouterr().out == "first\nhalf a line\n a line\n"
