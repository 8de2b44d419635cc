"""Whether a model can begin with what `model.init` names, seen without reading the weights. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from core.checkpoints import checkpoint_paths, select_checkpoint
from core.model.count import tensors
from core.recipe.init_spec import OfHub, OfRun, ensure_fit, ensure_tokens, implied, meant, other_tokens, run_directory
from core.recipe.model_config import MORE_ROWS, InitError, Weights, described, weight_files
from core.recipe.safetensors_header import Kept, contents
from core.recipe.schema import Model, Recipe
from core.storage.workspace import Workspace
from core.vocab.sizes import expected

TOKENS = ("wte.weight", "lm_head.weight")
"""A row for each token."""
TURNED = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight\Z")
"""Kept as (in, out) by GPT-2's Conv1D, as (out, in) here."""
_PREFIX = "transformer."
_BUFFERS = re.compile(r"h\.\d+\.attn\.(masked_)?bias\Z")
"""The causal mask and its filling, which older files carry along."""


def look(recipe: Recipe, workspace: Workspace, *, verify: bool = False) -> Path | None:
    """The folder with the weights that `recipe` begins with, where it is here and the weights fit.

    None where nothing is begun with, or with what the hub has, which is not asked. verify: whether every byte of a
    run's checkpoints is compared with its digest. Raises InitError.
    """
    if not recipe.model.init:
        return None
    origin = meant(recipe.model.init)
    if isinstance(origin, OfHub):
        return None
    if isinstance(origin, OfRun):
        origin, _ = checkpoint(run_directory(workspace, origin), origin.step, verify=verify)
    ensure_begun(recipe, origin, contents(weight_files(origin)), workspace)
    return origin


def checkpoint(run: Path, step: int | None, *, verify: bool = False) -> tuple[Path, list[str]]:
    """The checkpoint of that step or, for None, the best one; and the damaged ones that were skipped.

    verify: compare the digests of its files. Raises InitError if there is none.
    """
    checkpoints = run / "checkpoints"
    selected, skipped = select_checkpoint(checkpoints, "best" if step is None else step, verify=verify)
    if selected is None:
        which = f"of step {step:,}" if step is not None else "that can be read"
        kept = ", ".join(path.name for path in reversed(checkpoint_paths(checkpoints))) or "none"
        raise InitError(f"it has no checkpoint {which}", where=run.name, todo=f"there are: {kept}")
    return selected.path, [f"{damaged.path.name} of {run.name}: {damaged.error.what}" for damaged in skipped]


def ensure_begun(recipe: Recipe, folder: Path, found: Mapping[str, Kept], workspace: Workspace) -> None:
    """Raises InitError where the weights that `folder` describes, whose files have `found`, are not for this recipe."""
    weights = described(folder)
    if not weights.published and not (folder / "vocabulary.json").is_file():
        raise InitError("there is no vocabulary.json in it, which says what its tokens are", where=str(folder))
    ensure_fit(recipe.model, weights.shape)
    ensure_tokens(recipe, implied(str(folder), workspace))
    entries, unsure = expected(recipe.tokenize)
    fewer = recipe.tokenize.vocabulary == "bpe" and entries < weights.vocabulary
    more = weights.vocabulary - entries if weights.published else 0
    if fewer or (entries != weights.vocabulary and not unsure and not 0 < more <= MORE_ROWS):
        what = f"{recipe.tokenize.vocabulary} of {entries:,} entries here, {weights.vocabulary:,} there"
        raise other_tokens(what, "take the tokenize section that the weights were trained with")
    ensure_whole(recipe.model, weights, found, str(folder))


def ensure_whole(model: Model, weights: Weights, found: Mapping[str, Kept], where: str) -> None:
    """Raises InitError where a tensor that `model` needs is missing from `found`, unknown, or of another size.

    Of a row for each token as many are needed as stand for something in both; of learned positions those that the
    model has. A head of its own may be missing where the weights have theirs tied: it begins as the embedding.
    """
    wanted = tensors(model, weights.vocabulary)
    if weights.published:
        found = {ours: _turned(ours, kept) for name, kept in found.items() if (ours := our_name(name))}
    head = TOKENS[1]
    if not weights.shape.tied_head and head not in found:
        file, field = ("config.json", "tie_word_embeddings") if weights.published else ("model.json", "tied_head")
        raise InitError(
            f"the weights have a head of their own ({field} is false in {file}), but {head} is missing",
            where=where,
            todo="bring the file that has it; or say true there, if the head really is the embedding",
        )
    missing = [name for name in wanted if name not in found and name != head]
    unknown = [name for name in found if name not in wanted and name != head]
    if missing or unknown:
        clauses = [f"{word} {_some(names)}" for word, names in (("without", missing), ("with", unknown)) if names]
        raise InitError(f"the weights do not fit the model: they come {' and '.join(clauses)}", where=where)
    masked = weights.shape.objective == model.objective == "masked"
    for name, size in wanted.items():
        if name not in found:
            continue
        kept, needed = found[name], (weights.vocabulary + masked, *size[1:]) if name in TOKENS else size
        longer = name in (*TOKENS, "wpe.weight") and kept.size[:1] > needed[:1]
        if kept.size[1:] != needed[1:] or (kept.size[:1] != needed[:1] and not longer):
            raise InitError(f"{name} has the shape {kept.size} where {needed} is needed", where=where)
        if not kept.floating:
            raise not_finite(name, where)


def not_finite(name: str, where: str) -> InitError:
    return InitError(f"{name} does not hold finite numbers", where=where)


def our_name(published: str) -> str:
    """What a tensor of a published GPT-2 is called here; empty for one that is no weight."""
    name = published.removeprefix(_PREFIX)
    return "" if _BUFFERS.match(name) else name


def _turned(name: str, kept: Kept) -> Kept:
    return kept._replace(size=kept.size[::-1]) if TURNED.match(name) and len(kept.size) == 2 else kept


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
