"""A model begins with weights that others have trained: published ones, another run's, or a folder's."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from core.download import hub_model
from core.events import Event, Note
from core.model.gpt import GPT
from core.model.init_check import checkpoint, ensure_begun, ensure_whole, look
from core.model.tensors import ensure_finite, fill, from_gpt2, read_tensors
from core.recipe.init_spec import OfHub, OfRun, ensure_fit, meant, other_tokens, run_directory
from core.recipe.model_config import AS_GPT2, GPT2, MORE_ROWS, Weights, described, read_json, weight_files
from core.recipe.safetensors_header import contents
from core.recipe.schema import Model, Recipe
from core.storage.workspace import Workspace
from core.tokenize.encodings import byte_of_character
from core.tokenize.vocabulary import Vocabulary

READ_AHEAD = 2**30
"""Bytes of weights that are read to the last before there is any data: a few seconds."""


def start_from(recipe: Model, model: GPT, vocabulary: Vocabulary, workspace: Workspace) -> Generator[Event, None, None]:
    """Put the weights that `recipe.init` names into `model`, which is new; nothing where it names none.

    vocabulary: the tokens', which has to be the one the weights were trained with. Yields Progress in bytes while
    weights are fetched, and Notes. Raises InitError, VocabularyError, HubError.
    """
    if not recipe.init:
        return
    folder = yield from _folder(recipe.init, workspace)
    weights = described(folder)
    _ensure_vocabulary(weights, folder, vocabulary)
    ensure_fit(recipe, weights.shape)
    ensure_whole(recipe, weights, contents(weight_files(folder)), str(folder))
    tensors = read_tensors(weight_files(folder))
    hidden = weights.shape.objective == "masked"
    said = fill(
        model,
        from_gpt2(tensors) if weights.published else tensors,
        tokens=weights.vocabulary + hidden,
        where=str(folder),
    )
    if said:
        yield Note(level="warning", text=said)
    yield Note(text=f"began with the weights of {recipe.init} in {folder}")


def look_ahead(recipe: Recipe, workspace: Workspace) -> Generator[Event, None, None]:
    """Find what is wrong with the weights that `recipe` begins with, while nothing has been done for it yet.

    What can only be known once the tokens are there is found by `start_from`. Yields Progress while the hub is asked.
    Raises InitError, VocabularyError, HubError.
    """
    if not recipe.model.init:
        return
    origin = meant(recipe.model.init)
    if isinstance(origin, OfHub):
        ensure_begun(recipe, *(yield from hub_model.weight_headers(origin.repository, origin.revision)), workspace)
        return
    folder = look(recipe, workspace, verify=True)
    assert folder is not None
    weights = described(folder)
    if not weights.published:
        _own_vocabulary(weights, folder)
    files = weight_files(folder)
    if sum(file.stat().st_size for file in files) <= READ_AHEAD:
        ensure_finite(read_tensors(files), str(folder))


def _folder(init: str, workspace: Workspace) -> Generator[Event, None, Path]:
    origin = meant(init)
    if isinstance(origin, OfHub):
        return (yield from hub_model.download_weights(origin.repository, origin.revision))
    if isinstance(origin, OfRun):
        folder, damaged = checkpoint(run_directory(workspace, origin), origin.step, verify=True)
        for damage in damaged:
            yield Note(level="warning", text=f"passing over {damage}")
        return folder
    return origin


def _ensure_vocabulary(weights: Weights, folder: Path, tokens: Vocabulary) -> None:
    """Raises InitError where the tokens are numbers of other things than those the weights were trained on."""
    if weights.published:
        if tokens.name not in AS_GPT2:
            raise other_tokens(f"{tokens.name}, not GPT-2's", f"--set tokenize.vocabulary={GPT2}")
        if not 0 <= weights.vocabulary - tokens.size <= MORE_ROWS:
            what = f"theirs has {weights.vocabulary:,} entries, GPT-2's has {tokens.size:,}"
            raise other_tokens(
                what, "begin with weights that were trained with GPT-2's own vocabulary, such as hf:gpt2"
            )
        _ensure_gpt2(folder, tokens)
        return
    theirs = _own_vocabulary(weights, folder)
    if theirs.digest != tokens.digest:
        raise other_tokens(
            f"{_called(tokens)} here, {_called(theirs)} there",
            "take the text and the tokenize section that the weights were trained with; only a vocabulary that is not "
            f"learned from the text (bytes, {GPT2} and so on) is the same for any",
        )


def _ensure_gpt2(folder: Path, tokens: Vocabulary) -> None:
    """Raises InitError where the tokens that `transformers` keeps beside the weights are not GPT-2's."""
    file = folder / "vocab.json"
    if not file.is_file():
        return
    byte_of = byte_of_character()
    theirs = {id_: token for token, id_ in read_json(file, dict[str, int]).items()}
    for id_, ours in enumerate(tokens.ranks):
        if ours and bytes(byte_of.get(character, 0) for character in theirs.get(id_, "")) != ours:
            raise other_tokens(
                f"the vocab.json beside the weights is another one than GPT-2's, from token {id_:,} on",
                "begin with weights that were trained with GPT-2's own vocabulary, such as hf:gpt2",
            )


def _own_vocabulary(weights: Weights, folder: Path) -> Vocabulary:
    """The one that lies beside weights of ours. Raises VocabularyError, InitError where it cannot be theirs."""
    theirs = Vocabulary.load(folder / "vocabulary.json")
    if theirs.size != weights.vocabulary:
        what = f"model.json says {weights.vocabulary:,} entries, vocabulary.json has {theirs.size:,}"
        raise other_tokens(what, "bring back the vocabulary.json that was saved with the weights")
    return theirs


def _called(vocabulary: Vocabulary) -> str:
    return f"{vocabulary.name} of {vocabulary.size:,} entries ({vocabulary.digest[:8]})"
