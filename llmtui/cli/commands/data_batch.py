"""`llmtui data batch`: what a run is trained on at one step."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from core.checkpoints import nearest_checkpoint, readable_checkpoints, step_of
from core.errors import LlmtuiError, UsageError
from core.plural import plural
from core.runs.directory import Run
from core.runs.lookup import find_run
from core.runs.step_metric import metric_of_step
from core.sample.protocol import AnyTask, ReadBatch, ScoreBatch, Tokens
from core.sample.token_protocol import BatchSource, RowLosses, TrainingBatch
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from llmtui.cli.commands.checkpoint import NoCheckpointError
from llmtui.cli.commands.lookup import find_artifact
from llmtui.cli.commands.options import json_option, run_argument
from llmtui.cli.console import print_json, print_message, print_output
from llmtui.clients.inference_client import InferenceClient, InferenceError
from llmtui.view import units
from llmtui.view.inspect_tables import token_label
from llmtui.view.run_state import next_step_text, state_text
from llmtui.view.table import table

if TYPE_CHECKING:
    from llmtui.view.batch_text import BatchView  # imports rich, which `llmtui --help` does without

EXCERPT = 48
"""Cells of the text shown of each row."""


class BatchError(LlmtuiError):
    doing = "show the batch"


class BatchRowError(UsageError):
    doing = "show the batch"


@click.command(short_help="Show what a run is trained on at one step.")
@run_argument()
@click.option("--step", type=click.IntRange(1, 2**50), required=True, help="The training step; the first one is 1.")
@click.option("--row", type=click.IntRange(1), help="Show the tokens of one row of the batch.")
@click.option("--loss", is_flag=True, help="Compute the loss of each token under the nearest checkpoint.")
@json_option
def batch(run_name: str | None, step: int, row: int | None, loss: bool, as_json: bool) -> None:
    """Show the rows of the batch that RUN is trained on at a step, exactly as the model reads them.

    With --loss, the loss of each token under the weights of the newest checkpoint before that step: it shows which
    text caused a spike. Losses are in nats, in float32 and without dropout; under the weights that the step started
    from, their mean is the loss that the training recorded.
    """
    from llmtui.view.batch_text import summary

    workspace = Workspace()
    run = find_run(workspace, run_name)
    tokens = find_artifact(workspace, run.id, "tokenize")
    checkpoint = _checkpoint(run, step) if loss else None
    source = BatchSource(tokens=str(tokens), model=run.recipe.model, train=run.recipe.train, step=step)
    try:
        view = asyncio.run(_read(workspace, source, checkpoint))
    except InferenceError as error:
        raise BatchError(error.what, where=error.where, todo=error.todo) from None
    if row is not None and row > len(view.batch.rows):
        raise BatchRowError(f"the batch has {plural(len(view.batch.rows), 'row')}", todo="give --row one of them")
    rows = range(len(view.batch.rows)) if row is None else [row - 1]
    if as_json:
        for number in rows:
            print_json(_record(view, number))
        return
    metric = metric_of_step(run.journal, step)
    recorded = f", loss {units.cost(metric.loss)} in training" if metric else ", not trained yet"
    print_message(f"{run.id}, step {step:,}: {summary(view.batch)}{recorded}")
    if checkpoint is not None and view.loss is not None:
        print_message(f"loss {units.cost(view.loss)} under the weights of step {step_of(checkpoint.path):,}")
    print_output(_rows_table(view) if row is None else _tokens_table(view, row - 1))


def _checkpoint(run: Run, step: int) -> Artifact:
    found = nearest_checkpoint(readable_checkpoints(run.checkpoints), step)
    if found is None:
        raise NoCheckpointError(f"there is no checkpoint ({state_text(run)})", where=run.id, todo=next_step_text(run))
    return found


async def _read(workspace: Workspace, source: BatchSource, checkpoint: Artifact | None) -> BatchView:
    """The batch, with its losses if `checkpoint` is given. Raises InferenceError, InferenceProcessError."""
    from llmtui.view.batch_text import BatchView

    client = InferenceClient(workspace)
    requests: list[AnyTask] = [ReadBatch(id=0, batch=source)]
    if checkpoint is not None:
        requests.append(ScoreBatch(id=0, checkpoint=str(checkpoint.path), batch=source))
    view: BatchView | None = None
    try:
        for request in requests:
            async with aclosing(client.stream(request)) as replies:
                async for reply in replies:
                    match reply:
                        case Tokens(result=TrainingBatch() as found):
                            view = BatchView(found)
                        case Tokens(result=RowLosses() as losses) if view is not None:
                            view.add(losses)
    finally:
        await client.close()
    assert view is not None
    return view


def _record(view: BatchView, row: int) -> dict[str, object]:
    found = view.batch.rows[row]
    loss = view.row_loss(row)
    text = b"".join(bytes.fromhex(view.infos[token.token].bytes) for token in view.tokens(row))
    record: dict[str, object] = {
        "step": view.batch.step,
        "row": row + 1,
        "start": found.start,
        "inputs": found.inputs,
        "targets": found.targets,
        "weight": found.weight,
        "text": text.decode("utf-8", "replace"),
    }
    if loss is not None:
        record |= {"loss": loss, "losses": view.nats(row), "batch_loss": view.loss}
    return record


def _rows_table(view: BatchView) -> str:
    from llmtui.view.lines import cut

    rows = [("ROW", "FROM TOKEN", "DOCUMENTS", *(["LOSS"] if view.scored else []), "TEXT")]
    for row in range(len(view.batch.rows)):
        loss = view.row_loss(row)
        figures = [units.cost(loss)] if loss is not None else []
        start, text = f"{view.batch.rows[row].start:,}", view.text(row)
        rows.append((str(row + 1), start, str(text.documents), *figures, cut(text.excerpt, EXCERPT)))
    return table(rows)


def _tokens_table(view: BatchView, row: int) -> str:
    rows = [("TOKEN", "ID", "TEXT", *(["LOSS"] if view.scored else []), "")]
    for number, token in enumerate(view.tokens(row), 1):
        figures = [] if not view.scored else ["" if token.nats is None else units.cost(token.nats)]
        label = token_label(view.infos[token.token], 24)
        rows.append((str(number), str(token.token), label, *figures, view.target(token)))
    return table(rows)
