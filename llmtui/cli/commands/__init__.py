"""The commands of `llmtui`. A command returns its exit code; None means 0."""

from __future__ import annotations

import importlib

import click

from core import __version__
from core.storage.workspace import Workspace
from llmtui.cli.commands.group import SuggestingGroup
from llmtui.cli.console import is_interactive, print_message

MODULES = {
    "run": ("demo", "run", "recipe"),
    "plan": ("plan",),
    "targets": ("targets",),
    "show": ("ls", "show", "locate"),
    "watch": ("watch",),
    "logs": ("logs",),
    "compare": ("compare",),
    "queue": ("queue",),
    "hosts": ("hosts",),
    "tune": ("tune",),
    "control": ("stop", "pause", "resume", "rm"),
    "branch": ("branch",),
    "learning_rate": ("lr",),
    "annotate": ("note", "tag", "archive"),
    "sample": ("sample",),
    "chat": ("chat",),
    "score": ("score",),
    "serve": ("serve",),
    "export": ("export",),
    "xray": ("xray",),
    "data": ("data",),
    "vocab": ("vocab",),
    "doctor": ("doctor", "completion"),
}
"""Modules of this package, each with the commands it defines."""

_MODULE_OF = {command: module for module, commands in MODULES.items() for command in commands}


class LazyGroup(SuggestingGroup):
    """Imports the module of a command when it is called: all of them take 0.2 s, and the workbench needs none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULE_OF)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULE_OF:
            return None
        module = importlib.import_module(f"{__name__}.{_MODULE_OF[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


EXIT_CODES = """\b
Exit codes:
  0    done
  1    failed
  2    usage error: an option, a name, a recipe
  3    the run was stopped on request
  75   busy: already running; try again later
  129  the terminal of the workbench was closed; runs continue
  130  interrupted (Ctrl-C); a run that was being followed continues
  143  terminated
"""


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="llmtui")
@click.pass_context
def command_line(context: click.Context) -> int | None:
    """Train GPT language models from scratch.

    Without a command, the workbench opens; runs continue when it is closed. RUN is the id of a run, the beginning of
    an id, or a name; the default is the newest run.
    """
    if context.invoked_subcommand is not None:
        return None
    workspace = Workspace()
    if not is_interactive():
        print_message("llmtui: the workbench needs a terminal; listing the runs instead (commands: llmtui --help)")
        from llmtui.cli.commands.show import list_runs

        return list_runs(workspace)
    from llmtui.tui.launcher import run_workbench

    return run_workbench(workspace.prepare_for_reading())
