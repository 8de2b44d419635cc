"""Runs all stages in order; skips what is up to date and resumes what was interrupted.

Several processes can train together. Then one makes the data and draws the samples, and the others join it for the
training alone.
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
from core.train.sample_hook import generate_sample
from core.train.trainer import SINGLE_PROCESS, Trainer, training_fingerprint

SAMPLE_FORMAT = 1

Talk = Generator[Event, Commands | None, None]


def pipeline(
    recipe: Recipe, workspace: Workspace, run: Path, device: Device, group: ProcessGroup = SINGLE_PROCESS
) -> Talk:
    """Build what `recipe` says, in the workspace's artifacts and in the directory `run`.

    Yields what the stages say. Commands sent in reach the trainer; closing it stops it resumably.
    When the trainer is stopped, the pipeline ends there. Raises the stages' LlmtuiError.

    group: the processes that train together, each with a pipeline that it drives to its end. All but the first wait
    for the data, train, and have nothing to say that counts.
    """
    made = str((yield from _data(recipe, workspace, run)).path) if group.is_main else ""
    tokens = Artifact.open(Path(group.broadcast_text(made)))
    model = yield from _train(recipe, tokens, run / "checkpoints", device, group)
    if group.is_main and model is not None:
        mark = fingerprint("sample", SAMPLE_FORMAT, model.content_fingerprint(), recipe.sample)
        samples = Staging(run / "samples", "sample", mark, inputs={"train": model.fingerprint})
        yield from run_stage(samples, lambda out: _sample(recipe, model, out))


def _data(recipe: Recipe, workspace: Workspace, run: Path) -> Generator[Event, Commands | None, Artifact]:
    """The tokens to train on."""
    folders = checkpoint_paths(run / "checkpoints")
    if not folders:
        yield from check_initial_weights(recipe, workspace)
        folders = [found] if (found := find_weights(recipe, workspace)) else []
    pattern = vocabulary_pattern(folders if recipe.tokenize.vocabulary == "bpe" else ())
    prepared = yield from prepare(recipe, workspace, pattern=pattern)
    yield from compression_baselines.measure(prepared.clean)
    return prepared.tokens


def _train(
    recipe: Recipe, tokens: Artifact, directory: Path, device: Device, group: ProcessGroup
) -> Generator[Event, Commands | None, Artifact | None]:
    """The checkpoint to draw from when the training has finished, now or before; None when it was stopped."""
    done, _ = checkpoints.newest_checkpoint(directory)
    if done is not None and done.facts.get("finished") and done.fingerprint == training_fingerprint(recipe, tokens):
        yield StageSkipped(stage="train", artifact=str(done.path), facts=_verdict(done))
        return done
    yield StageStarted(stage="train")
    keep_freed_memory()  # not before: the data stages should give back what they no longer need
    trainer = Trainer(recipe, tokens, directory, device, group)
    yield from trainer.run()
    if not trainer.state.finished or not group.is_main:
        return None
    done, _ = checkpoints.newest_checkpoint(directory)
    if done is None:
        return None
    yield StageFinished(stage="train", artifact=str(done.path), facts=_verdict(done))
    return done


def _verdict(checkpoint: Artifact) -> Facts:
    """What a person wants to know of a finished training."""
    return {
        name: checkpoint.facts[name] for name in ("step", "loss", "bits_per_byte", "bound") if name in checkpoint.facts
    }


def _sample(recipe: Recipe, checkpoint: Artifact, out: Staging) -> Stage:
    """Draw one text for each prompt of the recipe from the finished model."""
    model = load_model(checkpoint.path)
    vocabulary = Vocabulary.load(checkpoint.path / "vocabulary.json")
    wanted = recipe.sample
    samples: list[GeneratedSample] = []
    for number, prompt in enumerate(wanted.prompts):
        yield Progress(done=number, total=len(wanted.prompts), unit="samples")
        sample = GeneratedSample(
            step=int(checkpoint.facts.get("step", 0)),
            prompt=prompt,
            text="",
            temperature=wanted.temperature,
            top_k=wanted.top_k,
            top_p=wanted.top_p,
            seed=wanted.seed,
        )
        samples.append(generate_sample(model, vocabulary, sample, wanted.sampling()))
        yield samples[-1]
    data = b"".join(msgspec.json.encode(sample) + b"\n" for sample in samples)
    out.publish("samples.jsonl", lambda path: path.write_bytes(data))
    return out.finish({"samples": len(samples)})
