"""Blank names and paths are usage errors: they are unset variables of scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from core.runs.lookup import all_runs
from core.storage.workspace import Workspace
from llmtui.cli.commands import command_line as llmtui_commands
from llmtui.cli.main import run as command_line
from tests.cli_runs import DONE, made

pytestmark = pytest.mark.usefixtures("in_temporary_directory")

TEXTS = {"prompt", "text", "suffix", "stop", "logit_bias", "attention"}
"""Parameters that take a text, which may be empty, or have words of their own about an empty one."""


def commands(group: click.Group) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from (((name, *words), found) for words, found in commands(command))
        else:
            yield (name,), command


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_no_command_takes_nothing_for_a_name_or_a_path(
    workspace: Workspace, blank: str, capsys: pytest.CaptureFixture[str]
) -> None:
    only = made(workspace, DONE)
    tried = 0
    for words, command in commands(llmtui_commands):
        for parameter in command.params:
            if parameter.name in TEXTS or parameter.type.name not in ("text", "path"):
                continue
            given = [] if isinstance(parameter, click.Argument) else [parameter.opts[0], blank]
            others = [
                blank if each is parameter else "1" if isinstance(each.type, click.IntRange) else "x"
                for each in command.params
                if isinstance(each, click.Argument)
            ]
            yes = ["--yes"] if any("--yes" in other.opts for other in command.params) else []
            assert command_line([*words, *yes, *given, *others]) == 2, (words, parameter.name)
            assert "empty" in capsys.readouterr().err
            tried += 1
    assert tried > 30
    assert [run.id for run in all_runs(workspace)] == [only.id]
    assert [path.name for path in Path().iterdir()] == ["home"]


def test_rm_with_an_empty_name_deletes_nothing(workspace: Workspace) -> None:
    only = made(workspace, DONE)
    assert command_line(["rm", "--yes", ""]) == 2
    assert command_line(["rm", "--yes", only.id, ""]) == 2
    assert only.path.exists()
