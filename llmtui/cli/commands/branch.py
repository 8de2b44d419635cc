"""`llmtui branch`: a new run that continues from a checkpoint of another one."""

from __future__ import annotations

import click

from core.checkpoints import step_of
from core.recipe.overrides import override
from core.runs import launch
from core.runs.branch import branch_changes, branch_recipe, create_branch
from core.runs.lookup import find_run
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import checkpoint_option, load_checkpoint
from llmtui.cli.commands.options import (
    NAME,
    detach_option,
    processes_option,
    run_argument,
    set_option,
    share_option,
)
from llmtui.cli.console import print_message, print_output
from llmtui.cli.run_output import detach_on_interrupt, follow_run, print_started, replay


@click.command(short_help="Start a run that continues from a checkpoint of another.")
@run_argument()
@checkpoint_option
@set_option
@click.option("--name", type=NAME, help="Name of the branch; default: that of RUN and the step, such as bard-400.")
@processes_option
@detach_option
@share_option
def branch(
    run_name: str | None,
    checkpoint: str,
    overrides: tuple[str, ...],
    name: str | None,
    processes: int | None,
    detach: bool,
    share: bool,
) -> int:
    """Start a new run that continues from a checkpoint of RUN, which may be running and is not changed.

    The branch has the recipe of RUN with the settings of --set, and continues with the weights, the optimizer state,
    the step and the position in the text of the checkpoint: without --set, its losses are those of RUN. --set changes
    what `llmtui resume --set` changes. Set a later train.steps, tokens or minutes if RUN has reached its limit there.
    """
    workspace = Workspace().prepare()
    run = find_run(workspace, run_name)
    start = load_checkpoint(run, checkpoint)
    step = step_of(start.path)
    overrides = (*overrides, override("name", name)) if name else overrides
    recipe = branch_recipe(run, step, overrides, note=print_message)
    created = create_branch(workspace, run, start, recipe, processes)
    print_message(f"{created.id} branches from step {step:,} of {run.id}")
    for change in branch_changes(run, recipe):
        print_message(f"{created.id}: {change}")
    formatter, reader = replay(created)
    with detach_on_interrupt(created):
        launch.start(created, workspace, share=share)
        if detach:
            print_output(created.id)
        print_started(created, share=share, detach=detach)
        return 0 if detach else follow_run(created, formatter, reader)
