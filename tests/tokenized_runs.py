"""A run with token shards, an untrained checkpoint and some steps in its journal; inference without a process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from core.errors import LlmtuiError
from core.events import Metric, StageFinished, encode
from core.jobs.prepare import prepare
from core.recipe.schema import Recipe
from core.runs.directory import Run
from core.runs.summary import Summary
from core.sample.handlers import handle
from core.sample.models import ModelCache
from core.sample.protocol import AnyReply, AnyTask, Finished
from core.storage.files import write_atomic
from core.storage.journal import JournalWriter
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import Vocabulary
from llmtui.clients.inference_client import InferenceClient, InferenceError
from tests.byte_models import save_checkpoint
from tests.core.stages import return_value


def tokenized_run(workspace: Workspace, recipe: Recipe) -> Run:
    """A run with the losses of steps 2 and 3, the latter taken twice, and a checkpoint of step 2."""
    tokens = return_value(prepare(recipe, workspace)).tokens
    run = Run.create(workspace, recipe)
    summary, journal = Summary(), JournalWriter(run.journal)
    finished = StageFinished(stage="tokenize", artifact=str(tokens.path), facts=tokens.facts)
    steps = [
        Metric(step=step, loss=loss, lr=1e-3, grad_norm=1.0, tokens=128 * step, seconds=step, progress=0.1)
        for step, loss in ((2, 9.125), (3, 8.5), (3, 8.25))  # resumed from step 2
    ]
    for event in (finished, *steps):
        journal.append(encode(event))
        summary.absorb(event)
    journal.close()
    write_atomic(run.path / "status.json", encode(summary))
    save_checkpoint(run.checkpoints, 2, recipe.model, Vocabulary.load(tokens.path / "vocabulary.json"))
    return run


class DirectClient(InferenceClient):
    """Answers in this process what the inference process would."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._models = ModelCache()

    async def start(self, checkpoint: Path | None = None) -> None:
        """There is no process."""

    async def stream(self, request: AnyTask) -> AsyncGenerator[AnyReply, None]:
        try:
            for reply in handle(request, self._models):
                if reply is not None:
                    yield reply
        except LlmtuiError as error:
            raise InferenceError(error.what, where=error.where, todo=error.todo) from None
        yield Finished(id=request.id)
