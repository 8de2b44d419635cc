"""The commands of `llmtui`. What a command returns is the exit code; none is 0."""

from __future__ import annotations

import importlib

import click

from core import __version__
from core.storage.workspace import Workspace
from llmtui.cli.commands.group import Commands
from llmtui.cli.console import can_draw, say

MODULES = {
    "run": ("demo", "run", "recipe"),
    "plan": ("plan",),
    "show": ("ls", "show", "watch", "locate"),
    "control": ("stop", "pause", "resume", "rm"),
    "sample": ("sample",),
    "chat": ("chat",),
    "score": ("score",),
    "serve": ("serve",),
    "xray": ("xray",),
    "data": ("data",),
    "vocab": ("vocab",),
    "doctor": ("doctor", "completion"),
}
"""Which module here has which commands."""

WHERE = {command: module for module, commands in MODULES.items() for command in commands}


class Imported(Commands):
    """Commands that are imported when somebody asks for them: all of them take 0.2 s, and the workbench needs none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in WHERE:
            return None
        command: click.Command = getattr(importlib.import_module(f"llmtui.cli.commands.{WHERE[cmd_name]}"), cmd_name)
        return command


EXIT_CODES = """\b
Exit codes:
  0    done
  1    failed
  2    the request is wrong: an option, a name, a recipe
  3    the run was stopped on request
  75   busy: it is running already; try again later
  129  the terminal was closed under the workbench; runs go on
  130  interrupted (Ctrl-C); a run that was being followed goes on
  143  terminated
"""


@click.group(
    cls=Imported,
    invoke_without_command=True,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="llmtui")
@click.pass_context
def command_line(context: click.Context) -> int | None:
    """Train language models from scratch, and watch it happen.

    Without a command: the workbench. Runs go on when it is closed. RUN is a run's id, the start of one or its name;
    without it, the newest run is meant.
    """
    if context.invoked_subcommand is not None:
        return None
    workspace = Workspace()
    if not can_draw():
        say("llmtui: this is no terminal for the workbench; here are the runs instead (llmtui --help for commands)")
        from llmtui.cli.commands.show import list_runs

        return list_runs(workspace)
    from llmtui.tui.launcher import run_workbench

    return run_workbench(workspace.look())
