"""A run with everything that a screen can show: real artifacts, a journal, a checkpoint; without any training."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from core.checkpoints import checkpoint_name
from core.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    CompressionBaseline,
    ModelInfo,
    Note,
    StageFinished,
    StageStarted,
)
from core.jobs.prepare import prepare
from core.recipe.schema import Recipe
from core.runs.annotations import Annotations, change_annotations
from core.runs.directory import Run
from core.runs.transcript import ChatMessage, ConversationStart, Transcripts
from core.storage.workspace import Workspace
from core.tokenize.vocabulary import Vocabulary
from tests.byte_models import save_checkpoint
from tests.ui.fake_runs import FakeWorker, training_events, write_launch

STEPS = 400

FAILURE = AttemptEnded(
    attempt=1,
    outcome="failed",
    what="out of memory with batches of 8",
    kept="step 400",
    todo="try train.batch_size = 4",
    exit_code=1,
)


def complete_run(
    workspace: Workspace, recipe: Recipe, *, failed: bool = False, written: Callable[[str], str] = str
) -> Run:
    """A run of `recipe` with artifacts, curves of 400 steps, an untrained checkpoint, a log, a chat, tags and notes.

    written: changes every text that a user, a model or another program has written; names of runs are checked when
    they are read.
    """
    stages = prepare(recipe, workspace)
    data_events: list[AnyEvent] = []
    while True:
        try:
            data_events.append(next(stages))
        except StopIteration as end:
            tokens = end.value.tokens
            break
    run = Run.create(workspace, recipe)
    write_launch(run, code=int(failed))
    FakeWorker(run).write_events(
        *(
            _with_texts(event, written)
            for event in (
                AttemptStarted(attempt=1, pid=1, host="here", device="2 cores, bfloat16"),
                *data_events,
                StageStarted(stage="train"),
                ModelInfo(parameters=4_262_400, flops_per_token=28_000_000, vocabulary=4096, tokens=3_241_000),
                CompressionBaseline(name="xz -9", bits_per_byte=1.683),
                *training_events(1, STEPS, STEPS),
                Note(text="the loss falls"),
                *([] if failed else [StageFinished(stage="train", artifact="x", facts={"steps": STEPS})]),
                FAILURE if failed else AttemptEnded(attempt=1, outcome="done"),
            )
        )
    )
    vocabulary = Vocabulary.load(tokens.path / "vocabulary.json")
    save_checkpoint(run.checkpoints, STEPS, recipe.model, vocabulary, slice_loss=2.5)
    run.log.write_text("".join(f"{written('line')} {number}\n" for number in range(50)))
    transcripts = Transcripts(run.path)
    transcripts.add(
        checkpoint_name(STEPS),
        ConversationStart(session="first"),
        ChatMessage(role="user", text=written("the cat")),
        ChatMessage(role="assistant", text=written(" sat on a mat")),
    )
    transcripts.close()
    notes = {100: written("warm-up is over")}
    change_annotations(
        run.path, lambda _: Annotations(tags=(written("baseline"),), note=written("the first one"), step_notes=notes)
    )
    return run


_NOT_WRITTEN = ("stage", "artifact", "path", "outcome", "level", "unit")
"""Fields of events with a path, or one of a few values."""


def _with_texts(event: AnyEvent, written: Callable[[str], str]) -> AnyEvent:
    names = [name for name in event.__struct_fields__ if name not in _NOT_WRITTEN]
    return replace(event, **{name: written(text) for name in names if isinstance(text := getattr(event, name), str)})
