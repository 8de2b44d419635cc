"""`llmtui doctor` and `completion`."""

from __future__ import annotations

import click
import msgspec
from click.shell_completion import get_completion_class

from core.storage.workspace import Workspace
from llmtui.cli.commands.options import json_option
from llmtui.cli.console import print_json, print_output
from llmtui.cli.doctor_checks import run_checks


@click.command(short_help="Check the installation and this machine.")
@json_option
def doctor(as_json: bool) -> int:
    """Check the terminal, Python packages, the machine, the data directory, and what could end background runs.

    Exits with 1 if something required does not work.
    """
    results = list(run_checks(Workspace()))
    for result in results:
        if as_json:
            print_json(msgspec.structs.asdict(result))
        else:
            print_output(f"{result.level:<4}  {result.about:<10}  {result.what}", indent=18)
            if result.advice:
                print_output(f"{'':<18}{result.advice}", indent=18)
    return int(any(result.level == "fail" for result in results))


@click.command(short_help="Print a script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  echo 'eval "$(llmtui completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(llmtui completion zsh)"' >> ~/.zshrc
    fish:  llmtui completion fish > ~/.config/fish/completions/llmtui.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # ensured by click.Choice
    print_output(kind(context.find_root().command, {}, "llmtui", "_LLMTUI_COMPLETE").source())
