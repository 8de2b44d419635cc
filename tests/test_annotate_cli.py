"""`llmtui note`, `tag` and `archive`, and what `ls` and `show` make of it."""

from __future__ import annotations

import json

import pytest

from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.cli_runs import DONE, HOSTILE, TRAINED, made

pytestmark = pytest.mark.usefixtures("in_temporary_directory")


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command_line([*arguments]) == 0
    return capsys.readouterr().out


def test_tags_are_added_removed_listed_and_filtered_by(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    tagged, other = made(workspace, DONE, name="tagged"), made(workspace, DONE, name="other")
    output(capsys, "tag", "tagged", "+Baseline", "hard", "+old")
    output(capsys, "tag", "tagged", "-old", "-absent")
    assert output(capsys, "tag", "tagged") == "baseline\nhard\n"
    output(capsys, "tag", "tagged", "-hard")
    assert "baseline" in output(capsys, "ls")
    listed = output(capsys, "ls", "--filter", "tag:base")
    assert tagged.id in listed and other.id not in listed
    assert "tags" in output(capsys, "show", "tagged")


def test_notes_are_written_printed_and_removed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, DONE)
    output(capsys, "note", "tiny", "the first one")
    output(capsys, "note", "tiny", HOSTILE, "--step", "3")
    text = output(capsys, "note", "tiny")
    assert "the first one" in text and "step 3" in text and "\x1b" not in text
    assert "the first one" in output(capsys, "show", "tiny")
    output(capsys, "note", "tiny", "--remove")
    assert "the first one" not in output(capsys, "note", "tiny")
    assert command_line(["note", "tiny", ""]) == 2
    assert command_line(["note", "tiny", "text", "--remove"]) == 2


def test_archived_runs_are_listed_on_request_and_named_everywhere(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = made(workspace, TRAINED, name="old"), made(workspace, DONE, name="new")
    output(capsys, "archive", "old")
    listed = output(capsys, "ls")
    assert new.id in listed and old.id not in listed
    assert old.id in output(capsys, "ls", "--archived")
    assert old.id in output(capsys, "show", "old")
    records = [json.loads(line) for line in output(capsys, "ls", "--archived", "--json").splitlines()]
    assert {record["name"]: record["archived"] for record in records} == {"old": True, "new": False}
    output(capsys, "archive", "old", "--undo")
    assert old.id in output(capsys, "ls")


def test_an_invalid_filter_says_what_is_wrong(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    made(workspace, DONE)
    assert command_line(["ls", "--filter", "vall<1.6"]) == 2
    assert "did you mean 'val'" in capsys.readouterr().err
    assert command_line(["ls", "--filter", "val>9"]) == 0
    assert "no run matches" in capsys.readouterr().err
