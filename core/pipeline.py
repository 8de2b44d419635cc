"""Runs all stages in order; skips what is up to date and resumes what was interrupted.

Several processes can train together. Then the main process prepares the data and generates the samples; the others take
part in the training only.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import msgspec

from core.checkpoints import checkpoint_paths
from core.events import Event, GeneratedSample, Progress, StageFinished, StageSkipped, StageStarted
from core.init.check import find_weights
from core.init.weights import check_initial_weights
from core.jobs.prepare import Stage, prepare, run_stage
from core.model.device import Device, keep_freed_memory
from core.model.weights import load_model
from core.preprocess import compression_baselines
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact, Facts, Staging, fingerprint
from core.storage.workspace import Workspace
from core.tokenize import vocabulary_pattern
from core.tokenize.vocabulary import Vocabulary
from core.train import checkpoint as checkpoints
from core.train.commands import Commands
from core.train.distributed import ProcessGroup
from core.train.fingerprint import training_fingerprint
from core.train.sample_hook import generate_sample
from core.train.trainer import SINGLE_PROCESS, Trainer

SAMPLE_FORMAT = 1

PipelineEvents = Generator[Event, Commands | None, None]
"""Yields events; accepts commands for the trainer."""


def pipeline(
    recipe: Recipe,
    workspace: Workspace,
    run: Path,
    device: Device,
    group: ProcessGroup = SINGLE_PROCESS,
    *,
    stop_at: float = 1.0,
) -> PipelineEvents:
    """Run the stages of `recipe`: artifacts in the workspace, checkpoints and samples in the run directory `run`.

    Yields the events of the stages. Commands that are sent in go to the trainer; closing the generator stops it so that
    it can be resumed. When the trainer is stopped, the pipeline ends. Raises the stages' LlmtuiError.

    group: the processes that train together; each runs this generator to its end. All but the main process wait for
    the data and train; their events are to be ignored. stop_at: see `Trainer`.
    """
    path = str((yield from _data(recipe, workspace, run)).path) if group.is_main else ""
    tokens = Artifact.open(Path(group.broadcast_text(path)))
    model = yield from _train(recipe, tokens, run / "checkpoints", device, group, stop_at)
    if group.is_main and model is not None:
        sample_fingerprint = fingerprint("sample", SAMPLE_FORMAT, model.content_fingerprint(), recipe.sample)
        samples = Staging(run / "samples", "sample", sample_fingerprint, inputs={"train": model.fingerprint})
        yield from run_stage(samples, lambda out: _sample(recipe, model, out))


def _data(recipe: Recipe, workspace: Workspace, run: Path) -> Generator[Event, Commands | None, Artifact]:
    """Prepare the token shards to train on."""
    folders = checkpoint_paths(run / "checkpoints")
    if not folders:
        yield from check_initial_weights(recipe, workspace)
        folders = [weights] if (weights := find_weights(recipe, workspace)) else []
    pattern = vocabulary_pattern(folders if recipe.tokenize.vocabulary == "bpe" else ())
    prepared = yield from prepare(recipe, workspace, pattern=pattern)
    yield from compression_baselines.measure(prepared.clean)
    return prepared.tokens


def _train(
    recipe: Recipe, tokens: Artifact, directory: Path, device: Device, group: ProcessGroup, stop_at: float
) -> Generator[Event, Commands | None, Artifact | None]:
    """Train. Returns the newest checkpoint, or None if the training was stopped or this is not the main process."""
    newest, _ = checkpoints.newest_checkpoint(directory)
    if (
        newest is not None
        and newest.facts.get("finished")
        and newest.fingerprint == training_fingerprint(recipe, tokens)
    ):
        yield StageSkipped(stage="train", artifact=str(newest.path), facts=_result_facts(newest))
        return newest
    yield StageStarted(stage="train")
    keep_freed_memory()  # not earlier: the data stages should return memory to the system
    trainer = Trainer(recipe, tokens, directory, device, group, stop_at=stop_at)
    yield from trainer.run()
    if not trainer.state.finished or not group.is_main:
        return None
    newest, _ = checkpoints.newest_checkpoint(directory)
    if newest is None:
        return None
    yield StageFinished(stage="train", artifact=str(newest.path), facts=_result_facts(newest))
    return newest


def _result_facts(checkpoint: Artifact) -> Facts:
    """The facts of a checkpoint that sum up the training."""
    return {
        name: checkpoint.facts[name] for name in ("step", "loss", "bits_per_byte", "bound") if name in checkpoint.facts
    }


def _sample(recipe: Recipe, checkpoint: Artifact, out: Staging) -> Stage:
    """Generate one text for each prompt of the recipe with the finished model."""
    model = load_model(checkpoint.path)
    vocabulary = Vocabulary.load(checkpoint.path / "vocabulary.json")
    settings = recipe.sample
    samples: list[GeneratedSample] = []
    for number, prompt in enumerate(settings.prompts):
        yield Progress(done=number, total=len(settings.prompts), unit="samples")
        sample = GeneratedSample(
            step=int(checkpoint.facts.get("step", 0)),
            prompt=prompt,
            text="",
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            seed=settings.seed,
        )
        samples.append(generate_sample(model, vocabulary, sample, settings.sampling()))
        yield samples[-1]
    data = b"".join(msgspec.json.encode(sample) + b"\n" for sample in samples)
    out.publish("samples.jsonl", lambda path: path.write_bytes(data))
    return out.finish({"samples": len(samples)})
