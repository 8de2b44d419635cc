"""The order of the stages: what is up to date is skipped, what broke off goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from core import download, preprocess, tokenize
from core.artifact import Artifact, Damaged, Facts, InUse, Staging, fingerprint
from core.events import Event, Note, Progress, Sample, StageFinished, StageSkipped, StageStarted
from core.files import remove_tree
from core.model.device import Device
from core.model.weights import load_model
from core.preprocess.yardsticks import yardsticks
from core.recipe import Recipe
from core.tokenize.vocabulary import Vocabulary
from core.train import checkpoint as checkpoints
from core.train.commands import Commands
from core.train.trainer import Trainer, drawn, identify
from core.workspace import Workspace, name_from

SAMPLE_FORMAT = 1

Stage = Generator[Event, Any, Artifact]
"""Yields what it has to say, returns what it made. Only the trainer listens to what is sent in."""

Talk = Generator[Event, Commands | None, None]


def pipeline(recipe: Recipe, workspace: Workspace, run: Path, device: Device) -> Talk:
    """Build what `recipe` says, in the workspace's artifacts and in the directory `run`.

    Yields what the stages say. Commands sent in reach the trainer; closing it stops at a point to go on from.
    When the trainer was told to stop, the pipeline ends there. Raises the stages' Trouble.
    """
    name = name_from(Path(recipe.source.corpus).stem)

    def staging(stage: str, folder: str, version: int, part: Struct, source: str | Artifact) -> Staging:
        """Where a data stage works: what decides its result decides its directory's name."""
        made_from = {source.manifest.stage: source.fingerprint} if isinstance(source, Artifact) else {}
        content = source.content() if isinstance(source, Artifact) else source
        mark = fingerprint(stage, version, content, part)
        place = workspace.artifacts / folder / f"{name}-{mark}"
        return Staging(place, stage, mark, inputs=made_from, recipe=msgspec.to_builtins(part))

    documents = yield from _stage(
        staging("download", "documents", download.FORMAT, recipe.source, download.identify(recipe.source)),
        lambda out: download.download(recipe.source, out),
    )
    clean = yield from _stage(
        staging("preprocess", "clean", preprocess.FORMAT, recipe.preprocess, documents),
        lambda out: preprocess.preprocess(recipe.preprocess, documents, out),
    )
    tokens = yield from _stage(
        staging("tokenize", "tokens", tokenize.FORMAT, recipe.tokenize, clean),
        lambda out: tokenize.tokenize(recipe.tokenize, clean, out),
    )
    yield from yardsticks(clean)
    model = yield from _train(recipe, tokens, run / "checkpoints", device)
    if model is not None:
        mark = fingerprint("sample", SAMPLE_FORMAT, model.content(), recipe.sample)
        samples = Staging(run / "samples", "sample", mark, inputs={"train": model.fingerprint})
        yield from _stage(samples, lambda out: _sample(recipe, model, out))


def _stage(staging: Staging, make: Callable[[Staging], Stage]) -> Stage:
    """One stage: skipped when its artifact is there, waited for while another run makes it, else made."""
    waiting = False
    while True:
        present = _present(staging)
        if present is not None:
            yield StageSkipped(stage=staging.stage, artifact=str(present.path), facts=present.facts)
            return present
        if not waiting:
            yield StageStarted(stage=staging.stage)
        try:
            with staging.open() as out:
                artifact = yield from make(out)
            break
        except InUse:
            if not waiting:
                yield Note(text=f"waiting for another run that is at the same {staging.stage}")
            waiting = True
            yield Progress(done=0, total=None, unit="seconds")
            time.sleep(0.5)
    yield StageFinished(stage=staging.stage, artifact=str(artifact.path), facts=artifact.facts)
    return artifact


def _present(staging: Staging) -> Artifact | None:
    """The artifact, when it is there and whole; a damaged one is cleared away to be made again."""
    if not staging.final.exists():
        return None
    try:
        artifact = Artifact.open(staging.final)
    except Damaged:
        remove_tree(staging.final)
        return None
    return artifact if artifact.fingerprint == staging.fingerprint else None


def _train(
    recipe: Recipe, tokens: Artifact, directory: Path, device: Device
) -> Generator[Event, Commands | None, Artifact | None]:
    """The checkpoint to draw from when the training has finished, now or before; None when it was stopped."""
    done, _ = checkpoints.newest(directory)
    if done is not None and done.facts.get("finished") and done.fingerprint == identify(recipe, tokens):
        yield StageSkipped(stage="train", artifact=str(done.path), facts=_verdict(done))
        return done
    yield StageStarted(stage="train")
    trainer = Trainer(recipe, tokens, directory, device)
    yield from trainer.run()
    done, _ = checkpoints.newest(directory)
    if not trainer.state.finished or done is None:
        return None
    yield StageFinished(stage="train", artifact=str(done.path), facts=_verdict(done))
    return done


def _verdict(checkpoint: Artifact) -> Facts:
    """What a person wants to know of a finished training."""
    return {name: checkpoint.facts[name] for name in ("step", "loss", "bits_per_byte") if name in checkpoint.facts}


def _sample(recipe: Recipe, checkpoint: Artifact, out: Staging) -> Stage:
    """Draw one text for each prompt of the recipe from the finished model."""
    model = load_model(checkpoint.path)
    vocabulary = Vocabulary.load(checkpoint.path / "vocabulary.json")
    wanted = recipe.sample
    samples: list[Sample] = []
    for number, prompt in enumerate(wanted.prompts):
        yield Progress(done=number, total=len(wanted.prompts), unit="samples")
        sample = Sample(
            step=int(checkpoint.facts.get("step", 0)),
            prompt=prompt,
            text="",
            temperature=wanted.temperature,
            top_k=wanted.top_k,
            top_p=wanted.top_p,
            seed=wanted.seed,
        )
        samples.append(drawn(model, vocabulary, sample, wanted.tokens))
        yield samples[-1]
    data = b"".join(msgspec.json.encode(sample) + b"\n" for sample in samples)
    out.publish("samples.jsonl", lambda path: path.write_bytes(data))
    return out.finish({"samples": len(samples)})
