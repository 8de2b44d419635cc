"""Operations on logits as pure functions, which `core.sample.logits_processors` puts in order.

Logits are (n,) in float32, for the tokens that can still be sampled. A filter returns the indices (k,) of those that
remain, so that later ones work on fewer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from core.errors import LlmtuiError

_SEARCH_SIZES = (256, 4096)
"""The fewest tokens that reach a probability are first searched for among so many: 0.1 and 0.7 ms; sorting 50,257
takes 4."""
_BLOCK = 64
_MIN_TEMPERATURE = 1e-30
"""Logits divided by less overflow float32; only the most likely token has a probability long before."""


class LogitsError(LlmtuiError):
    """Logits are infinite or NaN."""

    doing = "generate text"

    def __init__(self) -> None:
        super().__init__("the model's output is not finite", todo="use an earlier checkpoint")


def check_finite(logits: Tensor) -> Tensor:
    """`logits` of any shape. Raises LogitsError if one is not finite."""
    # the sum takes a tenth of the time of isfinite; it may overflow itself
    if not math.isfinite(float(logits.sum())) and not bool(torch.isfinite(logits).all()):
        raise LogitsError()
    return logits


def apply_logit_bias(logits: Tensor, bias: Mapping[int, float]) -> Tensor:
    """Logits (vocabulary,) with `bias` added to those of its ids."""
    ids = torch.tensor(list(bias))
    return logits.index_add(0, ids, torch.tensor(list(bias.values()), dtype=logits.dtype))


def apply_repetition_penalty(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Logits (vocabulary,) with those of `ids` (m,), distinct, divided by `penalty`; negative ones are multiplied.

    CTRL, Keskar et al. 2019, arXiv 1909.05858; the multiplication is from transformers.
    """
    selected = logits[ids]
    largest = torch.finfo(logits.dtype).max
    penalised = torch.where(selected > 0, selected / penalty, selected * penalty).clamp(-largest, largest)
    return logits.index_put((ids,), penalised)


def subtract_penalties(logits: Tensor, ids: Tensor, penalties: Tensor) -> Tensor:
    """Logits (vocabulary,) with `penalties` (m,) subtracted from those of `ids` (m,), distinct.

    OpenAI's presence_penalty (the same for each token) and frequency_penalty (times the token's count).
    """
    return logits.index_add(0, ids, -penalties)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by a temperature above 0, after subtracting the highest, so that none overflows."""
    return (logits - logits.max()) / max(temperature, _MIN_TEMPERATURE)


def argmax(logits: Tensor) -> int:
    """Index of the highest, the first of equal ones. numpy takes a sixth of torch's time."""
    return int(logits.numpy().argmax())


def top_k(logits: Tensor, k: int) -> Tensor:
    """Indices of the k highest, highest first; all if there are fewer. Ties are broken arbitrarily.

    Fan et al. 2018, arXiv 1805.04833.
    """
    return _highest(logits, min(k, logits.numel()))


def top_p(logits: Tensor, p: float) -> Tensor:
    """Indices of the fewest most likely tokens whose probabilities sum to at least p, most likely first; at least one.

    Nucleus sampling: Holtzman et al. 2019, arXiv 1904.09751.
    """
    probabilities = torch.softmax(logits, -1)
    return _fewest(probabilities, probabilities, p)


def min_p(logits: Tensor, p: float) -> Tensor:
    """Indices of tokens at least p > 0 times as likely as the most likely one. Nguyen et al. 2024, arXiv 2407.01082."""
    return (logits >= logits.max() + math.log(p)).nonzero()[:, 0]


def typical_p(logits: Tensor, p: float) -> Tensor:
    """Indices of the fewest tokens whose probabilities sum to at least p, by distance of their surprisal from the
    entropy.

    Locally typical sampling: Meister et al. 2022, arXiv 2202.00666.
    """
    surprisal = -torch.log_softmax(logits, -1)
    probabilities = torch.exp(-surprisal)
    entropy = torch.nansum(probabilities * surprisal)  # 0 · inf for impossible tokens
    return _fewest(-(surprisal - entropy).abs(), probabilities, p)


def _fewest(order: Tensor, probabilities: Tensor, p: float) -> Tensor:
    """The first indices by `order` (n,), highest first, whose `probabilities` (n,) sum to at least p; at least one."""
    for size in (*_SEARCH_SIZES, order.numel()):
        indices = _highest(order, min(size, order.numel()))
        if float(probabilities[indices].sum()) >= p:
            break
    selected = probabilities[indices]
    cumulative_before = selected.cumsum(-1) - selected
    return indices[: max(1, int((cumulative_before < p).sum()))]


def _highest(values: Tensor, k: int) -> Tensor:
    """Indices of the k highest of `values` (n,), highest first.

    They are in the k blocks with the highest maxima, so that few values have to be compared: the highest 50 of 50,257
    take a third of the time of topk over all.
    """
    whole = values.numel() // _BLOCK
    if k * 4 > whole:
        return torch.topk(values, k).indices
    blocks = torch.topk(values[: whole * _BLOCK].view(whole, _BLOCK).amax(1), k).indices
    indices = (blocks[:, None] * _BLOCK + torch.arange(_BLOCK)).flatten()
    indices = torch.cat([indices, torch.arange(whole * _BLOCK, values.numel())])
    return indices[torch.topk(values[indices], k).indices]


def sample_index(logits: Tensor, generator: torch.Generator) -> int:
    """An index sampled from softmax of the logits."""
    return int(torch.multinomial(torch.softmax(logits, -1), 1, generator=generator))
