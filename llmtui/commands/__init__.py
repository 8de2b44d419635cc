"""The commands of `llmtui`. What a command returns is the exit code; none is 0."""

from __future__ import annotations

import click

from core import __version__
from core.workspace import Workspace
from llmtui.commands import chat, data, doctor, look, plan, sample, score, serve, start, steer, vocab, xray
from llmtui.commands.group import Commands
from llmtui.console import can_draw, say

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
    cls=Commands,
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
        return look.list_runs(workspace)
    from llmtui.opening import run_workbench

    return run_workbench(workspace.prepare())


for command in (
    *(start.demo, start.run, start.recipe, plan.plan),
    *(look.ls, look.show, look.watch, look.locate),
    *(steer.stop, steer.pause, steer.resume, steer.rm),
    *(sample.sample, chat.chat, score.score, serve.serve, xray.xray),
    *(data.data, vocab.vocab, doctor.doctor, doctor.completion),
):
    command_line.add_command(command)
