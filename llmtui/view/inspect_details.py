"""What is seen inside a model, as text for people: its heads, its layers, its surprise, its weights."""

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
from llmtui.view.inspect_tables import NO_FIGURE, Rows, bar, figures, named, number, share
from llmtui.view.plan_text import parts, shape
from llmtui.view.units import count

LEVELS = " ▁▂▃▄▅▆▇█"
"""From nothing to all."""


def attention_table(seen: AttentionWeights, tokens: Sequence[TokenInfo], width: int) -> str:
    """tokens: those of the places, from the first column on. The columns that do not fit `width` are those furthest
    back."""
    shown = max(21, width - 54)
    rows: Rows = [("PLACE", "TOKEN", "TAKES FROM EACH PLACE", "MOST FROM")]
    first = seen.first + len(tokens) - len(seen.weights)
    for place, row in enumerate(seen.weights, first):
        token = tokens[place - seen.first]
        best = max(range(len(row)), key=lambda at: row[at] or 0.0)
        cells = "".join(LEVELS[min(8, round(8 * (weight or 0.0)))] for weight in row[-shown:])
        rows.append((str(place), named(token), cells, f"{named(tokens[best])} {share(row[best])}"))
    return figures(rows, left=(1, 2, 3))


def lens_table(seen: Sequence[LogitLens], width: int) -> str:
    """What each layer would have said, as many guesses as fit `width`."""
    most = min(max(len(lens.tokens) for lens in seen), max(1, (width - 30) // 21))
    rows: Rows = [("BEHIND", *(f"GUESS {n}" for n in range(1, most + 1)), "TAKEN AT", "RANK")]
    for lens in seen:
        guesses = [*map(_guessed, lens.tokens), *[""] * most][:most]
        layer = f"layer {lens.layer}" if lens.layer else "embedding"
        rows.append((layer, *guesses, share(lens.probability), NO_FIGURE if lens.rank is None else f"{lens.rank:,}"))
    return figures(rows, left=(0,))


def _guessed(guess: PredictedToken) -> str:
    return f"{named(guess.token, 13)} {share(guess.probability):>5}"


def surprise_table(seen: Sequence[TokenSurprisal]) -> str:
    """How surprised the model is by each token of a text, and by all of it."""
    rows: Rows = [("PLACE", "TOKEN", "BITS", "", "RANK", "ENTROPY", "EXPECTED")]
    most = max((one.bits or 0.0 for one in seen), default=0.0)
    for one in seen:
        rank = NO_FIGURE if one.rank is None else f"{one.rank:,}"
        figure = bar(one.bits / most, 10) if one.bits and most else ""
        guess = _guessed(one.predicted) if one.predicted else ""
        rows.append(
            (str(one.position), named(one.token, 12), number(one.bits), figure, rank, number(one.entropy), guess)
        )
    known = [one.bits for one in seen if one.bits is not None]
    if known:
        open_to = [one.entropy for one in seen if one.entropy is not None]
        mean = (
            "",
            f"mean of {len(known):,}",
            number(sum(known) / len(known)),
            "",
            "",
            number(sum(open_to) / len(known)),
        )
        rows += [(*mean, ""), ("", "sum", number(sum(known)), "", "", "", "")]
    return figures(rows, left=(1, 3))


def shape_table(seen: ModelSummary) -> str:
    """The model as a whole."""
    model, total = seen.model, seen.parameters.total
    rows: Rows = [
        ("model", f"{model.objective}, {shape(model)}"),
        ("context", f"{plural(model.block_size, 'token')}, {model.positions} positions"),
        ("parts", f"{model.norm} norm, {model.activation}" + (", norm of queries and keys" if model.qk_norm else "")),
        ("vocabulary", plural(seen.vocabulary, "entry")),
        ("work", f"{count(seen.forward_flops_per_token)} FLOP a token, forward"),
        ("parameters", f"{total:,}"),
    ]
    rows += [("", f"{name:<16}{number:>15,}{number / total:>8.1%}") for name, number in parts(seen.parameters)]
    return figures(rows, left=(0, 1))


def weights_table(seen: Sequence[ModelPart]) -> str:
    """Each weight, in the order of the forward pass, and their sum."""
    rows: Rows = [("WEIGHT", "SIZE", "PARAMETERS", "NORM", "RMS", "TYPE")]
    weights = [weight for part in seen for weight in part.weights]
    for weight in weights:
        name = weight.name.removesuffix(".weight")
        size = " × ".join(f"{side:,}" for side in weight.size)
        if weight.tied_to:
            rows.append((name, size, "", "", "", "tied"))
        else:
            rows.append((name, size, f"{weight.parameters:,}", _fine(weight.norm), _fine(weight.rms), weight.dtype))
    rows.append(("sum", "", f"{sum(weight.parameters for weight in weights):,}", "", "", ""))
    return figures(rows, left=(0, 5))


def _fine(value: float | None) -> str:
    return NO_FIGURE if value is None else f"{value:.4g}"
