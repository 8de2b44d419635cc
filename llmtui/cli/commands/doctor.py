"""Commands about the installation: doctor and completion."""

from __future__ import annotations

import click
import msgspec
from click.shell_completion import get_completion_class

from core.storage.workspace import Workspace
from llmtui.cli.commands.options import json_option
from llmtui.cli.console import out, out_json
from llmtui.cli.doctor_checks import examine


@click.command(short_help="Check that everything llmtui needs works here.")
@json_option
def doctor(as_json: bool) -> int:
    """Check terminal, Python, machine, data directory, and what could end a run behind one's back.

    Exits with 1 when something that runs need does not work.
    """
    findings = list(examine(Workspace()))
    for finding in findings:
        if as_json:
            out_json(msgspec.structs.asdict(finding))
        else:
            out(f"{finding.level:<4}  {finding.about:<10}  {finding.what}", indent=18)
            if finding.advice:
                out(f"{'':<18}{finding.advice}", indent=18)
    return int(any(finding.level == "fail" for finding in findings))


@click.command(short_help="Print a script that completes commands in your shell.")
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
    assert kind is not None  # click.Choice lets no other through
    out(kind(context.find_root().command, {}, "llmtui", "_LLMTUI_COMPLETE").source())
