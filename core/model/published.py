"""A model begins with weights that others have trained: published ones, another run's, or a folder's."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from core.artifact import Artifact, Damaged
from core.download.hub_model import fetch
from core.events import Event, Note
from core.model.gpt import GPT
from core.model.tensors import fill, from_gpt2, read_tensors
from core.model_folder import AS_GPT2, GPT2, BadStart, Weights, described, weight_files
from core.recipe import Model
from core.start import OfHub, OfRun, ensure_fit, meant, other_tokens, run_directory
from core.tokenize.vocabulary import Vocabulary
from core.workspace import Workspace


def start_from(recipe: Model, model: GPT, vocabulary: Vocabulary, workspace: Workspace) -> Generator[Event, None, None]:
    """Put the weights that `recipe.init` names into `model`, which is new; nothing where it names none.

    vocabulary: the tokens', which has to be the one the weights were trained with. Yields Progress in bytes while
    weights are fetched, and Notes. Raises BadStart, BadWeights, HubTrouble.
    """
    if not recipe.init:
        return
    folder = yield from _folder(recipe.init, workspace)
    weights = described(folder)
    _ensure_vocabulary(weights, folder, vocabulary)
    ensure_fit(recipe, weights.shape)
    tensors = read_tensors(weight_files(folder))
    hidden = weights.shape.objective == "masked"
    fill(
        model,
        from_gpt2(tensors) if weights.published else tensors,
        tokens=weights.vocabulary + hidden,
        where=str(folder),
    )
    yield Note(text=f"began with the weights of {recipe.init} in {folder}")


def _folder(init: str, workspace: Workspace) -> Generator[Event, None, Path]:
    origin = meant(init)
    if isinstance(origin, OfHub):
        return (yield from fetch(origin.repository, origin.revision))
    if isinstance(origin, OfRun):
        return (yield from _checkpoint(run_directory(workspace, origin.name), origin.step))
    return origin


def _checkpoint(run: Path, step: int | None) -> Generator[Event, None, Path]:
    """The checkpoint of that step, or the whole one of the lowest loss on the validation slice."""
    found: list[tuple[float, Path]] = []
    for path in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        if step is not None and path.name != f"step-{step:08d}":
            continue
        try:
            loss = float(Artifact.open(path, verify=True).facts.get("slice_loss", float("inf")))
        except Damaged as damage:
            yield Note(level="warning", text=f"passing over {path.name} of {run.name}: {damage.what}")
            continue
        found.append((loss, path))
    if not found:
        which = f"of step {step:,}" if step is not None else "that can be read"
        kept = ", ".join(path.name for path in sorted((run / "checkpoints").glob("step-*"))) or "none"
        raise BadStart(f"it has no checkpoint {which}", where=run.name, todo=f"there are: {kept}")
    return min(found, key=lambda pair: pair[0])[1]


def _ensure_vocabulary(weights: Weights, folder: Path, tokens: Vocabulary) -> None:
    """Raises BadStart where the tokens are numbers of other things than those the weights were trained on."""
    if weights.published:
        if tokens.name not in AS_GPT2:
            raise other_tokens(f"{tokens.name}, not GPT-2's", f"--set tokenize.vocabulary={GPT2}")
        if weights.vocabulary != tokens.size:
            what = f"theirs has {weights.vocabulary:,} entries, GPT-2's has {tokens.size:,}"
            raise other_tokens(
                what, "begin with weights that were trained with GPT-2's own vocabulary, such as hf:gpt2"
            )
        return
    theirs = Vocabulary.load(folder / "vocabulary.json")
    if theirs.digest != tokens.digest:
        raise other_tokens(
            f"{_called(tokens)} here, {_called(theirs)} there",
            "take the text and the tokenize section that the weights were trained with; only a vocabulary that is not "
            f"learned from the text (bytes, {GPT2} and so on) is the same for any",
        )


def _called(vocabulary: Vocabulary) -> str:
    return f"{vocabulary.name} of {vocabulary.size:,} entries ({vocabulary.digest[:8]})"
