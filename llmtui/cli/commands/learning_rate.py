"""`llmtui lr`: another learning rate while a run trains."""

from __future__ import annotations

import click

from core.runs.control import request_learning_rate
from core.runs.directory import RunState
from core.runs.lookup import find_run
from core.storage.workspace import Workspace
from core.train.lr_changes import LearningRateError, lr_change_factor, parse_lr, read_lr_changes
from llmtui.cli.commands.options import NAME, run_argument
from llmtui.cli.console import print_message
from llmtui.view.run_state import state_text


@click.command(short_help="Change the learning rate of a run that trains.")
@run_argument(required=True)
@click.argument("value", type=NAME, metavar="LR|xFACTOR")
def lr(run_name: str, value: str) -> None:
    """Let RUN, which is training, continue at another learning rate after its current step.

    LR is a peak as train.lr, such as 4e-4; xFACTOR, such as x0.5, is that times the present one. Warm-up and schedule
    continue, and the rates of Muon and of parameter groups change in proportion. A checkpoint is saved first and kept:
    `llmtui branch RUN --checkpoint STEP` continues from there without the change. `llmtui resume --set train.lr`
    replaces the change.
    """
    run = find_run(Workspace(), run_name)
    state = run.state()
    if state not in (RunState.RUNNING, RunState.PAUSED):
        todo = f"llmtui resume {run.id} --set train.lr={value.lstrip('x×*') if value[0] not in 'x×*' else 'LR'}"
        raise LearningRateError(f"{run.id} is not training ({state_text(run)})", todo=todo)
    train, changes = run.recipe.train, read_lr_changes(run.checkpoints)
    present = lr_change_factor(changes, changes[-1].step) if changes else 1.0
    factor = parse_lr(value, train, present)
    request_learning_rate(run, factor)
    print_message(
        f"{run.id}: peak learning rate {present * train.lr:.3g} → {factor * train.lr:.3g} after its current step; "
        "a checkpoint is saved first"
    )
