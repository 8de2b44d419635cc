"""Whether a model can start from initial weights, checked without reading their numbers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.checkpoints import checkpoint_paths, select_checkpoint
from core.init.compat import check_config, check_vocabulary, wrong_vocabulary
from core.init.config import ModelConfig, read_config, weight_files
from core.init.gpt2 import MAX_EXTRA_ROWS
from core.init.names import imported_headers
from core.init.resolve import find_run_directory, implied_tables
from core.init.safetensors_header import TensorInfo, read_headers
from core.init.spec import HubModel, InitError, RunCheckpoint, parse_init
from core.model.count import tensor_shapes
from core.recipe.schema import Model, Recipe
from core.storage.workspace import Workspace
from core.vocab.sizes import expected_size

TOKEN_ROWS = ("wte.weight", "lm_head.weight")
"""Tensors with a row for each token."""


def find_weights(recipe: Recipe, workspace: Workspace, *, verify: bool = False) -> Path | None:
    """The local folder with the initial weights of `recipe`, after checking that they fit.

    None without initial weights and for those of the hub, which is not contacted. verify: compare the digests of a
    run's checkpoint. Raises InitError.
    """
    if not recipe.model.init:
        return None
    source = parse_init(recipe.model.init)
    if isinstance(source, HubModel):
        return None
    if isinstance(source, RunCheckpoint):
        source, _ = find_checkpoint(find_run_directory(workspace, source), source.step, verify=verify)
    check_weights(recipe, source, read_headers(weight_files(source)), workspace)
    return source


def find_checkpoint(run: Path, step: int | None, *, verify: bool = False) -> tuple[Path, list[str]]:
    """The checkpoint of that step or, for None, the best one; and the damaged ones that were skipped.

    verify: compare the digests of its files. Raises InitError if there is none.
    """
    checkpoints = run / "checkpoints"
    selected, skipped = select_checkpoint(checkpoints, "best" if step is None else step, verify=verify)
    if selected is None:
        which = f"of step {step:,}" if step is not None else "that can be read"
        available = ", ".join(path.name for path in reversed(checkpoint_paths(checkpoints))) or "none"
        raise InitError(f"it has no checkpoint {which}", where=run.name, todo=f"there are: {available}")
    return selected.path, [f"{damaged.path.name} of {run.name}: {damaged.error.what}" for damaged in skipped]


def check_weights(recipe: Recipe, folder: Path, found: Mapping[str, TensorInfo], workspace: Workspace) -> None:
    """Raises InitError where the weights in `folder`, whose files contain the tensors `found`, do not fit `recipe`."""
    config = read_config(folder)
    if not has_vocabulary(folder) and not config.published_gpt2:
        raise no_vocabulary(folder)
    check_config(recipe.model, config.model)
    check_vocabulary(recipe, implied_tables(str(folder), workspace))
    entries, unsure = expected_size(recipe.tokenize)
    fewer = recipe.tokenize.vocabulary == "bpe" and entries < config.vocab_size
    extra = config.vocab_size - entries if not has_vocabulary(folder) else 0
    if fewer or (entries != config.vocab_size and not unsure and not 0 < extra <= MAX_EXTRA_ROWS):
        what = f"{recipe.tokenize.vocabulary} of {entries:,} entries here, {config.vocab_size:,} there"
        raise wrong_vocabulary(what, "take the tokenize section that the weights were trained with")
    check_tensors(recipe.model, config, found, str(folder))


def has_vocabulary(folder: Path) -> bool:
    """Whether a vocabulary of llmtui is beside the weights."""
    return (folder / "vocabulary.json").is_file()


def no_vocabulary(folder: Path) -> InitError:
    """The error for weights whose vocabulary is unknown."""
    return InitError(
        "there is no vocabulary.json in it, which says what its tokens are",
        where=str(folder),
        todo="`llmtui export` and checkpoints have one; a tokenizer of other programs cannot be trained on, except "
        "GPT-2's",
    )


def check_tensors(model: Model, config: ModelConfig, found: Mapping[str, TensorInfo], where: str) -> None:
    """Raises InitError where a tensor that `model` needs is missing from `found`, unknown, or of another size.

    Of a tensor with a row for each token, the rows of both vocabularies are needed; of learned positions those of
    `model`. An untied head may be missing where the weights have theirs tied: it starts as the embedding.
    """
    expected_shapes = tensor_shapes(model, config.vocab_size)
    theirs = config.architecture
    if theirs is not None:
        found = imported_headers(config.mappings, found, theirs)
    head = TOKEN_ROWS[1]
    if not config.model.tie_embeddings and head not in found:
        file, field = ("config.json", "tie_word_embeddings") if theirs else ("model.json", "tied_head")
        raise InitError(
            f"the weights have an untied head ({field} is false in {file}), but {head} is missing",
            where=where,
            todo="add the file that has it, or set it to true if the head is the embedding",
        )
    missing = [name for name in expected_shapes if name not in found and name != head and name not in config.zeros]
    unknown = [name for name in found if name not in expected_shapes and name != head]
    if missing or unknown:
        clauses = [f"{word} {_listed(names)}" for word, names in (("without", missing), ("with", unknown)) if names]
        raise InitError(f"the weights do not fit the model: they come {' and '.join(clauses)}", where=where)
    masked = config.model.objective == model.objective == "masked"
    for name, size in expected_shapes.items():
        if name not in found:
            continue
        info, needed = found[name], (config.vocab_size + masked, *size[1:]) if name in TOKEN_ROWS else size
        longer = name in (*TOKEN_ROWS, "wpe.weight") and info.size[:1] > needed[:1]
        if info.size[1:] != needed[1:] or (info.size[:1] != needed[:1] and not longer):
            raise InitError(f"{name} has the shape {info.size} where {needed} is needed", where=where)
        if not info.floating:
            raise not_finite(name, where)


def not_finite(name: str, where: str) -> InitError:
    """The error for a tensor with NaN or infinity, or of integers."""
    return InitError(f"{name} does not hold finite numbers", where=where)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
