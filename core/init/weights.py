"""Loads initial weights into a model: published ones, those of another run, or a folder's."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

from torch import Tensor

from core.events import Event, Note
from core.init import hub
from core.init.check import check_tensors, check_weights, find_checkpoint, find_weights, has_vocabulary, no_vocabulary
from core.init.compat import check_config, wrong_vocabulary
from core.init.config import ModelConfig, read_config, read_json, weight_files
from core.init.gpt2 import GPT2, GPT2_VOCABULARIES, MAX_EXTRA_ROWS
from core.init.resolve import find_run_directory
from core.init.safetensors_header import read_headers
from core.init.spec import HubModel, RunCheckpoint, parse_init
from core.init.tensors import check_finite, copy_into, read_tensors, read_transformers
from core.model.gpt import GPT
from core.recipe.schema import Model, Recipe
from core.storage.workspace import Workspace
from core.tokenize.encodings import byte_by_character
from core.tokenize.vocabulary import Vocabulary

CHECKED_BYTES = 2**30
"""Size of weights up to which every number is checked before any data is prepared: a few seconds."""


def load_initial_weights(
    recipe: Model, model: GPT, vocabulary: Vocabulary, workspace: Workspace
) -> Generator[Event, None, None]:
    """Load the weights that `recipe.init` names into the new `model`; does nothing where it is empty.

    vocabulary: of the tokens to train on; must be the one the weights were trained with. Yields Progress in bytes while
    weights are downloaded, and Notes. Raises InitError, VocabularyError, HubError.
    """
    if not recipe.init:
        return
    folder = yield from _folder(recipe.init, workspace)
    config = read_config(folder)
    _check_vocabulary(config, folder, vocabulary)
    check_config(recipe, config.model)
    check_tensors(recipe, config, read_headers(weight_files(folder)), str(folder))
    has_mask_token = config.model.objective == "masked"
    warning = copy_into(
        model,
        _tensors(config, folder),
        tokens=config.vocab_size + has_mask_token,
        where=str(folder),
    )
    if warning:
        yield Note(level="warning", text=warning)
    yield Note(text=f"initialised with the weights of {recipe.init} in {folder}")


def check_initial_weights(recipe: Recipe, workspace: Workspace) -> Generator[Event, None, None]:
    """Check the initial weights of `recipe` before any data is prepared.

    What depends on the tokens is checked by `load_initial_weights`. Yields Progress while the hub is contacted.
    Raises InitError, VocabularyError, HubError.
    """
    if not recipe.model.init:
        return
    source = parse_init(recipe.model.init)
    if isinstance(source, HubModel):
        check_weights(recipe, *(yield from hub.weight_headers(source.repository, source.revision)), workspace)
        return
    folder = find_weights(recipe, workspace, verify=True)
    assert folder is not None
    config = read_config(folder)
    if has_vocabulary(folder):
        _stored_vocabulary(config, folder)
    files = weight_files(folder)
    if sum(file.stat().st_size for file in files) <= CHECKED_BYTES:
        check_finite(_tensors(config, folder), str(folder))


def _tensors(config: ModelConfig, folder: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors in `folder` under our names."""
    files = weight_files(folder)
    return read_transformers(config, files, str(folder)) if config.architecture else read_tensors(files)


def _folder(init: str, workspace: Workspace) -> Generator[Event, None, Path]:
    source = parse_init(init)
    if isinstance(source, HubModel):
        return (yield from hub.download_weights(source.repository, source.revision))
    if isinstance(source, RunCheckpoint):
        folder, damaged = find_checkpoint(find_run_directory(workspace, source), source.step, verify=True)
        for damage in damaged:
            yield Note(level="warning", text=f"passing over {damage}")
        return folder
    return source


def _check_vocabulary(config: ModelConfig, folder: Path, vocabulary: Vocabulary) -> None:
    """Raises InitError where token ids have another meaning than those the weights were trained on."""
    if not has_vocabulary(folder):
        if not config.published_gpt2:
            raise no_vocabulary(folder)
        if vocabulary.name not in GPT2_VOCABULARIES:
            raise wrong_vocabulary(f"{vocabulary.name}, not GPT-2's", f"--set tokenize.vocabulary={GPT2}")
        if not 0 <= config.vocab_size - vocabulary.size <= MAX_EXTRA_ROWS:
            what = f"theirs has {config.vocab_size:,} entries, GPT-2's has {vocabulary.size:,}"
            raise wrong_vocabulary(
                what, "start from weights that were trained with GPT-2's own vocabulary, such as hf:gpt2"
            )
        _check_vocab_json(folder, vocabulary)
        return
    theirs = _stored_vocabulary(config, folder)
    if theirs.digest != vocabulary.digest:
        raise wrong_vocabulary(
            f"{_described(vocabulary)} here, {_described(theirs)} there",
            "take the text and the tokenize section that the weights were trained with; only a vocabulary that is not "
            f"learned from the text (bytes, {GPT2} and so on) is the same for any",
        )


def _check_vocab_json(folder: Path, vocabulary: Vocabulary) -> None:
    """Raises InitError where the vocab.json of `transformers` next to the weights, if any, is not GPT-2's."""
    file = folder / "vocab.json"
    if not file.is_file():
        return
    byte_of = byte_by_character()
    theirs = {id_: token for token, id_ in read_json(file, dict[str, int]).items()}
    for id_, token_bytes in enumerate(vocabulary.ranks):
        if token_bytes and bytes(byte_of.get(character, 0) for character in theirs.get(id_, "")) != token_bytes:
            raise wrong_vocabulary(
                f"the vocab.json beside the weights is another one than GPT-2's, from token {id_:,} on",
                "start from weights that were trained with GPT-2's own vocabulary, such as hf:gpt2",
            )


def _stored_vocabulary(config: ModelConfig, folder: Path) -> Vocabulary:
    """The vocabulary.json next to weights of ours. Raises VocabularyError; InitError where the sizes differ."""
    theirs = Vocabulary.load(folder / "vocabulary.json")
    if theirs.size != config.vocab_size:
        what = f"model.json says {config.vocab_size:,} entries, vocabulary.json has {theirs.size:,}"
        raise wrong_vocabulary(what, "bring back the vocabulary.json that was saved with the weights")
    return theirs


def _described(vocabulary: Vocabulary) -> str:
    return f"{vocabulary.name} of {vocabulary.size:,} entries ({vocabulary.digest[:8]})"
