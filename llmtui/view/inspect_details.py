"""Tables of a model's internals: attention weights, logit lens, surprisal of tokens, parameters and weights."""

from __future__ import annotations

from collections.abc import Sequence

from core.plural import plural
from core.sample.inspect_protocol import (
    AttentionWeights,
    LogitLens,
    ModelPart,
    ModelSummary,
    PredictedToken,
    TokenInfo,
    TokenSurprisal,
)
from llmtui.view.inspect_tables import NOT_FINITE, Rows, aligned_table, bar, decimal, percent, token_label
from llmtui.view.plan_text import parts, shape
from llmtui.view.units import count

LEVELS = " ▁▂▃▄▅▆▇█"
"""Attention weights 0 to 1, in steps of 1/8."""


def attention_table(result: AttentionWeights, tokens: Sequence[TokenInfo], width: int) -> str:
    """A row per query position. tokens: those of the key positions, from the first column on. If `width` is too
    small, the first key positions are left out."""
    shown = max(21, width - 57)
    rows: Rows = [("POSITION", "TOKEN", "WEIGHT PER POSITION", "LARGEST")]
    first = result.first + len(tokens) - len(result.weights)
    for position, row in enumerate(result.weights, first):
        token = tokens[position - result.first]
        best = max(range(len(row)), key=lambda index: row[index] or 0.0)
        cells = "".join(LEVELS[min(8, round(8 * (weight or 0.0)))] for weight in row[-shown:])
        rows.append((str(position), token_label(token), cells, f"{token_label(tokens[best])} {percent(row[best])}"))
    return aligned_table(rows, left=(1, 2, 3))


def lens_table(result: Sequence[LogitLens], width: int) -> str:
    """The most probable next tokens after each layer, as many as fit `width`."""
    most = min(max(len(lens.tokens) for lens in result), max(1, (width - 30) // 21))
    rows: Rows = [("AFTER", *(f"TOP {n}" for n in range(1, most + 1)), "SAMPLED", "RANK")]
    for lens in result:
        predictions = [*map(_prediction, lens.tokens), *[""] * most][:most]
        layer = f"layer {lens.layer}" if lens.layer else "embedding"
        rank = NOT_FINITE if lens.rank is None else f"{lens.rank:,}"
        rows.append((layer, *predictions, percent(lens.probability), rank))
    return aligned_table(rows, left=(0,))


def _prediction(predicted: PredictedToken) -> str:
    return f"{token_label(predicted.token, 13)} {percent(predicted.probability):>5}"


def surprisal_table(result: Sequence[TokenSurprisal]) -> str:
    """Surprisal of each token of a text in bits, their mean and sum."""
    rows: Rows = [("POSITION", "TOKEN", "BITS", "", "RANK", "ENTROPY", "PREDICTED")]
    most = max((one.bits or 0.0 for one in result), default=0.0)
    for one in result:
        rank = NOT_FINITE if one.rank is None else f"{one.rank:,}"
        figure = bar(one.bits / most, 7) if one.bits and most else ""
        guess = _prediction(one.predicted) if one.predicted else ""
        rows.append(
            (
                str(one.position),
                token_label(one.token, 12),
                decimal(one.bits),
                figure,
                rank,
                decimal(one.entropy),
                guess,
            )
        )
    bits = [one.bits for one in result if one.bits is not None]
    if bits:
        entropies = [one.entropy for one in result if one.entropy is not None]
        mean = (
            "",
            f"mean of {len(bits):,}",
            decimal(sum(bits) / len(bits)),
            "",
            "",
            decimal(sum(entropies) / len(bits)),
        )
        rows += [(*mean, ""), ("", "sum", decimal(sum(bits)), "", "", "", "")]
    return aligned_table(rows, left=(1, 3))


def summary_table(result: ModelSummary) -> str:
    """Architecture, FLOPs per token and parameters."""
    model, total = result.model, result.parameters.total
    rows: Rows = [
        ("model", f"{model.objective}, {shape(model)}"),
        ("context", f"{plural(model.block_size, 'token')}, {model.positions} positions"),
        ("layers", f"{model.norm} norm, {model.activation}" + (", norm of queries and keys" if model.qk_norm else "")),
        ("vocabulary", plural(result.vocabulary, "entry")),
        ("FLOPs", f"{count(result.forward_flops_per_token)} per token, forward"),
        ("parameters", f"{total:,}"),
    ]
    rows += [("", f"{name:<16}{size:>15,}{size / total:>8.1%}") for name, size in parts(result.parameters)]
    return aligned_table(rows, left=(0, 1))


def weights_table(result: Sequence[ModelPart]) -> str:
    """The weights in the order of the forward pass, and their total size."""
    rows: Rows = [("WEIGHT", "SHAPE", "PARAMETERS", "NORM", "RMS", "DTYPE")]
    weights = [weight for part in result for weight in part.weights]
    for weight in weights:
        name = weight.name.removesuffix(".weight")
        shape = " × ".join(f"{dimension:,}" for dimension in weight.size)
        if weight.tied_to:
            rows.append((name, shape, "", "", "", "tied"))
        else:
            rows.append(
                (
                    name,
                    shape,
                    f"{weight.parameters:,}",
                    _significant(weight.norm),
                    _significant(weight.rms),
                    weight.dtype,
                )
            )
    rows.append(("sum", "", f"{sum(weight.parameters for weight in weights):,}", "", "", ""))
    return aligned_table(rows, left=(0, 5))


def _significant(value: float | None) -> str:
    return NOT_FINITE if value is None else f"{value:.4g}"
