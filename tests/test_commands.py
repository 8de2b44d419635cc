"""The table of commands is complete, documented in docs/commands.md, and reads the former names of options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from core import ROOT
from core.storage.workspace import Workspace
from llmtui.cli import commands
from llmtui.cli.commands import command_line
from llmtui.cli.commands.group import CommandWithRenamedOptions
from llmtui.cli.main import run as run_command_line


def all_commands(group: click.Group, *words: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command for people that is not a group, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from all_commands(command, *words, name)
        elif not command.hidden:
            yield (*words, name), command


COMMANDS = {" ".join(words): command for words, command in all_commands(command_line)}


def test_every_module_that_defines_a_command_is_registered() -> None:
    folder = Path(str(commands.__file__)).parent
    defining = {
        path.stem
        for path in folder.glob("*.py")
        if re.search(r"^@click\.(command|group)\(", path.read_text("utf-8"), re.MULTILINE) and path.stem != "__init__"
    }
    registered = {
        str(command.callback.__module__).rpartition(".")[2] for command in COMMANDS.values() if command.callback
    }
    assert defining == registered


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_is_documented(words: str) -> None:
    assert f"llmtui {words}" in (ROOT / "docs" / "commands.md").read_text("utf-8")


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_has_help_for_each_option(words: str) -> None:
    command = COMMANDS[words]
    assert command.help and command.get_short_help_str()
    without = [
        parameter.name for parameter in command.params if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert without == []


@pytest.mark.parametrize(
    ("former", "name"),
    [
        ("sample --looks 0", "--denoising-steps"),
        ("xray --lens --top-k x", "--logit-lens"),
        ("xray --surprise --top-k x", "--token-losses"),
        ("xray --model --top-k x", "--weights"),
    ],
)
def test_the_former_name_of_an_option_is_read_with_a_note(
    workspace: Workspace, former: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(former.split()) == 2  # because of the value of the last option
    error = capsys.readouterr().err
    assert f"{former.split()[1]} is now called {name}" in error and "Invalid value" in error


def test_former_names_of_options_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS.values():
        if isinstance(command, CommandWithRenamedOptions):
            names = {option for parameter in command.params for option in parameter.opts}
            assert not names & set(command.renamed)
            assert set(command.renamed.values()) <= names
